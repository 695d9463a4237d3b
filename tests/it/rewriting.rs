//! Rewriting as clients meet it: their own escapes and forms, and bodies too large to be held.

use crate::support::client::{BOTH, full, generated, none, whole};
use crate::support::coded::{Encoder, decode, encode};
use crate::support::exit::Exit;
use crate::support::locum::{TOOL_KEY, of, stdout, told};
use crate::support::{Client, Home, Http, Serve, Upstream, clients, pattern};
use bytes::Bytes;
use flate2::write::GzDecoder;
use http::{HeaderMap, Response};
use http_body_util::BodyExt as _;
use serde_json::Value;
use std::io::{self, Write};

const PLACEHOLDER: &str = "<<tool_key>>";

async fn joined(http: Http) -> (Upstream, Serve, Client) {
    let upstream = Upstream::speaking(if http == Http::One { &["http/1.1"] } else { &["h2"] });
    let serve = Home::bound(&[&upstream]).serve();
    let client = serve.client(&upstream, http).await;
    (upstream, serve, client)
}

#[tokio::test]
async fn json_as_go_writes_it() {
    let (upstream, _serve, mut client) = joined(Http::One).await;
    // json.Marshal escapes <, > and & in every string
    let sent = r#"{"key":"\u003c\u003ctool_key\u003e\u003e","text":"use \u003c\u003ctool_key\u003e\u003e \u0026 go"}"#;
    let request = client.request("POST", "/echo").header("content-type", "application/json").body(full(sent)).unwrap();
    let answer = client.ask(request).await;
    let want = format!(r#"{{"key":"{TOOL_KEY}","text":"use \u003c\u003ctool_key\u003e\u003e \u0026 go"}}"#);
    assert_eq!(upstream.only().text(), want);
    assert!(!answer.text().contains(TOOL_KEY), "{}", answer.text());
}

#[test]
fn forms_as_curl_writes_them() {
    let upstream = Upstream::start();
    let serve = Home::bound(&[&upstream]).serve();
    let file = serve.home.path().join("file.txt");
    std::fs::write(&file, PLACEHOLDER).unwrap();
    let url = upstream.url("/form");
    let quoted = format!("quoted=\"{PLACEHOLDER}\"");
    let plain = format!("plain={PLACEHOLDER}");
    let attached = format!("file=@{}", file.display());
    let said = format!("said=\"use {PLACEHOLDER}\"");
    // without quotes -F would take what begins with < for a file's name
    let output = serve.curl(&["-F", &quoted, "--form-string", &plain, "-F", &attached, "-F", &said, &url]);
    assert!(output.status.success(), "{}", told(&output));
    let text = upstream.only().text();
    for (name, value) in [("quoted", TOOL_KEY), ("plain", TOOL_KEY), ("said", "use <<tool_key>>")] {
        let part = format!("name=\"{name}\"\r\n\r\n{value}\r\n");
        assert!(text.contains(&part), "{part} in {text}");
    }
    assert!(text.contains(&format!("\r\n\r\n{PLACEHOLDER}\r\n")), "a file is nobody's to change: {text}");

    let output = serve.curl(&["--data-urlencode", &plain, "--data-urlencode", "said=use <<tool_key>>", &url]);
    assert!(output.status.success(), "{}", told(&output));
    let body = upstream.await_seen(2).pop().unwrap().body;
    let pairs: Vec<_> = url::form_urlencoded::parse(&body).into_owned().collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(pairs, [pair("plain", TOOL_KEY), pair("said", "use <<tool_key>>")]);
}

#[test]
fn requests_with_compressed_bodies() {
    let upstream = Upstream::start();
    let exit = Exit::to([("api.tool.example:443", upstream.address)]);
    let proxy = format!("upstream_proxy = \"http://{}\"\n", exit.address);
    let home = Home::with(&proxy, "[key.tool]\nhosts = [\"api.tool.example\"]\n");
    let head = Response::builder().header("content-encoding", "gzip").header("content-type", "text/plain");
    upstream.on("/answer", head).send(encode("gzip", format!("your key is {TOOL_KEY}").as_bytes()));
    let output = home.run(&[&clients::python(), &clients::program("gzip_client.py"), "https://api.tool.example"]);
    assert!(output.status.success(), "{}", told(&output));
    let got: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(got["text"], format!("your key is {PLACEHOLDER}"));

    let seen = upstream.seen();
    assert_eq!(seen[0].header("content-length").unwrap(), seen[0].body.len().to_string());
    assert_eq!(seen[1].header("content-length"), None);
    for (seen, lines) in seen.iter().zip([1, 100_000]) {
        assert_eq!(seen.header("content-encoding").unwrap(), "gzip");
        let document: Value = serde_json::from_slice(&decode("gzip", &seen.body).unwrap()).unwrap();
        assert_eq!((&document["key"], &document["text"]), (&TOOL_KEY.into(), &format!("use {PLACEHOLDER}").into()));
        assert_eq!(document["lines"].as_array().unwrap().len(), lines);
    }
    // whatever the client asked for: how well an answer is compressed tells what is in it
    assert!(got["accepted"].as_str().is_some_and(|accepted| accepted.contains("gzip")), "{got}");
    assert_eq!(seen[2].header("accept-encoding").as_deref(), Some("identity"));
    assert_eq!(of(&home.audit(), "substitution").len(), 2);
}

#[tokio::test]
async fn trailers_of_a_held_answer_are_searched() {
    let (upstream, _serve, mut client) = joined(Http::Two).await;
    let feed = upstream.on("/short", Response::builder().header("content-length", "5"));
    feed.send("hello");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-key", TOOL_KEY.parse().unwrap());
    feed.trailers(trailers);
    let answer = client.get("/short").await;
    assert_eq!((answer.text().as_str(), answer.trailers.unwrap()["x-key"].to_str().unwrap()), ("hello", PLACEHOLDER));
}

/// HTTP/2 can frame a body behind a head that has none, and trailers behind any head.
#[tokio::test]
async fn what_comes_behind_a_head_without_a_body_tells_no_key() {
    let (upstream, serve, mut client) = joined(Http::Two).await;
    for (status, method) in [(204, "GET"), (304, "GET"), (200, "HEAD")] {
        let feed = upstream.on("/trailers", Response::builder().status(status).header("x-head", TOOL_KEY));
        let mut trailers = HeaderMap::new();
        trailers.insert("x-key", TOOL_KEY.parse().unwrap());
        feed.trailers(trailers);
        let request = client.request(method, "/trailers").body(none()).unwrap();
        let answer = client.ask(request).await;
        assert_eq!(
            (answer.status.as_u16(), answer.trailers.unwrap()["x-key"].to_str().unwrap()),
            (status, PLACEHOLDER)
        );
    }
    for (status, coding) in [(204, "identity"), (204, "gzip"), (304, "identity")] {
        let head = Response::builder().status(status).header("content-encoding", coding);
        let text = if coding == "gzip" { encode("gzip", TOOL_KEY.as_bytes()) } else { TOOL_KEY.into() };
        upstream.on("/body", head).send(text);
        let request = client.request("GET", "/body").body(none()).unwrap();
        let answer = match client.send(request).await {
            Ok(response) => whole(response).await,
            Err(e) => Err(e),
        };
        assert!(answer.is_err(), "{status}, {coding}: {answer:?}");
    }
    drop(client);
    let records = serve.drained().await.audit();
    let hidden: Vec<_> = of(&records, "scrub").iter().map(|r| r["count"].as_u64()).collect();
    assert_eq!(hidden, [Some(2); 3], "in the head and in the trailers");
    let broken: Vec<_> = of(&records, "exchange").into_iter().filter(|r| r["success"] == false).collect();
    assert_eq!(broken.len(), 3, "{records:#?}");
    assert!(broken.iter().all(|r| r["error"].as_str().unwrap().contains("has no body")), "{broken:#?}");
}

/// An agent could have a key in two halves, neither of which a search would find, if it were given slices of an answer.
#[tokio::test]
async fn slices_are_neither_asked_of_nor_offered_by_a_host_that_keys_are_bound_to() {
    let asks = [("range", "bytes=0-9"), ("if-range", "\"as-it-was\"")];
    for http in BOTH {
        let alpn: &[&str] = if http == Http::One { &["http/1.1"] } else { &["h2"] };
        let (bound, absent, free) = (Upstream::speaking(alpn), Upstream::speaking(alpn), Upstream::speaking(alpn));
        let ports = format!("connect_ports = [{}]\n", free.port());
        let keys = format!(
            "[key.tool]\nhosts = [\"{}\"]\n[key.nowhere]\nhosts = [\"{}\"]\nsource = \"env:NOWHERE\"\n",
            bound.authority(),
            absent.authority()
        );
        let serve = Home::with(&ports, &keys).serve();
        // a key that is not there yet may come while the answer does
        let elsewhere = format!("127.0.0.1:{}", free.port());
        for (upstream, authority, passed) in
            [(&bound, bound.authority(), false), (&absent, absent.authority(), false), (&free, elsewhere, true)]
        {
            let mut client = Client::open(serve.address, &serve.ca, &authority, http).await;
            for (method, status) in [("GET", 200), ("HEAD", 200), ("GET", 206), ("GET", 304)] {
                let what = format!("{http:?} {method} {status}, untouched: {passed}");
                let head = Response::builder().status(status).header("accept-ranges", "bytes");
                let feed = upstream.on("/sliced", head);
                if method == "GET" && status != 304 {
                    feed.send("some text");
                }
                drop(feed);
                let mut request = client.request(method, "/sliced").body(none()).unwrap();
                asks.iter().for_each(|(name, value)| drop(request.headers_mut().insert(*name, value.parse().unwrap())));
                let answer = client.ask(request).await;
                let seen = upstream.seen().pop().unwrap();
                for (name, value) in asks {
                    assert_eq!(seen.header(name), passed.then(|| value.to_owned()), "{what}: {name}");
                }
                assert_eq!(
                    (answer.status.as_u16(), answer.header("accept-ranges")),
                    (status, passed.then_some("bytes")),
                    "{what}"
                );
            }
        }
    }
}

/// `Accept-Ranges` may come in the trailers as well (RFC 9110, section 14.3).
#[tokio::test]
async fn slices_are_not_offered_in_trailers_either() {
    let (bound, free) = (Upstream::speaking(&["h2"]), Upstream::speaking(&["h2"]));
    let serve = Home::bound(&[&bound, &free]).serve();
    let elsewhere = format!("127.0.0.1:{}", free.port());
    for (upstream, authority, passed) in [(&bound, bound.authority(), None), (&free, elsewhere, Some("bytes"))] {
        let mut client = Client::open(serve.address, &serve.ca, &authority, Http::Two).await;
        for length in [None, Some(4)] {
            let head = Response::builder();
            let sized = |n: usize| Response::builder().header("content-length", n);
            let feed = upstream.on("/late", length.map_or(head, sized));
            feed.send("text");
            let trailers = [("accept-ranges", "bytes"), ("x-sum", "1")];
            feed.trailers(trailers.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect());
            let trailers = client.get("/late").await.trailers.unwrap();
            let told = |name: &str| trailers.get(name).map(|v| v.to_str().unwrap());
            assert_eq!((told("accept-ranges"), told("x-sum")), (passed, Some("1")), "{length:?}");
        }
    }
}

/// In frames of one byte, as an upstream may that means to keep us busy.
#[tokio::test]
async fn a_held_answer_in_the_smallest_pieces_is_put_together() {
    let (upstream, _serve, mut client) = joined(Http::Two).await;
    let text = format!("{}{TOOL_KEY}{}", "a".repeat(40_000), "b".repeat(65_536 - 40_000 - TOOL_KEY.len()));
    let feed = upstream.on("/dust", Response::builder().header("content-length", text.len()));
    text.bytes().for_each(|byte| feed.send(vec![byte]));
    drop(feed);
    let answer = client.get("/dust").await;
    assert!(answer.text() == text.replace(TOOL_KEY, PLACEHOLDER), "{}", answer.text().len());
}

/// How much goes through in a coding, in bytes.
fn large() -> u64 {
    let asked = std::env::var("LOCUM_TEST_CODED_MIB").ok().and_then(|n| n.parse().ok());
    asked.unwrap_or(64) * 1024 * 1024
}

const BLOCK: u64 = 32 * 1024;

/// The `number`th part of a JSON text of strings that compress, though not to nothing. Three of them are the key.
fn block(number: u64, blocks: u64, key: &str) -> String {
    let comma = if number + 1 < blocks { "," } else { "]" };
    if number == 0 {
        return format!("[\"{key}\",");
    }
    if number == blocks / 2 || number + 1 == blocks {
        return format!("\"{key}\"{comma}");
    }
    let mut text = String::with_capacity(BLOCK as usize + 40);
    for line in 0..BLOCK / 32 {
        text.push_str(&format!("\"{:016x}, nothing\",", (number * BLOCK + line).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    }
    text.pop();
    text + comma
}

/// What a text comes to: its length and its digest.
#[derive(Default)]
struct Sum(u64, pattern::Hash);

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        self.1.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn sum(blocks: u64, key: &str) -> (u64, String) {
    let mut sum = Sum::default();
    (0..blocks).for_each(|number| sum.write_all(block(number, blocks, key).as_bytes()).unwrap());
    (sum.0, sum.1.finish())
}

/// The text in gzip, with each placeholder cut in two by a frame and by a flush.
fn gzipped(blocks: u64) -> impl Iterator<Item = Bytes> + Send {
    let mut encoder = Some(Encoder::new("gzip"));
    let mut parts = (0..blocks).flat_map(move |number| {
        let text = block(number, blocks, PLACEHOLDER);
        let (first, second) = text.split_at(text.find(PLACEHOLDER).map_or(0, |at| at + 6));
        [first.to_owned(), second.to_owned()]
    });
    std::iter::from_fn(move || match parts.next() {
        Some(part) => encoder.as_mut().map(|e| e.flushed(part.as_bytes())),
        None => encoder.take().map(Encoder::end),
    })
    .filter(|bytes| !bytes.is_empty())
}

#[tokio::test]
async fn a_large_compressed_upload_is_rewritten_and_never_held() {
    let blocks = large() / BLOCK;
    let (length, digest) = tokio::task::spawn_blocking(move || sum(blocks, TOOL_KEY)).await.unwrap();
    assert!(length > large() / 2);
    for http in BOTH {
        let (_upstream, serve, mut client) = joined(http).await;
        // the mirror doesn't say that it is gzip, so it comes back as the upstream saw it
        let request = client.request("POST", "/mirror").header("content-encoding", "gzip");
        let request = request.header("content-type", "application/json").body(generated(gzipped(blocks))).unwrap();
        let mut body = client.send(request).await.unwrap().into_body();
        let mut opened = GzDecoder::new(Sum::default());
        while let Some(frame) = body.frame().await {
            opened.write_all(&frame.unwrap().into_data().unwrap()).expect("gzip");
        }
        let seen = opened.finish().expect("the end of gzip");
        assert_eq!((seen.0, seen.1.finish()), (length, digest.clone()), "{http:?}");
        let peak = serve.memory("VmHWM");
        assert!(peak < 64 * 1024, "{http:?}: {peak} KiB resident at the peak");
        drop((client, body));
        let records = serve.drained().await.audit();
        // each before the use that it is of leaves
        let counts: u64 = of(&records, "substitution").iter().map(|r| r["count"].as_u64().unwrap()).sum();
        assert_eq!(counts, 3, "{records:#?}");
    }
}

#[tokio::test]
async fn a_large_compressed_download_is_scrubbed_and_never_held() {
    let blocks = large() / BLOCK;
    let (length, digest) = tokio::task::spawn_blocking(move || sum(blocks, PLACEHOLDER)).await.unwrap();
    for http in BOTH {
        let (upstream, serve, mut client) = joined(http).await;
        let feed = upstream.on("/coded", Response::builder().header("content-encoding", "br"));
        let request = client.request("GET", "/coded").header("accept-encoding", "br").body(none()).unwrap();
        let mut body = client.send(request).await.unwrap().into_body();
        let coding = tokio::task::spawn_blocking(move || {
            let mut encoder = Encoder::new("br");
            (0..blocks).for_each(|number| feed.send(encoder.flushed(block(number, blocks, TOOL_KEY).as_bytes())));
            feed.send(encoder.end());
        });
        let mut seen = Sum::default();
        while let Some(frame) = body.frame().await {
            seen.write_all(&frame.unwrap().into_data().unwrap()).unwrap();
        }
        assert_eq!((seen.0, seen.1.finish()), (length, digest.clone()), "{http:?}");
        let peak = serve.memory("VmHWM");
        assert!(peak < 64 * 1024, "{http:?}: {peak} KiB resident at the peak");
        coding.await.unwrap();
        drop((client, body));
        assert_eq!(of(&serve.drained().await.audit(), "scrub")[0]["count"], 3, "{http:?}");
    }
}

#[tokio::test]
async fn a_download_of_great_regularity_is_no_bomb() {
    let (upstream, serve, mut client) = joined(Http::One).await;
    for coding in ["gzip", "br", "zstd"] {
        let mut encoder = Encoder::new(coding);
        let mut coded: Vec<u8> = (0..large() >> 20).flat_map(|_| encoder.flushed(&[b' '; 1 << 20])).collect();
        coded.extend_from_slice(&encoder.end());
        assert!(large() / coded.len() as u64 > 900, "{coding}");
        upstream.on("/coded", Response::builder().header("content-encoding", coding)).send(coded);
        let request = client.request("GET", "/coded").header("accept-encoding", coding).body(none()).unwrap();
        let mut body = client.send(request).await.unwrap().into_body();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame.unwrap().into_data().unwrap().len() as u64;
        }
        assert_eq!(length, large(), "{coding}");
    }
    let peak = serve.memory("VmHWM");
    assert!(peak < 64 * 1024, "{peak} KiB resident at the peak");
}
