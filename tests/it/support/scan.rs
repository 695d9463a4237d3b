//! Looks for a secret in all memory of another process and in files, in every form that it may have there.

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// So many characters of it in a row are found: what is left of a copy that was partly written over counts too.
const PIECE: usize = 12;
/// Memory is read in pieces of this size.
const STEP: usize = 1 << 20;

/// A secret and its forms: plain, base64 at each alignment, hex, and all but the last as HPACK writes them (RFC 7541,
/// appendix B), at each of the eight bits of a byte that they may begin at.
pub struct Scan {
    pieces: AhoCorasick,
    forms: Vec<&'static str>,
    longest: usize,
}

/// How often each form was found.
pub type Found = BTreeMap<&'static str, usize>;

impl Scan {
    pub fn of(secret: &str) -> Self {
        let plain = secret.as_bytes();
        let base64: Vec<Vec<u8>> = (0..3).map(|ahead| base64_inside(plain, ahead)).collect();
        let mut all: Vec<(&'static str, Vec<u8>)> = vec![("plain", plain.to_vec())];
        all.extend(base64.iter().map(|text| ("base64", text.clone())));
        let hex: String = plain.iter().map(|b| format!("{b:02x}")).collect();
        all.extend([hex.to_uppercase(), hex].map(|hex| ("hex", hex.into_bytes())));
        let mut forms = Vec::new();
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        for (form, text) in &all {
            for piece in text.windows(PIECE) {
                forms.push(*form);
                pieces.push(piece.to_vec());
            }
        }
        for text in std::iter::once(plain).chain(base64.iter().map(Vec::as_slice)) {
            for piece in text.windows(PIECE) {
                for ahead in 0..8 {
                    forms.push("HPACK");
                    pieces.push(huffman_inside(piece, ahead));
                }
            }
        }
        let longest = pieces.iter().map(Vec::len).max().unwrap_or(0);
        let pieces = AhoCorasick::builder().match_kind(MatchKind::Standard).build(pieces).expect("an automaton");
        Self { pieces, forms, longest }
    }

    pub fn bytes(&self, bytes: &[u8]) -> Found {
        let mut found = Found::new();
        self.count(bytes, &mut found);
        found
    }

    fn count(&self, bytes: &[u8], found: &mut Found) {
        for hit in self.pieces.find_overlapping_iter(bytes) {
            *found.entry(self.forms[hit.pattern().as_usize()]).or_default() += 1;
        }
    }

    /// All memory of a process that its owner could read. Secret memory answers with an error, even to root.
    pub fn memory(&self, pid: u32) -> Found {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("a process, and the right to look at it");
        let memory = File::open(format!("/proc/{pid}/mem")).expect("the right to read a process's memory");
        let (mut found, mut total) = (Found::new(), 0);
        let mut buffer = vec![0; STEP];
        for line in maps.lines().filter(|line| line.contains(" r") && !line.contains("[v")) {
            let range = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
            let [mut at, end] = [range.0, range.1].map(|n| u64::from_str_radix(n, 16).expect("an address"));
            while at < end {
                let room = buffer.len().min(usize::try_from(end - at).expect("a length"));
                let Ok(n) = memory.read_at(&mut buffer[..room], at) else { break };
                self.count(&buffer[..n], &mut found);
                total += n;
                if n < room || n as u64 == end - at {
                    break;
                }
                // what lies across two steps is whole in the next
                at += (n - self.longest) as u64;
            }
        }
        assert!(total > 4 << 20, "{total} bytes are not all of its memory");
        found
    }

    /// Where it is found in the memory of a process: the first places, each with what lies before and behind it.
    pub fn places(&self, pid: u32) -> String {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("a process");
        let memory = File::open(format!("/proc/{pid}/mem")).expect("its memory");
        let mut told = String::new();
        for line in maps.lines().filter(|line| line.contains(" r") && !line.contains("[v")) {
            let range = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
            let [start, end] = [range.0, range.1].map(|n| u64::from_str_radix(n, 16).expect("an address"));
            let mut bytes = vec![0; usize::try_from(end - start).expect("a length")];
            let Ok(n) = memory.read_at(&mut bytes, start) else { continue };
            bytes.truncate(n);
            if let Some(hit) = self.pieces.find_overlapping_iter(&bytes).next() {
                let around = hit.start().saturating_sub(256)..(hit.end() + 256).min(n);
                let text = bytes[around].escape_ascii();
                told.push_str(&format!("{line}\n  at +{:#x}: {text}\n", hit.start()));
            }
        }
        told
    }

    /// A file, or all files below a folder, with their names.
    pub fn files(&self, path: &Path) -> Vec<(String, Found)> {
        if path.is_dir() {
            let entries = fs::read_dir(path).expect("a folder");
            return entries.flat_map(|entry| self.files(&entry.expect("an entry").path())).collect();
        }
        let found = self.bytes(&fs::read(path).expect("a file"));
        if found.is_empty() { Vec::new() } else { vec![(path.display().to_string(), found)] }
    }
}

/// The base64 of `bytes` behind `ahead` others, without the characters at the ends that hold bits of its neighbours.
fn base64_inside(bytes: &[u8], ahead: usize) -> Vec<u8> {
    let padded = [&vec![0; ahead], bytes].concat();
    let coded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&padded).into_bytes();
    let (first, whole) = (ahead.div_ceil(3) + ahead, padded.len() / 3 * 4);
    coded[first..whole].to_vec()
}

/// The whole bytes of what HPACK writes for `text` behind `ahead` bits of something else.
fn huffman_inside(text: &[u8], ahead: usize) -> Vec<u8> {
    let mut bits: Vec<bool> = Vec::new();
    for byte in text {
        let (code, length) = HUFFMAN[usize::from(byte - b' ')];
        bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
    }
    let skipped = (8 - ahead) % 8;
    let whole = bits[skipped..].chunks_exact(8);
    whole.map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit))).collect()
}

/// The codes and their lengths in bits, from the space on.
const HUFFMAN: [(u32, u8); 95] = [
    (0x14, 6),
    (0x3f8, 10),
    (0x3f9, 10),
    (0xffa, 12),
    (0x1ff9, 13),
    (0x15, 6),
    (0xf8, 8),
    (0x7fa, 11),
    (0x3fa, 10),
    (0x3fb, 10),
    (0xf9, 8),
    (0x7fb, 11),
    (0xfa, 8),
    (0x16, 6),
    (0x17, 6),
    (0x18, 6),
    (0x0, 5),
    (0x1, 5),
    (0x2, 5),
    (0x19, 6),
    (0x1a, 6),
    (0x1b, 6),
    (0x1c, 6),
    (0x1d, 6),
    (0x1e, 6),
    (0x1f, 6),
    (0x5c, 7),
    (0xfb, 8),
    (0x7ffc, 15),
    (0x20, 6),
    (0xffb, 12),
    (0x3fc, 10),
    (0x1ffa, 13),
    (0x21, 6),
    (0x5d, 7),
    (0x5e, 7),
    (0x5f, 7),
    (0x60, 7),
    (0x61, 7),
    (0x62, 7),
    (0x63, 7),
    (0x64, 7),
    (0x65, 7),
    (0x66, 7),
    (0x67, 7),
    (0x68, 7),
    (0x69, 7),
    (0x6a, 7),
    (0x6b, 7),
    (0x6c, 7),
    (0x6d, 7),
    (0x6e, 7),
    (0x6f, 7),
    (0x70, 7),
    (0x71, 7),
    (0x72, 7),
    (0xfc, 8),
    (0x73, 7),
    (0xfd, 8),
    (0x1ffb, 13),
    (0x7fff0, 19),
    (0x1ffc, 13),
    (0x3ffc, 14),
    (0x22, 6),
    (0x7ffd, 15),
    (0x3, 5),
    (0x23, 6),
    (0x4, 5),
    (0x24, 6),
    (0x5, 5),
    (0x25, 6),
    (0x26, 6),
    (0x27, 6),
    (0x6, 5),
    (0x74, 7),
    (0x75, 7),
    (0x28, 6),
    (0x29, 6),
    (0x2a, 6),
    (0x7, 5),
    (0x2b, 6),
    (0x76, 7),
    (0x2c, 6),
    (0x8, 5),
    (0x9, 5),
    (0x2d, 6),
    (0x77, 7),
    (0x78, 7),
    (0x79, 7),
    (0x7a, 7),
    (0x7b, 7),
    (0x7ffe, 15),
    (0x7fc, 11),
    (0x3ffd, 14),
    (0x1ffd, 13),
];

#[test]
fn each_form_of_a_secret_is_found_wherever_it_begins() {
    let secret = "www.example.com-0123456789";
    let scan = Scan::of(secret);
    let only = |form: &'static str, bytes: &[u8]| {
        let found = scan.bytes(bytes);
        assert!(found.get(form).is_some_and(|n| *n > 0) && found.len() == 1, "{form}: {found:?}");
    };
    only("plain", b"Bearer www.example.com-0123456789\r\n");
    only("plain", b"written over, and this is left: e.com-0123456789");
    only("hex", b"7777772e6578616d706c652e636f6d2d");
    only("hex", b"7777772E6578616D706C652E636F6D2D");
    for ahead in ["", "u", "us", "use", "user:"] {
        only("base64", base64::engine::general_purpose::STANDARD.encode(format!("{ahead}{secret}")).as_bytes());
    }
    // the first example of RFC 7541, appendix C.4.1, and the same behind one bit and more
    let known = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
    only("HPACK", &known);
    for ahead in 1..8 {
        let shifted = known.iter().fold((vec![], 0_u8), |(mut out, carry), byte| {
            out.push(carry | byte >> ahead);
            (out, byte << (8 - ahead))
        });
        only("HPACK", &shifted.0);
    }
    assert!(scan.bytes(b"www.exam, ample.com, 0123456789").is_empty());
}
