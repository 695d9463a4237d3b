//! Keys in answers: found in each form, hidden in each kind of body, and never by less than a whole one.

mod properties;

use super::strength::Strength;
use super::*;
use crate::memory::Plaintext;
use crate::name::KeyName;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bytes::Bytes;
use std::sync::Arc;

const KEY: &str = "sk-ant-api03-q8Zt2LwXv7RkYb5NcM1dJhGfPs9UaEi3oTzQxWnBrVyKlC4mD6";
const HEX: &str = "9f86d081884c7d659a2feaa0c55ad015";
const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N-XgL0n3I9PlFUP0THsR8U";
const ODD: &str = r#"p@ss/w+rd="x7"\&<Kq9z> %41'~7vT2"#;
const BACKSLASHES: &str = r#"\\K9"\%w<<%\ <Zq7Rk2WnX5tB"#;

fn scrub_key(name: &str, value: &[u8], secret_from: usize) -> ScrubKey {
    let (key, value) = (name.parse::<KeyName>().unwrap(), Arc::new(Plaintext::new(value.to_vec())));
    ScrubKey { placeholder: key.placeholder(), key, secret_from, value, even_if_guessable: false }
}

fn scrubber(value: &[u8], secret_from: usize) -> Scrubber {
    Scrubber::new(vec![scrub_key("x", value, secret_from)])
}

/// What each of these pieces, then the rest, then the end lets pass.
fn reads(scrubber: &Scrubber, mask: Mask, text: &[u8], pieces: &[usize]) -> Vec<Vec<u8>> {
    let mut body = scrubber.body(mask);
    let mut rest = Bytes::copy_from_slice(text);
    let mut reads = Vec::new();
    for &piece in pieces {
        let chunk = rest.split_to(piece.min(rest.len()));
        reads.push(body.push(chunk).to_vec());
    }
    reads.push(body.push(rest).to_vec());
    reads.push(body.finish().to_vec());
    reads
}

fn push(scrubber: &Scrubber, mask: Mask, text: &[u8], pieces: &[usize]) -> Vec<u8> {
    reads(scrubber, mask, text, pieces).concat()
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn percent(value: &[u8], stays: impl Fn(u8) -> bool, upper: bool) -> Vec<u8> {
    let one = |&b: &u8| match b {
        b if stays(b) => vec![b],
        b if upper => format!("%{b:02X}").into_bytes(),
        b => format!("%{b:02x}").into_bytes(),
    };
    value.iter().flat_map(one).collect()
}

/// A space as forms have it.
fn plus(text: Vec<u8>) -> Vec<u8> {
    text.into_iter().map(|b| if b == b' ' { b'+' } else { b }).collect()
}

fn hex(value: &[u8]) -> String {
    value.iter().map(|b| format!("{b:02x}")).collect()
}

fn json_with(value: &[u8], escape: impl Fn(u8) -> Option<String>) -> Vec<u8> {
    let text = serde_json::to_string(std::str::from_utf8(value).unwrap()).unwrap();
    let inner = &text.as_bytes()[1..text.len() - 1];
    inner.iter().flat_map(|&b| escape(b).map_or(vec![b], String::into_bytes)).collect()
}

/// Each form as the serializers in use write it; of base64 what holds bits of the key, behind 0 to 2 bytes.
fn written(value: &[u8]) -> Vec<(String, Vec<u8>)> {
    let unicode = |set: &'static [u8], upper: bool| {
        move |b: u8| {
            let hex = if upper { format!("\\u{b:04X}") } else { format!("\\u{b:04x}") };
            set.contains(&b).then_some(hex)
        }
    };
    let unreserved = |b: u8| b.is_ascii_alphanumeric();
    let json = json_with(value, |_| None);
    let mut forms: Vec<(String, Vec<u8>)> = [
        ("raw", value.to_vec()),
        ("json", json.clone()),
        ("json in json", json_with(&json, |_| None)),
        ("json of php", json_with(value, |b| (b == b'/').then(|| "\\/".into()))),
        ("json of go", json_with(value, unicode(b"<>&", false))),
        ("json of gson", json_with(value, unicode(b"<>&='", false))),
        ("json of .net", json_with(value, unicode(b"<>&+'`", true))),
        ("encodeURIComponent", percent(value, |b| unreserved(b) || b"-_.!~*'()".contains(&b), true)),
        ("quote", percent(value, |b| unreserved(b) || b"-_.~/".contains(&b), true)),
        ("urlencode of java", percent(value, |b| unreserved(b) || b"-_.*".contains(&b), false)),
        ("quote_plus", plus(percent(value, |b| unreserved(b) || b"-_.~ ".contains(&b), true))),
        ("a form's, by hand", plus(value.to_vec())),
        ("hex", hex(value).into_bytes()),
        ("HEX", hex(value).to_uppercase().into_bytes()),
    ]
    .map(|(name, form)| (name.to_owned(), form))
    .into();
    for lead in 0..3 {
        let padded: Vec<u8> = [&[0; 2][..lead], value, b"zz"].concat();
        let own = lead * 8 / 6..((lead + value.len()) * 8).div_ceil(6);
        for (name, text) in [("base64", STANDARD.encode(&padded)), ("base64url", URL_SAFE.encode(&padded))] {
            forms.push((format!("{name} at {lead}"), text.as_bytes()[own.clone()].to_vec()));
        }
    }
    forms
}

/// Spells each character in one of the ways that may be mixed.
fn spelled(value: &[u8], ways: &[u8]) -> Vec<u8> {
    let ways = ways.iter().cycle();
    let one = |(&b, way): (&u8, &u8)| match way % 8 {
        _ if !b.is_ascii() => vec![b],
        0 => format!("%{b:02x}").into_bytes(),
        1 => format!("%25{b:02X}").into_bytes(),
        2 => format!("\\u{b:04x}").into_bytes(),
        3 => format!("\\\\u{b:04X}").into_bytes(),
        4 => format!("\\\\\\u{b:04x}").into_bytes(),
        _ => vec![b],
    };
    value.iter().zip(ways).flat_map(one).collect()
}

#[test]
fn a_whole_key_becomes_its_placeholder_in_every_form() {
    for (value, secret_from) in
        [(KEY, 7), (KEY, 0), (HEX, 0), (ODD, 0), ("sk-a+b/c7Qx=d9+e/f=gZ+h/i2K==", 3), (BACKSLASHES, 0)]
    {
        let scrubber = scrubber(value.as_bytes(), secret_from);
        // where nearly all is signs, escapes that are mixed are not told apart
        let mixed = |name: &str| value == BACKSLASHES && ["json of go", "json of gson", "json of .net"].contains(&name);
        for (name, form) in written(value.as_bytes()).into_iter().filter(|(name, _)| !mixed(name)) {
            let text = [b"{\"a\":\"", &form[..], b"\"}"].concat();
            let want = b"{\"a\":\"<<x_key>>\"}";
            let got = push(&scrubber, Mask::Placeholder, &text, &[]);
            assert_eq!(shown(&got), shown(want), "{name} of {value}");
            assert_eq!(scrubber.header(&text).as_deref(), Some(&want[..]), "{name} of {value}");
            let masked = push(&scrubber, Mask::SameLength, &text, &[]);
            assert_eq!(masked.len(), text.len(), "{name}");
            assert!(masked.starts_with(b"{\"a\":\"<<x_key>>*") && masked.ends_with(b"*\"}"), "{name} of {value}");
        }
    }
}

#[test]
fn escapes_of_letters_are_seen_through() {
    for (value, secret_from) in [(KEY, 7), (HEX, 0)] {
        let scrubber = scrubber(value.as_bytes(), secret_from);
        for ways in [&[0u8][..], &[1], &[2], &[3], &[4], &[0, 2], &[5, 5, 5, 0], &[5, 5, 5, 5, 5, 5, 5, 5, 5, 3]] {
            for form in [value.to_owned(), hex(value.as_bytes()), STANDARD.encode(value)] {
                let text = [b"x ", &spelled(form.as_bytes(), ways)[..], b" y"].concat();
                let got = push(&scrubber, Mask::Placeholder, &text, &[]);
                // padding is none of the key's
                let got = shown(&got).to_lowercase().replace("%253d", "").replace("%3d", "");
                let got = got.replace("\\", "").replace("u003d", "").replace('=', "");
                assert_eq!(got.split(' ').nth(1), Some("<<x_key>>"), "{ways:?} of {form}: {got}");
            }
        }
    }
}

#[test]
fn what_stands_before_a_key_does_not_hide_it() {
    for value in ["61abcdEf9Zq8Wv7Rk5Yt3Nm2Lp", "u0061Kq9Zw8Xv7Rt6Yn5Bm4Lc3Df2", "nQ9Zw8Xv7Rt6Yn5Bm4Lc3Df2"] {
        let scrubber = scrubber(value.as_bytes(), 0);
        for before in ["%", "%25", "\\", "\\\\", "\\u", "\\u00", "%2", "%4"] {
            for form in [value.as_bytes().to_vec(), spelled(value.as_bytes(), &[5, 5, 5, 5, 5, 5, 5, 0])] {
                let text = [b"a ", before.as_bytes(), &form, b" b"].concat();
                let got = push(&scrubber, Mask::Placeholder, &text, &[]);
                let want = format!("a {before}<<x_key>> b");
                // a sign that can be part of the first character's spelling is covered with it
                assert!(shown(&got).ends_with("<<x_key>> b") && want.len() >= got.len(), "{want}: {}", shown(&got));
            }
        }
    }
}

#[test]
fn folded_base64_and_hex_are_seen_through() {
    let scrubber = scrubber(KEY.as_bytes(), 7);
    for lead in 0..80 {
        let data = [&vec![b'.'; lead][..], KEY.as_bytes(), &[b'.'; 60]].concat();
        for (name, coded) in [("base64", STANDARD.encode(&data)), ("hex", hex(&data))] {
            for (columns, end) in [(64, "\n"), (76, "\r\n"), (64, "\\n"), (76, "\\r\\n"), (60, "%0A"), (40, "\\\\n")] {
                let lines: Vec<&str> =
                    coded.as_bytes().chunks(columns).map(|l| std::str::from_utf8(l).unwrap()).collect();
                let text = lines.join(end);
                for pieces in [vec![], vec![7; text.len() / 7]] {
                    let got = shown(&push(&scrubber, Mask::Placeholder, text.as_bytes(), &pieces));
                    assert!(got.contains("<<x_key>>"), "{name} of {columns} columns behind {lead}: {got}");
                }
            }
        }
    }
}

#[test]
fn a_key_that_is_cut_is_hidden_all_the_same() {
    for (value, secret_from) in [(KEY, 7), (KEY, 0), (HEX, 0), (ODD, 0)] {
        let scrubber = scrubber(value.as_bytes(), secret_from);
        for (name, form) in written(value.as_bytes()) {
            let text = [b"say \"", &form[..], b"\" and go on"].concat();
            for mask in [Mask::Placeholder, Mask::SameLength] {
                let whole = push(&scrubber, mask, &text, &[]);
                for cut in 0..text.len() {
                    let got = push(&scrubber, mask, &text, &[cut]);
                    match secret_from {
                        0 => assert_eq!(shown(&got), shown(&whole), "{name} of {value} cut at {cut}"),
                        // of the well-known beginning a part may have passed
                        _ => {
                            assert!(got.ends_with(b"\" and go on") && shown(&got).contains("<<x_k"), "{name} at {cut}")
                        }
                    }
                }
                let got = push(&scrubber, mask, &text, &vec![1; text.len()]);
                assert!(shown(&got).contains("<<x_k"), "{name} of {value} byte by byte: {}", shown(&got));
            }
        }
    }
}

#[test]
fn less_than_a_whole_key_is_no_key() {
    let scrubber = scrubber(KEY.as_bytes(), 7);
    for text in [&KEY[..KEY.len() - 1], &KEY[7..], "sk-ant-", &KEY[1..], &KEY.to_uppercase()] {
        let text = format!("a {text} b");
        assert_eq!(shown(&push(&scrubber, Mask::Placeholder, text.as_bytes(), &[])), text);
        assert_eq!(scrubber.header(text.as_bytes()), None);
    }
}

#[test]
fn every_occurrence_is_covered_and_counted_where_keys_overlap() {
    let [one, two] = ["q8Zt2LwXv7RkYb5NcM1dJh", "Yb5NcM1dJhGfPs9UaEi3oTz"];
    let keys = [("a", one), ("b", two), ("c", "q8Zt2LwXv7RkYb5NcM1dJhZZZZ")];
    let scrubber = Scrubber::new(keys.map(|(name, value)| scrub_key(name, value.as_bytes(), 0)).into());
    let mut body = scrubber.body(Mask::Placeholder);
    for (text, want) in [
        (format!("{one}."), "<<a_key>>."),
        (format!("{one}{one}."), "<<a_key>><<a_key>>."),
        (format!("{one}ZZZZ."), "<<c_key>>."),
        (format!("{one}{}.", &two[10..]), "<<a_key>>."),
        (format!("{two}{one}."), "<<b_key>><<a_key>>."),
    ] {
        let got = [body.push(Bytes::from(text.clone())), body.finish()].concat();
        assert_eq!(shown(&got), want, "{text}");
    }
    assert_eq!(body.hits(), 7);
    let hits: Vec<(String, u64)> = scrubber.hits().all().into_iter().map(|(k, n)| (k.as_str().to_owned(), n)).collect();
    assert_eq!(hits, [("a".into(), 5), ("c".into(), 1), ("b".into(), 1)]);
}

#[test]
fn a_key_that_goes_on_as_itself_is_masked_as_far_as_it_goes_in_whatever_pieces() {
    let value = "q8Zt2LwXv7Rq8Zt2LwXv7R";
    let scrubber = scrubber(value.as_bytes(), 0);
    let text = format!("a {} b", "q8Zt2LwXv7R".repeat(9));
    for piece in 1..40 {
        let got = push(&scrubber, Mask::Placeholder, text.as_bytes(), &vec![piece; 200]);
        assert_eq!(shown(&got), "a <<x_key>> b", "pieces of {piece}");
    }
}

#[test]
fn guessable_keys_are_hidden_only_where_that_is_asked_for() {
    for (value, hidden) in [("hunter2", "hunter2"), ("correct-horse-battery-staple", "correct-horse-battery-staple")] {
        let text = format!("it was {hidden}, and {}", STANDARD.encode(hidden));
        assert_eq!(scrubber(value.as_bytes(), 0).header(text.as_bytes()), None);
        assert_eq!(shown(&push(&scrubber(value.as_bytes(), 0), Mask::Placeholder, text.as_bytes(), &[])), text);
        let asked = Scrubber::new(vec![ScrubKey { even_if_guessable: true, ..scrub_key("x", value.as_bytes(), 0) }]);
        let got = shown(&push(&asked, Mask::Placeholder, text.as_bytes(), &[9]));
        assert!(got.starts_with("it was <<x_key>>, and <<x_key>>"), "{got}");
        assert_eq!(asked.header(b"hunter"), None);
    }
    // what is unknown of it is spread over all of it
    let thin = b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x94+\0\0\0d\0\xfe\xff\xff\xff";
    let asked = Scrubber::new(vec![ScrubKey { even_if_guessable: true, ..scrub_key("x", thin, 0) }]);
    assert_eq!(asked.header(&[b"a", &thin[..], b"b"].concat()).as_deref(), Some(&b"a<<x_key>>b"[..]));
    for value in ["abc", ""] {
        let asked = Scrubber::new(vec![ScrubKey { even_if_guessable: true, ..scrub_key("x", value.as_bytes(), 0) }]);
        assert_eq!(asked.header(b"abc"), None);
    }
}

#[test]
fn cut_quotes_are_covered_in_errors_alone() {
    let scrubber = scrubber(KEY.as_bytes(), 7);
    let errors = scrubber.of_error(true);
    for (text, want) in [
        ("wrong key: sk-ant-abcdefgh…", "wrong key: <<x_key>>…"),
        ("wrong key: sk-ant-abcdefg…", "wrong key: sk-ant-abcdefg…"),
        ("wrong key: sk-ant-ab****cdefghij", "wrong key: sk-ant-ab****cdefghij"),
        (&format!("wrong key: {}", &KEY[..40]), "wrong key: <<x_key>>"),
        (&format!("wrong key: {KEY}{KEY}{KEY}!"), "wrong key: <<x_key>>!"),
    ] {
        let piece = |len: usize| shown(&push(&errors, Mask::Placeholder, text.as_bytes(), &vec![len; 300]));
        assert_eq!(piece(1000), want);
        assert_eq!(shown(&errors.header(text.as_bytes()).unwrap_or(text.into())), want);
        for len in [9, 20, 33] {
            assert_eq!(piece(len).replace("sk-", ""), want.replace("sk-", ""), "{text} in pieces of {len}");
        }
    }
    let text = "wrong key: sk-ant-abcdefghijkl";
    assert_eq!(shown(&push(&scrubber, Mask::Placeholder, text.as_bytes(), &[])), text);
    assert_eq!(
        errors.hits().all(),
        [(scrub_key("x", b"", 0).key, 1 + 3 + 1)],
        "quotes are no hits, the whole keys are"
    );
}

#[test]
fn what_waits_is_bounded_by_the_shape() {
    let cases = [
        (KEY, 7, "a text that ends in sk-ant-", 7),
        (KEY, 7, "a text that ends in sk-ant", 0),
        (KEY, 7, "a text that ends in sk-ant-qwerty", 13),
        (KEY, 7, "a text that ends in words", 0),
        (KEY, 7, "data: {\"text\":\"sk-ant-qwerty\"}\n\n", 0),
        (HEX, 0, "a text that ends in words", 5),
        (HEX, 0, "a text that ends in a word, \"cafe\"", 0),
        (HEX, 0, "an escape that breaks off \\u00", 4),
        // longer than any key of the kind
        (KEY, 7, &format!("sk-ant-{}", "q".repeat(70)), 0),
        // the first letter of a beginning read as part of an escape
        (JWT, 3, "a %2eyJ%68bGc", 9),
        (JWT, 3, "a %2eyJ%68bGc d", 0),
    ];
    for (value, secret_from, text, held) in cases {
        let mut body = scrubber(value.as_bytes(), secret_from).body(Mask::Placeholder);
        let passed = body.push(Bytes::copy_from_slice(text.as_bytes()));
        assert_eq!(shown(&passed), text[..text.len() - held], "{value}");
        assert_eq!(shown(&body.finish()), text[text.len() - held..]);
    }
    let mut body = scrubber(HEX.as_bytes(), 0).body(Mask::Placeholder);
    let passed = body.push(Bytes::from("a".repeat(1000)));
    assert_eq!(1000 - passed.len(), 2 * HEX.len() - 1, "the form in hex is the longest");
}

#[test]
fn names_of_headers_are_looked_at_in_lower_case() {
    let scrubber = scrubber(KEY.as_bytes(), 7);
    assert!(scrubber.is_in_name(&format!("x-{}", KEY.to_lowercase())));
    assert!(scrubber.is_in_name(&hex(KEY.as_bytes())));
    assert!(scrubber.is_in_name(&STANDARD.encode(KEY)));
    assert!(!scrubber.is_in_name("x-request-id"));
    assert!(!scrubber.is_in_name(&KEY[..KEY.len() - 1]));
    assert_eq!(scrubber.hits().all()[0].1, 3);
}

#[test]
fn messages_are_scrubbed_one_by_one() {
    let message = |text: &str| [&[0][..], &(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
    let scrubber = scrubber(KEY.as_bytes(), 0);
    let (half, rest) = KEY.split_at(30);
    let text = [message(KEY), message(""), message(half), message(rest), message(&format!("a{KEY}b"))].concat();
    for piece in [1, 3, 7, 64, 1000] {
        let (mut messages, mut out) = (MessageScrub::new(&scrubber), Vec::new());
        for chunk in text.chunks(piece) {
            messages.push(Bytes::copy_from_slice(chunk), &mut out).unwrap();
        }
        out.extend_from_slice(&messages.finish());
        let mask = format!("<<x_key>>{}", "*".repeat(KEY.len() - 9));
        let want = [message(&mask), message(""), message(half), message(rest), message(&format!("a{mask}b"))].concat();
        assert_eq!(shown(&out), shown(&want), "pieces of {piece}");
    }
    let mut messages = MessageScrub::new(&scrubber);
    assert_eq!(messages.push(Bytes::from_static(&[1]), &mut Vec::new()), Err(CompressedMessage));
}

#[test]
fn other_keys_are_hidden_from_the_moment_they_are_there() {
    let [old, new] = ["q8Zt2LwXv7RkYb5NcM1dJh", "GfPs9UaEi3oTzQxWnBrVyK"];
    let before = scrubber(old.as_bytes(), 0);
    let mut body = before.body(Mask::Placeholder);
    let mut out = body.push(Bytes::from(format!("{old} {new} {}", &new[..10]))).to_vec();
    let patterns = ScrubPatterns::new(vec![scrub_key("x", new.as_bytes(), 0), scrub_key("x", old.as_bytes(), 0)]);
    body.renew(Scrubber::with(Arc::new(patterns), before.hits().clone()));
    out.extend_from_slice(&body.push(Bytes::from(format!("{} {old} {new}", &new[10..]))));
    out.extend_from_slice(&body.finish());
    assert_eq!(shown(&out), format!("<<x_key>> {new} <<x_key>> <<x_key>> <<x_key>>"));
    assert_eq!(before.hits().all()[0].1, 4);
}

#[test]
fn other_keys_are_hidden_in_the_messages_to_come() {
    let [old, new] = ["q8Zt2LwXv7RkYb5NcM1dJh", "GfPs9UaEi3oTzQxWnBrVyK"];
    let message = |text: &str| [&[0][..], &(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
    let (mut messages, mut out) = (MessageScrub::new(&scrubber(old.as_bytes(), 0)), Vec::new());
    messages.push(message(new).into(), &mut out).unwrap();
    messages.renew(scrubber(new.as_bytes(), 0));
    messages.push(message(new).into(), &mut out).unwrap();
    let masked = format!("<<x_key>>{}", "*".repeat(new.len() - 9));
    assert_eq!(shown(&out), shown(&[message(new), message(&masked)].concat()));
    assert_eq!(messages.hits(), 1);
}

#[test]
fn a_text_keeps_its_length_where_it_has_to() {
    let scrubber = scrubber(KEY.as_bytes(), 7);
    assert!(scrubber.hits().is_empty());
    assert_eq!(scrubber.same_length(b"nothing"), None);
    let masked = scrubber.same_length(format!("a {KEY} b").as_bytes()).unwrap();
    assert_eq!(shown(&masked), format!("a <<x_key>>{} b", "*".repeat(KEY.len() - 9)));
    assert!(!scrubber.hits().is_empty());
}

#[test]
fn the_weakest_key_is_the_one_with_the_fewest_unknown_bits() {
    let bits = |value: &str| Strength::of(value.as_bytes(), 0).total();
    let keys = [("a", KEY), ("b", HEX), ("c", "hunter2")].map(|(name, value)| scrub_key(name, value.as_bytes(), 0));
    assert_eq!(Scrubber::new(keys.into()).weakest(), Some(bits("hunter2")));
    assert_eq!(Scrubber::new(Vec::new()).weakest(), None);
}

#[test]
fn clean_pieces_pass_as_they_are() {
    let mut body = scrubber(KEY.as_bytes(), 7).body(Mask::Placeholder);
    for len in [20, 40, 1000, 100_000] {
        let piece = Bytes::from(b"{\"role\":\"assistant\"}".iter().copied().cycle().take(len).collect::<Vec<_>>());
        let address = piece.as_ptr();
        assert_eq!(body.push(piece).as_ptr(), address);
    }
    assert_eq!((body.hits(), body.has_changed()), (0, false));
    body.push(Bytes::from(format!("{KEY} ")));
    assert_eq!((body.hits(), body.has_changed()), (1, true));
}

#[test]
fn nothing_of_a_key_is_shown_by_debug() {
    let scrubber = scrubber(KEY.as_bytes(), 7);
    let mut body = scrubber.body(Mask::Placeholder);
    body.push(Bytes::from_static(KEY.as_bytes()));
    body.finish();
    assert_eq!(format!("{scrubber:?} {body:?}"), r#"["x"] BodyScrub { keys: ["x"], hits: 1, .. }"#);
}
