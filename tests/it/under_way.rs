//! What has begun before a change follows it: uploads, held bodies, WebSockets and tunnels, after a wipe, a reload, a
//! rotation, and the end of an agent's token.

mod connections;

use crate::support::authority::{self, Certificate};
use crate::support::client::{BOTH, fed, none, tunnel};
use crate::support::locum::{of, stdout, told};
use crate::support::stores::locum;
use crate::support::tunnel::{Tunnel, answers};
use crate::support::upstream::Seen;
use crate::support::websocket::{Peer, Tls, over};
use crate::support::wire::read_head;
use crate::support::{Client, HANGS, Home, Http, Serve, Upstream};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt as _;
use rustix::process::Signal;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

const OLD: &str = "tk-old-5f0c2d9be1a84763";
const NEW: &str = "tk-new-91d27c0aa4b6e85f";
/// The number tells that the value before it has ended.
const FIRST: &str = "[\"<<tool_key>>\", 1";
const SECOND: &str = ", \"<<tool_key>>\"]";

/// What may happen while something is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Wipe,
    /// The key is bound to another host.
    Unbind,
    /// Its file has another value.
    Rotate,
    /// The token of the agent counts no longer.
    Revoke,
    /// Another key and another agent are added.
    Unrelated,
}

/// A service whose one agent may ask for hosts that `<<tool_key>>` may go to: in headers, in bodies and in messages.
struct Setting {
    serve: Serve,
    authority: String,
    token: String,
}

fn add_agent(home: &Home, arguments: &[&str]) -> String {
    let added = locum(home, &[&["agent", "add"], arguments].concat(), "");
    assert!(added.status.success(), "{}", told(&added));
    stdout(&added).trim().to_owned()
}

impl Setting {
    fn to(authority: &str) -> Self {
        Self::with(authority, &format!("[key.tool]\nhosts = [\"{authority}\"]\n{TOOL}"), "")
    }

    fn with(authority: &str, keys: &str, proxy: &str) -> Self {
        let port = authority.rsplit_once(':').expect("a port").1;
        let home = Home::with(&format!("connect_ports = [{port}]\n{proxy}"), keys);
        std::fs::write(home.path().join("tool"), OLD).expect("a file");
        let token = add_agent(&home, &["worker"]);
        Self { serve: home.serve(), authority: authority.to_owned(), token }
    }

    /// The agent's connection.
    async fn client(&self, http: Http) -> Client {
        let stream = tunnel(self.serve.address, &self.authority, &self.token).await.expect("a tunnel");
        Client::over(stream, &self.serve.ca, &self.authority, http).await
    }

    fn tunnel(&self) -> Tunnel {
        Tunnel::of_agent(&self.serve, &self.authority, &self.token).expect("a tunnel")
    }

    fn websocket(&self, authority: &str) -> Peer<Tls> {
        let tunnel = Tunnel::of_agent(&self.serve, authority, &self.token).expect("a tunnel");
        over(tunnel, authority, "Authorization: Bearer <<tool_key>>\r\n").expect("a WebSocket").1
    }

    fn rewrite_config(&self, change: impl Fn(&str) -> String) {
        let config = std::fs::read_to_string(self.serve.home.config()).expect("the config");
        self.serve.home.write_config(&change(&config));
        self.serve.signal(Signal::HUP);
        self.serve.await_said(|line| line == "locum: reloaded");
    }

    fn await_tokens(&self) {
        self.serve.await_said(|line| line == "locum: the agents' tokens have changed and are taken over");
    }

    /// Makes a change, and returns once it counts; a rotation counts within a second, which [`Self::rotated`] waits for.
    fn make(&self, change: Change) {
        let (home, tool) = (&self.serve.home, self.serve.home.path().join("tool"));
        match change {
            Change::Wipe => {
                self.serve.signal(Signal::USR2);
                self.serve.await_said(|line| line.starts_with("locum: all keys are wiped"));
            }
            Change::Unbind => {
                self.rewrite_config(|c| c.replace(&format!("hosts = [\"{}\"]", self.authority), ELSEWHERE))
            }
            Change::Rotate => {
                std::fs::write(tool.with_extension("new"), NEW).expect("a file");
                std::fs::rename(tool.with_extension("new"), tool).expect("a file");
            }
            Change::Revoke => {
                assert!(locum(home, &["agent", "revoke", "worker"], "").status.success());
                self.await_tokens();
            }
            Change::Unrelated => {
                self.rewrite_config(|c| {
                    format!("{c}[key.other]\nhosts = [\"other.example\"]\nsource = \"file:tool\"\n")
                });
                add_agent(home, &["another"]);
                self.await_tokens();
            }
        }
    }

    /// Asks in requests of their own until the upstream is shown the new value.
    async fn rotated(&self, upstream: &Upstream) {
        let until = Instant::now() + HANGS;
        let mut client = self.client(Http::Two).await;
        loop {
            let request =
                client.request("GET", "/probe").header("x-tool", "<<tool_key>>").body(none()).expect("a request");
            assert_eq!(client.ask(request).await.status, 200);
            if upstream.seen().iter().any(|seen| seen.header("x-tool").as_deref() == Some(NEW)) {
                return;
            }
            assert!(Instant::now() < until, "the new value never counted");
        }
    }

    async fn make_and_await(&self, change: Change, upstream: &Upstream) {
        self.make(change);
        if change == Change::Rotate {
            self.rotated(upstream).await;
        }
    }

    /// The records, once there is one that is wanted.
    fn await_record(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let until = Instant::now() + HANGS;
        loop {
            let records = self.serve.home.records();
            if records.iter().any(&wanted) {
                return records;
            }
            assert!(Instant::now() < until, "it was never recorded: {records:#?}");
        }
    }
}

/// The rest of the key's table.
const TOOL: &str = "source = \"file:tool\"\nwhere = [\"header\", \"body\", \"ws\"]\n";
const ELSEWHERE: &str = "hosts = [\"elsewhere.example\"]";

async fn arrived(upstream: &Arc<Upstream>, text: &'static str) {
    let upstream = upstream.clone();
    tokio::task::spawn_blocking(move || upstream.await_arrived(text)).await.expect("a body");
}

/// The upload among what the upstream saw.
fn upload(upstream: &Upstream, others: usize) -> Seen {
    let seen = upstream.await_seen(others + 1);
    seen.into_iter().find(|seen| seen.target == "/upload").expect("an upload")
}

fn reasons(records: &[Value]) -> String {
    of(records, "refusal").iter().map(|r| r["reason"].to_string()).collect()
}

/// A connection may be long in coming: what was decided before is asked again when the head is about to leave.
#[tokio::test]
async fn a_head_that_waits_for_its_connection_is_judged_again_before_it_leaves() {
    for (change, status, seen) in [
        (Change::Wipe, 503, None),
        (Change::Unbind, 403, None),
        (Change::Revoke, 407, None),
        (Change::Unrelated, 200, Some(OLD)),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let setting = Setting::to(&format!("localhost:{}", listener.local_addr().expect("an address").port()));
        let mut client = setting.client(Http::One).await;
        let request = client.request("GET", "/").header("x-tool", "<<tool_key>>").body(none()).expect("a request");
        let answer = tokio::spawn(async move { client.ask(request).await });
        // accepted, and TLS waits for the change
        let came = tokio::task::spawn_blocking(move || listener.accept().expect("a connection").0).await;
        setting.make(change);
        let config = Arc::new(authority::server(Certificate::Good, &["http/1.1"]));
        let (tell, answered) = mpsc::channel::<()>();
        let served = tokio::task::spawn_blocking(move || {
            let tls = rustls::ServerConnection::new(config).expect("a session");
            let mut tls = rustls::StreamOwned::new(tls, came.expect("a connection"));
            tls.conn.complete_io(&mut tls.sock).expect("a handshake");
            if seen.is_none() {
                answered.recv().expect("an answer");
                // what was sent is there
                tls.sock.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
            }
            let head = read_head(&mut tls);
            let _ = tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            head
        });
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status, status, "{change:?}: {}", answer.text());
        let _ = tell.send(());
        let head = served.await.expect("the upstream");
        assert_eq!(head.contains(OLD), seen.is_some(), "{change:?}: {head}");
        assert_eq!(head.is_empty(), seen.is_none(), "{change:?}: {head}");
    }
}

#[tokio::test]
async fn an_open_upload_uses_the_new_value_of_a_store() {
    let upstream = Arc::new(Upstream::start());
    let table = TOOL.replace("file:tool", "machine");
    let home = Home::with(&format!("connect_ports = [{}]\n", upstream.port()), "");
    let binding = format!("[key.tool]\nhosts = [\"{}\"]\n{table}", upstream.authority());
    home.write_config(&format!("{}{binding}", std::fs::read_to_string(home.config()).expect("the config")));
    let stored = locum(&home, &["key", "set", "tool", "--stdin"], OLD);
    assert!(stored.status.success(), "{}", told(&stored));
    let token = add_agent(&home, &["worker"]);
    let setting = Setting { serve: home.serve(), authority: upstream.authority(), token };
    let mut client = setting.client(Http::Two).await;
    let (feed, body) = fed();
    let request = client.request("POST", "/upload").body(body).expect("a request");
    let answer = tokio::spawn(async move { client.ask(request).await });
    feed.send(Frame::data(Bytes::from(FIRST))).expect("an upload");
    arrived(&upstream, OLD).await;
    let rotated = locum(&setting.serve.home, &["key", "rotate", "tool", "--stdin"], NEW);
    assert!(rotated.status.success(), "{}", told(&rotated));
    setting.rotated(&upstream).await;
    let probes = upstream.seen().len();
    feed.send(Frame::data(Bytes::from(SECOND))).expect("an upload");
    drop(feed);
    assert_eq!(answer.await.expect("an answer").status, 200);
    assert_eq!(upload(&upstream, probes).text(), format!("[\"{OLD}\", 1, \"{NEW}\"]"));
}

#[tokio::test]
async fn an_open_upload_follows_what_changes() {
    for (change, status, why) in [
        (Change::Wipe, 503, "wiped"),
        (Change::Unbind, 403, "its host is not bound"),
        (Change::Rotate, 200, ""),
        (Change::Revoke, 407, "the token is not known"),
        (Change::Unrelated, 200, ""),
    ] {
        for http in BOTH {
            let upstream = Arc::new(Upstream::start());
            let setting = Setting::to(&upstream.authority());
            let mut client = setting.client(http).await;
            let (feed, body) = fed();
            let request = client.request("POST", "/upload").body(body).expect("a request");
            let answer = tokio::spawn(async move { client.ask(request).await });
            feed.send(Frame::data(Bytes::from(FIRST))).expect("an upload");
            arrived(&upstream, OLD).await;
            setting.make_and_await(change, &upstream).await;
            let probes = upstream.seen().len();
            // whoever was refused may have hung up
            let _ = feed.send(Frame::data(Bytes::from(SECOND)));
            drop(feed);
            let answer = answer.await.expect("an answer");
            assert_eq!(answer.status, status, "{change:?} {http:?}: {}", answer.text());
            let seen = upload(&upstream, probes);
            let second = if change == Change::Rotate { NEW } else { OLD };
            let whole = format!("[\"{OLD}\", 1, \"{second}\"]");
            let sent = if status == 200 { whole } else { format!("[\"{OLD}\", 1") };
            assert_eq!((seen.text(), seen.whole), (sent, status == 200), "{change:?} {http:?}");
            let records = setting.serve.drained().await.audit();
            let used = of(&records, "substitution").iter().filter(|r| r["where"] == "body").count();
            assert_eq!(used, if status == 200 { 2 } else { 1 }, "{change:?} {http:?}: {records:#?}");
            assert!(reasons(&records).contains(why), "{change:?} {http:?}: {records:#?}");
        }
    }
}

/// As the answer has begun there is no status to say it with: the upload breaks off, and the audit says why.
#[tokio::test]
async fn an_upload_that_is_answered_meanwhile_breaks_off() {
    for http in BOTH {
        let upstream = Arc::new(Upstream::start());
        let setting = Setting::to(&upstream.authority());
        let mut client = setting.client(http).await;
        let (feed, body) = fed();
        let request = client.request("POST", "/mirror").body(body).expect("a request");
        feed.send(Frame::data(Bytes::from(FIRST))).expect("an upload");
        let mut answer = client.send(request).await.expect("an answer").into_body();
        let mut mirrored = Vec::new();
        while !String::from_utf8_lossy(&mirrored).contains("_key>>\"") {
            mirrored.extend(answer.frame().await.expect("a frame").expect("a frame").into_data().expect("data"));
        }
        setting.make(Change::Wipe);
        feed.send(Frame::data(Bytes::from(SECOND))).expect("an upload");
        let end = tokio::time::timeout(HANGS, async { while let Some(Ok(_)) = answer.frame().await {} }).await;
        assert!(end.is_ok(), "{http:?}");
        drop((feed, client));
        let records = setting.serve.drained().await.audit();
        assert!(reasons(&records).contains("wiped"), "{http:?}: {records:#?}");
        let exchange = of(&records, "exchange")[0];
        assert!(exchange["error"].as_str().is_some_and(|e| e.contains("wiped")), "{http:?}: {exchange}");
    }
}

/// Where no key may go into it either: an agent that may ask no more sends no more.
#[tokio::test]
async fn an_upload_without_keys_ends_with_its_agent() {
    for http in BOTH {
        let upstream = Arc::new(Upstream::start());
        let setting = Setting::with(&upstream.authority(), "", "");
        let mut client = setting.client(http).await;
        let (feed, body) = fed();
        let request = client.request("POST", "/upload").body(body).expect("a request");
        let answer = tokio::spawn(async move { client.ask(request).await });
        feed.send(Frame::data(Bytes::from("before"))).expect("an upload");
        arrived(&upstream, "before").await;
        setting.make(Change::Revoke);
        let _ = feed.send(Frame::data(Bytes::from("after")));
        drop(feed);
        assert_eq!(answer.await.expect("an answer").status, 407, "{http:?}");
        assert_eq!((upstream.only().text(), upstream.only().whole), ("before".into(), false), "{http:?}");
    }
}

/// Its head was judged before the body came, and is judged again once it's there: no key is had before.
#[tokio::test]
async fn a_held_body_is_judged_when_it_is_there() {
    for (change, status, seen) in [
        (Change::Wipe, 503, None),
        // a placeholder in a body that no key may go into is text
        (Change::Unbind, 200, Some("<<tool_key>>")),
        (Change::Rotate, 200, Some(NEW)),
        (Change::Revoke, 407, None),
        (Change::Unrelated, 200, Some(OLD)),
    ] {
        let upstream = Upstream::start();
        let setting = Setting::to(&upstream.authority());
        let mut tunnel = setting.tunnel();
        let body = "[\"<<tool_key>>\"]";
        let head = format!(
            "POST /upload HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\
             Content-Type: application/json\r\nConnection: close\r\n\r\n",
            setting.authority,
            body.len()
        );
        tunnel.stream.write_all(head.as_bytes()).expect("a head");
        assert!(read_head(&mut tunnel.stream).starts_with("HTTP/1.1 100 "), "{change:?}");
        tunnel.stream.write_all(&body.as_bytes()[..6]).expect("a beginning");
        setting.make_and_await(change, &upstream).await;
        let probes = upstream.seen().len();
        tunnel.stream.write_all(&body.as_bytes()[6..]).expect("the rest");
        let mut said = Vec::new();
        let _ = tunnel.stream.read_to_end(&mut said);
        assert_eq!(answers(&said).first().map(|told| told.status), Some(status), "{change:?}: {said:?}");
        match seen {
            Some(value) => assert_eq!(upload(&upstream, probes).text(), format!("[\"{value}\"]"), "{change:?}"),
            None => assert_eq!(upstream.begun(), 0, "{change:?}"),
        }
        let records = setting.serve.drained().await.audit();
        let used = of(&records, "substitution").iter().filter(|r| r["where"] == "body").count();
        assert_eq!(used, usize::from(seen.is_some_and(|value| value != "<<tool_key>>")), "{change:?}: {records:#?}");
    }
}
