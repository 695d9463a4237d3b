//! What the way out costs: heads, and bodies against `memmem` alone on the same bytes.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a bench that can't run ends by a panic")]

use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use locum::memory::Plaintext;
use locum::name::KeyName;
use locum::rewrite::body::BodyRewriter;
use locum::rewrite::head;
use locum::rewrite::{BodyKey, Vocabulary};
use std::sync::Arc;

fn main() {
    divan::main();
}

const MIB: usize = 1024 * 1024;
/// As much as a socket gives at once.
const CHUNK: usize = 64 * 1024;
const SECRET: &[u8] = b"sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRST";

fn vocabulary(lookalikes: usize) -> Arc<Vocabulary> {
    let own = (0..lookalikes).map(|i| (format!("tool{i:04}-00000000000000000000"), name(&format!("tool{i}"))));
    Arc::new(Vocabulary::new(false, own).expect("look-alikes are fine"))
}

fn name(text: &str) -> KeyName {
    text.parse().expect("a key's name")
}

/// A conversation as it goes to a model: prose and code in strings with escapes. With a placeholder as a whole value before each so many bytes.
fn talk(length: usize, every: usize) -> Vec<u8> {
    let turn = concat!(
        r#"{"role":"user","content":"Please look at `fn main() {\n    let total: Vec<u32> = (0..10).map(|x| x * 2).collect();\n"#,
        r#"    println!(\"{total:?}\");\n}` and tell me, why is it <b>slow</b>? It was fine on the last release, I think."},"#,
    );
    let mut body = br#"{"model":"gpt-5","messages":["#.to_vec();
    let mut next = every;
    while body.len() + turn.len() < length {
        body.extend_from_slice(turn.as_bytes());
        if body.len() > next {
            body.extend_from_slice(br#"{"token":"<<x_key>>"},"#);
            next += every;
        }
    }
    body.extend_from_slice(b"{}]}");
    body
}

fn conversation(length: usize) -> Vec<u8> {
    talk(length, usize::MAX)
}

fn pieces(body: Vec<u8>) -> Vec<Bytes> {
    let body = Bytes::from(body);
    (0..body.len()).step_by(CHUNK).map(|at| body.slice(at..body.len().min(at + CHUNK))).collect()
}

fn rewrite(
    bencher: Bencher,
    vocabulary: Arc<Vocabulary>,
    content_type: &'static str,
    body: Vec<u8>,
    place: Option<&str>,
) {
    let value = Arc::new(Plaintext::new(SECRET.to_vec()));
    let key = place.map(|p| BodyKey {
        key: name("x"),
        value: Some(value),
        places: vec![p.parse().expect("a place")],
        max_uses: u32::MAX,
    });
    let content_type = HeaderValue::from_static(content_type);
    let length = body.len();
    let pieces = pieces(body);
    bencher.counter(BytesCount::new(length)).bench_local(|| {
        let mut rewriter = BodyRewriter::new(vocabulary.clone(), Some(&content_type), key.iter().cloned().collect());
        let mut out = Vec::with_capacity(4);
        for piece in &pieces {
            rewriter.push(piece.clone(), &mut out).expect("no fault");
            black_box(&out);
            out.clear();
        }
        rewriter.finish(&mut out).expect("no fault");
        rewriter.kept()
    });
}

#[divan::bench_group(sample_count = 30, sample_size = 1)]
mod body_16_mib {
    use super::*;

    const JSON: &str = "application/json";

    #[divan::bench]
    fn a_memmem_alone(bencher: Bencher) {
        let body = conversation(16 * MIB);
        let finder = memchr::memmem::Finder::new(b"<<");
        bencher.counter(BytesCount::new(body.len())).bench_local(|| finder.find_iter(black_box(&body)).count());
    }

    #[divan::bench]
    fn b_json_counted_only(bencher: Bencher) {
        rewrite(bencher, vocabulary(0), JSON, conversation(16 * MIB), None);
    }

    #[divan::bench]
    fn c_json_body(bencher: Bencher) {
        rewrite(bencher, vocabulary(0), JSON, conversation(16 * MIB), Some("body"));
    }

    #[divan::bench]
    fn d_json_body_one_in_64_kib(bencher: Bencher) {
        rewrite(bencher, vocabulary(0), JSON, talk(16 * MIB, CHUNK), Some("body"));
    }

    #[divan::bench]
    fn e_json_pointer(bencher: Bencher) {
        rewrite(bencher, vocabulary(0), JSON, conversation(16 * MIB), Some("body:/token"));
    }

    #[divan::bench(args = [1, 20, 200])]
    fn f_json_body_lookalikes(bencher: Bencher, lookalikes: usize) {
        rewrite(bencher, vocabulary(lookalikes), JSON, conversation(16 * MIB), Some("body"));
    }

    #[divan::bench]
    fn g_form(bencher: Bencher) {
        let pairs = "field=some+text+with+%22escapes%22+in+it&".repeat(16 * MIB / 41);
        rewrite(bencher, vocabulary(0), "application/x-www-form-urlencoded", pairs.into_bytes(), Some("body"));
    }

    #[divan::bench]
    fn h_multipart_file(bencher: Bencher) {
        let mut body = b"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n".to_vec();
        body.extend(conversation(16 * MIB));
        body.extend_from_slice(b"\r\n--b--\r\n");
        rewrite(bencher, vocabulary(0), "multipart/form-data; boundary=b", body, Some("body"));
    }

    #[divan::bench]
    fn i_binary_any(bencher: Bencher) {
        let mut state = 1u64;
        let body = (0..16 * MIB).map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 56) as u8
        });
        rewrite(bencher, vocabulary(0), "application/octet-stream", body.collect(), Some("body:any"));
    }
}

/// Judged to its end first.
#[divan::bench_group]
mod held_body_256_kib {
    use super::*;

    fn whole(bencher: Bencher, content_type: &'static str, body: Vec<u8>) {
        let content_type = HeaderValue::from_static(content_type);
        let (vocabulary, body) = (vocabulary(0), Bytes::from(body));
        let key = || BodyKey {
            key: name("x"),
            value: Some(Arc::new(Plaintext::new(SECRET.to_vec()))),
            places: vec!["body".parse().expect("a place")],
            max_uses: u32::MAX,
        };
        bencher.counter(BytesCount::new(body.len())).bench_local(|| {
            let mut rewriter = BodyRewriter::new(vocabulary.clone(), Some(&content_type), vec![key()]);
            let mut out = Vec::with_capacity(4);
            rewriter.push_whole(body.clone(), &mut out).expect("no fault");
            rewriter.finish(&mut out).expect("no fault");
            out
        });
    }

    #[divan::bench(args = ["application/json", "text/plain"])]
    fn json(bencher: Bencher, content_type: &'static str) {
        whole(bencher, content_type, talk(256 * 1024, CHUNK));
    }

    #[divan::bench]
    fn json_of_numbers(bencher: Bencher) {
        whole(bencher, "application/json", format!("[{}0]", "-1.5e3,true,".repeat(256 * 1024 / 12 - 1)).into_bytes());
    }

    #[divan::bench]
    fn form(bencher: Bencher) {
        let pairs = "field=some+text+with+%22escapes%22+in+it&".repeat(256 * 1024 / 41);
        whole(bencher, "application/x-www-form-urlencoded", pairs.into_bytes());
    }
}

#[divan::bench_group]
mod small_body {
    use super::*;

    #[divan::bench]
    fn json_1_kib(bencher: Bencher) {
        rewrite(bencher, vocabulary(0), "application/json", conversation(1024), Some("body"));
    }

    #[divan::bench]
    fn json_1_kib_with_one(bencher: Bencher) {
        let body = [&br#"{"token":"<<x_key>>","#[..], &conversation(1000)[1..]].concat();
        rewrite(bencher, vocabulary(0), "application/json", body, Some("body"));
    }
}

/// What an SDK sends.
fn sdk(authorization: &str) -> (Uri, HeaderMap) {
    let headers = [
        ("host", "api.openai.com"),
        ("accept", "application/json"),
        ("content-type", "application/json"),
        ("user-agent", "OpenAI/Python 2.8.1"),
        ("x-stainless-lang", "python"),
        ("x-stainless-package-version", "2.8.1"),
        ("x-stainless-os", "Linux"),
        ("x-stainless-arch", "x64"),
        ("x-stainless-runtime", "CPython"),
        ("authorization", authorization),
        ("content-length", "1874"),
    ];
    let headers = headers.map(|(n, v)| {
        (HeaderName::from_bytes(n.as_bytes()).expect("a name"), HeaderValue::from_str(v).expect("a value"))
    });
    (Uri::from_static("/v1/chat/completions"), HeaderMap::from_iter(headers))
}

#[divan::bench_group]
mod head_of_an_sdk {
    use super::*;

    fn run(bencher: Bencher, lookalikes: usize, authorization: &str) {
        let vocabulary = vocabulary(lookalikes);
        let head = sdk(authorization);
        bencher.with_inputs(|| head.clone()).bench_local_values(|(mut uri, mut headers)| {
            let hits = head::find(&vocabulary, &uri, &headers);
            head::replace(&mut uri, &mut headers, &hits, |_| Some(SECRET)).expect("it fits");
            (uri, headers)
        });
    }

    #[divan::bench(args = [0, 20])]
    fn without(bencher: Bencher, lookalikes: usize) {
        run(bencher, lookalikes, "Bearer nothing-to-replace");
    }

    #[divan::bench(args = [0, 20])]
    fn with_one(bencher: Bencher, lookalikes: usize) {
        run(bencher, lookalikes, "Bearer <<openai_key>>");
    }

    #[divan::bench]
    fn with_basic(bencher: Bencher) {
        run(bencher, 0, "Basic dXNlcjo8PG9wZW5haV9rZXk+Pg==");
    }
}
