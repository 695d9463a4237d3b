//! gRPC messages, one by one, since each says its length before it. Compressed ones are refused; what a message means is not known.

use super::account::{Account, BodyFault};
use super::finder::{Spelling, Vocabulary};
use super::kind::Spot;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::ops::Range;

/// What gRPC servers accept unless told otherwise.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;
/// A flag and the length.
const PREFIX: usize = 5;
/// Protobuf's own readers go a hundred deep.
const MAX_DEPTH: usize = 100;

/// The messages of one body.
pub(super) struct Messages {
    held: BytesMut,
}

impl Messages {
    pub fn new() -> Self {
        Self { held: BytesMut::new() }
    }

    pub fn push(
        &mut self,
        mut chunk: Bytes,
        vocabulary: &Vocabulary,
        account: &mut Account,
        out: &mut Vec<Bytes>,
    ) -> Result<(), BodyFault> {
        while !chunk.is_empty() {
            if self.held.is_empty()
                && let Some(length) = frame(&chunk)?
                && length <= chunk.len()
            {
                rewrite(chunk.split_to(length), vocabulary, account, out)?;
                continue;
            }
            let wanted = frame(&self.held)?.unwrap_or(PREFIX);
            let missing = wanted.saturating_sub(self.held.len());
            self.held.extend_from_slice(&chunk.split_to(missing.min(chunk.len())));
            if frame(&self.held)? == Some(self.held.len()) {
                rewrite(self.held.split().freeze(), vocabulary, account, out)?;
            }
        }
        Ok(())
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

/// One message, with its prefix.
fn rewrite(
    framed: Bytes,
    vocabulary: &Vocabulary,
    account: &mut Account,
    out: &mut Vec<Bytes>,
) -> Result<(), BodyFault> {
    let message = framed.slice(PREFIX.min(framed.len())..);
    let mut edits = Vec::new();
    for hit in vocabulary.all(Spelling::Raw, &message) {
        if let Some(written) = account.settle(&hit, &Spot::plain())? {
            edits.push(Edit { at: hit.at, written });
        }
    }
    if edits.is_empty() {
        out.push(framed);
        return Ok(());
    }
    let new = protobuf(&message, 0, &edits, MAX_DEPTH).unwrap_or_else(|| splice(&message, 0, &edits));
    let mut prefix = BytesMut::with_capacity(PREFIX);
    prefix.put_u8(framed.first().copied().unwrap_or_default());
    // Four bytes can't say more, and no message with so many edits comes in.
    prefix.put_u32(u32::try_from(new.len()).unwrap_or(u32::MAX));
    out.push(prefix.freeze());
    out.push(Bytes::from(new));
    Ok(())
}

struct Edit {
    /// In the whole message.
    at: Range<usize>,
    written: Bytes,
}

/// `bytes`, which begin at `base` of the message, with the edits made as they are.
fn splice(bytes: &[u8], base: usize, edits: &[Edit]) -> Vec<u8> {
    let mut new = Vec::with_capacity(bytes.len() + edits.iter().map(|e| e.written.len()).sum::<usize>());
    let mut done = 0;
    for edit in edits {
        new.extend_from_slice(bytes.get(done..edit.at.start - base).unwrap_or_default());
        new.extend_from_slice(&edit.written);
        done = edit.at.end - base;
    }
    new.extend_from_slice(bytes.get(done..).unwrap_or_default());
    new
}

/// The same in a protobuf message, where every string says its length, and so does every message around it.
/// `None` where the bytes are no such message or an edit lies outside its strings.
///
/// A string that holds a placeholder is no message by chance: `<` is the end of a group that never began.
fn protobuf(bytes: &[u8], base: usize, edits: &[Edit], depth: usize) -> Option<Vec<u8>> {
    let room = edits.iter().map(|e| e.written.len() + 2 * MAX_VARINT).sum::<usize>();
    let mut new = Vec::with_capacity(bytes.len() + room * 2);
    let mut edits = edits;
    let mut groups = 0usize;
    let mut at = 0;
    while at < bytes.len() {
        let (tag, value) = varint(bytes, at)?;
        if tag >> 3 == 0 {
            return None;
        }
        let end = match tag & 7 {
            0 => varint(bytes, value)?.1,
            1 => value.checked_add(8)?,
            2 => {
                let (length, content) = varint(bytes, value)?;
                let end = content.checked_add(usize::try_from(length).ok()?)?;
                let inside = bytes.get(content..end)?;
                let count = edits.iter().take_while(|e| e.at.start < base + end).count();
                let (here, later) = edits.split_at(count);
                edits = later;
                if !here.is_empty() {
                    if here.iter().any(|e| e.at.start < base + content || e.at.end > base + end) {
                        return None;
                    }
                    let nested = depth.checked_sub(1).and_then(|d| protobuf(inside, base + content, here, d));
                    let inside = nested.unwrap_or_else(|| splice(inside, base + content, here));
                    new.extend_from_slice(bytes.get(at..value)?);
                    put_varint(&mut new, inside.len() as u64);
                    new.extend_from_slice(&inside);
                    at = end;
                    continue;
                }
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
            5 => value.checked_add(4)?,
            _ => return None,
        };
        new.extend_from_slice(bytes.get(at..end)?);
        at = end;
    }
    (edits.is_empty() && groups == 0).then_some(new)
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

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
