//! `locum run` lets in what it started without a token, since not all clients can send one, and nobody else.

use crate::support::exit::Exit;
use crate::support::locum::{of, told};
use crate::support::{Home, Upstream, clients, wire};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::Stdio;

#[test]
fn descendants_need_no_token_and_strangers_do() {
    let upstream = Upstream::start();
    let exit = Exit::to([("api.tool.example:443", upstream.address)]);
    let home = Home::with(&format!("upstream_proxy = \"http://{}\"\n", exit.address), "");
    let mut command = home.locum(&["run", "--", &clients::python(), &clients::program("tokenless_client.py")]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("locum");
    let mut said = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut said).expect("a line");
    let said: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
    assert_eq!(said["own"], "HTTP/1.1 200 Connection Established");
    assert_eq!(said["daemon"], "HTTP/1.1 200 Connection Established");
    let port = said["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
    let proxy = SocketAddr::from(([127, 0, 0, 1], port));
    let connect = "CONNECT api.tool.example:443 HTTP/1.1\r\nHost: api.tool.example:443\r\nConnection: close\r\n\r\n";
    let plain = "GET http://api.tool.example/ HTTP/1.1\r\nHost: api.tool.example\r\nConnection: close\r\n\r\n";
    for request in [connect, plain] {
        let answer = read_answer(proxy, request);
        assert!(answer.starts_with("HTTP/1.1 407 "), "{answer}");
    }
    drop(child.stdin.take());
    let output = child.wait_with_output().expect("an end");
    assert!(output.status.success(), "{}", told(&output));
    let records = home.audit();
    assert_eq!(of(&records, "refusal").len(), 2, "{records:#?}");
    assert!(of(&records, "refusal").iter().all(|r| r["error"] == "authentication-required" && r["pid"].is_null()));
}

/// The head of an answer; the connection may stay open, for another try with a token.
fn read_answer(proxy: SocketAddr, request: &str) -> String {
    let mut stream = wire::connect(proxy);
    stream.write_all(request.as_bytes()).expect("a request");
    wire::read_head(&mut stream)
}

/// A whole request without a token, over plain HTTP: the process behind it is in the audit.
#[test]
fn the_process_is_in_the_audit() {
    let upstream = Upstream::of(crate::support::upstream::Kind { tls: false, ..Default::default() });
    let home = Home::with(&format!("connect_ports = [{}]\n", upstream.port()), "");
    let script = format!(
        "exec curl -q -sS --noproxy '' -x \"http://${{https_proxy##*@}}\" http://127.0.0.1:{}/echo -o /dev/null -w \"%{{http_code}} $$\"",
        upstream.port()
    );
    let output = home.run(&["sh", "-c", &script]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let pid = said.strip_prefix("200 ").unwrap_or_else(|| panic!("{}", told(&output)));
    let records = home.audit();
    assert_eq!(
        of(&records, "exchange")[0]["pid"].as_u64().map(|n| n.to_string()).as_deref(),
        Some(pid),
        "{records:#?}"
    );
}
