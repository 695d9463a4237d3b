//! Placeholders in a request's target and headers: found all at once, replaced once policy has agreed. Bodies are not its concern.

use super::body::escape::{self, UnwritableReason, UnwritableValue};
use super::finder::{Spelling, Vocabulary, decode};
use crate::name::KeyName;
use crate::place::Place;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use std::ops::{Deref, Range};

/// A placeholder in the head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadHit {
    /// `None` where it has the shape of a placeholder and a name that no key can have.
    pub key: Option<KeyName>,
    /// The placeholder without percent-encoding.
    pub written: String,
    /// `None` where no key may ever go: the host, or the name of a query parameter.
    pub place: Option<Place>,
    site: Site,
    span: Range<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Site {
    Target,
    Authority,
    Header(HeaderName, usize),
    /// The span counts within the decoded credentials.
    Basic(usize),
}

/// The placeholders that [`find`] found, in the order target, headers.
#[derive(Debug, Clone, Default)]
pub struct HeadHits(Vec<HeadHit>);

impl Deref for HeadHits {
    type Target = [HeadHit];

    fn deref(&self) -> &[HeadHit] {
        &self.0
    }
}

/// Every placeholder in the target and in header values. Names of headers can't hold one: `<` and `{` are no token characters,
/// and a look-alike there is a name like any other.
pub fn find(vocabulary: &Vocabulary, uri: &Uri, headers: &HeaderMap) -> HeadHits {
    let mut hits = Vec::new();
    if let Some(target) = uri.path_and_query() {
        find_in_target(vocabulary, target.as_str(), &mut hits);
    }
    if let Some(authority) = uri.authority() {
        for hit in vocabulary.all(Spelling::Percent, authority.as_str().as_bytes()) {
            hits.push(HeadHit { key: hit.key, written: hit.written, place: None, site: Site::Authority, span: hit.at });
        }
    }
    for (name, value) in headers {
        if name == AUTHORIZATION
            && let Some((_, credentials)) = basic(value.as_bytes())
        {
            find_in_basic(vocabulary, headers, value, &credentials, &mut hits);
            continue;
        }
        for hit in vocabulary.all(Spelling::Raw, value.as_bytes()) {
            hits.push(HeadHit {
                key: hit.key,
                written: hit.written,
                place: Some(Place::HeaderNamed(name.clone())),
                site: Site::Header(name.clone(), nth(headers, name, value)),
                span: hit.at,
            });
        }
    }
    HeadHits(hits)
}

/// Which of the values of its name this one is.
fn nth(headers: &HeaderMap, name: &HeaderName, value: &HeaderValue) -> usize {
    headers.get_all(name).iter().position(|v| std::ptr::eq(v, value)).unwrap_or_default()
}

fn find_in_basic(
    vocabulary: &Vocabulary,
    headers: &HeaderMap,
    value: &HeaderValue,
    credentials: &[u8],
    hits: &mut Vec<HeadHit>,
) {
    for hit in vocabulary.all(Spelling::Raw, credentials) {
        hits.push(HeadHit {
            key: hit.key,
            written: hit.written,
            place: Some(Place::Basic),
            site: Site::Basic(nth(headers, &AUTHORIZATION, value)),
            span: hit.at,
        });
    }
}

fn find_in_target(vocabulary: &Vocabulary, target: &str, hits: &mut Vec<HeadHit>) {
    let query = target.find('?');
    for hit in vocabulary.all(Spelling::Percent, target.as_bytes()) {
        let place = match query {
            Some(mark) if mark < hit.at.start => parameter(target, mark + 1, hit.at.start).map(Place::QueryNamed),
            _ => Some(Place::Path),
        };
        hits.push(HeadHit { key: hit.key, written: hit.written, place, site: Site::Target, span: hit.at });
    }
}

/// The name of the query parameter in whose value `at` lies.
fn parameter(target: &str, query: usize, at: usize) -> Option<String> {
    let before = target.get(query..at)?;
    let pair = before.rsplit('&').next()?;
    let (name, _) = pair.split_once('=')?;
    Some(decode(Spelling::Form, name.as_bytes()))
}

/// Clients differ in padding; what comes out is written as RFC 7617 wants it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The scheme with its spaces, and the decoded credentials, of a `Basic` authorization.
pub(super) fn basic(value: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let (scheme, rest) = value.split_at_checked("basic".len())?;
    if !scheme.eq_ignore_ascii_case(b"basic") || !rest.starts_with(b" ") {
        return None;
    }
    let credentials = rest.trim_ascii_start();
    let scheme = value.get(..value.len() - credentials.len())?;
    Some((scheme, BASE64.decode(credentials.trim_ascii_end()).ok()?))
}

/// Puts values where `hits` were found; the rest stays byte for byte. What holds a value is marked as sensitive.
///
/// Whoever calls has had each hit allowed. One without key or place stays as it is, so a mistake there gives nothing away.
///
/// # Errors
/// The first value that can't be written where its placeholder stands.
pub fn replace<'v>(
    uri: &mut Uri,
    headers: &mut HeaderMap,
    hits: &HeadHits,
    value: impl Fn(&KeyName) -> Option<&'v [u8]>,
) -> Result<(), UnwritableValue> {
    for hits in hits.chunk_by(|a, b| a.site == b.site) {
        let Some(group) = SiteHits::new(hits) else { continue };
        match group.site {
            Site::Authority => {}
            Site::Target => replace_in_target(uri, &group, &value)?,
            Site::Header(name, nth) => replace_in_header(slot(headers, name, *nth), &group, &value)?,
            Site::Basic(nth) => replace_in_basic(slot(headers, &AUTHORIZATION, *nth), &group, &value)?,
        }
    }
    Ok(())
}

/// The hits of one site, at least one of which has a key and a place.
struct SiteHits<'h> {
    hits: &'h [HeadHit],
    site: &'h Site,
    /// Who is named where the site as a whole is at fault.
    key: &'h KeyName,
    place: &'h Place,
}

impl<'h> SiteHits<'h> {
    fn new(hits: &'h [HeadHit]) -> Option<Self> {
        hits.iter()
            .find_map(|hit| Some(Self { hits, site: &hit.site, key: hit.key.as_ref()?, place: hit.place.as_ref()? }))
    }

    fn unwritable(&self, why: UnwritableReason) -> UnwritableValue {
        UnwritableValue { key: self.key.clone(), place: self.place.clone(), why }
    }
}

fn slot<'h>(headers: &'h mut HeaderMap, name: &HeaderName, nth: usize) -> Option<&'h mut HeaderValue> {
    match headers.entry(name) {
        http::header::Entry::Occupied(entry) => entry.into_iter().nth(nth),
        http::header::Entry::Vacant(_) => None,
    }
}

fn replace_in_header<'v>(
    slot: Option<&mut HeaderValue>,
    group: &SiteHits,
    value: &impl Fn(&KeyName) -> Option<&'v [u8]>,
) -> Result<(), UnwritableValue> {
    let old = slot.as_deref().map(HeaderValue::as_bytes).unwrap_or_default();
    let new = splice(old, Spelling::Raw, group, value, |v, _| escape::header(v))?;
    put(slot, new, group)
}

fn replace_in_basic<'v>(
    slot: Option<&mut HeaderValue>,
    group: &SiteHits,
    value: &impl Fn(&KeyName) -> Option<&'v [u8]>,
) -> Result<(), UnwritableValue> {
    let old = slot.as_deref().map(HeaderValue::as_bytes).unwrap_or_default();
    let (scheme, credentials) = basic(old).unwrap_or_default();
    let user = credentials.iter().position(|b| *b == b':').unwrap_or_default();
    let clear = splice(&credentials, Spelling::Raw, group, value, |v, at| {
        if at.start < user && v.contains(&b':') {
            return Err(UnwritableReason::Colon);
        }
        escape::header(v)
    })?;
    let clear = zeroize::Zeroizing::new(clear);
    let mut new = vec![0; scheme.len() + clear.len().div_ceil(3) * 4];
    let (head, coded) = new.split_at_mut(scheme.len());
    head.copy_from_slice(scheme);
    if BASE64.encode_slice(&clear[..], coded).is_err() {
        return Err(group.unwritable(UnwritableReason::Long));
    }
    put(slot, new, group)
}

fn put(slot: Option<&mut HeaderValue>, new: Vec<u8>, group: &SiteHits) -> Result<(), UnwritableValue> {
    let slot = slot.ok_or_else(|| group.unwritable(UnwritableReason::Moved))?;
    let mut value =
        HeaderValue::from_maybe_shared(Bytes::from(new)).map_err(|_| group.unwritable(UnwritableReason::Control))?;
    value.set_sensitive(true);
    *slot = value;
    Ok(())
}

fn replace_in_target<'v>(
    uri: &mut Uri,
    group: &SiteHits,
    value: &impl Fn(&KeyName) -> Option<&'v [u8]>,
) -> Result<(), UnwritableValue> {
    let old = uri.path_and_query().map(PathAndQuery::as_str).unwrap_or_default();
    let path = old.find('?').unwrap_or(old.len());
    let new = splice(old.as_bytes(), Spelling::Percent, group, value, |v, at| {
        // Unreserved, so written as they are, and yet a step up the path.
        if at.start < path && v.iter().all(|b| *b == b'.') {
            Err(UnwritableReason::Dots)
        } else {
            Ok(escape::percent(v))
        }
    })?;
    let target =
        PathAndQuery::from_maybe_shared(Bytes::from(new)).map_err(|_| group.unwritable(UnwritableReason::Long))?;
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target);
    *uri = Uri::from_parts(parts).map_err(|_| group.unwritable(UnwritableReason::Long))?;
    Ok(())
}

/// `old` with the spans of `hits` replaced, each value escaped for its place.
fn splice<'v>(
    old: &[u8],
    spelling: Spelling,
    group: &SiteHits,
    value: &impl Fn(&KeyName) -> Option<&'v [u8]>,
    escape: impl Fn(&[u8], &Range<usize>) -> Result<Vec<u8>, UnwritableReason>,
) -> Result<Vec<u8>, UnwritableValue> {
    let mut pieces = Vec::with_capacity(group.hits.len());
    for hit in group.hits {
        let (Some(key), Some(place)) = (&hit.key, &hit.place) else { continue };
        let unwritable = |why| UnwritableValue { key: key.clone(), place: place.clone(), why };
        let stands = |bytes: &[u8]| match spelling {
            Spelling::Raw => bytes == hit.written.as_bytes(),
            _ => decode(spelling, bytes) == hit.written,
        };
        if !old.get(hit.span.clone()).is_some_and(stands) {
            return Err(unwritable(UnwritableReason::Moved));
        }
        let value = value(key).ok_or_else(|| unwritable(UnwritableReason::Missing))?;
        pieces.push((&hit.span, zeroize::Zeroizing::new(escape(value, &hit.span).map_err(unwritable)?)));
    }
    // Sized before it is filled: a vector that grows would leave copies of a value behind.
    let mut new = Vec::with_capacity(old.len() + pieces.iter().map(|(_, piece)| piece.len()).sum::<usize>());
    let mut done = 0;
    for (span, piece) in pieces {
        new.extend_from_slice(old.get(done..span.start).unwrap_or_default());
        new.extend_from_slice(&piece);
        done = span.end;
    }
    new.extend_from_slice(old.get(done..).unwrap_or_default());
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use proptest::prelude::*;

    fn vocabulary() -> Vocabulary {
        let own = [("ghp_0000000000000000".to_string(), "gh".parse().unwrap())];
        Vocabulary::new(true, own).unwrap()
    }

    fn head(target: &str, headers: &[(&str, &str)]) -> (Uri, HeaderMap) {
        let mut request = Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        (parts.uri, parts.headers)
    }

    /// `key@place` for each hit; `?` is no key's name, `-` is no place.
    fn places(uri: &Uri, headers: &HeaderMap) -> String {
        let told = find(&vocabulary(), uri, headers)
            .iter()
            .map(|hit| {
                let key = hit.key.as_ref().map_or("?", |k| k.as_str()).to_string();
                format!("{key}@{}", hit.place.as_ref().map_or("-".into(), Place::to_string))
            })
            .collect::<Vec<_>>();
        told.join(" ")
    }

    fn value(key: &KeyName) -> Option<&'static [u8]> {
        match key.as_str() {
            "x" => Some(b"se/cret+1"),
            "y" => Some(b"<<x_key>>"),
            "gh" => Some(b"ghp_real"),
            "colon" => Some(b"a:b"),
            "crlf" => Some(b"a\r\nb: c"),
            "dots" => Some(b".."),
            "long" => Some(&[b'a'; 70_000]),
            _ => None,
        }
    }

    fn replaced(target: &str, headers: &[(&str, &str)]) -> Result<(String, Vec<String>), UnwritableReason> {
        let (mut uri, mut headers) = head(target, headers);
        let hits = find(&vocabulary(), &uri, &headers);
        replace(&mut uri, &mut headers, &hits, value).map_err(|unwritable| unwritable.why)?;
        let texts = headers.values().map(|v| String::from_utf8(v.as_bytes().to_vec()).unwrap()).collect();
        Ok((uri.to_string(), texts))
    }

    fn coded(credentials: &str) -> String {
        format!("Basic {}", BASE64.encode(credentials))
    }

    #[test]
    fn targets_tell_the_place() {
        for (target, places_found) in [
            ("/", ""),
            ("/a?b=c", ""),
            ("/v1/%3C%3Cx_key%3E%3E/me", "x@path"),
            ("/?key=%3C%3Cx_key%3E%3E", "x@query:key"),
            ("/?a=1&k%65y=%3C%3cx%5Fkey%3E%3E&b", "x@query:key"),
            ("/?a=b=%3C%3Cx_key%3E%3E", "x@query:a"),
            ("/?a+b=%3C%3Cx_key%3E%3E", "x@query:a b"),
            ("/?%3C%3Cx_key%3E%3E", "x@-"),
            ("/?%3C%3Cx_key%3E%3E=1", "x@-"),
            ("/?a=1?b=%3C%3Cx_key%3E%3E", "x@query:a"),
            ("/{{x_key}}?t=ghp_0000000000000000", "x@path gh@query:t"),
            ("/%3C%3Cx_key_key%3E%3E", "?@path"),
            ("https://api.example/%3C%3Cx_key%3E%3E", "x@path"),
            ("https://ghp_0000000000000000.example/", "gh@-"),
        ] {
            let (uri, headers) = head(target, &[]);
            assert_eq!(places(&uri, &headers), places_found, "{target}");
        }
    }

    #[test]
    fn headers_tell_the_place() {
        let too_long = format!("<<{}_key>>", "a".repeat(65));
        for (name, value, places_found) in [
            ("authorization", "Bearer <<x_key>>".to_string(), "x@header:authorization"),
            ("authorization", "Basic <<x_key>>".to_string(), "x@header:authorization"),
            ("authorization", coded("me:<<x_key>>"), "x@basic"),
            ("authorization", coded("<<x_key>>:<<y_key>>").to_lowercase().replace("basic ", "BASIC  "), ""),
            ("authorization", coded("<<x_key>>:<<y_key>>").replace("Basic ", "BASIC  "), "x@basic y@basic"),
            ("authorization", coded("m:<<x_key>>").trim_end_matches('=').to_string(), "x@basic"),
            ("authorization", coded("m:<<nobody_key_key>>"), "?@basic"),
            ("x-api-key", "<<x_key>>, <<y_key>>".to_string(), "x@header:x-api-key y@header:x-api-key"),
            ("x-api-key", coded("me:<<x_key>>"), ""),
            ("cookie", "a={{x_key}}".to_string(), "x@header:cookie"),
            ("x-api-key", too_long, "?@header:x-api-key"),
            ("x-api-key", "%3C%3Cx_key%3E%3E".to_string(), ""),
        ] {
            let (uri, headers) = head("/", &[(name, &value)]);
            assert_eq!(places(&uri, &headers), places_found, "{name}: {value}");
        }
    }

    #[test]
    fn values_are_written_as_their_place_wants_and_the_rest_stays() {
        let (target, texts) = replaced(
            "/a%2fb//../%3C%3Cx_key%3E%3E/;p?q=%7E&&z=1&k=%3C%3Cx_key%3E%3E&k=%3c%3cy_key%3e%3e&",
            &[
                ("authorization", &coded("me:<<x_key>>")),
                ("x-one", "a <<x_key>> b {{gh_key}} c"),
                ("x-two", "<<y_key>>"),
                ("x-three", "untouched"),
                ("x-four", "first"),
                ("x-four", "<<x_key>>"),
            ],
        )
        .unwrap();
        assert_eq!(target, "/a%2fb//../se%2Fcret%2B1/;p?q=%7E&&z=1&k=se%2Fcret%2B1&k=%3C%3Cx_key%3E%3E&");
        let want = [&coded("me:se/cret+1"), "a se/cret+1 b ghp_real c", "<<x_key>>", "untouched", "first", "se/cret+1"];
        assert_eq!(texts, want);
    }

    #[test]
    fn a_header_that_holds_a_value_is_sensitive() {
        let (mut uri, mut headers) = head("/", &[("x-a", "<<x_key>>"), ("x-b", "b")]);
        let hits = find(&vocabulary(), &uri, &headers);
        replace(&mut uri, &mut headers, &hits, value).unwrap();
        assert!(headers["x-a"].is_sensitive() && !headers["x-b"].is_sensitive());
    }

    #[test]
    fn a_value_that_would_break_out_is_refused() {
        for (target, name, text, why) in [
            ("/", "x-a", "<<crlf_key>>".to_string(), UnwritableReason::Control),
            ("/", "authorization", coded("u:<<crlf_key>>"), UnwritableReason::Control),
            ("/", "authorization", coded("<<colon_key>>:p"), UnwritableReason::Colon),
            ("/", "x-a", "<<unheard_key>>".to_string(), UnwritableReason::Missing),
            ("/%3C%3Cdots_key%3E%3E", "x-a", String::new(), UnwritableReason::Dots),
            ("/%3C%3Clong_key%3E%3E", "x-a", String::new(), UnwritableReason::Long),
        ] {
            assert_eq!(replaced(target, &[(name, &text)]).unwrap_err(), why, "{target} {text}");
        }
        assert_eq!(replaced("/", &[("authorization", &coded("u:<<colon_key>>"))]).unwrap().1, [coded("u:a:b")]);
        assert_eq!(replaced("/?a=%3C%3Ccrlf_key%3E%3E", &[]).unwrap().0, "/?a=a%0D%0Ab%3A%20c");
    }

    #[test]
    fn a_head_that_changed_since_is_not_touched() {
        let (mut uri, mut headers) = head("/", &[("x-a", "<<x_key>>")]);
        let hits = find(&vocabulary(), &uri, &headers);
        headers.insert("x-a", HeaderValue::from_static("<<y_key>>"));
        let unwritable = replace(&mut uri, &mut headers, &hits, value).unwrap_err();
        assert_eq!(unwritable.why, UnwritableReason::Moved);
        headers.remove("x-a");
        assert_eq!(replace(&mut uri, &mut headers, &hits, value).unwrap_err().why, UnwritableReason::Moved);
    }

    #[test]
    fn what_has_no_key_or_no_place_stays() {
        let (target, texts) = replaced("/?%3C%3Cx_key%3E%3E", &[("x-a", "<<x_key_key>> <<x_key>>")]).unwrap();
        assert_eq!((target.as_str(), texts), ("/?%3C%3Cx_key%3E%3E", vec!["<<x_key_key>> se/cret+1".to_string()]));
    }

    proptest! {
        #[test]
        fn without_a_placeholder_nothing_changes(target in "/[a-z%?&=+/]{0,40}", text in "[ -~]{0,60}") {
            let (before, headers) = head(&target, &[("x-a", &text), ("authorization", &format!("Basic {text}"))]);
            let (mut uri, mut after) = (before.clone(), headers.clone());
            let hits = find(&vocabulary(), &uri, &after);
            prop_assume!(hits.is_empty());
            replace(&mut uri, &mut after, &hits, value).unwrap();
            prop_assert_eq!(uri, before);
            prop_assert_eq!(after, headers);
        }

        #[test]
        fn a_server_reads_the_value_and_the_same_rest(user in "[^:\\pC]{0,20}", before in "[a-z/]{0,9}", secret in "[!-~]{1,40}") {
            let target = format!("/{before}%3C%3Cx_key%3E%3E/z?a=1&k=%3C%3Cx_key%3E%3E&b=2");
            let (mut uri, mut headers) = head(&target, &[("authorization", &coded(&format!("{user}:<<x_key>>")))]);
            let hits = find(&vocabulary(), &uri, &headers);
            prop_assert_eq!(hits.len(), 3);
            prop_assume!(!secret.bytes().all(|b| b == b'.'));
            replace(&mut uri, &mut headers, &hits, |_| Some(secret.as_bytes())).unwrap();
            let read = url::Url::parse(&format!("https://h.example{uri}")).unwrap();
            let pairs: Vec<_> = read.query_pairs().into_owned().collect();
            prop_assert_eq!(&pairs[1], &("k".to_string(), secret.clone()));
            prop_assert_eq!(pairs.len(), 3);
            let (_, credentials) = basic(headers[AUTHORIZATION].as_bytes()).unwrap();
            prop_assert_eq!(credentials, format!("{user}:{secret}").into_bytes());
        }

        #[test]
        fn no_head_makes_it_panic(target: Vec<u8>, text: Vec<u8>) {
            let Ok(mut uri) = Uri::try_from([b"/", target.as_slice()].concat()) else { return Ok(()) };
            let Ok(text) = HeaderValue::from_bytes(&text) else { return Ok(()) };
            let mut headers = HeaderMap::from_iter([(AUTHORIZATION, text)]);
            let hits = find(&vocabulary(), &uri, &headers);
            let _ = replace(&mut uri, &mut headers, &hits, value);
        }
    }
}
