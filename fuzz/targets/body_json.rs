//! JSON against a parser that builds a document: each whole value that is a placeholder is replaced, where it is allowed, and nothing else;
//! and what the parser doesn't take, as a whole, holds none.

#![no_main]

mod rewrite;

use libfuzzer_sys::fuzz_target;
use rewrite::{LOOKALIKE, VALUE, rewrite, rewrite_held};
use serde_json::Value;

fuzz_target!(|input: (bool, Vec<u8>)| {
    let (by_pointer, body) = input;
    if !is_json(&body) {
        for content_type in ["application/json", "application/x-ndjson", "application/octet-stream", "text/plain"] {
            let told = rewrite_held(content_type, &["body", "body:/f"], VALUE, &body);
            assert_eq!((told.body.as_slice(), told.uses, told.fault), (&body[..], 0, None));
        }
        return;
    }
    let Ok(text) = std::str::from_utf8(&body) else { return };
    if !text.trim_start().starts_with(['{', '[', '"']) {
        return;
    }
    let Ok(mut want) = serde_json::from_str::<Value>(text) else { return };
    // A document forgets the first of two values of one name, and the order of names.
    if want.to_string().matches('"').count() != unescaped_quotes(text) {
        return;
    }
    let places: &[&str] = if by_pointer { &["body:/f", "body:/a~1/0/~0", "body:/1"] } else { &["body"] };
    replace(&mut want, "", &|pointer| !by_pointer || places.contains(&format!("body:{pointer}").as_str()));
    let held = rewrite_held("application/json", places, VALUE, &body);
    for told in [rewrite("application/json", places, VALUE, [body.as_slice()]), held] {
        assert_eq!(told.fault, None);
        assert_eq!(serde_json::from_slice::<Value>(&told.body).expect("still JSON"), want);
    }
});

/// Whether it is JSON texts one after the other, or what the parser refuses by limits of its own.
fn is_json(body: &[u8]) -> bool {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    let texts = serde_json::Deserializer::from_slice(body).into_iter::<Value>().collect::<Result<Vec<_>, _>>();
    let limits = ["number out of range", "recursion limit"];
    match texts {
        Ok(texts) => !texts.is_empty(),
        Err(e) => limits.iter().any(|limit| e.to_string().contains(limit)),
    }
}

/// The quotes that a document writes as well: those around strings, and those escaped as `\"` or in hex.
fn unescaped_quotes(text: &str) -> usize {
    text.matches('"').count() + text.matches("\\u0022").count()
}

fn replace(value: &mut Value, pointer: &str, allowed: &impl Fn(&str) -> bool) {
    match value {
        Value::String(text) if is_placeholder(text) && allowed(pointer) => *text = VALUE.to_string(),
        Value::Array(all) => {
            all.iter_mut().enumerate().for_each(|(i, v)| replace(v, &format!("{pointer}/{i}"), allowed));
        }
        Value::Object(all) => {
            for (name, v) in all.iter_mut() {
                replace(v, &format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")), allowed);
            }
        }
        _ => {}
    }
}

fn is_placeholder(text: &str) -> bool {
    text == "<<x_key>>" || text == "{{x_key}}" || text == "<<gh_key>>" || text == "{{gh_key}}" || text == LOOKALIKE
}
