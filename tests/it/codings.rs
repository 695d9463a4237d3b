//! Bodies in content codings, on both ways: opened where a key is bound, closed again for the upstream, and untouched elsewhere.

use crate::support::client::{Answer, BOTH, fed, full, none, whole};
use crate::support::coded::{CODINGS, Encoder, decode, encode};
use crate::support::locum::{TOOL_KEY, of};
use crate::support::wire::Raw;
use crate::support::{Client, HANGS, Home, Http, Serve, Upstream};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

const PLACEHOLDER: &str = "<<tool_key>>";

async fn joined(http: Http) -> (Upstream, Serve, Client) {
    let upstream = Upstream::speaking(if http == Http::One { &["http/1.1"] } else { &["h2"] });
    let serve = Home::bound(&[&upstream]).serve();
    let client = serve.client(&upstream, http).await;
    (upstream, serve, client)
}

/// One body for `/coded`, in one piece, with its length or without.
fn answer(upstream: &Upstream, codings: &str, body: &[u8], sized: bool) {
    let mut head = Response::builder().header("content-encoding", codings).header("vary", "accept-encoding");
    head = head.header("etag", "\"strong\"").header("content-digest", "sha-256=:AAAA:");
    if sized {
        head = head.header("content-length", body.len());
    }
    upstream.on("/coded", head).send(body.to_vec());
}

/// Asks for `/coded`, and reads to whatever end.
async fn get(client: &mut Client, accept: &str) -> hyper::Result<Answer> {
    let request = client.request("GET", "/coded").header("accept-encoding", accept).body(none()).unwrap();
    whole(client.send(request).await?).await
}

async fn next(body: &mut Incoming) -> Bytes {
    let frame = tokio::time::timeout(HANGS, body.frame()).await.expect("what was flushed is held back");
    frame.expect("more").expect("no cut").into_data().expect("data")
}

#[tokio::test]
async fn a_coded_answer_is_opened_and_searched() {
    for http in BOTH {
        let (upstream, _serve, mut client) = joined(http).await;
        let long = "0123456789 ".repeat(20_000);
        for codings in CODINGS.into_iter().chain(["gzip, br", "zstd, zstd, deflate"]) {
            for (text, sized, length) in
                [("short", true, true), ("short", false, false), (&long[..], true, false), (&long[..], false, false)]
            {
                let what = format!("{http:?} {codings} {} {sized}", text.len());
                let said = format!("{text} {TOOL_KEY} and {}", STANDARD.encode(format!("u:{TOOL_KEY}")));
                answer(&upstream, codings, &encode(codings, said.as_bytes()), sized);
                let got = get(&mut client, "gzip, deflate, br, zstd").await.expect(&what);
                let want = format!("{text} {PLACEHOLDER} and ");
                assert!(got.text().starts_with(&want), "{what}: {}", got.text());
                assert!(got.text()[want.len()..].contains(PLACEHOLDER), "{what}: {}", got.text());
                assert_eq!((got.status.as_u16(), got.header("content-encoding")), (200, None), "{what}");
                let told = got.header("content-length").map(str::to_owned);
                assert_eq!(told, length.then(|| got.body.len().to_string()), "{what}");
                assert_eq!(
                    (got.header("etag"), got.header("vary")),
                    (Some("W/\"locum-strong\""), Some("accept-encoding"))
                );
                assert_eq!(got.header("content-digest"), None, "{what}: it is of other bytes");
            }
        }
    }
}

#[tokio::test]
async fn no_coding_is_asked_of_a_host_that_keys_are_bound_to() {
    let (upstream, _serve, mut client) = joined(Http::One).await;
    for asked in ["gzip, deflate, br, zstd", "BR;q=1.0,  identity;q=0", "*", "", "compress"] {
        let request = client.request("GET", "/echo").header("accept-encoding", asked).body(none()).unwrap();
        client.ask(request).await;
        assert_eq!(upstream.seen().pop().unwrap().header("accept-encoding").as_deref(), Some("identity"), "{asked}");
    }
    client.get("/echo").await;
    assert_eq!(upstream.seen().pop().unwrap().header("accept-encoding").as_deref(), Some("identity"));
}

#[tokio::test]
async fn a_flushed_event_comes_out_of_its_coding_before_the_next_is_sent() {
    for http in BOTH {
        let (upstream, _serve, mut client) = joined(http).await;
        for coding in CODINGS {
            let head = Response::builder().header("content-type", "text/event-stream");
            let feed = upstream.on("/sse", head.header("content-encoding", coding));
            let request = client.request("GET", "/sse").header("accept-encoding", coding).body(none()).unwrap();
            let mut body = client.send(request).await.unwrap().into_body();
            let mut encoder = Encoder::new(coding);
            for number in 0..20 {
                feed.send(encoder.flushed(format!("id: {number}\ndata: {TOOL_KEY}\n\n").as_bytes()));
                let want = format!("id: {number}\ndata: {PLACEHOLDER}\n\n");
                let mut got = String::new();
                while got.len() < want.len() {
                    got.push_str(&String::from_utf8_lossy(&next(&mut body).await));
                }
                assert_eq!(got, want, "{http:?} {coding}");
            }
            feed.send(encoder.end());
            drop(feed);
            assert_eq!(body.collect().await.expect("a clean end").to_bytes(), "", "{http:?} {coding}");
        }
    }
}

#[tokio::test]
async fn a_coding_that_breaks_is_a_cut_and_never_a_clean_end() {
    for http in BOTH {
        for coding in CODINGS {
            let whole = encode(coding, &b"some text, and ".repeat(20));
            let truncated = whole[..whole.len() - 1].to_vec();
            let longer = [&whole[..], b"more"].concat();
            let garbage = b"\xff\xff no coding at all".to_vec();
            for (bytes, sized) in [&truncated, &longer, &garbage].iter().flat_map(|b| [(*b, true), (*b, false)]) {
                let what = format!("{http:?} {coding} {sized} {}", bytes.escape_ascii());
                let (upstream, serve, mut client) = joined(http).await;
                answer(&upstream, coding, bytes, sized);
                let got = get(&mut client, coding).await;
                match &got {
                    // nothing had been sent yet
                    Ok(answer) => assert!(sized && answer.status == 502, "{what}: {answer:?}"),
                    Err(_) => assert!(!sized, "{what}: {got:?}"),
                }
                drop(client);
                let records = serve.drained().await.audit();
                let told = [of(&records, "exchange"), of(&records, "refusal")].concat();
                assert!(told.len() == 1 && told[0]["success"] == false, "{what}: {told:#?}");
                let why = if sized { &told[0]["reason"] } else { &told[0]["error"] };
                assert!(why.as_str().unwrap_or_default().contains(coding), "{what}: {told:#?}");
            }
        }
    }
}

#[tokio::test]
async fn what_can_not_be_opened_is_withheld() {
    let (upstream, serve, mut client) = joined(Http::One).await;
    answer(&upstream, "compress", TOOL_KEY.as_bytes(), false);
    let got = get(&mut client, "gzip").await.unwrap();
    assert_eq!((got.status.as_u16(), got.header("locum-refused")), (502, Some("upstream-failed")));

    let head = Response::builder().status(206).header("content-encoding", "gzip");
    upstream.on("/coded", head.header("content-range", "bytes 3-9/20")).send(&b"a slice"[..]);
    let got = get(&mut client, "gzip").await.unwrap();
    assert_eq!((got.status.as_u16(), got.header("locum-refused")), (502, Some("upstream-failed")));
    drop(client);
    let records = serve.drained().await.audit();
    let reasons: Vec<_> = of(&records, "refusal").iter().map(|r| r["reason"].as_str().unwrap().to_owned()).collect();
    assert!(reasons[0].contains("compress") && reasons[1].contains("slice"), "{reasons:?}");
}

/// It says that nothing was done, and is obsolete: RFC 9112 has no such coding any more.
#[tokio::test]
async fn the_coding_of_the_transfer_that_is_none_is_none() {
    for (lines, body) in [
        ("Transfer-Encoding: identity\r\n\r\n", format!("it is {TOOL_KEY}")),
        ("Transfer-Encoding: Identity, chunked\r\n\r\n", format!("1e\r\nit is {TOOL_KEY}\r\n0\r\n\r\n")),
    ] {
        let raw = Raw::saying(format!("HTTP/1.1 200 OK\r\n{lines}{body}").leak().as_bytes(), 1);
        let authority = format!("localhost:{}", raw.address.port());
        let ports = format!("connect_ports = [{}]\n", raw.address.port());
        let serve = Home::with(&ports, &format!("[key.tool]\nhosts = [\"{authority}\"]\n")).serve();
        let mut client = Client::open(serve.address, &serve.ca, &authority, Http::One).await;
        let answer = client.get("/").await;
        assert_eq!((answer.status.as_u16(), answer.text().trim_end()), (200, "it is <<tool_key>>"), "{lines}");
        raw.finish();
    }
}

/// Codings that an upstream hides from whoever reads the head: in the transfer, or by calling their header one of the
/// connection's.
#[tokio::test]
async fn a_coding_that_is_hidden_is_found_or_withheld() {
    let body = encode("gzip", format!("it is {TOOL_KEY}").as_bytes());
    let sized = format!("Content-Length: {}\r\n\r\n", body.len());
    let chunked = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    for (lines, body, status) in [
        ("Transfer-Encoding: gzip, chunked\r\n\r\n", &chunked, 502),
        // what is read to the end of the connection, and has its chunks' heads in it
        ("Transfer-Encoding: chunked, identity\r\n\r\n", &chunked, 502),
        ("Transfer-Encoding: identity\r\nContent-Length: 8\r\n\r\n", &b"identity".to_vec(), 502),
        ("Connection: content-encoding\r\nContent-Encoding: gzip\r\n", &[sized.as_bytes(), &body].concat(), 200),
    ] {
        let said = [b"HTTP/1.1 200 OK\r\n", lines.as_bytes(), body].concat();
        let raw = Raw::saying(said.leak(), 1);
        let authority = format!("localhost:{}", raw.address.port());
        let ports = format!("connect_ports = [{}]\n", raw.address.port());
        let serve = Home::with(&ports, &format!("[key.tool]\nhosts = [\"{authority}\"]\n")).serve();
        let mut client = Client::open(serve.address, &serve.ca, &authority, Http::One).await;
        let answer = client.get("/").await;
        assert_eq!(answer.status.as_u16(), status, "{lines}: {}", answer.text());
        if status == 200 {
            assert_eq!(answer.text(), format!("it is {PLACEHOLDER}"));
        }
        raw.finish();
    }
}

#[tokio::test]
async fn an_answer_without_a_body_tells_of_none_that_is_coded() {
    for http in BOTH {
        let (upstream, _serve, mut client) = joined(http).await;
        for (method, status) in [("HEAD", 200), ("GET", 304), ("GET", 204)] {
            let mut head =
                Response::builder().status(status).header("content-encoding", "gzip").header("etag", "\"a\"");
            if method == "HEAD" {
                head = head.header("content-length", "1000");
            }
            drop(upstream.on("/bare", head));
            let request = client.request(method, "/bare").header("accept-encoding", "gzip").body(none()).unwrap();
            let got = client.ask(request).await;
            let told = ["content-encoding", "content-length", "etag"].map(|name| got.header(name).map(str::to_owned));
            assert_eq!(told, [None, None, Some("W/\"locum-a\"".to_owned())], "{http:?} {method} {status}");
            assert_eq!((got.status.as_u16(), got.body.len()), (status, 0));
        }
        // an empty body is complete in any coding
        answer(&upstream, "gzip", b"", false);
        let got = get(&mut client, "gzip").await.unwrap();
        assert_eq!((got.status.as_u16(), got.header("content-encoding"), got.body.len()), (200, None, 0), "{http:?}");
    }
}

/// Over HTTP/2 the end of a body that the head rules out may come by itself, after the agent has all that it will get.
#[tokio::test]
async fn an_answer_without_a_body_is_whole_once_its_head_is_there() {
    for bound in [true, false] {
        let (upstream, other) = (Upstream::speaking(&["h2"]), Upstream::start());
        let home = Home::bound(&if bound { [&upstream, &other] } else { [&other, &upstream] });
        let serve = home.serve();
        let mut feeds = Vec::new();
        for (method, status) in [("HEAD", 200), ("GET", 304), ("GET", 204)] {
            let mut client = serve.client(&upstream, Http::One).await;
            feeds.push(upstream.on("/bare", Response::builder().status(status)));
            let got = client.ask(client.request(method, "/bare").body(none()).unwrap()).await;
            assert_eq!((got.status.as_u16(), got.body.len()), (status, 0));
        }
        let records = serve.drained().await.audit();
        let exchanges = of(&records, "exchange");
        assert!(exchanges.len() == 3 && exchanges.iter().all(|r| r["success"] == true), "{bound}: {exchanges:#?}");
    }
}

#[tokio::test]
async fn from_hosts_without_a_binding_all_comes_as_it_is() {
    let (other, bound) = (Upstream::start(), Upstream::start());
    let serve = Home::bound(&[&bound, &other]).serve();
    // the bound one is `localhost`
    let authority = format!("127.0.0.1:{}", other.port());
    let mut client = Client::open(serve.address, &serve.ca, &authority, Http::One).await;
    let body = encode("gzip", TOOL_KEY.as_bytes());
    answer(&other, "gzip", &body, true);
    let got = get(&mut client, "compress, *").await.unwrap();
    assert_eq!((got.body, got.headers["content-encoding"].to_str().unwrap()), (body, "gzip"));
    assert_eq!(got.headers["etag"], "\"strong\"");
    assert_eq!(other.only().header("accept-encoding").as_deref(), Some("compress, *"));

    let torn = b"{\"key\":\"<<tool_key>>\"}";
    let request = client.request("POST", "/echo").header("content-encoding", "compress").body(full(&torn[..])).unwrap();
    client.ask(request).await;
    let seen = other.seen().pop().unwrap();
    assert_eq!((seen.body.as_slice(), seen.header("content-encoding").as_deref()), (&torn[..], Some("compress")));
}

#[tokio::test]
async fn a_coded_request_is_opened_rewritten_and_closed_again() {
    for http in BOTH {
        let (upstream, serve, mut client) = joined(http).await;
        let padding = "x ".repeat(1 << 18);
        for codings in CODINGS.into_iter().chain(["gzip, zstd", "br, deflate, gzip"]) {
            for (padding, sized) in [("", true), ("", false), (&padding[..], true), (&padding[..], false)] {
                let what = format!("{http:?} {codings} {} {sized}", padding.len());
                let text = |key: &str| {
                    format!("{{\"padding\":\"{padding}\",\"key\":\"{key}\",\"text\":\"use <<tool_key>>\"}}")
                };
                let coded = encode(codings, text(PLACEHOLDER).as_bytes());
                let body = if sized { full(coded) } else { cut(&coded, 1000) };
                let request = client.request("POST", "/x").header("content-encoding", codings);
                client.ask(request.body(body).unwrap()).await;
                let seen = upstream.seen().pop().unwrap();
                assert_eq!(seen.header("content-encoding").as_deref(), Some(codings), "{what}");
                let opened = decode(codings, &seen.body).expect(&what);
                assert!(opened == text(TOOL_KEY).as_bytes(), "{what}: {}", String::from_utf8_lossy(&opened[..99]));
                assert_eq!(seen.header("content-length"), sized.then(|| seen.body.len().to_string()), "{what}");
            }
        }
        drop(client);
        let records = serve.drained().await.audit();
        assert_eq!(of(&records, "substitution").len(), 24);
        assert!(of(&records, "exchange").iter().all(|r| r["kept"] == 1 && r["success"] == true), "{records:#?}");
    }
}

/// A body without a length, in pieces of this size.
fn cut(bytes: &[u8], size: usize) -> crate::support::client::Sent {
    let (feed, body) = fed();
    for piece in bytes.chunks(size) {
        feed.send(Frame::data(Bytes::copy_from_slice(piece))).unwrap();
    }
    body
}

/// Each could be worked on by itself, and be flushed: that would be thousands of times the work, and a longer body.
#[tokio::test]
async fn a_coded_body_that_is_held_is_one_piece_however_it_comes() {
    let (upstream, _serve, mut client) = joined(Http::Two).await;
    let text = |key: &str| format!("{{\"padding\":\"{}\",\"key\":\"{key}\"}}", "x ".repeat(8000));
    for coding in CODINGS {
        let coded =
            if coding == "gzip" { stored(&text(PLACEHOLDER)) } else { encode(coding, text(PLACEHOLDER).as_bytes()) };
        let (feed, body) = fed();
        let request = client.request("POST", "/x").header("content-encoding", coding);
        let answer = client.begin(request.header("content-length", coded.len()).body(body).unwrap()).await;
        for pieces in coded.chunks(300) {
            let frame = |byte: &u8| Frame::data(Bytes::copy_from_slice(&[*byte]));
            pieces.iter().for_each(|byte| feed.send(frame(byte)).unwrap());
            // more tiny frames that wait to be read would end the connection
            client.get("/echo").await;
        }
        drop(feed);
        assert_eq!(whole(answer.await.unwrap()).await.unwrap().status, 200, "{coding}");
        let seen = upstream.seen().pop().unwrap();
        assert!(decode(coding, &seen.body).unwrap() == text(TOOL_KEY).as_bytes(), "{coding}");
        assert!(seen.body.len() < 1000, "{coding}: {} bytes", seen.body.len());
    }
}

/// In gzip, and not compressed.
fn stored(text: &str) -> Vec<u8> {
    let mut stored = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    std::io::Write::write_all(&mut stored, text.as_bytes()).unwrap();
    stored.finish().unwrap()
}

#[tokio::test]
async fn a_coded_request_without_a_hit_stays_byte_for_byte() {
    let (upstream, _serve, mut client) = joined(Http::One).await;
    for coding in CODINGS {
        let coded = encode(coding, b"{\"text\":\"use <<tool_key>> for it\"}");
        let request =
            client.request("POST", "/x").header("content-encoding", coding).header("content-md5", "not looked at");
        client.ask(request.body(full(coded.clone())).unwrap()).await;
        let seen = upstream.seen().pop().unwrap();
        assert_eq!((seen.body, seen.headers["content-md5"].to_str().unwrap()), (coded, "not looked at"), "{coding}");
    }
}

#[tokio::test]
async fn each_piece_of_a_coded_upload_leaves_before_the_next_comes() {
    for coding in CODINGS {
        let (_upstream, _serve, mut client) = joined(Http::Two).await;
        let (feed, body) = fed();
        let mut encoder = Encoder::new(coding);
        let piece =
            |encoder: &mut Encoder, n: u32| Frame::data(encoder.flushed(format!("{{\"number\":{n}}}\n").as_bytes()));
        feed.send(piece(&mut encoder, 0)).unwrap();
        let request = client.request("POST", "/mirror").header("content-encoding", coding);
        let response = client.send(request.body(body).unwrap()).await.unwrap();
        // the mirror sends the coded bytes back; they are told to be in no coding, so they come as they are
        let (mut answer, mut got) = (response.into_body(), Vec::new());
        for number in 0..10 {
            let want: String = (0..=number).map(|n| format!("{{\"number\":{n}}}\n")).collect();
            let opened = |bytes: &[u8]| flushed_part(coding, bytes);
            while opened(&got) != want.as_bytes() {
                got.extend_from_slice(&next(&mut answer).await);
            }
            feed.send(piece(&mut encoder, number + 1)).unwrap();
        }
    }
}

/// What can be known from the beginning of a coded body.
fn flushed_part(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut decoder: Box<dyn std::io::Read + '_> = match coding {
        "gzip" => Box::new(flate2::read::GzDecoder::new(bytes)),
        "deflate" => Box::new(flate2::read::ZlibDecoder::new(bytes)),
        "br" => Box::new(brotli::Decompressor::new(bytes, 4096)),
        _ => Box::new(zstd::stream::read::Decoder::new(bytes).unwrap()),
    };
    let (mut out, mut byte) = (Vec::new(), [0]);
    while matches!(decoder.read(&mut byte), Ok(1)) {
        out.push(byte[0]);
    }
    out
}

#[tokio::test]
async fn what_can_not_be_read_is_refused_by_name() {
    for http in BOTH {
        let (upstream, serve, client) = joined(http).await;
        drop(client);
        let bomb = encode("gzip", &vec![b' '; 64 << 20]);
        let torn = &encode("zstd", b"{\"key\":\"<<tool_key>>\"}")[..20];
        for (codings, body, sized, status, word) in [
            ("compress", &b"{}"[..], true, 415, "compress"),
            ("gzip, aes128gcm", b"{}", false, 415, "aes128gcm"),
            ("gzip,gzip,gzip,gzip,gzip", b"{}", true, 415, "more than 4"),
            ("br", b"no br at all", true, 400, "br"),
            ("zstd", torn, true, 400, "zstd"),
            ("gzip", &bomb, true, 413, "grows"),
            ("gzip", &bomb, false, 413, "grows"),
            ("gzip", b"\x1f\x8b no gzip at all", false, 400, "gzip"),
        ] {
            let body = if sized { full(body.to_vec()) } else { cut(body, 10_000) };
            // a connection on which something was refused unread is closed
            let mut client = serve.client(&upstream, http).await;
            let request = client.request("POST", "/x").header("content-encoding", codings).body(body).unwrap();
            let got = client.ask(request).await;
            assert_eq!((got.status.as_u16(), got.header("locum-refused")), (status, Some("body-refused")), "{codings}");
            assert!(got.json()["detail"].as_str().unwrap().contains(word), "{codings}: {}", got.text());
            let accepted = (status == 415).then_some("gzip, deflate, br, zstd");
            assert_eq!(got.header("accept-encoding"), accepted, "{codings}");
        }
        // a streamed one may have begun, and then never came to its end
        assert!(upstream.seen().iter().all(|s| !s.whole), "{http:?}: {:#?}", upstream.seen());
        assert_eq!(of(&serve.drained().await.audit(), "refusal").len(), 8);
    }
}

fn sha256(bytes: &[u8]) -> String {
    STANDARD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
}

#[tokio::test]
async fn digests_are_made_anew_where_the_body_was_held() {
    let (upstream, _serve, mut client) = joined(Http::One).await;
    for coding in ["identity", "gzip"] {
        let coded = |text: &str| if coding == "gzip" { encode(coding, text.as_bytes()) } else { text.into() };
        let body = coded("{\"key\":\"<<tool_key>>\"}");
        let request = client.request("POST", "/x").header("content-encoding", coding);
        let request = request.header("content-digest", format!("sha-256=:{}:", sha256(&body)));
        let request = request.header("repr-digest", format!("sha-256=:{}:", sha256(&body)));
        let request = request.header("digest", format!("SHA-256={}", sha256(&body)));
        assert_eq!(client.ask(request.body(full(body)).unwrap()).await.status, 200);
        let seen = upstream.seen().pop().unwrap();
        let sha = sha256(&seen.body);
        assert_eq!(seen.header("content-digest").unwrap(), format!("sha-256=:{sha}:"), "{coding}");
        assert_eq!(seen.header("repr-digest").unwrap(), format!("sha-256=:{sha}:"), "{coding}");
        assert_eq!(seen.header("digest").unwrap(), format!("SHA-256={sha}"), "{coding}");
        assert_eq!(seen.header("content-length").unwrap(), seen.body.len().to_string());
    }
}

#[tokio::test]
async fn a_digest_that_can_not_be_kept_right_is_refused_by_name() {
    let (upstream, _serve, mut client) = joined(Http::Two).await;
    let body = "{\"key\":\"<<tool_key>>\"}";
    let trailers = |value: &str| {
        let mut trailers = HeaderMap::new();
        trailers.insert("content-digest", value.parse().unwrap());
        Some(trailers)
    };
    let of_body = format!("sha-256=:{}:", sha256(body.as_bytes()));
    for (name, value, sized, trailers) in [
        ("content-digest", "crc32c=:AAAAAA==:", true, None),
        ("content-digest", "sha-256=:AAAA:", true, None),
        ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==", false, None),
        ("x-none", "", false, trailers(&of_body)),
    ] {
        let named = if trailers.is_some() { "content-digest" } else { name };
        let sent = match sized {
            true => full(body),
            false => crate::support::client::pieces(&[body], trailers),
        };
        let got = client.ask(client.request("POST", "/x").header(name, value).body(sent).unwrap()).await;
        assert_eq!((got.status.as_u16(), got.header("locum-refused")), (400, Some("body-refused")), "{value}");
        assert!(got.json()["detail"].as_str().unwrap().contains(named), "{}", got.text());
    }
    assert!(upstream.seen().iter().all(|s| !s.whole));
    // one that goes with a body that did not change is still right
    let (text, of_text) = ("no placeholder", format!("sha-256=:{}:", sha256(b"no placeholder")));
    let sent = crate::support::client::pieces(&[text], trailers(&of_text));
    assert_eq!(client.ask(client.request("POST", "/x").body(sent).unwrap()).await.status, 200);
    assert_eq!(upstream.seen().pop().unwrap().trailers.unwrap()["content-digest"], of_text);
}
