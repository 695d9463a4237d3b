//! Who asks: tokens in every form, those that no longer count, and agents that want more than is theirs.

use super::{BOUND, OTHER, Stage, verdicts};
use crate::support::client::{Client, Http, Sent, fed, full, none, tunnel};
use crate::support::coded::encode;
use crate::support::locum::{finish, stdout, told};
use crate::support::tunnel::{Told, answers};
use crate::support::wire::{exchange, exchange_and_end};
use crate::support::{HANGS, Home, Serve};
use base64::Engine as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use std::time::Instant;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

const TABLES: &str = r#"
[agent.slow]
rate = "2/h"

[agent.single]
concurrent = 1

[agent.reader]
methods = ["GET"]

[agent.homebody]
hosts = ["api.tool.example"]
"#;

fn add(home: &Home, args: &[&str]) -> String {
    let output = finish(&mut home.locum(&[&["agent", "add"], args].concat()));
    assert!(output.status.success(), "{}", told(&output));
    stdout(&output).trim().to_owned()
}

/// A stage on which each of `names` has a token, and no agent is in the config.
fn with_agents_alone<const N: usize>(names: [&str; N]) -> (Stage, [String; N]) {
    let mut tokens = Vec::new();
    let stage = Stage::with(|home| tokens = names.iter().map(|name| add(home, &[name])).collect(), "");
    (stage, tokens.try_into().expect("a token each"))
}

/// A stage on which each of `names` has a token; `keyless` may use no key, and the time of `late` is over.
fn with_agents<const N: usize>(names: [&str; N]) -> (Stage, [String; N]) {
    let mut tokens = Vec::new();
    let stage = Stage::with(
        |home| {
            tokens = names
                .iter()
                .map(|name| match *name {
                    "keyless" => add(home, &["keyless", "--keys", "other"]),
                    name => add(home, &[name, "--expires", "1d"]),
                })
                .collect();
            expire(home, "late");
        },
        &format!("[key.other]\nhosts = [\"{OTHER}\"]\n{TABLES}"),
    );
    (stage, tokens.try_into().expect("a token each"))
}

/// Lets an agent's time have ended long ago.
fn expire(home: &Home, name: &str) {
    let path = home.state().join("agents.json");
    let mut rows: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).expect("tokens")).expect("JSON");
    for row in rows.as_array_mut().into_iter().flatten().filter(|row| row["name"] == name) {
        row["expires"] = 1.into();
    }
    std::fs::write(path, rows.to_string()).expect("tokens");
}

fn basic(pair: &str) -> String {
    format!("Proxy-Authorization: Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

fn connect(serve: &Serve, lines: &str) -> Vec<Told> {
    let lines = if lines.is_empty() { String::new() } else { format!("{lines}\r\n") };
    let head = format!("CONNECT {BOUND}:443 HTTP/1.1\r\nHost: {BOUND}:443\r\n{lines}\r\n");
    answers(exchange_and_end(serve.address, head.as_bytes()).as_bytes())
}

async fn inside(serve: &Serve, token: &str, host: &str, http: Http) -> Client {
    let stream = tunnel(serve.address, &format!("{host}:443"), token).await.expect("a tunnel");
    Client::over(stream, &serve.ca, host, http).await
}

#[test]
fn a_token_is_needed_and_only_a_good_one_counts() {
    let (stage, [good, late]) = with_agents(["good", "late"]);
    let mut refused = Vec::new();
    for (lines, wanted) in [
        (String::new(), "407 authentication-required"),
        ("Proxy-Authorization:".into(), "407 authentication-required"),
        ("Proxy-Authorization: Bearer".into(), "407 authentication-required"),
        ("Proxy-Authorization: Bearer x".into(), "407 authentication-required"),
        (format!("Proxy-Authorization: Bearer {}", &good[..good.len() - 1]), "407 authentication-required"),
        (format!("Proxy-Authorization: Bearer {good}x"), "407 authentication-required"),
        (format!("Proxy-Authorization: Bearer {}", good.to_uppercase()), "407 authentication-required"),
        (format!("Proxy-Authorization: Bearer {late}"), "407 authentication-required"),
        (format!("Proxy-Authorization: Digest {good}"), "407 authentication-required"),
        (format!("Proxy-Authorization: {good}"), "407 authentication-required"),
        (format!("Proxy-Authorization: Basic {good}"), "407 authentication-required"),
        (format!("Authorization: Bearer {good}"), "407 authentication-required"),
        (format!("X-Proxy-Authorization: Bearer {good}"), "407 authentication-required"),
        (basic("good:"), "407 authentication-required"),
        (basic(&good), "407 authentication-required"),
        (basic(":"), "407 authentication-required"),
        (basic(&format!("good:{late}")), "407 authentication-required"),
        (basic(&format!("good: {good}")), "407 authentication-required"),
        (format!("{}\r\nProxy-Authorization: Bearer {good}", basic("x:y")), "400 malformed"),
    ] {
        let said = connect(&stage.serve, &lines);
        assert_eq!(verdicts(&said), wanted, "{lines}");
        for told in &said {
            let all = format!("{}{}", told.head, told.text());
            assert!(!all.contains("good") && !all.contains("late") && !all.contains(&good), "it tells who: {all}");
        }
        refused.extend(said);
    }
    for lines in [
        format!("Proxy-Authorization: Bearer {good}"),
        format!("proxy-authorization: bearer {good}"),
        basic(&format!("good:{good}")),
        basic(&format!("anybody:{good}")),
        basic(&format!("{good}:")),
    ] {
        assert_eq!(verdicts(&connect(&stage.serve, &lines)), "200", "{lines}");
    }
    // plain requests are asked each for itself
    let get = |lines: &str| {
        let head = format!("GET http://{BOUND}/ HTTP/1.1\r\nHost: {BOUND}\r\n{lines}Connection: close\r\n\r\n");
        answers(exchange(stage.serve.address, head.as_bytes()).as_bytes())
    };
    let said = [get(""), get("Proxy-Authorization: Bearer x\r\n"), get(&format!("Authorization: Bearer {good}\r\n"))];
    for said in said {
        assert_eq!(verdicts(&said), "407 authentication-required");
        refused.extend(said);
    }
    stage.strike(&refused);
}

#[tokio::test]
async fn an_agent_gets_what_is_its_own_and_no_more() {
    let names = ["keyless", "slow", "reader", "homebody"];
    let (stage, [keyless, slow, reader, homebody]) = with_agents(names);
    for http in crate::support::client::BOTH {
        let mut client = inside(&stage.serve, &keyless, BOUND, http).await;
        let request = client.request("GET", "/").header("x-api-key", "<<tool_key>>").body(none()).unwrap();
        let answer = client.ask(request).await;
        assert_eq!((answer.status.as_u16(), answer.header("locum-refused")), (403, Some("placeholder-refused")));
        let request = client.request("POST", "/").header("content-type", "application/json");
        let body = crate::support::client::full("{\"key\": \"<<tool_key>>\"}");
        assert_eq!(client.ask(request.body(body).unwrap()).await.status, 200, "in a body it stays what it is");

        let mut client = inside(&stage.serve, &reader, BOUND, http).await;
        let answer = client.ask(client.request("DELETE", "/").body(none()).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.header("locum-refused")), (403, Some("host-refused")));
    }
    let mut client = inside(&stage.serve, &slow, BOUND, Http::Two).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let answer = client.get("/").await;
        statuses.push((answer.status.as_u16(), answer.header("retry-after").is_some()));
    }
    assert_eq!(statuses, [(200, false), (200, false), (429, true)]);
    let refused = tunnel(stage.serve.address, &format!("{OTHER}:443"), &homebody).await.unwrap_err().to_string();
    assert!(refused.contains("403") && refused.contains("host-refused"), "{refused}");

    let (bound, other) = (stage.bound.seen(), stage.other.seen());
    assert!(bound.len() == 4 && other.is_empty(), "{bound:#?} {other:#?}");
    assert!(bound.iter().all(|s| !s.text().contains(crate::support::locum::TOOL_KEY)), "{bound:#?}");
    let records = stage.serve.drained().await.audit();
    let mut reasons: Vec<(&str, &str)> = records
        .iter()
        .filter(|r| r["event"] == "refusal")
        .map(|r| (r["agent"].as_str().unwrap_or_default(), r["reason"].as_str().unwrap_or_default()))
        .collect();
    reasons.sort_unstable();
    reasons.dedup();
    let wanted = [("homebody", "hosts"), ("keyless", "may not use it"), ("reader", "methods"), ("slow", "rate")];
    assert_eq!(reasons.len(), wanted.len(), "{reasons:?}");
    for ((agent, reason), (name, why)) in reasons.iter().zip(wanted) {
        assert!(*agent == name && reason.contains(why), "{agent}: {reason}");
    }
}

#[tokio::test]
async fn an_agent_has_only_so_many_requests_under_way() {
    let (stage, [single]) = with_agents(["single"]);
    let (gate, feed) = stage.bound.hold("/held", Response::builder());
    let mut first = inside(&stage.serve, &single, BOUND, Http::Two).await;
    let held = first.begin(first.request("GET", "/held").body(none()).unwrap()).await;
    // the client runs on this very thread
    while stage.bound.begun() == 0 {
        tokio::task::yield_now().await;
    }
    for http in crate::support::client::BOTH {
        let mut second = inside(&stage.serve, &single, BOUND, http).await;
        assert_eq!(second.get("/").await.status, 429, "{http:?}");
    }
    assert_eq!(first.get("/").await.status, 429, "on another stream");
    drop((gate, feed));
    crate::support::client::whole(held.await.unwrap()).await.unwrap();
    until(&mut first, 200).await;
    let records = stage.serve.drained().await.audit();
    let refusals: Vec<_> = records.iter().filter(|r| r["event"] == "refusal").collect();
    assert!(refusals.len() >= 3 && refusals.iter().all(|r| r["agent"] == "single"), "{refusals:#?}");
}

/// Asks until the answer is `status`; a service that never comes to it fails the test.
async fn until(client: &mut Client, status: u16) {
    let end = Instant::now() + HANGS;
    while client.get("/").await.status.as_u16() != status {
        assert!(Instant::now() < end, "it never answered {status}");
    }
}

#[tokio::test]
async fn what_is_taken_back_counts_for_the_next_request_of_an_open_tunnel() {
    for http in crate::support::client::BOTH {
        let (stage, [good, other]) = with_agents(["good", "other"]);
        let mut client = inside(&stage.serve, &good, BOUND, http).await;
        let mut left = inside(&stage.serve, &other, BOUND, http).await;
        assert_eq!((client.get("/").await.status.as_u16(), left.get("/").await.status.as_u16()), (200, 200));
        let output = finish(&mut stage.serve.home.locum(&["agent", "revoke", "good"]));
        assert!(output.status.success(), "{}", told(&output));
        until(&mut client, 407).await;
        assert_eq!(left.get("/").await.status, 200, "another agent's token goes on");

        // now the host itself is denied
        let config = std::fs::read_to_string(stage.serve.home.config()).unwrap();
        let denied = config.replace("[proxy]\n", &format!("[proxy]\ndeny = [\"{BOUND}\"]\n"));
        stage.serve.home.write_config(&denied);
        stage.serve.signal(rustix::process::Signal::HUP);
        until(&mut left, 403).await;
        assert_eq!(left.get("/").await.header("locum-refused"), Some("host-refused"));
        let records = stage.serve.drained().await.audit();
        let refused: Vec<_> = records.iter().filter(|r| r["event"] == "refusal").collect();
        assert!(refused.iter().any(|r| r["agent"] == "good"), "{refused:#?}");
        assert!(refused.iter().any(|r| r["agent"] == "other" && r["reason"].as_str().unwrap().contains("deny")));
    }
}

/// Whoever revokes the last token shuts agents out; it is not that everybody is let in.
#[tokio::test]
async fn without_the_last_token_nobody_may_ask() {
    for tell in [&["agent", "revoke", "good"][..], &[]] {
        let (stage, [good]) = with_agents_alone(["good"]);
        let mut client = inside(&stage.serve, &good, BOUND, Http::Two).await;
        assert_eq!(client.get("/").await.status, 200);
        if tell.is_empty() {
            std::fs::remove_file(stage.serve.home.state().join("agents.json")).expect("no tokens");
        } else {
            let output = finish(&mut stage.serve.home.locum(tell));
            assert!(output.status.success() && told(&output).contains("nobody may ask"), "{}", told(&output));
        }
        until(&mut client, 407).await;
        for token in [good.as_str(), ""] {
            let refused = tunnel(stage.serve.address, &format!("{BOUND}:443"), token).await.unwrap_err().to_string();
            assert!(refused.contains("407"), "{refused}");
        }
    }
}

#[tokio::test]
async fn a_binding_that_is_taken_back_counts_for_the_next_request_of_an_open_tunnel() {
    let stage = Stage::set();
    let mut client = inside(&stage.serve, "", BOUND, Http::Two).await;
    let keyed = |client: &Client| client.request("GET", "/").header("x-api-key", "<<tool_key>>").body(none()).unwrap();
    let request = keyed(&client);
    assert_eq!(client.ask(request).await.status, 200);
    let config = std::fs::read_to_string(stage.serve.home.config()).unwrap();
    stage.serve.home.write_config(&config.replace(&format!("hosts = [\"{BOUND}\"]"), "hosts = [\"x.tool.example\"]"));
    stage.serve.signal(rustix::process::Signal::HUP);
    let (end, mut under_way) = (Instant::now() + HANGS, 0);
    loop {
        let request = keyed(&client);
        let answer = client.ask(request).await;
        if answer.status == 403 {
            assert_eq!(answer.header("locum-refused"), Some("placeholder-refused"));
            break;
        }
        // of one that was under way as the rules changed nobody knows any more what to hide in its answer
        under_way += usize::from(answer.status == 503);
        let is_fine = answer.status == 200 || answer.status == 503 && under_way == 1;
        assert!(is_fine && Instant::now() < end, "{} {:?}", answer.text(), stage.serve.home.audit());
    }
    let records = stage.serve.drained().await.audit();
    let last = records.iter().rfind(|r| r["event"] == "refusal" || r["event"] == "substitution").unwrap();
    assert_eq!(last["event"], "refusal", "{records:#?}");
    assert!(records.iter().any(|r| r["event"] == "config"), "{records:#?}");
}

/// A body in `br`, whose window is the largest: so long, or of any length.
fn coded(client: &Client, length: Option<usize>, body: Sent) -> Request<Sent> {
    let request = client.request("POST", "/").header("content-encoding", "br");
    let request = length.into_iter().fold(request, |request, length| request.header("content-length", length));
    request.body(body).expect("a request")
}

/// Begins a coded body of which one byte comes, and the rest when the test has it so.
async fn beginning(client: &mut Client, length: Option<usize>, body: &[u8]) -> (UnboundedSender<Frame<Bytes>>, Begun) {
    let (feed, sent) = fed();
    let _ = feed.send(Frame::data(Bytes::copy_from_slice(&body[..1])));
    let request = coded(client, length, sent);
    (feed, Box::pin(client.begin(request).await))
}

type Begun = std::pin::Pin<Box<dyn Future<Output = hyper::Result<Response<hyper::body::Incoming>>> + Send>>;

/// All that an agent has begun and not ended leaves room for the coded bodies of others, and what is short for its own.
#[tokio::test]
async fn nobody_takes_all_the_room_for_coded_bodies() {
    const MANY: usize = 64;
    let (stage, [greedy, good]) = with_agents(["greedy", "good"]);
    let mut greedy = inside(&stage.serve, &greedy, BOUND, Http::Two).await;
    let mut good = inside(&stage.serve, &good, BOUND, Http::Two).await;
    let body = encode("br", b"{\"key\":\"<<tool_key>>\"}");

    let mut short = Vec::new();
    for _ in 0..MANY {
        short.push(beginning(&mut greedy, Some(body.len()), &body).await);
    }
    for client in [&mut greedy, &mut good] {
        let request = coded(client, None, full(body.clone()));
        assert_eq!(client.ask(request).await.status, 200, "beside short ones");
    }
    let before = stage.bound.begun();

    let (mut feeds, mut answers) = (Vec::new(), JoinSet::new());
    for _ in 0..MANY {
        let (feed, answer) = beginning(&mut greedy, None, &body).await;
        feeds.push(feed);
        answers.spawn(answer);
    }
    let mut refused = 0;
    let end = Instant::now() + HANGS;
    while stage.bound.begun() - before + refused < MANY {
        if let Some(answer) = answers.try_join_next() {
            assert_eq!(answer.expect("a task").expect("an answer").status(), 503);
            refused += 1;
        }
        assert!(Instant::now() < end, "{refused} were refused, {} have begun", stage.bound.begun() - before);
        tokio::task::yield_now().await;
    }
    let request = coded(&good, None, full(body.clone()));
    assert_eq!(good.ask(request).await.status, 200, "beside long ones, of which {refused} were refused");
    assert!(refused > 0, "so much memory is not there");

    // each that ends makes room again
    drop((feeds, short));
    while answers.join_next().await.is_some() {}
    let end = Instant::now() + HANGS;
    loop {
        let request = coded(&greedy, None, full(body.clone()));
        let status = greedy.ask(request).await.status;
        if status == 200 {
            break;
        }
        assert!(status == 503 && Instant::now() < end, "{status}");
    }
}
