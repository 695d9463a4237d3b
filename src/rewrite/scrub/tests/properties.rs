//! Properties of every scrubber, above all the law: two keys of one public shape give the same bytes.

use super::*;
use crate::rewrite::scrub::alphabet::Alphabet;
use crate::rewrite::scrub::strength::Strength;
use proptest::prelude::*;

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(vec![]),
        Just(vec![1; 700]),
        prop::collection::vec(0usize..40, 0..30),
        prop::collection::vec(0usize..200, 0..6),
    ]
}

/// How keys of a kind begin, and two keys of it.
fn kinds() -> impl Strategy<Value = (&'static str, String, String)> {
    let pair = |beginning: &'static str, rest: &'static str| (Just(beginning), rest, rest);
    prop_oneof![
        pair("", "[0-9a-f]{32}"),
        pair("", "[0-9a-f]{40}"),
        pair("", "[A-Za-z0-9]{24}"),
        pair("", "[A-Za-z0-9+/]{43}="),
        pair("ghp_", "[A-Za-z0-9]{36}"),
        pair("sk-ant-api03-", "[A-Za-z0-9_-]{60}"),
        pair("github_pat_", "[A-Za-z0-9]{22}_[A-Za-z0-9]{37}"),
        pair("eyJ", "hbGciOiJIUzI1NiJ9[.]eyJzdWIiOiIxIn0[.][A-Za-z0-9_-]{43}"),
        pair("", "[!-~]{30}"),
        pair("", "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
    ]
    .prop_map(|(beginning, a, b)| (beginning, format!("{beginning}{a}"), format!("{beginning}{b}")))
}

/// One byte of the second key is taken from it, the others from the first: the guess that is nearly right.
fn nearly(a: &str, b: &str, at: usize) -> String {
    let differing: Vec<usize> = (0..a.len()).filter(|i| a.as_bytes()[*i] != b.as_bytes()[*i]).collect();
    let mut near = a.as_bytes().to_vec();
    if let Some(&i) = differing.get(at % differing.len().max(1)) {
        near[i] = b.as_bytes()[i];
    }
    String::from_utf8(near).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 512 } else { 20_000 }))]

    /// The law that this room stands under.
    #[test]
    fn two_keys_of_one_shape_give_the_same_bytes_cut_alike(
        (beginning, key, far) in kinds(),
        near in any::<bool>(),
        differs in 0usize..100,
        parts in prop::collection::vec((0usize..18, 0usize..90, 0usize..90, "[ -~]{0,20}|[\"\\\\%\n]{0,3}|[A-Za-z0-9+/]{40,60}\n", prop::collection::vec(any::<u8>(), 1..5)), 1..8),
        pieces in pieces(),
        mask in prop_oneof![Just(Mask::Placeholder), Just(Mask::SameLength)],
        is_error in any::<bool>(),
    ) {
        let other = if near { nearly(&key, &far, differs) } else { far };
        let prefix = beginning.len();
        let strong = |key: &str| Strength::of(key.as_bytes(), prefix).is_enough();
        prop_assume!(strong(&key) && strong(&other) && Alphabet::of(&key.as_bytes()[prefix..]) == Alphabet::of(&other.as_bytes()[prefix..]));
        // the host quotes guesses and pieces of the first key, in every form, but neither key whole
        let mut text = Vec::new();
        for (form, from, to, between, ways) in parts {
            let (from, to) = (from % key.len(), to % (key.len() + 1));
            let part = &key.as_bytes()[from.min(to)..to.max(from)];
            let forms = written(part);
            text.extend_from_slice(&spelled(&forms[form % forms.len()].1, &ways));
            text.extend_from_slice(between.as_bytes());
        }
        let one = scrubber(key.as_bytes(), prefix).of_error(is_error);
        let two = scrubber(other.as_bytes(), prefix).of_error(is_error);
        prop_assume!(one.patterns.finds(&text, 0, false).is_empty() && two.patterns.finds(&text, 0, false).is_empty());
        prop_assert_eq!(reads(&one, mask, &text, &pieces), reads(&two, mask, &text, &pieces));
    }

    #[test]
    fn a_whole_key_is_found_however_it_is_spelled_and_cut(
        (beginning, key, _) in kinds(),
        form in 0usize..18,
        ways in prop::collection::vec(any::<u8>(), 1..9),
        before in "[ -~]{0,30}[ \"]",
        after in "[ \"][ -~]{0,30}",
        pieces in pieces(),
    ) {
        prop_assume!(Strength::of(key.as_bytes(), beginning.len()).is_enough());
        let scrubber = scrubber(key.as_bytes(), beginning.len());
        let mut forms = written(key.as_bytes());
        if key.contains(['\\', '%']) {
            // where a key has signs of its own, only what most serializers write is told from them
            forms.retain(|(name, _)| ["raw", "json", "json in json", "hex", "HEX"].contains(&&**name) || name.starts_with("base64"));
        }
        let (name, form) = &forms[form % forms.len()];
        // an escape's own letters are not escaped once more
        let form = if form.iter().any(|c| b"\\%".contains(c)) { form.clone() } else { spelled(form, &ways) };
        let text = [before.as_bytes(), &form, after.as_bytes()].concat();
        let got = push(&scrubber, Mask::Placeholder, &text, &pieces);
        let got = shown(&got);
        prop_assert!(got.starts_with(&before) && got.ends_with(&after), "{}: {}", name, got);
        let between = &got[before.len()..got.len() - after.len()];
        // of the well-known beginning a part may have passed
        prop_assert!(between.ends_with("<<x_key>>"), "{}: {}", name, got);
        prop_assert!(!beginning.is_empty() || between == "<<x_key>>", "{}: {}", name, got);
        let whole = push(&scrubber, Mask::Placeholder, &text, &[]);
        prop_assert_eq!(shown(&whole), format!("{before}<<x_key>>{after}"));
    }

    #[test]
    fn other_text_stays(text in prop::collection::vec(any::<u8>(), 0..600), pieces in pieces()) {
        for (value, secret_from) in [(KEY, 7), (HEX, 0), (ODD, 0)] {
            let scrubber = scrubber(value.as_bytes(), secret_from);
            prop_assert_eq!(push(&scrubber, Mask::Placeholder, &text, &pieces), &text[..]);
            prop_assert_eq!(scrubber.header(&text), None);
        }
    }

    #[test]
    fn masks_of_the_same_length_keep_it(
        (beginning, key, _) in kinds(),
        parts in prop::collection::vec((0usize..18, "[ -~]{0,20}"), 1..5),
        pieces in pieces(),
    ) {
        let scrubber = scrubber(key.as_bytes(), beginning.len());
        let forms = written(key.as_bytes());
        let text: Vec<u8> = parts.iter().flat_map(|(form, between)| [&forms[form % forms.len()].1[..], between.as_bytes()].concat()).collect();
        prop_assert_eq!(push(&scrubber, Mask::SameLength, &text, &pieces).len(), text.len());
    }
}
