//! The frames that come from a client. Where one has fields, they are written anew: plainly, and
//!
//! - with `<` and `>` in a path as URIs have them, since the library refuses others (as in HTTP/1.1),
//! - with the stream's number where a client waits to be asked for its body, since the library never asks,
//! - without the flag that ends a stream where trailers have a pseudo-header: it drops such a field in silence, and resets a stream
//!   whose trailers don't end it. They are malformed (RFC 9113, section 8.1).
//!
//! What it judges by itself stays as it was.

use super::frame::{CONTINUATION, DATA, END_HEADERS, END_STREAM, FrameHead, HEAD, HEADERS, MAX_FRAME};
use super::frame::{PADDED, PRIORITY, RST_STREAM};
use super::hpack::{Decoder, Field};
use super::interim::Interims;
use crate::proxy::limits::CONCURRENT_STREAMS;
use bytes::BytesMut;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Bytes that a client says before its first frame (RFC 9113, section 3.4).
const PREFACE: usize = 24;
/// How many streams are followed; fewer may be under way at a time.
const MAX_OPEN: usize = 4 * CONCURRENT_STREAMS as usize;
/// How many bytes of frames may come before a head's end, beyond those of its fields.
const SLACK: usize = 1 << 16;
/// A field that the library gets with the number of a stream whose client waits to be asked for its body. None comes from a client.
pub(crate) const AWAITS_CONTINUE: &str = "locum-awaits-continue";
/// A block that nobody can read (RFC 7541, section 6.1).
const UNREADABLE: u8 = 0x80;

/// Follows a client's frames through a stream that is cut anywhere.
#[derive(Debug)]
pub struct IncomingFrames {
    decoder: Decoder,
    max_head: usize,
    interims: Arc<Interims>,
    /// Bytes to pass as they are: of the preface, or of a frame that has no fields.
    skip: usize,
    /// Frames with the fields of one message, which wait for its end; or the beginning of some frame's head.
    held: Vec<u8>,
    /// Where in them the frame begins that is coming.
    begins: usize,
    /// The fields in them.
    packed: Vec<u8>,
    /// The fields written anew.
    plain: Vec<u8>,
    /// Streams whose end hasn't come: fields for one of them are trailers. Of those that were reset here it isn't known, so the
    /// oldest leave first.
    open: BTreeSet<u32>,
    /// Frames are not what they may be: the library ends this connection, and nothing is looked at any more.
    is_lost: bool,
}

impl IncomingFrames {
    /// Frames of which none has come. `max_head` is the most that a message's fields may count for, in bytes.
    pub fn new(max_head: usize, interims: Arc<Interims>) -> Self {
        let (held, packed, plain) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            decoder: Decoder::default(),
            max_head,
            interims,
            skip: PREFACE,
            held,
            begins: 0,
            packed,
            plain,
            open: BTreeSet::new(),
            is_lost: false,
        }
    }

    /// How many of these bytes go on as they are, and at once. What is to go on of those behind them is put into `waiting`.
    pub fn pass(&mut self, bytes: &[u8], waiting: &mut BytesMut) -> usize {
        let (mut passed, mut rest) = (0, bytes);
        while !rest.is_empty() {
            let direct = self.direct(rest);
            let (now, later) = rest.split_at(direct);
            if waiting.is_empty() && passed + rest.len() == bytes.len() {
                passed += now.len();
            } else {
                waiting.extend_from_slice(now);
            }
            rest = later;
            if direct == 0 {
                rest = self.hold(rest, waiting);
            }
        }
        passed
    }

    /// How many of these bytes need not be looked at.
    fn direct(&mut self, bytes: &[u8]) -> usize {
        if self.is_lost {
            return bytes.len();
        }
        if self.skip == 0
            && self.held.is_empty()
            && let Some(head) = bytes.first_chunk().map(FrameHead::read)
            && !head.has_fields()
        {
            self.skip = HEAD + head.length;
            self.note(head);
        }
        let direct = self.skip.min(bytes.len());
        self.skip -= direct;
        direct
    }

    /// Holds what is wanted of these bytes, and lets go of it once it is whole. Returns the rest.
    fn hold<'b>(&mut self, bytes: &'b [u8], waiting: &mut BytesMut) -> &'b [u8] {
        let has = self.held.len() - self.begins;
        let wanted = self.frame().map_or(HEAD, |(head, _)| HEAD + head.length) - has;
        let (now, rest) = bytes.split_at(wanted.min(bytes.len()));
        self.held.extend_from_slice(now);
        let Some((head, payload)) = self.frame() else { return rest };
        if !head.has_fields() && self.begins == 0 {
            self.skip = head.length;
            self.note(head);
            self.release(waiting);
        } else if head.length > MAX_FRAME || self.held.len() > 2 * self.max_head + SLACK {
            self.lose(waiting);
        } else if payload.len() == head.length {
            match self.take_frame(head) {
                Some(message) if head.ends_fields() => self.rewrite(message, waiting),
                Some(_) => self.begins = self.held.len(),
                None => self.lose(waiting),
            }
        }
        rest
    }

    /// The frame that is coming, once its head is there, and what has come of its payload.
    fn frame(&self) -> Option<(FrameHead, &[u8])> {
        let (head, payload) = self.held.get(self.begins..)?.split_first_chunk()?;
        Some((FrameHead::read(head), payload))
    }

    /// Takes the fields of a whole frame. Gives the head of the message's first frame; `None` if the library can't have this one.
    fn take_frame(&mut self, head: FrameHead) -> Option<FrameHead> {
        let first = FrameHead::read(self.held.first_chunk()?);
        let is_first = self.begins == 0;
        if head.kind != if is_first { HEADERS } else { CONTINUATION } || head.stream != first.stream || head.stream == 0
        {
            return None;
        }
        let payload = self.held.get(self.begins + HEAD..)?;
        self.packed.extend_from_slice(if is_first { fields(head.flags, payload)?.1 } else { payload });
        Some(first)
    }

    /// Lets the fields of a whole message go, written anew.
    fn rewrite(&mut self, first: FrameHead, waiting: &mut BytesMut) {
        let is_trailers = self.open.contains(&first.stream);
        let ends = first.flags & END_STREAM != 0;
        let mut seen = Seen { plain: std::mem::take(&mut self.plain), ..Seen::default() };
        if self.decoder.read(&self.packed, |field| seen.field(field, is_trailers, ends, self.max_head)).is_err() {
            seen.plain.clear();
            seen.plain.push(UNREADABLE);
        } else if seen.size > self.max_head {
            // so much has the library refuse it
            seen.plain.clear();
            Field::new(b"x", &vec![b'x'; self.max_head]).write(&mut seen.plain);
        } else if seen.awaits {
            self.interims.awaits(first.stream);
            Field::new(AWAITS_CONTINUE.as_bytes(), first.stream.to_string().as_bytes()).write(&mut seen.plain);
        }
        self.note(first);
        let mut flags = first.flags & (END_STREAM | PRIORITY);
        if is_trailers && seen.has_pseudo {
            flags &= !END_STREAM;
        }
        let priority =
            self.held.get(HEAD..).and_then(|payload| fields(first.flags, payload)).map_or(&[][..], |(p, _)| p);
        write_message(FrameHead { flags, ..first }, priority, &seen.plain, waiting);
        self.plain = seen.plain;
        self.plain.clear();
        self.forget();
    }

    /// Follows which streams are open.
    fn note(&mut self, head: FrameHead) {
        if head.kind == RST_STREAM {
            self.interims.answered(head.stream);
        }
        if head.kind == RST_STREAM || head.flags & END_STREAM != 0 && matches!(head.kind, DATA | HEADERS) {
            self.open.remove(&head.stream);
        } else if head.kind == HEADERS {
            self.open.insert(head.stream);
            if self.open.len() > MAX_OPEN {
                self.open.pop_first();
            }
        }
    }

    fn release(&mut self, waiting: &mut BytesMut) {
        waiting.extend_from_slice(&self.held);
        self.forget();
    }

    fn forget(&mut self) {
        self.held.clear();
        self.packed.clear();
        self.begins = 0;
    }

    fn lose(&mut self, waiting: &mut BytesMut) {
        self.is_lost = true;
        self.release(waiting);
    }
}

/// What the fields of a message come to.
#[derive(Debug, Default)]
struct Seen {
    plain: Vec<u8>,
    /// What they count for, in bytes.
    size: usize,
    has_pseudo: bool,
    awaits: bool,
}

impl Seen {
    fn field(&mut self, field: Field<'_>, is_trailers: bool, ends: bool, most: usize) {
        self.size = self.size.saturating_add(field.size());
        self.has_pseudo |= field.is_pseudo();
        if self.size > most || field.name == AWAITS_CONTINUE.as_bytes() {
            return;
        }
        match field.name {
            b":path" if !is_trailers && field.value.iter().any(|b| matches!(b, b'<' | b'>')) => {
                return field.with_value(&escaped(field.value)).write(&mut self.plain);
            }
            b"expect" => self.awaits |= !is_trailers && !ends && field.value.eq_ignore_ascii_case(b"100-continue"),
            _ => {}
        }
        field.write(&mut self.plain);
    }
}

/// A path with brackets as URIs have them (RFC 3986, section 2.1).
fn escaped(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len() + 16);
    for byte in path {
        match byte {
            b'<' => out.extend_from_slice(b"%3C"),
            b'>' => out.extend_from_slice(b"%3E"),
            _ => out.push(*byte),
        }
    }
    out
}

/// Writes a message's fields in as many frames as it takes.
fn write_message(first: FrameHead, priority: &[u8], fields: &[u8], out: &mut BytesMut) {
    let (mut now, mut rest) = fields.split_at(fields.len().min(MAX_FRAME - priority.len()));
    let mut head = first;
    let mut before = priority;
    loop {
        head.length = before.len() + now.len();
        head.flags |= if rest.is_empty() { END_HEADERS } else { 0 };
        out.extend_from_slice(&head.written());
        out.extend_from_slice(before);
        out.extend_from_slice(now);
        if rest.is_empty() {
            return;
        }
        (head.kind, head.flags, before) = (CONTINUATION, 0, &[]);
        (now, rest) = rest.split_at(rest.len().min(MAX_FRAME));
    }
}

/// The priority and the fields in a HEADERS frame without its padding (RFC 9113, section 6.2).
fn fields(flags: u8, payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let (padding, rest) = if flags & PADDED != 0 { payload.split_first()? } else { (&0, payload) };
    let rest = rest.get(..rest.len().checked_sub(usize::from(*padding))?)?;
    rest.split_at_checked(if flags & PRIORITY != 0 { 5 } else { 0 })
}

#[cfg(test)]
mod tests;
