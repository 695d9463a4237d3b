//! Answers that are held until they are whole, so that their length is exact.

use super::answer::{UpstreamAnswer, bad_coding};
use super::body::ResponseBody;
use super::head;
use super::portions::Portions;
use super::stream::Stream;
use super::whole::Whole;
use crate::io::body_buffer::BodyBuffer;
use crate::proxy::limits::HELD_RESPONSE;
use crate::proxy::refusal::Refusal;
use crate::proxy::wire::headers;
use crate::rewrite::digests;
use crate::rewrite::scrub::{Mask, Scrubber};
use crate::upstream::pool;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{HeaderMap, Response, response};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::sync::atomic::Ordering;

/// A body of declared length.
pub(crate) async fn plain(
    parts: response::Parts,
    mut inner: Incoming,
    scrubber: Scrubber,
    answer: UpstreamAnswer,
) -> Result<Response<ResponseBody>, Refusal> {
    // no more than is held
    let expected = inner.size_hint().exact().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let (mut pieces, mut trailers) = (BodyBuffer::of(expected), None);
    while let Some(frame) = inner.frame().await {
        let frame = frame.map_err(|e| broken_off(&e))?;
        match frame.into_data() {
            Ok(more) => pieces.push(more),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    whole(parts, pieces.whole(), trailers, false, scrubber, answer).await
}

/// A coded body as far as what it opens to is held; one that opens to more goes on as a stream.
pub(crate) async fn coded(
    mut parts: response::Parts,
    mut inner: Incoming,
    mut portions: Portions,
    scrubber: Scrubber,
    answer: UpstreamAnswer,
) -> Result<Response<ResponseBody>, Refusal> {
    let mut trailers = None;
    loop {
        match portions.next() {
            Ok(Some(first)) => {
                debug_assert!(first.len() as u64 >= HELD_RESPONSE);
                digests::remove(&mut parts.headers);
                let stream = Stream::new(inner, answer).opened(Some(portions)).begun(first, trailers);
                return Ok(Response::from_parts(parts, stream.scrubbed(&scrubber, false).into()));
            }
            Ok(None) => {}
            Err(e) => return Err(Refusal::upstream_failed(bad_coding(&e))),
        }
        match inner.frame().await {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(more) => portions.feed(more),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
            Some(Err(e)) => return Err(broken_off(&e)),
            None => break,
        }
    }
    let data = portions.finish().map_err(|e| Refusal::upstream_failed(bad_coding(&e)))?;
    whole(parts, data, trailers, true, scrubber, answer).await
}

async fn whole(
    mut parts: response::Parts,
    data: Bytes,
    mut trailers: Option<HeaderMap>,
    was_coded: bool,
    mut scrubber: Scrubber,
    mut answer: UpstreamAnswer,
) -> Result<Response<ResponseBody>, Refusal> {
    // it may have been long in coming
    let changed = answer.scrubber.renew().await?;
    if let Some(now) = answer.scrubber.scrubber().filter(|_| changed) {
        scrubber = now.of_error(parts.status.as_u16() >= 400);
    }
    let mut scrub = scrubber.body(Mask::Placeholder);
    let (clean, rest) = (scrub.push(data), scrub.finish());
    let clean = if rest.is_empty() { clean } else { [&clean[..], &rest].concat().into() };
    if let Some(trailers) = &mut trailers {
        headers::response_trailers(trailers);
        head::scrub_trailers(&scrubber, trailers);
    }
    if was_coded || scrub.has_changed() {
        digests::remove(&mut parts.headers);
        trailers.iter_mut().for_each(digests::remove);
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(clean.len()));
    }
    answer.give_back();
    answer.outcome.bytes_in.store(clean.len() as u64, Ordering::Relaxed);
    answer.outcome.complete();
    let body = Whole { data: Some(clean), trailers, outcome: Some(answer.outcome) };
    Ok(Response::from_parts(parts, ResponseBody::Whole(Box::new(body))))
}

fn broken_off(e: &hyper::Error) -> Refusal {
    Refusal::upstream_failed(format!("the upstream broke off its response: {}", pool::chain(e)))
}
