//! Every way in which an exchange can end: who ended it, when, and what its record says; and that all who count agree on it.

use crate::support::client::{BOTH, fed, none, whole};
use crate::support::locum::{finish, of, stderr, stdout, told};
use crate::support::upstream::Feed;
use crate::support::wire::{self, Raw};
use crate::support::{Client, HANGS, Home, Http, Serve, Upstream};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// What there is on the other side.
#[derive(Clone, Copy)]
enum Side {
    /// The upstream of the tests, asked for this path.
    Path(&'static str),
    /// One whose answer the test feeds.
    Fed,
    /// One that says this, and closes.
    Says(&'static [u8]),
    /// Nobody listens.
    Nobody,
}

/// What the agent does.
#[derive(Clone, Copy, PartialEq)]
enum Act {
    /// Asks, and reads the answer to its end.
    Reads(&'static str),
    /// The same, and takes trailers.
    TakesTrailers,
    /// Asks with a placeholder that nothing is known of.
    Names,
    /// Reads what comes before trailers, and then those.
    ReadsOn,
    /// Leaves before the answer's head.
    LeavesBeforeHead,
    /// Leaves when some of the body has come.
    LeavesInBody,
    /// Breaks off its own body.
    BreaksOff,
    /// Waits for the head while locum is stopped.
    IsStoppedBeforeHead,
    /// The same, when some of the body has come.
    IsStoppedInBody,
}

use Act::*;
use Side::*;

/// Who ended it and when; what is there and what is done; the event, status, success and error of the record.
type Row = (&'static str, &'static str, Side, Act, &'static str, Option<u16>, bool, &'static str);

const GET: Act = Reads("GET");
const HEAD_ONLY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2";
const NO_LAST_CHUNK: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
const HALF_TRAILER: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum";
const TRAILER: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n";
const TO_THE_END: &[u8] = b"HTTP/1.1 200 OK\r\n\r\nall of it";

#[rustfmt::skip]
const ENDINGS: [Row; 24] = [
    ("nobody", "after the head, which has no body", Path("/status/204"), GET, "exchange", Some(204), true, ""),
    ("nobody", "after the head, as was asked", Path("/echo"), Reads("HEAD"), "exchange", Some(200), true, ""),
    ("nobody", "at the end, by its length", Path("/echo"), GET, "exchange", Some(200), true, ""),
    ("nobody", "at the end of a long body", Path("/blob?n=300000"), GET, "exchange", Some(200), true, ""),
    ("nobody", "at the last chunk", Path("/chunked"), GET, "exchange", Some(200), true, ""),
    ("nobody", "after trailers, which the agent takes", Path("/trailers"), TakesTrailers, "exchange", Some(200), true, ""),
    ("nobody", "after trailers, which it doesn't", Path("/trailers"), GET, "exchange", Some(200), true, ""),
    ("nobody", "after trailers that come later", Fed, ReadsOn, "exchange", Some(200), true, ""),
    ("nobody", "at the end, with an error", Path("/status/401"), GET, "exchange", Some(401), true, ""),
    ("upstream", "at the end, by closing", Says(TO_THE_END), GET, "exchange", Some(200), true, ""),
    ("upstream", "after trailers that nobody announced", Says(TRAILER), GET, "exchange", Some(200), true, ""),
    ("upstream", "before it was reached", Nobody, GET, "refusal", Some(502), false, "upstream-failed"),
    ("upstream", "before the head", Says(b""), GET, "refusal", Some(502), false, "upstream-failed"),
    ("upstream", "in the head", Says(HEAD_ONLY), GET, "refusal", Some(502), false, "upstream-failed"),
    ("upstream", "in a body that is held", Path("/cut"), GET, "refusal", Some(502), false, "upstream-failed"),
    ("upstream", "in a body", Path("/cut-chunked"), GET, "exchange", Some(200), false, "the upstream broke off its response"),
    ("upstream", "before the last chunk", Says(NO_LAST_CHUNK), GET, "exchange", Some(200), false, "the upstream broke off its response"),
    ("upstream", "in the trailers", Says(HALF_TRAILER), GET, "exchange", Some(200), false, "the upstream broke off its response"),
    ("agent", "before the head", Fed, LeavesBeforeHead, "exchange", None, false, "the agent hung up"),
    ("agent", "in the body", Fed, LeavesInBody, "exchange", Some(200), false, "the agent hung up"),
    ("agent", "in its own body", Path("/upload"), BreaksOff, "exchange", None, false, "the agent "),
    ("locum", "before the head", Path("/echo"), Names, "refusal", Some(403), false, "placeholder-refused"),
    ("locum", "before the head, being stopped", Fed, IsStoppedBeforeHead, "exchange", None, false, "locum was stopped"),
    ("locum", "in the body, being stopped", Fed, IsStoppedInBody, "exchange", Some(200), false, "locum was stopped"),
];

/// What the agent speaks and what the upstream does, and whether a key is bound to it, so that its answers are searched.
const SIDES: [(Http, &[&str], bool); 6] = [
    (Http::One, &["http/1.1"], true),
    (Http::One, &["http/1.1"], false),
    (Http::One, &["h2"], true),
    (Http::Two, &["http/1.1"], true),
    (Http::Two, &["h2"], true),
    (Http::Two, &["h2"], false),
];

/// A proxy before what is there, with a key for it or without.
fn before(authority: &str, bound: bool) -> Serve {
    let port = authority.rsplit_once(':').unwrap().1;
    let key = if bound { format!("[key.tool]\nhosts = [\"{authority}\"]\n") } else { String::new() };
    // who has left is noticed before what is under way would be cut
    let limits = "[limits]\ndrain = \"1m\"\n";
    Home::with(&format!("connect_ports = [{port}]\n"), &(key + limits)).serve()
}

async fn read(client: &mut Client, method: &str, path: &str, header: Option<(&str, &str)>) {
    let mut request = client.request(method, path);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    if let Ok(response) = client.send(request.body(none()).unwrap()).await {
        // the record says how it ended
        let _ = whole(response).await;
    }
}

/// An answer that the test feeds, as far as it has come; what is fed goes on until this is dropped.
struct PartWay {
    body: Option<Incoming>,
    feed: Feed,
    _gate: Option<oneshot::Sender<()>>,
}

/// Resolves once a request has come, while this runtime's clients go on.
async fn begun(upstream: &Upstream) {
    let begun = async {
        while upstream.begun() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(HANGS, begun).await.expect("a request");
}

/// Told twice to stop, it does so at once.
async fn stopped(serve: Serve) -> Home {
    serve.signal(Signal::TERM);
    serve.await_said(|line| line.starts_with("locum: draining"));
    serve.drained().await
}

/// Returns once the upstream has the request, and where it is to some of the body has come.
async fn part_way(client: &mut Client, upstream: &Upstream, in_body: bool) -> PartWay {
    let (gate, feed) = upstream.hold("/", Response::builder().header("trailer", "x-sum"));
    let request = client.request("GET", "/").body(none()).unwrap();
    if in_body {
        drop(gate);
        feed.send("some!");
        let mut body = client.send(request).await.unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "some!");
        return PartWay { body: Some(body), feed, _gate: None };
    }
    tokio::select! {
        answer = client.send(request) => panic!("an answer: {answer:?}"),
        () = begun(upstream) => {}
    }
    PartWay { body: None, feed, _gate: Some(gate) }
}

async fn read_on(PartWay { body, feed, .. }: PartWay) {
    feed.trailers(HeaderMap::from_iter([(HeaderName::from_static("x-sum"), HeaderValue::from_static("1"))]));
    let rest = tokio::time::timeout(HANGS, body.unwrap().collect()).await;
    rest.expect("an end").expect("a good one");
}

/// Plays a row, and gives the only record of how it ended.
async fn play(side: Side, act: Act, http: Http, alpn: &'static [&'static str], bound: bool) -> Value {
    let upstream = Upstream::speaking(alpn);
    let raw = if let Says(answer) = side { Some(Raw::saying(answer, 1)) } else { None };
    let port = match (side, &raw) {
        (Nobody, _) => wire::closed_port(),
        (_, Some(raw)) => raw.address.port(),
        _ => upstream.port(),
    };
    let authority = format!("localhost:{port}");
    let serve = before(&authority, bound);
    let mut client = Client::open(serve.address, &serve.ca, &authority, http).await;
    let path = if let Path(path) = side { path } else { "/" };
    match act {
        Reads(method) => read(&mut client, method, path, None).await,
        TakesTrailers => read(&mut client, "GET", path, Some(("te", "trailers"))).await,
        Names => read(&mut client, "GET", path, Some(("authorization", "Bearer <<nobody_key>>"))).await,
        ReadsOn => read_on(part_way(&mut client, &upstream, true).await).await,
        LeavesBeforeHead | LeavesInBody => {
            let held = part_way(&mut client, &upstream, act == LeavesInBody).await;
            drop((held.body, client));
            // the upstream goes on for as long as it is listened to
            let home = serve.drained().await;
            return only(&home);
        }
        BreaksOff => break_off(&mut client, path, &upstream).await,
        IsStoppedBeforeHead => {
            let (_gate, _feed) = upstream.hold("/", Response::builder());
            let request = client.request("GET", "/").body(none()).unwrap();
            let stopping = async {
                begun(&upstream).await;
                stopped(serve).await
            };
            let (answer, home) = tokio::join!(client.send(request), stopping);
            assert!(answer.is_err(), "{answer:?}");
            return only(&home);
        }
        IsStoppedInBody => {
            let held = part_way(&mut client, &upstream, true).await;
            let home = stopped(serve).await;
            drop((held, client));
            return only(&home);
        }
    }
    drop(client);
    let home = serve.drained().await;
    if let Some(raw) = raw {
        raw.finish();
    }
    only(&home)
}

/// Sends some of a body, and gives up once it has come.
async fn break_off(client: &mut Client, path: &str, upstream: &Upstream) {
    let (feed, body) = fed();
    feed.send(Frame::data(Bytes::from_static(b"some"))).unwrap();
    let request = client.request("POST", path).body(body).unwrap();
    tokio::select! {
        answer = client.send(request) => panic!("an answer: {answer:?}"),
        () = begun(upstream) => {}
    }
}

fn only(home: &Home) -> Value {
    let records = home.audit();
    let ended = [of(&records, "exchange"), of(&records, "refusal")].concat();
    let [ended] = ended[..] else { panic!("{records:#?}") };
    ended.clone()
}

#[tokio::test]
async fn every_ending_is_recorded_as_what_it_was() {
    let mut wrong = Vec::new();
    for (who, when, side, act, event, status, success, error) in ENDINGS {
        for (http, alpn, bound) in SIDES {
            if matches!(side, Says(_) | Nobody) && alpn == ["h2"] {
                continue;
            }
            // where nothing is searched, nothing is held
            let (event, status, error) = match (side, bound) {
                (Path("/cut"), false) => ("exchange", Some(200), "the upstream broke off its response"),
                _ => (event, status, error),
            };
            let record = play(side, act, http, alpn, bound).await;
            let said = record["error"].as_str().unwrap_or_default();
            let is_told = said.starts_with(error) && said.is_empty() == error.is_empty();
            let is_so = record["event"] == event && record["status"] == json!(status) && record["success"] == success;
            if !is_so || !is_told {
                wrong.push(format!("{who}, {when}; {http:?} to {alpn:?}, bound: {bound}: {record}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What has ended well leaves its connection for the next.
#[tokio::test]
async fn a_connection_serves_again_after_every_good_end() {
    for http in BOTH {
        for bound in [true, false] {
            let upstream = Upstream::speaking(&["http/1.1"]);
            let serve = before(&upstream.authority(), bound);
            let mut client = serve.client(&upstream, http).await;
            for (path, method, te) in [
                ("/echo", "GET", false),
                ("/echo", "HEAD", false),
                ("/status/204", "GET", false),
                ("/status/304", "GET", false),
                ("/status/401", "GET", false),
                ("/chunked", "GET", false),
                ("/trailers", "GET", false),
                ("/trailers", "GET", true),
                ("/blob?n=300000", "GET", false),
                ("/echo", "GET", false),
            ] {
                read(&mut client, method, path, te.then_some(("te", "trailers"))).await;
                assert_eq!(upstream.connections(), 1, "{http:?}, bound: {bound}: {method} {path}, {te}");
            }
        }
    }
}

/// An error of the upstream's and a dead one are failures and no refusals, whoever counts.
#[tokio::test]
async fn all_who_count_agree_on_what_failed() {
    let upstream = Upstream::start();
    let dead = wire::closed_port();
    let ports = format!("connect_ports = [{}, {dead}]\n", upstream.port());
    let serve = Home::with(&ports, "").serve();
    let mut client = serve.client(&upstream, Http::One).await;
    for path in ["/echo", "/status/401", "/status/401", "/status/500", "/cut-chunked"] {
        read(&mut client, "GET", path, None).await;
    }
    let mut client = serve.client(&upstream, Http::One).await;
    read(&mut client, "GET", "/", Some(("authorization", "Bearer <<nobody_key>>"))).await;
    let mut client = Client::open(serve.address, &serve.ca, &format!("localhost:{dead}"), Http::One).await;
    read(&mut client, "GET", "/", None).await;
    drop(client);
    let home = serve.drained().await;
    let said = |args: &[&str]| {
        let output = finish(&mut home.locum(&[&["audit"], args].concat()));
        assert!(output.status.success(), "{}", told(&output));
        stdout(&output)
    };
    let stats: Value = serde_json::from_str(&said(&["stats", "--json"])).unwrap();
    assert_eq!((&stats["total"]["failed"], &stats["total"]["refusals"]), (&json!(5), &json!(1)), "{stats}");
    assert!(said(&["stats"]).contains(", 5 requests, 1 refused, 5 failed"), "{}", said(&["stats"]));
    assert_eq!(said(&["query", "--failed", "--json"]).lines().count(), 5 + 1);

    let curl = ["curl", "-q", "-s", "--noproxy", "", "-o", "/dev/null"];
    let url = format!("https://localhost:{dead}/");
    let output = home.run(&[&curl[..], &[&url]].concat());
    let summary = "locum: 0 substitutions, 0 refusals, 0 scrubs, 1 upstream failure; audit: ";
    assert!(stderr(&output).contains(summary), "{}", told(&output));
}
