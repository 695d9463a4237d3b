//! A client's HTTP/2, cut anywhere: what goes on to the library is the same, and no more than came or a head may have.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use locum::proxy::wire::http2::incoming::IncomingFrames;
use std::sync::Arc;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const MAX_HEAD: usize = 1 << 12;
/// What a frame may grow by, in bytes: fields of a table are spelled out, up to what a head may have.
const GROWTH: usize = 2 * MAX_HEAD;

fn through<'b>(pieces: impl Iterator<Item = &'b [u8]>) -> Vec<u8> {
    let (mut frames, mut out) = (IncomingFrames::new(MAX_HEAD, Arc::default()), Vec::new());
    for piece in pieces {
        let mut waiting = BytesMut::new();
        let passed = frames.pass(piece, &mut waiting);
        out.extend_from_slice(&piece[..passed]);
        out.extend_from_slice(&waiting);
    }
    out
}

fuzz_target!(|input: (Vec<u8>, u8)| {
    let (frames, cut) = input;
    let stream = [PREFACE, &frames].concat();
    let whole = through([&stream[..]].into_iter());
    assert_eq!(through(stream.chunks(usize::from(cut) + 1)), whole);
    assert!(whole.len() <= stream.len() + (frames.len() / 9 + 1) * GROWTH);
    assert!(whole.starts_with(PREFACE));
});
