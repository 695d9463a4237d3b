//! The part of the end of a piece that waits for the next: what by its public shape could be a key that isn't whole yet.
//!
//! It hangs on how keys of a kind begin, how long they are and what they are made of, never on what a key is: two keys of
//! one shape hold the same bytes back.

use super::alphabet::Alphabet;
use super::beginnings::Beginnings;
use super::escaped::{UnescapeRule, UnescapedText};
use super::forms::{BASE64, BASE64_URL, KeyEncoding, KeyForm};
use super::spelling;

/// The shapes of all forms of some keys.
#[derive(Default)]
pub(super) struct Holdback {
    /// Forms without a beginning by which they are known: each run of their characters could be one.
    loose: Vec<PublicShape>,
    /// For each of `beginnings`, the forms that begin so.
    begun: Vec<Vec<PublicShape>>,
    beginnings: Beginnings,
    /// All characters that a form or a beginning is made of.
    characters: Alphabets,
    /// The most characters of a form.
    longest: usize,
}

/// The public shape of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PublicShape {
    kind: KeyEncoding,
    alphabet: Alphabet,
    /// Characters before the known beginning: one that is shared with a neighbour, in base64.
    before: usize,
    /// Characters in all.
    len: usize,
}

#[derive(Default)]
struct Alphabets {
    of_forms: Option<Alphabet>,
    of_beginnings: Vec<u8>,
}

impl Alphabets {
    fn has(&self, c: u8) -> bool {
        self.of_forms.is_some_and(|alphabet| alphabet.has(c)) || self.of_beginnings.contains(&c)
    }
}

impl Holdback {
    /// `alphabets` are those of the keys, by number.
    pub fn new(forms: &[KeyForm], buffer: &[u8], alphabets: &[Alphabet]) -> Self {
        let mut holdback = Self::default();
        let mut beginnings: Vec<Vec<u8>> = Vec::new();
        for form in forms {
            let alphabet = match form.kind {
                KeyEncoding::Text => alphabets.get(form.key).copied().unwrap_or(Alphabet::ANY),
                KeyEncoding::Base64 => Alphabet::BASE64,
                KeyEncoding::Hex => Alphabet::HEX,
            };
            let shape = PublicShape { kind: form.kind, alphabet, before: form.known.start, len: form.len() };
            holdback.add(shape, &beginnings_of(form, buffer), &mut beginnings);
        }
        holdback.beginnings = Beginnings::new(beginnings);
        holdback
    }

    fn add(&mut self, shape: PublicShape, own: &[Vec<u8>], beginnings: &mut Vec<Vec<u8>>) {
        self.longest = self.longest.max(shape.len);
        let known = self.characters.of_forms.unwrap_or(shape.alphabet);
        self.characters.of_forms = Some(known.and(shape.alphabet));
        if own.is_empty() {
            match self.loose.iter_mut().find(|s| (s.kind, s.alphabet) == (shape.kind, shape.alphabet)) {
                Some(same) => same.len = same.len.max(shape.len),
                None => self.loose.push(shape),
            }
        }
        for beginning in own {
            self.characters.of_beginnings.extend(beginning);
            let at = beginnings.iter().position(|b| b == beginning).unwrap_or_else(|| {
                beginnings.push(beginning.clone());
                self.begun.push(Vec::new());
                beginnings.len() - 1
            });
            if let Some(begun) = self.begun.get_mut(at).filter(|begun| !begun.contains(&shape)) {
                begun.push(shape);
            }
        }
    }

    /// Whether a text that ends in this character could go on as what began in it.
    pub fn goes_on_behind(&self, c: u8) -> bool {
        self.characters.has(c) || is_sign(c)
    }

    /// Where what is held back begins: the text's length where nothing is.
    pub fn start(&self, text: &[u8]) -> usize {
        let end = spelling::unfinished(text);
        let from = self.region(text, end);
        let raw = text.get(from..end).unwrap_or_default();
        let mut start = from + self.held(raw, |_| true);
        if raw.iter().any(|c| is_sign(*c)) {
            for (unfolds, texts) in [(true, false), (false, true)] {
                start = start.min(self.held_as_meant(text, from, end, unfolds, texts));
            }
        }
        start
    }

    /// The part before `end` that could matter, by its bytes alone.
    fn region(&self, text: &[u8], end: usize) -> usize {
        let mut limit = self.longest;
        let mut from = end;
        while from > 0 && end - from < limit {
            let Some(&c) = text.get(from - 1) else { break };
            match c {
                b'\\' | b'%' => limit = self.longest.saturating_mul(spelling::LONGEST),
                b'\n' | b'\r' => limit += 1,
                c if self.characters.has(c) => {}
                _ => break,
            }
            from -= 1;
        }
        from
    }

    /// How many of these characters come before what could be the beginning of a form.
    fn held(&self, values: &[u8], is_asked: impl Fn(&PublicShape) -> bool) -> usize {
        let mut start = values.len();
        for shape in self.loose.iter().filter(|shape| is_asked(shape)) {
            let run = shape.alphabet.ending(values).min(shape.len.saturating_sub(1));
            start = start.min(values.len() - run);
        }
        self.each_beginning(values, |at, end, shape| {
            let begin = at.saturating_sub(shape.before);
            let runs_on = || shape.alphabet.ending(values) >= values.len() - end;
            if is_asked(shape) && values.len() - begin < shape.len && begin < start && runs_on() {
                start = begin;
            }
        });
        start
    }

    fn each_beginning(&self, values: &[u8], mut f: impl FnMut(usize, usize, &PublicShape)) {
        self.beginnings.each(values, &mut |found, number| {
            let shapes = self.begun.get(number).map_or(&[][..], Vec::as_slice);
            shapes.iter().for_each(|shape| f(found.start, found.end, shape));
        });
    }

    /// The same with escapes seen through, for the forms of text or for those that may be folded.
    fn held_as_meant(&self, text: &[u8], from: usize, end: usize, unfolds: bool, texts: bool) -> usize {
        let is_asked = |shape: &PublicShape| (shape.kind == KeyEncoding::Text) == texts;
        let rule = UnescapeRule { alphabet: Alphabet::ANY, unfolds, reach: 0 };
        let (UnescapedText { mut values, starts, escaped }, _) = rule.read(text, from, end);
        // where a key may have signs of its own, what reads as an escape may be two of its characters
        for &at in escaped.iter().filter(|_| texts) {
            if let Some(value) = values.get_mut(at).filter(|value| !Alphabet::VISIBLE.has(**value)) {
                *value = b'\\';
            }
        }
        let place = |at: usize| starts.get(at).copied().unwrap_or(end);
        let mut start = place(self.held(&values, is_asked));
        // a beginning that is read as part of an escape
        let raw = text.get(from..end).unwrap_or_default();
        self.each_beginning(raw, |at, behind, shape| {
            let rest = starts.partition_point(|begin| *begin < from + behind);
            let begin = (from + at).saturating_sub(shape.before);
            let left = values.len() - rest;
            if is_asked(shape)
                && begin < start
                && left + (behind - at) + shape.before < shape.len
                && shape.alphabet.ending(&values) >= left
            {
                start = begin;
            }
        });
        start
    }
}

/// What a character can begin to be besides itself, or what may fold a line.
fn is_sign(c: u8) -> bool {
    matches!(c, b'\\' | b'%' | b'\n' | b'\r')
}

/// How a form begins, in each way to write it; nothing where no atom is known.
fn beginnings_of(form: &KeyForm, buffer: &[u8]) -> Vec<Vec<u8>> {
    let atoms = buffer.get(form.atoms.clone()).and_then(|atoms| atoms.get(form.known.clone())).unwrap_or_default();
    if atoms.is_empty() {
        return Vec::new();
    }
    let letters = |alphabet: &[u8]| atoms.iter().filter_map(|atom| alphabet.get(usize::from(*atom)).copied()).collect();
    let mut all: Vec<Vec<u8>> = match form.kind {
        KeyEncoding::Text => {
            let as_form = atoms.iter().map(|c| if *c == b' ' { b'+' } else { *c });
            vec![atoms.to_vec(), as_form.collect()]
        }
        KeyEncoding::Base64 => vec![letters(BASE64), letters(BASE64_URL)],
        KeyEncoding::Hex => vec![letters(b"0123456789abcdef"), letters(b"0123456789ABCDEF")],
    };
    all.dedup();
    all
}
