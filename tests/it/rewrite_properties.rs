//! Laws of the rewriting engine, for every coding and place: checked on texts made up at random and cut everywhere. How many cases that were
//! is printed.

use crate::support::coded::{CODINGS, decode, encode};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Uri};
use locum::memory::Plaintext as Value;
use locum::name::KeyName;
use locum::place::Place;
use locum::rewrite::body::BodyRewriter;
use locum::rewrite::coding;
use locum::rewrite::decoded_body::{CodedBodyRewriter, DecodedBody};
use locum::rewrite::head;
use locum::rewrite::scrub::{Mask, ScrubKey, Scrubber};
use locum::rewrite::{BodyFault, BodyKey, Vocabulary};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::Cell;
use std::io::Write as _;
use std::sync::Arc;

/// As long as the keys of gRPC's law, so that a message in which one stands for the other has the same length.
const PLACEHOLDER: &str = "<<tool_of_mine_key>>";
const LOOKALIKE: &str = "tool-00000000000000000000";
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=b0undary";
const GRPC: &str = "application/grpc";
const TEXT: &str = "text/plain";

/// Runs a law on `count` values, and says how often it looked.
fn law<S: Strategy>(
    name: &str,
    count: u32,
    strategy: S,
    check: impl Fn(S::Value, &Cell<u64>) -> Result<(), TestCaseError>,
) {
    let looked = Cell::new(0);
    let config = Config { cases: count, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let result = TestRunner::new(config).run(&strategy, |value| check(value, &looked));
    if let Err(e) = result {
        panic!("{name}: {e}");
    }
    // past the test harness, which would keep it to itself
    let _ = writeln!(std::io::stdout(), "law: {name}: {count} texts, {} cases", looked.get());
    assert!(looked.get() >= u64::from(count), "{name} looked at nothing");
}

fn looked(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

fn name() -> KeyName {
    "tool_of_mine".parse().unwrap()
}

fn vocabulary() -> Arc<Vocabulary> {
    Arc::new(Vocabulary::new(false, [(LOOKALIKE.to_owned(), name())]).unwrap())
}

fn body_key(place: &str, value: &[u8]) -> BodyKey {
    let place: Place = place.parse().unwrap();
    BodyKey { key: name(), value: Some(Arc::new(Value::new(value.to_vec()))), places: vec![place], max_uses: 100 }
}

fn scrubber(value: &[u8], placeholder: &str) -> Arc<Scrubber> {
    let value = Arc::new(Value::new(value.to_vec()));
    let key =
        ScrubKey { key: name(), placeholder: placeholder.to_owned(), secret_from: 0, value, even_if_guessable: true };
    Arc::new(Scrubber::new(vec![key]))
}

/// All codings: none, each, and some stacked.
fn codings() -> impl Iterator<Item = &'static str> {
    ["", "gzip, br", "zstd, deflate"].into_iter().chain(CODINGS)
}

fn coded(codings: &str, text: &[u8]) -> Vec<u8> {
    if codings.is_empty() { text.to_vec() } else { encode(codings, text) }
}

fn plain(codings: &str, bytes: &[u8]) -> Vec<u8> {
    if codings.is_empty() { bytes.to_vec() } else { decode(codings, bytes).expect("a valid coding goes out") }
}

/// A body with one key in it, and how it is to be sent.
#[derive(Debug, Clone)]
struct Sent {
    content_type: &'static str,
    place: &'static str,
    text: Vec<u8>,
    value: Vec<u8>,
}

/// What came out, with its coding taken off, and which keys were used; or that it was refused.
type Told = Result<(Vec<u8>, u64, u64), String>;

fn rewrite<'p>(sent: &Sent, codings: &str, pieces: impl IntoIterator<Item = &'p [u8]>) -> Told {
    let content_type = HeaderValue::from_static(sent.content_type);
    let engine = BodyRewriter::new(vocabulary(), Some(&content_type), vec![body_key(sent.place, &sent.value)]);
    let list = coding::parse([codings.as_bytes()]).unwrap();
    through(CodedBodyRewriter::new(engine, &list), codings, pieces)
}

/// The same for a body that is there as a whole.
fn rewrite_held(sent: &Sent, codings: &str, body: &[u8]) -> Told {
    let content_type = HeaderValue::from_static(sent.content_type);
    let engine = BodyRewriter::new(vocabulary(), Some(&content_type), vec![body_key(sent.place, &sent.value)]);
    let list = coding::parse([codings.as_bytes()]).unwrap();
    through(CodedBodyRewriter::of_whole(engine, &list), codings, [body])
}

fn through<'p>(
    rewriter: Result<CodedBodyRewriter, BodyFault>,
    codings: &str,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> Told {
    let mut rewriter = rewriter.map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    for piece in pieces {
        rewriter.push(Bytes::copy_from_slice(piece), &mut out).map_err(|e| e.to_string())?;
        while rewriter.step(&mut out).map_err(|e| e.to_string())? {}
    }
    rewriter.finish(&mut out).map_err(|e| e.to_string())?;
    let uses = rewriter.uses().iter().map(|u| u.count).sum();
    Ok((plain(codings, &out.concat()), uses, rewriter.kept()))
}

/// What the agent gets of a response in `codings` that comes in `pieces`.
fn scrub<'p>(scrubber: &Arc<Scrubber>, codings: &str, pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<u8> {
    let list = coding::parse([codings.as_bytes()]).unwrap();
    let mut opened = (!list.is_empty()).then(|| DecodedBody::response(&list).unwrap());
    let mut body = scrubber.body(Mask::Placeholder);
    let mut out = Vec::new();
    for piece in pieces {
        let piece = Bytes::copy_from_slice(piece);
        let Some(opened) = &mut opened else {
            out.extend_from_slice(&body.push(piece));
            continue;
        };
        opened.feed(piece);
        while let Some(portion) = opened.portion().expect("a valid coding") {
            out.extend_from_slice(&body.push(portion));
        }
    }
    if let Some(opened) = opened {
        opened.finish().expect("a whole coding");
    }
    out.extend_from_slice(&body.finish());
    out
}

/// Secrets of twenty characters that some encoding or other has to escape.
fn values() -> impl Strategy<Value = Vec<u8>> {
    "[ -~]{20}".prop_map(String::into_bytes).prop_filter("a value that is all placeholder", |v| !v.contains(&b'<'))
}

/// Longer ones, as providers give them.
fn tokens() -> impl Strategy<Value = Vec<u8>> {
    "[A-Za-z0-9_/+=.-]{20,60}".prop_map(String::into_bytes)
}

/// Text that holds no placeholder and says nothing to any format.
fn filler() -> impl Strategy<Value = String> {
    "[a-z0-9 .,]{0,40}"
}

fn json(texts: &[String], pretty: bool) -> Vec<u8> {
    let value = serde_json::json!({ "a": texts, "k": PLACEHOLDER, "z": { "k": "use it", "n": [1, true, null] } });
    if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap()
}

fn form(texts: &[String]) -> Vec<u8> {
    let pairs = texts.iter().map(|t| format!("a={}&", t.replace([' ', ','], "+")));
    format!("{}k={PLACEHOLDER}&z=%41", pairs.collect::<String>()).into_bytes()
}

fn multipart(texts: &[String]) -> Vec<u8> {
    let part = |name: &str, text: &str| {
        format!("--b0undary\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
    };
    let parts: String = texts.iter().map(|t| part("a", t)).collect();
    format!("{parts}{}--b0undary--\r\n", part("k", PLACEHOLDER)).into_bytes()
}

/// gRPC messages of one string field each.
fn grpc(texts: &[String]) -> Vec<u8> {
    let message = |text: &str| {
        let field = [&[0x0a, text.len() as u8][..], text.as_bytes()].concat();
        [&[0][..], &(field.len() as u32).to_be_bytes(), &field].concat()
    };
    texts.iter().map(String::as_str).chain([PLACEHOLDER]).flat_map(message).collect()
}

/// A body of each kind that holds the placeholder once, where it counts, and its name with a binding that lets it.
fn sent() -> impl Strategy<Value = Sent> {
    let kinds = prop::sample::select(vec![
        (JSON, "body"),
        (JSON, "body:/k"),
        (JSON, "body:any"),
        (FORM, "body"),
        (FORM, "body:k"),
        (FORM, "body:any"),
        (MULTIPART, "body"),
        (MULTIPART, "body:k"),
        (MULTIPART, "body:any"),
        (GRPC, "body:any"),
        (TEXT, "body:any"),
    ]);
    (kinds, prop::collection::vec(filler(), 0..4), values(), any::<bool>()).prop_map(
        |((content_type, place), texts, value, pretty)| {
            let text = match content_type {
                JSON => json(&texts, pretty),
                FORM => form(&texts),
                MULTIPART => multipart(&texts),
                GRPC => grpc(&texts),
                _ => format!("{}{PLACEHOLDER}{}", texts.concat(), texts.join(" ")).into_bytes(),
            };
            Sent { content_type, place, text, value }
        },
    )
}

#[test]
fn a_request_is_rewritten_alike_however_it_is_cut() {
    law("cut at every byte is uncut, requests", 60, sent(), |sent, count| {
        for codings in codings() {
            let bytes = coded(codings, &sent.text);
            let uncut = rewrite(&sent, codings, [&bytes[..]]);
            prop_assert_eq!(uncut.as_ref().map(|t| (t.1, t.2)), Ok((1, 0)), "{}", codings);
            prop_assert_eq!(&rewrite_held(&sent, codings, &bytes), &uncut);
            prop_assert_eq!(&rewrite(&sent, codings, bytes.chunks(1)), &uncut);
            for at in 0..=bytes.len() {
                let (a, b) = bytes.split_at(at);
                prop_assert_eq!(&rewrite(&sent, codings, [a, b]), &uncut, "{} cut at {}", codings, at);
                looked(count);
            }
        }
        Ok(())
    });
}

#[test]
fn a_response_is_opened_alike_however_it_is_cut() {
    let texts = (prop::collection::vec(filler(), 0..4), tokens());
    law("cut at every byte is uncut, responses without a key", 40, texts, |(texts, value), count| {
        let text = texts.concat().into_bytes();
        let scrubber = scrubber(&value, PLACEHOLDER);
        for codings in codings() {
            let bytes = coded(codings, &text);
            for at in 0..=bytes.len() {
                let (a, b) = bytes.split_at(at);
                prop_assert_eq!(&scrub(&scrubber, codings, [a, b]), &text, "{} cut at {}", codings, at);
                looked(count);
            }
        }
        Ok(())
    });
}

#[test]
fn what_holds_nothing_to_replace_or_hide_does_not_change() {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..400),
        "[\\[\\]{}\":,<>%&=+\\\\ a-z0-9\r\n-]{0,400}".prop_map(String::into_bytes),
    ];
    let kinds = prop::sample::select(vec![JSON, FORM, MULTIPART, TEXT]);
    let places = prop::sample::select(vec!["body", "body:any", "body:/k", "body:k"]);
    law(
        "no needle, no change",
        400,
        (bytes, kinds, places, tokens(), 1..50usize),
        |(text, kind, place, value, cut), count| {
            let sent = Sent { content_type: kind, place, text, value };
            let scrubber = scrubber(&sent.value, PLACEHOLDER);
            for codings in codings() {
                let bytes = coded(codings, &sent.text);
                let told = rewrite(&sent, codings, bytes.chunks(cut));
                prop_assert_eq!(told.as_ref().map(|t| (&t.0, t.1)), Ok((&sent.text, 0)), "{}", codings);
                let told = rewrite_held(&sent, codings, &bytes);
                prop_assert_eq!(told.as_ref().map(|t| (&t.0, t.1)), Ok((&sent.text, 0)), "{}", codings);
                prop_assert_eq!(&scrub(&scrubber, codings, bytes.chunks(cut)), &sent.text, "{}", codings);
                looked(count);
            }
            Ok(())
        },
    );
}

/// The key in each form that is listed, in the middle of something else.
fn forms(key: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let text = String::from_utf8_lossy(key);
    let json = serde_json::to_string(&text).unwrap();
    let json = json[1..json.len() - 1].to_owned();
    let twice = json.replace('\\', "\\\\").replace('"', "\\\"");
    let unicode: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) { c.to_string() } else { format!("\\u{:04x}", c as u32) }
        })
        .collect();
    let percent = |upper: bool| -> String {
        let escape = |c: char| if upper { format!("%{:02X}", c as u32) } else { format!("%{:02x}", c as u32) };
        text.chars()
            .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c.to_string() } else { escape(c) })
            .collect()
    };
    let hex: String = key.iter().map(|b| format!("{b:02x}")).collect();
    let mut forms = vec![
        ("raw", key.to_vec()),
        ("json", json.into_bytes()),
        ("json in json", twice.into_bytes()),
        ("json, all escaped", unicode.into_bytes()),
        ("percent", percent(true).into_bytes()),
        ("percent, lower", percent(false).into_bytes()),
        ("percent twice", percent(true).replace('%', "%25").into_bytes()),
        ("form", percent(true).replace("%20", "+").into_bytes()),
        ("hex", hex.clone().into_bytes()),
        ("HEX", hex.to_uppercase().into_bytes()),
    ];
    for (name, before) in [("base64", ""), ("base64, one on", "u"), ("base64, two on", "u:")] {
        let inner = [before.as_bytes(), key].concat();
        forms.push((name, STANDARD.encode(&inner).into_bytes()));
        forms.push((name, URL_SAFE.encode(&inner).into_bytes()));
    }
    forms
}

/// Whether `text` shows `length` bytes of `form` in a row.
fn shows(text: &[u8], form: &[u8], length: usize) -> bool {
    form.windows(length.min(form.len())).any(|w| text.windows(w.len()).any(|t| t == w))
}

#[test]
fn no_form_of_a_key_comes_out() {
    let keys = prop_oneof![values(), tokens()];
    law("no form of a key in any output", 60, (keys, filler(), 1..80usize), |(key, filler, cut), count| {
        let scrubber = scrubber(&key, PLACEHOLDER);
        for (name, form) in forms(&key) {
            let text = [b"[", filler.as_bytes(), b"\n", &form[..], b"\n", filler.as_bytes()].concat();
            for codings in codings() {
                let bytes = coded(codings, &text);
                let whole = scrub(&scrubber, codings, [&bytes[..]]);
                // a few letters of it may stand in what comes before or behind
                let left = 4;
                prop_assert!(
                    !shows(&whole, &form, left.max(form.len() / 4)),
                    "{} in {}: {}",
                    name,
                    codings,
                    whole.escape_ascii()
                );
                let pieces = scrub(&scrubber, codings, bytes.chunks(cut));
                prop_assert!(!shows(&pieces, &form, form.len()), "{} in {}: {}", name, codings, pieces.escape_ascii());
                looked(count);
            }
        }
        Ok(())
    });
}

#[test]
fn a_body_that_is_replaced_and_scrubbed_is_what_was_sent() {
    law("replace then scrub is what was sent, bodies", 300, sent(), |sent, count| {
        prop_assume!(!shows(&sent.text, &sent.value, 12));
        let scrubber = scrubber(&sent.value, PLACEHOLDER);
        for codings in codings() {
            let bytes = coded(codings, &sent.text);
            let (upstream, uses, _) = rewrite(&sent, codings, [&bytes[..]]).map_err(TestCaseError::fail)?;
            prop_assert_eq!(uses, 1);
            prop_assert_ne!(&upstream, &sent.text);
            let echoed = coded(codings, &upstream);
            let back = scrub(&scrubber, codings, [&echoed[..]]);
            prop_assert_eq!(back.escape_ascii().to_string(), sent.text.escape_ascii().to_string(), "{}", codings);
            looked(count);
        }
        Ok(())
    });
}

#[test]
fn a_head_or_message_that_is_replaced_and_scrubbed_is_what_was_sent() {
    let texts = ("[a-z0-9]{0,20}", "[a-z0-9]{0,20}", values());
    law("replace then scrub is what was sent, heads and messages", 300, texts, |(before, after, value), count| {
        let vocabulary = vocabulary();
        let find = |_: &KeyName| Some(&value[..]);
        let basic = format!("Basic {}", STANDARD.encode(format!("{before}:{PLACEHOLDER}{after}")));
        for (header, sent) in [("x-key", format!("{before} {PLACEHOLDER}{after}")), ("authorization", basic)] {
            let (mut uri, mut headers) = (Uri::from_static("/"), HeaderMap::new());
            headers.insert(header, HeaderValue::try_from(&sent).unwrap());
            let hits = head::find(&vocabulary, &uri, &headers);
            head::replace(&mut uri, &mut headers, &hits, find).map_err(|e| TestCaseError::fail(e.to_string()))?;
            let scrubber = scrubber(&value, PLACEHOLDER);
            let back = scrubber.header(headers[header].as_bytes()).expect("the key is there");
            if header == "x-key" {
                prop_assert_eq!(String::from_utf8_lossy(&back), sent);
            } else {
                // base64 shares letters with what stands around: the placeholder is there, the key isn't
                let back = String::from_utf8_lossy(&back).into_owned();
                prop_assert!(back.contains(PLACEHOLDER), "{}", back);
                prop_assert!(!back.contains(&STANDARD.encode(&value)[2..20]), "{}", back);
            }
            looked(count);
        }
        for sent in [format!("/{before}{LOOKALIKE}/{after}?q=1"), format!("/{before}?a={after}&k={LOOKALIKE}&z")] {
            let (mut uri, mut headers) = (sent.parse::<Uri>().unwrap(), HeaderMap::new());
            let hits = head::find(&vocabulary, &uri, &headers);
            head::replace(&mut uri, &mut headers, &hits, find).map_err(|e| TestCaseError::fail(e.to_string()))?;
            let back = scrubber(&value, LOOKALIKE).header(uri.to_string().as_bytes()).expect("the key is there");
            prop_assert_eq!(String::from_utf8_lossy(&back), sent);
            looked(count);
        }
        for sent in [format!("[\"{before}\",\"{PLACEHOLDER}\"]"), format!("AUTH {PLACEHOLDER} {after}")] {
            let key = body_key("ws", &value);
            let mut rewriter = BodyRewriter::of_message(vocabulary.clone(), vec![key]);
            let mut upstream = Vec::new();
            rewriter.push(sent.clone().into(), &mut upstream).unwrap();
            rewriter.finish(&mut upstream).unwrap();
            let upstream = upstream.concat();
            let back = scrub(&scrubber(&value, PLACEHOLDER), "", [&upstream[..]]);
            prop_assert_eq!(String::from_utf8_lossy(&back), sent);
            looked(count);
        }
        Ok(())
    });
}
