//! What scrubbing costs: making a scrubber, a small body, a large one, each form of a key in it; and the codings.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a bench that can't run ends by a panic")]

use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use locum::memory::Plaintext;
use locum::rewrite::coding::{Coding, DecodeLimits, Decoder, Encoder};
use locum::rewrite::scrub::{Mask, ScrubKey, Scrubber};
use std::sync::Arc;

fn main() {
    divan::main();
}

const KEY: &str = "sk-ant-api03-q8Zt2LwXv7RkYb5NcM1dJhGfPs9UaEi3oTzQxWnBrVyKlC4mD6";
/// How keys of different providers begin; some have no beginning of their own.
const PREFIXES: [&str; 5] = ["sk-ant-", "ghp_", "", "sk-proj-", "xai-"];
const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn letters(len: usize, seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len).map(|_| char::from(LETTERS[(random(&mut state) >> 20) as usize % LETTERS.len()])).collect()
}

fn key(value: String, secret_from: usize) -> ScrubKey {
    let (key, value) = ("key".parse().unwrap(), Arc::new(Plaintext::new(value.into_bytes())));
    ScrubKey { key, placeholder: "<<key_key>>".into(), secret_from, value, even_if_guessable: false }
}

fn keys(count: usize) -> Vec<ScrubKey> {
    let one = |i: usize| {
        let prefix = PREFIXES[i % PREFIXES.len()];
        key(format!("{prefix}{}", letters(52, i as u64 + 1)), prefix.len())
    };
    (0..count).map(one).collect()
}

fn scrubber() -> Scrubber {
    Scrubber::new(vec![key(KEY.into(), 7)])
}

/// Text as APIs answer it, without a key.
fn json(len: usize) -> Bytes {
    let mut state = 88172645463325252u64;
    let mut text = String::with_capacity(len + 200);
    while text.len() < len {
        let state = random(&mut state);
        text.push_str(&format!(
            "{{\"id\":\"msg_{state:016x}\",\"type\":\"content_block_delta\",\"index\":{},\"text\":\"The quick brown fox, \
             said the {} dog;\\n it was {} o'clock.\"}},\n",
            state % 97,
            ["lazy", "eager", "old"][(state % 3) as usize],
            state % 24
        ));
    }
    text.truncate(len);
    text.into()
}

/// What a model answers, event by event.
fn sse(len: usize) -> Bytes {
    let mut state = 88172645463325252u64;
    let mut text = String::with_capacity(len + 200);
    while text.len() < len {
        text.push_str(&format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\
             \"text_delta\",\"text\":\" token{}\"}}}}\n\n",
            random(&mut state) % 1000
        ));
    }
    text.truncate(len);
    text.into()
}

fn folded(len: usize) -> Bytes {
    let text = letters(len, 99);
    let lines: Vec<&[u8]> = text.as_bytes().chunks(76).collect();
    lines.join(&b'\n').into()
}

fn text(kind: &str) -> Bytes {
    match kind {
        "sse" => sse(1 << 20),
        "json" => json(1 << 20),
        "folded" => folded(1 << 20),
        _ => letters(1 << 20, 99).into(),
    }
}

fn hex(value: &[u8]) -> String {
    value.iter().map(|b| format!("{b:02x}")).collect()
}

#[divan::bench(args = [1, 10, 100])]
fn make(bencher: Bencher, count: usize) {
    bencher.with_inputs(|| keys(count)).bench_values(Scrubber::new);
}

#[divan::bench(args = [1, 10, 100])]
fn make_and_wipe(bencher: Bencher, count: usize) {
    bencher.with_inputs(|| keys(count)).bench_values(|keys| drop(Scrubber::new(keys)));
}

#[divan::bench]
fn header(bencher: Bencher) {
    let scrubber = scrubber();
    bencher.bench(|| scrubber.header(black_box(b"application/json; charset=utf-8")));
}

#[divan::bench(args = [1, 3])]
fn small_body_with_making(bencher: Bencher, count: usize) {
    let text = json(1024);
    bencher
        .with_inputs(|| keys(count))
        .bench_values(|keys| Scrubber::new(keys).body(Mask::Placeholder).push(text.clone()));
}

#[divan::bench(args = [64, 1024, 65536])]
fn clean(bencher: Bencher, len: usize) {
    let text = json(len);
    let mut body = Scrubber::new(keys(1)).body(Mask::Placeholder);
    bencher.counter(BytesCount::new(len)).bench_local(|| body.push(text.clone()));
}

/// An answer without a key, as it is read.
#[divan::bench(args = ["sse", "json", "base64", "folded"], consts = [1, 10, 100])]
fn clean_1m<const COUNT: usize>(bencher: Bencher, kind: &str) {
    let text = text(kind);
    let scrubber = Scrubber::new(keys(COUNT));
    bencher.counter(BytesCount::new(text.len())).bench(|| {
        let mut body = scrubber.body(Mask::Placeholder);
        let mut rest = text.clone();
        while !rest.is_empty() {
            black_box(body.push(rest.split_to(rest.len().min(16 * 1024))));
        }
        body.finish()
    });
}

#[divan::bench(args = ["raw", "hex", "base64", "escaped"])]
fn one_hit_in_64k(bencher: Bencher, form: &str) {
    let found = match form {
        "hex" => hex(KEY.as_bytes()),
        "base64" => base64::Engine::encode(&base64::engine::general_purpose::STANDARD, KEY),
        "escaped" => KEY.bytes().map(|b| format!("%{b:02x}")).collect(),
        _ => KEY.to_owned(),
    };
    let mut text = json(65536).to_vec();
    text[30000..30000 + found.len()].copy_from_slice(found.as_bytes());
    let text = Bytes::from(text);
    let mut body = scrubber().body(Mask::SameLength);
    bencher.counter(BytesCount::new(65536usize)).bench_local(|| body.push(text.clone()));
}

/// The worst that an upstream can do: all but the last letter of a key, over and over.
#[divan::bench]
fn near_misses_64k(bencher: Bencher) {
    let text = Bytes::from(KEY[..KEY.len() - 1].repeat(65536 / KEY.len()));
    let mut body = scrubber().body(Mask::Placeholder);
    bencher.counter(BytesCount::new(text.len())).bench_local(|| body.push(text.clone()));
}

const CODINGS: [&str; 4] = ["gzip", "deflate", "br", "zstd"];

fn coding(name: &str) -> [Coding; 1] {
    [[Coding::Gzip, Coding::Deflate, Coding::Br, Coding::Zstd][CODINGS.iter().position(|c| *c == name).unwrap()]]
}

#[divan::bench(args = CODINGS)]
fn open_1m(bencher: Bencher, name: &str) {
    let text = json(1 << 20);
    let mut coded = Vec::new();
    let mut encoder = Encoder::new(&coding(name)).unwrap();
    encoder.encode(&text, &mut coded).unwrap();
    encoder.finish(&mut coded).unwrap();
    let coded = Bytes::from(coded);
    bencher.counter(BytesCount::new(text.len())).bench(|| {
        let mut decoder = Decoder::new(&coding(name), DecodeLimits::default()).unwrap();
        let (mut input, mut out) = (coded.clone(), Vec::with_capacity(1 << 16));
        while !decoder.decode(&mut input, &mut out, 1 << 16).unwrap() {
            out.clear();
        }
        decoder.finish().unwrap();
    });
}

#[divan::bench(args = CODINGS)]
fn close_1m(bencher: Bencher, name: &str) {
    let text = json(1 << 20);
    bencher.counter(BytesCount::new(text.len())).bench(|| {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&coding(name)).unwrap();
        for chunk in text.chunks(1 << 16) {
            encoder.encode(chunk, &mut out).unwrap();
        }
        encoder.finish(&mut out).unwrap();
        out
    });
}
