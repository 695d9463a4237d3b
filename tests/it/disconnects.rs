//! Clients and upstreams that vanish in the middle: nothing is left behind, and the audit has what happened.

use crate::support::chopper::Chopper;
use crate::support::locum::{finish, of, stdout};
use crate::support::{HANGS, Home, Serve, Upstream};
use serde_json::Value;
use std::time::Instant;

/// How many points of an exchange a side vanishes at.
const POINTS: u64 = 100;

/// A whole exchange: TLS twice, a key, 50 kB up, and as much down.
fn exchange(serve: &Serve, proxy: &str, url: &str, version: &str) -> String {
    let mut command = serve.home.command("curl");
    let body = serve.home.path().join("body");
    command.args(["-q", "-s", "--max-time", "60", "-o", "/dev/null", "-w", "%{http_code} %{exitcode}", version]);
    command.args(["--proxy", proxy, "--cacert"]).arg(serve.home.path().join("ca.pem"));
    command.args(["-H", "Authorization: Bearer <<tool_key>>", "-H", "Expect:", "--data-binary"]);
    stdout(&finish(command.arg(format!("@{}", body.display())).arg(url)))
}

fn descriptors(serve: &Serve) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", serve.pid())).expect("a process").count()
}

/// How many descriptors it holds once it has let go of what it will; each look is paced by a whole exchange.
fn settled(serve: &Serve, url: &str, at_most: usize) -> usize {
    let until = Instant::now() + HANGS;
    loop {
        assert_eq!(exchange(serve, &serve.proxy_url(), url, "--http1.1"), "200 0");
        let now = descriptors(serve);
        if now <= at_most || Instant::now() > until {
            return now;
        }
    }
}

/// Cuts at random, one in each of as many equal parts of all the bytes that an exchange has, so that none of its stages is
/// left out.
fn points(whole: u64) -> impl Iterator<Item = u64> {
    let part = (whole / POINTS).max(1);
    (0..POINTS).map(move |i| {
        let mut random = [0; 8];
        getrandom::fill(&mut random).expect("random numbers");
        (part * i + u64::from_ne_bytes(random) % part).max(1)
    })
}

fn vanishing(version: &str, of_client: bool) {
    let upstream = Upstream::start();
    let near_upstream = Chopper::to(upstream.address);
    let authority = format!("localhost:{}", near_upstream.address.port());
    let ports = format!("connect_ports = [{}]\n", near_upstream.address.port());
    let key = format!("[key.tool]\nhosts = [\"{authority}\"]\n");
    let serve = Home::with(&ports, &key).serve();
    std::fs::write(serve.home.path().join("body"), "0123456789".repeat(5_000)).expect("a body");
    let near_client = Chopper::to(serve.address);
    let url = format!("https://{authority}/echo");
    let through = format!("http://{}", near_client.address);

    // the first is whole, and tells how long the way is
    assert_eq!(exchange(&serve, &through, &url, version), "200 0");
    let chopper = if of_client { &near_client } else { &near_upstream };
    let whole = chopper.passed();
    let before = settled(&serve, &url, descriptors(&serve));
    let memory = serve.memory("VmRSS:");
    let mut failed = 0;
    for at in points(whole) {
        chopper.cut_after(at);
        let told = exchange(&serve, &through, &url, version);
        println!("cut after {at} of {whole} bytes: {told}");
        failed += u64::from(told != "200 0");
    }
    chopper.cut_after(u64::MAX);
    let after = settled(&serve, &url, before);
    assert!(after <= before, "{after} descriptors, and {before} before");
    let grown = serve.memory("VmRSS:").saturating_sub(memory);
    assert!(grown < 16 * 1024, "{grown} KiB more");
    assert!(failed >= POINTS * 8 / 10, "{failed} of {POINTS} were cut");
    let begun = upstream.begun();
    let records = serve.stop().audit();
    let ended = of(&records, "exchange").len() + of(&records, "refusal").len();
    assert!(ended >= begun, "{begun} reached the upstream, and {ended} are in the audit");
    let unsaid = |r: &&&Value| r["success"] == false && r["error"].is_null();
    assert_eq!(of(&records, "exchange").iter().filter(unsaid).count(), 0, "each says what happened");
}

#[test]
fn clients_at_a_hundred_points() {
    vanishing("--http1.1", true);
    vanishing("--http2", true);
}

#[test]
fn upstreams_at_a_hundred_points() {
    vanishing("--http1.1", false);
}
