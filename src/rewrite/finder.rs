//! Finds placeholders in bytes, whichever way their letters are written. Where one may be replaced is not decided here.

mod letters;

pub(super) use letters::{Behind, Spelling, decode, decode_bytes};

use crate::name::{KeyName, MAX_NAME};
use aho_corasick::{AhoCorasick, packed};
use letters::{Unit, unit};
use memchr::memmem;
use std::collections::BTreeSet;
use std::ops::Range;

/// A look-alike shorter than this could turn up by chance.
pub const MIN_LOOKALIKE: usize = 16;
/// The longest look-alike: room for a token in three parts, and the bound on what a body may hold back.
pub const MAX_LOOKALIKE: usize = 512;

/// So many beginnings can be searched for at once with vector instructions, without getting slower with each.
const OPENERS: usize = 32;
/// `NAME_key`, at its longest.
const MAX_RUN: usize = MAX_NAME + "_key".len();

/// Why a look-alike can't be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookalikeError {
    #[error("placeholder '{0}' has fewer than {MIN_LOOKALIKE} characters: it could turn up by chance")]
    Short(String),
    #[error("placeholder '{0}' has more than {MAX_LOOKALIKE} characters")]
    Long(String),
    #[error("placeholder '{0}' holds {1:?}; letters, digits and any of -._~+/=:@|!*$,; are fine")]
    Character(String, char),
    #[error("placeholder '{0}' belongs to two keys, {1} and {2}")]
    Shared(String, KeyName, KeyName),
    #[error("{0} placeholders are more than can be searched for")]
    TooMany(usize),
}

/// How far a bracketed name is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// To the end, so that no name is too long to be refused: for what lies in memory as a whole.
    Whole,
    /// As long as it could be a key's: for streams.
    Name,
}

/// A placeholder that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hit {
    /// Where it lies, with its escapes.
    pub at: Range<usize>,
    /// What it says, without them.
    pub written: String,
    /// `None` where it has the shape of a placeholder and a name that no key can have.
    pub key: Option<KeyName>,
}

/// What begins at a position.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// The bytes end before it can be told.
    More,
    Hit(Hit),
}

/// All spellings of placeholders: the default `<<NAME_key>>`, `{{NAME_key}}` where allowed, and the keys' own look-alikes.
///
/// Searching costs the same for one key and for a thousand, as it looks only for how placeholders begin and reads the name there.
/// Each look-alike is one more beginning to look for.
pub struct Vocabulary {
    braces: bool,
    /// The longest first, so that one that begins like another is not cut short.
    lookalikes: Vec<(Box<str>, KeyName)>,
    openers: Openers,
    /// For each letter, what may stand unescaped before it where it is the first escaped one of an opener; longest first.
    before: Vec<Vec<Box<[u8]>>>,
    json: memmem::Finder<'static>,
    percent: memmem::Finder<'static>,
    first: [bool; 256],
    /// The longest of all, decoded.
    longest: usize,
}

enum Openers {
    Default(Box<memmem::Finder<'static>>),
    Some(Box<packed::Searcher>),
    /// More than that, or a processor without those instructions.
    Many(AhoCorasick),
}

impl Vocabulary {
    /// Each look-alike with its key.
    pub fn new(braces: bool, lookalikes: impl IntoIterator<Item = (String, KeyName)>) -> Result<Self, LookalikeError> {
        let lookalikes = accept(lookalikes)?;
        let mut texts: Vec<&[u8]> = vec![b"<<"];
        if braces {
            texts.push(b"{{");
        }
        texts.extend(beginnings(&lookalikes));

        let mut before: Vec<Vec<Box<[u8]>>> = vec![Vec::new(); 128];
        for text in &texts {
            for (i, letter) in text.iter().enumerate() {
                before[usize::from(*letter & 0x7f)].push(text[..i].into());
            }
        }
        for prefixes in &mut before {
            prefixes.sort_by_key(|p| std::cmp::Reverse(p.len()));
            prefixes.dedup();
        }
        let letters: Vec<u8> = (0..128u8).filter(|c| !before[usize::from(*c)].is_empty()).collect();

        let mut first = [false; 256];
        for text in &texts {
            first[usize::from(text[0])] = true;
        }
        let longest = lookalikes.iter().map(|(text, _)| text.len()).max().unwrap_or(0).max(MAX_RUN + 4);
        let openers = match texts.len() {
            1 => Openers::Default(Box::new(memmem::Finder::new(b"<<"))),
            some if some <= OPENERS + 2
                && let Some(searcher) = packed::Searcher::new(&texts) =>
            {
                Openers::Some(Box::new(searcher))
            }
            many => Openers::Many(AhoCorasick::new(&texts).map_err(|_| LookalikeError::TooMany(many))?),
        };
        Ok(Self {
            braces,
            openers,
            before,
            json: memmem::Finder::new(&json_escape(&letters)).into_owned(),
            percent: memmem::Finder::new(&percent_escape(&letters)).into_owned(),
            first,
            longest,
            lookalikes,
        })
    }

    /// Every placeholder in bytes that are there as a whole, in order.
    pub(super) fn all<'a>(&'a self, spelling: Spelling, hay: &'a [u8]) -> impl Iterator<Item = Hit> + 'a {
        let mut scan = Scan::new(self, spelling, hay);
        let mut from = 0;
        std::iter::from_fn(move || {
            while let Some(start) = scan.next(from) {
                match self.at(spelling, hay, start, Reach::Whole, true) {
                    Found::Hit(hit) if Behind::default().aligned(spelling, hay, start) => {
                        from = hit.at.end;
                        return Some(hit);
                    }
                    _ => from = start + 1,
                }
            }
            None
        })
    }

    /// What begins at `start`; `last` says that nothing follows `hay`.
    pub(super) fn at(&self, spelling: Spelling, hay: &[u8], start: usize, reach: Reach, last: bool) -> Found {
        let more = if last { Found::Nothing } else { Found::More };
        let letter = match unit(spelling, hay, start) {
            Unit::Letter(letter, _) => letter,
            Unit::Partial => return more,
            Unit::Other => return Found::Nothing,
        };
        if !self.first[usize::from(letter)] {
            return Found::Nothing;
        }
        let shape = match letter {
            b'<' => bracketed(spelling, hay, start, b'<', b'>', reach),
            b'{' if self.braces => bracketed(spelling, hay, start, b'{', b'}', reach),
            _ => return self.lookalike(spelling, hay, start, last),
        };
        match shape {
            Shape::Nothing => Found::Nothing,
            Shape::More => more,
            Shape::To(end) => {
                let written = decode(spelling, &hay[start..end]);
                let name = written.get(2..written.len().saturating_sub("_key>>".len()));
                let key = name.and_then(|n| n.parse().ok());
                Found::Hit(Hit { at: start..end, written, key })
            }
        }
    }

    fn lookalike(&self, spelling: Spelling, hay: &[u8], start: usize, last: bool) -> Found {
        for (text, key) in &self.lookalikes {
            match spelled(spelling, hay, start, text.as_bytes()) {
                Shape::Nothing => {}
                // A shorter one may match already, but this one comes first.
                Shape::More if !last => return Found::More,
                Shape::More => {}
                Shape::To(end) => {
                    return Found::Hit(Hit {
                        at: start..end,
                        written: text.clone().into_string(),
                        key: Some(key.clone()),
                    });
                }
            }
        }
        Found::Nothing
    }

    /// Where the end of `hay`, searched from `from` on, could be the beginning of a placeholder; else its length.
    pub(super) fn tail(&self, spelling: Spelling, hay: &[u8], from: usize, behind: &Behind) -> usize {
        let reach = self.longest * spelling.width();
        let mut at = from.max(hay.len().saturating_sub(reach));
        while let Some(i) = self.first_in(spelling, &hay[at..]) {
            let start = at + i;
            if self.at(spelling, hay, start, Reach::Name, false) == Found::More && behind.aligned(spelling, hay, start)
            {
                return start;
            }
            at = start + 1;
        }
        hay.len()
    }

    /// The next byte that a placeholder can begin with.
    fn first_in(&self, spelling: Spelling, hay: &[u8]) -> Option<usize> {
        let only_default = matches!(self.openers, Openers::Default(_));
        match spelling {
            Spelling::Raw if only_default => memchr::memchr(b'<', hay),
            Spelling::Json if only_default => memchr::memchr2(b'<', b'\\', hay),
            Spelling::Percent | Spelling::Form if only_default => memchr::memchr2(b'<', b'%', hay),
            _ => hay.iter().position(|b| {
                self.first[usize::from(*b)]
                    || (*b == b'\\' && spelling == Spelling::Json)
                    || (*b == b'%' && matches!(spelling, Spelling::Percent | Spelling::Form))
            }),
        }
    }
}

fn accept(lookalikes: impl IntoIterator<Item = (String, KeyName)>) -> Result<Vec<(Box<str>, KeyName)>, LookalikeError> {
    let mut accepted: Vec<(Box<str>, KeyName)> = Vec::new();
    for (text, key) in lookalikes {
        if text.chars().count() < MIN_LOOKALIKE {
            return Err(LookalikeError::Short(text));
        }
        if text.len() > MAX_LOOKALIKE {
            return Err(LookalikeError::Long(text));
        }
        if let Some(c) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "-._~+/=:@|!*$,;".contains(*c))) {
            return Err(LookalikeError::Character(text, c));
        }
        match accepted.iter().find(|(other, _)| **other == *text) {
            Some((_, owner)) if *owner == key => {}
            Some((_, owner)) => return Err(LookalikeError::Shared(text, owner.clone(), key)),
            None => accepted.push((text.into(), key)),
        }
    }
    accepted.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
    Ok(accepted)
}

/// What to search for in place of whole look-alikes: as much of them as makes few enough. Many begin alike, since they imitate
/// the keys of few providers; the more letters, the fewer hits in vain.
fn beginnings(lookalikes: &[(Box<str>, KeyName)]) -> BTreeSet<&[u8]> {
    let cut = |letters: usize| -> BTreeSet<&[u8]> {
        lookalikes.iter().map(|(text, _)| text.as_bytes()).map(|t| t.get(..letters).unwrap_or(t)).collect()
    };
    (4..=MIN_LOOKALIKE).rev().map(cut).find(|texts| texts.len() <= OPENERS).unwrap_or_else(|| cut(MIN_LOOKALIKE))
}

/// What all JSON escapes of these letters begin with.
fn json_escape(letters: &[u8]) -> Vec<u8> {
    if letters.contains(&b'/') {
        return b"\\".to_vec(); // it has the short escape `\/` as well
    }
    let mut needle = b"\\u00".to_vec();
    needle.extend(shared_nibble(letters));
    needle
}

/// What all percent-encodings of these letters begin with.
fn percent_escape(letters: &[u8]) -> Vec<u8> {
    let mut needle = b"%".to_vec();
    needle.extend(shared_nibble(letters));
    needle
}

/// The first hex digit of the letters, where they have but one: a longer needle is found less often in vain.
fn shared_nibble(letters: &[u8]) -> Option<u8> {
    let (first, rest) = letters.split_first()?;
    rest.iter().all(|l| l >> 4 == first >> 4).then_some(b'0' + (first >> 4))
}

/// Walks through bytes from one place where a placeholder may begin to the next.
pub(super) struct Scan<'a> {
    vocabulary: &'a Vocabulary,
    spelling: Spelling,
    hay: &'a [u8],
    raw: Option<usize>,
    /// The next escape that matters, which may be the second letter of what begins before it.
    escape: Option<usize>,
}

/// Nothing more until the end.
const NEVER: usize = usize::MAX;

impl<'a> Scan<'a> {
    pub fn new(vocabulary: &'a Vocabulary, spelling: Spelling, hay: &'a [u8]) -> Self {
        let escape = (spelling == Spelling::Raw).then_some(NEVER);
        Self { vocabulary, spelling, hay, raw: None, escape }
    }

    /// The first position from `from` on where a placeholder may begin. What may begin before the end of `hay`
    /// without a whole opener is not found here but by [`Vocabulary::tail`].
    pub fn next(&mut self, from: usize) -> Option<usize> {
        let next = self.next_raw(from).min(self.next_escaped(from));
        (next != NEVER).then_some(next)
    }

    fn next_raw(&mut self, from: usize) -> usize {
        if let Some(at) = self.raw.filter(|at| *at >= from) {
            return at;
        }
        let rest = self.hay.get(from..).unwrap_or_default();
        let found = match &self.vocabulary.openers {
            Openers::Default(finder) => finder.find(rest),
            Openers::Some(searcher) => searcher.find(rest).map(|m| m.start()),
            Openers::Many(searcher) => searcher.find(rest).map(|m| m.start()),
        };
        let at = found.map_or(NEVER, |i| from + i);
        self.raw = Some(at);
        at
    }

    fn next_escaped(&mut self, from: usize) -> usize {
        let finder = match self.spelling {
            Spelling::Raw => return NEVER,
            Spelling::Json => &self.vocabulary.json,
            Spelling::Percent | Spelling::Form => &self.vocabulary.percent,
        };
        let mut at = self.escape.filter(|at| *at >= from);
        let mut search = from;
        loop {
            let escape = match at.take() {
                Some(NEVER) => return NEVER,
                Some(escape) => escape,
                None => match finder.find(self.hay.get(search..).unwrap_or_default()) {
                    Some(i) => search + i,
                    None => {
                        self.escape = Some(NEVER);
                        return NEVER;
                    }
                },
            };
            if let Some(start) = self.start_of(escape, from) {
                self.escape = Some(escape);
                return start;
            }
            search = escape + 1;
        }
    }

    /// The earliest position, not before `from`, at which an opener whose first escaped letter is at `escape` can begin.
    fn start_of(&self, escape: usize, from: usize) -> Option<usize> {
        let Unit::Letter(letter, _) = unit(self.spelling, self.hay, escape) else { return None };
        let prefixes = self.vocabulary.before.get(usize::from(letter))?;
        let before = self.hay.get(from..escape)?;
        prefixes.iter().find(|p| before.ends_with(p)).map(|p| escape - p.len())
    }
}

enum Shape {
    Nothing,
    More,
    To(usize),
}

/// Whether two opening brackets, a name in `_key` and two closing brackets begin at `start`.
fn bracketed(spelling: Spelling, hay: &[u8], start: usize, open: u8, close: u8, reach: Reach) -> Shape {
    let mut at = match spelled(spelling, hay, start, &[open, open]) {
        Shape::To(end) => end,
        other => return other,
    };
    let mut run = 0usize;
    let mut ending = [0u8; 4];
    loop {
        match unit(spelling, hay, at) {
            Unit::Partial => return Shape::More,
            Unit::Letter(c, next) if c.is_ascii_alphanumeric() || c == b'_' || c == b'-' => {
                run += 1;
                if run > MAX_RUN && reach == Reach::Name {
                    return Shape::Nothing;
                }
                ending.rotate_left(1);
                ending[3] = c;
                at = next;
            }
            Unit::Letter(c, _) if c == close && ending == *b"_key" => {
                return spelled(spelling, hay, at, &[close, close]);
            }
            _ => return Shape::Nothing,
        }
    }
}

/// Whether `text` is written at `start`, in full or as far as the bytes go.
fn spelled(spelling: Spelling, hay: &[u8], start: usize, text: &[u8]) -> Shape {
    let mut at = start;
    for letter in text {
        match unit(spelling, hay, at) {
            Unit::Letter(c, next) if c == *letter => at = next,
            Unit::Partial => return Shape::More,
            _ => return Shape::Nothing,
        }
    }
    Shape::To(at)
}

#[cfg(test)]
mod tests;
