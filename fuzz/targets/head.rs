//! Targets and `Authorization` values: nothing outside a placeholder changes, and a value stays in its place.

#![no_main]

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Uri};
use libfuzzer_sys::fuzz_target;
use locum::rewrite::{Vocabulary, head};
use std::sync::LazyLock;

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| {
    let own = [("ghp_000000000000".to_string(), "gh".parse().expect("a name"))];
    Vocabulary::new(true, own).expect("a look-alike")
});

const VALUE: &[u8] = b"va/lue?&=#%";

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (target, authorization) = input;
    let (Ok(before), Ok(value)) = (Uri::try_from(target), HeaderValue::from_bytes(&authorization)) else { return };
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    let hits = head::find(&VOCABULARY, &before, &headers);
    let (mut uri, mut after) = (before.clone(), headers.clone());
    if head::replace(&mut uri, &mut after, &hits, |_| Some(VALUE)).is_err() {
        return;
    }
    if !hits.iter().any(|h| h.key.is_some() && h.place.is_some()) {
        assert_eq!((&uri, &after), (&before, &headers));
    }
    assert_eq!((uri.scheme(), uri.authority()), (before.scheme(), before.authority()));
    // No value brings a separator in.
    let shape = |uri: &Uri| -> Vec<u8> {
        uri.path_and_query().map(|t| t.as_str().bytes().filter(|b| b"/?&=#".contains(b)).collect()).unwrap_or_default()
    };
    assert_eq!(shape(&uri), shape(&before));
});
