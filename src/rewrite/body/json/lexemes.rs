//! The strings and numbers of JSON (RFC 8259), read to the letter and over any cuts.

/// How far a number has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    Minus,
    /// A zero, which no digit may follow.
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl Number {
    pub fn begin(byte: u8) -> Option<Self> {
        match byte {
            b'-' => Some(Self::Minus),
            b'0' => Some(Self::Zero),
            b'1'..=b'9' => Some(Self::Integer),
            _ => None,
        }
    }

    /// `None` where the byte doesn't belong to it.
    pub fn next(self, byte: u8) -> Option<Self> {
        use Number::*;
        match (self, byte) {
            (Minus, b'0') => Some(Zero),
            (Minus, b'1'..=b'9') | (Integer, b'0'..=b'9') => Some(Integer),
            (Zero | Integer, b'.') => Some(Point),
            (Point | Fraction, b'0'..=b'9') => Some(Fraction),
            (Zero | Integer | Fraction, b'e' | b'E') => Some(Exponent),
            (Exponent, b'+' | b'-') => Some(ExponentSign),
            (Exponent | ExponentSign | ExponentDigits, b'0'..=b'9') => Some(ExponentDigits),
            _ => None,
        }
    }

    pub fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Integer | Self::Fraction | Self::ExponentDigits)
    }
}

/// Where in a string the next byte is: in one that is Unicode, and whose escapes are characters, none else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chars {
    Plain,
    /// In a character of several bytes, of which so many have gone by.
    Utf8 {
        seen: [u8; 3],
        len: usize,
    },
    Escape,
    Hex {
        value: u16,
        digits: u8,
        /// The first half of a surrogate pair is before it.
        second: bool,
    },
    /// Behind the first half of a surrogate pair, where only an escape can follow.
    Pair,
    PairEscape,
}

/// What the bytes of a string came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many were read, and the string goes on.
    More(usize),
    /// With so many it ended.
    End(usize),
    Fault,
}

impl Chars {
    /// Reads as far as one rule goes; the rest is for the next call.
    pub fn read(&mut self, bytes: &[u8]) -> Read {
        let Some(&byte) = bytes.first() else { return Read::More(0) };
        let next = match *self {
            Chars::Plain => return self.plain(bytes),
            Chars::Utf8 { seen, len } => utf8(seen, len, byte),
            Chars::Escape => match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(Chars::Plain),
                b'u' => Some(Chars::Hex { value: 0, digits: 0, second: false }),
                _ => None,
            },
            Chars::Hex { value, digits, second } => hex(value, digits, second, byte),
            Chars::Pair => (byte == b'\\').then_some(Chars::PairEscape),
            Chars::PairEscape => (byte == b'u').then_some(Chars::Hex { value: 0, digits: 0, second: true }),
        };
        let Some(next) = next else { return Read::Fault };
        *self = next;
        Read::More(1)
    }

    fn plain(&mut self, bytes: &[u8]) -> Read {
        let stop = memchr::memchr2(b'"', b'\\', bytes);
        let text = bytes.get(..stop.unwrap_or(bytes.len())).unwrap_or_default();
        // not `any`, which stops at the first and can't look at many bytes at once
        if text.iter().fold(false, |control, b| control | (*b < 0x20)) {
            return Read::Fault;
        }
        match (std::str::from_utf8(text), stop) {
            (Ok(_), None) => Read::More(text.len()),
            (Ok(_), Some(at)) if bytes.get(at) == Some(&b'"') => Read::End(at + 1),
            (Ok(_), Some(at)) => {
                *self = Chars::Escape;
                Read::More(at + 1)
            }
            (Err(e), None) if e.error_len().is_none() => {
                let cut = text.get(e.valid_up_to()..).unwrap_or_default();
                let mut seen = [0; 3];
                seen.iter_mut().zip(cut).for_each(|(to, from)| *to = *from);
                *self = Chars::Utf8 { seen, len: cut.len() };
                Read::More(text.len())
            }
            (Err(_), _) => Read::Fault,
        }
    }
}

/// One more byte of a character that a cut went through.
fn utf8(seen: [u8; 3], len: usize, byte: u8) -> Option<Chars> {
    let mut character = [0; 4];
    character.iter_mut().zip(seen.iter().take(len).chain([&byte])).for_each(|(to, from)| *to = *from);
    let character = character.get(..=len)?;
    match std::str::from_utf8(character) {
        Ok(_) => Some(Chars::Plain),
        Err(e) if e.error_len().is_some() => None,
        Err(_) => {
            let mut seen = seen;
            *seen.get_mut(len)? = byte;
            Some(Chars::Utf8 { seen, len: len + 1 })
        }
    }
}

/// One more digit of `\uXXXX`. Half a surrogate pair is no character.
fn hex(value: u16, digits: u8, second: bool, byte: u8) -> Option<Chars> {
    let digit = char::from(byte).to_digit(16)?;
    let value = value << 4 | digit as u16;
    match (digits + 1, value) {
        (4, 0xdc00..=0xdfff) => second.then_some(Chars::Plain),
        (4, _) if second => None,
        (4, 0xd800..=0xdbff) => Some(Chars::Pair),
        (4, _) => Some(Chars::Plain),
        (digits, _) => Some(Chars::Hex { value, digits, second }),
    }
}
