//! Any bytes in any stack of codings: no panic, no output beyond the limits, and the same however the bytes are cut.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use locum::rewrite::coding::{Coding, CodingError, Decoder, DecodeLimits};

const LIMITS: DecodeLimits = DecodeLimits { ratio: 1000, free: 1 << 16, total: 1 << 20 };

fn decoded(codings: &[Coding], body: &[u8], piece: usize, room: usize) -> Result<Vec<u8>, CodingError> {
    let mut decoder = Decoder::new(codings, LIMITS)?;
    let mut out = Vec::new();
    for chunk in body.chunks(piece) {
        let mut input = Bytes::copy_from_slice(chunk);
        loop {
            let before = out.len();
            let done = decoder.decode(&mut input, &mut out, room)?;
            assert!(out.len() - before <= room);
            if done {
                break;
            }
        }
        assert!(input.is_empty());
    }
    decoder.finish()?;
    Ok(out)
}

fuzz_target!(|data: &[u8]| {
    let [stack, piece, room, body @ ..] = data else { return };
    let coding = |i: u8| [Coding::Gzip, Coding::Deflate, Coding::Br, Coding::Zstd][usize::from(stack >> (2 * i) & 3)];
    let codings: Vec<Coding> = (0..1 + (stack >> 6) % 3).map(coding).collect();
    let uncut = decoded(&codings, body, usize::MAX, 1 << 16);
    let cut = decoded(&codings, body, usize::from(*piece) + 1, usize::from(*room) + 1);
    if let Ok(out) = &uncut {
        assert!(out.len() as u64 <= LIMITS.total);
    }
    // How far a body has been read when it passes a limit depends on the cuts; whether it is valid does not.
    let by_limit = |r: &Result<_, CodingError>| matches!(r, Err(CodingError::Ratio { .. } | CodingError::Size(_)));
    if !by_limit(&uncut) && !by_limit(&cut) {
        assert_eq!(uncut.is_ok(), cut.is_ok());
        if let (Ok(uncut), Ok(cut)) = (uncut, cut) {
            assert!(uncut == cut);
        }
    }
});
