//! The tokens of JSON (RFC 8259), read to the letter and over any cuts: up to the first fault it is JSON, and behind it nothing is.

use super::lexemes::{NumberState, StringRead, StringState, is_space};
use super::path::PointerPath;

/// Deeper than this is not followed, and so is no JSON here.
pub(crate) const MAX_DEPTH: usize = 512;

/// Some clients begin with it.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The JSON texts that make up all of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonTexts {
    /// One object or array.
    One,
    /// Objects and arrays one after the other.
    Many,
    /// The same, or one value of any kind.
    Any,
    /// Values of any kind, each that is no object or array on a line of its own (NDJSON).
    Lines,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenState {
    /// At the very beginning: so much of a byte order mark has gone by.
    Mark(usize),
    /// Outside of all values.
    Top {
        /// An object or array may begin here.
        compound: bool,
        /// Another value may.
        scalar: bool,
    },
    Value,
    /// A value, or the end of an array that has none.
    FirstValue,
    Name,
    /// A name, or the end of an object that has none.
    FirstName,
    Colon,
    /// A comma, or the end of what is open.
    Next,
    /// In `true`, `false` or `null`: what is still to come of it.
    Literal(&'static [u8]),
    NumberState(NumberState),
    InName(StringState),
    InString {
        chars: StringState,
        /// Nothing but the opening quote has gone by.
        fresh: bool,
    },
    /// It was no JSON after all, or too deep.
    Lost,
}

/// A streaming tokenizer, which keeps one bit for each open array or object.
#[derive(Debug)]
pub(crate) struct JsonTokenizer {
    texts: JsonTexts,
    state: TokenState,
    /// Of each that is open, whether it is an array.
    open: Vec<bool>,
    /// A value has begun.
    begun: bool,
    path: Option<PointerPath>,
}

impl JsonTokenizer {
    /// Nothing has gone by yet.
    pub fn new(texts: JsonTexts, path: Option<PointerPath>) -> Self {
        Self { texts, state: TokenState::Mark(0), open: Vec::new(), begun: false, path }
    }

    /// Whether it was no JSON after all, or too deep.
    pub fn is_lost(&self) -> bool {
        self.state == TokenState::Lost
    }

    /// Whether all that has gone by is JSON, and may end here.
    pub fn is_whole(&self) -> bool {
        let ended = match self.state {
            TokenState::Top { .. } => true,
            TokenState::NumberState(number) => self.open.is_empty() && number.may_end(),
            _ => false,
        };
        self.begun && ended
    }

    /// Whether a string that is a value has just been opened.
    pub fn in_fresh_value(&self) -> bool {
        matches!(self.state, TokenState::InString { fresh: true, .. })
    }

    /// The pointer of the value at hand, if a binding names it.
    pub fn pointer(&self) -> Option<&str> {
        self.path.as_ref().and_then(PointerPath::pointer)
    }

    /// Whether `byte` may follow the value at hand, with these spaces between them.
    pub fn may_follow(&self, spaces: &[u8], byte: u8) -> bool {
        match self.open.last() {
            Some(true) => matches!(byte, b',' | b']'),
            Some(false) => matches!(byte, b',' | b'}'),
            None => {
                let begins = matches!(byte, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n');
                self.texts == JsonTexts::Lines && spaces.contains(&b'\n') && begins
            }
        }
    }

    /// Whether the end may.
    pub fn may_end(&self) -> bool {
        self.open.is_empty()
    }

    /// These bytes have gone by.
    pub fn advance(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match self.step(rest) {
                Some(taken) => at += taken,
                None => {
                    self.state = TokenState::Lost;
                    self.open = Vec::new();
                    return;
                }
            }
        }
    }

    /// Reads one token or a part of it, and tells how many bytes that was; `None` at a fault.
    fn step(&mut self, rest: &[u8]) -> Option<usize> {
        let byte = *rest.first()?;
        match self.state {
            TokenState::Lost => None,
            TokenState::Mark(seen) => self.mark(seen, byte),
            TokenState::InString { chars, .. } => self.string(chars, rest),
            TokenState::InName(chars) => self.name(chars, rest),
            TokenState::Literal(expected) => self.literal(expected, byte),
            TokenState::NumberState(number) => match number.next(byte) {
                Some(next) => {
                    self.state = TokenState::NumberState(next);
                    Some(1)
                }
                None if number.may_end() => self.close_value(false).map(|()| 0),
                None => None,
            },
            TokenState::Top { .. } if byte == b'\n' && self.texts == JsonTexts::Lines => {
                self.state = TokenState::Top { compound: true, scalar: true };
                Some(1)
            }
            _ if is_space(byte) => Some(1),
            _ => self.structure(byte).map(|()| 1),
        }
    }

    fn mark(&mut self, seen: usize, byte: u8) -> Option<usize> {
        let scalar = matches!(self.texts, JsonTexts::Any | JsonTexts::Lines);
        let top = TokenState::Top { compound: true, scalar };
        if seen == 0 && byte != BYTE_ORDER_MARK[0] {
            self.state = top;
            return Some(0);
        }
        let taken = BYTE_ORDER_MARK.get(seen).is_some_and(|expected| *expected == byte);
        self.state = if seen + 1 == BYTE_ORDER_MARK.len() { top } else { TokenState::Mark(seen + 1) };
        taken.then_some(1)
    }

    fn string(&mut self, mut chars: StringState, rest: &[u8]) -> Option<usize> {
        match chars.read(rest) {
            StringRead::Fault => None,
            StringRead::End(taken) => self.close_value(false).map(|()| taken),
            StringRead::More(taken) => {
                self.state = TokenState::InString { chars, fresh: false };
                Some(taken)
            }
        }
    }

    fn name(&mut self, mut chars: StringState, rest: &[u8]) -> Option<usize> {
        let read = chars.read(rest);
        let (taken, state) = match read {
            StringRead::Fault => return None,
            StringRead::End(taken) => (taken, TokenState::Colon),
            StringRead::More(taken) => (taken, TokenState::InName(chars)),
        };
        self.state = state;
        if let Some(path) = &mut self.path {
            path.name(rest.get(..taken).unwrap_or_default());
            if state == TokenState::Colon {
                path.close_name();
            }
        }
        Some(taken)
    }

    fn literal(&mut self, expected: &'static [u8], byte: u8) -> Option<usize> {
        let more = expected.strip_prefix(&[byte])?;
        self.state = TokenState::Literal(more);
        if more.is_empty() { self.close_value(false).map(|()| 1) } else { Some(1) }
    }

    fn structure(&mut self, byte: u8) -> Option<()> {
        match (self.state, byte) {
            (TokenState::FirstValue | TokenState::Next, b']') => self.close(true),
            (TokenState::FirstName | TokenState::Next, b'}') => self.close(false),
            (TokenState::Next, b',') => {
                self.path.iter_mut().for_each(PointerPath::comma);
                self.state = if *self.open.last()? { TokenState::Value } else { TokenState::Name };
                Some(())
            }
            (TokenState::FirstName | TokenState::Name, b'"') => {
                self.state = TokenState::InName(StringState::Plain);
                Some(())
            }
            (TokenState::Colon, b':') => {
                self.state = TokenState::Value;
                Some(())
            }
            (TokenState::Value | TokenState::FirstValue, _) => self.value(byte),
            (TokenState::Top { compound, scalar }, _) => {
                let may = if matches!(byte, b'{' | b'[') { compound } else { scalar };
                if may { self.value(byte) } else { None }
            }
            _ => None,
        }
    }

    /// A value begins.
    fn value(&mut self, byte: u8) -> Option<()> {
        self.begun = true;
        self.state = match byte {
            b'{' => self.open(false)?,
            b'[' => self.open(true)?,
            b'"' => TokenState::InString { chars: StringState::Plain, fresh: true },
            b't' => TokenState::Literal(b"rue"),
            b'f' => TokenState::Literal(b"alse"),
            b'n' => TokenState::Literal(b"ull"),
            _ => TokenState::NumberState(NumberState::begin(byte)?),
        };
        Some(())
    }

    fn open(&mut self, array: bool) -> Option<TokenState> {
        if self.open.len() == MAX_DEPTH {
            return None;
        }
        self.open.push(array);
        self.path.iter_mut().for_each(|path| path.open(array));
        Some(if array { TokenState::FirstValue } else { TokenState::FirstName })
    }

    fn close(&mut self, array: bool) -> Option<()> {
        self.open.pop().filter(|open| *open == array)?;
        self.path.iter_mut().for_each(PointerPath::close);
        self.close_value(true)
    }

    fn close_value(&mut self, compound: bool) -> Option<()> {
        if !self.open.is_empty() {
            self.state = TokenState::Next;
            return Some(());
        }
        self.path.iter_mut().for_each(PointerPath::end);
        self.state = TokenState::Top { compound: compound && self.texts != JsonTexts::One, scalar: false };
        Some(())
    }

    /// How much of a name is kept, in bytes.
    #[cfg(test)]
    pub fn name_len(&self) -> usize {
        self.path.as_ref().map_or(0, PointerPath::name_len)
    }
}
