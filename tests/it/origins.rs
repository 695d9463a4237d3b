//! What origins do that clients have to cope with, and so has a proxy between them.

use crate::support::client::{BOTH, full, none};
use crate::support::exit::Exit;
use crate::support::locum::{TOOL_KEY, of, told};
use crate::support::tunnel::{Told, answers};
use crate::support::upstream::Kind;
use crate::support::wire::{Raw, connect};
use crate::support::{Home, Http, Serve, Tunnel, Upstream};
use std::io::{Read as _, Write as _};

/// A key is bound to it.
const BOUND: &str = "api.tool.example";
/// None is.
const OTHER: &str = "api.other.example";

/// The proxy in front of an origin that answers to both names.
fn in_front_of(address: std::net::SocketAddr) -> Serve {
    let exit = Exit::to([("api.tool.example:443", address), ("api.other.example:443", address)]);
    let proxy = format!("upstream_proxy = \"http://{}\"\n", exit.address);
    let serve = Home::with(&proxy, &format!("[key.tool]\nhosts = [\"{BOUND}\"]\n")).serve();
    // as long as the tests, since the service asks it
    std::mem::forget(exit);
    serve
}

/// The answer of an origin that says just this, as a client of HTTP/1.1 sees it.
fn said(serve: &Serve, host: &str, head: &str) -> Told {
    let tunnel = Tunnel::open(serve, &format!("{host}:443"), host, b"http/1.1").expect("a tunnel");
    let request = format!("{head}\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    tunnel.talk(request.as_bytes()).into_iter().next().expect("an answer")
}

#[tokio::test]
async fn cookies_that_http2_splits_are_one_field_to_an_origin_of_http1() {
    let upstream = Upstream::speaking(&["http/1.1"]);
    let serve = Home::bound(&[&upstream]).serve();
    let mut client = serve.client(&upstream, Http::Two).await;
    let request = client.request("GET", "/").header("cookie", "a=1").header("cookie", "b=2").header("cookie", "c=3");
    assert_eq!(client.ask(request.body(none()).unwrap()).await.status, 200);
    let fields: Vec<_> = upstream.only().headers.get_all("cookie").iter().cloned().collect();
    assert_eq!(fields, ["a=1; b=2; c=3"]);
}

#[test]
fn names_are_spelled_as_the_origin_spells_them() {
    let answer =
        b"HTTP/1.1 302 Found\r\nLocation: /there\r\nX-CuStOm: y\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n";
    let origin = Raw::saying(answer, 2);
    let serve = in_front_of(origin.address);
    for host in [BOUND, OTHER] {
        let head = said(&serve, host, "GET / HTTP/1.1").head;
        for line in ["\r\nLocation: /there\r\n", "\r\nX-CuStOm: y\r\n", "\r\nSet-Cookie: a=b\r\n"] {
            assert!(head.contains(line), "{host}: {line:?} in {head}");
        }
    }
    origin.finish();
}

#[test]
fn an_answer_may_have_as_many_headers_as_anyone_sends() {
    let lines: String = (0..120).map(|n| format!("X-{n}: {n}\r\n")).collect();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{lines}\r\nhi");
    let origin = Raw::saying(answer.leak().as_bytes(), 1);
    let serve = in_front_of(origin.address);
    let told = said(&serve, OTHER, "GET / HTTP/1.1");
    assert_eq!((told.status, told.header("x-119"), told.text().as_str()), (200, Some("119"), "hi"));
    origin.finish();
}

#[test]
fn a_request_that_may_be_forwarded_no_more_ends_here() {
    let upstream = Upstream::start();
    let serve = in_front_of(upstream.address);
    let asked = |method: &str, left: &str| said(&serve, OTHER, &format!("{method} / HTTP/1.1\r\nMax-Forwards: {left}"));
    assert_eq!(asked("OPTIONS", "0").verdict(), "400 not-forwarded");
    assert_eq!(asked("OPTIONS", "3").verdict(), "200");
    assert_eq!(upstream.only().header("max-forwards").as_deref(), Some("2"));
}

/// How a client's reading of an answer ends that was cut on the way.
#[test]
fn what_was_cut_is_cut_for_the_client_too() {
    let cut = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nthe first half, \r\n";
    for (version, host) in [("1.1", BOUND), ("1.1", OTHER), ("1.0", BOUND), ("1.0", OTHER)] {
        let origin = Raw::saying(cut, 1);
        let serve = in_front_of(origin.address);
        let mut tunnel = Tunnel::open(&serve, &format!("{host}:443"), host, b"http/1.1").expect("a tunnel");
        let request = format!("GET / HTTP/{version}\r\nHost: {host}\r\n\r\n");
        tunnel.stream.write_all(request.as_bytes()).expect("a connection");
        let mut said = Vec::new();
        // an end that TLS confirms would be a good one
        let ended = tunnel.stream.read_to_end(&mut said);
        assert!(ended.is_err(), "{version} {host}: {}", String::from_utf8_lossy(&said));
        assert!(said.starts_with(b"HTTP/1.1 200 OK\r\n") || said.starts_with(b"HTTP/1.0 200 OK\r\n"));
        origin.finish();
        // a program that is not careful notices as well, with no TLS of its own to tell it
        let origin = Raw::saying(cut, 2);
        let serve = in_front_of(origin.address);
        let url = format!("https://{host}/");
        let got = serve.curl(&[&format!("--http{version}"), "-o", "answer", &url]);
        assert!(matches!(got.status.code(), Some(18 | 56)), "{version} {host}: {}", told(&got));
        let whole = format!("GET {url} HTTP/{version}\r\nHost: {host}\r\n\r\n");
        let mut plain = connect(serve.address);
        plain.write_all(whole.as_bytes()).expect("a connection");
        let ended = plain.read_to_end(&mut Vec::new());
        assert!(ended.is_err(), "{version}: a reset is all that can tell HTTP/1.0");
        origin.finish();
    }
}

#[tokio::test]
async fn an_origin_that_allows_few_streams_at_once_gets_no_more_and_answers_all() {
    for streams in [1, 10] {
        let upstream = Upstream::of(Kind { alpn: &["h2"], streams: Some(streams), ..Kind::default() });
        let serve = Home::bound(&[&upstream]).serve();
        let mut client = serve.client(&upstream, Http::Two).await;
        let mut answers = Vec::new();
        for n in 0..100 {
            let path = format!("/echo?n={n}");
            let request = client.request("GET", &path).header("x-api-key", "<<tool_key>>").body(none()).unwrap();
            answers.push(client.begin(request).await);
        }
        for answer in answers {
            assert_eq!(answer.await.expect("an answer").status(), 200, "{streams} streams");
        }
        drop(client);
        let seen = upstream.seen();
        assert_eq!(seen.len(), 100);
        assert!(seen.iter().all(|s| s.header("x-api-key").as_deref() == Some(TOOL_KEY)));
        let records = serve.drained().await.audit();
        assert_eq!((of(&records, "substitution").len(), of(&records, "refusal").len()), (100, 0), "{streams} streams");
    }
}

#[test]
fn another_protocol_is_let_through_where_no_key_is_bound_and_refused_by_name_where_one_is() {
    let origin = Raw::saying(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream: v4\r\n\r\nframes of its own",
        1,
    );
    let serve = in_front_of(origin.address);
    let ask = |host: &str| {
        let mut tunnel = Tunnel::open(&serve, &format!("{host}:443"), host, b"http/1.1").expect("a tunnel");
        let head = format!("POST /exec HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n");
        let request = format!("{head}Content-Length: 0\r\n\r\n");
        tunnel.stream.write_all(request.as_bytes()).expect("a connection");
        tunnel.stream.flush().expect("a connection");
        let (mut said, mut byte) = (Vec::new(), [0]);
        let is_over = |said: &[u8]| said.ends_with(b"frames of its own") || said.ends_with(b"}\n");
        while !is_over(&said) && matches!(tunnel.stream.read(&mut byte), Ok(1)) {
            said.push(byte[0]);
        }
        String::from_utf8(said).expect("text")
    };
    let switched = ask(OTHER);
    assert!(switched.starts_with("HTTP/1.1 101 ") && switched.ends_with("\r\n\r\nframes of its own"), "{switched}");
    assert!(switched.to_ascii_lowercase().contains("upgrade: spdy/3.1\r\n"), "{switched}");
    let refused = answers(ask(BOUND).as_bytes());
    assert_eq!(refused[0].verdict(), "403 upgrade-refused");
    origin.finish();
    let records = serve.stop().audit();
    let refusal = of(&records, "refusal");
    assert!(refusal[0]["reason"].as_str().is_some_and(|why| why.contains("SPDY/3.1")), "{records:#?}");
}

/// Where no key is bound slices pass; where one is the whole comes, and the audit says why.
#[test]
fn curl_resumes_a_download_where_no_key_is_bound() {
    let upstream = Upstream::start();
    let serve = in_front_of(upstream.address);
    let resume = |host: &str| {
        std::fs::write(serve.home.path().join("half"), "01234").expect("a file");
        let got = serve.curl(&["-C", "-", "-o", "half", &format!("https://{host}/part")]);
        (got.status.code(), std::fs::read_to_string(serve.home.path().join("half")).expect("a file"))
    };
    let part = http::Response::builder().status(206).header("content-range", "bytes 5-9/10");
    upstream.on("/part", part).send("56789");
    assert_eq!(resume(OTHER), (Some(0), "0123456789".to_owned()));
    upstream.on("/part", http::Response::builder().header("accept-ranges", "bytes")).send("0123456789");
    assert_eq!(resume(BOUND), (Some(33), "01234".to_owned()), "curl says that the server has no ranges");
    let asked: Vec<_> = upstream.seen().iter().map(|s| s.header("range")).collect();
    assert_eq!(asked, [Some("bytes=5-".into()), None]);
    let records = serve.stop().audit();
    let notes: Vec<_> = of(&records, "exchange").iter().map(|r| r["reason"].as_str()).collect();
    assert!(notes[0].is_none() && notes[1].is_some_and(|why| why.starts_with("Range was left out")), "{notes:?}");
}

#[tokio::test]
async fn a_coding_that_nobody_knows_passes_where_no_key_goes_into_bodies() {
    for http in BOTH {
        let upstream = Upstream::start();
        let key = format!("[key.tool]\nhosts = [\"{}\"]\nwhere = [\"header\"]\n", upstream.authority());
        let serve = Home::with("", &key).serve();
        let mut client = serve.client(&upstream, http).await;
        let body = "3;chunk-signature=f0\r\nabc\r\n0;chunk-signature=f1\r\n\r\n";
        let request = client.request("PUT", "/").header("content-encoding", "aws-chunked").body(full(body)).unwrap();
        assert_eq!(client.ask(request).await.status, 200, "{http:?}");
        assert_eq!(
            (upstream.only().text().as_str(), upstream.only().header("content-encoding")),
            (body, Some("aws-chunked".into()))
        );
    }
}
