//! A body on its way back: masks over what was found in each chunk, and over what goes on in the next.

use super::forms::{self, View};
use super::{Find, Mask, Scrubber};
use crate::memory;
use bytes::Bytes;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Enough of the past to tell 12 secret bytes in any form: 17 characters of base64 and a broken one, each escaped.
const TAIL: usize = 18 * forms::LONGEST;

/// Scrubs one body, chunk by chunk. Each chunk is passed on at once, so there is nothing to finish.
pub struct BodyScrub {
    scrubber: Arc<Scrubber>,
    mask: Mask,
    /// The last bytes before the next chunk, as they came.
    tail: [u8; TAIL],
    tail_len: usize,
    /// The mask that the last byte of the previous chunk lies under.
    open: Option<Open>,
    hits: u64,
}

/// A mask that has begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    key: usize,
    written: usize,
}

impl BodyScrub {
    pub(super) fn new(scrubber: Arc<Scrubber>, mask: Mask) -> Self {
        Self { scrubber, mask, tail: [0; TAIL], tail_len: 0, open: None, hits: 0 }
    }

    /// The chunk itself where there is nothing to hide in it.
    pub fn push(&mut self, chunk: Bytes) -> Bytes {
        if chunk.is_empty() {
            return chunk;
        }
        let view = View { seen: self.tail.get(..self.tail_len).unwrap_or(&[]), now: &chunk };
        let finds = self.scrubber.patterns.finds(view);
        if finds.is_empty() {
            self.open = None;
            self.remember(&chunk);
            return chunk;
        }
        let mut out = Vec::with_capacity(chunk.len() + 64);
        let mut cover = Cover::new(&self.scrubber, self.mask, self.open);
        cover.all(view, &finds, &mut out);
        (self.open, self.hits) = (cover.open, self.hits + cover.hits);
        self.remember(&chunk);
        out.into()
    }

    /// How often a key has been hidden in this body.
    pub fn hits(&self) -> u64 {
        self.hits
    }

    fn remember(&mut self, chunk: &[u8]) {
        let new = chunk.get(chunk.len().saturating_sub(TAIL)..).unwrap_or(chunk);
        let kept = self.tail_len.min(TAIL - new.len());
        self.tail.copy_within(self.tail_len - kept..self.tail_len, 0);
        self.tail_len = kept + new.len();
        if let Some(end) = self.tail.get_mut(kept..self.tail_len) {
            end.copy_from_slice(new);
        }
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

/// Writes a chunk with masks over what was found in it.
pub(super) struct Cover<'a> {
    scrubber: &'a Scrubber,
    mask: Mask,
    open: Option<Open>,
    hits: u64,
}

impl<'a> Cover<'a> {
    pub fn new(scrubber: &'a Scrubber, mask: Mask, open: Option<Open>) -> Self {
        Self { scrubber, mask, open, hits: 0 }
    }

    pub fn all(&mut self, view: View, finds: &[Find], out: &mut Vec<u8>) {
        let before = view.seen.len();
        let clear = |text: Range<usize>| view.now.get(text.start - before..text.end - before).unwrap_or(&[]);
        let mut done = before;
        for find in finds {
            if find.text.end <= done {
                continue;
            }
            let start = find.text.start.max(done);
            out.extend_from_slice(clear(done..start));
            // It overlaps what is masked already: the same mask goes on.
            let open = match self.open {
                Some(open) if find.text.start < done => open,
                _ => self.begin(find.key),
            };
            self.open = Some(self.write(open, find.text.end - start, out));
            done = find.text.end;
        }
        if done < view.len() {
            out.extend_from_slice(clear(done..view.len()));
            self.open = None;
        }
    }

    fn begin(&mut self, key: usize) -> Open {
        self.hits += 1;
        if let Some(hits) = self.scrubber.hits.get(key) {
            hits.fetch_add(1, Ordering::Relaxed);
        }
        Open { key, written: 0 }
    }

    /// Writes what a mask shows over the next `len` bytes.
    fn write(&self, open: Open, len: usize, out: &mut Vec<u8>) -> Open {
        let placeholder = self.scrubber.patterns.keys.get(open.key).map_or("", |k| &k.placeholder).as_bytes();
        match self.mask {
            Mask::Placeholder if open.written == 0 => out.extend(placeholder),
            Mask::Placeholder => {}
            Mask::SameLength => {
                out.extend(placeholder.iter().chain(std::iter::repeat(&b'*')).skip(open.written).take(len));
            }
        }
        Open { written: open.written + len, ..open }
    }
}
