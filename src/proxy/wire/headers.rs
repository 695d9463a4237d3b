//! Headers that belong to one connection come off before a message goes on (RFC 9110, section 7.6.1).

use crate::proxy::refusal::REFUSED;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HeaderName, MAX_FORWARDS, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const ALT_SVC: HeaderName = HeaderName::from_static("alt-svc");
/// How the messages of a gRPC call may be compressed, and are, each by itself.
pub const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// How the messages of a gRPC call are compressed.
pub const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// What an agent says of itself.
pub const LOCUM_TOOL: HeaderName = HeaderName::from_static("locum-tool");

/// The headers that `Connection` names, and that therefore come off.
pub fn named_by_connection(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let names = headers.get_all(CONNECTION).iter().flat_map(|v| v.as_bytes().split(|b| *b == b','));
    names
        .filter_map(|n| HeaderName::from_bytes(n.trim_ascii()).ok())
        .filter(|n| n != http::header::HOST && n != GRPC_ENCODING && !n.as_str().starts_with("content-"))
}

/// Takes off what is named by `Connection`, and what is known to belong to the connection.
///
/// `Host` and what says of the body how it is to be read stay even if named: without them it is another message.
fn hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = named_by_connection(headers).collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}

/// Whether any header is there that has to come off: most messages have none, and a look at each name costs less than a
/// dozen look-ups.
fn any_of_the_connection(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        *name == CONNECTION
            || *name == TRANSFER_ENCODING
            || *name == UPGRADE
            || *name == TE
            || *name == PROXY_AUTHORIZATION
            || *name == PROXY_AUTHENTICATE
            || *name == REFUSED
            || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "alt-svc")
    })
}

/// Readies a request's headers. Returns whether its body came without a length, chunked.
///
/// `TE: trailers` alone goes on: it says what the agent itself can take.
pub fn request(headers: &mut HeaderMap) -> bool {
    if !any_of_the_connection(headers) {
        return false;
    }
    let chunked = headers.contains_key(TRANSFER_ENCODING);
    let trailers = takes_trailers(headers);
    hop_by_hop(headers);
    headers.remove(TE);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    chunked
}

/// Joins what HTTP/2 clients split into a field for each cookie: elsewhere there is one field (RFC 9113, section 8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let http::header::Entry::Occupied(mut crumbs) = headers.entry(COOKIE) else { return };
    if crumbs.iter().nth(1).is_none() {
        return;
    }
    let whole = crumbs.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
    // each was a value already, and so is what they make together
    if let Ok(mut whole) = HeaderValue::from_bytes(&whole) {
        whole.set_sensitive(crumbs.iter().any(HeaderValue::is_sensitive));
        crumbs.insert(whole);
    }
}

/// Counts down how often an OPTIONS or TRACE may be forwarded still (RFC 9110, section 7.6.2). Returns whether it may be now.
pub fn count_down_forwards(method: &Method, headers: &mut HeaderMap) -> bool {
    if !matches!(*method, Method::OPTIONS | Method::TRACE) {
        return true;
    }
    let left = headers.get(MAX_FORWARDS).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u32>().ok());
    match left.map(|left| left.checked_sub(1)) {
        None => true,
        Some(None) => false,
        Some(Some(left)) => headers.insert(MAX_FORWARDS, HeaderValue::from(left)).is_some(),
    }
}

/// Readies a response's headers. `Alt-Svc` would lead clients round the proxy, and what refuses is ours alone to say.
pub fn response(headers: &mut HeaderMap) {
    if !any_of_the_connection(headers) {
        return;
    }
    hop_by_hop(headers);
    headers.remove(TE);
    headers.remove(ALT_SVC);
    headers.remove(REFUSED);
}

/// Readies what an upstream sends behind a body.
pub fn response_trailers(trailers: &mut HeaderMap) {
    trailers.remove(REFUSED);
}

/// Whether the body has a transfer coding besides `chunked` (RFC 9112, section 6.1): none was asked for, and what it hides
/// can't be searched.
///
/// `identity` says that there is none, and is obsolete. Where it comes last the body is read to the connection's end, and so
/// it must be meant: with no chunks, and no length.
pub fn is_coded_for_transfer(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(TRANSFER_ENCODING).iter().flat_map(|v| v.as_bytes().split(|b| *b == b','));
    let (mut to_the_end, mut chunked) = (false, false);
    for coding in codings.map(<[u8]>::trim_ascii).filter(|c| !c.is_empty()) {
        to_the_end = coding.eq_ignore_ascii_case(b"identity");
        chunked |= !to_the_end;
        if !to_the_end && !coding.eq_ignore_ascii_case(b"chunked") {
            return true;
        }
    }
    to_the_end && (chunked || headers.contains_key(CONTENT_LENGTH))
}

fn takes_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(TE)
        .iter()
        .any(|v| v.as_bytes().split(|b| *b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(b"trailers")))
}

/// The content type of a gRPC call: one that makes sense over HTTP/2 only, and whose errors are no HTTP statuses.
pub fn grpc(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(http::header::CONTENT_TYPE).filter(|t| t.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_forwarded_as_often_as_it_says() {
        for (method, value, goes, left) in [
            (Method::OPTIONS, "0", false, "0"),
            (Method::TRACE, "0", false, "0"),
            (Method::OPTIONS, "1", true, "0"),
            (Method::TRACE, "10", true, "9"),
            (Method::OPTIONS, "many", true, "many"),
            (Method::GET, "0", true, "0"),
        ] {
            let mut h = HeaderMap::from_iter([(MAX_FORWARDS, HeaderValue::from_static(value))]);
            assert_eq!(count_down_forwards(&method, &mut h), goes, "{method} {value}");
            assert_eq!(h[MAX_FORWARDS], left, "{method} {value}");
        }
        assert!(count_down_forwards(&Method::OPTIONS, &mut HeaderMap::new()));
    }

    #[test]
    fn split_cookies_are_one_again() {
        let cookies = |values: &[&'static str]| {
            let mut h = HeaderMap::new();
            for value in values {
                h.append(COOKIE, HeaderValue::from_static(value));
            }
            join_cookies(&mut h);
            h.get_all(COOKIE).iter().map(|v| v.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(cookies(&[]), [""; 0]);
        assert_eq!(cookies(&["a=b"]), ["a=b"]);
        assert_eq!(cookies(&["a=b", "c=<<x_key>>", "d"]), ["a=b; c=<<x_key>>; d"]);
    }

    #[test]
    fn what_belongs_to_the_connection_comes_off() {
        let mut h = HeaderMap::new();
        for (name, value) in [
            ("connection", "x-private, Host, Content-Encoding, grpc-encoding"),
            ("content-encoding", "gzip"),
            ("connection", "close"),
            ("x-private", "1"),
            ("host", "a.example"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic eA=="),
            ("te", "gzip, trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("x-kept", "2"),
        ] {
            h.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        assert!(request(&mut h));
        let mut left: Vec<_> = h.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        left.sort();
        assert_eq!(left, ["content-encoding: gzip", "host: a.example", "te: trailers", "x-kept: 2"]);
    }
}
