//! Properties that hold for every body, made up at random.

use super::*;
use proptest::prelude::*;

/// Bodies made of what matters, in all orders.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop_oneof![
        proptest::sample::select(vec![
            "<<x_key>>",
            "{{x_key}}",
            "<<y_key>>",
            "ghp_0000000000000000",
            "ghp_0000",
            "\\u003c\\u003cx_key\\u003e\\u003e",
            "%3C%3Cx_key%3E%3E",
            "%3C<y_key%3e>",
            "<",
            "<<",
            "<<x_",
            "key>>",
            ">>",
            "\"",
            "\":\"",
            "\",\"",
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\\",
            "\\\"",
            "\\u003",
            "\\u00",
            "%",
            "%3",
            "=",
            "&",
            "a=",
            "+",
            "\r\n",
            "\r\n--b",
            "\r\n--b\r\n",
            "--b--",
            "\r\n\r\n",
            "Content-Disposition: form-data; name=\"f\"",
            " ",
            "\n",
            "\0\0\0\0\t",
            "\0",
            "a",
            "0",
            "true",
            "\"f\":",
        ])
        .prop_map(|s| s.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.concat())
}

fn any_keys() -> impl Strategy<Value = Vec<BodyKey>> {
    let places =
        proptest::sample::select(vec!["body", "body:any", "body:/f", "body:f", "body|body:/f", "body:f|body:any"]);
    (places.clone(), places).prop_map(|(a, b)| keys(&[("x", a, "v\"&<<y_key>>"), ("gh", b, "ghp_real")]))
}

fn content_types() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![JSON, FORM, MULTIPART, "application/grpc", "text/plain"])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn asking_again_makes_no_difference_where_nothing_has_changed(
        body in bodies(), keys in any_keys(), content_type in content_types(), cut in 1..40usize,
    ) {
        let plain = rewrite(content_type, keys.clone(), body.chunks(cut));
        match rewrite_asking(content_type, keys, body.chunks(cut), |key| key) {
            Ok((text, _)) => prop_assert_eq!((Some(text), None), (Some(plain.body), plain.fault)),
            Err(fault) => prop_assert_eq!(Some(fault), plain.fault),
        }
    }

    #[test]
    fn cuts_make_no_difference(
        body in bodies(), keys in any_keys(), content_type in content_types(), cuts in proptest::collection::vec(1..40usize, 1..8),
    ) {
        let whole = rewrite(content_type, keys.clone(), [body.as_slice()]);
        let mut rest = body.as_slice();
        let mut pieces = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        let cut = rewrite(content_type, keys.clone(), pieces);
        let single = rewrite(content_type, keys, body.chunks(1));
        prop_assert_eq!(&cut.fault, &whole.fault);
        prop_assert_eq!(&single.fault, &whole.fault);
        if whole.fault.is_none() {
            prop_assert_eq!(&cut, &whole);
            prop_assert_eq!(&single, &whole);
        }
    }

    #[test]
    fn what_is_not_used_does_not_change(body in bodies(), keys in any_keys(), content_type in content_types()) {
        for told in [held(content_type, &keys, &body), rewrite(content_type, keys.clone(), [body.as_slice()])] {
            if told.uses.is_empty() && told.fault.is_none() {
                prop_assert_eq!(told.body, body.as_slice());
            }
        }
    }

    /// What is judged as a whole gets a key only where it would have got one while it came, or where it is JSON as a whole.
    #[test]
    fn the_whole_decides_for_every_part(body in bodies(), content_type in content_types()) {
        let keys = keys(&[("x", "body", "v"), ("gh", "body", "ghp_real")]);
        let told = held(content_type, &keys, &body);
        if told.uses.is_empty() {
            return Ok(());
        }
        match content_type {
            JSON | "text/plain" | "application/grpc" => {
                let text = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&body);
                let values = serde_json::Deserializer::from_slice(text).into_iter::<serde_json::Value>();
                prop_assert!(values.collect::<Result<Vec<_>, _>>().is_ok());
            }
            FORM => {
                let json = serde_json::from_slice::<serde_json::Value>(&body).is_ok();
                prop_assert!(json || body.iter().all(u8::is_ascii_graphic));
            }
            _ => {
                let ends = ["}", "]", "--"].iter().any(|end| body.trim_ascii_end().ends_with(end.as_bytes()));
                prop_assert!(ends);
            }
        }
    }

    #[test]
    fn a_json_reader_finds_the_value_and_nothing_else_changed(
        text in "[^<{]{0,20}", value in "\\PC{1,20}", escape: bool, chunk in 1..50usize,
    ) {
        let body = serde_json::json!({"a": text, "b": ["<<x_key>>", {"<<x_key>>": "<<x_key>> is kept"}], "c": "<<y_key>>"});
        let mut written = body.to_string();
        if escape {
            written = written.replace('<', "\\u003c").replace('>', "\\u003E").replace('k', "\\u006B");
        }
        let keys = keys(&[("x", "body", &value)]);
        let told = rewrite(JSON, keys, written.as_bytes().chunks(chunk));
        let mut want = body;
        want["b"][0] = value.into();
        prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&told.body).unwrap(), want);
        prop_assert_eq!((told.uses.as_str(), told.kept), ("x@body*1", 3));
    }

    #[test]
    fn a_form_reader_finds_the_value_and_nothing_else_changed(
        pairs in proptest::collection::vec(("[a-z %&=]{0,5}", "[^<{]{0,9}"), 0..5), value in "\\PC{1,20}", chunk in 1..50usize,
    ) {
        let form = |value: &str| {
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).append_pair("k", value).append_pair("z", "1").finish()
        };
        let body = form("<<x_key>>");
        // What begins like JSON is read as JSON.
        prop_assume!(!body.starts_with(['{', '[', '"']));
        let told = rewrite(FORM, keys(&[("x", "body", &value)]), body.as_bytes().chunks(chunk));
        let read = |form: &[u8]| url::form_urlencoded::parse(form).into_owned().collect::<Vec<_>>();
        prop_assert_eq!(read(&told.body), read(form(&value).as_bytes()));
    }
}
