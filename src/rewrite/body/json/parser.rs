//! The parser of JSON bodies: whether a placeholder is a whole string value, and at which pointer.

use super::lexemes::is_space;
use super::path::PointerPath;
use super::tokens::{JsonTexts, JsonTokenizer};
use crate::rewrite::body::escape::EscapeStyle;
use crate::rewrite::body::location::{Location, Match};
use std::ops::Range;

/// So much space after a string is waited for, to see what follows it.
pub(super) const MAX_SPACE: usize = 4096;

/// JSON as far as it is valid to the letter.
#[derive(Debug)]
pub(crate) struct JsonParser {
    tokens: JsonTokenizer,
}

impl JsonParser {
    /// `pointers` are those that bindings ask for.
    pub fn new<'p>(texts: JsonTexts, pointers: impl Iterator<Item = &'p str>) -> Self {
        Self { tokens: JsonTokenizer::new(texts, PointerPath::new(pointers)) }
    }

    /// These bytes have gone by.
    pub fn advance(&mut self, bytes: &[u8]) {
        self.tokens.advance(bytes);
    }

    /// Whether all that has gone by is JSON, and may end here.
    pub fn is_whole(&self) -> bool {
        self.tokens.is_whole()
    }

    /// Whether it was no JSON after all.
    pub fn is_lost(&self) -> bool {
        self.tokens.is_lost()
    }

    /// Where the placeholder at `at` stands, all bytes before which have gone by; `last` says that nothing follows `hay`.
    pub fn locate(&self, hay: &[u8], at: &Range<usize>, last: bool) -> Match<'_> {
        let Some(whole) = self.whole_value(hay, at.end, last) else { return Match::Incomplete };
        let pointer = self.tokens.pointer().filter(|_| whole);
        Match::Location(Location { whole, field: None, pointer, escape: EscapeStyle::Json })
    }

    /// Whether what ends at `end` is all of a string, and the string a value. `None` where the bytes end before that is known.
    fn whole_value(&self, hay: &[u8], end: usize, last: bool) -> Option<bool> {
        if !self.tokens.in_fresh_value() {
            return Some(false);
        }
        match hay.get(end) {
            Some(b'"') => {}
            None if !last => return None,
            _ => return Some(false),
        }
        let after = hay.get(end + 1..).unwrap_or_default();
        match after.iter().take(MAX_SPACE).position(|b| !is_space(*b)) {
            Some(at) => Some(self.tokens.may_follow(&after[..at], after[at])),
            None if after.len() >= MAX_SPACE => Some(false),
            None => last.then(|| self.tokens.may_end()),
        }
    }
}
