//! A connection's bytes, cut anywhere: framing reads them as another parser does, and no head brings a key to a host that
//! it is not bound to, or more than placeholders' worth of change to one that it is. The sockets are left out.

#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use libfuzzer_sys::fuzz_target;
use locum::name::{Origin, Scheme};
use locum::place::Place;
use locum::policy::decide::{Mention, Question, Rules};
use locum::policy::egress::EgressPolicy;
use locum::policy::rule::KeyRule;
use locum::policy::Agent;
use locum::proxy::wire::http1_framing::Framing;
use locum::rewrite::{Vocabulary, head};
use std::sync::LazyLock;

/// No input holds it by chance, and every place takes it as it is.
const VALUE: &[u8] = b"-the-key-of-this-target-";

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| Vocabulary::new(true, []).expect("no look-alike"));
static RULES: LazyLock<Rules> = LazyLock::new(|| Rules::new([rule()], EgressPolicy::default()));
static AGENT: LazyLock<Agent> = LazyLock::new(Agent::local);
static BOUND: LazyLock<Origin> = LazyLock::new(|| origin("api.tool.example"));
static OTHER: LazyLock<Origin> = LazyLock::new(|| origin("api.tool.example.evil.example"));

fn origin(host: &str) -> Origin {
    Origin::parse(Scheme::Https, host).expect("a host")
}

fn rule() -> KeyRule {
    KeyRule {
        name: "x".parse().expect("a name"),
        hosts: vec!["api.tool.example".parse().expect("a host")],
        methods: vec![Method::GET, Method::POST],
        paths: vec!["/v1/**".parse().expect("a path")],
        places: vec![Place::Header, Place::Query, Place::Path],
        max_uses: 2,
        placeholder: None,
        inject: None,
        scrub: Default::default(),
    }
}

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (stream, cuts) = input;
    let (mut framing, mut held, mut rest) = (Framing::default(), Vec::new(), &stream[..]);
    let mut cuts = cuts.iter().map(|cut| usize::from(*cut) + 1).chain(std::iter::repeat(usize::MAX));
    while let Some(cut) = cuts.next().filter(|_| !rest.is_empty()) {
        let (piece, after) = rest.split_at(cut.min(rest.len()));
        held.extend_from_slice(piece);
        rest = after;
        loop {
            let begins = framing.between_check();
            let Ok(sound) = framing.read(&held) else { return };
            assert!(sound.len <= held.len());
            if begins && sound.len > 0 {
                message(&held[..sound.len]);
            }
            held.drain(..sound.len);
            if sound.angle_brackets.is_none() || held.is_empty() {
                break;
            }
        }
    }
});

/// What framing lets by is a head to another parser too, and is judged for both hosts.
fn message(sound: &[u8]) {
    let start = sound.chunks(2).take_while(|pair| *pair == b"\r\n").count() * 2;
    let sound = &sound[start..];
    if sound.is_empty() {
        return;
    }
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut fields);
    let read = request.parse(sound);
    assert!(matches!(read, Ok(httparse::Status::Complete(_))), "{read:?}: {:?}", sound.escape_ascii().to_string());
    let Some((method, uri, headers)) = parts(&request) else { return };
    for origin in [&*BOUND, &*OTHER] {
        let hits = head::find(&VOCABULARY, &uri, &headers);
        let mentions = hits.iter().map(|h| Mention { written: &h.written, key: h.key.as_ref(), place: h.place.as_ref() });
        let question = Question {
            agent: &AGENT,
            origin,
            method: &method,
            path: uri.path(),
            query: uri.query().unwrap_or_default(),
            headers: &headers,
            has_body: false,
        };
        let Ok(permit) = RULES.decide(question, mentions) else { continue };
        let granted: u64 = permit.uses().iter().map(|u| u.count).sum();
        assert!(granted <= 2 && (granted == 0 || *origin == *BOUND), "{granted} to {origin}");
        let (mut target, mut after) = (uri.clone(), headers.clone());
        if head::replace(&mut target, &mut after, &hits, |_| Some(VALUE)).is_err() {
            continue;
        }
        let before = count(&uri, &headers);
        assert_eq!(count(&target, &after).saturating_sub(before), granted, "{target} {after:?}");
    }
}

fn parts(request: &httparse::Request<'_, '_>) -> Option<(Method, Uri, HeaderMap)> {
    let method = Method::from_bytes(request.method?.as_bytes()).ok()?;
    let uri = request.path?.replace('<', "%3C").replace('>', "%3E").parse::<Uri>().ok()?;
    let target = uri.path_and_query()?.as_str().parse().ok()?;
    let mut headers = HeaderMap::new();
    for field in request.headers.iter() {
        headers.append(HeaderName::from_bytes(field.name.as_bytes()).ok()?, HeaderValue::from_bytes(field.value).ok()?);
    }
    // what is in base64 is looked at by another target
    headers.remove(http::header::AUTHORIZATION);
    Some((method, target, headers))
}

/// How often the key stands in a head.
fn count(uri: &Uri, headers: &HeaderMap) -> u64 {
    let texts = headers.values().map(HeaderValue::as_bytes).chain([uri.path().as_bytes()]);
    let texts = texts.chain(uri.query().map(str::as_bytes));
    texts.map(|text| text.windows(VALUE.len()).filter(|w| *w == VALUE).count() as u64).sum()
}
