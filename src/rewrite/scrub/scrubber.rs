//! The scrubber of one exchange: texts that have come whole, and the count of what was hidden.

use super::cover::{Mask, Masker};
use super::patterns::{ScrubKey, ScrubPatterns};
use crate::name::KeyName;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Hides the keys of one exchange, and counts how often it did.
#[derive(Clone)]
pub struct Scrubber {
    /// What is looked for.
    pub(super) patterns: Arc<ScrubPatterns>,
    hits: Arc<ScrubHits>,
    /// The answer may be an error.
    pub(super) covers_quotes: bool,
}

/// The count of how often each key has been hidden in an exchange, whatever its values were meanwhile.
#[derive(Debug, Default)]
pub struct ScrubHits(Mutex<Vec<(KeyName, u64)>>);

impl ScrubHits {
    fn add(&self, key: &KeyName) {
        let mut hits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match hits.iter_mut().find(|(name, _)| name == key) {
            Some((_, count)) => *count += 1,
            None => hits.push((key.clone(), 1)),
        }
    }

    /// Each key that was hidden, and how often.
    pub fn all(&self) -> Vec<(KeyName, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether no key was hidden.
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl Scrubber {
    /// Hides these keys, and counts from zero.
    pub fn new(keys: Vec<ScrubKey>) -> Self {
        Self::with(Arc::new(ScrubPatterns::new(keys)), Arc::default())
    }

    /// Hides what was derived before, and counts on in `hits`.
    pub fn with(patterns: Arc<ScrubPatterns>, hits: Arc<ScrubHits>) -> Self {
        Self { patterns, hits, covers_quotes: false }
    }

    /// The same for an answer that may be an error, in which cut quotes of keys are covered as well.
    pub fn of_error(&self, is_error: bool) -> Self {
        Self { covers_quotes: is_error, ..self.clone() }
    }

    /// The count, which clones of this scrubber share.
    pub fn hits(&self) -> &Arc<ScrubHits> {
        &self.hits
    }

    /// The fewest unknown bits of a key, over all keys that could be confirmed by a digest of what holds them.
    pub fn weakest(&self) -> Option<f32> {
        self.patterns.weakest()
    }

    /// Counts a key, by its number, as hidden once more.
    pub(super) fn count(&self, key: usize) {
        if let Some(name) = self.patterns.key_names().nth(key) {
            self.hits.add(name);
        }
    }

    /// A text that has come whole, such as a header's value, with placeholders for keys; `None` if there is none in it.
    pub fn header(&self, value: &[u8]) -> Option<Vec<u8>> {
        self.whole(value, Mask::Placeholder)
    }

    /// The same with masks of the same length.
    pub fn same_length(&self, value: &[u8]) -> Option<Vec<u8>> {
        self.whole(value, Mask::SameLength)
    }

    fn whole(&self, value: &[u8], mask: Mask) -> Option<Vec<u8>> {
        let finds = self.patterns.finds(value, 0, self.covers_quotes);
        if finds.is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(value.len());
        let placeholder = |key| self.patterns.placeholder(key);
        let mut cover = Masker { mask, placeholder: &placeholder, open: None, hidden: &mut |key| self.count(key) };
        cover.write(value, 0..value.len(), &finds, &mut out);
        Some(out)
    }

    /// Whether the name of a header holds a key, which it has in lower case.
    pub fn is_in_name(&self, name: &str) -> bool {
        self.patterns.find_in_name(name).inspect(|key| self.count(*key)).is_some()
    }
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.patterns.key_names()).finish()
    }
}
