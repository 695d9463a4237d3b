//! WebSockets and tunnels, which stay open though nothing is said.

use super::{Change, ELSEWHERE, FIRST, OLD, SECOND, Setting, TOOL, add_agent, arrived, reasons};
use crate::support::client::fed;
use crate::support::locum::of;
use crate::support::websocket::{Socket, over};
use crate::support::wire::{connect, read_head};
use crate::support::{HANGS, Home, Http, Upstream};
use bytes::Bytes;
use http_body::Frame;
use locum::proxy::wire::ws_frames::Opcode;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

/// Nothing is said on it: it is closed all the same, and says why.
#[test]
fn a_websocket_ends_with_what_it_was_opened_by() {
    for (change, why) in [
        (Change::Wipe, "a rule or a key has changed"),
        (Change::Unbind, "a rule or a key has changed"),
        (Change::Rotate, "a rule or a key has changed"),
        (Change::Revoke, "the token is not known"),
    ] {
        let upstream = Socket::open(|mut peer| {
            assert_eq!(peer.said(), format!("[\"{OLD}\"]"));
            peer.text("heard");
            assert_eq!(peer.closed().map(|(code, _)| code), Some(1001));
        });
        let setting = Setting::to(&upstream.authority());
        let mut client = setting.websocket(&upstream.authority());
        client.text("[\"<<tool_key>>\"]");
        assert_eq!(client.said(), "heard");
        setting.make(change);
        if change != Change::Rotate {
            client.text("[\"<<tool_key>>\"]");
        }
        assert_eq!(client.closed().map(|(code, _)| code), Some(1012), "{change:?}");
        upstream.finish();
        let records = setting.serve.stop().audit();
        assert_eq!(of(&records, "exchange")[0]["error"], why, "{change:?}");
        let used = of(&records, "substitution").iter().filter(|r| r["where"] == "ws").count();
        assert_eq!(used, 1, "{change:?}: {records:#?}");
    }
}

/// To a host without keys nobody reads along, and whose agent it is counts all the same.
#[test]
fn a_websocket_that_is_not_read_ends_with_its_agent_and_once_its_host_is_bound() {
    for (bind, why) in [(false, "the token is not known"), (true, "a key is bound to its host now")] {
        let upstream = Socket::open(|mut peer| {
            assert_eq!(peer.said(), "before");
            peer.text("heard");
            assert_eq!(peer.next(), None);
        });
        let setting = Setting::with(&upstream.authority(), &format!("[key.tool]\n{ELSEWHERE}\n{TOOL}"), "");
        let mut client = over(setting.tunnel(), &setting.authority, "").expect("a WebSocket").1;
        client.text("before");
        assert_eq!(client.said(), "heard");
        match bind {
            true => setting.rewrite_config(|c| c.replace("elsewhere.example", &setting.authority)),
            false => setting.make(Change::Revoke),
        }
        assert_eq!(client.next(), None);
        upstream.finish();
        let exchange = setting.await_record(|r| r["event"] == "exchange");
        let exchange = of(&exchange, "exchange")[0].clone();
        assert!(exchange["error"].as_str().is_some_and(|e| e.contains(why)), "{exchange}");
    }
}

/// Bytes that nobody reads, there and back.
fn blind(setting: &Setting, authority: &str) -> TcpStream {
    let mut stream = connect(setting.serve.address);
    let head = format!("CONNECT {} HTTP/1.1\r\nProxy-Authorization: Bearer {}\r\n\r\n", authority, setting.token);
    stream.write_all(head.as_bytes()).expect("a head");
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 200 "));
    stream.write_all(b"ping").expect("bytes");
    let mut pong = [0; 4];
    stream.read_exact(&mut pong).expect("bytes");
    assert_eq!(&pong, b"ping");
    stream
}

/// An upstream that says back whatever bytes it gets, on one connection.
fn echo() -> (SocketAddr, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut buffer = [0; 1024];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            stream.write_all(&buffer[..n]).expect("a client");
        }
    });
    (address, thread)
}

#[test]
fn a_tunnel_that_is_not_read_ends_with_what_it_was_opened_by() {
    for (proxy, bind, why) in [
        ("passthrough = [\"localhost\"]\n", false, Some("the token is not known")),
        ("passthrough = [\"localhost\"]\n", true, None),
        ("intercept = \"bound\"\n", false, Some("the token is not known")),
        ("intercept = \"bound\"\n", true, Some("it is to be read now")),
    ] {
        let (address, upstream) = echo();
        let authority = format!("localhost:{}", address.port());
        let setting = Setting::with(&authority, &format!("[key.tool]\n{ELSEWHERE}\n{TOOL}"), proxy);
        let mut stream = blind(&setting, &authority);
        match bind {
            true => setting.rewrite_config(|c| c.replace("elsewhere.example", &authority)),
            false => setting.make(Change::Revoke),
        }
        if let Some(why) = why {
            assert_eq!(stream.read(&mut [0]).ok(), Some(0), "{proxy} {bind}");
            let records = setting.await_record(|r| r["event"] == "tunnel");
            let record = of(&records, "tunnel")[0];
            assert!(record["error"].as_str().is_some_and(|e| e.contains(why)), "{record}");
        } else {
            stream.write_all(b"ping").expect("bytes");
            stream.read_exact(&mut [0; 4]).expect("bytes");
        }
        drop(stream);
        upstream.join().expect("the upstream");
    }
}

#[test]
fn a_tunnel_that_is_not_read_ends_once_its_address_may_not_be_dialled() {
    let (address, upstream) = echo();
    let authority = format!("localhost:{}", address.port());
    let keys = format!("[key.tool]\n{ELSEWHERE}\n{TOOL}");
    let setting = Setting::with(&authority, &keys, "passthrough = [\"localhost\"]\n");
    let mut stream = blind(&setting, &authority);
    setting.rewrite_config(|c| c.replace("127.0.0.0/8", "127.0.0.0/32"));
    assert_eq!(stream.read(&mut [0]).ok(), Some(0));
    let records = setting.await_record(|r| r["event"] == "tunnel");
    let record = of(&records, "tunnel")[0];
    let why = "ended by a change of the rules: its host is not reached in this way now";
    assert_eq!(record["error"], why, "{record}");
    drop(stream);
    upstream.join().expect("the upstream");
}

/// Whatever an agent has under way when its token expires, be it silent or not.
#[tokio::test]
async fn nothing_outlives_the_token_it_was_opened_with() {
    let upload_to = Arc::new(Upstream::start());
    let quiet = Socket::open(|mut peer| while peer.next().is_some() {});
    let loud = Socket::open(|mut peer| drop(peer.echo()));
    let (echoing, upstream) = echo();
    let authorities = [upload_to.authority(), quiet.authority(), loud.authority()];
    let ports: Vec<&str> = authorities.iter().map(|a| a.rsplit_once(':').expect("a port").1).collect();
    let proxy = format!(
        "connect_ports = [{}, {}]\npassthrough = [\"localhost:{}\"]\n",
        ports.join(", "),
        echoing.port(),
        echoing.port()
    );
    let hosts = authorities.map(|a| format!("\"{a}\"")).join(", ");
    let home = Home::with(&proxy, &format!("[key.tool]\nhosts = [{hosts}]\n{TOOL}"));
    std::fs::write(home.path().join("tool"), OLD).expect("a file");
    add_agent(&home, &["another"]);
    let serve = home.serve();
    let token = add_agent(&serve.home, &["worker", "--expires", "10s"]);
    let setting = Setting { serve, authority: upload_to.authority(), token };
    setting.await_tokens();

    let mut client = setting.client(Http::One).await;
    let (feed, body) = fed();
    let request = client.request("POST", "/upload").body(body).expect("a request");
    let answer = tokio::spawn(async move { client.ask(request).await });
    feed.send(Frame::data(Bytes::from(FIRST))).expect("an upload");
    arrived(&upload_to, OLD).await;
    let mut stream = blind(&setting, &format!("localhost:{}", echoing.port()));
    let mut silent = setting.websocket(&quiet.authority());
    let mut talking = setting.websocket(&loud.authority());
    let until = Instant::now() + HANGS;
    let talked = tokio::task::spawn_blocking(move || {
        loop {
            assert!(Instant::now() < until, "it may still talk");
            talking.text("there?");
            match talking.message() {
                Some((Opcode::Text, _)) => {}
                closed => return closed,
            }
        }
    });
    let waited = tokio::task::spawn_blocking(move || (silent.closed(), stream.read(&mut [0]).ok()));
    let restart = 1012_u16.to_be_bytes();
    assert!(
        talked.await.expect("its end").is_some_and(|(opcode, said)| opcode == Opcode::Close && said[..2] == restart)
    );
    let (closed, read) = waited.await.expect("its end");
    assert_eq!((closed.map(|(code, _)| code), read), (Some(1012), Some(0)));
    // whoever was refused may have hung up
    let _ = feed.send(Frame::data(Bytes::from(SECOND)));
    drop(feed);
    assert_eq!(answer.await.expect("an answer").status, 407);
    assert_eq!(upload_to.only().text(), format!("[\"{OLD}\", 1"));
    quiet.finish();
    loud.finish();
    upstream.join().expect("the upstream");
    let records = setting.serve.drained().await.audit();
    let ended = [of(&records, "exchange"), of(&records, "tunnel")].concat();
    assert_eq!(ended.len(), 3, "{records:#?}");
    assert!(ended.iter().all(|r| r["error"].as_str().is_some_and(|e| e.contains("has expired"))), "{records:#?}");
    assert!(reasons(&records).contains("has expired"), "{records:#?}");
}
