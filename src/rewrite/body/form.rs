//! The parser of forms (`application/x-www-form-urlencoded`): in which pair a placeholder stands, and whether it is the whole value.
//! Running text is no form: one has neither spaces nor line breaks, and an escape after each `%`.

use super::escape::EscapeStyle;
use super::location::{Location, Match};
use crate::rewrite::finder::{Spelling, decode_bytes};
use std::ops::Range;

/// A streaming parser of forms, which keeps the name of the pair at hand and no more.
#[derive(Debug)]
pub(crate) struct FormParser {
    part: PairPart,
    /// So many digits of an escape are still to come.
    digits: u8,
    /// The name of the pair at hand as it is written; cut where it is longer than any that matters.
    name: Vec<u8>,
    /// The longest name that matters, percent-encoded.
    longest: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PairPart {
    Name,
    /// Just after the `=`.
    ValueStart,
    Value,
    /// It was no form after all.
    Lost,
}

impl FormParser {
    /// `fields` are the names that bindings ask for.
    pub fn new<'f>(fields: impl Iterator<Item = &'f str>) -> Self {
        let longest = fields.map(|f| f.len() * 3).max().unwrap_or(0);
        Self { part: PairPart::Name, digits: 0, name: Vec::new(), longest }
    }

    /// Whether it was no form after all.
    pub fn is_lost(&self) -> bool {
        self.part == PairPart::Lost
    }

    /// Whether all that has gone by is a form, and may end here.
    pub fn is_whole(&self) -> bool {
        !self.is_lost() && self.digits == 0
    }

    /// These bytes have gone by.
    pub fn advance(&mut self, bytes: &[u8]) {
        if !self.is_legal(bytes) {
            self.part = PairPart::Lost;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = match self.part {
                PairPart::Lost => return,
                PairPart::Name => self.name(rest),
                PairPart::ValueStart | PairPart::Value => self.value(rest),
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    /// Whether these bytes can go on with a form. What clients write without escaping it, such as brackets, is let pass.
    fn is_legal(&mut self, bytes: &[u8]) -> bool {
        // not `all`, which stops at the first and can't look at many bytes at once
        if !bytes.iter().fold(true, |legal, b| legal & (*b > b' ') & (*b < 0x7f)) {
            return false;
        }
        let mut rest = bytes;
        loop {
            while self.digits > 0 {
                let Some((digit, after)) = rest.split_first() else { return true };
                if !digit.is_ascii_hexdigit() {
                    return false;
                }
                self.digits -= 1;
                rest = after;
            }
            let Some(at) = memchr::memchr(b'%', rest) else { return true };
            rest = rest.get(at + 1..).unwrap_or_default();
            self.digits = 2;
        }
    }

    fn name(&mut self, rest: &[u8]) -> usize {
        let end = memchr::memchr2(b'=', b'&', rest).unwrap_or(rest.len());
        let room = (self.longest + 1).saturating_sub(self.name.len());
        self.name.extend(rest.iter().take(end.min(room)));
        match rest.get(end) {
            Some(b'=') => self.part = PairPart::ValueStart,
            Some(_) => self.name.clear(),
            None => {}
        }
        end + 1
    }

    fn value(&mut self, rest: &[u8]) -> usize {
        match memchr::memchr(b'&', rest) {
            Some(end) => {
                self.part = PairPart::Name;
                self.name.clear();
                end + 1
            }
            None => {
                self.part = PairPart::Value;
                rest.len()
            }
        }
    }

    /// Where the placeholder at `at` stands, all bytes before which have gone by; `last` says that nothing follows `hay`.
    pub fn locate(&self, hay: &[u8], at: &Range<usize>, last: bool) -> Match<'_> {
        let ends = match hay.get(at.end) {
            Some(b) => *b == b'&',
            None if last => true,
            None => return Match::Incomplete,
        };
        let whole = self.part == PairPart::ValueStart && ends;
        let in_value = matches!(self.part, PairPart::ValueStart | PairPart::Value);
        let field = in_value.then(|| decode_bytes(Spelling::Form, &self.name).into());
        Match::Location(Location { whole, field, pointer: None, escape: EscapeStyle::Percent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `field` or `field!` where it is whole, for the `*` in a form that comes in pieces of `cut` bytes.
    fn told(form: &str, cut: usize) -> String {
        let start = form.find('*').unwrap();
        let mut parser = FormParser::new(["api key", "b"].into_iter());
        form.as_bytes()[..start].chunks(cut).for_each(|c| parser.advance(c));
        match parser.locate(form.as_bytes(), &(start..start + 1), true) {
            Match::Incomplete => "more".into(),
            Match::Location(location) => {
                let field = location.field.map_or("-".into(), |f| String::from_utf8_lossy(&f).into_owned());
                format!("{field}{}", if location.whole { "!" } else { "" })
            }
        }
    }

    #[test]
    fn pairs_are_told_apart() {
        for (form, field) in [
            ("b=*", "b!"),
            ("b=*&c=1", "b!"),
            ("a=1&b=*&c=1", "b!"),
            ("&&b=*&", "b!"),
            ("api+key=*", "api key!"),
            ("ap%69%20key=*", "api key!"),
            ("=*", "!"),
            ("b==*", "b"),
            ("b=x*", "b"),
            ("b=*x", "b"),
            ("b=*;c=1", "b"),
            ("b=* ", "b"),
            ("*", "-"),
            ("*=1", "-"),
            ("a&*=1", "-"),
            ("a=%2B&b=*", "b!"),
            ("a={1}&b=*", "b!"),
            ("he said &b=*&", "-"),
            ("a=he said&b=*&", "-"),
            ("a=1\n&b=*", "-"),
            ("a=%&b=*", "-"),
            ("a=%2&b=*", "-"),
            ("a=%x1&b=*", "-"),
            ("a=é&b=*", "-"),
            ("a=\0&b=*", "-"),
        ] {
            for cut in [1, 2, 100] {
                assert_eq!(told(form, cut), field, "{form} in pieces of {cut}");
            }
        }
    }

    #[test]
    fn a_long_name_is_no_shorter_one() {
        let mut parser = FormParser::new(["b"].into_iter());
        (0..1000).for_each(|_| parser.advance(b"bbbbbbbbbb"));
        assert!(parser.name.len() <= 4);
        parser.advance(b"=");
        let Match::Location(location) = parser.locate(b"*", &(0..1), true) else { panic!("all is there") };
        assert!(location.whole && location.field.as_deref() != Some(b"b"));
    }
}
