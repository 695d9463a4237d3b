//! What clients do on the wire that is odd and right: old versions, addresses for names, waiting to be told, ending halves.

use crate::support::locum::{of, stdout, told};
use crate::support::tunnel::Tunnel;
use crate::support::websocket::Socket;
use crate::support::wire::read_head;
use crate::support::{Home, Upstream};
use http::Response;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;

fn get(upstream: &Upstream) -> String {
    format!("GET /echo HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", upstream.authority())
}

#[test]
fn connect_comes_in_many_ways() {
    let upstream = Upstream::start();
    let serve = Home::bound(&[&upstream]).serve();
    let port = upstream.port();
    for head in [
        // Python's http.client
        format!("CONNECT localhost:{port} HTTP/1.0\r\n\r\n"),
        // undici, axios, yarn
        format!("CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"),
        format!("CONNECT localhost:{port} HTTP/1.1\r\nhost: localhost\r\nProxy-Connection: close\r\n\r\n"),
        format!("CONNECT LOCALHOST.:{port} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let tunnel = Tunnel::after(&serve, &head, "localhost", b"http/1.1").expect("a tunnel");
        assert_eq!(tunnel.talk(get(&upstream).as_bytes())[0].status, 200, "{head}");
    }
    assert_eq!(upstream.seen().len(), 4);
}

#[test]
fn curl_at_its_oldest_and_by_address() {
    let upstream = Upstream::start();
    let address = format!("https://127.0.0.1:{}/echo", upstream.port());
    let ports = format!("connect_ports = [{}]\n", upstream.port());
    let serve = Home::with(&ports, "").serve();
    for args in [&["--http1.0"][..], &["--http1.1"], &["--http2"]] {
        for url in [&address, &upstream.url("/echo")] {
            let output = serve.curl(&[args, &["-o", "/dev/null", "-w", "%{http_code}", url]].concat());
            assert_eq!(stdout(&output), "200", "{args:?} {url}: {}", told(&output));
        }
    }
    assert_eq!(upstream.seen().len(), 6);
}

#[test]
fn who_has_said_all_still_gets_the_answer() {
    let upstream = Upstream::start();
    let serve = Home::bound(&[&upstream]).serve();
    let (gate, feed) = upstream.hold("/slow", Response::builder());
    let mut tunnel = Tunnel::open(&serve, &upstream.authority(), "localhost", b"http/1.1").expect("a tunnel");
    let request = format!("GET /slow HTTP/1.1\r\nHost: {}\r\n\r\n", upstream.authority());
    tunnel.stream.write_all(request.as_bytes()).expect("a request");
    tunnel.stream.conn.send_close_notify();
    tunnel.stream.flush().expect("the end of what is said");
    tunnel.stream.sock.shutdown(Shutdown::Write).expect("a half");
    upstream.await_begun(1);
    drop(gate);
    feed.send("the whole answer!");
    drop(feed);
    let mut answer = String::new();
    tunnel.stream.read_to_string(&mut answer).expect("an answer with its proper end");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("the whole answer!"), "{answer}");
    let records = serve.stop().audit();
    assert!(of(&records, "exchange").iter().all(|r| r["success"] == true), "{records:#?}");
}

/// Of what an upstream says before its answer, a client of HTTP/1.1 hears all that can hold no key.
#[test]
fn what_an_upstream_hints_at_reaches_the_client() {
    const HINTS: &str =
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n";
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    const HEARD: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";
    // an upstream that says all at once, and one that waits until its hints have been heard
    for at_once in [true, false] {
        for (version, bound, heard) in [("1.1", false, true), ("1.0", false, false), ("1.1", true, false)] {
            let what = format!("{version}, bound: {bound}, at once: {at_once}");
            let waits = heard && !at_once;
            let (go_on, told) = std::sync::mpsc::channel::<()>();
            let told = std::sync::Mutex::new(told);
            let upstream = Socket::answering(
                move |_| if waits { HINTS.repeat(2) } else { [HINTS, HINTS, ANSWER].concat() },
                move |mut peer| {
                    if waits {
                        told.lock().expect("a wait").recv().expect("a word");
                        peer.send_raw(ANSWER.as_bytes());
                    }
                },
            );
            let keys =
                if bound { format!("[key.tool]\nhosts = [\"{}\"]\n", upstream.authority()) } else { String::new() };
            let serve = Home::with(&format!("connect_ports = [{}]\n", upstream.address.port()), &keys).serve();
            let mut tunnel = Tunnel::open(&serve, &upstream.authority(), "localhost", b"http/1.1").expect("a tunnel");
            let request = format!("GET / HTTP/{version}\r\nHost: {}\r\n\r\n", upstream.authority());
            tunnel.stream.write_all(request.as_bytes()).expect("a request");
            if heard {
                assert_eq!([read_head(&mut tunnel.stream), read_head(&mut tunnel.stream)], [HEARD; 2], "{what}");
            }
            let _ = go_on.send(());
            let head = read_head(&mut tunnel.stream);
            assert!(head.starts_with(&format!("HTTP/{version} 200 ")), "{what}: {head}");
            upstream.finish();
        }
    }
}

/// Outside a tunnel the next request may be for another host, and there are clients that take a hint for the answer.
#[test]
fn no_hint_passes_where_requests_are_for_any_host() {
    let upstream = Socket::answering(
        |_| "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".into(),
        |_| {},
    );
    let serve = Home::with(&format!("connect_ports = [{}]\n", upstream.address.port()), "").serve();
    let mut client = crate::support::wire::connect(serve.address);
    let request = format!("GET https://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", upstream.authority());
    client.write_all(request.as_bytes()).expect("a request");
    let head = read_head(&mut client);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    upstream.finish();
}

/// A client that waits for the upstream's word, at a host without keys: its body is nobody's before.
fn expecting(upstream: &Socket) -> (crate::support::Serve, Tunnel) {
    let serve = Home::with(&format!("connect_ports = [{}]\n", upstream.address.port()), "").serve();
    let mut tunnel = Tunnel::open(&serve, &upstream.authority(), "localhost", b"http/1.1").expect("a tunnel");
    let request = format!(
        "PUT /upload HTTP/1.1\r\nHost: {}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        upstream.authority()
    );
    tunnel.stream.write_all(request.as_bytes()).expect("a request");
    (serve, tunnel)
}

#[test]
fn an_upstream_that_wants_the_body_says_so_to_the_client() {
    let upstream = Socket::answering(
        |_| "HTTP/1.1 100 Continue\r\n\r\n".into(),
        |mut peer| {
            let mut body = [0; 5];
            peer.stream.read_exact(&mut body).expect("the body");
            assert_eq!(&body, b"hello");
            peer.send_raw(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
        },
    );
    let (_serve, mut tunnel) = expecting(&upstream);
    assert_eq!(read_head(&mut tunnel.stream), "HTTP/1.1 100 Continue\r\n\r\n");
    tunnel.stream.write_all(b"hello").expect("the body");
    assert!(read_head(&mut tunnel.stream).starts_with("HTTP/1.1 201 "));
    assert!(upstream.finish().to_ascii_lowercase().contains("expect: 100-continue"));
}

#[test]
fn an_upstream_that_does_not_want_the_body_gets_none_of_it() {
    let upstream = Socket::answering(
        |_| "HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nmuch".into(),
        |mut peer| {
            let mut rest = Vec::new();
            // cut or ended: what counts is that nothing came
            let _ = peer.stream.read_to_end(&mut rest);
            assert_eq!(rest, b"");
        },
    );
    let (serve, mut tunnel) = expecting(&upstream);
    let head = read_head(&mut tunnel.stream);
    assert!(head.starts_with("HTTP/1.1 413 "), "the final status, and no 100 before it: {head}");
    let mut body = [0; 4];
    tunnel.stream.read_exact(&mut body).expect("the answer's body");
    // the client sends it all the same, as some do: it goes nowhere
    let _ = tunnel.stream.write_all(b"hello");
    upstream.finish();
    drop(tunnel);
    let records = serve.stop().audit();
    let exchange = of(&records, "exchange")[0];
    assert_eq!((exchange["status"].as_u64(), exchange["bytes_out"].as_u64()), (Some(413), Some(0)), "{exchange}");
}
