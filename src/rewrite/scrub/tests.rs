use super::*;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bytes::Bytes;
use proptest::prelude::*;

const KEY: &str = "sk-ant-api03-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789_-abcdefgh";
const ODD: &str = r#"p@ss/w+rd="x"\&<secret> %41'~7"#;

fn scrub_key(name: &str, value: &[u8], secret_from: usize) -> ScrubKey {
    let key: KeyName = name.parse().unwrap();
    ScrubKey { placeholder: key.placeholder(), key, secret_from, value: Arc::new(Opened::new(value.to_vec())) }
}

fn scrubber(value: &[u8], secret_from: usize) -> Arc<Scrubber> {
    Arc::new(Scrubber::new(vec![scrub_key("x", value, secret_from)]))
}

/// What comes out when a text comes in pieces of these lengths, and then the rest.
fn push(scrubber: &Arc<Scrubber>, mask: Mask, text: &[u8], pieces: &[usize]) -> Vec<u8> {
    let mut body = scrubber.body(mask);
    let mut rest = Bytes::copy_from_slice(text);
    let mut out = Vec::new();
    for &piece in pieces {
        let chunk = rest.split_to(piece.min(rest.len()));
        out.extend_from_slice(&body.push(chunk));
    }
    out.extend_from_slice(&body.push(rest));
    out
}

fn percent(value: &[u8], stays: &[u8], upper: bool) -> Vec<u8> {
    let one = |&b: &u8| match b {
        b if b.is_ascii_alphanumeric() || stays.contains(&b) => vec![b],
        b if upper => format!("%{b:02X}").into_bytes(),
        b => format!("%{b:02x}").into_bytes(),
    };
    value.iter().flat_map(one).collect()
}

fn hex(value: &[u8]) -> String {
    value.iter().map(|b| format!("{b:02x}")).collect()
}

fn json_with(value: &[u8], escape: impl Fn(u8) -> Option<String>) -> Vec<u8> {
    let text = serde_json::to_string(std::str::from_utf8(value).unwrap()).unwrap();
    let inner = &text.as_bytes()[1..text.len() - 1];
    inner.iter().flat_map(|&b| escape(b).map_or(vec![b], String::into_bytes)).collect()
}

/// Each form as the serializers in use write it; of base64 what lies wholly in the value, behind 0 to 2 bytes.
fn written(value: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let unicode = |set: &'static [u8], upper: bool| {
        move |b: u8| {
            let hex = if upper { format!("\\u{b:04X}") } else { format!("\\u{b:04x}") };
            set.contains(&b).then_some(hex)
        }
    };
    let json = json_with(value, |_| None);
    let mut forms = vec![
        ("raw", value.to_vec()),
        ("json", json.clone()),
        ("json in json", json_with(&json, |_| None)),
        ("json of php", json_with(value, |b| (b == b'/').then(|| "\\/".into()))),
        ("json of go", json_with(value, unicode(b"<>&", false))),
        ("json of gson", json_with(value, unicode(b"<>&='", false))),
        ("json of .net", json_with(value, unicode(b"<>&+'`", true))),
        ("encodeURIComponent", percent(value, b"-_.!~*'()", true)),
        ("quote", percent(value, b"-_.~/", true)),
        ("urlencode of java", percent(value, b"-_.*", false)),
        ("hex", hex(value).into_bytes()),
        ("HEX", hex(value).to_uppercase().into_bytes()),
    ];
    for (name, lead) in [("base64 at 0", 0), ("base64 at 1", 1), ("base64 at 2", 2)] {
        let padded: Vec<u8> = [&[0; 2][..lead], value].concat();
        let whole = (lead * 8usize).div_ceil(6)..padded.len() * 8 / 6;
        forms.push((name, STANDARD.encode(&padded).into_bytes()[whole.clone()].to_vec()));
        forms.push((name, URL_SAFE.encode(&padded).into_bytes()[whole].to_vec()));
    }
    forms
}

/// Pieces that no output may hold: each form of each 12 consecutive bytes of the secret.
fn forbidden(secret: &[u8]) -> Vec<Vec<u8>> {
    secret.windows(CERTAIN).flat_map(|w| written(w).into_iter().map(|(_, form)| form)).collect()
}

fn holds(text: &[u8], piece: &[u8]) -> bool {
    memchr::memmem::find(text, piece).is_some()
}

#[test]
fn a_whole_key_becomes_its_placeholder_in_every_form() {
    for (value, secret_from) in [(KEY, 7), (KEY, 0), (ODD, 0), ("sk-a+b/c=d+e/f=g+h/i==", 3), (r#"\\\\"\%<<%\ <"#, 0)] {
        let scrubber = scrubber(value.as_bytes(), secret_from);
        for (name, form) in written(value.as_bytes()) {
            let text = [b"{\"a\":\"", &form[..], b"\"}"].concat();
            let want = b"{\"a\":\"<<x_key>>\"}";
            assert_eq!(push(&scrubber, Mask::Placeholder, &text, &[]), want, "{name} of {value}");
            assert_eq!(scrubber.header(&text).as_deref(), Some(&want[..]), "{name} of {value}");
            let masked = push(&scrubber, Mask::SameLength, &text, &[]);
            assert_eq!(masked.len(), text.len(), "{name}");
            assert!(masked.starts_with(b"{\"a\":\"<<x_key>>**") && masked.ends_with(b"**\"}"), "{name} of {value}");
        }
    }
}

#[test]
fn what_has_passed_stays_and_what_follows_twelve_bytes_is_masked() {
    let scrubber = scrubber(KEY.as_bytes(), 7);
    let text = format!("a {KEY} b");
    for (pieces, want) in [
        (vec![2], "a <<x_key>> b".to_owned()),
        (vec![8], "a sk-ant<<x_key>> b".into()),
        (vec![2 + 7 + 11], "a sk-ant-api03-AbCdE<<x_key>> b".into()),
        (vec![2 + 7 + 12], "a <<x_key>> b".into()),
        (vec![1; 70], "a sk-ant-api03-AbCdE<<x_key>> b".into()),
        (vec![8, 12], "a sk-ant-api03-AbCdE<<x_key>> b".into()),
        (vec![KEY.len() + 2], "a <<x_key>> b".into()),
    ] {
        assert_eq!(push(&scrubber, Mask::Placeholder, text.as_bytes(), &pieces), want.as_bytes(), "{pieces:?}");
    }
}

#[test]
fn a_piece_of_a_key_is_masked_as_far_as_it_goes() {
    let scrubber = scrubber(KEY.as_bytes(), 7);
    for (text, want) in [
        ("sk-ant-api03-AbCdE!", "sk-ant-api03-AbCdE!"),
        ("sk-ant-api03-AbCdEf!", "<<x_key>>!"),
        ("sk-ant-api03-AbCdE\nfGhIjKlMnOpQr\n", "sk-ant-api03-AbCdE\n<<x_key>>\n"),
        ("…cdefgh 0123456789_-ab", "…cdefgh <<x_key>>"),
        ("sk-ant-", "sk-ant-"),
    ] {
        assert_eq!(push(&scrubber, Mask::Placeholder, text.as_bytes(), &[]), want.as_bytes());
    }
}

#[test]
fn one_mask_for_each_key_and_each_time() {
    let keys = [("a", "AAAABBBBCCCCDDDDEEEE"), ("b", "DDDDEEEEFFFFGGGG"), ("c", "AAAABBBBCCCCDDDDEEEEzzzz")];
    let keys = keys.map(|(name, value)| scrub_key(name, value.as_bytes(), 0));
    let scrubber = Arc::new(Scrubber::new(keys.into()));
    let mut body = scrubber.body(Mask::Placeholder);
    for (text, want) in [
        ("AAAABBBBCCCCDDDDEEEE", "<<a_key>>"),
        ("AAAABBBBCCCCDDDDEEEEAAAABBBBCCCCDDDDEEEE", "<<a_key>><<a_key>>"),
        (" AAAABBBBCCCCDDDDEEEEzzzz", " <<c_key>>"),
        (" AAAABBBBCCCCDDDDEEEEFFFFGGGG.", " <<a_key>>."),
        (" DDDDEEEEFFFFGGGGAAAABBBBCCCCDDDDEEEE", " <<b_key>><<a_key>>"),
    ] {
        let got = body.push(Bytes::copy_from_slice(text.as_bytes()));
        assert_eq!(got, want.as_bytes(), "{text}");
    }
    assert_eq!(body.hits(), 7);
    let hits: Vec<_> = scrubber.hits().map(|(k, n)| (k.as_str(), n)).collect();
    assert_eq!(hits, [("a", 5), ("b", 1), ("c", 1)]);
}

#[test]
fn short_keys_are_hidden_in_headers_alone() {
    let scrubber = scrubber(b"hunter2", 0);
    assert!(Scrubber::too_short(&scrub_key("x", b"hunter2", 0)));
    assert!(Scrubber::too_short(&scrub_key("x", b"sk-ant-hunter2hunt", 7)));
    assert!(!Scrubber::too_short(&scrub_key("x", b"sk-ant-hunter2hunte", 7)));
    let basic = STANDARD.encode("user:hunter2");
    for (value, want) in [
        ("hunter2", Some("<<x_key>>")),
        ("it was hunter2, and hunter2", Some("it was <<x_key>>, and <<x_key>>")),
        ("hunter", None),
        (&hex(b"hunter2"), Some("<<x_key>>")),
        (&format!("Basic {basic}"), Some("Basic dXNlcjp<<x_key>>")),
    ] {
        assert_eq!(scrubber.header(value.as_bytes()).as_deref(), want.map(str::as_bytes), "{value}");
    }
    assert_eq!(push(&scrubber, Mask::Placeholder, b"hunter2", &[]), b"hunter2");
    assert_eq!(super::tests::scrubber(b"abc", 0).header(b"abc"), None);
    assert_eq!(super::tests::scrubber(b"", 0).header(b""), None);
}

#[test]
fn clean_chunks_pass_as_they_are() {
    let mut body = scrubber(KEY.as_bytes(), 7).body(Mask::Placeholder);
    for len in [1, 3, 4, 11, 35, 36, 37, 1000, 100_000] {
        let chunk = Bytes::from(b"{\"role\":\"assistant\"}".iter().copied().cycle().take(len).collect::<Vec<_>>());
        let address = chunk.as_ptr();
        assert_eq!(body.push(chunk).as_ptr(), address);
    }
    assert_eq!(body.hits(), 0);
}

#[test]
fn nothing_of_a_key_is_shown_by_debug() {
    let scrubber = scrubber(KEY.as_bytes(), 7);
    let mut body = scrubber.body(Mask::Placeholder);
    body.push(Bytes::from_static(&KEY.as_bytes()[..20]));
    assert_eq!(format!("{scrubber:?} {body:?}"), r#"["x"] BodyScrub { keys: ["x"], hits: 1, .. }"#);
}

/// The rule as the head of this file states it, for the bytes themselves: which bytes lie under a mask.
fn model(key: &[u8], secret_from: usize, text: &[u8], pieces: &[usize]) -> Vec<bool> {
    let mut masked = vec![false; text.len()];
    let mut start = 0;
    for &piece in pieces.iter().chain([&text.len()]) {
        let end = (start + piece).min(text.len());
        for shift in 0..key.len() + end {
            // text[i] stands against key[i + key.len() - shift], as far as both go.
            let against = |i: usize| (i + key.len()).checked_sub(shift).and_then(|k| key.get(k));
            let mut i = 0;
            while i < end {
                let len = (i..end).take_while(|&i| against(i) == Some(&text[i])).count();
                let secret = (i..i + len).filter(|i| i + key.len() - shift >= secret_from).count();
                if secret >= CERTAIN {
                    masked[i.max(start)..(i + len).max(start)].fill(true);
                }
                i += len.max(1);
            }
        }
        start = end;
    }
    masked
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(vec![]),
        Just(vec![1; 400]),
        prop::collection::vec(0usize..40, 0..20),
        prop::collection::vec(0usize..200, 0..3),
    ]
}

fn key_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof!["[A-Za-z0-9_.-]{12,80}", "[A-Za-z0-9+/]{12,60}={0,2}", "[ -~]{12,40}", "[\\\\/%+\"<& ]{12,24}",]
        .prop_map(String::into_bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn exactly_what_the_rule_says_is_masked(
        key in "[xy]{12,30}|x{12,20}|(xy){6,12}|[w-z]{14,40}",
        secret_from in 0usize..6,
        parts in prop::collection::vec((0usize..40, 0usize..60), 0..8),
        noise in "[w-z ]{0,60}",
        pieces in pieces(),
    ) {
        let key = key.as_bytes();
        let secret_from = secret_from.min(key.len() - CERTAIN);
        let mut text = Vec::new();
        for (from, to) in parts {
            text.extend_from_slice(&key[from.min(key.len())..to.min(key.len()).max(from.min(key.len()))]);
            text.extend_from_slice(&noise.as_bytes()[..from.min(noise.len())]);
        }
        let out = push(&scrubber(key, secret_from), Mask::SameLength, &text, &pieces);
        let covered: Vec<bool> = out.iter().map(|b| b"<>_ke*".contains(b)).collect();
        prop_assert_eq!(out.len(), text.len());
        let model = model(key, secret_from, &text, &pieces);
        for (i, (&covered, &model)) in covered.iter().zip(&model).enumerate() {
            // The letters x and y are in the placeholder as well, so those may be either.
            if !b"xy".contains(&out[i]) {
                prop_assert_eq!(covered, model, "byte {} of {:?} -> {:?}", i, String::from_utf8_lossy(&text), String::from_utf8_lossy(&out));
            }
            if !model {
                prop_assert_eq!(out[i], text[i]);
            }
        }
    }

    #[test]
    fn no_twelve_bytes_of_a_secret_come_through(
        key in key_bytes(),
        secret_from in 0usize..10,
        picks in prop::collection::vec((0usize..30, "[ -~]{0,20}", 0usize..20, 0usize..100), 1..6),
        pieces in pieces(),
        mask in prop_oneof![Just(Mask::Placeholder), Just(Mask::SameLength)],
    ) {
        let secret_from = secret_from.min(key.len() - CERTAIN);
        let mut text = Vec::new();
        for (form, between, from, to) in picks {
            text.extend_from_slice(between.as_bytes());
            let part = &key[from.min(key.len() - 1)..to.clamp(from.min(key.len() - 1) + 1, key.len().max(from.min(key.len() - 1) + 1))];
            let forms = written(part);
            text.extend_from_slice(&forms[form % forms.len()].1);
        }
        // A placeholder of printable characters could happen to go on where the key was cut.
        let key_to_hide = ScrubKey { placeholder: "\u{1}".into(), ..scrub_key("x", &key, secret_from) };
        let out = push(&Arc::new(Scrubber::new(vec![key_to_hide])), mask, &text, &pieces);
        for piece in forbidden(&key[secret_from..]) {
            prop_assert!(!holds(&out, &piece), "{:?} in {:?}", String::from_utf8_lossy(&piece), String::from_utf8_lossy(&out));
        }
        if mask == Mask::SameLength {
            prop_assert_eq!(out.len(), text.len());
        }
    }

    #[test]
    fn a_whole_key_between_strangers_leaves_nothing_but_its_placeholder(
        key in key_bytes(),
        form in 0usize..30,
        before in "[^ -~]{0,50}",
        after in "[^ -~]{0,50}",
    ) {
        let scrubber = scrubber(&key, 0);
        let forms = written(&key);
        let (name, form) = &forms[form % forms.len()];
        let text = [before.as_bytes(), form, after.as_bytes()].concat();
        let want = [before.as_bytes(), b"<<x_key>>", after.as_bytes()].concat();
        let got = push(&scrubber, Mask::Placeholder, &text, &[]);
        prop_assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&want), "{}", name);
        prop_assert_eq!(scrubber.header(&text), Some(want));
    }

    #[test]
    fn other_text_stays(text in prop::collection::vec(any::<u8>(), 0..600), pieces in pieces()) {
        let scrubber = scrubber(KEY.as_bytes(), 7);
        prop_assert_eq!(push(&scrubber, Mask::Placeholder, &text, &pieces), &text[..]);
        prop_assert_eq!(scrubber.header(&text), None);
    }
}
