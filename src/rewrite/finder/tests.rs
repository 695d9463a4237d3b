//! Placeholders in each spelling, and cut at every byte.

use super::*;
use crate::name::KeyName;
use std::ops::Range;

fn vocabulary() -> Vocabulary {
    let own = [("ghp_0000000000000000".to_string(), "gh"), ("/api/00000000000000".to_string(), "slash")];
    Vocabulary::new(true, own.map(|(t, k)| (t, k.parse().unwrap()))).unwrap()
}

fn found(spelling: Spelling, hay: &str) -> Vec<(Range<usize>, String, Option<String>)> {
    let v = vocabulary();
    v.all(spelling, hay.as_bytes()).map(|h| (h.at, h.written, h.key.map(|k| k.to_string()))).collect()
}

fn names(spelling: Spelling, hay: &str) -> String {
    let names = found(spelling, hay).into_iter().map(|(_, _, key)| key.unwrap_or("?".into()));
    names.collect::<Vec<_>>().join(" ")
}

#[test]
fn spellings_are_seen_through() {
    use Spelling::*;
    for (spelling, hay, keys) in [
        (Raw, "<<x_key>>", "x"),
        (Raw, "a <<x_key>> b <<y_key>>c", "x y"),
        (Raw, "<<<x_key>>>", "x"),
        (Raw, "<<x_key>", ""),
        (Raw, "<<x>>", ""),
        (Raw, "< <x_key>>", ""),
        (Raw, "{{x_key}}", "x"),
        (Raw, "{{x_key>>", ""),
        (Raw, "<<x_key_key>>", "?"),
        (Raw, "<<My-Tool_key>>", "?"),
        (Raw, "<<_key>>", "?"),
        (Raw, "ghp_0000000000000000", "gh"),
        (Raw, "ghp_000000000000000", ""),
        (Raw, r"\u003c\u003cx_key\u003e\u003e", ""),
        (Json, r"\u003c\u003cx_key\u003e\u003e", "x"),
        (Json, r"\u003C<x_key\u003E>", "x"),
        (Json, r"<\u003c\u0078_key>>", "x"),
        (Json, r"\\u003c\u003cx_key\u003e\u003e", ""),
        (Json, r"\\\u003c\u003cx_key\u003e\u003e", "x"),
        (Json, r"\u007b\u007bx_key}}", "x"),
        (Json, r"ghp\u005f0000000000000000", "gh"),
        (Json, r"\u0067hp_0000000000000000", "gh"),
        (Json, r"\ghp_0000000000000000", ""),
        (Json, r"\/api\/00000000000000", "slash"),
        (Json, "%3C%3Cx_key%3E%3E", ""),
        (Percent, "%3C%3cx_key%3E>", "x"),
        (Percent, "<%3Cx%5fkey>>", "x"),
        (Percent, "%67hp_0000000000000000", "gh"),
        (Percent, "%253C%253Cx_key%3E%3E", ""),
        (Percent, "%3C%3Cx_key%3E%3", ""),
        (Form, "a=%3C%3Cx_key%3E%3E&b=<<y_key>>", "x y"),
    ] {
        assert_eq!(names(spelling, hay), keys, "{spelling:?} {hay}");
    }
}

#[test]
fn a_hit_spans_its_escapes() {
    let hay = r#""\u003c\u003cx_key\u003e\u003e""#;
    assert_eq!(found(Spelling::Json, hay), [(1..hay.len() - 1, "<<x_key>>".into(), Some("x".into()))]);
}

#[test]
fn names_too_long_for_a_key_are_followed_where_all_is_there() {
    for (length, reach, is_hit) in
        [(64, Reach::Name, true), (65, Reach::Name, false), (65, Reach::Whole, true), (100_000, Reach::Whole, true)]
    {
        let hay = format!("<<{}_key>>", "a".repeat(length));
        let found = vocabulary().at(Spelling::Raw, hay.as_bytes(), 0, reach, true);
        assert_eq!(matches!(found, Recognition::Hit(_)), is_hit, "{length} {reach:?}");
    }
}

#[test]
fn only_what_could_become_a_placeholder_is_held_back() {
    use Spelling::*;
    let long = format!("<<{}", "a".repeat(68));
    for (spelling, hay, held) in [
        (Raw, "abc", ""),
        (Raw, "abc<", "<"),
        (Raw, "abc<<x_ke", "<<x_ke"),
        (Raw, "abc<<x_key>>", ""),
        (Raw, "abc<<x_key>>g", "g"),
        (Raw, "abc<<x y", ""),
        (Raw, long.as_str(), long.as_str()),
        (Raw, &format!("{long}a"), ""),
        (Json, r"abc\", r"\"),
        (Json, r"abc\\", ""),
        (Json, r"abc\u00", r"\u00"),
        (Json, r"abc\u004", r"\u004"),
        (Json, r"abc<\u003c\u00", r"<\u003c\u00"),
        (Json, r"abc\n", ""),
        (Percent, "a%3", "%3"),
        (Percent, "a%3d", ""),
        (Raw, "ghp_000", "ghp_000"),
        (Raw, "ghq_000", ""),
    ] {
        let tail = vocabulary().tail(spelling, hay.as_bytes(), 0, &Lookbehind::default());
        assert_eq!(&hay[tail..], held, "{spelling:?} {hay}");
    }
}

#[test]
fn what_went_by_is_remembered_across_any_cut() {
    let texts = [r#"ab\\\"c\u003c"#, r"\\\\\\\\\\\\\\\", r"x\u005cu003c", r"\\\\\\\u003", "%41%%3C"];
    for text in texts.map(str::as_bytes) {
        for cut in 0..=text.len() {
            let mut behind = Lookbehind::default();
            text[..cut].iter().for_each(|b| behind.pass(std::slice::from_ref(b)));
            let (rest, nothing) = (&text[cut..], Lookbehind::default());
            for at in 0..=rest.len() {
                assert_eq!(behind.escaped(rest, at, 0), nothing.escaped(text, cut + at, 0), "{text:?} {cut} {at}");
                for spelling in [Spelling::Json, Spelling::Percent] {
                    assert_eq!(
                        behind.aligned(spelling, rest, at),
                        nothing.aligned(spelling, text, cut + at),
                        "{text:?} {cut} {at}"
                    );
                }
            }
        }
    }
}

#[test]
fn lookalikes_that_could_mislead_are_refused() {
    let key = |n: &str| n.parse::<KeyName>().unwrap();
    let make = |texts: &[(&str, &str)]| {
        Vocabulary::new(false, texts.iter().map(|(t, k)| (t.to_string(), key(k)))).map(|_| ()).unwrap_err()
    };
    assert!(matches!(make(&[("tool-0000000000", "a")]), LookalikeError::Short(_)));
    assert!(matches!(make(&[(&"0".repeat(513), "a")]), LookalikeError::Long(_)));
    assert!(matches!(make(&[("tool 00000000000000", "a")]), LookalikeError::Character(_, ' ')));
    assert!(matches!(make(&[("tool\"0000000000000", "a")]), LookalikeError::Character(_, '"')));
    let twice = [("tool-00000000000", "a"), ("tool-00000000000", "b")];
    assert!(matches!(make(&twice), LookalikeError::Shared(..)));
}

#[test]
fn the_longer_of_two_lookalikes_wins() {
    let own = [("tool-00000000000", "short"), ("tool-00000000000-live", "long")];
    let v = Vocabulary::new(false, own.map(|(t, k)| (t.to_string(), k.parse().unwrap()))).unwrap();
    let keys = |hay: &str| v.all(Spelling::Raw, hay.as_bytes()).filter_map(|h| h.key).collect::<Vec<_>>();
    assert_eq!(keys("tool-00000000000-live")[0].as_str(), "long");
    assert_eq!(keys("tool-00000000000-liv")[0].as_str(), "short");
    assert_eq!(v.at(Spelling::Raw, b"tool-00000000000-liv", 0, Reach::Name, false), Recognition::Incomplete);
}
