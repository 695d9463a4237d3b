//! The strings and numbers of JSON (RFC 8259), read to the letter and over any cuts.

/// The state of a number that is being read (RFC 8259, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NumberState {
    /// Behind the sign.
    Minus,
    /// A zero, which no digit may follow.
    Zero,
    /// In the digits before the point.
    Integer,
    /// Behind the point.
    Point,
    /// In the digits behind the point.
    Fraction,
    /// Behind the `e`.
    Exponent,
    /// Behind the sign of the exponent.
    ExponentSign,
    /// In the digits of the exponent.
    ExponentDigits,
}

impl NumberState {
    /// The number that this byte begins.
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
        use NumberState::*;
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

    /// Whether what has been read is a number.
    pub fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Integer | Self::Fraction | Self::ExponentDigits)
    }
}

/// The state of a string that is being read (RFC 8259, section 7): one that is Unicode, and whose escapes are characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StringState {
    /// Between characters.
    Plain,
    /// In a character of several bytes, of which so many have gone by.
    Utf8 { seen: [u8; 3], len: usize },
    /// Behind a backslash.
    Escape,
    /// In the digits of `\uXXXX`.
    Hex {
        value: u16,
        digits: u8,
        /// The first half of a surrogate pair is before it.
        second: bool,
    },
    /// Behind the first half of a surrogate pair, where only an escape can follow.
    Pair,
    /// Behind the backslash of the second half.
    PairEscape,
}

/// The outcome of reading some bytes of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StringRead {
    /// So many were read, and the string goes on.
    More(usize),
    /// With so many it ended.
    End(usize),
    /// It is no JSON string.
    Fault,
}

impl StringState {
    /// Reads as far as one rule goes; the rest is for the next call.
    pub fn read(&mut self, bytes: &[u8]) -> StringRead {
        let Some(&byte) = bytes.first() else { return StringRead::More(0) };
        let next = match *self {
            StringState::Plain => return self.plain(bytes),
            StringState::Utf8 { seen, len } => utf8(seen, len, byte),
            StringState::Escape => match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(StringState::Plain),
                b'u' => Some(StringState::Hex { value: 0, digits: 0, second: false }),
                _ => None,
            },
            StringState::Hex { value, digits, second } => hex(value, digits, second, byte),
            StringState::Pair => (byte == b'\\').then_some(StringState::PairEscape),
            StringState::PairEscape => (byte == b'u').then_some(StringState::Hex { value: 0, digits: 0, second: true }),
        };
        let Some(next) = next else { return StringRead::Fault };
        *self = next;
        StringRead::More(1)
    }

    fn plain(&mut self, bytes: &[u8]) -> StringRead {
        let stop = memchr::memchr2(b'"', b'\\', bytes);
        let text = bytes.get(..stop.unwrap_or(bytes.len())).unwrap_or_default();
        // not `any`, which stops at the first and can't look at many bytes at once
        if text.iter().fold(false, |control, b| control | (*b < 0x20)) {
            return StringRead::Fault;
        }
        match (std::str::from_utf8(text), stop) {
            (Ok(_), None) => StringRead::More(text.len()),
            (Ok(_), Some(at)) if bytes.get(at) == Some(&b'"') => StringRead::End(at + 1),
            (Ok(_), Some(at)) => {
                *self = StringState::Escape;
                StringRead::More(at + 1)
            }
            (Err(e), None) if e.error_len().is_none() => {
                let cut = text.get(e.valid_up_to()..).unwrap_or_default();
                let mut seen = [0; 3];
                seen.iter_mut().zip(cut).for_each(|(to, from)| *to = *from);
                *self = StringState::Utf8 { seen, len: cut.len() };
                StringRead::More(text.len())
            }
            (Err(_), _) => StringRead::Fault,
        }
    }
}

/// One more byte of a character that a cut went through.
fn utf8(seen: [u8; 3], len: usize, byte: u8) -> Option<StringState> {
    let mut character = [0; 4];
    character.iter_mut().zip(seen.iter().take(len).chain([&byte])).for_each(|(to, from)| *to = *from);
    let character = character.get(..=len)?;
    match std::str::from_utf8(character) {
        Ok(_) => Some(StringState::Plain),
        Err(e) if e.error_len().is_some() => None,
        Err(_) => {
            let mut seen = seen;
            *seen.get_mut(len)? = byte;
            Some(StringState::Utf8 { seen, len: len + 1 })
        }
    }
}

/// One more digit of `\uXXXX`. Half a surrogate pair is no character.
fn hex(value: u16, digits: u8, second: bool, byte: u8) -> Option<StringState> {
    let digit = char::from(byte).to_digit(16)?;
    let value = value << 4 | digit as u16;
    match (digits + 1, value) {
        (4, 0xdc00..=0xdfff) => second.then_some(StringState::Plain),
        (4, _) if second => None,
        (4, 0xd800..=0xdbff) => Some(StringState::Pair),
        (4, _) => Some(StringState::Plain),
        (digits, _) => Some(StringState::Hex { value, digits, second }),
    }
}

/// Whether a byte is insignificant white space (RFC 8259, section 2).
pub(crate) fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r')
}
