//! Refusals without end: they fill no disk, and none goes uncounted.

use crate::support::client::{Http, none};
use crate::support::locum::{finish, of, stdout, told};
use crate::support::wire::{connect, read_head};
use crate::support::{Home, Serve, Upstream};
use serde_json::Value;
use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;

const TOKEN: &str = "a-token-of-32-characters-at-least";

/// Asks so many times over one connection, each time with this target, and gives the status of each answer.
fn ask(serve: &Serve, target: &dyn Fn(usize) -> String, times: usize) -> Vec<String> {
    let mut stream = BufReader::new(connect(serve.address));
    let first = "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned();
    let next = |n| format!("GET {} HTTP/1.1\r\nHost: a.example\r\n\r\n", target(n));
    std::iter::once(first).chain((1..times).map(next)).map(|request| status(&mut stream, &request)).collect()
}

fn status(stream: &mut BufReader<TcpStream>, request: &str) -> String {
    stream.get_mut().write_all(request.as_bytes()).expect("a connection that is kept");
    let head = read_head(stream);
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let body = stream.read_exact(&mut vec![0; length.expect("a length")]);
    body.expect("a body");
    head.split(' ').nth(1).unwrap_or_default().to_owned()
}

fn refused(records: &[Value]) -> u64 {
    of(records, "refusal").iter().map(|r| r["count"].as_u64().unwrap_or(1)).sum()
}

fn bytes(home: &Home) -> u64 {
    let files = std::fs::read_dir(home.audit_dir()).expect("the audit");
    files.map(|file| file.and_then(|file| file.metadata()).expect("a file").len()).sum()
}

#[test]
fn one_who_is_refused_without_end_fills_no_disk_and_each_refusal_counts() {
    const TIMES: usize = 2000;
    let serve = Home::with("", "").set("LOCUM_PROXY_TOKEN", TOKEN).serve();
    let path = "/p".repeat(30_000);
    let told_statuses = ask(&serve, &|_| format!("http://a.example{path}"), TIMES);
    assert!(told_statuses.iter().all(|status| status == "407"), "{told_statuses:?}");
    let home = serve.stop();
    let records = home.audit();
    assert_eq!(refused(&records), TIMES as u64);
    assert!(bytes(&home) < 300_000, "{} bytes in {} records", bytes(&home), records.len());
    let refusals = of(&records, "refusal");
    assert!(refusals[0]["count"].is_null() && refusals[0]["path"] == "/", "{}", refusals[0]);
    let folded: Vec<_> = refusals.iter().filter(|r| !r["count"].is_null()).collect();
    let [folded] = folded[..] else { panic!("{folded:#?}") };
    assert_eq!((&folded["agent"], &folded["error"]), (&"-".into(), &"authentication-required".into()), "{folded}");
    assert!(folded["first"].as_str() < folded["last"].as_str(), "{folded}");
    assert!(folded["path"].as_str().is_some_and(|path| path.len() <= 2100 && path.ends_with('…')), "{folded}");

    let stats = finish(&mut home.locum(&["audit", "stats", "--json"]));
    let stats: Value = serde_json::from_slice(&stats.stdout).expect("JSON");
    assert_eq!(stats["total"]["refusals"], TIMES, "{stats}");
    assert_eq!(stats["agent"][0]["refusals"], TIMES, "{stats}");
    let query = finish(&mut home.locum(&["audit", "query", "--failed"]));
    let count = folded["count"].as_u64().expect("a count");
    assert!(stdout(&query).contains(&format!("  {count} times from ")), "{}", told(&query));
    let export = finish(&mut home.locum(&["audit", "export", "--event", "refusal"]));
    let span = format!(",{count},{},{},", folded["first"].as_str().unwrap(), folded["last"].as_str().unwrap());
    assert!(stdout(&export).contains(&span), "{}", told(&export));
}

#[tokio::test]
async fn a_status_counts_each_refusal_while_they_are_folded() {
    let upstream = Upstream::start();
    let serve = Home::bound(&[&upstream]).serve();
    let mut client = serve.client(&upstream, Http::Two).await;
    for _ in 0..100 {
        let request = client.request("GET", "/").header("x-api-key", "<<openai_key>>");
        assert_eq!(client.ask(request.body(none()).expect("a request")).await.status, 403);
    }
    let mut told = String::new();
    let mut socket =
        std::os::unix::net::UnixStream::connect(serve.home.state().join("control.sock")).expect("a socket");
    socket.write_all(b"{\"command\":\"status\"}\n").expect("a command");
    socket.shutdown(std::net::Shutdown::Write).expect("an end");
    socket.read_to_string(&mut told).expect("an answer");
    let status: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(status["counts"]["refusals"], 100, "{told}");
    let records = serve.drained().await.audit();
    assert_eq!(refused(&records), 100);
    assert!(of(&records, "refusal").len() < 40, "{records:#?}");
    // whoever probes is told of though it is not written each time
    let unusual = of(&records, "anomaly");
    assert!(unusual.iter().any(|r| r["reason"].as_str().is_some_and(|r| r.starts_with("probing"))), "{unusual:#?}");
}
