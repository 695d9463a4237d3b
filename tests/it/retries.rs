//! What is sent once more, and what never is: an origin that dies, refuses or goes away in the middle.

use crate::support::client::{Sent, full, none, pieces};
use crate::support::fickle::{Fickle, Turn};
use crate::support::locum::of;
use crate::support::{Client, Home, Http, Serve};
use serde_json::Value;
use std::collections::HashSet;

fn in_front_of(origin: &Fickle) -> Serve {
    let key = format!("[key.tool]\nhosts = [\"{}\"]\n", origin.authority());
    Home::with(&format!("connect_ports = [{}]\n", origin.address.port()), &key).serve()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    None,
    Held,
    WithKey,
    Streamed,
}

/// With a key in its head, too.
fn request(client: &Client, method: &str, path: &str, body: Body) -> http::Request<Sent> {
    let request = client.request(method, path).header("x-api-key", "<<tool_key>>");
    let json = |text: &'static str| (Some("application/json"), full(text));
    let (kind, body) = match body {
        Body::None => (None, none()),
        Body::Held => json(r#"{"a":1}"#),
        Body::WithKey => json(r#"{"a":"<<tool_key>>"}"#),
        Body::Streamed => (Some("application/json"), pieces(&["{\"a\":", "1}"], None)),
    };
    kind.into_iter().fold(request, |request, kind| request.header("content-type", kind)).body(body).unwrap()
}

/// An origin closes after each answer, and what is sent meanwhile is lost: who goes straight has its client ask again.
#[tokio::test]
async fn no_get_fails_where_kept_connections_die_and_no_post_arrives_twice() {
    for method in ["GET", "POST"] {
        let origin = Fickle::http1(|_, _| Turn::AnswerAndDie);
        let serve = in_front_of(&origin);
        let mut client = Client::open(serve.address, &serve.ca, &origin.authority(), Http::One).await;
        for n in 0..60 {
            let request = request(&client, method, &format!("/{n}"), Body::None);
            let status = client.ask(request).await.status;
            assert!(status == 200 || method == "POST" && status == 502, "{method} {n}: {status}");
        }
        drop(client);
        let came = origin.came();
        let paths: HashSet<_> = came.iter().map(|came| came.path.clone()).collect();
        assert!(method == "GET" && paths.len() == 60 || paths.len() == came.len(), "{method}: {came:#?}");
        let records = serve.drained().await.audit();
        let second = of(&records, "substitution").iter().filter(|r| r["attempt"] == 2).count();
        assert_eq!(of(&records, "substitution").len(), 60 + second, "{method}");
        assert!(method == "GET" || second == 0, "{method}");
    }
}

/// What comes of the second request on a connection, where the first was answered.
#[tokio::test]
async fn what_was_not_processed_or_may_be_twice_is_sent_once_more_over_a_new_connection() {
    type Script = fn(usize, usize) -> Turn;
    let dies: Script = |c, r| if (c, r) == (0, 1) { Turn::Die } else { Turn::Answer };
    let breaks_off: Script = |c, r| if (c, r) == (0, 1) { Turn::BreakOff } else { Turn::Answer };
    let refuses: Script = |c, r| if (c, r) == (0, 1) { Turn::Refuse } else { Turn::Answer };
    let goes_away: Script = |c, r| if (c, r) == (0, 1) { Turn::GoAway } else { Turn::Answer };
    let is_sent_again = [
        (Http::One, dies, "GET", Body::None),
        (Http::One, dies, "PUT", Body::Held),
        (Http::One, dies, "DELETE", Body::None),
        (Http::Two, dies, "GET", Body::None),
        (Http::Two, refuses, "GET", Body::None),
        (Http::Two, refuses, "POST", Body::None),
        (Http::Two, refuses, "POST", Body::Held),
        (Http::Two, goes_away, "GET", Body::None),
        (Http::Two, goes_away, "POST", Body::Held),
    ];
    let is_not = [
        (Http::One, dies, "POST", Body::None),
        (Http::One, dies, "POST", Body::Held),
        (Http::One, dies, "PUT", Body::WithKey),
        (Http::One, dies, "PUT", Body::Streamed),
        (Http::One, breaks_off, "GET", Body::None),
        (Http::Two, dies, "POST", Body::None),
        (Http::Two, refuses, "POST", Body::WithKey),
        (Http::Two, refuses, "POST", Body::Streamed),
        (Http::Two, goes_away, "POST", Body::WithKey),
    ];
    let cases = is_sent_again.map(|case| (case, true)).into_iter().chain(is_not.map(|case| (case, false)));
    for ((http, script, method, body), again) in cases {
        let what = format!("{http:?} {method} {body:?}, again: {again}");
        let origin = if http == Http::One { Fickle::http1(script) } else { Fickle::http2(script) };
        let serve = in_front_of(&origin);
        let mut client = Client::open(serve.address, &serve.ca, &origin.authority(), http).await;
        let first = request(&client, "GET", "/", Body::None);
        assert_eq!(client.ask(first).await.status, 200, "{what}");
        let second = request(&client, method, "/second", body);
        assert_eq!(client.ask(second).await.status, if again { 200 } else { 502 }, "{what}");
        drop(client);
        let came = origin.came();
        assert_eq!(came.len(), if again { 3 } else { 2 }, "{what}: {came:#?}");
        assert!(!again || came[1] == came[2], "{what}: {came:#?}");
        let home = serve.drained().await;
        told_as_it_was(&home.audit(), again, body, &what);
    }
}

/// A key that went out twice is there twice.
fn told_as_it_was(records: &[Value], again: bool, body: Body, what: &str) {
    let made = of(records, "substitution");
    let uses = 2 + usize::from(again) + usize::from(body == Body::WithKey);
    let counted = (made.len(), of(records, "unsent").len(), of(records, "refusal").len());
    assert_eq!(counted, (uses, 0, usize::from(!again)), "{what}: {records:#?}");
    let attempts = |records: Vec<&Value>| records.iter().filter(|r| r["attempt"] == 2).count();
    let second = (attempts(made), attempts(of(records, "exchange")));
    assert_eq!(second, (usize::from(again), usize::from(again)), "{what}: {records:#?}");
}

#[tokio::test]
async fn an_origin_that_refuses_for_ever_is_asked_four_times() {
    for script in [|_, _| Turn::Refuse, |_, _| Turn::GoAway] {
        let origin = Fickle::http2(script);
        let serve = in_front_of(&origin);
        let mut client = Client::open(serve.address, &serve.ca, &origin.authority(), Http::Two).await;
        let request = request(&client, "GET", "/", Body::None);
        assert_eq!(client.ask(request).await.status, 502);
        drop(client);
        assert_eq!(origin.came().len(), 4);
        let records = serve.drained().await.audit();
        let counted = ["substitution", "unsent", "refusal"].map(|event| of(&records, event).len());
        assert_eq!(counted, [4, 0, 1], "{records:#?}");
    }
}

/// An origin that restarts goes away from a connection that it was just taking in, too.
#[tokio::test]
async fn what_several_connections_in_a_row_do_not_process_is_answered_by_the_next() {
    let goes_away: fn(usize, usize) -> Turn = |c, _| if c < 3 { Turn::GoAway } else { Turn::Answer };
    let refuses: fn(usize, usize) -> Turn = |c, _| if c < 3 { Turn::Refuse } else { Turn::Answer };
    for script in [goes_away, refuses] {
        let origin = Fickle::http2(script);
        let serve = in_front_of(&origin);
        let mut client = Client::open(serve.address, &serve.ca, &origin.authority(), Http::Two).await;
        let request = request(&client, "POST", "/", Body::Held);
        assert_eq!(client.ask(request).await.status, 200);
        drop(client);
        assert_eq!(origin.came().len(), 4);
        let records = serve.drained().await.audit();
        let attempts: Vec<_> = of(&records, "substitution").iter().map(|r| r["attempt"].as_u64()).collect();
        assert_eq!(attempts, [None, Some(2), Some(3), Some(4)], "{records:#?}");
        assert_eq!(of(&records, "exchange")[0]["attempt"], 4, "{records:#?}");
        assert!(of(&records, "unsent").is_empty() && of(&records, "refusal").is_empty(), "{records:#?}");
    }
}

/// What may have been processed is sent once more and no oftener, whatever came between.
#[tokio::test]
async fn what_dies_is_sent_again_once_only() {
    type Script = fn(usize, usize) -> Turn;
    let scripts: [(Script, u16, usize); 2] = [
        (
            |c, r| {
                if (c, r) == (0, 0) || c > 2 {
                    Turn::Answer
                } else if c == 0 {
                    Turn::Die
                } else {
                    Turn::GoAway
                }
            },
            200,
            5,
        ),
        (|c, r| if (c, r) == (0, 0) { Turn::Answer } else { Turn::Die }, 502, 3),
    ];
    for (script, status, came) in scripts {
        let origin = Fickle::http2(script);
        let serve = in_front_of(&origin);
        let mut client = Client::open(serve.address, &serve.ca, &origin.authority(), Http::Two).await;
        assert_eq!(client.get("/").await.status, 200);
        assert_eq!(client.get("/second").await.status, status);
        drop(client);
        assert_eq!(origin.came().len(), came);
    }
}

#[tokio::test]
async fn what_dies_with_new_connections_too_is_sent_twice() {
    for http in [Http::One, Http::Two] {
        let dies: fn(usize, usize) -> Turn = |_, _| Turn::Die;
        let origin = if http == Http::One { Fickle::http1(dies) } else { Fickle::http2(dies) };
        let serve = in_front_of(&origin);
        let mut client = Client::open(serve.address, &serve.ca, &origin.authority(), http).await;
        assert_eq!(client.get("/").await.status, 502);
        assert_eq!(origin.came().len(), 2, "{http:?}");
    }
}

#[tokio::test]
async fn a_goaway_in_the_middle_of_many_costs_none_of_them() {
    let origin = Fickle::http2(|connection, request| match (connection, request) {
        (0, 5) => Turn::GoAway,
        _ => Turn::Answer,
    });
    let serve = in_front_of(&origin);
    let mut client = Client::open(serve.address, &serve.ca, &origin.authority(), Http::Two).await;
    let mut answers = Vec::new();
    for n in 0..30 {
        let request = request(&client, "POST", &format!("/{n}"), Body::None);
        answers.push(client.begin(request).await);
    }
    let mut failed = 0;
    for answer in answers {
        failed += usize::from(answer.await.expect("an answer").status() != 200);
    }
    drop(client);
    let came = origin.came().len();
    let records = serve.drained().await.audit();
    assert_eq!(failed, 0, "{records:#?}");
    assert_eq!((of(&records, "substitution").len(), of(&records, "unsent").len()), (came, 0));
}

/// Of those that wait for their turn on a connection that dies, one is already in HTTP/2's hands.
#[tokio::test]
async fn what_waits_for_its_stream_as_the_connection_dies_is_sent_again() {
    let origin = Fickle::http2_without_settings(|c, r| if (c, r) == (0, 1) { Turn::Die } else { Turn::Answer });
    let serve = in_front_of(&origin);
    let mut client = Client::open(serve.address, &serve.ca, &origin.authority(), Http::Two).await;
    let mut answers = Vec::new();
    for n in 0..30 {
        let request = request(&client, "GET", &format!("/{n}"), Body::None);
        answers.push(client.begin(request).await);
    }
    for answer in answers {
        assert_eq!(answer.await.expect("an answer").status(), 200);
    }
}
