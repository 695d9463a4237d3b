//! Whoever asks a scrubber «is this the key?» learns nothing: two services, whose keys differ in one letter, answer all
//! guesses alike, however they are spelled, cut and stored, and whichever part of an answer quotes them.

use crate::support::client::{BOTH, Client, Http, full, none, whole};
use crate::support::coded::encode;
use crate::support::locum::of;
use crate::support::websocket::{Socket, open};
use crate::support::{Home, Serve, Upstream};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use http::{HeaderMap, Response};
use http_body_util::BodyExt as _;
use locum::proxy::wire::ws_frames::Opcode;

/// A kind of key: the table of its config, the variable that it comes by, how keys of it begin, and one of them.
struct Shape {
    name: &'static str,
    variable: &'static str,
    known: usize,
    key: &'static str,
}

const SHAPES: [Shape; 10] = [
    Shape {
        name: "openai",
        variable: "OPENAI_API_KEY",
        known: 8,
        key: "sk-proj-Zb3dEf6hIj9kLm2nOp5qRs8tUv1wXy4zA7cB0eD",
    },
    Shape {
        name: "anthropic",
        variable: "ANTHROPIC_API_KEY",
        known: 13,
        key: "sk-ant-api03-q8Zt2LwXv7RkYb5NcM1dJhGfPs9UaEi3oTzQxW-nBrV",
    },
    Shape { name: "github", variable: "GITHUB_TOKEN", known: 4, key: "ghp_a8Jk3LmQ9zXw2VbN7tRyU5iOpEs6DfGh1CvB" },
    Shape { name: "hex", variable: "HEX_API_KEY", known: 0, key: "9f86d081884c7d659a2feaa0c55ad0153b7e" },
    Shape { name: "plain", variable: "PLAIN_API_KEY", known: 0, key: "q8Zt2LwXv7RkYb5NcM1dJhGf" },
    Shape { name: "padded", variable: "PADDED_API_KEY", known: 0, key: "q8Zt2LwX/7RkYb5+cM1dJhGfPs9UaEi3oTzQxWnBrVy=" },
    Shape { name: "uuid", variable: "UUID_API_KEY", known: 0, key: "d9428c88-122b-4fe1-b85c-61cd3cbb3a10" },
    Shape {
        name: "jwt",
        variable: "JWT_API_KEY",
        known: 3,
        key: "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N-XgL0n3I9PlFUP0THsR8U",
    },
    Shape {
        name: "url",
        variable: "URL_API_KEY",
        known: 11,
        key: "postgres://app:x7Kp2mQv9ZtRw4Lb8NcYd3Hf@db.example/app",
    },
    Shape { name: "odd", variable: "ODD_API_KEY", known: 0, key: "p@ss/w+rd=x7!Kq9z>~7vT2*Lm4$Rb" },
];

impl Shape {
    /// The same but for one letter, which is the last but ten: a guess that is right up to there.
    fn other(&self) -> String {
        let at = self.key.len() - 12;
        let mut other = self.key.as_bytes().to_vec();
        other[at] = if other[at] == b'7' { b'3' } else { b'7' };
        String::from_utf8(other).expect("a text")
    }

    /// What an agent would have quoted: the beginning, one letter more each time, and windows of what it knows already.
    fn guesses(&self) -> Vec<String> {
        let key = self.key;
        let more = (self.known + 1..key.len()).map(|end| key[..end].to_owned());
        let windows = (0..key.len() - 12).map(|from| key[from..from + 12].to_owned());
        let rest = (1..key.len() - 8).map(|from| key[from..].to_owned());
        let near =
            (0..3).map(|n| format!("{}{}{}", &key[..key.len() - 12], ["Q", "9", "-"][n], &key[key.len() - 11..]));
        more.chain(windows).chain(rest).chain(near).collect()
    }
}

fn spelled(text: &str) -> Vec<String> {
    let each = |one: fn(u8) -> String| text.bytes().map(one).collect::<String>();
    let mut all = vec![
        text.to_owned(),
        each(|b| format!("{b:02x}")),
        each(|b| format!("%{b:02X}")),
        each(|b| format!("\\u{b:04x}")),
    ];
    for before in ["", "u", "u:"] {
        all.push(STANDARD.encode(format!("{before}{text}")));
        all.push(URL_SAFE.encode(format!("{before}{text}..")));
    }
    all
}

/// Services for the one key and the other, at the same upstream.
fn services(upstream: &Upstream, shape: &Shape) -> [Serve; 2] {
    [shape.key.to_owned(), shape.other()].map(|key| {
        let table = format!(
            "[key.{}]\nhosts = [\"{}\"]\nwhere = [\"header\", \"body\", \"ws\"]\n",
            shape.name,
            upstream.authority()
        );
        let ports = format!("connect_ports = [{}]\n", upstream.port());
        Home::with(&ports, &table).set(shape.variable, &key).serve()
    })
}

/// What the agent gets of a host that was told the text before, and says it in pieces.
async fn stored(
    client: &mut Client,
    upstream: &Upstream,
    status: u16,
    text: &str,
    cut: usize,
    coding: &str,
) -> (Vec<u8>, Option<HeaderMap>) {
    let head = Response::builder().status(status).header("trailer", "x-quote");
    let coded = if coding.is_empty() { text.as_bytes().to_vec() } else { encode(coding, text.as_bytes()) };
    let feed = upstream.on("/stored", if coding.is_empty() { head } else { head.header("content-encoding", coding) });
    coded.chunks(cut).for_each(|piece| feed.send(piece.to_vec()));
    let quote: String = text.chars().filter(|c| !c.is_control()).collect();
    feed.trailers(HeaderMap::from_iter([("x-quote".parse().expect("a name"), quote.parse().expect("a value"))]));
    let answer = client.get("/stored").await;
    (answer.body, answer.trailers)
}

/// What a host says at once of what stood in the request, in its head and in its body.
async fn quoted(client: &mut Client, texts: &[String]) -> (Vec<u8>, Vec<String>) {
    let mut request = client.request("POST", "/echo").header("content-type", "text/plain");
    for text in texts.iter().filter(|text| !text.contains(char::is_control)).take(20) {
        request = request.header("x-guess", text);
    }
    let answer = client.ask(request.body(full(texts.join(" "))).expect("a request")).await;
    let mut headers: Vec<String> =
        answer.headers.iter().map(|(n, v)| format!("{n}: {}", String::from_utf8_lossy(v.as_bytes()))).collect();
    headers.retain(|header| !header.starts_with("date:"));
    (answer.body, headers)
}

#[tokio::test]
async fn guesses_are_answered_alike_whichever_letter_is_the_keys() {
    for shape in &SHAPES {
        let upstream = Upstream::start();
        let [right, wrong] = services(&upstream, shape);
        let guesses: Vec<String> = shape.guesses().iter().flat_map(|guess| spelled(guess)).collect();
        for http in BOTH {
            let (mut one, mut other) = (right.client(&upstream, http).await, wrong.client(&upstream, http).await);
            for batch in guesses.chunks(90) {
                let same = quoted(&mut one, batch).await == quoted(&mut other, batch).await;
                assert!(same, "{}: quoted over {http:?}", shape.name);
                for (status, cut, between, coding) in
                    [(200, 7, "\n", ""), (200, 4000, "\"", ""), (401, 31, " ", ""), (200, 19, "\n", "gzip")]
                {
                    let text = batch.join(between);
                    let told = stored(&mut one, &upstream, status, &text, cut, coding).await;
                    let same = told == stored(&mut other, &upstream, status, &text, cut, coding).await;
                    assert!(same, "{}: stored, {status} over {http:?} in pieces of {cut} {coding}", shape.name);
                }
            }
        }
        // and that it isn't because nothing is hidden
        let mut client = right.client(&upstream, Http::One).await;
        for text in spelled(shape.key) {
            let (body, _) = stored(&mut client, &upstream, 200, &format!("\"{text}\""), 9, "").await;
            let body = String::from_utf8_lossy(&body).into_owned();
            assert!(body.contains("<<") && !body.contains(&text), "{}: {text}: {body}", shape.name);
        }
        let records = wrong.drained().await.audit();
        assert_eq!(of(&records, "scrub").len(), 0, "{}: no guess was the key", shape.name);
    }
}

#[tokio::test]
async fn a_pause_tells_nothing_of_a_guess() {
    for shape in SHAPES.iter().filter(|shape| shape.known > 2) {
        let upstream = Upstream::start();
        let services = services(&upstream, shape);
        let half = &shape.key[..shape.key.len() - 11];
        for (guess, held) in [(half, half.len()), (&shape.key[..shape.known], shape.known), ("nothing of it. ", 0)] {
            for serve in &services {
                let mut client = serve.client(&upstream, Http::One).await;
                let feed = upstream.on("/paused", Response::builder());
                let text = format!("it begins so: {guess}");
                feed.send(text.clone());
                let request = client.request("GET", "/paused").body(none()).expect("a request");
                let mut response = client.send(request).await.expect("an answer");
                let mut came = Vec::new();
                // so much comes at once, whatever the key
                while came.len() < text.len() - held {
                    let frame = response.body_mut().frame().await.expect("more").expect("a frame");
                    came.extend_from_slice(&frame.into_data().unwrap_or_default());
                }
                assert_eq!(String::from_utf8_lossy(&came), text[..text.len() - held], "{}", shape.name);
                feed.send(", and goes on");
                drop(feed);
                came.extend(whole(response).await.expect("the rest").body);
                assert_eq!(String::from_utf8_lossy(&came), format!("{text}, and goes on"), "{}", shape.name);
            }
        }
    }
}

#[test]
fn guesses_in_frames_are_answered_alike() {
    let shape = &SHAPES[2];
    let mut heard = Vec::new();
    for key in [shape.key.to_owned(), shape.other()] {
        let guesses = shape.guesses();
        let upstream = Socket::open(move |mut peer| {
            for guess in &guesses {
                let (a, b) = guess.split_at(guess.len() / 2);
                peer.text(guess);
                peer.send(Opcode::Text, false, a);
                peer.send(Opcode::Ping, true, guess);
                peer.send(Opcode::Continuation, true, b);
            }
            peer.send(Opcode::Close, true, []);
            while peer.next().is_some() {}
        });
        let port = upstream.authority().rsplit_once(':').expect("a port").1.to_owned();
        let table = format!("[key.{}]\nhosts = [\"{}\"]\n", shape.name, upstream.authority());
        let serve = Home::with(&format!("connect_ports = [{port}]\n"), &table).set(shape.variable, &key).serve();
        let (_, mut client) = open(&serve, &upstream.authority(), "").expect("a WebSocket");
        let mut all = Vec::new();
        while let Some((opcode, payload)) = client.message() {
            if opcode == Opcode::Close {
                client.send(Opcode::Close, true, []);
            }
            all.push((opcode, String::from_utf8_lossy(&payload).into_owned()));
        }
        upstream.finish();
        heard.push(all);
    }
    assert!(heard[0].len() > 150, "{}", heard[0].len());
    assert!(heard[0] == heard[1]);
}
