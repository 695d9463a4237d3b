//! The way back: takes keys out of what an upstream answers and puts their placeholders there. Which responses are
//! scrubbed, of which keys, and how the body is framed afterwards, is decided elsewhere.
//!
//! Every scrubber answers the question «is this text the key?». So that nobody asks it letter by letter, one law holds:
//! **two keys of one public shape, neither of which stands whole in what the host sent, give the agent the same bytes, cut
//! and timed alike.** The public shape of a key is how keys of its kind begin, how long it is, and which alphabet it is
//! written in.
//!
//! # What is hidden
//!
//! A whole key, wherever it stands, in one of these forms:
//!
//! - the bytes themselves, each of them as itself, JSON-escaped (`\u0061`, `\/`; up to three backslashes, as JSON in a JSON
//!   string has them) or percent-encoded (`%61`, `%2561`; `+` for a space), whatever the others are;
//! - base64 of a text that holds the key, at each of the three alignments, of the standard and the URL-safe alphabet; the
//!   characters at its ends that are shared with a neighbour are hidden as well;
//! - hex in either case.
//!
//! Characters of base64 and hex may be escaped too, and line ends that fold them (raw or escaped, behind forty characters
//! or more) are skipped. In the names of headers, which have no case, a key is known in lower case.
//!
//! In errors ([`Scrubber::of_error`]) whatever begins like a key, with eight characters or more behind the beginning, is
//! covered too: hosts quote a part of the key that they refuse.
//!
//! # What is not
//!
//! Parts of keys; JSON escapes of characters beyond ASCII; HTML's `&amp;` and the like; UTF-16; other alphabets, gzip inside a
//! body that doesn't say so, hashes, encryption, and whatever else a host may do that means to get a key past us; a key that
//! is cut by two messages of a WebSocket or of gRPC. Of a key that has backslashes or percent signs of its own, only what most
//! serializers write is told apart. And keys that can be guessed: what has fewer than
//! [64 bits](strength::ENOUGH) that a stranger can't know is not searched for at all, since each search would test a guess.
//!
//! # What waits
//!
//! At the end of a piece, what could by its shape be a key that isn't whole yet waits for the next piece: behind a known
//! beginning (`sk-ant-`) the run of the form's characters, at most the form's length less one; of keys without one, any such
//! run. It goes with the next piece or at the clean end, never by a timer: a pause would tell how a guess fared.
//!
//! # How it is found
//!
//! Windows of the forms are in a table, by a hash that is keyed at random; each has 48 unknown bits or more, so that no
//! search that ends early tells of less. Of the text every s-th window is looked up, where s is as large as the shortest form
//! allows, 24 at most. Where something is escaped or folded the stretch around it is read as what is meant, and searched too.

mod alphabet;
mod beginnings;
mod body;
mod cover;
mod escaped;
mod forms;
mod holdback;
mod index;
mod messages;
mod quotes;
mod spelling;
pub mod strength;

pub use body::BodyScrub;
pub use messages::{MessageScrub, Unreadable};

use crate::memory::{self, Plaintext};
use crate::name::KeyName;
use alphabet::Alphabet;
use cover::Cover;
use escaped::Rule;
use forms::Form;
use holdback::Holdback;
use index::{Index, Place};
use quotes::Quotes;
use std::cmp::Reverse;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use strength::Strength;

/// Keys with fewer bytes than this are never searched for: they would be found in any date.
pub const SHORT: usize = 4;

/// A key to hide.
pub struct ScrubKey {
    pub key: KeyName,
    /// What stands in its place.
    pub placeholder: String,
    /// Length of the well-known beginning, in bytes: 7 for `sk-ant-`, 0 if there is none.
    pub secret_from: usize,
    pub value: Arc<Plaintext>,
    /// Hide it though it can be guessed.
    pub even_if_guessable: bool,
}

impl ScrubKey {
    fn is_searched_for(&self, strength: &Strength) -> bool {
        strength.is_enough() || self.even_if_guessable && self.value.expose().len() >= SHORT
    }
}

/// How a key in a body is covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// By its placeholder; the body changes its length.
    Placeholder,
    /// By its placeholder, cut or filled up with `*`, for bodies whose length has been told already.
    SameLength,
}

/// What is looked for: all forms of some keys. Making it costs microseconds, so exchanges that follow each other closely
/// may share it. What it derives from the keys is wiped when it is dropped.
pub struct Patterns {
    keys: Vec<Hidden>,
    forms: Vec<Form>,
    /// The atoms of all forms.
    buffer: Vec<u8>,
    index: Index,
    holdback: Holdback,
    quotes: Quotes,
    /// How text with escapes is read.
    rules: Vec<Rule>,
    /// The fewest characters of a form.
    shortest: usize,
    /// How many bytes that have been passed on could still tell what follows.
    context: usize,
    names: Vec<InName>,
}

struct Hidden {
    name: KeyName,
    placeholder: String,
    value: Arc<Plaintext>,
    /// The fewest bits by which one of its values is unknown to a stranger.
    bits: f32,
}

/// A form as it stands in the name of a header, by its keyed hash.
struct InName {
    key: usize,
    len: usize,
    hash: u64,
}

/// A stretch of the text that spells a key, or that looks like a quote of one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Find {
    text: Range<usize>,
    key: usize,
    is_quote: bool,
}

impl Patterns {
    pub fn new(keys: Vec<ScrubKey>) -> Self {
        let room = keys.iter().map(|k| forms::room(k.value.expose().len())).sum();
        let (mut buffer, mut forms) = (Vec::with_capacity(room), Vec::with_capacity(5 * keys.len()));
        let (mut hidden, mut alphabets, mut beginnings) = (Vec::new(), Vec::new(), Vec::new());
        for (number, key) in keys.into_iter().enumerate() {
            let strength = Strength::of(key.value.expose(), key.secret_from);
            let value = key.value.expose();
            alphabets.push(Alphabet::of(value.get(strength.known..).unwrap_or_default()));
            if key.is_searched_for(&strength) {
                forms::add(number, value, &strength, &mut buffer, &mut forms);
                beginnings.push((number, value.get(..strength.known).unwrap_or_default().to_vec()));
            }
            let bits = strength.total();
            hidden.push(Hidden { name: key.key, placeholder: key.placeholder, value: key.value, bits });
        }
        let longest = beginnings.iter().map(|(_, b)| b.len()).max().unwrap_or(0);
        Self {
            index: Index::new(&forms, &buffer),
            holdback: Holdback::new(&forms, &buffer, &alphabets),
            quotes: Quotes::new(beginnings.iter().map(|(key, b)| (*key, b.as_slice()))),
            rules: rules(&forms, &alphabets),
            shortest: forms.iter().map(Form::len).min().unwrap_or(0),
            // a beginning in hex, all of it escaped
            context: ((2 * longest + 1) * spelling::LONGEST).max(2 * spelling::FOLDED_WITHIN),
            names: in_names(&forms, &buffer),
            keys: hidden,
            forms,
            buffer,
        }
    }

    /// Whether they are those of just these keys, with these values.
    pub fn are_of<'a>(&self, keys: impl Iterator<Item = (&'a KeyName, &'a Arc<Plaintext>)>) -> bool {
        let own = self.keys.iter().map(|k| (&k.name, k.value.expose()));
        own.eq(keys.map(|(name, value)| (name, value.expose())))
    }

    fn placeholder(&self, key: usize) -> &str {
        self.keys.get(key).map_or("", |k| &k.placeholder)
    }

    /// Every key that stands whole in the text and reaches beyond `from`, by where it begins; with quotes where asked for.
    fn finds(&self, text: &[u8], from: usize, quotes: bool) -> Vec<Find> {
        let mut finds = Vec::new();
        let mut look = |place: Place, at: Option<usize>| {
            let form = self.forms.get(place.form as usize);
            let whole = at.zip(form).and_then(|(at, form)| {
                let text = form.whole(&self.buffer, text, place.atom as usize, at)?;
                Some(Find { text, key: form.key, is_quote: false })
            });
            finds.extend(whole.filter(|find| find.text.end > from));
        };
        self.index.scan(text, &mut |at, place| look(place, Some(at + place.ahead as usize)));
        for rule in &self.rules {
            rule.each(text, &mut |reading| {
                // a key's first letters may be taken for the end of an escape
                if reading.values.len() + spelling::LONGEST < self.shortest {
                    return;
                }
                let start = |starts: &[usize], at: usize, place: Place| starts.get(at + place.ahead as usize).copied();
                self.index.scan(&reading.values, &mut |at, place| look(place, start(&reading.starts, at, place)));
                reading.each_literal(text, self.index.widest(), &mut |values, starts, own| {
                    self.index.scan_each(values, own, &mut |at, place| look(place, start(starts, at, place)));
                });
            });
        }
        if quotes {
            self.quotes.each(text, |text, key| {
                if text.end > from {
                    finds.push(Find { text, key, is_quote: true });
                }
            });
        }
        finds.sort_by_key(|find| (find.text.start, find.is_quote, Reverse(find.text.end)));
        finds.dedup();
        finds
    }
}

/// How text with escapes is read: line ends that fold base64 and hex are left out, and where a key may have line ends of its
/// own it is read with them too.
fn rules(forms: &[Form], alphabets: &[Alphabet]) -> Vec<Rule> {
    let reach = forms.iter().map(Form::len).max().unwrap_or(0);
    let texts = forms.iter().filter_map(|form| alphabets.get(form.key));
    let alphabet = texts.fold(Alphabet::BASE64.and(Alphabet::TOKEN), |all, own| all.and(*own));
    let rule = |unfolds| Rule { alphabet, unfolds, reach };
    match (forms.is_empty(), alphabet.meets(Alphabet::ANY)) {
        (true, _) => Vec::new(),
        (_, false) => vec![rule(true)],
        (_, true) => vec![rule(true), rule(false)],
    }
}

fn in_names(forms: &[Form], buffer: &[u8]) -> Vec<InName> {
    let mut names = Vec::new();
    for form in forms {
        for spelled in form.spelled(buffer) {
            let lower = zeroize::Zeroizing::new(spelled.to_ascii_lowercase());
            names.push(InName { key: form.key, len: lower.len(), hash: index::keyed_hash(&lower) });
        }
    }
    names
}

impl Drop for Patterns {
    fn drop(&mut self) {
        memory::wipe(&mut self.buffer);
        self.names.iter_mut().for_each(|name| name.hash = 0);
    }
}

/// Hides the keys of one exchange, and counts how often it did.
#[derive(Clone)]
pub struct Scrubber {
    patterns: Arc<Patterns>,
    hits: Arc<Hits>,
    covers_quotes: bool,
}

/// How often each key has been hidden in an exchange, whatever its values were meanwhile.
#[derive(Debug, Default)]
pub struct Hits(Mutex<Vec<(KeyName, u64)>>);

impl Hits {
    fn add(&self, key: &KeyName) {
        let mut hits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match hits.iter_mut().find(|(name, _)| name == key) {
            Some((_, count)) => *count += 1,
            None => hits.push((key.clone(), 1)),
        }
    }

    /// Each key that was hidden, and how often.
    pub fn all(&self) -> Vec<(KeyName, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl Scrubber {
    pub fn new(keys: Vec<ScrubKey>) -> Self {
        Self::with(Arc::new(Patterns::new(keys)), Arc::default())
    }

    pub fn with(patterns: Arc<Patterns>, hits: Arc<Hits>) -> Self {
        Self { patterns, hits, covers_quotes: false }
    }

    /// The same for an answer that may be an error, in which cut quotes of keys are covered as well.
    pub fn of_error(&self, is_error: bool) -> Self {
        Self { covers_quotes: is_error, ..self.clone() }
    }

    pub fn hits(&self) -> &Arc<Hits> {
        &self.hits
    }

    /// The fewest unknown bits of a key, over all keys that could be confirmed by a digest of what holds them.
    pub fn weakest(&self) -> Option<f32> {
        self.patterns.keys.iter().map(|k| k.bits).reduce(f32::min)
    }

    fn count(&self, key: usize) {
        if let Some(key) = self.patterns.keys.get(key) {
            self.hits.add(&key.name);
        }
    }

    /// A text that has come whole, such as a header's value, with placeholders for keys; `None` if there is none in it.
    pub fn header(&self, value: &[u8]) -> Option<Vec<u8>> {
        self.whole(value, Mask::Placeholder)
    }

    /// The same with masks of the same length.
    pub fn same_length(&self, value: &[u8]) -> Option<Vec<u8>> {
        self.whole(value, Mask::SameLength)
    }

    fn whole(&self, value: &[u8], mask: Mask) -> Option<Vec<u8>> {
        let finds = self.patterns.finds(value, 0, self.covers_quotes);
        if finds.is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(value.len());
        let placeholder = |key| self.patterns.placeholder(key);
        let mut cover = Cover { mask, placeholder: &placeholder, open: None, hidden: &mut |key| self.count(key) };
        cover.write(value, 0..value.len(), &finds, &mut out);
        Some(out)
    }

    /// Whether the name of a header holds a key, which it has in lower case.
    pub fn is_in_name(&self, name: &str) -> bool {
        let lower = name.to_ascii_lowercase();
        let holds = |n: &&InName| lower.as_bytes().windows(n.len).any(|w| index::keyed_hash(w) == n.hash);
        let found = self.patterns.names.iter().filter(|n| n.len <= name.len()).find(holds);
        found.inspect(|name| self.count(name.key)).is_some()
    }

    /// Starts on a body, or on the frames of one direction of a connection.
    pub fn body(&self, mask: Mask) -> BodyScrub {
        BodyScrub::new(self.clone(), mask)
    }
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.patterns.keys.iter().map(|k| &k.name)).finish()
    }
}

#[cfg(test)]
mod tests;
