//! Answers that are held until they are whole, so that their length is exact.

use super::stream::Stream;
use super::{Answer, HELD, Portions, ResponseBody, Whole, bad_coding, give_back, head};
use crate::proxy::exchange::body_buffer::BodyBuffer;
use crate::proxy::refusal::Refusal;
use crate::rewrite::digests;
use crate::rewrite::scrub::{Mask, Scrubber};
use crate::upstream::pool;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{HeaderMap, Response, StatusCode, response};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// A body of declared length.
pub(crate) async fn plain(
    parts: response::Parts,
    mut inner: Incoming,
    scrubber: Scrubber,
    mut answer: Answer,
) -> Result<Response<ResponseBody>, Refusal> {
    // no more than is held
    let expected = inner.size_hint().exact().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let (mut pieces, mut trailers) = (BodyBuffer::of(expected), None);
    while let Some(frame) = inner.frame().await {
        let frame = frame.map_err(|e| broken_off(&mut answer, &e))?;
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
    mut answer: Answer,
) -> Result<Response<ResponseBody>, Refusal> {
    let mut trailers = None;
    loop {
        match portions.next() {
            Ok(Some(first)) => {
                debug_assert!(first.len() as u64 >= HELD);
                digests::remove(&mut parts.headers);
                let stream = Stream::new(inner, answer).opened(Some(portions)).begun(first, trailers);
                return Ok(Response::from_parts(parts, stream.scrubbed(&scrubber, false).body()));
            }
            Ok(None) => {}
            Err(e) => return Err(withheld(&mut answer, bad_coding(&e))),
        }
        match inner.frame().await {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(more) => portions.feed(more),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
            Some(Err(e)) => return Err(broken_off(&mut answer, &e)),
            None => break,
        }
    }
    let data = portions.finish().map_err(|e| withheld(&mut answer, bad_coding(&e)))?;
    whole(parts, data, trailers, true, scrubber, answer).await
}

async fn whole(
    mut parts: response::Parts,
    data: Bytes,
    mut trailers: Option<HeaderMap>,
    was_coded: bool,
    mut scrubber: Scrubber,
    mut answer: Answer,
) -> Result<Response<ResponseBody>, Refusal> {
    // it may have been long in coming
    let changed = answer.current.renew().await.map_err(|fault| answer.outcome.refused(fault.into()))?;
    if let Some(now) = answer.current.scrubber().filter(|_| changed) {
        scrubber = now.of_error(parts.status.as_u16() >= 400);
    }
    let mut scrub = scrubber.body(Mask::Placeholder);
    let (clean, rest) = (scrub.push(data), scrub.finish());
    let clean = if rest.is_empty() { clean } else { [&clean[..], &rest].concat().into() };
    if let Some(trailers) = &mut trailers {
        head::scrub_trailers(&scrubber, trailers);
    }
    if was_coded || scrub.has_changed() {
        digests::remove(&mut parts.headers);
        trailers.iter_mut().for_each(digests::remove);
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(clean.len()));
    }
    give_back(&mut answer);
    answer.outcome.bytes_in = clean.len() as u64;
    answer.outcome.complete();
    let body = Whole { data: Some(clean), trailers, outcome: Some(answer.outcome) };
    Ok(Response::from_parts(parts, ResponseBody::Whole(Box::new(body))))
}

fn broken_off(answer: &mut Answer, e: &hyper::Error) -> Refusal {
    withheld(answer, format!("the upstream broke off its response: {}", pool::chain(e)))
}

fn withheld(answer: &mut Answer, why: String) -> Refusal {
    answer.outcome.refused(Refusal::Body { status: StatusCode::BAD_GATEWAY, why })
}
