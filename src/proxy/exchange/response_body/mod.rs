//! A response on its way back: keys bound to the host that answers are taken out of its head and body.

mod head;
mod hold;
mod portions;
mod stream;

pub(crate) use head::{ask_for_identity, of_switch};

use super::current_scrubber::CurrentScrubber;
use super::outcome::{ExchangeOutcome, HTTP_2};
use super::request_body::RequestBody;
use crate::proxy::refusal::Refusal;
use crate::proxy::wire::headers;
use crate::rewrite::coding::{self, Coding, CodingError};
use crate::rewrite::decoded_body::DecodedBody;
use crate::rewrite::digests;
use crate::upstream::pool::{self, Lease};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use portions::Portions;
use std::pin::Pin;
use std::task::{Context, Poll};
use stream::Stream;

/// A body of declared length up to this is held and scrubbed whole, so that its length is exact; of a coded one, which opens
/// to this much.
const HELD: u64 = 64 * 1024;
/// A digest of what holds a key with fewer unknown bits than this could be tried out.
const BEYOND_TRYING: f32 = 96.0;

/// What the agent gets.
pub(crate) enum ResponseBody {
    /// Locum's own, or one that was held.
    Whole(Box<Whole>),
    Stream(Box<Stream>),
}

pub(crate) struct Whole {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
    outcome: Option<ExchangeOutcome>,
}

impl ResponseBody {
    pub fn answer(data: Bytes) -> Self {
        ResponseBody::Whole(Box::new(Whole { data: Some(data), trailers: None, outcome: None }))
    }
}

/// What belongs to an answer besides its bytes.
pub(crate) struct Answer {
    pub current: CurrentScrubber,
    pub lease: Lease<RequestBody>,
    pub outcome: ExchangeOutcome,
}

/// Takes the keys out of the head, and readies the body so that they are taken out of it.
pub(crate) async fn rewrite(
    response: Response<Incoming>,
    method: &Method,
    mut answer: Answer,
) -> Result<Response<ResponseBody>, Refusal> {
    // the upstream may have thought about its answer for minutes
    let renewed = answer.current.renew().await;
    renewed.map_err(|fault| answer.outcome.refused(fault.into()))?;
    let (mut parts, inner) = response.into_parts();
    let bodiless = *method == Method::HEAD
        || parts.status == StatusCode::NO_CONTENT
        || parts.status == StatusCode::NOT_MODIFIED
        || inner.is_end_stream();
    let is_error = parts.status.is_client_error() || parts.status.is_server_error();
    let Some(scrubber) = answer.current.scrubber().map(|scrubber| scrubber.of_error(is_error)) else {
        let stream = Stream::new(inner, answer).bodiless(bodiless).coded_as(&parts.headers);
        return Ok(Response::from_parts(parts, stream.body()));
    };
    head::scrub(&scrubber, &mut parts);
    if answer.outcome.http == HTTP_2 {
        head::detach(&mut parts.headers);
    }
    if answer.outcome.has_carried_a_key() && scrubber.weakest().is_some_and(|bits| bits < BEYOND_TRYING) {
        parts.headers.remove(http::header::ETAG);
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
        return Ok(Response::from_parts(parts, stream.body()));
    }
    if let Some(why) = compressed_messages(&parts.headers) {
        return Err(answer.outcome.refused(Refusal::Body { status: StatusCode::BAD_GATEWAY, why }));
    }
    let opened = match open(coded, parts.status) {
        Ok(opened) => opened.map(|opened| Portions::new(opened, head::is_event_stream(&parts.headers))),
        Err(why) => return Err(answer.outcome.refused(Refusal::Body { status: StatusCode::BAD_GATEWAY, why })),
    };
    // each message of gRPC says its length before it, so nothing in it may change its own
    let framed = headers::grpc(&parts.headers).is_some();
    let declared = inner.size_hint().exact().filter(|_| !framed);
    match opened {
        // how long a coded body is says how well it was compressed, so only what it opens to counts
        Some(portions) if declared.is_some() && !portions.in_lines => {
            hold::coded(parts, inner, portions, scrubber, answer).await
        }
        None if declared.is_some_and(|n| n <= HELD) => hold::plain(parts, inner, scrubber, answer).await,
        opened => {
            // whether they stay right is known when it is too late
            digests::remove(&mut parts.headers);
            let stream = Stream::new(inner, answer).opened(opened).scrubbed(&scrubber, framed);
            Ok(Response::from_parts(parts, stream.body()))
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

fn bad_coding(e: &CodingError) -> String {
    format!("the upstream's response can't be read: {e}")
}

/// A connection that a key came back on holds it in its buffers: it does not serve again.
fn give_back(answer: &mut Answer) {
    if answer.current.hits().is_empty() {
        answer.lease.finish();
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = pool::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, pool::BoxError>>> {
        match &mut *self {
            ResponseBody::Whole(whole) => {
                if let Some(data) = whole.data.take().filter(|d| !d.is_empty()) {
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                whole.outcome = None;
                Poll::Ready(whole.trailers.take().map(|t| Ok(Frame::trailers(t))))
            }
            ResponseBody::Stream(stream) => stream.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Whole(whole) => whole.data.as_ref().is_none_or(Bytes::is_empty) && whole.trailers.is_none(),
            ResponseBody::Stream(stream) => stream.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Whole(whole) => SizeHint::with_exact(whole.data.as_ref().map_or(0, |d| d.len() as u64)),
            ResponseBody::Stream(stream) => stream.size_hint(),
        }
    }
}
