//! Finds the places where a form of a key may lie: every s-th window of the text is looked up among windows of the forms.
//! Whether a form really lies there is for `forms` to say.
//!
//! Nothing here depends on less than [`SURE`] unknown bits of a key: neither which windows are known, since the hash is
//! keyed at random, nor how long the search takes.

use super::forms::{BASE64, BASE64_URL, KeyEncoding, KeyForm};
use super::spelling::LONGEST;
use super::strength::ENOUGH;
use std::hash::BuildHasher as _;
use std::sync::LazyLock;
use zeroize::{Zeroize, Zeroizing};

/// Unknown bits in a window, so that whoever guesses one has to guess more than can be tried: those of eight letters and
/// digits.
const SURE: f32 = 47.5;
/// The farthest that looked-up windows are apart: more hardly saves anything.
const STRIDE: usize = 24;
/// The widths that are tried first, so that few are in use, unless the windows would be closer together than this.
const USUAL: [usize; 2] = [24, 16];
const CLOSE: usize = 12;
/// The widths that a window may have, in bytes.
const WIDTHS: [usize; 11] = [9, 12, 14, 16, 24, 20, 32, 40, 48, 64, 96];
/// Bits of the filter for each window.
const SPARSE: usize = 64;

/// The place of a window: where in which form it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct WindowPlace {
    /// The number of the form.
    pub form: u32,
    /// The number of the first atom in the window.
    pub atom: u32,
    /// How many bytes behind the beginning of the window that atom begins.
    pub ahead: u32,
}

impl Zeroize for WindowPlace {
    fn zeroize(&mut self) {
        (self.form, self.atom, self.ahead) = (0, 0, 0);
    }
}

/// The windows of all forms, by width and distance.
#[derive(Default)]
pub(super) struct WindowIndex {
    passes: Vec<WindowTable>,
    widest: usize,
}

/// Windows of one width.
struct WindowTable {
    width: usize,
    stride: usize,
    filter: Vec<u64>,
    filter_shift: u32,
    /// By hash.
    windows: Vec<(u64, WindowPlace)>,
}

impl Drop for WindowTable {
    fn drop(&mut self) {
        self.filter.zeroize();
        self.windows.iter_mut().for_each(|(hash, place)| {
            hash.zeroize();
            place.zeroize();
        });
    }
}

static SEEDS: LazyLock<[u64; 3]> = LazyLock::new(|| {
    let random = std::collections::hash_map::RandomState::new();
    [1u8, 2, 3].map(|seed| random.hash_one(seed))
});

fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(word)
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[inline]
fn hash(seeds: &[u64; 3], window: &[u8]) -> u64 {
    let [first, last, middle] = *seeds;
    match (window.first_chunk(), window.last_chunk()) {
        (Some(head), Some(tail)) => {
            let ends = fold(u64::from_le_bytes(*head) ^ first, u64::from_le_bytes(*tail) ^ last);
            let between = window.get(8..window.len() - 8).unwrap_or_default();
            between.chunks(8).fold(ends, |hash, chunk| fold(hash ^ word(chunk), middle))
        }
        // only a key that is guessable, and searched for all the same
        _ => fold(word(window) ^ first, last ^ window.len() as u64),
    }
}

/// A hash of a whole text that nobody can foresee.
pub(super) fn keyed_hash(text: &[u8]) -> u64 {
    hash(&SEEDS, text)
}

impl WindowIndex {
    /// The windows of all forms, whose atoms lie in `buffer`.
    pub fn new(forms: &[KeyForm], buffer: &[u8]) -> Self {
        let mut passes: Vec<WindowTable> = Vec::new();
        for (number, form) in forms.iter().enumerate() {
            for spelled in SpelledForm::all(form, buffer.get(form.atoms.clone()).unwrap_or_default()) {
                let Some(choice) = spelled.choose() else { continue };
                let alike = |pass: &&mut WindowTable| {
                    pass.width == choice.width && (pass.stride < CLOSE) == (choice.offsets.len() < CLOSE)
                };
                let pass = match passes.iter_mut().position(|pass| alike(&pass)) {
                    Some(at) => passes.get_mut(at),
                    None => {
                        passes.push(WindowTable::new(choice.width));
                        passes.last_mut()
                    }
                };
                if let Some(pass) = pass {
                    pass.add(number as u32, &spelled, choice);
                }
            }
        }
        passes.iter_mut().for_each(WindowTable::close);
        let widest = passes.iter().map(|pass| pass.width).max().unwrap_or(0);
        Self { passes, widest }
    }

    /// The width of the widest window.
    pub fn widest(&self) -> usize {
        self.widest
    }

    /// Looks up every s-th window of the text.
    pub fn scan(&self, text: &[u8], f: &mut impl FnMut(usize, WindowPlace)) {
        let seeds = &*SEEDS;
        for pass in &self.passes {
            match pass.width {
                16 => pass.scan(text, |window: &[u8; 16]| hash(seeds, window), f),
                24 => pass.scan(text, |window: &[u8; 24]| hash(seeds, window), f),
                _ => pass.scan_any(text, seeds, f),
            }
        }
    }

    /// Looks up each window that begins at one of the first `count` bytes of the text.
    pub fn scan_each(&self, text: &[u8], count: usize, f: &mut impl FnMut(usize, WindowPlace)) {
        let seeds = &*SEEDS;
        for pass in &self.passes {
            for (at, window) in text.windows(pass.width).take(count).enumerate() {
                pass.look_up(hash(seeds, window), at, f);
            }
        }
    }
}

impl WindowTable {
    fn new(width: usize) -> Self {
        Self { width, stride: STRIDE, filter: Vec::new(), filter_shift: 0, windows: Vec::new() }
    }

    fn add(&mut self, form: u32, spelled: &SpelledForm, choice: WindowChoice) {
        self.stride = self.stride.min(choice.offsets.len());
        self.windows.reserve(choice.offsets.len());
        for at in choice.offsets {
            let Some(window) = spelled.text.get(at..at + choice.width) else { continue };
            let Some((ahead, atom)) = spelled.first_atom(at) else { continue };
            self.windows.push((hash(&SEEDS, window), WindowPlace { form, atom, ahead }));
        }
    }

    /// Makes the filter, once all windows are there.
    fn close(&mut self) {
        self.windows.sort_unstable_by_key(|(hash, _)| *hash);
        let bits = (SPARSE * self.windows.len()).next_power_of_two().max(64);
        self.filter = vec![0; bits / 64];
        self.filter_shift = 64 - bits.trailing_zeros();
        for (hash, _) in &self.windows {
            let bit = hash >> self.filter_shift;
            if let Some(word) = self.filter.get_mut((bit / 64) as usize) {
                *word |= 1 << (bit % 64);
            }
        }
    }

    #[inline]
    fn may_hold(&self, hash: u64) -> bool {
        let bit = hash >> self.filter_shift;
        self.filter.get((bit / 64) as usize).is_some_and(|word| word >> (bit % 64) & 1 != 0)
    }

    fn scan<const W: usize>(
        &self,
        text: &[u8],
        hash: impl Fn(&[u8; W]) -> u64,
        f: &mut impl FnMut(usize, WindowPlace),
    ) {
        let mut at = 0;
        while let Some(window) = text.get(at..).and_then(<[u8]>::first_chunk) {
            let hash = hash(window);
            if self.may_hold(hash) {
                self.look_up(hash, at, f);
            }
            at += self.stride;
        }
    }

    fn scan_any(&self, text: &[u8], seeds: &[u64; 3], f: &mut impl FnMut(usize, WindowPlace)) {
        for at in (0..text.len()).step_by(self.stride) {
            let Some(window) = text.get(at..at + self.width) else { return };
            let hash = hash(seeds, window);
            if self.may_hold(hash) {
                self.look_up(hash, at, f);
            }
        }
    }

    #[cold]
    fn look_up(&self, hash: u64, at: usize, f: &mut impl FnMut(usize, WindowPlace)) {
        let from = self.windows.partition_point(|(known, _)| *known < hash);
        let known = self.windows.iter().skip(from).take_while(|(known, _)| *known == hash);
        known.for_each(|(_, place)| f(at, *place));
    }
}

/// The windows of a spelling that are known.
struct WindowChoice {
    width: usize,
    offsets: std::ops::Range<usize>,
}

/// One way to write a form, and which atom each byte begins.
struct SpelledForm {
    text: Zeroizing<Vec<u8>>,
    /// The atom that begins at each byte; none within one.
    atoms: Vec<Option<u32>>,
    bits: Vec<f32>,
    /// The key is, so that fewer bits will have to do.
    is_guessable: bool,
}

impl SpelledForm {
    /// All ways that windows are taken from. Others differ in single characters, and are met where escapes are seen through.
    fn all(form: &KeyForm, atoms: &[u8]) -> Vec<Self> {
        let one = |letters: &dyn Fn(u8) -> Vec<u8>| Self::new(form, atoms, &|atom, out| out.extend(letters(atom)));
        let of =
            |alphabet: &[u8]| Self::new(form, atoms, &|atom, out| out.extend(alphabet.get(usize::from(atom)).copied()));
        let raw = || Self::new(form, atoms, &|byte, out| out.push(byte));
        match form.kind {
            KeyEncoding::Base64 => vec![of(BASE64), of(BASE64_URL)],
            KeyEncoding::Hex => vec![of(b"0123456789abcdef"), of(b"0123456789ABCDEF")],
            KeyEncoding::Text => {
                let mut all = vec![raw()];
                if atoms.contains(&b' ') {
                    all.extend([
                        one(&|byte| vec![plus(byte)]),
                        one(&|byte| form_encoded(byte, false)),
                        one(&|byte| form_encoded(byte, true)),
                    ]);
                }
                if atoms.iter().any(is_sign) {
                    all.extend([
                        raw().without_signs(atoms),
                        one(&|byte| json(&[byte])),
                        one(&|byte| json(&json(&[byte]))),
                        one(&|byte| percent(byte, false)),
                        one(&|byte| percent(byte, true)),
                    ]);
                }
                all
            }
        }
    }

    fn new(form: &KeyForm, atoms: &[u8], spell: &dyn Fn(u8, &mut Vec<u8>)) -> Self {
        // growing would leave copies behind, and nothing is spelled longer
        let mut text = Zeroizing::new(Vec::with_capacity(LONGEST * atoms.len()));
        let (mut starts, mut bits) = (Vec::with_capacity(atoms.len()), Vec::with_capacity(atoms.len()));
        for (i, &atom) in atoms.iter().enumerate() {
            // what belongs to a neighbour in part, and what everybody knows, is no sign of the key
            let own = form.is_whole(i);
            let usable = own && i >= form.known.end;
            let before = text.len();
            spell(atom, &mut text);
            for at in before..text.len() {
                starts.push((at == before).then_some(i as u32));
                bits.push(match (usable, at == before) {
                    (false, _) => f32::NEG_INFINITY,
                    (true, true) => form.bits.get(i).copied().unwrap_or(0.0),
                    (true, false) => 0.0,
                });
            }
        }
        let is_guessable = form.bits.iter().sum::<f32>() < ENOUGH;
        Self { text, atoms: starts, bits, is_guessable }
    }

    /// The same without the windows that look different where escapes are seen through, since the key has a sign of its own.
    fn without_signs(mut self, atoms: &[u8]) -> Self {
        for at in (0..atoms.len()).filter(|at| atoms.get(*at).is_some_and(is_sign)) {
            self.bits.iter_mut().skip(at).take(LONGEST).for_each(|b| *b = f32::NEG_INFINITY);
        }
        self
    }

    /// The first atom that begins at or behind a byte, and how far behind.
    fn first_atom(&self, at: usize) -> Option<(u32, u32)> {
        let behind = self.atoms.iter().skip(at).enumerate();
        behind.filter_map(|(ahead, atom)| Some((ahead as u32, (*atom)?))).next()
    }

    /// Windows of such a width that the text may be looked at as seldom as possible.
    fn choose(&self) -> Option<WindowChoice> {
        let total: f32 = self.bits.iter().filter(|b| b.is_finite()).sum();
        // a guessable key that is searched for all the same has no windows that nobody could guess
        let needed = match total >= SURE {
            true => SURE,
            false if self.is_guessable => total / 2.0,
            false => return None,
        };
        let usual = USUAL.into_iter().filter_map(|width| self.widest_run(width, needed));
        let usual = usual.into_iter().find(|choice| choice.offsets.len() >= CLOSE);
        let own = self.bits.iter().filter(|b| b.is_finite()).count();
        let short = own.min(WIDTHS.first().copied().unwrap_or(0));
        let others = || [short].into_iter().chain(WIDTHS).filter_map(|width| self.widest_run(width, needed));
        // of equals the narrowest
        let farther =
            |best: WindowChoice, next: WindowChoice| if next.offsets.len() > best.offsets.len() { next } else { best };
        // where what is unknown is spread thin, all of it together is one window
        usual.or_else(|| others().reduce(farther)).or_else(|| self.widest_run(own, f32::MIN))
    }

    /// The longest run of offsets whose windows hold so many unknown bits, [`STRIDE`] at most.
    fn widest_run(&self, width: usize, needed: f32) -> Option<WindowChoice> {
        if width == 0 {
            return None;
        }
        let (mut best, mut run) = (0..0, 0);
        // from the end: what stands first in a key is often known to some, as the account in `xoxb-…`
        for (at, window) in self.bits.windows(width).enumerate().rev() {
            run = if window.iter().sum::<f32>() >= needed { run + 1 } else { 0 };
            if run > best.len() {
                best = at..at + run;
            }
            if run == STRIDE {
                break;
            }
        }
        (!best.is_empty()).then_some(WindowChoice { width, offsets: best })
    }
}

/// What escapes begin with.
fn is_sign(c: &u8) -> bool {
    matches!(c, b'\\' | b'%')
}

/// As every serializer escapes what it has to (RFC 8259, section 7).
fn json(text: &[u8]) -> Vec<u8> {
    let one = |b: &u8| match b {
        b'"' | b'\\' => vec![b'\\', *b],
        b'\n' => b"\\n".to_vec(),
        b'\r' => b"\\r".to_vec(),
        b'\t' => b"\\t".to_vec(),
        b if *b < b' ' => format!("\\u{b:04x}").into_bytes(),
        b => vec![*b],
    };
    text.iter().flat_map(one).collect()
}

/// A space as forms write it (WHATWG URL, section 5.2).
fn plus(byte: u8) -> u8 {
    if byte == b' ' { b'+' } else { byte }
}

fn form_encoded(byte: u8, upper: bool) -> Vec<u8> {
    if byte == b' ' { vec![b'+'] } else { percent(byte, upper) }
}

/// Percent-encoded but for RFC 3986's unreserved.
fn percent(byte: u8, upper: bool) -> Vec<u8> {
    match byte {
        b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => vec![b],
        b if upper => format!("%{b:02X}").into_bytes(),
        b => format!("%{b:02x}").into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(bits: &[f32], is_guessable: bool) -> Option<(usize, std::ops::Range<usize>)> {
        let (text, atoms) = (Zeroizing::new(vec![b'x'; bits.len()]), (0..bits.len() as u32).map(Some).collect());
        let form = SpelledForm { text, atoms, bits: bits.to_vec(), is_guessable };
        form.choose().map(|choice| (choice.width, choice.offsets))
    }

    /// The first `before` bytes are known, the others have six bits each.
    fn known(before: usize, len: usize) -> Vec<f32> {
        (0..len).map(|i| if i < before { 0.0 } else { 6.0 }).collect()
    }

    #[test]
    fn a_window_holds_as_many_unknown_bits_as_nobody_can_guess() {
        // a usual width, as many offsets as there are, a stride at most
        assert_eq!(chosen(&known(0, 60), false), Some((24, 13..37)));
        assert_eq!(chosen(&known(0, 36), false), Some((24, 0..13)));
        assert_eq!(chosen(&known(0, 30), false), Some((16, 0..15)));
        // each has eight unknown bytes at least
        assert_eq!(chosen(&known(40, 64), false), Some((24, 24..41)));
        // a short one: windows as wide as it takes
        let (width, offsets) = chosen(&known(0, 11), false).unwrap();
        assert!(width <= 9 && offsets.len() + width - 1 == 11, "{width} {offsets:?}");
    }

    #[test]
    fn what_could_be_guessed_has_a_window_only_where_that_is_asked_for() {
        assert_eq!(chosen(&known(4, 11), false), None);
        let (width, offsets) = chosen(&known(4, 11), true).unwrap();
        let least = offsets.clone().map(|at| known(4, 11)[at..at + width].iter().sum::<f32>()).fold(f32::MAX, f32::min);
        assert!(least >= 21.0, "{width} {offsets:?} {least}");
        assert_eq!(chosen(&[], true), None);
    }

    #[test]
    fn forms_are_written_as_serializers_do() {
        assert_eq!(json(b"a\"b\\c\n\r\t\x01\x1fz"), b"a\\\"b\\\\c\\n\\r\\t\\u0001\\u001fz");
        assert_eq!((plus(b' '), plus(b'a')), (b'+', b'a'));
        for (byte, upper, lower) in [(b'a', "a", "a"), (b'~', "~", "~"), (b'/', "%2F", "%2f"), (b' ', "%20", "%20")] {
            assert_eq!((percent(byte, true), percent(byte, false)), (upper.into(), lower.into()));
        }
        assert_eq!((form_encoded(b' ', true), form_encoded(b'/', true)), (b"+".to_vec(), b"%2F".to_vec()));
    }
}
