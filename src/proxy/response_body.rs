//! A response on its way back: keys bound to the host that answers are taken out of its head and body.

use super::ending::Ending;
use super::refuse::Refusal;
use super::request_body::RequestBody;
use crate::rewrite::scrub::{BodyScrub, Mask, Scrubber};
use crate::upstream::pool::{self, Lease};
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, ETAG};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// A body of declared length up to this is held and scrubbed whole, so that its length is exact.
const HELD: u64 = 64 * 1024;

/// What the agent gets.
pub(super) enum ResponseBody {
    /// Locum's own, or one that was held.
    Whole(Box<Whole>),
    Stream(Box<Stream>),
}

pub(super) struct Whole {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
    ending: Option<Ending>,
}

pub(super) struct Stream {
    inner: Incoming,
    scrub: Option<(Arc<Scrubber>, BodyScrub, Mask)>,
    lease: Option<Lease<RequestBody>>,
    ending: Ending,
}

impl ResponseBody {
    pub fn answer(data: Bytes) -> Self {
        ResponseBody::Whole(Box::new(Whole { data: Some(data), trailers: None, ending: None }))
    }
}

/// Of the codings that the agent takes, leaves those that can be read here.
pub(super) fn accept_what_can_be_read(headers: &mut HeaderMap) {
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// Takes the keys out of the head, and readies the body so that they are taken out of it.
pub(super) async fn rewrite(
    response: Response<Incoming>,
    method: &Method,
    scrubber: Option<Arc<Scrubber>>,
    lease: Lease<RequestBody>,
    mut ending: Ending,
) -> Result<Response<ResponseBody>, Refusal> {
    let (mut parts, inner) = response.into_parts();
    let Some(scrubber) = scrubber else {
        return Ok(Response::from_parts(parts, Stream::new(inner, None, lease, ending)));
    };
    scrub_head(&scrubber, &mut parts);
    let bodiless = *method == Method::HEAD
        || parts.status == StatusCode::NO_CONTENT
        || parts.status == StatusCode::NOT_MODIFIED
        || inner.is_end_stream();
    if bodiless {
        return Ok(Response::from_parts(parts, Stream::new(inner, None, lease, ending)));
    }
    if parts.headers.get(CONTENT_ENCODING).is_some_and(|v| !v.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let why = "the upstream's response is in a coding that was not asked for and can't be searched for keys";
        return Err(ending.refused(Refusal::Body { status: StatusCode::BAD_GATEWAY, why: why.into() }));
    }
    match inner.size_hint().exact() {
        Some(n) if n <= HELD => hold(parts, inner, &scrubber, lease, ending).await,
        exact => {
            let mask = if exact.is_some() { Mask::SameLength } else { Mask::Placeholder };
            let scrub = (scrubber.clone(), scrubber.body(mask), mask);
            Ok(Response::from_parts(parts, Stream::new(inner, Some(scrub), lease, ending)))
        }
    }
}

fn scrub_head(scrubber: &Scrubber, parts: &mut http::response::Parts) {
    parts.extensions.remove::<hyper::ext::ReasonPhrase>();
    for value in parts.headers.values_mut() {
        if let Some(clean) = scrubber.header(value.as_bytes()) {
            *value = HeaderValue::from_bytes(&clean).unwrap_or_else(|_| HeaderValue::from_static("*"));
        }
    }
    weaken(&mut parts.headers);
}

/// A strong validator promises bytes that scrubbing may change (RFC 9110, section 8.8.1).
fn weaken(headers: &mut HeaderMap) {
    if let Some(tag) = headers.get(ETAG)
        && !tag.as_bytes().starts_with(b"W/")
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
    {
        headers.insert(ETAG, weak);
    }
}

async fn hold(
    mut parts: http::response::Parts,
    mut inner: Incoming,
    scrubber: &Arc<Scrubber>,
    mut lease: Lease<RequestBody>,
    mut ending: Ending,
) -> Result<Response<ResponseBody>, Refusal> {
    let (mut data, mut trailers) = (Bytes::new(), None);
    while let Some(frame) = inner.frame().await {
        let frame = frame.map_err(|e| {
            let why = format!("the upstream broke off its response: {}", pool::chain(&e));
            ending.refused(Refusal::Body { status: StatusCode::BAD_GATEWAY, why })
        })?;
        match frame.into_data() {
            Ok(more) if data.is_empty() => data = more,
            Ok(more) => data = [data, more].concat().into(),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let mut scrub = scrubber.body(Mask::Placeholder);
    let clean = scrub.push(data.clone());
    if scrub.hits() == 0 && !echoed(scrubber) {
        lease.finish();
    }
    if clean.len() != data.len() {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(clean.len()));
    }
    ending.bytes_in = clean.len() as u64;
    note_hits(&mut ending, scrubber);
    ending.complete();
    let body = ResponseBody::Whole(Box::new(Whole { data: Some(clean), trailers, ending: Some(ending) }));
    Ok(Response::from_parts(parts, body))
}

/// A connection that a key came back on holds it in its buffers: it does not serve again.
fn echoed(scrubber: &Scrubber) -> bool {
    scrubber.hits().any(|(_, n)| n > 0)
}

fn note_hits(ending: &mut Ending, scrubber: &Scrubber) {
    ending.scrubbed = scrubber.hits().filter(|(_, n)| *n > 0).map(|(key, n)| (key.placeholder(), n)).collect();
}

impl Stream {
    #[allow(clippy::new_ret_no_self, reason = "always boxed into the body that it is a kind of")]
    fn new(
        inner: Incoming,
        scrub: Option<(Arc<Scrubber>, BodyScrub, Mask)>,
        lease: Lease<RequestBody>,
        ending: Ending,
    ) -> ResponseBody {
        let mut stream = Stream { inner, scrub, lease: Some(lease), ending };
        if stream.inner.is_end_stream() {
            stream.end();
        }
        ResponseBody::Stream(Box::new(stream))
    }

    /// The response has ended well: its connection is free again.
    fn end(&mut self) {
        self.ending.complete();
        let Some(mut lease) = self.lease.take() else { return };
        if self.scrub.as_ref().is_none_or(|(scrubber, ..)| !echoed(scrubber)) {
            lease.finish();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, pool::BoxError>>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(e)) => {
                    self.ending.broken(format!("the upstream broke off its response: {}", pool::chain(&e)));
                    return Poll::Ready(Some(Err(e.into())));
                }
                None => {
                    self.end();
                    return Poll::Ready(None);
                }
            };
            let frame = self.clean(frame);
            if self.inner.is_end_stream() {
                self.end();
            }
            match frame.data_ref() {
                Some(data) if data.is_empty() => {}
                Some(data) => {
                    self.ending.bytes_in += data.len() as u64;
                    return Poll::Ready(Some(Ok(frame)));
                }
                None => return Poll::Ready(Some(Ok(frame))),
            }
        }
    }

    fn clean(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let Some((scrubber, body, _)) = &mut self.scrub else { return frame };
        match frame.into_data() {
            Ok(data) => Frame::data(body.push(data)),
            Err(frame) => {
                let mut trailers = frame.into_trailers().unwrap_or_default();
                for value in trailers.values_mut() {
                    if let Some(clean) = scrubber.header(value.as_bytes()) {
                        *value = HeaderValue::from_bytes(&clean).unwrap_or_else(|_| HeaderValue::from_static("*"));
                    }
                }
                Frame::trailers(trailers)
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // hyper doesn't poll a body again once its declared length is out
        if self.lease.is_some() && self.inner.is_end_stream() {
            self.end();
        }
        if let Some((scrubber, ..)) = &self.scrub {
            note_hits(&mut self.ending, scrubber);
        }
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
                whole.ending = None;
                Poll::Ready(whole.trailers.take().map(|t| Ok(Frame::trailers(t))))
            }
            ResponseBody::Stream(stream) => stream.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Whole(whole) => whole.data.as_ref().is_none_or(Bytes::is_empty) && whole.trailers.is_none(),
            ResponseBody::Stream(stream) => stream.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Whole(whole) => SizeHint::with_exact(whole.data.as_ref().map_or(0, |d| d.len() as u64)),
            ResponseBody::Stream(stream) => match &stream.scrub {
                Some((_, _, Mask::Placeholder)) => SizeHint::default(),
                _ => stream.inner.size_hint(),
            },
        }
    }
}
