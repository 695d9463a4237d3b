//! Finds the places where a form of a key may lie, by looking at every ninth place of the text. It knows of four bytes
//! only; whether a form really lies there, and how far, is for `forms.rs` to say.
//!
//! Whatever is to be found spells 12 bytes of a secret, so it is 12 characters long at least, in any form. All of its
//! groups of four characters are in the index, nine of them begin within those 12, and so one of them lies at a place
//! that is looked at. Building takes a nanosecond for each group, without an automaton.

use super::forms::{self, Form, Kind, View};
use zeroize::Zeroize;

/// Length of a group.
const GROUP: usize = 4;
/// The shortest text that spells as many secret bytes as make a hit.
pub(super) const SHORTEST: usize = super::CERTAIN;
pub(super) const STRIDE: usize = SHORTEST - GROUP + 1;
/// Four places share one test.
const BLOCK: usize = 4 * STRIDE;
/// Bits of the filter. One key of 60 characters sets about one in a hundred, so that nearly all text stops there.
const FILTER: u32 = 15;

/// Where in which form a group begins.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub form: usize,
    /// The first atom that begins in or after the group, counted from the form's first.
    pub atom: usize,
    /// How far behind the beginning of the group that is: more than 0 where the group begins within an escape.
    pub ahead: usize,
}

impl Group {
    fn pack(self) -> u64 {
        (self.atom as u64) << 32 | (self.form as u64) << 8 | self.ahead as u64
    }

    fn unpack(packed: u64) -> Self {
        Self { atom: (packed >> 32) as usize, form: (packed as u32 >> 8) as usize, ahead: (packed & 0xff) as usize }
    }
}

/// Flat words throughout, so that wiping them takes one store for each eight bytes.
pub(super) struct Index {
    filter: Box<[u64; 1 << (FILTER - 6)]>,
    /// Where the chain of each hash begins, from 1; 0 is none.
    heads: Vec<u32>,
    head_shift: u32,
    /// For each group, its characters above the number of the next one in its chain.
    links: Vec<u64>,
    /// For each group, where it belongs.
    groups: Vec<u64>,
}

impl Drop for Index {
    fn drop(&mut self) {
        self.filter.as_mut_slice().zeroize();
        self.heads.as_mut_slice().zeroize();
        self.links.as_mut_slice().zeroize();
        self.groups.as_mut_slice().zeroize();
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
        let mut found = Groups { words: Vec::with_capacity(atoms), groups: Vec::with_capacity(atoms) };
        for (number, form) in forms {
            found.collect(form, number, buffer.get(form.atoms.clone()).unwrap_or_default());
        }
        let Groups { words: mut links, groups } = found;
        let mut filter = Box::new([0; _]);
        let head = (links.len() / 2).next_power_of_two().clamp(1 << 6, 1 << 20).trailing_zeros();
        let (mut heads, head_shift) = (vec![0; 1 << head], 32 - head);
        for (number, link) in (1..).zip(&mut links) {
            let h = hash((*link >> 32) as u32);
            let bit = h >> (32 - FILTER);
            filter[bit as usize / 64] |= 1 << (bit % 64);
            if let Some(head) = heads.get_mut((h >> head_shift) as usize) {
                *link |= u64::from(std::mem::replace(head, number));
            }
        }
        Self { filter, heads, head_shift, links, groups }
    }

    fn may_hold(&self, group: [u8; GROUP]) -> bool {
        let bit = hash(word(group)) >> (32 - FILTER);
        self.filter[bit as usize / 64] >> (bit % 64) & 1 != 0
    }

    /// Where these four characters belong.
    fn at(&self, group: [u8; GROUP]) -> impl Iterator<Item = Group> {
        let word = word(group);
        let head = self.heads.get((hash(word) >> self.head_shift) as usize).copied().unwrap_or(0);
        let numbered = |number: u32| (number as usize).checked_sub(1);
        let next = move |&at: &usize| self.links.get(at).and_then(|&link| numbered(link as u32));
        std::iter::successors(numbered(head), next)
            .filter(move |&at| self.links.get(at).is_some_and(|link| (link >> 32) as u32 == word))
            .filter_map(|at| self.groups.get(at).copied().map(Group::unpack))
    }

    /// The first place from `from` on, in steps of nine, whose four characters the index knows; with what it knows.
    pub fn find(&self, view: View, from: usize) -> Option<(usize, impl Iterator<Item = Group>)> {
        let mut at = from;
        loop {
            at = self.suspect(view, at)?;
            let group = quad(view, at)?;
            let mut known = self.at(group).peekable();
            if known.peek().is_some() {
                return Some((at, known));
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

/// The groups of all forms, while they are collected.
struct Groups {
    /// The characters, in the upper half.
    words: Vec<u64>,
    groups: Vec<u64>,
}

impl Groups {
    /// Adds all groups of a form, in all spellings.
    fn collect(&mut self, form: &Form, number: usize, atoms: &[u8]) {
        let mut from = form.first_secret();
        while let Some(rest) = atoms.get(from..).filter(|rest| !rest.is_empty()) {
            let plain = rest.iter().position(|&a| !form.kind.is_plain(a)).unwrap_or(rest.len());
            let windows = rest.get(..plain).unwrap_or_default().windows(GROUP);
            self.groups.extend((from..from + windows.len()).map(|atom| Group { form: number, atom, ahead: 0 }.pack()));
            self.words.extend(windows.map(|w| u64::from(word(w.first_chunk().copied().unwrap_or_default())) << 32));
            let last = from + plain;
            if last == atoms.len() {
                return;
            }
            // Groups that something else than plain characters is part of.
            for atom in last.saturating_sub(GROUP - 1).max(from)..last + 1 {
                self.collect_spelled(form, number, atom, atoms);
            }
            from = last + 1;
        }
    }

    /// Adds the groups that begin with any ending of any spelling of one atom.
    fn collect_spelled(&mut self, form: &Form, number: usize, atom: usize, atoms: &[u8]) {
        let Some((&first, rest)) = atoms.get(atom..).and_then(<[u8]>::split_first) else { return };
        let mut endings: Vec<[u8; forms::LONGEST]> = Vec::with_capacity(32);
        each_spelling(form.kind, first, &mut |spelling| {
            for from in 0..spelling.len() {
                let ending = spelling.get(from..).unwrap_or_default();
                // Flush right, so that equal endings of different spellings are equal.
                let mut padded = [0; forms::LONGEST];
                if let Some(to) = padded.get_mut(forms::LONGEST - ending.len()..) {
                    to.copy_from_slice(ending);
                }
                if endings.contains(&padded) {
                    continue;
                }
                endings.push(padded);
                let group = Group { form: number, atom: atom + 1, ahead: ending.len() };
                spell(form.kind, rest, [0; GROUP], 0, ending, &mut |four| {
                    self.words.push(u64::from(word(four)) << 32);
                    self.groups.push(group.pack());
                });
            }
        });
        endings.iter_mut().for_each(|e| e.zeroize());
    }
}

/// Calls `f` with each spelling of an atom.
fn each_spelling(kind: Kind, atom: u8, f: &mut dyn FnMut(&[u8])) {
    if kind.is_plain(atom) {
        f(&[atom]);
    } else {
        forms::spellings(kind, atom, &mut |s| f(s));
    }
}

/// Fills a group with `text` and then with the spellings of the atoms that follow; at most four deep.
fn spell(kind: Kind, atoms: &[u8], mut four: [u8; GROUP], from: usize, text: &[u8], f: &mut dyn FnMut([u8; GROUP])) {
    let mut len = from;
    for (slot, &c) in four.iter_mut().skip(from).zip(text) {
        *slot = c;
        len += 1;
    }
    let Some((&atom, rest)) = atoms.split_first().filter(|_| len < GROUP) else {
        return if len == GROUP {
            f(four)
        };
    };
    // Spellings that only differ in what lies beyond the group are one.
    let mut heads = [[0; GROUP]; 16];
    let mut known = 0;
    each_spelling(kind, atom, &mut |spelling| {
        if let Some(head) = spelling.get(..GROUP - len) {
            let mut padded = [0; GROUP];
            padded.iter_mut().zip(head).for_each(|(to, c)| *to = *c);
            if heads.iter().take(known).any(|h| *h == padded) {
                return;
            }
            if let Some(slot) = heads.get_mut(known) {
                (*slot, known) = (padded, known + 1);
            }
        }
        spell(kind, rest, four, len, spelling, f);
    });
}
