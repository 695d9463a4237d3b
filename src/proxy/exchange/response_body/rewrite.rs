//! Hides the keys of the host in its answer: in the head at once, in the body on its way.

use super::answer::UpstreamAnswer;
use super::body::ResponseBody;
use super::portions::Portions;
use super::stream::Stream;
use super::{head, hold};
use crate::proxy::exchange::outcome::HTTP_2;
use crate::proxy::limits::HELD_RESPONSE;
use crate::proxy::refusal::Refusal;
use crate::proxy::wire::headers;
use crate::rewrite::coding::{self, Coding, CodingError};
use crate::rewrite::decoded_body::DecodedBody;
use crate::rewrite::digests;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

/// A digest of what holds a key with fewer unknown bits than this could be tried out.
const BEYOND_TRYING: f32 = 96.0;

/// Takes the keys out of the head, and readies the body so that they are taken out of it.
pub(crate) async fn rewrite(
    response: Response<Incoming>,
    method: &Method,
    mut answer: UpstreamAnswer,
) -> Result<Response<ResponseBody>, Refusal> {
    // the upstream may have thought about its answer for minutes
    answer.scrubber.renew().await?;
    let (mut parts, inner) = response.into_parts();
    let bodiless = *method == Method::HEAD
        || parts.status == StatusCode::NO_CONTENT
        || parts.status == StatusCode::NOT_MODIFIED
        || inner.is_end_stream();
    let is_error = parts.status.is_client_error() || parts.status.is_server_error();
    let Some(scrubber) = answer.scrubber.scrubber().map(|scrubber| scrubber.of_error(is_error)) else {
        let stream = Stream::new(inner, answer).bodiless(bodiless).coded_as(&parts.headers);
        return Ok(Response::from_parts(parts, stream.into()));
    };
    head::scrub(&scrubber, &mut parts);
    if answer.outcome.http == HTTP_2 {
        head::detach(&mut parts.headers);
    }
    if answer.outcome.has_carried_a_key() && scrubber.weakest().is_some_and(|bits| bits < BEYOND_TRYING) {
        parts.headers.remove(ETAG);
        digests::remove(&mut parts.headers);
    }
    let coded = coding::parse(parts.headers.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes));
    let is_coded = coded.as_ref().map_or(true, |codings| !codings.is_empty());
    if is_coded {
        // also where there is no body: it tells of the one that would have come
        parts.headers.remove(CONTENT_ENCODING);
        parts.headers.remove(CONTENT_LENGTH);
    }
    if bodiless {
        digests::remove(&mut parts.headers);
        let stream = Stream::new(inner, answer).bodiless(true).unsized_if(is_coded).scrubbed(&scrubber, false);
        return Ok(Response::from_parts(parts, stream.into()));
    }
    if let Some(why) = compressed_messages(&parts.headers) {
        return Err(Refusal::upstream_failed(why));
    }
    let opened = match open(coded, parts.status) {
        Ok(opened) => opened.map(|opened| Portions::new(opened, head::is_event_stream(&parts.headers))),
        Err(why) => return Err(Refusal::upstream_failed(why)),
    };
    // each message of gRPC says its length before it, so nothing in it may change its own
    let framed = headers::grpc(&parts.headers).is_some();
    let declared = inner.size_hint().exact().filter(|_| !framed);
    match opened {
        // how long a coded body is says how well it was compressed, so only what it opens to counts
        Some(portions) if declared.is_some() && !portions.in_lines => {
            hold::coded(parts, inner, portions, scrubber, answer).await
        }
        None if declared.is_some_and(|n| n <= HELD_RESPONSE) => hold::plain(parts, inner, scrubber, answer).await,
        opened => {
            // whether they stay right is known when it is too late
            digests::remove(&mut parts.headers);
            let stream = Stream::new(inner, answer).opened(opened).scrubbed(&scrubber, framed);
            Ok(Response::from_parts(parts, stream.into()))
        }
    }
}

/// Why a gRPC response can't be searched, where its messages are compressed one by one though that was not asked for.
fn compressed_messages(headers: &HeaderMap) -> Option<String> {
    let coding = headers.get(headers::GRPC_ENCODING).filter(|v| !v.as_bytes().eq_ignore_ascii_case(b"identity"))?;
    Some(format!("the upstream's messages can't be searched for keys: {coding:?} was not asked for"))
}

/// What takes the codings off, if there are any.
fn open(coded: Result<Vec<Coding>, CodingError>, status: StatusCode) -> Result<Option<DecodedBody>, String> {
    let withheld = |e: CodingError| format!("the upstream's response can't be searched for keys: {e}");
    let codings = coded.map_err(withheld)?;
    if codings.is_empty() {
        return Ok(None);
    }
    if status == StatusCode::PARTIAL_CONTENT {
        return Err("the upstream's response is a slice, which was not asked for, of a coded body".into());
    }
    DecodedBody::response(&codings).map(Some).map_err(withheld)
}
