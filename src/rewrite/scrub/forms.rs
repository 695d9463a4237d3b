//! The forms in which a key may come back, and where a text spells one of them whole. Which places are looked at is
//! the affair of `index`, what is put there that of `cover`.

use super::spelling::{self, LONGEST, SpelledCharacter, nibble};
use super::strength::Strength;
use std::ops::Range;
use zeroize::Zeroizing;

/// The encoding of a form, which says what one of its atoms is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyEncoding {
    /// A byte of the key itself.
    Text,
    /// Six bits of it, as a character of either alphabet (RFC 4648, sections 4 and 5).
    Base64,
    /// Four bits of it, as a digit of either case.
    Hex,
}

/// One form of one key: a row of atoms in a buffer that all forms share.
pub(super) struct KeyForm {
    /// The number of the key.
    pub key: usize,
    /// What its atoms are.
    pub kind: KeyEncoding,
    /// Where its atoms lie in the buffer.
    pub atoms: Range<usize>,
    /// The bits of the first and of the last atom that are the key's: the others are a neighbour's.
    first_mask: u8,
    last_mask: u8,
    /// The atoms, counted from the form's first, that spell nothing but the well-known beginning.
    pub known: Range<usize>,
    /// The bits in each atom that a stranger can't know.
    pub bits: Vec<f32>,
}

/// The standard alphabet (RFC 4648, section 4).
pub(super) const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// The URL-safe alphabet (RFC 4648, section 5).
pub(super) const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// In [`SEXTET`], what is no character of base64.
const NONE: u8 = 0xff;

/// The six bits that a character of either alphabet stands for.
const SEXTET: [u8; 256] = {
    let mut table = [NONE; 256];
    let mut i = 0;
    while i < 64 {
        table[BASE64[i] as usize] = i as u8;
        table[BASE64_URL[i] as usize] = i as u8;
        i += 1;
    }
    table
};

/// Room that the atoms of a value of this length take; the buffer must never grow, since growing leaves copies.
pub(super) fn room(len: usize) -> usize {
    len + 3 * (len * 8 + 4).div_ceil(6) + 2 * len
}

/// Adds all forms of a value.
pub(super) fn add(key: usize, value: &[u8], strength: &Strength, buffer: &mut Vec<u8>, forms: &mut Vec<KeyForm>) {
    let mut add = |kind, masks: (u8, u8), known, bits, atoms: &mut dyn Iterator<Item = u8>| {
        let from = buffer.len();
        buffer.extend(atoms);
        let (first_mask, last_mask) = masks;
        forms.push(KeyForm { key, kind, atoms: from..buffer.len(), first_mask, last_mask, known, bits });
    };
    let known = strength.known;
    add(KeyEncoding::Text, (0xff, 0xff), 0..known, strength.bits.clone(), &mut value.iter().copied());
    // a key behind 0, 1 or 2 bytes of a group of three: as many bits of its first character are theirs
    for lead in [0, 2, 4] {
        let len = (lead + 8 * value.len()).div_ceil(6);
        let masks = (0x3f >> lead, (0x3f_u8 << (6 * len - lead - 8 * value.len())) & 0x3f);
        let from = usize::from(lead > 0);
        let known = from..((8 * known + lead) / 6).max(from);
        let bits = (0..len).map(|i| sextet_bits(&strength.bits, 6 * i, lead)).collect();
        add(KeyEncoding::Base64, masks, known, bits, &mut (0..len).map(|i| sextet(value, 6 * i, lead)));
    }
    let bits = strength.bits.iter().flat_map(|b| [b / 2.0, b / 2.0]).collect();
    add(KeyEncoding::Hex, (0xf, 0xf), 0..2 * known, bits, &mut value.iter().flat_map(|b| [b >> 4, b & 15]));
}

/// The six bits from `at` on of a value that `lead` bits stand before.
fn sextet(value: &[u8], at: usize, lead: usize) -> u8 {
    // counted from a byte before the value, so that nothing is negative
    let from = at + 8 - lead;
    let byte = |i: usize| i.checked_sub(1).and_then(|i| value.get(i)).copied().unwrap_or(0);
    let two = u16::from_be_bytes([byte(from / 8), byte(from / 8 + 1)]);
    (two << (from % 8) >> 10) as u8
}

/// As many of the bits of two neighbouring bytes as a sextet has of each.
fn sextet_bits(bits: &[f32], at: usize, lead: usize) -> f32 {
    let from = at + 8 - lead;
    let byte = |i: usize| i.checked_sub(1).and_then(|i| bits.get(i)).copied().unwrap_or(0.0);
    let first = (8 - from % 8).min(6);
    (first as f32 * byte(from / 8) + (6 - first) as f32 * byte(from / 8 + 1)) / 8.0
}

impl KeyForm {
    /// The number of its atoms.
    pub fn len(&self) -> usize {
        self.atoms.len()
    }

    /// The bits of an atom that are the key's.
    pub fn mask(&self, atom: usize) -> u8 {
        if atom == 0 {
            self.first_mask
        } else if atom + 1 == self.len() {
            self.last_mask
        } else {
            match self.kind {
                KeyEncoding::Text => 0xff,
                KeyEncoding::Base64 => 0x3f,
                KeyEncoding::Hex => 0xf,
            }
        }
    }

    /// The form as it is written without escapes, in each alphabet, without what it shares with neighbours.
    pub fn spelled(&self, buffer: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
        let atoms = buffer.get(self.atoms.clone()).unwrap_or_default();
        let own = || atoms.iter().enumerate().filter(|(i, _)| self.is_whole(*i)).map(|(_, atom)| *atom);
        let letters = |alphabet: &[u8]| {
            let mut text = Zeroizing::new(Vec::with_capacity(atoms.len()));
            text.extend(own().filter_map(|atom| alphabet.get(usize::from(atom)).copied()));
            text
        };
        match self.kind {
            KeyEncoding::Text => vec![Zeroizing::new(atoms.to_vec())],
            KeyEncoding::Base64 => vec![letters(BASE64), letters(BASE64_URL)],
            KeyEncoding::Hex => vec![letters(b"0123456789abcdef"), letters(b"0123456789ABCDEF")],
        }
    }

    /// Whether all bits of an atom are the key's.
    pub fn is_whole(&self, atom: usize) -> bool {
        self.kind != KeyEncoding::Base64 || self.mask(atom) == 0x3f
    }

    /// Whether a spelled character is this atom.
    fn agrees(&self, atom: usize, value: u8, unit: SpelledCharacter) -> bool {
        match self.kind {
            KeyEncoding::Text => {
                unit.value == value || value == b' ' && unit == SpelledCharacter { value: b'+', len: 1 }
            }
            KeyEncoding::Base64 => {
                let sextet = SEXTET[usize::from(unit.value)];
                sextet != NONE && sextet & self.mask(atom) == value
            }
            KeyEncoding::Hex => nibble(unit.value) == Some(value),
        }
    }

    /// Whether a line end may stand between two atoms.
    fn is_folded(&self) -> bool {
        self.kind != KeyEncoding::Text
    }

    /// The stretch of the text that spells this form whole, where its atom number `atom` begins at `at`.
    pub fn whole(&self, buffer: &[u8], text: &[u8], atom: usize, at: usize) -> Option<Range<usize>> {
        let atoms = buffer.get(self.atoms.clone())?;
        let mut right = Places::one(at);
        for (i, &value) in atoms.iter().enumerate().skip(atom) {
            right = self.after(text, i, value, &right, i > atom)?;
        }
        let mut left = Places::one(at);
        for (i, &value) in atoms.iter().enumerate().take(atom).rev() {
            left = self.before(text, i, value, &left)?;
        }
        Some(left.as_slice().iter().copied().min()?..right.as_slice().iter().copied().max()?)
    }

    /// The places behind one atom, for readings that stand at `places`; `None` where no reading agrees.
    fn after(&self, text: &[u8], atom: usize, value: u8, places: &Places, folds: bool) -> Option<Places> {
        let mut next = Places::none();
        for &at in places.as_slice() {
            let fold = if folds && self.is_folded() { spelling::fold(text, at) } else { None };
            for at in [Some(at), fold.map(|len| at + len)].into_iter().flatten() {
                spelling::readings(text, at, &mut |unit| {
                    if self.agrees(atom, value, unit) {
                        next.add(at + unit.len);
                    }
                });
            }
        }
        (next.len > 0).then_some(next)
    }

    /// The places before one atom, for readings that stand behind it.
    fn before(&self, text: &[u8], atom: usize, value: u8, places: &Places) -> Option<Places> {
        let mut next = Places::none();
        for &end in places.as_slice() {
            let fold = if self.is_folded() { spelling::fold_before(text, end) } else { None };
            for end in [Some(end), fold].into_iter().flatten() {
                for at in end.saturating_sub(LONGEST)..end {
                    spelling::readings(text, at, &mut |unit| {
                        if at + unit.len == end && self.agrees(atom, value, unit) {
                            next.add(at);
                        }
                    });
                }
            }
        }
        (next.len > 0).then_some(next)
    }
}

/// The places in a text where its readings may stand. Almost always one place; each backslash in a row of them in a key can make it
/// three more, and beyond five in a row the longest readings are given up.
struct Places {
    at: [usize; 16],
    len: usize,
}

impl Places {
    fn none() -> Self {
        Self { at: [0; 16], len: 0 }
    }

    fn one(at: usize) -> Self {
        Self { at: [at; 16], len: 1 }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_has_all_bits_that_are_unknown() {
        let (mut buffer, mut forms) = (Vec::with_capacity(room(3)), Vec::new());
        add(0, b"abc", &Strength { known: 1, bits: vec![8.0, 16.0, 0.0] }, &mut buffer, &mut forms);
        let bits: Vec<(KeyEncoding, Range<usize>, Vec<f32>)> =
            forms.iter().map(|form| (form.kind, form.known.clone(), form.bits.clone())).collect();
        let want = [
            (KeyEncoding::Text, 0..1, vec![8.0, 16.0, 0.0]),
            (KeyEncoding::Base64, 0..1, vec![6.0, 10.0, 8.0, 0.0]),
            (KeyEncoding::Base64, 1..1, vec![4.0, 8.0, 12.0, 0.0, 0.0]),
            (KeyEncoding::Base64, 1..2, vec![2.0, 6.0, 12.0, 4.0, 0.0]),
            (KeyEncoding::Hex, 0..2, vec![4.0, 4.0, 8.0, 8.0, 0.0, 0.0]),
        ];
        assert_eq!(bits, want);
        assert_eq!(buffer.capacity(), room(3), "a buffer that grows leaves copies behind");
    }
}
