//! The head of an answer: keys out of its values and names, and what promises bytes that scrubbing may change.

use crate::proxy::wire::headers;
use crate::rewrite::digests;
use crate::rewrite::scrub::Scrubber;
use bytes::BytesMut;
use http::header::{ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, response};

/// What a tag of the upstream's is marked with on its way to the agent.
const MARKED: &str = "W/\"locum-";

/// Readies a request to a host whose answers are searched: no coding, since how well an answer can be compressed tells what
/// is in it, and no slices, which defeat a scrubber. Tags are given back as they came. Whether a slice was asked for.
pub(crate) fn ask_for_identity(headers: &mut HeaderMap) -> bool {
    let slice = headers.remove(RANGE).is_some();
    headers.remove(IF_RANGE);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if headers.contains_key(headers::GRPC_ACCEPT_ENCODING) {
        headers.insert(headers::GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    for name in [IF_MATCH, IF_NONE_MATCH] {
        unmark(headers, name);
    }
    slice
}

fn unmark(headers: &mut HeaderMap, name: HeaderName) {
    let http::header::Entry::Occupied(mut values) = headers.entry(name) else { return };
    for value in values.iter_mut() {
        let own = value.to_str().ok().filter(|text| text.contains(MARKED)).map(|text| text.replace(MARKED, "\""));
        if let Some(own) = own.and_then(|own| HeaderValue::try_from(own).ok()) {
            *value = own;
        }
    }
}

/// Takes keys out of a head, and what promises bytes that scrubbing may change.
pub(crate) fn scrub(scrubber: &Scrubber, parts: &mut response::Parts) {
    parts.extensions.remove::<hyper::ext::ReasonPhrase>();
    parts.headers.remove(ACCEPT_RANGES);
    fields(scrubber, &mut parts.headers);
    mark(&mut parts.headers);
}

/// The same for trailers.
pub(crate) fn scrub_trailers(scrubber: &Scrubber, trailers: &mut HeaderMap) {
    trailers.remove(ACCEPT_RANGES);
    fields(scrubber, trailers);
    detach(trailers);
    digests::remove(trailers);
}

/// Takes keys out of names and values. A field whose name holds one is left out: no other name would mean the same.
fn fields(scrubber: &Scrubber, headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers.keys().filter(|name| scrubber.is_in_name(name.as_str())).cloned().collect();
    for name in named {
        headers.remove(name);
    }
    for value in headers.values_mut() {
        if let Some(clean) = scrubber.header(value.as_bytes()) {
            *value = HeaderValue::from_bytes(&clean).unwrap_or_else(|_| HeaderValue::from_static("*"));
        }
    }
}

/// Copies the values into memory of their own. They are slices of what the upstream's connection read, and with it of a
/// body that says a key back; an HTTP/2 client's connection keeps them in its table for as long as it lives.
pub(crate) fn detach(headers: &mut HeaderMap) {
    let mut copy = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    headers.values().for_each(|value| copy.extend_from_slice(value.as_bytes()));
    for value in headers.values_mut() {
        let own = copy.split_to(value.len()).freeze();
        // these bytes were a value already
        let mut own = HeaderValue::from_maybe_shared(own).unwrap_or_else(|_| HeaderValue::from_static("*"));
        own.set_sensitive(value.is_sensitive());
        *value = own;
    }
}

/// A strong validator promises bytes that scrubbing may change (RFC 9110, section 8.8.1): it goes on as a weak one, from
/// which the strong one can be told when it comes back.
fn mark(headers: &mut HeaderMap) {
    if let Some(tag) = headers.get(ETAG)
        && let Some(opaque) = tag.as_bytes().strip_prefix(b"\"")
        && let Ok(marked) = HeaderValue::from_bytes(&[MARKED.as_bytes(), opaque].concat())
    {
        headers.insert(ETAG, marked);
    }
}

/// Whether what matters in it comes line by line (WHATWG HTML, section 9.2).
pub(crate) fn is_event_stream(headers: &HeaderMap) -> bool {
    let essence = |value: &HeaderValue| {
        let essence = value.as_bytes().split(|b| *b == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
    };
    headers.get(CONTENT_TYPE).is_some_and(essence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strong_tag_comes_back_as_it_was() {
        for (tag, shown) in
            [("\"x\"", "W/\"locum-x\""), ("W/\"x\"", "W/\"x\""), ("odd", "odd"), ("\"\"", "W/\"locum-\"")]
        {
            let mut answer = HeaderMap::from_iter([(ETAG, HeaderValue::from_static(tag))]);
            mark(&mut answer);
            assert_eq!(answer[ETAG], shown);
            let asked = format!("{}, \"other\"", answer[ETAG].to_str().unwrap());
            let mut request = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::try_from(asked).unwrap())]);
            assert!(!ask_for_identity(&mut request));
            assert_eq!(request[IF_NONE_MATCH], format!("{tag}, \"other\""));
        }
    }

    #[test]
    fn no_coding_and_no_slices_are_asked_for() {
        let mut request = HeaderMap::new();
        for (name, value) in [("range", "bytes=0-9"), ("if-range", "\"x\""), ("accept-encoding", "br, identity;q=0")] {
            request.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        assert!(ask_for_identity(&mut request));
        assert_eq!(request.len(), 1);
        assert_eq!(request[ACCEPT_ENCODING], "identity");
    }
}
