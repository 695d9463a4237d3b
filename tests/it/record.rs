//! The audit as one meets it after an incident: how exchanges ended, what was changed since, what was unusual and who was told.

use crate::support::client::{BOTH, fed, full, none, tunnel};
use crate::support::locum::{OPENAI_KEY, TOOL_KEY, finish, of, stderr, stdout, told};
use crate::support::wire;
use crate::support::{Client, Home, Http, Serve, Upstream};
use aws_lc_rs::hmac;
use http_body::Frame;
use http_body_util::BodyExt as _;
use locum::chain::{self, ChainHead};
use proptest::prelude::*;
use rustix::process::Signal;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tokio::io::AsyncReadExt as _;

async fn spend(client: &mut Client, path: &str) -> crate::support::client::Answer {
    let request = client.request("GET", path).header("authorization", "Bearer <<tool_key>>");
    client.ask(request.body(none()).unwrap()).await
}

/// Told twice to stop, it does so at once.
async fn cut(serve: Serve) -> Home {
    serve.signal(Signal::TERM);
    serve.await_said(|line| line.starts_with("locum: draining"));
    serve.drained().await
}

#[tokio::test]
async fn what_is_under_way_when_it_stops_is_closed_in_the_audit() {
    for http in BOTH {
        let upstream = Upstream::start();
        let feed = upstream.on("/endless", http::Response::builder());
        let serve = Home::bound(&[&upstream]).serve();
        let mut client = serve.client(&upstream, http).await;
        let request = client.request("GET", "/endless").header("authorization", "Bearer <<tool_key>>");
        let mut response = client.send(request.body(none()).unwrap()).await.unwrap();
        feed.send("hello!");
        assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), "hello!");
        let records = cut(serve).await.audit();
        assert!(response.frame().await.is_none_or(|frame| frame.is_err()), "an end that is none");
        let exchanges = of(&records, "exchange");
        let [exchange] = exchanges[..] else { panic!("{http:?}: {records:#?}") };
        assert_eq!((&exchange["error"], &exchange["success"]), (&"locum was stopped".into(), &false.into()));
        assert_eq!((&exchange["status"], &exchange["bytes_in"]), (&200.into(), &6.into()));
        assert!(exchange["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{exchange}");
        assert_eq!(exchange["key_ref"], "<<tool_key>>");
    }
}

/// A body of which the agent never sends the end: each key that has gone out in it is in the audit.
#[tokio::test]
async fn keys_in_a_body_that_never_ends_are_recorded_as_they_go() {
    let upstream = Upstream::start();
    let serve = Home::bound(&[&upstream]).serve();
    let mut client = serve.client(&upstream, Http::Two).await;
    let (feed, body) = fed();
    let request = client.request("POST", "/upload").header("content-type", "application/json");
    let answer = client.begin(request.body(body).unwrap()).await;
    let until = std::time::Instant::now() + crate::support::HANGS;
    for (piece, uses) in [("[\"<<tool_key>>\", ", 1), ("\"<<tool_key>>\", \"<<tool_key>>\", ", 3)] {
        let _ = feed.send(Frame::data(piece.into()));
        loop {
            // what was sent is only looked at here, since nobody asks for the answer
            tokio::task::yield_now().await;
            let records = serve.home.records();
            let counted: u64 = of(&records, "substitution").iter().filter_map(|r| r["count"].as_u64()).sum();
            if counted == uses {
                break;
            }
            assert!(std::time::Instant::now() < until, "{counted} of {uses}: {records:#?}");
        }
    }
    drop((answer, client, feed));
    serve.drained().await.verify();
}

/// One that was streamed, so that nobody knew at its beginning whether it would need a key.
#[tokio::test]
async fn a_key_in_a_long_body_is_told_with_its_exchange() {
    let upstream = Upstream::start();
    let serve = Home::bound(&[&upstream]).serve();
    let mut client = serve.client(&upstream, Http::Two).await;
    for key in ["none", "<<tool_key>>"] {
        let body = format!("{{\"padding\":\"{}\",\"key\":\"{key}\"}}", "x".repeat(300_000));
        let request = client.request("POST", "/upload").header("content-type", "application/json");
        assert_eq!(client.ask(request.body(full(body)).unwrap()).await.status, 200);
    }
    drop(client);
    let records = serve.drained().await.audit();
    let exchanges = of(&records, "exchange");
    let [without, with] = exchanges[..] else { panic!("{records:#?}") };
    assert_eq!((&without["key_ref"], &without["operation"]), (&Value::Null, &"localhost".into()));
    assert_eq!((&with["key_ref"], &with["operation"]), (&"<<tool_key>>".into(), &"api.tool".into()));
}

#[tokio::test]
async fn a_blind_tunnel_is_closed_in_the_audit_too() {
    let upstream = Upstream::start();
    let proxy = format!("passthrough = [\"localhost\"]\nconnect_ports = [{}]", upstream.port());
    let serve = Home::with(&proxy, "").serve();
    let mut stream = tunnel(serve.address, &upstream.authority(), "").await.unwrap();
    let records = cut(serve).await.audit();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0);
    let tunnels = of(&records, "tunnel");
    assert_eq!(tunnels.len(), 1, "{records:#?}");
    assert_eq!((&tunnels[0]["error"], &tunnels[0]["success"]), (&"locum was stopped".into(), &false.into()));
}

/// The only file of the audit, and its text.
fn only_file(home: &Home) -> (PathBuf, String) {
    let mut files = std::fs::read_dir(home.audit_dir()).unwrap().map(|e| e.unwrap().path());
    let file = files.next().unwrap();
    assert_eq!(files.next(), None);
    let text = std::fs::read_to_string(&file).unwrap();
    (file, text)
}

/// The records again, hashes and all, as somebody writes them who has no key.
fn rewritten(text: &str, change: impl Fn(&str) -> String) -> String {
    let (mut head, mut out) = (ChainHead::ZERO, Vec::new());
    for (seq, line) in (0..).zip(text.lines()) {
        let members = chain::parts(line.as_bytes()).unwrap().members;
        head = chain::link(&head, seq, change(std::str::from_utf8(members).unwrap()).as_bytes(), &mut out);
    }
    String::from_utf8(out).unwrap()
}

#[tokio::test]
async fn signatures_and_anchors_find_what_the_chain_alone_can_not() {
    let upstream = Upstream::start();
    let serve = Home::bound(&[&upstream]).serve();
    let mut client = serve.client(&upstream, Http::One).await;
    for request in 0..5 {
        assert_eq!(spend(&mut client, &format!("/{request}")).await.status, 200);
    }
    drop(client);
    serve.signal(Signal::TERM);
    let said = serve.await_said(|line| line.starts_with("locum: the audit ends in "));
    let head = said.rsplit(' ').next().unwrap().to_owned();
    let home = serve.drained().await;
    let verify = |args: &[&str]| finish(&mut home.locum(&[&["audit", "verify"], args].concat()));
    let sound = verify(&["--anchor", &head]);
    assert!(sound.status.success(), "{}", told(&sound));
    let by = stdout(&sound).lines().find_map(|l| l.strip_prefix("signatures: 2, by ").map(str::to_owned));
    let key = by.unwrap_or_else(|| panic!("{}", told(&sound)));
    let public = home.state().join("audit.pub");
    assert!(std::fs::read_to_string(&public).unwrap().starts_with(&format!("ed25519 {key} 2")));

    let (file, text) = only_file(&home);
    let lines: Vec<&str> = text.lines().collect();
    let cut = lines[..lines.len() - 2].join("\n") + "\n";
    let rewritten = rewritten(&text, |members| members.replace("\"path\":\"/3\"", "\"path\":\"/x\""));
    let no_key = "the key is not here that would prove who wrote them";
    let (by_key, by_anchor) = ("not signed, or not by this key", format!("no record has the anchor {head}"));
    let anchored = ["--anchor", head.as_str()];
    let signed = ["--signed-by", key.as_str()];
    // what was done, what is there, whether the public key is still beside it, what is asked, and what is found
    type Case<'a> = (&'a str, &'a str, bool, &'a [&'a str], Option<&'a str>);
    let cases: [Case<'_>; 7] = [
        ("as it was", &text, true, &signed, None),
        ("a tail was cut", &cut, true, &[], None),
        ("a tail was cut", &cut, true, &anchored, Some(&by_anchor)),
        ("all was rewritten", &rewritten, true, &[], Some(by_key)),
        ("all was rewritten", &rewritten, false, &[], Some(no_key)),
        ("all was rewritten", &rewritten, false, &signed, Some(by_key)),
        ("all was rewritten", &rewritten, false, &anchored, Some(&by_anchor)),
    ];
    let kept = std::fs::read(&public).unwrap();
    for (what, text, with_public, args, found) in cases {
        std::fs::write(&file, text).unwrap();
        match with_public {
            true => std::fs::write(&public, &kept).unwrap(),
            false => drop(std::fs::remove_file(&public)),
        }
        let output = verify(args);
        let said = stdout(&output) + &stderr(&output);
        match found {
            None => assert!(output.status.success(), "{what}, {args:?}: {}", told(&output)),
            Some(words) => {
                let code = if words == no_key { 4 } else { 1 };
                assert_eq!(output.status.code(), Some(code), "{what}, {args:?}: {}", told(&output));
                assert!(said.contains(words) && said.contains("\n  next: "), "{what}, {args:?}: {}", told(&output));
            }
        }
        assert_eq!(
            said.contains("signatures: not checked"),
            !with_public && args != signed,
            "{what}, {args:?}: {said}"
        );
    }
}

const SECRET: &str = "what the webhook knows us by";

/// A config in which three uses a minute are enough.
fn watched(upstream: &Upstream, anomaly: &str) -> Home {
    let home = Home::with(
        "",
        &format!("[key.tool]\nhosts = [\"{}\"]\n[anomaly]\nrate_per_minute = 3\n{anomaly}\n", upstream.authority()),
    );
    let secret = home.path().join("hook.secret");
    std::fs::write(&secret, SECRET).unwrap();
    private(&secret);
    home
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
}

#[tokio::test]
async fn what_is_unusual_is_recorded_said_and_posted() {
    let (upstream, hook) = (Upstream::start(), Upstream::start());
    let webhook = format!("webhook = \"{}\"\nwebhook_secret_file = \"hook.secret\"", hook.url("/hook?to=us"));
    let serve = watched(&upstream, &webhook).serve();
    let mut client = serve.client(&upstream, Http::One).await;
    for _ in 0..3 {
        assert_eq!(spend(&mut client, "/").await.status, 200);
    }
    assert_eq!(of(&serve.home.records(), "anomaly").len(), 0, "three are what is allowed");
    assert_eq!(spend(&mut client, "/one-more").await.status, 200);
    serve.await_said(|line| line.contains("unusual: key tool was used 4 times in a minute, more than 3"));
    let seen = hook.only();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/hook?to=us"));
    let finding: Value = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!((&finding["kind"], &finding["key"], &finding["seen"]), (&"rate".into(), &"tool".into(), &4.into()));
    let signature = seen.header("locum-signature").unwrap();
    let (second, mac) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let signed = [second.as_bytes(), b".", &seen.body].concat();
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), &signed, &unhex(mac)).unwrap();
    drop(client);
    let home = serve.drained().await;
    let anomalies = home.audit();
    let anomalies = of(&anomalies, "anomaly");
    assert_eq!(anomalies.len(), 1);
    assert_eq!((&anomalies[0]["exchange"], &anomalies[0]["path"]), (&finding["exchange"], &"/one-more".into()));

    let last: Value = serde_json::from_slice(&hook.await_seen(2)[1].body).unwrap();
    assert_eq!(last["kind"], "head");
    for told_of in [&finding, &last] {
        let anchor = told_of["audit"]["head"].as_str().unwrap();
        let output = finish(&mut home.locum(&["audit", "verify", "--anchor", anchor]));
        assert!(output.status.success(), "{}", told(&output));
    }
    let stats = finish(&mut home.locum(&["audit", "stats"]));
    assert!(stdout(&stats).contains("key tool was used 4 times in a minute, more than 3"), "{}", told(&stats));
}

#[tokio::test]
async fn a_dead_webhook_delays_nobody() {
    let upstream = Upstream::start();
    let port = wire::closed_port();
    let serve = watched(&upstream, &format!("webhook = \"http://127.0.0.1:{port}/\"")).serve();
    let mut client = serve.client(&upstream, Http::Two).await;
    for _ in 0..50 {
        assert_eq!(spend(&mut client, "/").await.status, 200);
    }
    serve.await_said(|line| line.contains("unusual: "));
    assert_eq!(of(&serve.home.records(), "substitution").len(), 50);
}

#[tokio::test]
async fn where_that_is_wanted_a_hot_key_rests() {
    let upstream = Upstream::start();
    let serve = watched(&upstream, "action = \"refuse\"").serve();
    let mut client = serve.client(&upstream, Http::One).await;
    for _ in 0..4 {
        assert_eq!(spend(&mut client, "/").await.status, 200);
    }
    for _ in 0..8 {
        let answer = spend(&mut client, "/hot").await;
        assert_eq!((answer.status.as_u16(), answer.header("locum-refused")), (429, Some("too-many-requests")));
        let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&after), "{after}");
        assert!(!answer.text().contains("tool"), "{}", answer.text());
    }
    assert_eq!(client.get("/without-a-key").await.status, 200);
    let config = std::fs::read_to_string(serve.home.config()).unwrap();
    serve.home.write_config(&config.replace("action = \"refuse\"", "action = \"alert\""));
    serve.signal(Signal::HUP);
    serve.await_said(|line| line == "locum: reloaded");
    assert_eq!(spend(&mut client, "/again").await.status, 200);
    drop(client);
    assert!(upstream.seen().iter().all(|seen| seen.target != "/hot"));
    let records = serve.drained().await.audit();
    let refusals = of(&records, "refusal");
    assert_eq!(refusals.len(), 8);
    assert!(refusals[0]["reason"].as_str().unwrap().starts_with("key tool rests for "), "{}", refusals[0]);
    assert_eq!(of(&records, "anomaly").len(), 1, "to be told to wait is no probing");
}

#[tokio::test]
async fn an_agent_that_probes_rests_too() {
    let upstream = Upstream::start();
    let serve = watched(&upstream, "action = \"refuse\"").serve();
    let mut client = serve.client(&upstream, Http::One).await;
    for name in ["a", "b", "c", "d", "e"] {
        let request = client.request("GET", "/").header("authorization", format!("Bearer <<{name}_key>>"));
        assert_eq!(client.ask(request.body(none()).unwrap()).await.status, 403);
    }
    assert_eq!(spend(&mut client, "/").await.status, 429);
    drop(client);
    let records = serve.drained().await.audit();
    let reasons: Vec<&str> = of(&records, "anomaly").iter().map(|r| r["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["probing, high: agent local was refused 5 times in a row"]);
}

/// Bytes that would forge a record, a line or a terminal's command, were they written as they are.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let nasty = prop::sample::select(vec![
        &b"\",\"agent\":\"root\",\"x\":\""[..],
        b"\"}\n{\"v\":1,\"seq\":0,\"event\":\"stop\"}",
        b"\x1b[2J\x1b]0;x\x07",
        b"\xe2\x80\xae\xe2\x80\xa8\xc2\x85\xc2\x9b",
        b"\xff\xfe\x80",
        b"%0d%0a%22%7d%00",
        b"\\u000a\\\"",
        b"<<tool_key>>",
        b"<<none_key>>",
        b"\r\n\t\0\x7f",
        &TOOL_KEY.as_bytes()[..11],
    ]);
    let any = prop::collection::vec(any::<u8>(), 0..20);
    prop::collection::vec(prop_oneof![nasty.prop_map(<[u8]>::to_vec), any], 0..6).prop_map(|parts| parts.concat())
}

#[test]
fn no_input_forges_a_record_or_puts_a_key_into_one() {
    let upstream = Upstream::start();
    let tables = format!(
        "[key.tool]\nhosts = [\"{0}\", \"http://127.0.0.1:{1}\"]\nwhere = [\"header\", \"path\", \"query\"]\n",
        upstream.authority(),
        wire::closed_port(),
    );
    let serve = Home::with(&format!("connect_ports = [{}]", upstream.port()), &tables).serve();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 150,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ran = runner.run(&(hostile(), hostile(), hostile(), 0..4_usize), |(a, b, c, door)| {
        // raw, before a tunnel: nothing is checked by a client
        let raw = match door {
            0 => [b"CONNECT ", &a[..], b" HTTP/1.1\r\nlocum-tool: ", &b, b"\r\n\r\n"].concat(),
            1 => [b"GET http://", &a[..], b"/", &b, b" HTTP/1.1\r\nlocum-tool: ", &c, b"\r\n\r\n"].concat(),
            _ => Vec::new(),
        };
        if !raw.is_empty() {
            wire::exchange_and_end(serve.address, &raw);
            return Ok(());
        }
        // in a tunnel: what a client lets through
        let text: String = b.iter().filter(|b| b.is_ascii_graphic() && **b != b'#').map(|b| char::from(*b)).collect();
        let path = format!("/<<tool_key>>/{}?k=<<tool_key>>", text.replace(['<', '>', '?'], "%"));
        let tool = http::HeaderValue::from_bytes(&a).unwrap_or_else(|_| http::HeaderValue::from_static("plain"));
        let sent = path.replace('<', "%3C").replace('>', "%3E");
        if sent.parse::<http::Uri>().is_err() {
            return Ok(());
        }
        runtime.block_on(async {
            let http = BOTH[door % 2];
            let mut client = serve.client(&upstream, http).await;
            let request = client.request("GET", &sent).header("locum-tool", tool);
            let request = request.header("authorization", "Bearer <<tool_key>>").body(none());
            if let Ok(request) = request
                && let Ok(response) = client.send(request).await
            {
                let _ = crate::support::client::whole(response).await;
            }
        });
        Ok(())
    });
    ran.unwrap();
    drop(runtime);
    let used = upstream.seen().iter().filter(|seen| seen.target.contains(TOOL_KEY)).count();
    assert!(used > 10, "{used}");
    let home = serve.stop();
    home.verify();
    let (_, text) = only_file(&home);
    assert!(!text.contains(TOOL_KEY) && !text.contains(OPENAI_KEY));
    for line in text.lines() {
        assert!(!line.chars().any(locum::record::misleads), "{line:?}");
        let record: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let members = record.as_object().unwrap();
        // what can't be read as a request is nobody's
        assert!(members.get("agent").is_none_or(|agent| agent == "local" || agent == "-"), "{line}");
        // no member twice, which a parser would hide
        for name in members.keys() {
            assert_eq!(line.matches(&format!(",\"{name}\":")).count(), usize::from(name != "v"), "{name}: {line}");
        }
    }
    assert!(of(&home.records(), "exchange").iter().any(|r| r["path"].as_str().unwrap().contains("tool_key")));
}

#[tokio::test]
async fn the_list_of_keys_tells_when_each_was_last_used() {
    let upstream = Upstream::start();
    let serve = Home::bound(&[&upstream]).serve();
    let mut client = serve.client(&upstream, Http::One).await;
    assert_eq!(spend(&mut client, "/").await.status, 200);
    drop(client);
    let home = serve.drained().await;
    let records = home.audit();
    let output = finish(&mut home.locum(&["key", "list", "--json"]));
    let keys: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let last = |name: &str| keys.as_array().unwrap().iter().find(|k| k["name"] == name).unwrap()["last_used"].clone();
    assert_eq!(last("tool"), of(&records, "substitution")[0]["timestamp"]);
    assert_eq!(last("openai"), Value::Null);
}

/// The audit only adds to a list of keys; what it can't tell is unknown.
#[test]
fn a_list_of_keys_stands_without_the_audit() {
    let home = Home::with("", "[key.tool]\nhosts = [\"api.tool.example\"]\n");
    let list = || {
        let output = finish(&mut home.locum(&["key", "list", "--json"]));
        assert!(output.status.success(), "{}", told(&output));
        let keys: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        keys.as_array().unwrap().iter().map(|key| key["last_used"].clone()).collect::<Vec<_>>()
    };
    assert!(home.run(&["true"]).status.success());
    let looped = home.audit_dir().join("20991101T000000.000000Z-1.jsonl");
    std::os::unix::fs::symlink(&looped, &looped).unwrap();
    assert_eq!(list(), [Value::Null, Value::Null]);
    std::fs::remove_dir_all(home.audit_dir()).unwrap();
    std::fs::write(home.audit_dir(), "no folder").unwrap();
    assert_eq!(list(), [Value::Null, Value::Null]);
}
