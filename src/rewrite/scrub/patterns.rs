//! The forms of some keys, arranged to be searched for, and the search through one text.

use super::alphabet::Alphabet;
use super::cover::KeyMatch;
use super::escaped::UnescapeRule;
use super::forms::{self, KeyForm};
use super::holdback::Holdback;
use super::index::{self, WindowIndex, WindowPlace};
use super::quotes::Quotes;
use super::spelling;
use super::strength::Strength;
use crate::memory::{self, Plaintext};
use crate::name::KeyName;
use std::cmp::Reverse;
use std::sync::Arc;

/// Keys with fewer bytes than this are never searched for: they would be found in any date.
pub const SHORT: usize = 4;

/// A key to hide.
pub struct ScrubKey {
    /// The key's name.
    pub key: KeyName,
    /// What stands in its place.
    pub placeholder: String,
    /// Length of the well-known beginning, in bytes: 7 for `sk-ant-`, 0 if there is none.
    pub secret_from: usize,
    /// Its value, as it is sent.
    pub value: Arc<Plaintext>,
    /// Hide it though it can be guessed.
    pub even_if_guessable: bool,
}

impl ScrubKey {
    fn is_searched_for(&self, strength: &Strength) -> bool {
        strength.is_enough() || self.even_if_guessable && self.value.expose().len() >= SHORT
    }
}

/// The patterns that a scrubber looks for: all forms of some keys. Making it costs microseconds, so exchanges that follow each other closely
/// may share it. What it derives from the keys is wiped when it is dropped.
pub struct ScrubPatterns {
    keys: Vec<HiddenKey>,
    forms: Vec<KeyForm>,
    /// The atoms of all forms.
    buffer: Vec<u8>,
    index: WindowIndex,
    /// What waits at the end of a piece.
    pub(super) holdback: Holdback,
    quotes: Quotes,
    /// How text with escapes is read.
    rules: Vec<UnescapeRule>,
    /// The fewest characters of a form.
    shortest: usize,
    /// How many bytes that have been passed on could still tell what follows.
    pub(super) context: usize,
    names: Vec<HeaderNameForm>,
}

struct HiddenKey {
    name: KeyName,
    placeholder: String,
    value: Arc<Plaintext>,
    /// The fewest bits by which one of its values is unknown to a stranger.
    bits: f32,
}

/// A form as it stands in the name of a header, by its keyed hash.
struct HeaderNameForm {
    key: usize,
    len: usize,
    hash: u64,
}

impl ScrubPatterns {
    /// Derives all forms of the keys; those that are guessable are left out.
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
            hidden.push(HiddenKey { name: key.key, placeholder: key.placeholder, value: key.value, bits });
        }
        let longest = beginnings.iter().map(|(_, b)| b.len()).max().unwrap_or(0);
        Self {
            index: WindowIndex::new(&forms, &buffer),
            holdback: Holdback::new(&forms, &buffer, &alphabets),
            quotes: Quotes::new(beginnings.iter().map(|(key, b)| (*key, b.as_slice()))),
            rules: rules(&forms, &alphabets),
            shortest: forms.iter().map(KeyForm::len).min().unwrap_or(0),
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

    /// The names of the keys, in the order of their numbers.
    pub(super) fn key_names(&self) -> impl Iterator<Item = &KeyName> {
        self.keys.iter().map(|key| &key.name)
    }

    /// The fewest unknown bits of a key.
    pub(super) fn weakest(&self) -> Option<f32> {
        self.keys.iter().map(|key| key.bits).reduce(f32::min)
    }

    /// The number of a key that the name of a header holds.
    pub(super) fn find_in_name(&self, name: &str) -> Option<usize> {
        let lower = name.to_ascii_lowercase();
        let holds = |n: &&HeaderNameForm| lower.as_bytes().windows(n.len).any(|w| index::keyed_hash(w) == n.hash);
        self.names.iter().filter(|n| n.len <= name.len()).find(holds).map(|name| name.key)
    }

    /// What stands in the place of a key, by its number.
    pub(super) fn placeholder(&self, key: usize) -> &str {
        self.keys.get(key).map_or("", |k| &k.placeholder)
    }

    /// Every key that stands whole in the text and reaches beyond `from`, by where it begins; with quotes where asked for.
    pub(super) fn finds(&self, text: &[u8], from: usize, quotes: bool) -> Vec<KeyMatch> {
        let mut finds = Vec::new();
        let mut look = |place: WindowPlace, at: Option<usize>| {
            let form = self.forms.get(place.form as usize);
            let whole = at.zip(form).and_then(|(at, form)| {
                let text = form.whole(&self.buffer, text, place.atom as usize, at)?;
                Some(KeyMatch { text, key: form.key, is_quote: false })
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
                let start =
                    |starts: &[usize], at: usize, place: WindowPlace| starts.get(at + place.ahead as usize).copied();
                self.index.scan(&reading.values, &mut |at, place| look(place, start(&reading.starts, at, place)));
                reading.each_literal(text, self.index.widest(), &mut |values, starts, own| {
                    self.index.scan_each(values, own, &mut |at, place| look(place, start(starts, at, place)));
                });
            });
        }
        if quotes {
            self.quotes.each(text, |text, key| {
                if text.end > from {
                    finds.push(KeyMatch { text, key, is_quote: true });
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
fn rules(forms: &[KeyForm], alphabets: &[Alphabet]) -> Vec<UnescapeRule> {
    let reach = forms.iter().map(KeyForm::len).max().unwrap_or(0);
    let texts = forms.iter().filter_map(|form| alphabets.get(form.key));
    let alphabet = texts.fold(Alphabet::BASE64.and(Alphabet::TOKEN), |all, own| all.and(*own));
    let rule = |unfolds| UnescapeRule { alphabet, unfolds, reach };
    match (forms.is_empty(), alphabet.meets(Alphabet::ANY)) {
        (true, _) => Vec::new(),
        (_, false) => vec![rule(true)],
        (_, true) => vec![rule(true), rule(false)],
    }
}

fn in_names(forms: &[KeyForm], buffer: &[u8]) -> Vec<HeaderNameForm> {
    let mut names = Vec::new();
    for form in forms {
        for spelled in form.spelled(buffer) {
            let lower = zeroize::Zeroizing::new(spelled.to_ascii_lowercase());
            names.push(HeaderNameForm { key: form.key, len: lower.len(), hash: index::keyed_hash(&lower) });
        }
    }
    names
}

impl Drop for ScrubPatterns {
    fn drop(&mut self) {
        memory::wipe(&mut self.buffer);
        self.names.iter_mut().for_each(|name| name.hash = 0);
    }
}
