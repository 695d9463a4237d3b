//! WebSocket frames, cut anywhere: they are read alike however they come, and what is read and written anew is the same.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use locum::proxy::wire::ws_frames::{FrameFault, Opcode, FrameReader, FrameWriter, write};

type Whole = Vec<(Opcode, Vec<u8>)>;

/// Messages, with their pieces joined, and control frames; and how it ended.
fn read(writer: FrameWriter, stream: &[u8], mut cuts: impl Iterator<Item = usize>) -> (Whole, Option<FrameFault>) {
    let (mut reader, mut held, mut rest) = (FrameReader::new(writer), BytesMut::new(), stream);
    let (mut out, mut open) = (Whole::new(), Vec::new());
    while !rest.is_empty() {
        let (now, after) = rest.split_at(cuts.next().unwrap_or(usize::MAX).min(rest.len()));
        held.extend_from_slice(now);
        rest = after;
        loop {
            match reader.next(&mut held) {
                Ok(None) => break,
                Err(fault) => return (out, Some(fault)),
                Ok(Some(piece)) if matches!(piece.opcode, Opcode::Close | Opcode::Ping | Opcode::Pong) => {
                    assert!(piece.last && piece.payload.len() <= 125);
                    out.push((piece.opcode, piece.payload.to_vec()));
                }
                Ok(Some(piece)) => {
                    open.extend_from_slice(&piece.payload);
                    if piece.last {
                        out.push((piece.opcode, std::mem::take(&mut open)));
                    }
                }
            }
        }
    }
    (out, None)
}

fuzz_target!(|input: (Vec<u8>, Vec<u8>, bool, [u8; 4])| {
    let (stream, cuts, client, key) = input;
    let writer = if client { FrameWriter::Client } else { FrameWriter::Server };
    let whole = read(writer, &stream, std::iter::empty());
    let cut = read(writer, &stream, cuts.iter().map(|cut| usize::from(*cut) + 1));
    assert_eq!(whole.1, cut.1);
    assert!(whole.0 == cut.0);
    let mut again = Vec::new();
    for (opcode, payload) in &whole.0 {
        write(&mut again, *opcode, true, payload.chunks(7), client.then_some(key));
    }
    assert!(read(writer, &again, std::iter::empty()) == (whole.0, None));
});
