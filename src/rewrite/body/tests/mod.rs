//! Bodies of every kind, cut everywhere.

mod properties;

use super::*;
use crate::memory::Plaintext;
use crate::place::Place;
use crate::rewrite::finder::Vocabulary;
use bytes::Bytes;
use escape::UnwritableReason;
use http::HeaderValue;
use ledger::{BodyFault, BodyKey};
use std::sync::Arc;

/// Name, places parted by `|`, and value; an empty value can't be had.
fn keys(texts: &[(&str, &str, &str)]) -> Vec<BodyKey> {
    let key = |(key, places, value): &(&str, &str, &str)| BodyKey {
        key: key.parse().unwrap(),
        value: (!value.is_empty()).then(|| Arc::new(Plaintext::new(value.as_bytes().to_vec()))),
        places: places.split('|').map(|p| p.parse::<Place>().unwrap()).collect(),
        max_uses: 4,
    };
    texts.iter().map(key).collect()
}

fn vocabulary() -> Arc<Vocabulary> {
    let own = [("ghp_0000000000000000".to_string(), "gh".parse().unwrap())];
    Arc::new(Vocabulary::new(true, own).unwrap())
}

#[derive(Debug, Clone, PartialEq)]
struct Told {
    body: Vec<u8>,
    /// `key@place*count`
    uses: String,
    kept: u64,
    fault: Option<BodyFault>,
}

fn rewrite<'c>(content_type: &'static str, keys: Vec<BodyKey>, chunks: impl IntoIterator<Item = &'c [u8]>) -> Told {
    let declared = HeaderValue::from_static(content_type);
    let mut rewriter = BodyRewriter::new(vocabulary(), Some(&declared), keys);
    let mut out = Vec::new();
    let mut fault = None;
    for chunk in chunks {
        if let Err(e) = rewriter.push(Bytes::copy_from_slice(chunk), &mut out) {
            fault = Some(e);
            break;
        }
    }
    if fault.is_none() {
        fault = rewriter.finish(&mut out).err();
    }
    assert!(out.iter().all(|piece| !piece.is_empty()));
    let uses: Vec<_> = rewriter.uses().iter().map(|u| format!("{}@{}*{}", u.key, u.place, u.count)).collect();
    Told { body: out.concat(), uses: uses.join(" "), kept: rewriter.kept(), fault }
}

/// What a body comes to that is there as a whole, in a coding or none.
fn held(content_type: &'static str, keys: &[BodyKey], body: &[u8]) -> Told {
    let declared = HeaderValue::from_static(content_type);
    let mut rewriter = BodyRewriter::new(vocabulary(), Some(&declared), keys.to_vec());
    let mut out = Vec::new();
    let pushed = rewriter.push_whole(Bytes::copy_from_slice(body), &mut out);
    let fault = pushed.and_then(|()| rewriter.finish(&mut out)).err();
    let uses: Vec<_> = rewriter.uses().iter().map(|u| format!("{}@{}*{}", u.key, u.place, u.count)).collect();
    Told { body: out.concat(), uses: uses.join(" "), kept: rewriter.kept(), fault }
}

/// As [`rewrite`], where each key is asked for again at each use.
fn rewrite_asking<'c>(
    content_type: &'static str,
    keys: Vec<BodyKey>,
    chunks: impl IntoIterator<Item = &'c [u8]>,
    mut answer: impl FnMut(BodyKey) -> BodyKey,
) -> Result<(Vec<u8>, u64), BodyFault> {
    let declared = HeaderValue::from_static(content_type);
    let mut rewriter = BodyRewriter::new(vocabulary(), Some(&declared), keys);
    let mut out = Vec::new();
    rewriter.doubt(|_| true);
    for chunk in chunks {
        rewriter.push(Bytes::copy_from_slice(chunk), &mut out)?;
        while let Some(wanted) = rewriter.wanted().cloned() {
            rewriter.renew(answer(wanted));
            rewriter.resume(&mut out)?;
            rewriter.doubt(|_| true);
        }
    }
    rewriter.finish(&mut out)?;
    while let Some(wanted) = rewriter.wanted().cloned() {
        rewriter.renew(answer(wanted));
        rewriter.finish(&mut out)?;
    }
    Ok((out.concat(), rewriter.uses().iter().map(|used| used.count).sum::<u64>() + rewriter.kept()))
}

#[test]
fn a_key_that_is_asked_for_again_is_used_as_it_is_then_and_its_uses_count_on() {
    let (new, body) = (keys(&[("x", "body", "new")]).remove(0), br#"["<<x_key>>", "<<x_key>>", "say <<x_key>>"]"#);
    let mut asked = 0;
    let mut at = body.chunks(14);
    let told = rewrite_asking(JSON, keys(&[("x", "body", "old")]), &mut at, |key| {
        asked += 1;
        if asked == 1 { key } else { new.clone() }
    });
    assert_eq!(told, Ok((br#"["old", "new", "say <<x_key>>"]"#.to_vec(), 3)));
    assert_eq!(asked, 2, "what stays text is not asked for");

    let five = [b"[".to_vec(), [&br#""<<x_key>>","#[..]; 5].concat(), b"1]".to_vec()].concat();
    let told = rewrite_asking(JSON, keys(&[("x", "body", "old")]), five.chunks(11), |_| new.clone());
    assert_eq!(told, Err(BodyFault::TooManyUses { key: "x".parse().unwrap(), max: 4 }));
}

/// Whole, in single bytes, and cut in two at every place: all the same.
fn everywhere(content_type: &'static str, keys: &[BodyKey], body: &[u8]) -> Told {
    let whole = rewrite(content_type, keys.to_vec(), [body]);
    let single = rewrite(content_type, keys.to_vec(), body.chunks(1));
    if whole.fault.is_some() {
        assert_eq!(single.fault, whole.fault);
        return whole;
    }
    assert_eq!(single, whole, "in single bytes: {}", String::from_utf8_lossy(body));
    for cut in 0..=body.len() {
        let (a, b) = body.split_at(cut);
        assert_eq!(
            rewrite(content_type, keys.to_vec(), [a, b]),
            whole,
            "cut at {cut}: {}",
            String::from_utf8_lossy(body)
        );
    }
    whole
}

/// As [`check`], for what is there as a whole.
fn check_held(content_type: &'static str, keys: &[BodyKey], body: &str, new: &str, uses: &str, kept: u64) {
    let told = held(content_type, keys, body.as_bytes());
    assert_eq!(String::from_utf8_lossy(&told.body), new, "{content_type}: {body}");
    assert_eq!((told.uses.as_str(), told.kept, told.fault), (uses, kept, None), "{content_type}: {body}");
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=b";

fn check(content_type: &'static str, keys: &[BodyKey], body: &str, new: &str, uses: &str, kept: u64) {
    let told = everywhere(content_type, keys, body.as_bytes());
    assert_eq!(String::from_utf8_lossy(&told.body), new, "{body}");
    assert_eq!((told.uses.as_str(), told.kept, told.fault), (uses, kept, None), "{body}");
}

#[test]
fn json_values_are_replaced_and_text_is_not() {
    let keys = keys(&[("x", "body", "v\"1"), ("gh", "body", "ghp_real")]);
    for (body, new, uses, kept) in [
        (r#"{"a":"<<x_key>>"}"#, r#"{"a":"v\"1"}"#, "x@body*1", 0),
        (r#"{"a":"\u003c\u003Cx_key\u003e>"}"#, r#"{"a":"v\"1"}"#, "x@body*1", 0),
        (r#"{"a":"<<\u0078_key>>","b":"{{x_key}}"}"#, r#"{"a":"v\"1","b":"v\"1"}"#, "x@body*2", 0),
        (r#"{"a":"ghp_0000000000000000"}"#, r#"{"a":"ghp_real"}"#, "gh@body*1", 0),
        (r#"{"a":"ghp_00000000\u0030\u00300000\u00300"}"#, r#"{"a":"ghp_real"}"#, "gh@body*1", 0),
        (r#"{"a":"gh\u0070_0000000000000000"}"#, r#"{"a":"ghp_real"}"#, "gh@body*1", 0),
        (r#"{"a":"use <<x_key>>"}"#, r#"{"a":"use <<x_key>>"}"#, "", 1),
        (r#"{"a":"<<x_key>> is it"}"#, r#"{"a":"<<x_key>> is it"}"#, "", 1),
        (r#"{"<<x_key>>" : "<<x_key>>"}"#, r#"{"<<x_key>>" : "v\"1"}"#, "x@body*1", 1),
        (r#"{"a":"\"<<x_key>>\""}"#, r#"{"a":"\"<<x_key>>\""}"#, "", 1),
        (r#"{"a":"<<other_key>>"}"#, r#"{"a":"<<other_key>>"}"#, "", 1),
        (r#"{"a":"<<x_key_key>>"}"#, r#"{"a":"<<x_key_key>>"}"#, "", 1),
        ("[\"<<x_key>>\" ,\n\"<<x_key>>\"\n]\n", "[\"v\\\"1\" ,\n\"v\\\"1\"\n]\n", "x@body*2", 0),
        (" \r\n\t\"<<x_key>>\"", " \r\n\t\"v\\\"1\"", "x@body*1", 0),
        ("\u{feff}[\"<<x_key>>\"]", "\u{feff}[\"v\\\"1\"]", "x@body*1", 0),
        ("{\"a\":\"<<x_key>>\"}\n{\"a\":1}\n", "{\"a\":\"v\\\"1\"}\n{\"a\":1}\n", "x@body*1", 0),
        ("{\"a\":\"<<x_key>>", "{\"a\":\"<<x_key>>", "", 1),
    ] {
        check(JSON, &keys, body, new, uses, kept);
        check_held(JSON, &keys, body, new, uses, kept);
        let is_scalar = body.trim_start().starts_with('"');
        let is_sequence = body.contains("}\n{");
        let written = new.matches(r#"v\"1"#).count() + new.matches("ghp_real").count();
        let unchanged = (body, "", kept + written as u64);
        for content_type in ["application/octet-stream", "application/grpc"] {
            let (new, uses, kept) = if is_scalar { unchanged } else { (new, uses, kept) };
            check(content_type, &keys, body, new, uses, kept);
            check_held(content_type, &keys, body, new, uses, kept);
        }
        for content_type in [FORM, MULTIPART, "text/plain"] {
            check(content_type, &keys, body, body, "", unchanged.2);
            let (new, uses, kept) = if is_scalar || is_sequence { unchanged } else { (new, uses, kept) };
            check_held(content_type, &keys, body, new, uses, kept);
        }
    }
}

#[test]
fn what_is_no_json_to_its_end_holds_no_value() {
    let keys = keys(&[("x", "body|body:/a", "v")]);
    for (body, streamed) in [
        ("{\"a\":\"<<x_key>>\"} he said", "{\"a\":\"v\"} he said"),
        ("{\"a\":\"<<x_key>>\",}", "{\"a\":\"v\",}"),
        ("[\"<<x_key>>\", he said \"<<x_key>>\"]", "[\"v\", he said \"<<x_key>>\"]"),
        ("[\"<<x_key>>\"}", "[\"<<x_key>>\"}"),
        ("[\"<<x_key>>\"", "[\"<<x_key>>\""),
        ("[notes]: \"<<x_key>>\"", "[notes]: \"<<x_key>>\""),
    ] {
        for content_type in [JSON, "x/y"] {
            let kept = body.matches("<<").count() as u64;
            check_held(content_type, &keys, body, body, "", kept);
            let told = everywhere(content_type, &keys, body.as_bytes());
            assert_eq!((String::from_utf8_lossy(&told.body), told.fault), (streamed.into(), None));
        }
    }
    let deep = format!("{}\"<<x_key>>\"{}", "[".repeat(600), "]".repeat(600));
    check(JSON, &keys, &deep, &deep, "", 1);
    check_held(JSON, &keys, &deep, &deep, "", 1);
}

#[test]
fn body_any_is_written_as_what_the_body_claims_to_be() {
    let keys = keys(&[("x", "body:any", "v\"&")]);
    for (content_type, body, whole, streamed) in [
        (JSON, "{\"a\":\"say <<x_key>>\",}", "{\"a\":\"say v\\\"&\",}", "{\"a\":\"say v\\\"&\",}"),
        ("text/plain", "[notes] <<x_key>>", "[notes] v\"&", "[notes] v\\\"&"),
        ("text/plain", "[\"say <<x_key>>\"]", "[\"say v\\\"&\"]", "[\"say v\\\"&\"]"),
        (FORM, "[a] b=<<x_key>>", "[a] b=v%22%26", "[a] b=v\\\"&"),
    ] {
        check_held(content_type, &keys, body, whole, "x@body:any*1", 0);
        check(content_type, &keys, body, streamed, "x@body:any*1", 0);
    }
}

#[test]
fn what_is_no_form_to_its_end_holds_no_field() {
    let keys = keys(&[("x", "body|body:a", "v")]);
    let part = "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n<<x_key>>\r\n--b";
    for (content_type, body, is_form) in [
        (FORM, "a=<<x_key>>&b={1}".to_string(), true),
        (FORM, "a=<<x_key>>&b=he said".to_string(), false),
        (FORM, "a=<<x_key>>&b=%2".to_string(), false),
        (FORM, " a=<<x_key>>".to_string(), false),
        (FORM, "[a]=1&a=<<x_key>>".to_string(), false),
        (MULTIPART, format!("{part}--"), true),
        (MULTIPART, format!("{part}--\r\n"), true),
        (MULTIPART, format!("{part}--\r\n he said"), false),
        (MULTIPART, format!("{part}\r\n"), false),
        (MULTIPART, format!("he said\r\n{part}--\r\n"), false),
    ] {
        let new = body.replace("<<x_key>>", "v");
        let (new, uses, kept) = if is_form { (new.as_str(), "x@body:a*1", 0) } else { (body.as_str(), "", 1) };
        check_held(content_type, &keys, &body, new, uses, kept);
    }
}

#[test]
fn pointers_are_kept_to() {
    let keys = keys(&[("x", "body:/a/0", "v"), ("y", "body:/b|body", "w")]);
    for (body, new, uses, kept) in [
        (r#"{"a":["<<x_key>>","<<x_key>>"]}"#, r#"{"a":["v","<<x_key>>"]}"#, "x@body:/a/0*1", 1),
        (r#"{"\u0061":["\u003c<x_key>>"]}"#, r#"{"\u0061":["v"]}"#, "x@body:/a/0*1", 0),
        (r#"{"a":{"0":"<<x_key>>"}}"#, r#"{"a":{"0":"v"}}"#, "x@body:/a/0*1", 0),
        (r#"{"a":["see <<x_key>>"]}"#, r#"{"a":["see <<x_key>>"]}"#, "", 1),
        (r#"{"b":"<<y_key>>","c":"<<y_key>>"}"#, r#"{"b":"w","c":"w"}"#, "y@body:/b*1 y@body*1", 0),
        (r#"{"b":"<<x_key>>"}"#, r#"{"b":"<<x_key>>"}"#, "", 1),
        (r#"[no json, "<<y_key>>", "<<x_key>>"]"#, r#"[no json, "<<y_key>>", "<<x_key>>"]"#, "", 2),
    ] {
        check(JSON, &keys, body, new, uses, kept);
        check_held(JSON, &keys, body, new, uses, kept);
    }
}

#[test]
fn forms_are_replaced_in_values() {
    let keys = keys(&[("x", "body", "v &="), ("y", "body:api key", "w")]);
    for (body, new, uses, kept) in [
        ("a=1&k=%3C%3Cx_key%3e%3E&b=%7e+", "a=1&k=v%20%26%3D&b=%7e+", "x@body*1", 0),
        ("k=<<x_key>>", "k=v%20%26%3D", "x@body*1", 0),
        ("k=<<%78_key>%3E&", "k=v%20%26%3D&", "x@body*1", 0),
        ("k=+<<x_key>>", "k=+<<x_key>>", "", 1),
        ("q=use+%3C%3Cx_key%3E%3E+now", "q=use+%3C%3Cx_key%3E%3E+now", "", 1),
        ("<<x_key>>=1", "<<x_key>>=1", "", 1),
        ("<<x_key>>", "<<x_key>>", "", 1),
        ("api+key=<<y_key>>&k=<<y_key>>", "api+key=w&k=<<y_key>>", "y@body:api key*1", 1),
        ("a%70i%20key=%3C%3Cy_key%3E%3E", "a%70i%20key=w", "y@body:api key*1", 0),
    ] {
        check(FORM, &keys, body, new, uses, kept);
    }
}

#[test]
fn fields_of_a_multipart_body_are_replaced() {
    let keys = keys(&[("x", "body", "v\r\n"), ("y", "body:f", "w")]);
    let body = |x: &str, y: &str| {
        format!(
            "--b\r\nContent-Disposition: form-data; name=\"e\"\r\n\r\n{x}\r\n\
             --b\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\n{y}\r\n\
             --b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"<<x_key>>\"\r\n\r\n<<x_key>>\r\n\
             --b\r\nContent-Disposition: form-data; name=\"g\"\r\n\r\n<<y_key>>\r\n--b--\r\n"
        )
    };
    check(MULTIPART, &keys, &body("<<x_key>>", "<<y_key>>"), &body("v\r\n", "w"), "x@body*1 y@body:f*1", 3);
    check(MULTIPART, &keys, &body("<<x_key>>\r\n", "<<y_key>>!"), &body("<<x_key>>\r\n", "<<y_key>>!"), "", 5);
    let bad = self::keys(&[("x", "body", "v\r\n--b--")]);
    let fault = everywhere(MULTIPART, &bad, body("<<x_key>>", "").as_bytes()).fault;
    assert!(matches!(fault, Some(BodyFault::Unwritable(unwritable)) if unwritable.why == UnwritableReason::Boundary));
}

#[test]
fn body_any_is_anywhere_in_the_encoding_of_the_body() {
    let keys = keys(&[("x", "body:any", "v\" &")]);
    for (content_type, body, new) in [
        ("text/plain", "a <<x_key>>, {{x_key}}\0", "a v\" &, v\" &\0"),
        ("text/plain", r"\u003c\u003cx_key>>", r"\u003c\u003cx_key>>"),
        (JSON, r#"{"<<x_key>>":"use \u003c<x_key>>!"}"#, r#"{"v\" &":"use v\" &!"}"#),
        (JSON, r#"{"a":"\\u003c\u003cx_key>>"}"#, r#"{"a":"\\u003c\u003cx_key>>"}"#),
        (FORM, "<<x_key>>=a%3C%3Cx_key%3E%3Eb", "v%22%20%26=av%22%20%26b"),
        (MULTIPART, "<<x_key>>\r\n--b\r\n\r\n <<x_key>>\r\n--b--", "v\" &\r\n--b\r\n\r\n v\" &\r\n--b--"),
    ] {
        let uses = format!("x@body:any*{}", new.matches("v").count());
        let (uses, kept) = if new == body { (String::new(), 0) } else { (uses, 0) };
        check(content_type, &keys, body, new, &uses, kept);
    }
}

#[test]
fn grpc_messages_keep_their_lengths_right() {
    let keys = keys(&[("x", "body:any", "a longer value")]);
    let framed = |m: &[u8]| [&[0u8][..], &(m.len() as u32).to_be_bytes(), m].concat();
    let body = |value: &str| {
        let string = [&[0x0a, value.len() as u8][..], value.as_bytes()].concat();
        [framed(&string), framed(b""), framed(b"\x08\x01"), framed(format!("raw {value}").as_bytes())].concat()
    };
    let told = everywhere("application/grpc", &keys, &body("<<x_key>>"));
    assert_eq!((told.body, told.uses.as_str()), (body("a longer value"), "x@body:any*2"));

    let torn = &body("<<x_key>>")[..30];
    let told = everywhere("application/grpc+proto", &keys, torn);
    assert_eq!(told.fault, None);
    let compressed = [1, 0, 0, 0, 1, 0];
    assert_eq!(everywhere("application/grpc", &keys, &compressed).fault, Some(BodyFault::CompressedMessage));
    let other = self::keys(&[("x", "body", "v")]);
    assert_eq!(everywhere("application/grpc", &other, &compressed).body, compressed);
}

#[test]
fn without_keys_nothing_changes_and_all_are_counted() {
    let body = br#"{"a":"<<x_key>>","b":"text {{y_key}} and ghp_0000000000000000 <<z_key"}"#;
    let told = everywhere(JSON, &[], body);
    assert_eq!((told.body.as_slice(), told.kept), (&body[..], 3));
}

#[test]
fn a_key_is_used_no_more_often_than_allowed() {
    let keys = keys(&[("x", "body", "v")]);
    let body = |n: usize| format!("[{}]", vec!["\"<<x_key>>\""; n].join(","));
    assert_eq!(everywhere(JSON, &keys, body(4).as_bytes()).uses, "x@body*4");
    let fault = BodyFault::TooManyUses { key: "x".parse().unwrap(), max: 4 };
    assert_eq!(everywhere(JSON, &keys, body(5).as_bytes()).fault, Some(fault.clone()));

    let mut rewriter = BodyRewriter::new(vocabulary(), None, keys);
    let mut out = Vec::new();
    assert_eq!(rewriter.push(body(5).into(), &mut out), Err(fault.clone()));
    assert_eq!(rewriter.push(Bytes::from_static(b"]"), &mut out), Err(fault.clone()));
    assert_eq!(rewriter.finish(&mut out), Err(fault));
}

#[test]
fn a_key_without_a_value_matters_where_it_is_asked_for() {
    let keys = keys(&[("x", "body", "")]);
    check(JSON, &keys, r#"{"a":"text <<x_key>>"}"#, r#"{"a":"text <<x_key>>"}"#, "", 1);
    let fault = everywhere(JSON, &keys, br#"{"a":"<<x_key>>"}"#).fault;
    assert_eq!(fault, Some(BodyFault::Unavailable { key: "x".parse().unwrap() }));
}

#[test]
fn a_value_is_never_searched() {
    let keys = keys(&[("x", "body:any", "<<y_key>>"), ("y", "body:any", "no")]);
    check("text/plain", &keys, "<<x_key>>", "<<y_key>>", "x@body:any*1", 0);
    check("text/plain", &keys, "<<<x_key>>>", "<<<y_key>>>", "x@body:any*1", 0);
}

#[test]
fn what_needs_no_change_is_passed_on_as_it_came() {
    for (content_type, text) in
        [(JSON, "{\"a\": 1, \"b\": \"< < <\"} "), (FORM, "a=1&b=%20 "), (MULTIPART, "--b\r\n "), ("x/y", "abc ")]
    {
        let mut rewriter = BodyRewriter::new(
            vocabulary(),
            Some(&HeaderValue::from_static(content_type)),
            keys(&[("x", "body|body:any", "v")]),
        );
        for _ in 0..3 {
            let chunk = Bytes::from(text.repeat(1000));
            let mut out = Vec::new();
            rewriter.push(chunk.clone(), &mut out).unwrap();
            assert_eq!(out.len(), 1);
            assert_eq!((out[0].as_ptr(), out[0].len()), (chunk.as_ptr(), chunk.len()));
        }
    }
}

#[test]
fn no_more_is_held_back_than_could_become_a_placeholder() {
    let endless = [
        "<<".to_string() + &"a".repeat(1 << 16),
        "\\u003c".repeat(1 << 14),
        format!("\"<<x_key>>\"{}", " ".repeat(1 << 16)),
        "[".repeat(1 << 16),
        "\"\u{20ac}".repeat(1 << 14),
        "ghp_0".repeat(1 << 14),
        "\\".repeat(1 << 16),
    ];
    for text in endless {
        let mut rewriter = BodyRewriter::new(vocabulary(), None, keys(&[("x", "body|body:any|body:/a", "v")]));
        let mut out = Vec::new();
        rewriter.push(Bytes::from_static(b"["), &mut out).unwrap();
        for chunk in text.as_bytes().chunks(1000) {
            rewriter.push(Bytes::copy_from_slice(chunk), &mut out).unwrap();
            let held = rewriter.held_len().expect("it has keys");
            assert!(held <= 4200, "{held}");
        }
    }
}
