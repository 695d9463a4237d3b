//! A whole key in an answer is hidden wherever it stands and however it is spelled: names, values, bodies, trailers, messages.

use crate::support::client::{BOTH, Client, Http, none, whole};
use crate::support::locum::{TOOL_KEY, of};
use crate::support::{Home, Serve, Upstream};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, Response};

fn each(text: &str, one: impl Fn(u8) -> String) -> String {
    text.bytes().map(one).collect()
}

fn folded(text: &str, columns: usize, end: &str) -> String {
    let lines = text.as_bytes().chunks(columns).map(|line| std::str::from_utf8(line).expect("a text"));
    lines.collect::<Vec<_>>().join(end)
}

/// Every form that promise 6 names, and none of which was known: letters that nothing asks to be escaped, and lines.
fn spelled() -> Vec<(&'static str, String)> {
    let hex = |text: &str| each(text, |b| format!("{b:02x}"));
    let around = format!("{}{TOOL_KEY}{}", "before it ".repeat(9), " and behind".repeat(9));
    vec![
        ("raw", TOOL_KEY.to_owned()),
        ("percent", each(TOOL_KEY, |b| format!("%{b:02X}"))),
        ("percent twice", each(TOOL_KEY, |b| format!("%25{b:02x}"))),
        ("json", each(TOOL_KEY, |b| format!("\\u{b:04x}"))),
        ("json in json", each(TOOL_KEY, |b| format!("\\\\u{b:04X}"))),
        ("mixed", each(TOOL_KEY, |b| if b % 2 == 0 { format!("%{b:02x}") } else { char::from(b).to_string() })),
        ("hex", hex(TOOL_KEY)),
        ("HEX", hex(TOOL_KEY).to_uppercase()),
        ("base64", STANDARD.encode(TOOL_KEY)),
        ("base64 of a pair", STANDARD.encode(format!("user:{TOOL_KEY}"))),
        ("base64 in lines", folded(&STANDARD.encode(&around), 76, "\r\n")),
        ("base64 in lines of json", folded(&STANDARD.encode(&around), 64, "\\n")),
        ("hex in lines", folded(&hex(&around), 60, "\n")),
    ]
}

async fn asked(serve: &Serve, upstream: &Upstream, http: Http) -> Client {
    serve.client(upstream, http).await
}

#[tokio::test]
async fn every_spelling_is_hidden_in_held_and_streamed_bodies() {
    for http in BOTH {
        let upstream = Upstream::start();
        let serve = Home::bound(&[&upstream]).serve();
        let mut client = asked(&serve, &upstream, http).await;
        for (name, form) in spelled() {
            for sized in [true, false] {
                let text = format!("{{\"key\":\"{form}\"}}");
                let head = Response::builder();
                let head = if sized { head.header("content-length", text.len()) } else { head };
                let feed = upstream.on("/said", head);
                text.as_bytes().chunks(11).for_each(|piece| feed.send(piece.to_vec()));
                drop(feed);
                let said = client.get("/said").await.text();
                assert!(said.contains("<<tool_key>>"), "{name}, {http:?}, sized {sized}: {said}");
                assert!(said.starts_with("{\"key\":\"") && said.ends_with("\"}"), "{name}: {said}");
            }
        }
    }
}

#[tokio::test]
async fn names_and_values_of_headers_and_trailers_hold_no_key() {
    for http in BOTH {
        let upstream = Upstream::start();
        let serve = Home::bound(&[&upstream]).serve();
        let mut client = asked(&serve, &upstream, http).await;
        let name: HeaderName = TOOL_KEY.parse().expect("a name");
        let hex: HeaderName = each(TOOL_KEY, |b| format!("{b:02x}")).parse().expect("a name");
        let head = Response::builder().header(&name, "a").header(&hex, "b").header("x-said", TOOL_KEY);
        let feed = upstream.on("/named", head.header("trailer", "x-said").header("x-other", "stays"));
        feed.send("a body");
        let mut trailers = HeaderMap::new();
        trailers.insert("x-said", TOOL_KEY.parse().expect("a value"));
        trailers.insert(name.clone(), "c".parse().expect("a value"));
        feed.trailers(trailers);
        let request = client.request("GET", "/named").header("te", "trailers").body(none()).expect("a request");
        let answer = client.ask(request).await;
        let all = format!("{:?} {:?}", answer.headers, answer.trailers);
        assert!(!all.contains(TOOL_KEY) && !all.contains(hex.as_str()), "{http:?}: {all}");
        assert_eq!(answer.header("x-said"), Some("<<tool_key>>"));
        assert_eq!(answer.header("x-other"), Some("stays"));
        assert_eq!(answer.text(), "a body");
        if let Some(trailers) = answer.trailers {
            assert_eq!(trailers["x-said"], "<<tool_key>>", "{http:?}");
        }
    }
}

/// A message of gRPC, with its flag and its length before it.
fn message(flag: u8, text: &str) -> Vec<u8> {
    [&[flag][..], &(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
}

#[tokio::test]
async fn messages_of_grpc_are_hidden_one_by_one_and_withheld_where_they_are_compressed() {
    let upstream = Upstream::speaking(&["h2"]);
    let serve = Home::bound(&[&upstream]).serve();
    let mut client = asked(&serve, &upstream, Http::Two).await;
    let head = || Response::builder().header("content-type", "application/grpc");
    let call = |client: &Client| {
        let request = client.request("POST", "/call").header("content-type", "application/grpc");
        request.header("te", "trailers").body(none()).expect("a request")
    };
    let feed = upstream.on("/call", head());
    let both = [message(0, &format!("it is {TOOL_KEY}")), message(0, "and no more")].concat();
    both.chunks(9).for_each(|piece| feed.send(piece.to_vec()));
    drop(feed);
    let request = call(&client);
    let answer = client.ask(request).await;
    let mask = format!("<<tool_key>>{}", "*".repeat(TOOL_KEY.len() - 12));
    let want = [message(0, &format!("it is {mask}")), message(0, "and no more")].concat();
    assert_eq!(String::from_utf8_lossy(&answer.body), String::from_utf8_lossy(&want));

    // no header says so, and what is in it can't be told
    let feed = upstream.on("/call", head());
    feed.send(message(0, "before"));
    feed.send(message(1, TOOL_KEY));
    drop(feed);
    let request = call(&client);
    let ended = match client.send(request).await {
        Ok(response) => whole(response).await.map(|answer| answer.text()),
        Err(e) => Err(e),
    };
    assert!(ended.is_err(), "it is cut, and never ends well: {ended:?}");
    drop(client);
    let records = serve.drained().await.audit();
    let errors: Vec<&str> = of(&records, "exchange").iter().filter_map(|e| e["error"].as_str()).collect();
    assert!(errors.iter().any(|error| error.contains("a message is compressed")), "{errors:?}");
}

/// A key that no request brought is stored at the host, or was guessed: either is for somebody to look at.
#[tokio::test]
async fn a_key_that_the_request_did_not_bring_is_a_finding_of_weight() {
    let upstream = Upstream::start();
    let serve = Home::bound(&[&upstream]).serve();
    let mut client = asked(&serve, &upstream, Http::One).await;
    let feed = upstream.on("/stored", Response::builder());
    feed.send(TOOL_KEY);
    drop(feed);
    assert_eq!(client.get("/stored").await.text(), "<<tool_key>>");
    let request = client.request("GET", "/echo").header("x-key", "<<tool_key>>").body(none()).expect("a request");
    assert!(client.ask(request).await.text().contains("<<tool_key>>"));
    drop(client);
    let records = serve.drained().await.audit();
    let found: Vec<&str> = of(&records, "anomaly").iter().filter_map(|a| a["reason"].as_str()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("unrequested-key, high: localhost showed key tool 1 times"), "{}", found[0]);
    let errors: Vec<_> = of(&records, "scrub").iter().map(|scrub| scrub["error"].as_str().map(str::to_owned)).collect();
    assert_eq!(errors, [Some("unrequested".to_owned()), None]);
}

#[tokio::test]
async fn no_coding_is_asked_for_and_a_tag_comes_back_as_it_was() {
    for http in BOTH {
        let upstream = Upstream::start();
        let serve = Home::bound(&[&upstream]).serve();
        let mut client = asked(&serve, &upstream, http).await;
        let feed =
            upstream.on("/tagged", Response::builder().header("etag", "\"v1\"").header("accept-ranges", "bytes"));
        drop(feed);
        let request =
            client.request("GET", "/tagged").header("accept-encoding", "gzip, br").header("range", "bytes=0-3");
        let answer = client.ask(request.body(none()).expect("a request")).await;
        assert_eq!((answer.header("etag"), answer.header("accept-ranges")), (Some("W/\"locum-v1\""), None));
        let request = client.request("GET", "/echo").header("if-none-match", "W/\"locum-v1\", \"v0\"");
        client.ask(request.body(none()).expect("a request")).await;
        let seen = upstream.seen();
        assert_eq!(seen[0].header("accept-encoding").as_deref(), Some("identity"), "{http:?}");
        assert_eq!(seen[0].header("range"), None);
        assert_eq!(seen[1].header("if-none-match").as_deref(), Some("\"v1\", \"v0\""));
    }
}

#[tokio::test]
async fn a_quote_that_was_cut_is_covered_in_an_error_alone() {
    let upstream = Upstream::start();
    let key = "sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4z";
    let table = format!("[key.openai]\nhosts = [\"{}\"]\n", upstream.authority());
    let home = Home::with(&format!("connect_ports = [{}]\n", upstream.port()), &table);
    let serve = home.set("OPENAI_API_KEY", key).serve();
    let mut client = asked(&serve, &upstream, Http::One).await;
    for (status, sized) in [(401, true), (401, false), (200, true), (200, false)] {
        let text = format!("Incorrect API key provided: {}… (sk-proj-abc)", &key[..24]);
        let head = Response::builder().status(status);
        let head = if sized { head.header("content-length", text.len()) } else { head };
        let feed = upstream.on("/wrong", head);
        text.as_bytes().chunks(40).for_each(|piece| feed.send(piece.to_vec()));
        drop(feed);
        let said = client.get("/wrong").await.text();
        let covered = "Incorrect API key provided: <<openai_key>>… (sk-proj-abc)";
        assert_eq!(said, if status == 401 { covered } else { &text }, "{status}, sized {sized}");
    }
}
