//! Traffic of every shape goes through unchanged, as it comes, and never held whole: versions, bodies, ends and cuts.

use crate::support::client::{Answer, BOTH, fed, full, none, patterned, pieces, whole};
use crate::support::locum::of;
use crate::support::wire::Raw;
use crate::support::{Client, Home, Http, Serve, Upstream, pattern};
use bytes::Bytes;
use http::{HeaderMap, Response, Version};
use http_body::Frame;
use http_body_util::BodyExt as _;
use std::time::Duration;

const SIDES: [(Http, &[&str], Version); 4] = [
    (Http::One, &["http/1.1"], Version::HTTP_11),
    (Http::One, &["h2"], Version::HTTP_2),
    (Http::Two, &["http/1.1"], Version::HTTP_11),
    (Http::Two, &["h2"], Version::HTTP_2),
];

/// A proxy that knows a key for the upstream, so that everything is searched on both ways.
async fn joined(http: Http, alpn: &'static [&'static str]) -> (Upstream, Serve, Client) {
    let upstream = Upstream::speaking(alpn);
    let home = Home::bound(&[&upstream]);
    between(http, upstream, home).await
}

/// A proxy that knows of no key for the upstream, so that it has no reason to touch anything.
async fn unbound(http: Http, alpn: &'static [&'static str]) -> (Upstream, Serve, Client) {
    let upstream = Upstream::speaking(alpn);
    let home = Home::with(&format!("connect_ports = [{}]\n", upstream.port()), "");
    between(http, upstream, home).await
}

async fn between(http: Http, upstream: Upstream, home: Home) -> (Upstream, Serve, Client) {
    let serve = home.serve();
    let client = serve.client(&upstream, http).await;
    (upstream, serve, client)
}

fn digest_trailer(body: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", pattern::sha256(body.as_bytes()).parse().unwrap());
    trailers
}

fn headed(answer: &Answer, name: &str) -> String {
    answer.header(name).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn every_kind_of_message_in_every_combination_of_versions() {
    for ((http, alpn, version), bound) in SIDES.iter().flat_map(|side| [(*side, true), (*side, false)]) {
        let (upstream, serve, mut client) = if bound { joined(http, alpn).await } else { unbound(http, alpn).await };
        let what = format!("{http:?} to {alpn:?}, {}bound", if bound { "" } else { "un" });

        let answer = client.get("/echo").await;
        assert_eq!((answer.status.as_u16(), answer.json()["method"].as_str()), (200, Some("GET")), "{what}");
        assert_eq!(headed(&answer, "content-length"), answer.body.len().to_string(), "{what}");

        let request = client.request("POST", "/echo").body(full("hello")).unwrap();
        assert_eq!(client.ask(request).await.json()["body"], "hello", "{what}");

        let request = client.request("POST", "/chunked").body(pieces(&["he", "l", "lo"], None)).unwrap();
        let answer = client.ask(request).await;
        assert_eq!(answer.json()["body"], "hello", "{what}");
        assert_eq!(headed(&answer, "content-length"), "", "{what}");

        let request = client.request("POST", "/trailers").header("te", "trailers").header("trailer", "x-checksum");
        let request = request.body(pieces(&["he", "llo"], Some(digest_trailer("hello")))).unwrap();
        let answer = client.ask(request).await;
        let trailers = answer.trailers.as_ref().unwrap_or_else(|| panic!("{what}: no trailers: {answer:?}"));
        assert_eq!(trailers["x-checksum"], pattern::sha256(&answer.body), "{what}");

        let request = client.request("HEAD", "/blob?n=1000").body(none()).unwrap();
        let answer = client.ask(request).await;
        assert_eq!((headed(&answer, "content-length").as_str(), answer.body.len()), ("1000", 0), "{what}");

        for status in [204, 304, 404, 500] {
            let answer = client.get(&format!("/status/{status}")).await;
            let body = if status < 400 { String::new() } else { status.to_string() };
            assert_eq!((answer.status.as_u16(), answer.text()), (status, body), "{what}");
            // what may be rewritten is no longer the same byte for byte
            assert_eq!(
                headed(&answer, "etag"),
                if bound { "W/\"locum-as-it-was\"" } else { "\"as-it-was\"" },
                "{what}"
            );
        }

        let answer = client.get("/redirect?to=/elsewhere").await;
        assert_eq!((answer.status.as_u16(), headed(&answer, "location").as_str()), (302, "/elsewhere"), "{what}");

        let seen = upstream.seen();
        assert_eq!(seen.len(), 10, "{what}");
        assert!(seen.iter().all(|s| s.version == version && s.whole), "{what}: {seen:#?}");
        assert_eq!(seen[0].header("transfer-encoding").or(seen[0].header("content-length")), None, "{what}");
        assert_eq!(seen[1].header("content-length").as_deref(), Some("5"), "{what}");
        assert_eq!(seen[2].header("content-length"), None, "{what}");
        assert_eq!(
            seen[3].trailers.as_ref().map(|t| t["x-checksum"].clone()).unwrap(),
            pattern::sha256(b"hello"),
            "{what}"
        );
        // all of it over one connection, or over two where the upstream turned a version down
        assert!(upstream.connections() <= 2, "{what}: {}", upstream.connections());
        let records = serve.drained().await.audit();
        assert_eq!(of(&records, "exchange").len(), 10, "{what}");
    }
}

#[tokio::test]
async fn what_belongs_to_one_connection_stays_on_it() {
    let (upstream, _serve, mut client) = joined(Http::One, &["http/1.1"]).await;
    let head = Response::builder().header("connection", "x-theirs").header("x-theirs", "1").header("x-kept", "2");
    let head =
        head.header("keep-alive", "timeout=9").header("alt-svc", "h3=\":443\"").header("proxy-authenticate", "Basic");
    drop(upstream.on("/hop", head));
    let request = client.request("GET", "/hop").header("connection", "x-ours").header("x-ours", "1");
    let request = request.header("keep-alive", "timeout=5").header("proxy-connection", "keep-alive");
    let request =
        request.header("proxy-authorization", "Basic eDp5").header("te", "gzip, trailers").header("x-kept", "2");
    let answer = client.ask(request.body(none()).unwrap()).await;
    let seen = upstream.only();
    for gone in ["x-ours", "keep-alive", "proxy-connection", "proxy-authorization", "via", "x-forwarded-for"] {
        assert_eq!(seen.header(gone), None, "{gone} at the upstream");
    }
    for gone in ["x-theirs", "keep-alive", "alt-svc", "proxy-authenticate"] {
        assert_eq!(answer.header(gone), None, "{gone} at the client");
    }
    assert_eq!(seen.header("te").as_deref(), Some("trailers"));
    assert_eq!((seen.header("x-kept").as_deref(), answer.header("x-kept")), (Some("2"), Some("2")));
}

#[tokio::test]
async fn an_informational_answer_comes_before_the_real_one_and_is_not_taken_for_it() {
    let early = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    for http in BOTH {
        let raw = Raw::saying(early, 1);
        let authority = format!("localhost:{}", raw.address.port());
        let serve = Home::with(&format!("connect_ports = [{}]\n", raw.address.port()), "").serve();
        let mut client = Client::open(serve.address, &serve.ca, &authority, http).await;
        let answer = client.get("/").await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "hello"));
        drop(client);
        drop(serve);
        raw.finish();
    }
}

#[test]
fn who_waits_to_be_told_to_continue_is_told() {
    let upstream = Upstream::start();
    let serve = Home::bound(&[&upstream]).serve();
    for version in ["--http1.1", "--http2"] {
        // curl gives up waiting after this long, and would then send anyway
        let wait = ["--expect100-timeout", "50", version, "-H", "Expect: 100-continue", "-d", "hello"];
        let output = serve.curl(&[&wait[..], &[&upstream.url("/echo")]].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("\"body\":\"hello\""), "{version}: {}", crate::support::locum::told(&output));
    }
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn an_event_reaches_the_client_before_the_upstream_sends_the_next() {
    for (http, alpn, _) in SIDES {
        let (upstream, _serve, mut client) = joined(http, alpn).await;
        let feed = upstream.on("/sse", Response::builder().header("content-type", "text/event-stream"));
        let request = client.request("GET", "/sse").body(none()).unwrap();
        let mut body = client.send(request).await.unwrap().into_body();
        for number in 0..50 {
            let event = format!("id: {number}\ndata: {{\"key\": \"tk-\"}}\n\n");
            feed.send(event.clone());
            let mut got = String::new();
            while got.len() < event.len() {
                let frame = tokio::time::timeout(crate::support::HANGS, body.frame()).await;
                let frame = frame.unwrap_or_else(|_| panic!("{http:?} to {alpn:?}: held back after {got:?}"));
                got.push_str(&String::from_utf8_lossy(&frame.unwrap().unwrap().into_data().unwrap()));
            }
            assert_eq!(got, event);
        }
        drop(feed);
        while let Some(frame) = body.frame().await {
            assert_eq!(frame.unwrap().into_data().unwrap(), "", "{http:?} to {alpn:?}: more than was sent");
        }
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_has_sent_what_it_sent_and_no_end() {
    for (http, alpn, _) in SIDES {
        let (upstream, _serve, mut client) = joined(http, alpn).await;
        let feed = upstream.on("/sse", Response::builder().header("content-type", "text/event-stream"));
        let request = client.request("GET", "/sse").body(none()).unwrap();
        let mut body = client.send(request).await.unwrap().into_body();
        feed.send("data: 1\n\n");
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: 1\n\n");
        feed.cut();
        let end = body.frame().await;
        assert!(end.as_ref().is_some_and(Result::is_err), "{http:?} to {alpn:?}: {end:?}");
    }
}

#[tokio::test]
async fn a_status_in_the_trailers_of_a_stream_arrives() {
    let (upstream, _serve, mut client) = joined(Http::Two, &["h2"]).await;
    let feed = upstream.on("/rpc", Response::builder().header("content-type", "application/grpc"));
    let request = client.request("POST", "/rpc").header("content-type", "application/grpc").header("te", "trailers");
    let mut body = client.send(request.body(none()).unwrap()).await.unwrap().into_body();
    feed.send(&b"\0\0\0\0\x01x"[..]);
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), &b"\0\0\0\0\x01x"[..]);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "7".parse().unwrap());
    feed.trailers(trailers);
    let got = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(got["grpc-status"], "7");
}

#[tokio::test]
async fn an_upload_is_passed_on_as_it_comes() {
    for (http, alpn, _) in SIDES {
        let (_upstream, _serve, mut client) = joined(http, alpn).await;
        let (feed, body) = fed();
        let request = client.request("POST", "/mirror").header("content-type", "application/octet-stream");
        feed.send(Frame::data(Bytes::from_static(b"0!"))).unwrap();
        let mut answer = client.send(request.body(body).unwrap()).await.unwrap().into_body();
        for number in 1..20_u8 {
            let frame = answer.frame().await.unwrap().unwrap_or_else(|e| panic!("{http:?} to {alpn:?}: {e}"));
            assert_eq!(frame.into_data().unwrap(), [b'0' + number - 1, b'!'][..]);
            feed.send(Frame::data(Bytes::from(vec![b'0' + number, b'!']))).unwrap();
        }
        drop(feed);
    }
}

#[tokio::test]
async fn a_cut_is_a_cut_and_never_a_clean_end() {
    for ((http, alpn, _), path) in SIDES.iter().flat_map(|side| [(*side, "/cut"), (*side, "/cut-chunked")]) {
        for bound in [true, false] {
            let (_upstream, serve, mut client) =
                if bound { joined(http, alpn).await } else { unbound(http, alpn).await };
            let what = format!("{http:?} to {alpn:?}, {path}, {}bound", if bound { "" } else { "un" });
            let request = client.request("GET", path).body(none()).unwrap();
            let ended = match client.send(request).await {
                Ok(response) => whole(response).await,
                Err(e) => Err(e),
            };
            // a short answer of declared length is held, and not yet begun when the cut comes
            let held =
                ended.as_ref().is_ok_and(|a| a.status == 502 && a.header("locum-refused") == Some("upstream-failed"));
            assert!(ended.is_err() || held && bound && path == "/cut", "{what}: {ended:?}");
            drop(client);
            let records = serve.drained().await.audit();
            let told = [of(&records, "exchange"), of(&records, "refusal")].concat();
            assert!(told.len() == 1 && told[0]["success"] == false, "{what}: {told:#?}");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_upstream() {
    for (http, alpn, _) in SIDES {
        let (upstream, serve, mut client) = joined(http, alpn).await;
        let feed = upstream.on("/sse", Response::builder().header("content-type", "text/event-stream"));
        let request = client.request("GET", "/sse").body(none()).unwrap();
        let mut body = client.send(request).await.unwrap().into_body();
        feed.send("data: 1\n\n");
        body.frame().await.unwrap().unwrap();
        drop((body, client));
        let noticed = tokio::time::timeout(crate::support::HANGS, feed.abandoned()).await;
        assert!(noticed.is_ok(), "{http:?} to {alpn:?}: the upstream goes on for nobody");
        let records = serve.drained().await.audit();
        let exchange = of(&records, "exchange")[0];
        assert_eq!((&exchange["success"], &exchange["error"]), (&false.into(), &"the agent hung up".into()));
    }
}

#[tokio::test]
async fn many_requests_share_connections() {
    for http in BOTH {
        let (upstream, serve, mut client) = joined(http, &["http/1.1"]).await;
        for number in 0..50 {
            let answer = client.get(&format!("/{number}")).await;
            assert_eq!(answer.json()["target"].as_str().unwrap(), format!("/{number}"));
        }
        assert_eq!(upstream.connections(), 1);
        assert!(upstream.seen().iter().all(|s| s.connection == 0));
        // later clients find the connections of earlier ones: each worker has its own
        for _ in 0..10 {
            serve.client(&upstream, http).await.get("/again").await;
        }
        let workers = std::thread::available_parallelism().unwrap().get();
        assert!(upstream.connections() <= workers, "{} for {workers} workers", upstream.connections());
    }
}

#[tokio::test]
async fn twenty_requests_at_once_on_one_http2_connection() {
    for alpn in [&["http/1.1"][..], &["h2"], &["h2", "http/1.1"]] {
        let upstream = Upstream::speaking(alpn);
        let serve = Home::bound(&[&upstream]).serve();
        let mut client = serve.client(&upstream, Http::Two).await;
        let mut gates = Vec::new();
        let mut answers = Vec::new();
        for number in 0..20 {
            let (gate, feed) = upstream.hold(&format!("/{number}"), Response::builder().header("x-number", number));
            feed.send(number.to_string());
            gates.push(gate);
            let request = client.request("GET", &format!("/{number}")).body(none()).unwrap();
            answers.push(client.begin(request).await);
        }
        // all twenty are under way before the first is answered, and then the last is first
        let released = tokio::task::spawn_blocking(move || {
            upstream.await_begun(20);
            gates.into_iter().rev().for_each(drop);
            upstream
        });
        let _upstream = released.await.unwrap();
        for (number, answer) in answers.into_iter().enumerate() {
            let answer = whole(answer.await.unwrap()).await.unwrap();
            assert_eq!((headed(&answer, "x-number"), answer.text()), (number.to_string(), number.to_string()));
        }
    }
}

/// The first tells that the upstream doesn't speak HTTP/2, and the others that wait for it needn't ask again.
#[tokio::test]
async fn many_requests_at_once_ask_the_upstream_once_what_it_speaks() {
    let mut upstream = Upstream::speaking(&["http/1.1"]);
    let serve = Home::bound(&[&upstream]).serve();
    let mut client = serve.client(&upstream, Http::Two).await;
    let (mut gates, mut answers) = (Vec::new(), Vec::new());
    // eight have connections of their own before anybody thinks of sharing one
    for numbers in [0..8, 8..60] {
        let begun = numbers.end;
        for number in numbers {
            gates.push(upstream.hold(&format!("/{number}"), Response::builder()));
            let request = client.request("GET", &format!("/{number}")).body(none()).unwrap();
            answers.push(client.begin(request).await);
        }
        let waited = tokio::task::spawn_blocking(move || {
            upstream.await_begun(begun);
            upstream
        });
        upstream = waited.await.unwrap();
    }
    assert_eq!((upstream.connections(), upstream.offered_http2()), (60, 1));
    drop(gates);
    for answer in answers {
        assert_eq!(whole(answer.await.unwrap()).await.unwrap().status, 200);
    }
}

/// More than either side's windows hold, and more of them than share one connection.
#[tokio::test]
async fn downloads_that_nobody_reads_hold_up_nobody_else() {
    const UNREAD: usize = 40;
    let (upstream, _serve, mut client) = joined(Http::Two, &["h2"]).await;
    let mut unread = Vec::new();
    for number in 0..UNREAD {
        let head = Response::builder().header("content-type", "application/octet-stream");
        let feed = upstream.on(&format!("/{number}"), head);
        let piece = Bytes::from(vec![b'x'; 64 * 1024]);
        (0..3 * 16).for_each(|_| feed.send(piece.clone()));
        let request = client.request("GET", &format!("/{number}")).body(none()).unwrap();
        unread.push((feed, client.send(request).await.unwrap()));
        assert_eq!(client.get("/echo").await.status, 200, "beside {number} of them");
    }
    assert_eq!(upstream.offered_http2(), 2);
    // those that are read after all are whole
    for (feed, response) in unread {
        drop(feed);
        assert_eq!(whole(response).await.unwrap().body.len(), 3 << 20);
    }
}

/// How much goes through, in bytes.
fn large() -> u64 {
    let asked = std::env::var("LOCUM_TEST_LARGE_MIB").ok().and_then(|n| n.parse().ok());
    asked.unwrap_or(1024) * 1024 * 1024
}

#[tokio::test]
async fn large_bodies_pass_whole_and_are_never_held() {
    let total = large();
    let digest = tokio::task::spawn_blocking(move || pattern::digest(total)).await.unwrap();
    for http in BOTH {
        let upstream = Upstream::start();
        let serve = Home::bound(&[&upstream]).serve();
        let mut client = serve.client(&upstream, http).await;
        // 8 MiB a second, on the slowest of machines
        client.patience += Duration::from_secs(total >> 23);

        let request = client.request("GET", &format!("/blob?n={total}")).body(none()).unwrap();
        let mut body = client.send(request).await.unwrap().into_body();
        let (mut hash, mut length) = (pattern::Hash::default(), 0);
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            length += data.len() as u64;
            hash.update(&data);
        }
        assert_eq!((length, hash.finish()), (total, digest.clone()), "{http:?}");

        for sized in [true, false] {
            let request = client.request("PUT", "/upload").header("content-type", "application/octet-stream");
            let answer = client.ask(request.body(patterned(total, sized)).unwrap()).await;
            assert_eq!(answer.json()["sha256"], digest, "{http:?}");
        }
        let peak = serve.memory("VmHWM");
        assert!(peak < 64 * 1024, "{http:?}: {peak} KiB resident at the peak");
    }
}
