//! `[limits]` in the config: each holds as it is set, and is told in words that name it.

use crate::support::client::{BOTH, full, none};
use crate::support::locum::{TOOL_KEY, of};
use crate::support::{Home, Http, Serve, Upstream};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

fn limited(upstream: &Upstream, limits: &str) -> Serve {
    let proxy = format!("connect_ports = [{}]", upstream.port());
    let key = format!("[key.tool]\nhosts = [\"{}\"]\n[limits]\n{limits}\n", upstream.authority());
    Home::with(&proxy, &key).serve()
}

#[tokio::test]
async fn a_head_may_be_as_long_as_is_set_and_no_longer() {
    let upstream = Upstream::start();
    let serve = limited(&upstream, "head = \"8KiB\"");
    for http in BOTH {
        for (length, status) in [(6 * 1024, 200), (9 * 1024, 431)] {
            let mut client = serve.client(&upstream, http).await;
            let request = client.request("GET", "/").header("x-long", "a".repeat(length)).body(none()).unwrap();
            let answer = client.ask(request).await;
            assert_eq!(answer.status, status, "{http:?} {length}");
            if http == Http::One && status == 431 {
                assert!(answer.text().contains("over 8 KiB, which [limits] head allows"), "{}", answer.text());
            }
        }
    }
    assert_eq!(upstream.seen().len(), 2);
}

/// Patterns cost time, and what is longer than any server has to take is there to cost it.
#[tokio::test]
async fn a_path_is_compared_with_patterns_up_to_a_length_and_told_when_it_is_longer() {
    const MOST: usize = 8 * 1024;
    let upstream = Upstream::start();
    let proxy = format!("connect_ports = [{}]", upstream.port());
    let key = format!("[key.tool]\nhosts = [\"{}\"]\npaths = [\"/**/a/**/b\"]\n", upstream.authority());
    let serve = Home::with(&proxy, &key).serve();
    let path = |length: usize| {
        format!("{}{}b", "/a".repeat(length / 2 - 1), if length.is_multiple_of(2) { "/" } else { "x/" })
    };
    for http in BOTH {
        for (length, with_key, status) in
            [(MOST, true, 200), (MOST + 1, true, 403), (60_000, true, 403), (60_000, false, 200)]
        {
            let path = path(length);
            assert_eq!(path.len(), length);
            let mut client = serve.client(&upstream, http).await;
            let mut request = client.request("GET", &path);
            if with_key {
                request = request.header("x-api-key", "<<tool_key>>");
            }
            let answer = client.ask(request.body(none()).unwrap()).await;
            assert_eq!(answer.status, status, "{http:?} {length} {with_key}");
            let refused = (status == 403).then_some("placeholder-refused");
            assert_eq!(answer.header("locum-refused"), refused, "{http:?} {length} {with_key}");
        }
    }
    let records = serve.stop().audit();
    let reasons: Vec<&str> = of(&records, "refusal").iter().filter_map(|r| r["reason"].as_str()).collect();
    let told = |bytes: usize| {
        format!("<<tool_key>>: the path has {bytes} bytes, and [key.tool] paths is checked on 8192 at most; shorten it")
    };
    assert_eq!(reasons, [told(MOST + 1), told(60_000), told(MOST + 1), told(60_000)]);
}

#[tokio::test]
async fn a_body_is_held_up_to_the_length_that_is_set() {
    let upstream = Upstream::start();
    let serve = limited(&upstream, "held_body = \"1KiB\"");
    let mut client = serve.client(&upstream, Http::One).await;
    for (padding, is_held) in [(800, true), (2000, false)] {
        let body = format!(r#"{{"key":"<<tool_key>>","padding":"{}"}}"#, "a".repeat(padding));
        let answer = client.ask(client.request("POST", "/").body(full(body)).unwrap()).await;
        assert_eq!(answer.status, 200, "{padding}");
        let seen = upstream.seen().pop().unwrap();
        assert!(seen.text().contains(TOOL_KEY), "{padding}");
        assert_eq!(seen.header("content-length").is_some(), is_held, "{padding}");
        assert_eq!(seen.header("transfer-encoding").is_some(), !is_held, "{padding}");
    }
}

#[tokio::test]
async fn an_answer_may_take_as_long_to_begin_as_is_set() {
    let upstream = Upstream::start();
    let serve = limited(&upstream, "first_byte = \"1s\"");
    let (_gate, _feed) = upstream.hold("/slow", http::Response::builder());
    let answer = serve.client(&upstream, Http::One).await.get("/slow").await;
    assert_eq!((answer.status.as_u16(), answer.header("locum-refused")), (504, Some("upstream-timeout")));
    assert!(answer.text().contains("within 1 s"), "{}", answer.text());
    let refusals = serve.stop().audit();
    assert_eq!(of(&refusals, "refusal").len(), 1);
}

#[tokio::test]
async fn connections_beyond_what_is_set_are_closed_at_once() {
    let upstream = Upstream::start();
    let serve = limited(&upstream, "connections = 16");
    // one that is served has been counted
    let mut held = Vec::new();
    for _ in 0..16 {
        let mut client = serve.client(&upstream, Http::One).await;
        assert_eq!(client.get("/").await.status, 200);
        held.push(client);
    }
    let mut beyond = TcpStream::connect(serve.address).unwrap();
    // who is closed already may not be able to ask
    let _ = beyond.write_all(format!("CONNECT {} HTTP/1.1\r\n\r\n", upstream.authority()).as_bytes());
    assert_eq!(beyond.read(&mut [0; 1]).unwrap_or(0), 0, "closed");
    for client in &mut held {
        assert_eq!(client.get("/").await.status, 200);
    }
    let records = serve.drained().await.audit();
    let told: Vec<_> = of(&records, "refusal").into_iter().filter(|r| r["error"] == "connections-full").collect();
    assert_eq!((told.len(), &told[0]["count"], &told[0]["agent"]), (1, &1.into(), &"-".into()), "{told:#?}");
    assert!(told[0]["reason"].as_str().unwrap().contains("as many as [limits] connections allows"), "{told:#?}");
}

#[test]
fn what_is_no_limit_is_told_with_its_place() {
    for (limits, told) in [
        ("head = \"1KiB\"", "'1KiB' is not within 8KiB and 1024KiB"),
        ("held_body = \"1GB\"", "'1GB' is not within 1B and 16384KiB"),
        ("first_byte = \"soon\"", "'soon' is no time to wait"),
        ("connections = 1", "connections"),
        ("under_way = 15", "under_way"),
        ("heads = \"64KiB\"", "head"),
    ] {
        let home = Home::bare(&format!("[limits]\n{limits}\n"));
        let output = crate::support::locum::finish(&mut home.locum(&["check"]));
        let text = crate::support::locum::told(&output);
        assert!(!output.status.success() && text.contains(told), "{limits}: {text}");
        assert!(text.contains("locum.toml:2:"), "{limits}: {text}");
    }
}
