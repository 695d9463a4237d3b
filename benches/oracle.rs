//! Texts that nearly hold a key, for counting instructions: who may choose what is searched must not learn from the work that
//! it makes how near a guess is. `.ci/full oracle` counts it under callgrind: oracle KIND near|random SEED.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a bench that can't run ends by a panic")]

use bytes::Bytes;
use locum::memory::Plaintext;
use locum::rewrite::scrub::{Mask, ScrubKey, Scrubber};
use std::sync::Arc;

const BASE62: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const HEX: &[u8] = b"0123456789abcdef";
const VISIBLE: &[u8] = b"!#$&'()*+,-./:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~";
/// How keys of a kind begin, how long the rest is, and what it is made of.
const KINDS: [(&str, usize, &[u8]); 10] = [
    ("", 32, HEX),
    ("", 40, HEX),
    ("", 24, BASE62),
    ("", 43, BASE62),
    ("ghp_", 36, BASE62),
    ("sk-ant-", 60, BASE62),
    ("github_pat_", 59, BASE62),
    ("eyJ", 100, BASE62),
    ("", 30, VISIBLE),
    ("sk-proj-", 48, BASE62),
];
const GUESSES: usize = 2000;

/// xorshift64: the same texts on every machine.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) | 1);
        for _ in 0..20 {
            random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn text(&mut self, len: usize, set: &[u8]) -> Vec<u8> {
        (0..len).map(|_| set[(self.next() >> 20) as usize % set.len()]).collect()
    }
}

/// Guesses of which a part is right, as much as can be guessed: less than a window of the search has of unknown bits.
fn guesses(secret: &[u8], prefix: &str, set: &[u8], is_near: bool, random: &mut Random) -> Vec<u8> {
    let most = if set.len() == HEX.len() { 11 } else { 7 };
    let mut text = Vec::new();
    for i in 0..GUESSES {
        let right = if is_near { 1 + i % most } else { 0 };
        let at = (i / most) % (secret.len() - right + 1);
        let mut guess = random.text(secret.len(), set);
        guess[at..at + right].copy_from_slice(&secret[at..at + right]);
        text.extend_from_slice(b"The model \"");
        text.extend_from_slice(prefix.as_bytes());
        text.extend_from_slice(&guess);
        text.extend_from_slice(format!("\" does not exist, number {i:04}.\n").as_bytes());
    }
    text
}

#[inline(never)]
fn searched(scrubber: &Scrubber, text: &Bytes) -> usize {
    let mut body = scrubber.body(Mask::Placeholder);
    let pushed: usize = text.chunks(16 * 1024).map(|piece| body.push(Bytes::copy_from_slice(piece)).len()).sum();
    pushed + body.finish().len()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [kind, mode, seed] = &arguments[..] else {
        println!("oracle KIND near|random SEED: run by .ci/full oracle, under callgrind");
        return;
    };
    let kind: usize = kind.parse().expect("a number");
    let (prefix, len, set) = KINDS[kind];
    let secret = Random::new(0x9E37_79B9 + kind as u64).text(len, set);
    let value = [prefix.as_bytes(), &secret].concat();
    let scrubber = Scrubber::new(vec![ScrubKey {
        key: "k".parse().expect("a name"),
        placeholder: "<<k_key>>".into(),
        secret_from: prefix.len(),
        value: Arc::new(Plaintext::new(value)),
        even_if_guessable: false,
    }]);
    let mut random = Random::new(seed.parse().expect("a number"));
    let text = guesses(&secret, prefix, set, mode == "near", &mut random).into();
    println!("{} bytes", searched(&scrubber, &text));
}
