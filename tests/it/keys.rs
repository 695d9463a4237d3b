//! A placeholder becomes a key at the upstream and vanishes again on the way back, or is refused: every place, both versions.

use crate::support::client::{BOTH, full, none, whole};
use crate::support::locum::{OPENAI_KEY, TOOL_KEY, finish, of};
use crate::support::{Client, HANGS, Home, Http, Upstream};
use base64::Engine as _;
use serde_json::json;

const PLACEHOLDER: &str = "<<tool_key>>";

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test]
async fn a_key_in_each_place_reaches_the_upstream_and_nothing_of_it_comes_back() {
    let form = "application/x-www-form-urlencoded";
    let cases = [
        (
            "authorization",
            format!("Bearer {PLACEHOLDER}"),
            "",
            String::new(),
            format!("Bearer {TOOL_KEY}"),
            String::new(),
        ),
        ("x-api-key", PLACEHOLDER.into(), "", String::new(), TOOL_KEY.into(), String::new()),
        (
            "authorization",
            format!("Basic {}", base64(&format!("user:{PLACEHOLDER}"))),
            "",
            String::new(),
            format!("Basic {}", base64(&format!("user:{TOOL_KEY}"))),
            String::new(),
        ),
        (
            "x-none",
            "none".into(),
            "application/json",
            format!("{{\"a\": [1, \"{PLACEHOLDER}\"],  \"text\": \"use {PLACEHOLDER} here\"}}"),
            "none".into(),
            format!("{{\"a\": [1, \"{TOOL_KEY}\"],  \"text\": \"use {PLACEHOLDER} here\"}}"),
        ),
        (
            "x-none",
            "none".into(),
            form,
            "q=1&key=%3C%3Ctool_key%3E%3E&b=x+y".into(),
            "none".into(),
            format!("q=1&key={TOOL_KEY}&b=x+y"),
        ),
    ];
    for http in BOTH {
        for (name, value, content_type, body, header_seen, body_seen) in &cases {
            let upstream = Upstream::start();
            let serve = Home::bound(&[&upstream]).serve();
            let mut client = serve.client(&upstream, http).await;
            let mut request = client.request("POST", "/echo").header(*name, value);
            if !content_type.is_empty() {
                request = request.header("content-type", *content_type);
            }
            let answer = client.ask(request.body(full(body.clone())).unwrap()).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let seen = upstream.only();
            assert_eq!(seen.header(name).as_ref(), Some(header_seen));
            assert_eq!(seen.text(), *body_seen);
            assert!(
                !answer.text().contains(TOOL_KEY) && !answer.text().contains(&base64(TOOL_KEY)),
                "{}",
                answer.text()
            );
            let records = serve.drained().await.audit();
            let substitutions = of(&records, "substitution");
            assert_eq!(substitutions.len(), 1, "{records:#?}");
            assert_eq!(substitutions[0]["key_ref"], PLACEHOLDER);
            assert_eq!(of(&records, "exchange")[0]["status"], 200);
            assert!(records.iter().all(|r| !r.to_string().contains(TOOL_KEY)));
        }
    }
}

#[tokio::test]
async fn a_placeholder_for_a_host_it_is_not_bound_to_is_refused_and_nothing_leaves() {
    for http in BOTH {
        let (bound, other) = (Upstream::start(), Upstream::start());
        let serve = Home::bound(&[&bound, &other]).serve();
        let mut client = serve.client(&other, http).await;
        for value in [PLACEHOLDER, "Bearer <<openai_key>>", "Bearer <<never_heard_of_key>>"] {
            let request = client.request("GET", "/echo").header("authorization", value);
            let answer = client.ask(request.body(full("")).unwrap()).await;
            assert_eq!(answer.status, 403, "{}", answer.text());
            assert_eq!(answer.header("locum-refused"), Some("placeholder-refused"));
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            assert_eq!(answer.json()["status"], 403);
        }
        assert_eq!((other.begun(), other.connections()), (0, 0));
        // what names no key passes on the very same connection
        assert_eq!(client.get("/echo").await.status, 200);
        assert_eq!(other.begun(), 1);
        let records = serve.drained().await.audit();
        assert_eq!(of(&records, "refusal").len(), 3);
        assert_eq!(of(&records, "substitution").len(), 0);
    }
}

#[tokio::test]
async fn what_is_said_to_a_model_arrives_as_it_was_said() {
    for http in BOTH {
        let model = Upstream::start();
        // a model provider's binding has no body, as the catalog's have none
        let rest = format!("[key.openai]\nhosts = [\"{}\"]\n", model.authority());
        let serve = Home::with("", &rest).serve();
        let mut client = serve.client(&model, http).await;
        let said = json!({ "messages": [{ "role": "user", "content": "<<openai_key>>" }, { "content": "use <<brave_key>>" }] });
        let request = client.request("POST", "/echo").header("authorization", "Bearer <<openai_key>>");
        let request = request.header("content-type", "application/json").body(full(said.to_string())).unwrap();
        assert_eq!(client.ask(request).await.status, 200);
        let seen = model.only();
        assert_eq!(seen.text(), said.to_string());
        assert_eq!(seen.header("authorization").unwrap(), format!("Bearer {OPENAI_KEY}"));
        drop(serve);
    }
}

#[tokio::test]
async fn a_key_that_an_upstream_says_back_is_hidden_in_headers_bodies_and_events() {
    for http in BOTH {
        let upstream = Upstream::start();
        let serve = Home::bound(&[&upstream]).serve();
        let mut client = serve.client(&upstream, http).await;
        let head = http::Response::builder().header("x-key", TOOL_KEY).header("content-type", "text/event-stream");
        let feed = upstream.on("/sse", head);
        // cut by frames in every way that has two parts
        for at in 1..TOOL_KEY.len() {
            feed.send(format!("data: {}", &TOOL_KEY[..at]));
            feed.send(format!("{}\n\n", &TOOL_KEY[at..]));
        }
        drop(feed);
        let answer = client.get("/sse").await;
        assert_eq!(answer.header("x-key"), Some(PLACEHOLDER));
        assert!(!answer.text().contains(TOOL_KEY));
        assert_eq!(answer.text().matches("data: ").count(), TOOL_KEY.len() - 1);
        let records = serve.drained().await.audit();
        assert_eq!(of(&records, "scrub").len(), 1, "{records:#?}");
    }
}

/// A reload binds a key elsewhere and gives it another value, while a request waits for another key: it is judged again, and
/// neither value leaves.
#[tokio::test]
async fn a_new_value_never_goes_where_only_the_old_one_might() {
    let (first, second) = (Upstream::start(), Upstream::start());
    let ports = format!("connect_ports = [{}, {}]\n", first.port(), second.port());
    let home = Home::with(&ports, "");
    let pipe = home.path().join("slow");
    assert!(finish(home.command("mkfifo").arg(&pipe)).status.success());
    for name in ["old", "new"] {
        std::fs::write(home.path().join(name), format!("value-of-the-{name}-binding")).unwrap();
    }
    let top = std::fs::read_to_string(home.config()).unwrap();
    // another host to locum, which is not to wait for the key of the first
    let elsewhere = format!("127.0.0.1:{}", second.port());
    let bound = |authority: &str, source: &str| {
        format!(
            "{top}[key.slow]\nhosts = [\"{}\"]\nsource = 'exec:[\"/bin/cat\", \"{}\"]'\n\
             [key.tool]\nhosts = [\"{}\"]\nsource = \"file:{source}\"\n",
            first.authority(),
            pipe.display(),
            authority
        )
    };
    home.write_config(&bound(&first.authority(), "old"));
    let serve = home.serve();
    let mut client = serve.client(&first, Http::Two).await;
    let request = client.request("GET", "/echo").header("x-slow", "<<slow_key>>").header("x-tool", "<<tool_key>>");
    let asked = tokio::spawn(client.begin(request.body(none()).unwrap()).await);
    // it opens once somebody reads, and then the request waits
    let writing = pipe.clone();
    let slow = tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(writing).unwrap());
    let mut slow = slow.await.unwrap();
    serve.home.write_config(&bound(&elsewhere, "new"));
    serve.signal(rustix::process::Signal::HUP);
    serve.await_said(|line| line == "locum: reloaded");
    std::io::Write::write_all(&mut slow, b"value-of-the-slow-key").unwrap();
    drop(slow);
    let answer = whole(asked.await.unwrap().unwrap()).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("locum-refused")), (403, Some("placeholder-refused")));
    assert_eq!(first.begun(), 0);

    let mut client = Client::open(serve.address, &serve.ca, &elsewhere, Http::Two).await;
    client.ask(client.request("GET", "/echo").header("x-tool", "<<tool_key>>").body(none()).unwrap()).await;
    assert_eq!(second.only().header("x-tool").as_deref(), Some("value-of-the-new-binding"));
}

/// A token that lives for less than the five minutes that a program's answer counts for otherwise.
#[tokio::test]
async fn a_program_is_asked_again_once_its_answer_has_had_its_lifetime() {
    let upstream = Upstream::start();
    let ports = format!("connect_ports = [{}]\n", upstream.port());
    let home = Home::with(&ports, "");
    let runs = home.path().join("runs").display().to_string();
    let script = format!("echo run >> {runs}; echo tk-5f0c2d9be1a84763-$(wc -l < {runs})");
    let top = std::fs::read_to_string(home.config()).unwrap();
    home.write_config(&format!(
        "{top}[key.tool]\nhosts = [\"{}\"]\nsource = 'exec:[\"/bin/sh\", \"-c\", \"{script}\"]'\nlifetime = \"1s\"\n",
        upstream.authority()
    ));
    let serve = home.serve();
    let mut client = serve.client(&upstream, Http::Two).await;
    let until = std::time::Instant::now() + HANGS;
    for run in 0_usize.. {
        let request = client.request("GET", "/echo").header("x-tool", "<<tool_key>>").body(none()).unwrap();
        assert_eq!(client.ask(request).await.status, 200);
        let seen = upstream.await_seen(run + 1)[run].header("x-tool");
        if seen.as_deref() == Some("tk-5f0c2d9be1a84763-2") {
            break;
        }
        assert_eq!(seen.as_deref(), Some("tk-5f0c2d9be1a84763-1"));
        assert!(std::time::Instant::now() < until, "it is never asked again");
    }
}
