//! Where in a form (`application/x-www-form-urlencoded`) a placeholder stands: in which pair, and whether it is the whole value.

use super::finder::{Spelling, decode_bytes};
use super::kind::{Dress, Sight, Spot};
use std::ops::Range;

#[derive(Debug)]
pub(super) struct Walker {
    part: Part,
    /// The name of the pair at hand as it is written; cut where it is longer than any that matters.
    name: Vec<u8>,
    /// The longest name that matters, percent-encoded.
    longest: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Name,
    /// Just after the `=`.
    ValueStart,
    Value,
}

impl Walker {
    /// `fields` are the names that bindings ask for.
    pub fn new<'f>(fields: impl Iterator<Item = &'f str>) -> Self {
        let longest = fields.map(|f| f.len() * 3).max().unwrap_or(0);
        Self { part: Part::Name, name: Vec::new(), longest }
    }

    pub fn advance(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = match self.part {
                Part::Name => self.name(rest),
                Part::ValueStart | Part::Value => self.value(rest),
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    fn name(&mut self, rest: &[u8]) -> usize {
        let end = memchr::memchr2(b'=', b'&', rest).unwrap_or(rest.len());
        let room = (self.longest + 1).saturating_sub(self.name.len());
        self.name.extend(rest.iter().take(end.min(room)));
        match rest.get(end) {
            Some(b'=') => self.part = Part::ValueStart,
            Some(_) => self.name.clear(),
            None => {}
        }
        end + 1
    }

    fn value(&mut self, rest: &[u8]) -> usize {
        match memchr::memchr(b'&', rest) {
            Some(end) => {
                self.part = Part::Name;
                self.name.clear();
                end + 1
            }
            None => {
                self.part = Part::Value;
                rest.len()
            }
        }
    }

    pub fn sight(&self, hay: &[u8], at: &Range<usize>, last: bool) -> Sight<'_> {
        let ends = match hay.get(at.end) {
            Some(b) => *b == b'&',
            None if last => true,
            None => return Sight::More,
        };
        let whole = self.part == Part::ValueStart && ends;
        let field = (self.part != Part::Name).then(|| decode_bytes(Spelling::Form, &self.name).into());
        Sight::Spot(Spot { whole, field, pointer: None, lost: false, dress: Dress::Percent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `field` or `field!` where it is whole, for the `*` in a form that comes in pieces of `cut` bytes.
    fn told(form: &str, cut: usize) -> String {
        let start = form.find('*').unwrap();
        let mut walker = Walker::new(["api key", "b"].into_iter());
        form.as_bytes()[..start].chunks(cut).for_each(|c| walker.advance(c));
        match walker.sight(form.as_bytes(), &(start..start + 1), true) {
            Sight::More => "more".into(),
            Sight::Spot(spot) => {
                let field = spot.field.map_or("-".into(), |f| String::from_utf8_lossy(&f).into_owned());
                format!("{field}{}", if spot.whole { "!" } else { "" })
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
        ] {
            for cut in [1, 2, 100] {
                assert_eq!(told(form, cut), field, "{form} in pieces of {cut}");
            }
        }
    }

    #[test]
    fn a_long_name_is_no_shorter_one() {
        let mut walker = Walker::new(["b"].into_iter());
        (0..1000).for_each(|_| walker.advance(b"bbbbbbbbbb"));
        assert!(walker.name.len() <= 4);
        walker.advance(b"=");
        let Sight::Spot(spot) = walker.sight(b"*", &(0..1), true) else { panic!("all is there") };
        assert!(spot.whole && spot.field.as_deref() != Some(b"b"));
    }
}
