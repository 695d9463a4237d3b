//! The end of a service: who idles is not waited for, what is under way gets its time, and no other signal ends it.

use crate::support::client::{none, tunnel, whole};
use crate::support::locum::of;
use crate::support::wire::{connect, read_head};
use crate::support::{HANGS, Home, Http, Serve, Tunnel, Upstream};
use rustix::process::Signal;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Instant;

/// A drain that no test waits for.
const LONG: &str = "[limits]\ndrain = \"1h\"\n";

/// A connection on which so much was said, and a head heard where one is to come.
fn after(serve: &Serve, said: &[u8], hears: bool) -> TcpStream {
    let mut stream = connect(serve.address);
    stream.write_all(said).expect("bytes");
    if hears {
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 "));
    }
    stream
}

/// TLS in a tunnel, in which so much was said, and a head heard where one is to come.
fn inside(serve: &Serve, upstream: &Upstream, alpn: &[u8], said: &[u8], hears: bool) -> Tunnel {
    let mut tunnel = Tunnel::open(serve, &upstream.authority(), "localhost", alpn).expect("a tunnel");
    tunnel.stream.conn.complete_io(&mut tunnel.stream.sock).expect("a handshake");
    tunnel.stream.write_all(said).and_then(|()| tunnel.stream.flush()).expect("bytes");
    if hears {
        assert!(read_head(&mut tunnel.stream).starts_with("HTTP/1.1 "));
    }
    tunnel
}

#[test]
fn idle_connections_of_each_kind_do_not_hold_up_the_end() {
    let (upstream, unread) = (Upstream::start(), Upstream::start());
    let proxy = format!(
        "connect_ports = [{}, {}]\npassthrough = [\"localhost:{}\"]",
        upstream.port(),
        unread.port(),
        unread.port()
    );
    let serve = Home::with(&proxy, LONG).serve();
    let authority = upstream.authority();
    let open = format!("CONNECT {authority} HTTP/1.1\r\n\r\n");
    let plain = [
        after(&serve, b"", false),
        after(&serve, b"GET http://", false),
        after(&serve, b"GET http://localhost:9/ HTTP/1.1\r\nHost: localhost:9\r\n\r\n", true),
        after(&serve, open.as_bytes(), true),
        after(&serve, format!("CONNECT {} HTTP/1.1\r\n\r\n", unread.authority()).as_bytes(), true),
    ];
    let mut half_a_handshake = after(&serve, open.as_bytes(), true);
    half_a_handshake.write_all(b"\x16\x03\x01\x02\x00\x01").expect("bytes");
    let get = format!("GET / HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    let and_a_half = format!("{get}GET / HTTP/1.1\r\nHost: ");
    let tls = [
        inside(&serve, &upstream, b"http/1.1", b"", false),
        inside(&serve, &upstream, b"http/1.1", get.as_bytes(), true),
        inside(&serve, &upstream, b"http/1.1", and_a_half.as_bytes(), true),
        inside(&serve, &upstream, b"h2", b"", false),
        inside(&serve, &upstream, b"h2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", false),
    ];
    let records = serve.stop().audit();
    let tunnels = of(&records, "tunnel");
    assert_eq!((tunnels.len(), &tunnels[0]["error"]), (1, &"locum was stopped".into()), "{records:#?}");
    drop((plain, half_a_handshake, tls));
}

#[tokio::test]
async fn what_still_passes_is_waited_for() {
    let upstream = Upstream::start();
    let feed = upstream.on("/endless", http::Response::builder());
    let proxy = format!("connect_ports = [{0}]", upstream.port());
    let serve = Home::with(&proxy, LONG).serve();
    let mut idle = serve.client(&upstream, Http::Two).await;
    assert_eq!(idle.get("/").await.status, 200);
    let mut client = serve.client(&upstream, Http::One).await;
    let response = client.send(client.request("GET", "/endless").body(none()).unwrap()).await.unwrap();
    serve.signal(Signal::TERM);
    serve.await_said(|line| line.starts_with("locum: draining"));
    // no new one is let in, and none is left waiting
    let end = Instant::now() + HANGS;
    while tunnel(serve.address, &upstream.authority(), "").await.is_ok() {
        assert!(Instant::now() < end, "it accepts");
    }
    feed.send("hello!");
    drop(feed);
    assert_eq!(whole(response).await.expect("all of it").text(), "hello!");
    drop((client, idle));
    serve.drained().await.verify();
}

#[tokio::test]
async fn a_signal_of_no_meaning_does_not_end_it() {
    let upstream = Upstream::start();
    let mut serve = Home::bound(&[&upstream]).serve();
    serve.signal(Signal::USR1);
    serve.await_said(|line| line.starts_with("locum: SIGUSR1 has no meaning here"));
    let mut client = serve.client(&upstream, Http::One).await;
    assert_eq!(client.get("/").await.status, 200);
    assert!(serve.is_alive());
}
