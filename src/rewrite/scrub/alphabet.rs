//! The characters that a form is made of, as far as its kind and the kind of its key tell: never which ones a key has.

use super::forms::{BASE64, BASE64_URL};

/// A set of characters, as a bit in [`OF`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Alphabet(u8);

impl Alphabet {
    /// Letters, digits, `-`, `_` and `.`: what nearly all tokens are made of.
    pub const TOKEN: Self = Self(1);
    /// All that can be seen, and what is no ASCII.
    pub const VISIBLE: Self = Self(2);
    /// Every byte.
    pub const ANY: Self = Self(4);
    /// Both alphabets of base64 (RFC 4648, sections 4 and 5), without padding.
    pub const BASE64: Self = Self(8);
    /// Hexadecimal digits of either case.
    pub const HEX: Self = Self(16);

    /// The smallest of the first three that a text is made of.
    pub fn of(text: &[u8]) -> Self {
        let all = [Self::TOKEN, Self::VISIBLE];
        all.into_iter().find(|alphabet| text.iter().all(|c| alphabet.has(*c))).unwrap_or(Self::ANY)
    }

    /// Whether a character is in the set.
    pub fn has(self, c: u8) -> bool {
        OF[usize::from(c)] & self.0 != 0
    }

    /// The union of two sets.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the sets were made of a common one.
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// How many characters of it a text ends in.
    pub fn ending(self, text: &[u8]) -> usize {
        text.iter().rev().take_while(|c| self.has(**c)).count()
    }
}

const OF: [u8; 256] = {
    let mut table = [Alphabet::ANY.0; 256];
    let mut c = 0;
    while c < 256 {
        let byte = c as u8;
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            table[c] |= Alphabet::TOKEN.0;
        }
        if byte.is_ascii_graphic() || !byte.is_ascii() {
            table[c] |= Alphabet::VISIBLE.0;
        }
        if byte.is_ascii_hexdigit() {
            table[c] |= Alphabet::HEX.0;
        }
        c += 1;
    }
    let mut i = 0;
    while i < 64 {
        table[BASE64[i] as usize] |= Alphabet::BASE64.0;
        table[BASE64_URL[i] as usize] |= Alphabet::BASE64.0;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alphabet_is_the_smallest_that_a_text_is_made_of() {
        for (text, alphabet) in [
            ("aB9-_.", Alphabet::TOKEN),
            ("a+b/c", Alphabet::VISIBLE),
            ("a b", Alphabet::ANY),
            ("\u{e9}", Alphabet::VISIBLE),
        ] {
            assert_eq!(Alphabet::of(text.as_bytes()), alphabet, "{text}");
        }
        assert!(Alphabet::BASE64.has(b'/') && Alphabet::BASE64.has(b'_') && !Alphabet::BASE64.has(b'='));
        assert!(Alphabet::HEX.has(b'F') && !Alphabet::HEX.has(b'g'));
        assert_eq!(Alphabet::HEX.ending(b"xyzbeef"), 4);
    }

    #[test]
    fn sets_meet_where_they_were_made_of_one() {
        let [token, hex, both] = [Alphabet::TOKEN, Alphabet::HEX, Alphabet::TOKEN.and(Alphabet::HEX)];
        assert!(both.meets(token) && both.meets(hex) && token.meets(token) && !token.meets(hex));
        assert!(both.has(b'-') && both.has(b'f') && !both.has(b'+'));
    }
}
