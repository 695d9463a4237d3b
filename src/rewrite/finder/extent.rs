//! The extent of a placeholder whose letters are each written in an encoding: a look-alike, or brackets around a name.

use super::letters::{ReadLetter, Spelling, read_letter};
use crate::name::MAX_NAME;

/// `NAME_key`, at its longest.
pub(super) const MAX_RUN: usize = MAX_NAME + "_key".len();

/// The length to which a bracketed name is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// To the end, so that no name is too long to be refused: for what lies in memory as a whole.
    Whole,
    /// As long as it could be a key's: for streams.
    Name,
}

/// The extent of what is looked for at a position.
pub(super) enum Extent {
    /// Something else stands there.
    Mismatch,
    /// The bytes end before it can be told.
    Incomplete,
    /// It ends before this position.
    To(usize),
}

/// Whether two opening brackets, a name in `_key` and two closing brackets begin at `start`.
pub(super) fn bracketed(spelling: Spelling, hay: &[u8], start: usize, open: u8, close: u8, reach: Reach) -> Extent {
    let mut at = match spelled(spelling, hay, start, &[open, open]) {
        Extent::To(end) => end,
        other => return other,
    };
    let mut run = 0usize;
    let mut ending = [0u8; 4];
    loop {
        match read_letter(spelling, hay, at) {
            ReadLetter::Partial => return Extent::Incomplete,
            ReadLetter::Letter(c, next) if c.is_ascii_alphanumeric() || c == b'_' || c == b'-' => {
                run += 1;
                if run > MAX_RUN && reach == Reach::Name {
                    return Extent::Mismatch;
                }
                ending.rotate_left(1);
                ending[3] = c;
                at = next;
            }
            ReadLetter::Letter(c, _) if c == close && ending == *b"_key" => {
                return spelled(spelling, hay, at, &[close, close]);
            }
            _ => return Extent::Mismatch,
        }
    }
}

/// Whether `text` is written at `start`, in full or as far as the bytes go.
pub(super) fn spelled(spelling: Spelling, hay: &[u8], start: usize, text: &[u8]) -> Extent {
    let mut at = start;
    for letter in text {
        match read_letter(spelling, hay, at) {
            ReadLetter::Letter(c, next) if c == *letter => at = next,
            ReadLetter::Partial => return Extent::Incomplete,
            _ => return Extent::Mismatch,
        }
    }
    Extent::To(at)
}
