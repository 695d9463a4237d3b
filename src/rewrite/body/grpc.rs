//! gRPC messages, one by one, since each says its length before it. Compressed ones are refused; what a message means is not known.

use super::ledger::{BodyFault, UsageLedger};
use super::location::Location;
use crate::rewrite::finder::{Spelling, Vocabulary};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::ops::Range;

/// The longest message that is searched, in bytes: gRPC servers accept no more unless told otherwise.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;
/// A flag and the length.
const PREFIX: usize = 5;
/// Strings deeper than this are not looked for in a message; each level reads what is inside once more.
const MAX_DEPTH: usize = 32;

/// The rewriter of the messages of one body.
pub(crate) struct GrpcMessages {
    held: BytesMut,
}

impl GrpcMessages {
    /// A body of which nothing has come.
    pub fn new() -> Self {
        Self { held: BytesMut::new() }
    }

    /// Takes a piece, and adds to `out` each message that is whole.
    ///
    /// # Errors
    /// A message that is compressed or too long to be searched, and what [`UsageLedger::settle`] refuses.
    pub fn push(
        &mut self,
        mut chunk: Bytes,
        vocabulary: &Vocabulary,
        ledger: &mut UsageLedger,
        out: &mut Vec<Bytes>,
    ) -> Result<(), BodyFault> {
        while !chunk.is_empty() {
            if self.held.is_empty()
                && let Some(length) = frame(&chunk)?
                && length <= chunk.len()
            {
                if must_wait(&chunk[..length], vocabulary, ledger) {
                    self.held.extend_from_slice(&chunk);
                    return Ok(());
                }
                rewrite(chunk.split_to(length), vocabulary, ledger, out)?;
                continue;
            }
            let wanted = frame(&self.held)?.unwrap_or(PREFIX);
            let missing = wanted.saturating_sub(self.held.len());
            self.held.extend_from_slice(&chunk.split_to(missing.min(chunk.len())));
            if frame(&self.held)? == Some(self.held.len()) {
                if must_wait(&self.held, vocabulary, ledger) {
                    self.held.extend_from_slice(&chunk);
                    return Ok(());
                }
                rewrite(self.held.split().freeze(), vocabulary, ledger, out)?;
            }
        }
        Ok(())
    }

    /// Goes on with the messages that have waited for a key.
    pub fn resume(
        &mut self,
        vocabulary: &Vocabulary,
        ledger: &mut UsageLedger,
        out: &mut Vec<Bytes>,
    ) -> Result<(), BodyFault> {
        let held = self.held.split().freeze();
        self.push(held, vocabulary, ledger, out)
    }

    /// A torn message goes on as it is: the upstream will say what it thinks of it.
    pub fn finish(&mut self, out: &mut Vec<Bytes>) {
        let held = self.held.split().freeze();
        out.extend((!held.is_empty()).then_some(held));
    }
}

/// How long the message that begins here is with its prefix, once that is known.
fn frame(bytes: &[u8]) -> Result<Option<usize>, BodyFault> {
    let Some((mut prefix, _)) = bytes.split_at_checked(PREFIX) else { return Ok(None) };
    let compressed = prefix.get_u8() & 1 == 1;
    let length = prefix.get_u32() as usize;
    if compressed && length > 0 {
        return Err(BodyFault::CompressedMessage);
    }
    if length > MAX_MESSAGE {
        return Err(BodyFault::LongMessage { length: length as u64, max: MAX_MESSAGE });
    }
    Ok(Some(PREFIX + length))
}

/// Whether a message, with its prefix, has to wait since a key in it is to be asked for again.
fn must_wait(framed: &[u8], vocabulary: &Vocabulary, ledger: &mut UsageLedger) -> bool {
    let message = framed.get(PREFIX..).unwrap_or_default();
    ledger.has_doubts() && vocabulary.all(Spelling::Raw, message).any(|hit| ledger.must_wait(&hit, &Location::plain()))
}

/// One message, with its prefix.
fn rewrite(
    framed: Bytes,
    vocabulary: &Vocabulary,
    ledger: &mut UsageLedger,
    out: &mut Vec<Bytes>,
) -> Result<(), BodyFault> {
    let message = framed.slice(PREFIX.min(framed.len())..);
    let mut edits = Vec::new();
    for hit in vocabulary.all(Spelling::Raw, &message) {
        if let Some(written) = ledger.settle(&hit, &Location::plain())? {
            edits.push(MessageEdit { at: hit.at, written });
        }
    }
    if edits.is_empty() {
        out.push(framed);
        return Ok(());
    }
    let mut patches = Vec::new();
    if lengths(&message, 0..message.len(), &edits, &mut patches, MAX_DEPTH).is_none() {
        patches = edits;
    }
    let new = splice(&message, &patches);
    let mut prefix = BytesMut::with_capacity(PREFIX);
    prefix.put_u8(framed.first().copied().unwrap_or_default());
    // Four bytes can't say more, and no message with so many edits comes in.
    prefix.put_u32(u32::try_from(new.len()).unwrap_or(u32::MAX));
    out.push(prefix.freeze());
    out.push(Bytes::from(new));
    Ok(())
}

#[derive(Clone)]
struct MessageEdit {
    at: Range<usize>,
    written: Bytes,
}

impl MessageEdit {
    /// By how much it makes the message longer.
    fn growth(&self) -> isize {
        self.written.len() as isize - self.at.len() as isize
    }
}

/// Makes edits, which are in order.
fn splice(message: &[u8], edits: &[MessageEdit]) -> Vec<u8> {
    let mut new = Vec::with_capacity(message.len() + edits.iter().map(|e| e.written.len()).sum::<usize>());
    let mut done = 0;
    for edit in edits {
        new.extend_from_slice(message.get(done..edit.at.start).unwrap_or_default());
        new.extend_from_slice(&edit.written);
        done = edit.at.end;
    }
    new.extend_from_slice(message.get(done..).unwrap_or_default());
    new
}

/// Adds to `patches` the edits, and those of the lengths around them: in protobuf every string says its length, and so does
/// every message within a message. Tells by how much all grows, or `None` where `message[at]` is no such message or an edit
/// lies outside its strings.
///
/// A string that holds a placeholder is hardly a message by chance: `<` is the end of a group that never began.
fn lengths(
    message: &[u8],
    at: Range<usize>,
    edits: &[MessageEdit],
    patches: &mut Vec<MessageEdit>,
    depth: usize,
) -> Option<isize> {
    let depth = depth.checked_sub(1)?;
    let bytes = message.get(..at.end)?;
    let mut edits = edits;
    let mut growth = 0;
    let mut groups = 0usize;
    let mut next = at.start;
    while next < at.end {
        let (tag, value) = varint(bytes, next)?;
        if tag >> 3 == 0 {
            return None;
        }
        next = match tag & 7 {
            0 => varint(bytes, value)?.1,
            1 => value + 8,
            2 => {
                let (length, start) = varint(bytes, value)?;
                let end = start.checked_add(usize::try_from(length).ok()?).filter(|end| *end <= at.end)?;
                let (inside, later) = edits.split_at(edits.partition_point(|e| e.at.start < end));
                if !inside.is_empty() {
                    growth += patch(message, value..start, start..end, inside, patches, depth)?;
                }
                edits = later;
                end
            }
            3 => {
                groups += 1;
                value
            }
            4 => {
                groups = groups.checked_sub(1)?;
                value
            }
            5 => value + 4,
            _ => return None,
        };
    }
    (edits.is_empty() && groups == 0 && next == at.end).then_some(growth)
}

/// The same for one string or inner message, and the length before it.
fn patch(
    message: &[u8],
    length: Range<usize>,
    content: Range<usize>,
    edits: &[MessageEdit],
    patches: &mut Vec<MessageEdit>,
    depth: usize,
) -> Option<isize> {
    if edits.iter().any(|e| e.at.start < content.start || e.at.end > content.end) {
        return None;
    }
    let mark = patches.len();
    patches.push(MessageEdit { at: length, written: Bytes::new() });
    let growth = lengths(message, content.clone(), edits, patches, depth).unwrap_or_else(|| {
        patches.truncate(mark + 1);
        patches.extend_from_slice(edits);
        edits.iter().map(MessageEdit::growth).sum()
    });
    let patch = patches.get_mut(mark)?;
    patch.written = put_varint(content.len().checked_add_signed(growth)? as u64);
    Some(growth + patch.growth())
}

const MAX_VARINT: usize = 10;

/// A number at `at`, and where it ends.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (i, byte) in bytes.get(at..)?.iter().take(MAX_VARINT).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, at + i + 1));
        }
    }
    None
}

fn put_varint(mut value: u64) -> Bytes {
    let mut out = Vec::with_capacity(MAX_VARINT);
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(message: &[u8]) -> Option<Vec<u8>> {
        let vocabulary = Vocabulary::new(false, []).unwrap();
        let hits = vocabulary.all(Spelling::Raw, message);
        let edits: Vec<_> = hits.map(|h| MessageEdit { at: h.at, written: Bytes::from(vec![b'v'; 150]) }).collect();
        let mut patches = Vec::new();
        lengths(message, 0..message.len(), &edits, &mut patches, MAX_DEPTH)?;
        Some(splice(message, &patches))
    }

    fn string(field: u8, content: &[u8]) -> Vec<u8> {
        [&[field << 3 | 2], &put_varint(content.len() as u64)[..], content].concat()
    }

    #[test]
    fn every_length_around_an_edit_is_set_right() {
        let value = "v".repeat(150);
        let number = [0x08, 0x96, 0x01];
        let fixed = [0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8];
        let group = [0x2b, 0x08, 0x01, 0x2c];
        for (text, new) in [("<<x_key>>", value.clone()), ("a <<x_key>> b<<y_key>>", format!("a {value} b{value}"))] {
            let nest = |content: &[u8]| {
                let inner = [&number[..], &string(2, content), &fixed, &string(3, b"after")].concat();
                [&group[..], &string(1, &string(4, &inner)), &string(2, content), &number].concat()
            };
            assert_eq!(edit(&nest(text.as_bytes())).unwrap(), nest(new.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_is_no_protobuf_is_told() {
        for message in [
            &b"<<x_key>>"[..],
            b"{\"a\":\"<<x_key>>\"}",
            b"\x0a\x09<<x_key>>\x0a\x05tru",
            b"\x0a\x05<<x_key>>",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01<<x_key>>",
            b"\x00\x09<<x_key>>",
            b"\x0b\x0a\x09<<x_key>>",
        ] {
            assert_eq!(edit(message), None, "{message:?}");
        }
    }

    #[test]
    fn prefixes_are_read() {
        assert_eq!(frame(&[0, 0, 0, 1]), Ok(None));
        assert_eq!(frame(&[0, 0, 0, 1, 0]), Ok(Some(261)));
        assert_eq!(frame(&[1, 0, 0, 0, 1]), Err(BodyFault::CompressedMessage));
        let long = BodyFault::LongMessage { length: MAX_MESSAGE as u64 + 1, max: MAX_MESSAGE };
        assert_eq!(frame(&[0, 0, 0x40, 0, 1]), Err(long));
    }
}
