//! The way back: takes keys out of what an upstream answers and puts their placeholders there. Which responses are
//! scrubbed, of which keys, and how the body is framed afterwards, is decided elsewhere.
//!
//! # What is seen
//!
//! A stretch of the text that spells 12 or more consecutive bytes of the secret part of a key, wherever in the key they
//! lie, in one of these forms:
//!
//! - the bytes themselves;
//! - JSON: any character other than letters, digits, `-`, `_` and `.` as itself, as `\/` and the like, or as `\u002f`
//!   (`\u002F`), with one to three backslashes, as JSON in a JSON string has them;
//! - percent-encoding of the same characters: `%2f`, `%2F`, `%252f`, and `+` for a space;
//! - base64 of a text that holds the key, at each of the three alignments, of the standard and the URL-safe alphabet,
//!   and again in JSON or percent-encoded; the characters at the ends that are shared with a neighbour stay;
//! - hex in either case.
//!
//! Each character may be spelled in its own way, so it doesn't matter which serializer wrote it. The well-known
//! beginning of a key (`sk-ant-`) is hidden together with the secret part, but is no secret by itself.
//!
//! # What is not seen
//!
//! Letters and digits that are escaped though nothing asks for it (`\u0061`, `%61`); JSON escapes of characters beyond
//! ASCII; HTML's `&amp;` and the like; UTF-16; pieces of fewer than 12 bytes (so also what is left over where base64 is
//! wrapped into lines); other alphabets, hashes, encryption, and whatever else a host may do that means to get a key
//! past us. Keys with fewer than 12 secret bytes are replaced in headers only, where the whole key is seen, and those
//! under [`SHORT`] bytes not at all.
//!
//! # Nothing waits
//!
//! No byte is ever held back, so no pause tells anything. A byte is masked if and only if it belongs to a stretch that
//! spells 12 bytes of a secret by the end of the chunk in which the byte came; a key in one chunk is replaced whole, and
//! of a key that is cut by chunks, its beginning and 11 bytes of the secret at most have passed. The last bytes that
//! passed are remembered, so it does not matter how small the chunks are.

mod body;
mod forms;
mod index;

pub use body::BodyScrub;

use crate::memory::{self, Opened};
use crate::name::KeyName;
use body::Cover;
use forms::{Form, View};
use index::{Group, Index, SHORTEST, STRIDE};
use std::cmp::Reverse;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Secret bytes that must have matched before anything is masked: less could be guessed letter by letter.
pub const CERTAIN: usize = 12;

/// Keys with fewer bytes than this are not replaced in headers either: they would be found in any date.
pub const SHORT: usize = 4;

/// A key to hide.
pub struct ScrubKey {
    pub key: KeyName,
    /// What stands in its place.
    pub placeholder: String,
    /// Length of the well-known beginning, in bytes: 7 for `sk-ant-`, 0 if there is none.
    pub secret_from: usize,
    pub value: Arc<Opened>,
}

/// How a key in a body is covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// By its placeholder; the body changes its length.
    Placeholder,
    /// By its placeholder, cut or filled up with `*`, for bodies whose length has been told already.
    SameLength,
}

/// What is looked for: all forms of some keys. Making it costs microseconds, so exchanges that follow each other closely
/// may share it. What it derives from the keys is wiped when it is dropped.
pub struct Patterns {
    keys: Vec<Hidden>,
    forms: Vec<Form>,
    /// The atoms of all forms.
    buffer: Vec<u8>,
    index: Index,
}

struct Hidden {
    name: KeyName,
    placeholder: String,
    value: Arc<Opened>,
    too_short: bool,
}

/// Hides the keys of one exchange, and counts how often it did.
pub struct Scrubber {
    patterns: Arc<Patterns>,
    hits: Vec<AtomicU64>,
}

/// A stretch of the text, and the key that it tells.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Find {
    text: Range<usize>,
    key: usize,
    whole: bool,
}

impl Find {
    /// Leftmost first, then longest, then a whole key before a piece of another.
    fn order(&self) -> (usize, Reverse<usize>, bool) {
        (self.text.start, Reverse(self.text.end), !self.whole)
    }
}

impl Patterns {
    pub fn new(keys: Vec<ScrubKey>) -> Self {
        let room = keys.iter().map(|k| forms::room(k.value.expose().len())).sum();
        let mut buffer = Vec::with_capacity(room);
        let mut forms = Vec::with_capacity(5 * keys.len());
        for (number, key) in keys.iter().enumerate() {
            let value = key.value.expose();
            if value.len() >= SHORT {
                forms::add(number, value, key.secret_from.min(value.len()), &mut buffer, &mut forms);
            }
        }
        let keys: Vec<Hidden> = keys
            .into_iter()
            .map(|k| Hidden {
                too_short: Scrubber::too_short(&k),
                name: k.key,
                placeholder: k.placeholder,
                value: k.value,
            })
            .collect();
        let long = |form: &Form| keys.get(form.key).is_some_and(|k| !k.too_short);
        let index = Index::new(forms.iter().enumerate().filter(|(_, f)| long(f)), &buffer);
        Self { keys, forms, buffer, index }
    }

    /// Whether they are those of just these keys, with these values.
    pub fn are_of<'a>(&self, keys: impl Iterator<Item = (&'a KeyName, &'a Arc<Opened>)>) -> bool {
        let own = self.keys.iter().map(|k| (&k.name, k.value.expose()));
        own.eq(keys.map(|(name, value)| (name, value.expose())))
    }
}

impl Scrubber {
    pub fn new(keys: Vec<ScrubKey>) -> Self {
        Self::with(Arc::new(Patterns::new(keys)))
    }

    pub fn with(patterns: Arc<Patterns>) -> Self {
        let hits = patterns.keys.iter().map(|_| AtomicU64::new(0)).collect();
        Self { patterns, hits }
    }

    /// Whether a key has too few secret bytes to be scrubbed in bodies.
    pub fn too_short(key: &ScrubKey) -> bool {
        key.value.expose().len().saturating_sub(key.secret_from) < CERTAIN
    }

    /// How often each key has been hidden so far, in headers and bodies.
    pub fn hits(&self) -> impl Iterator<Item = (&KeyName, u64)> {
        self.patterns.keys.iter().zip(&self.hits).map(|(k, hits)| (&k.name, hits.load(Ordering::Relaxed)))
    }

    /// A header's value, a trailer's, or a reason phrase, with placeholders for keys; `None` if there is none in it.
    pub fn header(&self, value: &[u8]) -> Option<Vec<u8>> {
        let view = View { seen: &[], now: value };
        let mut finds = self.patterns.finds(view);
        self.patterns.short_ones(view, &mut finds);
        if finds.is_empty() {
            return None;
        }
        finds.sort_by_key(Find::order);
        let mut out = Vec::with_capacity(value.len());
        Cover::new(self, Mask::Placeholder, None).all(view, &finds, &mut out);
        Some(out)
    }

    /// Starts on a body, or on the frames of one direction of a connection.
    pub fn body(self: &Arc<Self>, mask: Mask) -> BodyScrub {
        BodyScrub::new(Arc::clone(self), mask)
    }
}

impl Patterns {
    /// All stretches that are certain and reach into the chunk at hand.
    fn finds(&self, view: View) -> Vec<Find> {
        let mut finds: Vec<Find> = Vec::new();
        if view.len() < SHORTEST {
            return finds;
        }
        let (mut at, mut done) = (0, view.seen.len());
        while let Some((place, groups)) = self.index.find(view, at) {
            let find = groups.filter_map(|g| self.certain(view, place, g)).filter(|f| f.text.end > done);
            let Some(find) = find.min_by_key(Find::order) else {
                at = place + STRIDE;
                continue;
            };
            // Whatever reaches beyond this stretch begins within its last characters, or is met at a later place.
            done = find.text.end;
            at = done.saturating_sub(SHORTEST - 1).max(place + 1);
            finds.push(find);
        }
        finds
    }

    fn certain(&self, view: View, place: usize, group: Group) -> Option<Find> {
        let (form, at) = (self.forms.get(group.form)?, place + group.ahead);
        if forms::falls_short(form, &self.buffer, view, group.atom, at, CERTAIN) {
            return None;
        }
        let found = forms::agreement(form, &self.buffer, view, group.atom, at)?;
        let whole = found.atoms.len() == form.atoms.len();
        (form.secret_bytes(found.atoms) >= CERTAIN).then_some(Find { text: found.text, key: form.key, whole })
    }

    /// Keys that are too short for the rule of 12, where they are whole.
    fn short_ones(&self, view: View, finds: &mut Vec<Find>) {
        for form in self.forms.iter().filter(|f| self.keys.get(f.key).is_some_and(|k| k.too_short)) {
            for at in 0..view.len() {
                let Some(found) = forms::agreement(form, &self.buffer, view, 0, at) else { continue };
                if found.atoms.len() == form.atoms.len() {
                    finds.push(Find { text: found.text, key: form.key, whole: true });
                }
            }
        }
    }
}

impl Drop for Patterns {
    fn drop(&mut self) {
        memory::wipe(&mut self.buffer);
    }
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.patterns.keys.iter().map(|k| &k.name)).finish()
    }
}

#[cfg(test)]
mod tests;
