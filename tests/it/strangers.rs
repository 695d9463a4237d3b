//! Whoever has proved nothing: recorded as nobody, without weight for those who have, and with no more room than is left.

use crate::support::client::{Client, none, tunnel};
use crate::support::locum::{finish, of, told};
use crate::support::wire::{connect, exchange, read_head};
use crate::support::{Home, Http, Serve, Upstream};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};

const TOKEN: &str = "a-token-of-32-characters-at-least";
/// So many refusals in a row count as probing, and one more.
const PROBES: usize = 6;

/// A service in front of `upstream` that has whoever is refused in a row rest, with these lines besides.
fn strict(upstream: &Upstream, variables: &[(&str, &str)], tables: &str) -> Serve {
    let proxy = format!("connect_ports = [{}]\n", upstream.port());
    let key = format!("[key.tool]\nhosts = [\"{}\"]\n[anomaly]\naction = \"refuse\"\n{tables}", upstream.authority());
    let home = Home::with(&proxy, &key);
    variables.iter().fold(home, |home, (name, value)| home.set(name, value)).serve()
}

/// The status of a request that needs the key.
async fn keyed(serve: &Serve, upstream: &Upstream, token: &str) -> u16 {
    let stream = tunnel(serve.address, &upstream.authority(), token).await.expect("a tunnel");
    let mut client = Client::over(stream, &serve.ca, &upstream.authority(), Http::One).await;
    let request = client.request("GET", "/").header("x-api-key", "<<tool_key>>").body(none()).expect("a request");
    client.ask(request).await.status.as_u16()
}

fn refusals<'r>(records: &'r [Value], word: &str) -> Vec<&'r Value> {
    of(records, "refusal").into_iter().filter(|r| r["error"] == word).collect()
}

#[tokio::test]
async fn who_has_no_token_puts_no_agent_to_rest() {
    let upstream = Upstream::start();
    let serve = strict(&upstream, &[("LOCUM_PROXY_TOKEN", TOKEN)], "");
    let authority = upstream.authority();
    for header in ["", "Proxy-Authorization: Bearer guessed\r\n"] {
        for _ in 0..PROBES {
            let close = format!("{header}Connection: close\r\n");
            let mut stream = connect(serve.address);
            stream.write_all(format!("CONNECT {authority} HTTP/1.1\r\n{close}\r\n").as_bytes()).unwrap();
            assert!(read_head(&mut stream).starts_with("HTTP/1.1 407 "));
            let plain = format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n{close}\r\n");
            assert!(exchange(serve.address, plain.as_bytes()).starts_with("HTTP/1.1 407 "));
        }
    }
    assert_eq!(keyed(&serve, &upstream, TOKEN).await, 200);
    let records = serve.drained().await.audit();
    let unauthenticated = refusals(&records, "authentication-required");
    assert_eq!(unauthenticated.len(), PROBES * 4);
    assert!(unauthenticated.iter().all(|r| r["agent"] == "-"), "{unauthenticated:#?}");
    assert!(of(&records, "substitution").iter().all(|r| r["agent"] == "local"), "{records:#?}");
    assert!(of(&records, "anomaly").iter().all(|r| r["agent"] == "-"), "{records:#?}");
}

#[tokio::test]
async fn a_page_that_calls_at_the_port_puts_no_agent_to_rest() {
    let upstream = Upstream::start();
    let serve = strict(&upstream, &[], "");
    for _ in 0..PROBES {
        let page = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://evil.example\r\n\r\n";
        assert!(exchange(serve.address, page.as_bytes()).contains("locum-refused: not-forwarded"));
    }
    assert_eq!(keyed(&serve, &upstream, "").await, 200);
    let records = serve.drained().await.audit();
    assert!(refusals(&records, "not-forwarded").iter().all(|r| r["agent"] == "-"), "{records:#?}");
}

/// A client that is slow, or doesn't trust the CA, has asked for nothing yet.
#[tokio::test]
async fn a_handshake_that_fails_is_no_probing() {
    let upstream = Upstream::start();
    let serve = strict(&upstream, &[], "");
    for _ in 0..PROBES {
        let mut stream = connect(serve.address);
        let head = format!("CONNECT {} HTTP/1.1\r\n\r\n", upstream.authority());
        stream.write_all(head.as_bytes()).unwrap();
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 200 "));
        // a handshake message that is none
        stream.write_all(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(keyed(&serve, &upstream, "").await, 200);
    let records = serve.drained().await.audit();
    assert_eq!(refusals(&records, "handshake-failed").len(), PROBES, "{records:#?}");
    assert_eq!(of(&records, "anomaly").len(), 0, "{records:#?}");
}

#[tokio::test]
async fn a_healthcheck_is_answered_and_nothing_is_recorded() {
    let upstream = Upstream::start();
    for variables in [&[][..], &[("LOCUM_PROXY_TOKEN", TOKEN)]] {
        let serve = strict(&upstream, variables, "");
        for _ in 0..PROBES {
            let mut command = serve.home.locum(&["serve", "--healthcheck"]);
            let output = finish(command.env("LOCUM_PROXY__LISTEN", serve.address.to_string()));
            assert!(output.status.success(), "{}", told(&output));
        }
        let asked = serve.curl(&["--write-out", "%{http_code}", "http://locum.invalid/healthz"]);
        assert_eq!(crate::support::locum::stdout(&asked), "serving\n200");
        let token = variables.first().map_or("", |(_, token)| token);
        assert_eq!(keyed(&serve, &upstream, token).await, 200);
        let records = serve.drained().await.audit();
        assert_eq!(of(&records, "refusal").len(), 0, "{records:#?}");
    }
}

/// Another user, with so many connections to the service, who has asked on the last of them and holds all of them until
/// this is dropped.
struct OtherUser {
    child: Child,
    /// The first line of the answer.
    told: String,
}

impl OtherUser {
    /// `None` where only root could become another user.
    fn at(serve: &Serve, connections: usize, request: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can become another user");
            return None;
        }
        const PROGRAM: &str = "import socket, sys\n\
            address, port, count, request = sys.argv[1:]\n\
            held = [socket.create_connection((address, int(port))) for _ in range(int(count))]\n\
            held[-1].sendall(request.encode())\n\
            print(held[-1].makefile().readline().strip(), flush=True)\n\
            sys.stdin.read()\n";
        let mut command = serve.home.command("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--", "/usr/bin/python3", "-c", PROGRAM]);
        command.args([serve.address.ip().to_string(), serve.address.port().to_string(), connections.to_string()]);
        let mut child = command.arg(request).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("setpriv");
        let mut told = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut told).expect("a line");
        Some(Self { child, told: told.trim().to_owned() })
    }
}

impl Drop for OtherUser {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// How many connections the records say were closed to make room, and in how many records they say it.
fn closed(records: &[Value]) -> (u64, usize) {
    let told = refusals(records, "connections-full");
    (told.iter().filter_map(|r| r["count"].as_u64()).sum(), told.len())
}

#[tokio::test]
async fn another_user_is_refused_and_cannot_shut_the_proxy() {
    let upstream = Upstream::start();
    let connect = format!("CONNECT {} HTTP/1.1\r\n\r\n", upstream.authority());
    let serve = strict(&upstream, &[], "[limits]\nconnections = 64\n");
    let Some(stranger) = OtherUser::at(&serve, 200, &connect) else { return };
    assert_eq!(stranger.told, "HTTP/1.1 407 user 65534 is not among [proxy] uids, and there are no agents (locum)");
    assert_eq!(keyed(&serve, &upstream, "").await, 200);
    serve.await_said(|line| line.contains("connections that had proved nothing were closed"));
    drop(stranger);
    let records = serve.drained().await.audit();
    let (count, told) = closed(&records);
    assert!(count == 200 - 16 && told <= 2, "{count} in {told} records: {records:#?}");
    let told = refusals(&records, "connections-full");
    assert!(
        told.iter().all(|r| r["agent"] == "-" && r["reason"].as_str().unwrap().contains("of user 65534")),
        "{told:#?}"
    );
    let asked = refusals(&records, "authentication-required");
    assert!(asked.len() == 1 && asked[0]["agent"] == "-", "{asked:#?}");
    assert!(asked[0]["reason"].as_str().unwrap().starts_with("user 65534 is not among [proxy] uids"), "{asked:#?}");

    // one who is listed is as good as our own
    let proxy = format!("connect_ports = [{}]\nuids = [65534]\n", upstream.port());
    let serve = Home::with(&proxy, "[limits]\nconnections = 64\n").serve();
    let listed = OtherUser::at(&serve, 60, &connect).expect("root");
    assert_eq!(listed.told, "HTTP/1.1 200 Connection Established");
    drop(listed);
    assert_eq!(closed(&serve.drained().await.audit()), (0, 0));
}

#[tokio::test]
async fn connections_that_prove_nothing_make_room_for_an_agent() {
    let upstream = Upstream::start();
    let serve = strict(&upstream, &[("LOCUM_PROXY_TOKEN", TOKEN)], "[limits]\nconnections = 64\n");
    let idle: Vec<TcpStream> = (0..100).map(|_| connect(serve.address)).collect();
    assert_eq!(keyed(&serve, &upstream, TOKEN).await, 200);
    drop(idle);
    let records = serve.drained().await.audit();
    let (count, told) = closed(&records);
    assert!(count == 100 - 63 && told <= 2, "{count} in {told} records: {records:#?}");
}
