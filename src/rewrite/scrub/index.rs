//! Finds the places where a form of a key may lie, by looking at every ninth place of the text. It knows of four bytes
//! only; whether a form really lies there, and how far, is for `forms.rs` to say.
//!
//! Whatever is to be found spells 12 bytes of a secret, so it is 12 characters long at least, in any form. All of its
//! groups of four characters are in the index, nine of them begin within those 12, and so one of them lies at a place
//! that is looked at. Building takes a nanosecond for each group, without an automaton.

use super::forms::{self, Form, View};
use zeroize::{DefaultIsZeroes, Zeroize};

/// Length of a group.
const GROUP: usize = 4;
/// The shortest text that spells as many secret bytes as make a hit.
pub(super) const SHORTEST: usize = super::CERTAIN;
pub(super) const STRIDE: usize = SHORTEST - GROUP + 1;
/// Four places share one test.
const BLOCK: usize = 4 * STRIDE;
/// Bits of the filter. One key of 60 characters sets about one in a hundred, so that nearly all text stops there.
const FILTER: u32 = 15;

/// A group: where in which form it begins.
#[derive(Clone, Copy, Default)]
pub(super) struct Group {
    word: u32,
    /// Counted from the form's first atom.
    pub atom: u32,
    /// The next one in the same chain, from 1; 0 ends it.
    next: u32,
    pub form: u16,
    /// Characters of the atom's spelling that lie before the group.
    pub back: u8,
}

impl DefaultIsZeroes for Group {}

pub(super) struct Index {
    filter: Box<[u64; 1 << (FILTER - 6)]>,
    /// Where the chain of each hash begins.
    heads: Vec<u32>,
    head_shift: u32,
    groups: Vec<Group>,
}

impl Drop for Index {
    fn drop(&mut self) {
        self.filter.zeroize();
        self.heads.zeroize();
        self.groups.zeroize();
    }
}

/// Letters of either case hash alike, so that hex and escapes need no second entry.
fn word(group: [u8; GROUP]) -> u32 {
    u32::from_le_bytes(group) | 0x2020_2020
}

fn hash(word: u32) -> u32 {
    word.wrapping_mul(0x9E37_79B1)
}

impl Index {
    /// Only groups of secret characters count: the well-known beginning of a key is no secret.
    pub fn new<'a>(forms: impl Iterator<Item = (usize, &'a Form)> + Clone, buffer: &[u8]) -> Self {
        let atoms = forms.clone().map(|(_, f)| f.atoms.len()).sum();
        let mut groups = Vec::with_capacity(atoms);
        for (number, form) in forms {
            let Ok(number) = u16::try_from(number) else { break };
            let Some(atoms) = buffer.get(form.atoms.clone()) else { continue };
            collect(form, number, atoms, &mut groups);
        }
        let head = groups.len().next_power_of_two().clamp(1 << 6, 1 << 20).trailing_zeros();
        let mut index = Self { filter: Box::new([0; _]), heads: vec![0; 1 << head], head_shift: 32 - head, groups };
        index.link();
        index
    }

    fn link(&mut self) {
        for (number, group) in (1..).zip(&mut self.groups) {
            let h = hash(group.word);
            let bit = h >> (32 - FILTER);
            self.filter[bit as usize / 64] |= 1 << (bit % 64);
            if let Some(head) = self.heads.get_mut((h >> self.head_shift) as usize) {
                group.next = std::mem::replace(head, number);
            }
        }
    }

    fn may_hold(&self, group: [u8; GROUP]) -> bool {
        let bit = hash(word(group)) >> (32 - FILTER);
        self.filter[bit as usize / 64] >> (bit % 64) & 1 != 0
    }

    /// The groups that the index knows at a place of the text.
    fn at(&self, group: [u8; GROUP]) -> impl Iterator<Item = &Group> {
        let word = word(group);
        let head = self.heads.get((hash(word) >> self.head_shift) as usize).copied().unwrap_or(0);
        let known = move |number: u32| (number as usize).checked_sub(1).and_then(|n| self.groups.get(n));
        std::iter::successors(known(head), move |g| known(g.next)).filter(move |g| g.word == word)
    }

    /// The first place from `from` on, in steps of nine, whose four characters the index knows; with what it knows.
    pub fn find(&self, view: View, from: usize) -> Option<(usize, impl Iterator<Item = &Group>)> {
        let mut at = from;
        loop {
            at = self.suspect(view, at)?;
            let group = quad(view, at)?;
            if self.at(group).next().is_some() {
                return Some((at, self.at(group)));
            }
            at += STRIDE;
        }
    }

    /// The first place from `from` on, in steps of nine, that the filter lets pass.
    fn suspect(&self, view: View, from: usize) -> Option<usize> {
        let mut at = from;
        while at < view.seen.len() {
            if self.may_hold(quad(view, at)?) {
                return Some(at);
            }
            at += STRIDE;
        }
        let text = view.now.get(at - view.seen.len()..)?;
        let (blocks, _) = text.as_chunks::<BLOCK>();
        let hit = |b: &[u8; BLOCK], at: usize| self.may_hold([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        let any = |b: &[u8; BLOCK]| hit(b, 0) | hit(b, STRIDE) | hit(b, 2 * STRIDE) | hit(b, 3 * STRIDE);
        let clean = blocks.iter().position(any).unwrap_or(blocks.len()) * BLOCK;
        let mut groups = text.get(clean..)?.windows(GROUP).step_by(STRIDE);
        let place = groups.position(|w| w.first_chunk().is_some_and(|&g| self.may_hold(g)))?;
        Some(at + clean + place * STRIDE)
    }
}

fn quad(view: View, at: usize) -> Option<[u8; GROUP]> {
    Some([view.get(at)?, view.get(at + 1)?, view.get(at + 2)?, view.get(at + 3)?])
}

/// All groups of a form, in all spellings.
fn collect(form: &Form, number: u16, atoms: &[u8], groups: &mut Vec<Group>) {
    let mut from = form.first_secret();
    while let Some(rest) = atoms.get(from..).filter(|rest| !rest.is_empty()) {
        let plain = rest.iter().position(|&a| !form.kind.is_plain(a)).unwrap_or(rest.len());
        let group = |(atom, four): (usize, &[u8])| {
            let four = four.first_chunk().copied().unwrap_or_default();
            Group { word: word(four), atom: atom as u32, next: 0, form: number, back: 0 }
        };
        groups.extend((from..).zip(rest.get(..plain).unwrap_or_default().windows(GROUP)).map(group));
        let last = from + plain;
        if last == atoms.len() {
            return;
        }
        // Groups that something else than plain characters is part of.
        for atom in last.saturating_sub(GROUP - 1).max(from)..last + 1 {
            collect_spelled(form, number, atom, atoms, groups);
        }
        from = last + 1;
    }
}

fn collect_spelled(form: &Form, number: u16, atom: usize, atoms: &[u8], groups: &mut Vec<Group>) {
    let Some(rest) = atoms.get(atom..) else { return };
    let first = groups.len();
    let mut push = |four: [u8; GROUP], back: usize| {
        let new = Group { word: word(four), atom: atom as u32, next: 0, form: number, back: back as u8 };
        if !groups.iter().skip(first).any(|g| g.word == new.word && g.back == new.back) {
            groups.push(new);
        }
    };
    each_spelling(form, rest, &mut |spelling, rest| {
        for back in 0..spelling.len() {
            spell(form, rest, [0; GROUP], 0, spelling.get(back..).unwrap_or_default(), &mut |four| push(four, back));
        }
    });
}

/// Calls `f` with each spelling of the first atom and the atoms after it.
fn each_spelling(form: &Form, atoms: &[u8], f: &mut dyn FnMut(&[u8], &[u8])) {
    let Some((&atom, rest)) = atoms.split_first() else { return };
    if form.kind.is_plain(atom) {
        f(&[atom], rest);
    } else {
        forms::spellings(form.kind, atom, &mut |s| f(s, rest));
    }
}

/// Fills a group with `text` and then with the spellings of the atoms that follow; at most four deep.
fn spell(form: &Form, atoms: &[u8], mut four: [u8; GROUP], from: usize, text: &[u8], f: &mut dyn FnMut([u8; GROUP])) {
    let mut len = from;
    for (slot, &c) in four.iter_mut().skip(from).zip(text) {
        *slot = c;
        len += 1;
    }
    if len == GROUP {
        return f(four);
    }
    each_spelling(form, atoms, &mut |spelling, rest| spell(form, rest, four, len, spelling, f));
}
