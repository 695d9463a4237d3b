//! Text messages of a WebSocket, as its door has them rewritten: keys in whole values of JSON, and anywhere in what doesn't
//! begin like it.

use super::body::BodyRewriter;
use super::body::escape::UnwritableReason;
use super::finder::Vocabulary;
use super::{BodyFault, BodyKey};
use crate::memory::Plaintext;
use crate::place::Place;
use crate::record::KeyUse;
use bytes::Bytes;
use std::sync::Arc;

type Told = Result<(String, Vec<KeyUse>, u64), BodyFault>;

/// What a message comes to, which keys were written where, and how many placeholders were left.
fn replace(keys: Vec<BodyKey>, message: &str) -> Told {
    let mut rewriter = BodyRewriter::of_message(Arc::new(Vocabulary::new(false, []).unwrap()), keys);
    let mut pieces = Vec::new();
    rewriter.push_whole(Bytes::copy_from_slice(message.as_bytes()), &mut pieces)?;
    told(rewriter, pieces)
}

/// The same for a message that comes in fragments.
fn replace_fragments(keys: Vec<BodyKey>, message: &str) -> Told {
    let mut rewriter = BodyRewriter::of_message(Arc::new(Vocabulary::new(false, []).unwrap()), keys);
    let mut pieces = Vec::new();
    for byte in message.as_bytes().chunks(1) {
        rewriter.push(Bytes::copy_from_slice(byte), &mut pieces)?;
    }
    told(rewriter, pieces)
}

fn told(mut rewriter: BodyRewriter, mut pieces: Vec<Bytes>) -> Told {
    rewriter.finish(&mut pieces)?;
    let text = String::from_utf8(pieces.concat()).unwrap();
    Ok((text, rewriter.uses().to_vec(), rewriter.kept()))
}

fn keys(value: &[u8], max_uses: u32) -> Vec<BodyKey> {
    vec![BodyKey {
        key: "x".parse().unwrap(),
        value: Some(Arc::new(Plaintext::new(value.to_vec()))),
        places: vec![Place::Ws],
        max_uses,
    }]
}

#[test]
fn values_of_json_and_any_text_are_replaced() {
    for (message, want, used, kept) in [
        (r#"{"auth":"<<x_key>>"}"#, r#"{"auth":"v\"1"}"#, 1, 0),
        (r#"{"auth":"\u003c\u003cx_key\u003e\u003e"}"#, r#"{"auth":"v\"1"}"#, 1, 0),
        (r#"["<<x_key>>", "say <<x_key>>"]"#, r#"["v\"1", "say <<x_key>>"]"#, 1, 1),
        (r#"{"<<x_key>>":"<<y_key>>"}"#, r#"{"<<x_key>>":"<<y_key>>"}"#, 0, 2),
        (r#""<<x_key>>""#, r#""v\"1""#, 1, 0),
        ("AUTH <<x_key>>\r\n", "AUTH v\"1\r\n", 1, 0),
        (r#"42["auth","<<x_key>>"]"#, r#"42["auth","v"1"]"#, 1, 0),
        // what begins like JSON and isn't is neither: JSON that a quoted page broke would get keys in its text
        (r#"[notes]: "<<x_key>>" <<x_key>>"#, r#"[notes]: "<<x_key>>" <<x_key>>"#, 0, 2),
        (r#"{"say":"\ud83d use <<x_key>>"}"#, r#"{"say":"\ud83d use <<x_key>>"}"#, 0, 1),
        ("<<x_key>><<x_key>>", "v\"1v\"1", 2, 0),
        ("AUTH <<y_key>>", "AUTH <<y_key>>", 0, 1),
        ("AUTH <<x_ke", "AUTH <<x_ke", 0, 0),
        (" ", " ", 0, 0),
        ("", "", 0, 0),
    ] {
        for told in [replace(keys(b"v\"1", 2), message), replace_fragments(keys(b"v\"1", 2), message)] {
            let (text, uses, left) = told.unwrap();
            assert_eq!(text, want);
            let uses: Vec<_> = uses.iter().map(|u| (u.place.clone(), u.count)).collect();
            assert_eq!(uses, Vec::from_iter((used > 0).then_some((Place::Ws, used))), "{message}");
            assert_eq!(left, kept, "{message}");
        }
    }
}

#[test]
fn a_message_is_judged_by_its_end_where_that_is_there() {
    for (message, fragments) in [
        (r#"{"auth":"<<x_key>>"} <<x_key>>"#, r#"{"auth":"v"} <<x_key>>"#),
        (r#"{"auth":"<<x_key>>","say":"<<x_key>> it is",}"#, r#"{"auth":"v","say":"<<x_key>> it is",}"#),
    ] {
        assert_eq!(replace(keys(b"v", 2), message).unwrap().0, message);
        assert_eq!(replace_fragments(keys(b"v", 2), message).unwrap().0, fragments);
    }
}

#[test]
fn what_can_not_be_written_is_a_fault() {
    for message in ["AUTH <<x_key>>", r#"["<<x_key>>"]"#] {
        let fault = replace(keys(b"\xff", 1), message).unwrap_err();
        assert!(
            matches!(fault, BodyFault::Unwritable(unwritable) if unwritable.why == UnwritableReason::NotUtf8),
            "a text message is UTF-8"
        );
    }
    let twice = replace(keys(b"v", 1), "<<x_key>> <<x_key>>");
    assert_eq!(twice, Err(BodyFault::TooManyUses { key: "x".parse().unwrap(), max: 1 }));
}
