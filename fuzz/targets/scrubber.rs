//! Any key, any text, any cuts: no panic, masks of the same length keep the length, and a key that is searched for doesn't
//! come through.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use locum::memory::Plaintext;
use locum::rewrite::scrub::{Mask, SHORT, ScrubKey, Scrubber};
use std::sync::Arc;

/// A character that the keys here do not have, so that a mask is not taken for a piece of one.
const PLACEHOLDER: &str = "\u{1}";

fuzz_target!(|data: &[u8]| {
    let [len, prefix, piece, rest @ ..] = data else { return };
    let Some((key, text)) = rest.split_at_checked(usize::from(*len)) else { return };
    if key.iter().any(|b| matches!(b, 1 | b'*')) {
        return;
    }
    let secret_from = usize::from(*prefix) % (key.len() + 1);
    let scrubber = Scrubber::new(vec![ScrubKey {
        key: "x".parse().expect("a name"),
        placeholder: PLACEHOLDER.into(),
        secret_from,
        value: Arc::new(Plaintext::new(key.to_vec())),
        even_if_guessable: true,
    }]);
    scrubber.header(text);
    scrubber.of_error(true).header(text);
    for mask in [Mask::Placeholder, Mask::SameLength] {
        let mut body = scrubber.body(mask);
        let mut out = Vec::new();
        // The text has the key itself in it, so that there is something to find.
        for chunk in [text, key, text].concat().chunks(usize::from(*piece) + 1) {
            out.extend_from_slice(&body.push(Bytes::copy_from_slice(chunk)));
        }
        out.extend_from_slice(&body.finish());
        if mask == Mask::SameLength {
            assert_eq!(out.len(), 2 * text.len() + key.len());
        }
        if key.len() >= SHORT {
            assert!(!out.windows(key.len()).any(|w| w == key));
        }
    }
});
