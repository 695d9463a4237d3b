//! Cut quotes of a key in an error: «Incorrect API key provided: sk-proj-Ab3dEf6h…» shows more of it than it should.
//!
//! How a key begins is public, and so is what is done here: whatever begins like one and goes on is covered, key or not.

use super::alphabet::Alphabet;
use super::beginnings::Beginnings;
use std::ops::Range;

/// The shortest beginning that means anything, in characters.
const BEGINNING: usize = 3;
/// So many characters behind it are covered, and fewer are left.
const RUN: usize = 8;

/// The beginnings of keys that quotes are known by.
#[derive(Default)]
pub(super) struct Quotes {
    beginnings: Beginnings,
    /// The key that begins so.
    keys: Vec<usize>,
}

impl Quotes {
    /// `beginnings` are those of the keys, by number.
    pub fn new<'a>(beginnings: impl Iterator<Item = (usize, &'a [u8])>) -> Self {
        // what any URL begins with is no sign of a key
        let telling = beginnings.filter(|(_, b)| b.len() >= BEGINNING && !b.ends_with(b"://"));
        let known = telling.map(|(key, b)| (key, b.to_vec()));
        let (keys, beginnings) = known.unzip();
        Self { beginnings: Beginnings::new(beginnings), keys }
    }

    /// Calls `f` with each stretch that looks like a quote, and the key that begins so.
    pub fn each(&self, text: &[u8], mut f: impl FnMut(Range<usize>, usize)) {
        // what begins within a quote is covered by it, and no run is measured twice
        let (mut measured, mut covered) = (0, 0);
        self.beginnings.each(text, &mut |found, number| {
            let within_a_word =
                found.start.checked_sub(1).and_then(|at| text.get(at)).is_some_and(u8::is_ascii_alphanumeric);
            if found.start < covered || within_a_word {
                return;
            }
            if found.end > measured {
                measured = found.end + run(text.get(found.end..).unwrap_or_default());
            }
            if let Some(&key) = self.keys.get(number).filter(|_| measured - found.end >= RUN) {
                covered = measured;
                f(found.start..measured, key);
            }
        });
    }
}

/// How much of the beginning of a text goes on with what a key is made of.
pub(super) fn run(text: &[u8]) -> usize {
    text.iter().take_while(|c| Alphabet::TOKEN.has(**c)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_is_a_beginning_at_a_word_s_and_eight_more() {
        let quotes = Quotes::new([(0, &b"sk-"[..]), (1, b"$xy"), (2, b"ab"), (3, b"ftp://")].into_iter());
        for (text, want) in [
            ("sk-abcdefgh", vec![(0..11, 0)]),
            ("sk-abcdefg", vec![]),
            ("a sk-abcdefgh.", vec![(2..14, 0)]),
            ("task-abcdefgh", vec![]),
            ("sk-abcdefghsk-abcdefgh sk-abcdefgh", vec![(0..22, 0), (23..34, 0)]),
            ("sk-abcdefgh$xyabcdefgh", vec![(0..11, 0)]),
            ("sk-_abcdefg:$xyabcdefgh", vec![(0..11, 0), (12..23, 1)]),
            ("ab_cdefghijkl ftp://abcdefghijkl", vec![]),
        ] {
            let mut found = Vec::new();
            quotes.each(text.as_bytes(), |range, key| found.push((range, key)));
            assert_eq!(found, want, "{text}");
        }
    }
}
