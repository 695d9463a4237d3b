//! What the fuzz targets of request rewriting share.

use bytes::Bytes;
use http::HeaderValue;
use locum::memory::Plaintext;
use locum::rewrite::body::BodyRewriter;
use locum::rewrite::{BodyFault, BodyKey, Vocabulary};
use std::sync::{Arc, LazyLock};

pub const LOOKALIKE: &str = "/ghp_000000+0000";
pub const VALUE: &str = "se\"cret <<y_key>>&\\=";

pub static VOCABULARY: LazyLock<Arc<Vocabulary>> = LazyLock::new(|| {
    let own = [(LOOKALIKE.to_string(), "gh".parse().expect("a name"))];
    Arc::new(Vocabulary::new(true, own).expect("a look-alike"))
});

#[derive(Debug, PartialEq)]
pub struct Told {
    pub body: Vec<u8>,
    pub uses: u64,
    pub kept: u64,
    pub fault: Option<BodyFault>,
}

/// Both keys may go to these places.
pub fn keys(places: &[&str], value: &str) -> Vec<BodyKey> {
    let key = |key: &str| BodyKey {
        key: key.parse().expect("a name"),
        value: Some(Arc::new(Plaintext::new(value.as_bytes().to_vec()))),
        places: places.iter().map(|p| p.parse().expect("a place")).collect(),
        max_uses: u32::MAX,
    };
    ["x", "gh"].map(key).into()
}

pub fn rewrite<'c>(
    content_type: &'static str,
    places: &[&str],
    value: &str,
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> Told {
    let content_type = HeaderValue::from_static(content_type);
    let mut rewriter = BodyRewriter::new(VOCABULARY.clone(), Some(&content_type), keys(places, value));
    let mut out = Vec::new();
    let pushed = chunks.into_iter().try_for_each(|c| rewriter.push(Bytes::copy_from_slice(c), &mut out));
    let fault = pushed.and_then(|()| rewriter.finish(&mut out)).err();
    let uses = rewriter.uses().iter().map(|u| u.count).sum();
    Told { body: out.concat(), uses, kept: rewriter.kept(), fault }
}

/// The same for a body that is there as a whole.
#[allow(dead_code, reason = "each target uses some of this file")]
pub fn rewrite_held(content_type: &'static str, places: &[&str], value: &str, body: &[u8]) -> Told {
    let content_type = HeaderValue::from_static(content_type);
    let mut rewriter = BodyRewriter::new(VOCABULARY.clone(), Some(&content_type), keys(places, value));
    let mut out = Vec::new();
    let pushed = rewriter.push_whole(Bytes::copy_from_slice(body), &mut out);
    let fault = pushed.and_then(|()| rewriter.finish(&mut out)).err();
    let uses = rewriter.uses().iter().map(|u| u.count).sum();
    Told { body: out.concat(), uses, kept: rewriter.kept(), fault }
}
