//! Bodies inside codings: what is rewritten there is what is rewritten without them, however the coded bytes are cut; and no
//! coded bytes at all make it panic.

#![no_main]

mod rewrite;

use bytes::Bytes;
use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use locum::rewrite::body::BodyRewriter;
use locum::rewrite::coding::{Coding, Decoder, Encoder, DecodeLimits};
use locum::rewrite::decoded_body::CodedBodyRewriter;
use rewrite::{VALUE, VOCABULARY, keys, rewrite, rewrite_held};

const PLACES: &[&str] = &["body", "body:/f", "body:any"];

/// What goes out, still coded; `None` where the body was refused.
fn recoded(content_type: &'static str, codings: &[Coding], body: &[u8], piece: usize) -> Option<Vec<u8>> {
    let content_type = HeaderValue::from_static(content_type);
    let engine = BodyRewriter::new(VOCABULARY.clone(), Some(&content_type), keys(PLACES, VALUE));
    through(CodedBodyRewriter::new(engine, codings).ok()?, body.chunks(piece))
}

/// The same for a body that is there as a whole.
fn recoded_held(content_type: &'static str, codings: &[Coding], body: &[u8]) -> Option<Vec<u8>> {
    let content_type = HeaderValue::from_static(content_type);
    let engine = BodyRewriter::new(VOCABULARY.clone(), Some(&content_type), keys(PLACES, VALUE));
    through(CodedBodyRewriter::of_whole(engine, codings).ok()?, [body])
}

fn through<'c>(mut rewriter: CodedBodyRewriter, pieces: impl IntoIterator<Item = &'c [u8]>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for piece in pieces {
        rewriter.push(Bytes::copy_from_slice(piece), &mut out).ok()?;
        while rewriter.step(&mut out).ok()? {}
    }
    rewriter.finish(&mut out).ok()?;
    Some(out.concat())
}

fn opened(codings: &[Coding], coded: &[u8]) -> Vec<u8> {
    let mut decoder = Decoder::new(codings, DecodeLimits { ratio: u64::MAX, ..DecodeLimits::default() }).expect("memory");
    let (mut input, mut out) = (Bytes::copy_from_slice(coded), Vec::new());
    while !decoder.decode(&mut input, &mut out, 1 << 16).expect("a valid coding goes out") {}
    decoder.finish().expect("a whole coding goes out");
    out
}

fuzz_target!(|input: (u8, u8, Vec<u8>)| {
    let (stack, piece, body) = input;
    let coding = |i: u8| [Coding::Gzip, Coding::Deflate, Coding::Br, Coding::Zstd][usize::from(stack >> (2 * i) & 3)];
    let codings: Vec<Coding> = (0..1 + (stack >> 6) % 2).map(coding).collect();
    let content_type = if stack & 0x20 == 0 { "application/json" } else { "text/plain" };
    let piece = usize::from(piece) + 1;
    if let Some(out) = recoded(content_type, &codings, &body, piece) {
        opened(&codings, &out);
    }
    let mut coded = Vec::new();
    let mut encoder = Encoder::new(&codings).expect("memory");
    encoder.encode(&body, &mut coded).expect("memory");
    encoder.finish(&mut coded).expect("memory");
    for (plain, recoded) in [
        (rewrite(content_type, PLACES, VALUE, [body.as_slice()]), recoded(content_type, &codings, &coded, piece)),
        (rewrite_held(content_type, PLACES, VALUE, &body), recoded_held(content_type, &codings, &coded)),
    ] {
        match recoded {
            Some(out) => assert_eq!((opened(&codings, &out), None), (plain.body, plain.fault)),
            None => assert!(plain.fault.is_some() || body.len() > 1 << 20),
        }
    }
});
