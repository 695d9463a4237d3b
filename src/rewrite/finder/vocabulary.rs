//! Finds placeholders in bytes, whichever way their letters are written. Where one may be replaced is not decided here.

use super::extent::{Extent, MAX_RUN, Reach, bracketed, spelled};
use super::letters::{Lookbehind, ReadLetter, Spelling, decode, read_letter};
use super::lookalike::{LookalikeError, accept};
use super::needles::{OPENERS, beginnings, json_escape, percent_escape};
use crate::name::KeyName;
use aho_corasick::{AhoCorasick, packed};

use memchr::memmem;
use std::ops::Range;

/// A placeholder that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlaceholderHit {
    /// Where it lies, with its escapes.
    pub at: Range<usize>,
    /// What it says, without them.
    pub written: String,
    /// `None` where it has the shape of a placeholder and a name that no key can have.
    pub key: Option<KeyName>,
}

/// The answer on whether a placeholder begins at a position.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Recognition {
    /// No placeholder.
    Nothing,
    /// The bytes end before it can be told.
    Incomplete,
    /// A placeholder.
    Hit(PlaceholderHit),
}

/// All spellings of placeholders: the default `<<NAME_key>>`, `{{NAME_key}}` where allowed, and the keys' own look-alikes.
///
/// Searching costs the same for one key and for a thousand, as it looks only for how placeholders begin and reads the name there.
/// Each look-alike is one more beginning to look for.
pub struct Vocabulary {
    braces: bool,
    /// The longest first, so that one that begins like another is not cut short.
    lookalikes: Vec<(Box<str>, KeyName)>,
    openers: OpenerSearch,
    /// For each letter, what may stand unescaped before it where it is the first escaped one of an opener; longest first.
    before: Vec<Vec<Box<[u8]>>>,
    json: memmem::Finder<'static>,
    percent: memmem::Finder<'static>,
    first: [bool; 256],
    /// The longest of all, decoded.
    longest: usize,
}

/// The search for how placeholders begin.
enum OpenerSearch {
    Default(Box<memmem::Finder<'static>>),
    Some(Box<packed::Searcher>),
    /// More than that, or a processor without those instructions.
    Many(AhoCorasick),
}

impl Vocabulary {
    /// The placeholders of all keys; `lookalikes` are those that keys have besides.
    ///
    /// # Errors
    /// A look-alike that [`check_lookalike`](super::check_lookalike) refuses, or that two keys share.
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
            1 => OpenerSearch::Default(Box::new(memmem::Finder::new(b"<<"))),
            some if some <= OPENERS + 2
                && let Some(searcher) = packed::Searcher::new(&texts) =>
            {
                OpenerSearch::Some(Box::new(searcher))
            }
            many => OpenerSearch::Many(AhoCorasick::new(&texts).map_err(|_| LookalikeError::TooMany(many))?),
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
    pub(crate) fn all<'a>(&'a self, spelling: Spelling, hay: &'a [u8]) -> impl Iterator<Item = PlaceholderHit> + 'a {
        let mut scan = PlaceholderScan::new(self, spelling, hay);
        let mut from = 0;
        std::iter::from_fn(move || {
            while let Some(start) = scan.next(from) {
                match self.at(spelling, hay, start, Reach::Whole, true) {
                    Recognition::Hit(hit) if Lookbehind::default().aligned(spelling, hay, start) => {
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
    pub(crate) fn at(&self, spelling: Spelling, hay: &[u8], start: usize, reach: Reach, last: bool) -> Recognition {
        let more = if last { Recognition::Nothing } else { Recognition::Incomplete };
        let letter = match read_letter(spelling, hay, start) {
            ReadLetter::Letter(letter, _) => letter,
            ReadLetter::Partial => return more,
            ReadLetter::Other => return Recognition::Nothing,
        };
        if !self.first[usize::from(letter)] {
            return Recognition::Nothing;
        }
        let shape = match letter {
            b'<' => bracketed(spelling, hay, start, b'<', b'>', reach),
            b'{' if self.braces => bracketed(spelling, hay, start, b'{', b'}', reach),
            _ => return self.lookalike(spelling, hay, start, last),
        };
        match shape {
            Extent::Mismatch => Recognition::Nothing,
            Extent::Incomplete => more,
            Extent::To(end) => {
                let written = decode(spelling, &hay[start..end]);
                let name = written.get(2..written.len().saturating_sub("_key>>".len()));
                let key = name.and_then(|n| n.parse().ok());
                Recognition::Hit(PlaceholderHit { at: start..end, written, key })
            }
        }
    }

    fn lookalike(&self, spelling: Spelling, hay: &[u8], start: usize, last: bool) -> Recognition {
        for (text, key) in &self.lookalikes {
            match spelled(spelling, hay, start, text.as_bytes()) {
                Extent::Mismatch => {}
                // A shorter one may match already, but this one comes first.
                Extent::Incomplete if !last => return Recognition::Incomplete,
                Extent::Incomplete => {}
                Extent::To(end) => {
                    return Recognition::Hit(PlaceholderHit {
                        at: start..end,
                        written: text.clone().into_string(),
                        key: Some(key.clone()),
                    });
                }
            }
        }
        Recognition::Nothing
    }

    /// Where the end of `hay`, searched from `from` on, could be the beginning of a placeholder; else its length.
    pub(crate) fn tail(&self, spelling: Spelling, hay: &[u8], from: usize, behind: &Lookbehind) -> usize {
        let reach = self.longest * spelling.width();
        let mut at = from.max(hay.len().saturating_sub(reach));
        while let Some(i) = self.first_in(spelling, &hay[at..]) {
            let start = at + i;
            if self.at(spelling, hay, start, Reach::Name, false) == Recognition::Incomplete
                && behind.aligned(spelling, hay, start)
            {
                return start;
            }
            at = start + 1;
        }
        hay.len()
    }

    /// The next byte that a placeholder can begin with.
    fn first_in(&self, spelling: Spelling, hay: &[u8]) -> Option<usize> {
        let only_default = matches!(self.openers, OpenerSearch::Default(_));
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

/// Walks through bytes from one place where a placeholder may begin to the next.
pub(crate) struct PlaceholderScan<'a> {
    vocabulary: &'a Vocabulary,
    spelling: Spelling,
    hay: &'a [u8],
    raw: Option<usize>,
    /// The next escape that matters, which may be the second letter of what begins before it.
    escape: Option<usize>,
}

/// Nothing more until the end.
const NEVER: usize = usize::MAX;

impl<'a> PlaceholderScan<'a> {
    /// Begins before the first byte.
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
            OpenerSearch::Default(finder) => finder.find(rest),
            OpenerSearch::Some(searcher) => searcher.find(rest).map(|m| m.start()),
            OpenerSearch::Many(searcher) => searcher.find(rest).map(|m| m.start()),
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
        let ReadLetter::Letter(letter, _) = read_letter(self.spelling, self.hay, escape) else { return None };
        let prefixes = self.vocabulary.before.get(usize::from(letter))?;
        let before = self.hay.get(from..escape)?;
        prefixes.iter().find(|p| before.ends_with(p)).map(|p| escape - p.len())
    }
}
