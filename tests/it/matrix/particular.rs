//! What single clients make of an answer or of an upstream, where others make something else.

use super::{PLACEHOLDER, home, program};
use crate::support::Upstream;
use crate::support::exit::Exit;
use crate::support::fickle::{Fickle, Turn};
use crate::support::locum::{TOOL_KEY, stdout, told};
use crate::support::upstream::Kind;
use crate::support::wire::Raw;
use std::net::SocketAddr;

fn exit(address: SocketAddr) -> Exit {
    Exit::to([("api.tool.example:443", address)])
}

/// Ruby takes a clean end for the end of an answer, whatever its length says.
#[test]
#[ignore = "tests/matrix installs what it needs, and runs it"]
fn ruby_is_told_that_an_answer_was_cut() {
    const ASK: &str = "require 'net/http'; uri = URI(ARGV[0]); \
         Net::HTTP.start(uri.host, uri.port, use_ssl: true, max_retries: 0) { |http| \
         response = http.get('/'); response.value; puts response.body.size }";
    let body = "x".repeat(50_000);
    for (head, rest, whole) in [
        ("Content-Length: 50000\r\n\r\n", "", true),
        ("Content-Length: 100000\r\n\r\n", "", false),
        ("Transfer-Encoding: chunked\r\n\r\nc350\r\n", "\r\n0\r\n\r\n", true),
        ("Transfer-Encoding: chunked\r\n\r\nc350\r\n", "\r\n", false),
        ("Transfer-Encoding: chunked\r\n\r\n186a0\r\n", "", false),
    ] {
        let upstream = Raw::saying(format!("HTTP/1.1 200 OK\r\n{head}{body}{rest}").leak().as_bytes(), 1);
        let output = home(&exit(upstream.address)).run(&["ruby", "-e", ASK, "https://api.tool.example"]);
        assert_eq!(output.status.success(), whole, "{head}{rest}: {}", told(&output));
        assert_eq!(stdout(&output), if whole { "50000\n" } else { "" }, "{head}{rest}");
        upstream.finish();
    }
}

#[test]
#[ignore = "tests/matrix installs what it needs, and runs it"]
fn java_is_let_send_what_it_asks_for() {
    for version in ["1.1", "2"] {
        let upstream = Upstream::start();
        let output =
            home(&exit(upstream.address)).run(&["java", &program("Expect.java"), "https://api.tool.example", version]);
        assert!(stdout(&output).contains(" 200 ") && stdout(&output).contains("3000000"), "{}", told(&output));
        let seen = upstream.only();
        assert_eq!(seen.header("authorization"), Some(format!("Bearer {TOOL_KEY}")), "{version}");
    }
}

/// 100 at once, of which as many go out as the upstream takes.
#[test]
#[ignore = "tests/matrix installs what it needs, and runs it"]
fn curl_is_answered_by_http2_upstreams_that_take_few() {
    let few = [1, 10].map(|streams| {
        let kind = Kind { alpn: &["h2"], streams: Some(streams), ..Kind::default() };
        (format!("{streams} streams"), Upstream::of(kind))
    });
    let goes_away = Fickle::http2(|connection, request| match (connection, request) {
        (0, 50) => Turn::GoAway,
        _ => Turn::Answer,
    });
    let upstreams = few.iter().map(|(what, upstream)| (&**what, upstream.address));
    for (what, address) in upstreams.chain([("a GOAWAY in the middle", goes_away.address)]) {
        for version in ["--http1.1", "--http2"] {
            let header = format!("authorization: Bearer {PLACEHOLDER}");
            let words = ["curl", "-q", "-sS", "--parallel", "--parallel-max", "100", version, "-H", &header];
            let rest = ["-o", "#1", "-w", "%{http_code}\n", "https://api.tool.example/echo?n=[1-100]"];
            let output = home(&exit(address)).run(&[&words[..], &rest[..]].concat());
            let good = stdout(&output).lines().filter(|code| *code == "200").count();
            assert_eq!(good, 100, "{what} {version}: {}", told(&output));
        }
    }
    assert!(few.iter().all(|(_, upstream)| upstream.seen().len() == 200));
}
