//! The forms in which a key may come back, and how far a stretch of text agrees with one of them. Where to look is
//! `index.rs`'s affair, what to put there `scrub.rs`'s.

use std::ops::Range;

/// How the characters of a form may be spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The key itself: one atom is one byte.
    Text,
    /// One atom is six bits.
    Base64,
    /// One atom is four bits, of either case.
    Hex,
}

impl Kind {
    fn width(self) -> usize {
        match self {
            Kind::Text => 8,
            Kind::Base64 => 6,
            Kind::Hex => 4,
        }
    }

    /// Whether no serializer in use spells this atom in another way than as itself.
    pub fn is_plain(self, atom: u8) -> bool {
        match self {
            Kind::Text => PLAIN[usize::from(atom)] & 1 != 0,
            Kind::Base64 => PLAIN[usize::from(atom)] & 2 != 0,
            Kind::Hex => true,
        }
    }

    /// Whether this character spells a plain atom.
    fn agrees(self, atom: u8, with: u8) -> bool {
        atom == with || (self == Kind::Hex && atom == with.to_ascii_lowercase())
    }
}

/// Bit 0 for characters that are plain in text: letters, digits, `-`, `_` and `.`; bit 1 in base64: letters and digits.
const PLAIN: [u8; 256] = {
    let mut table = [0; 256];
    let mut c = 0;
    while c < 256 {
        if (c as u8).is_ascii_alphanumeric() {
            table[c] = 3;
        } else if matches!(c as u8, b'-' | b'_' | b'.') {
            table[c] = 1;
        }
        c += 1;
    }
    table
};

/// One form of one key: a row of atoms, each with its spellings, in a buffer that all forms share.
pub(super) struct Form {
    pub key: usize,
    pub kind: Kind,
    pub atoms: Range<usize>,
    /// The bit of the key at which the first atom begins: what came before shares a base64 character with a neighbour.
    lead: usize,
    /// Where the well-known beginning ends, in bytes of the key.
    secret_from: usize,
    /// No atom is spelled in another way than as itself.
    plain: bool,
}

impl Form {
    /// The first atom, counted from the form's own first, that tells nothing but secret bits.
    pub fn first_secret(&self) -> usize {
        (self.secret_from * 8).saturating_sub(self.lead).div_ceil(self.kind.width())
    }

    /// How many secret bytes in a row these atoms (counted from the form's first) tell, as far as whole atoms can:
    /// what a base64 character at either end shares with a neighbour is not asked for.
    pub fn secret_bytes(&self, atoms: Range<usize>) -> usize {
        if self.kind == Kind::Text {
            return atoms.end.saturating_sub(atoms.start.max(self.secret_from));
        }
        let width = self.kind.width();
        let from = if atoms.start == 0 { 0 } else { (width * (atoms.start - 1) + self.lead) / 8 + 1 };
        let to = (width * (atoms.end + 1) + self.lead - 1) / 8;
        to.saturating_sub(from.max(self.secret_from))
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Room that the forms of a value of this length take; the buffer must never grow, since growing leaves copies.
pub(super) fn room(len: usize) -> usize {
    len + 3 * ((len * 8).div_ceil(6) + 4) + 2 * len
}

/// Adds all forms of a value.
pub(super) fn add(key: usize, value: &[u8], secret_from: usize, buffer: &mut Vec<u8>, forms: &mut Vec<Form>) {
    let mut add = |kind: Kind, lead, write: &dyn Fn(&mut Vec<u8>)| {
        let from = buffer.len();
        write(buffer);
        let plain = buffer.iter().skip(from).all(|atom| kind.is_plain(*atom));
        forms.push(Form { key, kind, atoms: from..buffer.len(), lead, secret_from, plain });
    };
    add(Kind::Text, 0, &|b| b.extend_from_slice(value));
    // A key behind 0, 1 or 2 bytes of a group of three: its first 0, 4 or 2 bits share a character with them.
    for lead in [0, 4, 2] {
        add(Kind::Base64, lead, &|b| base64(value, lead, b));
    }
    add(Kind::Hex, 0, &|b| {
        value.iter().for_each(|v| b.extend_from_slice(&[HEX[usize::from(v >> 4)], HEX[usize::from(v & 15)]]));
    });
}

/// The characters that lie wholly in the value, when its first `lead` bits belong to an earlier one.
fn base64(value: &[u8], lead: usize, out: &mut Vec<u8>) {
    let end = out.len() + (value.len() * 8 - lead) / 6;
    for i in (0..value.len()).step_by(3) {
        let mut four = [0; 4];
        for (to, from) in four.iter_mut().zip(&value[i..]) {
            *to = *from;
        }
        let bits = u32::from_be_bytes(four) << lead;
        out.extend_from_slice(&[26, 20, 14, 8].map(|shift| BASE64[(bits >> shift & 63) as usize]));
    }
    out.truncate(end);
}

/// The longest spelling of an atom: three backslashes and `u002f`.
pub(super) const LONGEST: usize = 8;

/// Calls `f` with each spelling of an atom that isn't plain. Letters in them count in either case.
pub(super) fn spellings(kind: Kind, atom: u8, f: &mut impl FnMut(&[u8])) {
    f(&[atom]);
    match (kind, atom) {
        (Kind::Base64, b'+') => f(b"-"),
        (Kind::Base64, b'/') => f(b"_"),
        (Kind::Text, b' ') => f(b"+"),
        _ => {}
    }
    let [high, low] = [HEX[usize::from(atom >> 4)], HEX[usize::from(atom & 15)]];
    f(&[b'%', high, low]);
    f(&[b'%', b'2', b'5', high, low]);
    if !atom.is_ascii() {
        return;
    }
    // One backslash as in JSON, up to three as in JSON within a JSON string.
    let short = short_escape(atom);
    let long = [b'\\', b'\\', b'\\', b'u', b'0', b'0', high, low];
    for skip in 0..3 {
        f(&long[skip..]);
        if let Some(c) = short {
            f(&[b'\\', b'\\', b'\\', c][skip..]);
        }
    }
}

fn short_escape(atom: u8) -> Option<u8> {
    match atom {
        b'"' | b'\'' | b'\\' | b'/' => Some(atom),
        8 => Some(b'b'),
        12 => Some(b'f'),
        b'\n' => Some(b'n'),
        b'\r' => Some(b'r'),
        b'\t' => Some(b't'),
        _ => None,
    }
}

/// The text under search: what has already passed, and the chunk at hand.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub seen: &'a [u8],
    pub now: &'a [u8],
}

impl View<'_> {
    pub fn len(&self) -> usize {
        self.seen.len() + self.now.len()
    }

    pub fn get(&self, at: usize) -> Option<u8> {
        match at.checked_sub(self.seen.len()) {
            None => self.seen.get(at).copied(),
            Some(at) => self.now.get(at).copied(),
        }
    }

    /// The chunk at hand, parted at a place in it.
    fn now_around(&self, at: usize) -> Option<(&[u8], &[u8])> {
        self.now.split_at_checked(at.checked_sub(self.seen.len())?)
    }

    fn has(&self, at: usize, spelling: &[u8]) -> bool {
        spelling.iter().enumerate().all(|(i, s)| self.get(at + i).is_some_and(|c| c.eq_ignore_ascii_case(s)))
    }
}

/// Where a reading of the text may stand. Almost always one place; each backslash in a row of them in a key can make it
/// three more, and beyond five in a row the longest readings are given up.
#[derive(Clone, Copy)]
struct Places {
    at: [usize; 16],
    len: usize,
}

impl Places {
    fn one(at: usize) -> Self {
        Self { at: [at; 16], len: 1 }
    }

    fn only(&self) -> Option<usize> {
        (self.len == 1).then_some(self.at[0])
    }

    fn none() -> Self {
        Self { at: [0; 16], len: 0 }
    }

    fn add(&mut self, at: usize) {
        if self.as_slice().contains(&at) {
            return;
        }
        if let Some(slot) = self.at.get_mut(self.len) {
            *slot = at;
            self.len += 1;
        }
    }

    fn as_slice(&self) -> &[usize] {
        self.at.get(..self.len).unwrap_or(&[])
    }
}

/// Which atoms of a form a stretch of the text spells, and where the stretch lies.
pub(super) struct Agreement {
    pub atoms: Range<usize>,
    pub text: Range<usize>,
}

/// Whether the plain characters around `at` settle that `enough` bytes of the secret can't agree here: the quick way out
/// of text that resembles a key. In doubt it says no.
pub(super) fn falls_short(form: &Form, buffer: &[u8], view: View, atom: usize, at: usize, enough: usize) -> bool {
    let sides = |atoms: Range<usize>| Some((buffer.get(atoms)?.split_at_checked(atom)?, view.now_around(at)?));
    let Some(((before, after), (left, right))) = sides(form.atoms.clone()) else { return false };
    let exact = form.kind != Kind::Hex;
    let told = if exact { alike(after, right) } else { alike_in_hex(after.iter(), right.iter()) };
    let told_before =
        if exact { alike_before(before, left) } else { alike_in_hex(before.iter().rev(), left.iter().rev()) };
    // where the text ends in the middle, or an atom may be spelled in another way, this tells nothing
    let cut = told_before == left.len() && told_before < before.len() && !view.seen.is_empty();
    let asked = || before.iter().rev().take(told_before + 1).chain(after.iter().take(told + 1));
    let plain = form.plain || asked().all(|atom| form.kind.is_plain(*atom));
    plain && !cut && form.secret_bytes(atom - told_before..atom + told) < enough
}

/// The length of the beginning that both have, eight bytes at a time: there is text that resembles keys at every word.
fn alike(a: &[u8], b: &[u8]) -> usize {
    let mut done = 0;
    while let (Some(x), Some(y)) = (word(a, done), word(b, done)) {
        if x != y {
            return done + (x ^ y).trailing_zeros() as usize / 8;
        }
        done += 8;
    }
    let left = a.iter().zip(b).skip(done);
    done + left.take_while(|(a, b)| a == b).count()
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The length of the end that both have: most have none.
fn alike_before(a: &[u8], b: &[u8]) -> usize {
    a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count()
}

fn alike_in_hex<'a>(atoms: impl Iterator<Item = &'a u8>, text: impl Iterator<Item = &'a u8>) -> usize {
    atoms.zip(text).take_while(|(atom, c)| Kind::Hex.agrees(**atom, **c)).count()
}

/// The longest stretch around `at` that agrees with the form, where the form's atom number `atom` begins at `at`.
pub(super) fn agreement(form: &Form, buffer: &[u8], view: View, atom: usize, at: usize) -> Option<Agreement> {
    let (before, after) = buffer.get(form.atoms.clone())?.split_at_checked(atom)?;
    let (told, right) = follow(form.kind, after.iter(), view, at, false);
    let (told_before, left) = follow(form.kind, before.iter().rev(), view, at, true);
    let start = left.as_slice().iter().copied().min()?;
    let end = reach(form.kind, after.get(told), view, right);
    Some(Agreement { atoms: atom - told_before..atom + told, text: start..end })
}

/// How many of these atoms the text spells, one after the other from `at` on (or before it), and where that leads.
fn follow<'a>(kind: Kind, atoms: impl Iterator<Item = &'a u8>, view: View, at: usize, back: bool) -> (usize, Places) {
    let (mut told, mut places) = (0, Places::one(at));
    for &atom in atoms {
        let next = match places.only() {
            Some(at) if kind.is_plain(atom) => {
                let (character, next) = if back { (at.wrapping_sub(1), at.wrapping_sub(1)) } else { (at, at + 1) };
                if !view.get(character).is_some_and(|c| kind.agrees(atom, c)) {
                    break;
                }
                places.at[0] = next;
                told += 1;
                continue;
            }
            _ => step(kind, atom, view, &places, back),
        };
        if next.len == 0 {
            break;
        }
        (told, places) = (told + 1, next);
    }
    (told, places)
}

/// The places after (or, backwards, before) one atom, for readings that stand at `places`.
fn step(kind: Kind, atom: u8, view: View, places: &Places, back: bool) -> Places {
    let mut next = Places::none();
    let mut one = |at: usize, spelling: &[u8], exact: bool| {
        let Some(from) = (if back { at.checked_sub(spelling.len()) } else { Some(at) }) else { return };
        let agrees = match exact {
            true => view.get(from).is_some_and(|c| kind.agrees(atom, c)),
            false => view.has(from, spelling),
        };
        if agrees {
            next.add(if back { from } else { from + spelling.len() });
        }
    };
    for &at in places.as_slice() {
        if kind.is_plain(atom) {
            one(at, &[atom], true);
        } else {
            spellings(kind, atom, &mut |s| one(at, s, false));
        }
    }
    next
}

/// The end of the stretch: with the beginning of one more atom where the text breaks off within its spelling, so that
/// what is left of an escape is never half masked.
fn reach(kind: Kind, atom: Option<&u8>, view: View, places: Places) -> usize {
    let end = places.as_slice().iter().copied().max().unwrap_or(0);
    let Some(&atom) = atom else { return end };
    if kind.is_plain(atom) || end == view.len() {
        return end;
    }
    let mut broken = false;
    spellings(kind, atom, &mut |s| {
        broken |= places.as_slice().iter().any(|&at| {
            let left = view.len().saturating_sub(at);
            (1..s.len()).contains(&left) && s.get(..left).is_some_and(|s| view.has(at, s))
        });
    });
    if broken { view.len() } else { end }
}
