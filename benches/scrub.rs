//! What scrubbing costs: making a scrubber, a small body, a large one, each form of a key in it; and the codings.

use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use locum::memory::Opened;
use locum::rewrite::coding::{Coding, Decoder, Encoder, Limits};
use locum::rewrite::scrub::{Mask, ScrubKey, Scrubber};
use std::sync::Arc;

fn main() {
    divan::main();
}

const KEYS: [&str; 3] = [
    "sk-ant-api03-q8Zt2LwXv7RkYb5NcM1dJhGfPs9UaEi3oTzQxWnBrVyKlC4mD6",
    "sk-proj-Jd83hsKq02LmZx94Rtpw71YvbnQe56GkTuCaFo9iSlWrXyVdBhEzMjN1",
    "ghp_a8Jk3LmQ9zXw2VbN7tRyU5iOpEs6DfGh1CvB",
];
const PREFIXES: [usize; 3] = [7, 8, 4];

fn keys(count: usize) -> Vec<ScrubKey> {
    let one = |i: usize| ScrubKey {
        key: format!("key{i}").parse().unwrap(),
        placeholder: format!("<<key{i}_key>>"),
        secret_from: PREFIXES[i],
        value: Arc::new(Opened::new(KEYS[i].into())),
        even_if_guessable: false,
    };
    (0..count).map(one).collect()
}

/// Text as APIs answer it, without a key.
fn json(len: usize) -> Bytes {
    let mut state = 88172645463325252u64;
    let mut text = String::with_capacity(len + 200);
    while text.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
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

fn hex(value: &[u8]) -> String {
    value.iter().map(|b| format!("{b:02x}")).collect()
}

#[divan::bench(args = [1, 2, 3])]
fn make(bencher: Bencher, count: usize) {
    bencher.with_inputs(|| keys(count)).bench_values(Scrubber::new);
}

#[divan::bench(args = [1, 2, 3])]
fn make_and_wipe(bencher: Bencher, count: usize) {
    bencher.with_inputs(|| keys(count)).bench_values(|keys| drop(Scrubber::new(keys)));
}

#[divan::bench]
fn header(bencher: Bencher) {
    let scrubber = Scrubber::new(keys(1));
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

/// Words that begin like parts of the key, one in each hundred bytes.
#[divan::bench]
fn resembling_64k(bencher: Bencher) {
    let value = Arc::new(Opened::new(b"sk-0123456789abcdef0123456789abcdef".to_vec()));
    let key = ScrubKey {
        key: "key".parse().unwrap(),
        placeholder: "<<key_key>>".into(),
        secret_from: 3,
        value,
        even_if_guessable: false,
    };
    let text = Bytes::from(
        "0123456789 return value; path/to/file.rs the model said: <b>ok</b> if a < b then lorem ipsum ".repeat(710),
    );
    let mut body = Scrubber::new(vec![key]).body(Mask::Placeholder);
    bencher.counter(BytesCount::new(text.len())).bench_local(|| body.push(text.clone()));
}

#[divan::bench(args = [1, 2, 3])]
fn clean_64k_by_keys(bencher: Bencher, count: usize) {
    let text = json(65536);
    let mut body = Scrubber::new(keys(count)).body(Mask::Placeholder);
    bencher.counter(BytesCount::new(65536usize)).bench_local(|| body.push(text.clone()));
}

#[divan::bench(args = ["raw", "hex", "base64", "piece"])]
fn one_hit_in_64k(bencher: Bencher, form: &str) {
    let found = match form {
        "hex" => hex(KEYS[0].as_bytes()),
        "base64" => base64::Engine::encode(&base64::engine::general_purpose::STANDARD, KEYS[0]),
        "piece" => KEYS[0][20..40].to_owned(),
        _ => KEYS[0].to_owned(),
    };
    let mut text = json(65536).to_vec();
    text[30000..30000 + found.len()].copy_from_slice(found.as_bytes());
    let text = Bytes::from(text);
    let mut body = Scrubber::new(keys(1)).body(Mask::SameLength);
    bencher.counter(BytesCount::new(65536usize)).bench_local(|| body.push(text.clone()));
}

/// The worst that an upstream can do: as much of a key as is no hit, over and over.
#[divan::bench]
fn near_misses_64k(bencher: Bencher) {
    let text = Bytes::from(KEYS[0][..7 + 11].repeat(65536 / 18));
    let mut body = Scrubber::new(keys(1)).body(Mask::Placeholder);
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
        let mut decoder = Decoder::new(&coding(name), Limits::default()).unwrap();
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
