//! What was recorded as substituted and did not leave is taken back by a record of the same exchange, and counts count what
//! left. Where it can't be known whether it left, it counts as sent.

use crate::support::client::{Sent, full, none};
use crate::support::locum::{finish, of, stderr, stdout, told};
use crate::support::wire::{self, Raw};
use crate::support::{Client, HANGS, Home, Http, Upstream};
use serde_json::{Value, json};
use std::net::TcpListener;

/// What a substitution says that its `unsent` has to say too.
const SHARED: [&str; 7] = ["exchange", "key_ref", "where", "count", "operation", "host", "path"];

fn bound_to(authority: &str) -> Home {
    let port = authority.rsplit_once(':').unwrap().1;
    let key = format!("[key.tool]\nhosts = [\"{authority}\"]\n");
    Home::with(&format!("connect_ports = [{port}]\n"), &key)
}

fn keyed(client: &Client, in_body: bool) -> http::Request<Sent> {
    let request = client.request("POST", "/").header("authorization", "Bearer <<tool_key>>");
    match in_body {
        true => {
            let body = full(r#"{"a":"<<tool_key>>","b":"<<tool_key>>"}"#);
            request.header("content-type", "application/json").body(body).unwrap()
        }
        false => request.body(none()).unwrap(),
    }
}

/// How often keys left, as the audit counts it.
fn sent(home: &Home) -> Value {
    let output = finish(&mut home.locum(&["audit", "stats", "--json"]));
    assert!(output.status.success(), "{}", told(&output));
    serde_json::from_str::<Value>(&stdout(&output)).unwrap()["total"]["substitutions"].clone()
}

/// Each substitution has its `unsent`, and nothing was sent.
fn taken_back(home: &Home, what: &str, uses: usize) {
    let records = home.audit();
    let (made, unsent) = (of(&records, "substitution"), of(&records, "unsent"));
    assert_eq!((made.len(), unsent.len()), (uses, uses), "{what}: {records:#?}");
    for made in made {
        let same = |unsent: &&&Value| SHARED.iter().all(|member| unsent[*member] == made[*member]);
        let back = unsent.iter().find(same).unwrap_or_else(|| panic!("{what}: {made} of {unsent:#?}"));
        assert!(back["seq"].as_u64() > made["seq"].as_u64(), "{what}: {back}");
    }
    assert_eq!(sent(home), json!(0), "{what}");
}

#[tokio::test]
async fn what_is_refused_at_the_dial_is_taken_back() {
    let closed = format!("localhost:{}", wire::closed_port());
    for (authority, status) in [(closed.as_str(), 502), ("10.1.2.3:8443", 403)] {
        for (http, in_body) in [(Http::One, false), (Http::One, true), (Http::Two, true)] {
            let serve = bound_to(authority).serve();
            let mut client = Client::open(serve.address, &serve.ca, authority, http).await;
            let request = keyed(&client, in_body);
            assert_eq!(client.ask(request).await.status, status);
            drop(client);
            let uses = if in_body { 2 } else { 1 };
            taken_back(&serve.drained().await, &format!("{authority}, {http:?}, in the body: {in_body}"), uses);
        }
    }
}

/// The upstream takes the connection and says nothing, so that TLS never comes about.
#[tokio::test]
async fn what_waits_for_its_connection_when_the_agent_leaves_is_taken_back() {
    for http in [Http::One, Http::Two] {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        silent.set_nonblocking(true).unwrap();
        let silent = tokio::net::TcpListener::from_std(silent).unwrap();
        let authority = format!("localhost:{}", silent.local_addr().unwrap().port());
        let serve = bound_to(&authority).serve();
        let mut client = Client::open(serve.address, &serve.ca, &authority, http).await;
        let request = keyed(&client, true);
        let dialled = tokio::select! {
            answer = client.send(request) => panic!("an answer: {answer:?}"),
            dialled = tokio::time::timeout(HANGS, silent.accept()) => dialled.expect("a connection").unwrap(),
        };
        drop(client);
        taken_back(&serve.drained().await, &format!("{http:?}"), 2);
        drop(dialled);
    }
}

#[tokio::test]
async fn what_may_have_left_counts_as_sent() {
    let raw = Raw::saying(b"", 1);
    let authority = format!("localhost:{}", raw.address.port());
    let serve = bound_to(&authority).serve();
    let mut client = Client::open(serve.address, &serve.ca, &authority, Http::One).await;
    let request = keyed(&client, false);
    assert_eq!(client.ask(request).await.status, 502);
    drop(client);
    let home = serve.drained().await;
    raw.finish();
    let records = home.audit();
    assert_eq!((of(&records, "substitution").len(), of(&records, "unsent").len()), (1, 0), "{records:#?}");
    assert_eq!(sent(&home), json!(1));

    let upstream = Upstream::start();
    let serve = bound_to(&upstream.authority()).serve();
    let mut client = serve.client(&upstream, Http::Two).await;
    for _ in 0..3 {
        let request = keyed(&client, true);
        assert_eq!(client.ask(request).await.status, 200);
    }
    drop(client);
    let home = serve.drained().await;
    assert_eq!(of(&home.audit(), "unsent").len(), 0);
    assert_eq!(sent(&home), json!(9));
}

#[test]
fn the_summary_counts_what_left() {
    let authority = format!("localhost:{}", wire::closed_port());
    let home = bound_to(&authority);
    let url = format!("https://{authority}/");
    let curl = ["curl", "-q", "-s", "--noproxy", "", "-o", "/dev/null", "-H", "Authorization: <<tool_key>>", &url];
    let output = home.run(&curl);
    assert!(stderr(&output).contains("locum: 0 substitutions, 0 refusals, "), "{}", told(&output));
}
