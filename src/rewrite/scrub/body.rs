//! A body on its way back, piece by piece: what could be the beginning of a key waits for the next piece.

use super::cover::{KeyMatch, Mask, Masker, OpenMask};
use super::quotes;
use super::scrubber::Scrubber;
use crate::memory;
use bytes::Bytes;
use std::fmt;

/// Scrubs one body. What it holds back belongs to the body's end, once that has come cleanly.
pub struct BodyScrub {
    scrubber: Scrubber,
    mask: Mask,
    /// The end of what has come: first what has been passed on and could still matter, then what is held back.
    tail: Vec<u8>,
    /// How much of `tail` has been passed on.
    released: usize,
    /// The mask that the last byte passed on lies under.
    open: Option<OpenMask>,
    hits: u64,
    has_changed: bool,
}

impl Scrubber {
    /// Starts on a body, or on the frames of one direction of a connection.
    pub fn body(&self, mask: Mask) -> BodyScrub {
        BodyScrub::new(self.clone(), mask)
    }
}

impl BodyScrub {
    fn new(scrubber: Scrubber, mask: Mask) -> Self {
        Self { scrubber, mask, tail: Vec::new(), released: 0, open: None, hits: 0, has_changed: false }
    }

    /// Takes a piece, and gives what may be passed on: the piece itself where nothing is to be hidden or held back.
    pub fn push(&mut self, piece: Bytes) -> Bytes {
        if piece.is_empty() {
            return piece;
        }
        let text = if self.tail.is_empty() { piece } else { self.joined(&piece) };
        let held = self.scrubber.patterns.holdback.start(&text);
        self.pass(&text, held)
    }

    /// The body, or a message in it, has ended cleanly: gives what was held back. What comes next is another text.
    pub fn finish(&mut self) -> Bytes {
        let text = self.joined(&[]);
        let rest = self.pass(&text, text.len());
        self.forget();
        rest
    }

    /// Hides other keys from now on, or the same ones with other values.
    pub fn renew(&mut self, scrubber: Scrubber) {
        self.scrubber = scrubber;
        self.open = None;
    }

    /// How often a key has been hidden in this body.
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// Whether anything was covered: a key, or what looked like a quote of one.
    pub fn has_changed(&self) -> bool {
        self.has_changed
    }

    fn joined(&mut self, piece: &[u8]) -> Bytes {
        let mut text = Vec::with_capacity(self.tail.len() + piece.len());
        text.extend_from_slice(&self.tail);
        text.extend_from_slice(piece);
        text.into()
    }

    /// Passes on what comes before `held`, and to its end whatever begins there.
    fn pass(&mut self, text: &Bytes, held: usize) -> Bytes {
        let finds = self.finds(text);
        let mut end = held.max(self.released);
        for find in finds.iter().filter(|find| find.text.start < held) {
            end = end.max(find.text.end);
        }
        let out = match finds.first().filter(|find| find.text.start < end) {
            None => text.slice(self.released..end),
            Some(_) => self.cover(text, end, &finds),
        };
        if finds.is_empty() && end > self.released {
            self.open = None;
        }
        self.remember(text, held, end);
        out
    }

    fn finds(&self, text: &[u8]) -> Vec<KeyMatch> {
        let patterns = &self.scrubber.patterns;
        let mut finds = patterns.finds(text, self.released, self.scrubber.covers_quotes);
        if let Some(open) = self.open.filter(|open| open.is_quote) {
            let run = quotes::run(text.get(self.released..).unwrap_or_default());
            let text = self.released.saturating_sub(1)..self.released + run;
            finds.insert(0, KeyMatch { text, key: open.key, is_quote: true });
        }
        finds
    }

    fn cover(&mut self, text: &[u8], end: usize, finds: &[KeyMatch]) -> Bytes {
        let mut out = Vec::with_capacity(end - self.released + 64);
        let (scrubber, hits) = (&self.scrubber, &mut self.hits);
        let mut cover = Masker {
            mask: self.mask,
            placeholder: &|key| scrubber.patterns.placeholder(key),
            open: self.open,
            hidden: &mut |key| {
                *hits += 1;
                scrubber.count(key);
            },
        };
        cover.write(text, self.released..end, finds, &mut out);
        self.open = cover.open;
        self.has_changed = true;
        out.into()
    }

    /// Keeps what is held back, and as much before it as tells what that is.
    fn remember(&mut self, text: &[u8], held: usize, end: usize) {
        let patterns = &self.scrubber.patterns;
        let is_over = end == text.len() && !text.last().is_some_and(|c| patterns.holdback.goes_on_behind(*c));
        let from = if is_over { end } else { held.min(end.saturating_sub(patterns.context)) };
        memory::wipe(&mut self.tail);
        self.tail.clear();
        self.tail.extend_from_slice(text.get(from..).unwrap_or_default());
        self.released = end - from;
    }

    fn forget(&mut self) {
        memory::wipe(&mut self.tail);
        self.tail.clear();
        (self.released, self.open) = (0, None);
    }
}

impl Drop for BodyScrub {
    fn drop(&mut self) {
        memory::wipe(&mut self.tail);
    }
}

impl fmt::Debug for BodyScrub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyScrub").field("keys", &self.scrubber).field("hits", &self.hits).finish_non_exhaustive()
    }
}
