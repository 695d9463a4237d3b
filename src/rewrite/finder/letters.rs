//! Letters as they are written in each encoding: read one by one, and told from what is part of another's escape.

/// The encoding in which the letters of a text are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// As they are.
    Raw,
    /// With the escapes of JSON (RFC 8259, section 7).
    Json,
    /// Percent-encoded (RFC 3986, section 2.1); a `+` is a plus.
    Percent,
    /// Percent-encoded; a `+` is a space (`application/x-www-form-urlencoded`).
    Form,
}

impl Spelling {
    /// The most bytes that one letter takes.
    pub(super) fn width(self) -> usize {
        match self {
            Spelling::Raw => 1,
            Spelling::Json => 6,
            Spelling::Percent | Spelling::Form => 3,
        }
    }
}

/// The last bytes before those at hand: enough to tell whether the first of them belong to an escape.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lookbehind {
    last: [u8; Self::LEN],
    len: usize,
    /// Whether the run of backslashes that ends before `last` is odd.
    odd: bool,
}

impl Lookbehind {
    /// The length of `\uXXXX`.
    const LEN: usize = 6;

    /// The byte `back` bytes before position `at` of `hay`; 1 is the one just before.
    pub fn byte(&self, hay: &[u8], at: usize, back: usize) -> Option<u8> {
        if back <= at {
            return hay.get(at - back).copied();
        }
        let beyond = back - at;
        (beyond <= self.len).then(|| self.last[Self::LEN - beyond])
    }

    /// Whether the byte `back` bytes before position `at` is escaped by a backslash.
    pub fn escaped(&self, hay: &[u8], at: usize, back: usize) -> bool {
        let mut run = 0usize;
        loop {
            match self.byte(hay, at, back + run + 1) {
                Some(b'\\') => run += 1,
                Some(_) => return run % 2 == 1,
                None => return (run % 2 == 1) != self.odd,
            }
        }
    }

    /// Whether `at` is where a letter begins, rather than inside an escape.
    pub fn aligned(&self, spelling: Spelling, hay: &[u8], at: usize) -> bool {
        match spelling {
            Spelling::Raw => true,
            Spelling::Json => {
                let in_hex = || {
                    (2..=5).any(|back| {
                        self.byte(hay, at, back) == Some(b'\\')
                            && self.byte(hay, at, back - 1) == Some(b'u')
                            && !self.escaped(hay, at, back)
                    })
                };
                !self.escaped(hay, at, 0) && !in_hex()
            }
            Spelling::Percent | Spelling::Form => {
                let digit = |b: Option<&u8>| b.is_some_and(u8::is_ascii_hexdigit);
                let before = |back| self.byte(hay, at, back);
                let first = before(1) == Some(b'%') && digit(hay.get(at)) && digit(hay.get(at + 1));
                let second = before(2) == Some(b'%') && digit(before(1).as_ref()) && digit(hay.get(at));
                !first && !second
            }
        }
    }

    /// These bytes have gone by.
    pub fn pass(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let odd = self.escaped(bytes, bytes.len(), Self::LEN);
        let mut last = [0; Self::LEN];
        let len = (self.len + bytes.len()).min(Self::LEN);
        for back in 1..=len {
            last[Self::LEN - back] = self.byte(bytes, bytes.len(), back).unwrap_or_default();
        }
        // Where fewer than LEN bytes have gone by in all, nothing lies before them.
        *self = Self { last, len, odd: odd && len == Self::LEN };
    }
}

/// A letter that is read at a position, through its escape.
pub(super) enum ReadLetter {
    /// A letter, and where the next begins.
    Letter(u8, usize),
    /// The bytes end within it.
    Partial,
    /// No letter that placeholders are made of.
    Other,
}

/// Reads one letter.
pub(super) fn read_letter(spelling: Spelling, hay: &[u8], at: usize) -> ReadLetter {
    let Some(&byte) = hay.get(at) else { return ReadLetter::Partial };
    match (spelling, byte) {
        (Spelling::Json, b'\\') => read_json_letter(hay, at),
        (Spelling::Percent | Spelling::Form, b'%') => match hex(hay, at + 1, 2) {
            Hex::Value(value) => ReadLetter::Letter((value & 0xff) as u8, at + 3),
            Hex::Partial => ReadLetter::Partial,
            Hex::Other => ReadLetter::Other,
        },
        (Spelling::Form, b'+') => ReadLetter::Letter(b' ', at + 1),
        _ => ReadLetter::Letter(byte, at + 1),
    }
}

fn read_json_letter(hay: &[u8], at: usize) -> ReadLetter {
    match hay.get(at + 1) {
        None => ReadLetter::Partial,
        Some(c @ (b'/' | b'"' | b'\\')) => ReadLetter::Letter(*c, at + 2),
        Some(b'u') => match hex(hay, at + 2, 4) {
            Hex::Value(value @ 0..=0x7f) => ReadLetter::Letter((value & 0x7f) as u8, at + 6),
            Hex::Value(_) | Hex::Other => ReadLetter::Other,
            Hex::Partial => ReadLetter::Partial,
        },
        Some(_) => ReadLetter::Other,
    }
}

enum Hex {
    Value(u16),
    Partial,
    Other,
}

fn hex(hay: &[u8], at: usize, digits: usize) -> Hex {
    let mut value = 0u16;
    for i in at..at + digits {
        let Some(byte) = hay.get(i) else { return Hex::Partial };
        let Some(digit) = char::from(*byte).to_digit(16) else { return Hex::Other };
        value = value << 4 | digit as u16;
    }
    Hex::Value(value)
}

/// A text without its escapes; what is none stays as it is.
pub(crate) fn decode(spelling: Spelling, bytes: &[u8]) -> String {
    String::from_utf8(decode_bytes(spelling, bytes))
        .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// Bytes without their escapes; what is none stays as it is.
pub(crate) fn decode_bytes(spelling: Spelling, bytes: &[u8]) -> Vec<u8> {
    if spelling == Spelling::Raw {
        return bytes.to_vec();
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match read_letter(spelling, bytes, at) {
            ReadLetter::Letter(letter, next) => {
                out.push(letter);
                at = next;
            }
            ReadLetter::Partial | ReadLetter::Other => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}
