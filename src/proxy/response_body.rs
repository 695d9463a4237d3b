//! A response on its way back: keys bound to the host that answers are taken out of its head and body.

use super::ending::{Ending, HTTP_2};
use super::headers;
use super::pieces::Pieces;
use super::refuse::Refusal;
use super::request_body::RequestBody;
use crate::rewrite::coding::{self, Coding, CodingError};
use crate::rewrite::digests;
use crate::rewrite::opened::Opened;
use crate::rewrite::scrub::{BodyScrub, Mask, Scrubber};
use crate::upstream::pool::{self, Lease};
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG};
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
    /// What takes the body's coding off; none where it has none, or is over.
    opened: Option<Opened>,
    /// What has been opened already.
    first: Bytes,
    /// The upstream's body was read to its end, with these trailers.
    read: Option<Option<HeaderMap>>,
    scrub: Option<(Arc<Scrubber>, BodyScrub)>,
    /// The head has no body, so what HTTP/2 may frame behind it is none. Where it is searched, only trailers pass.
    bodiless: bool,
    /// The body that goes out is as long as the one that comes in.
    sized: bool,
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
    let readable = |item: &[u8]| {
        let coding = item.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        coding.eq_ignore_ascii_case(b"identity") || Coding::named(coding).is_some()
    };
    let items = || headers.get_all(ACCEPT_ENCODING).iter().flat_map(|v| v.as_bytes().split(|b| *b == b','));
    if !headers.contains_key(ACCEPT_ENCODING) || !items().all(readable) {
        let left: Vec<&[u8]> = items().map(<[u8]>::trim_ascii).filter(|item| readable(item)).collect();
        let accepted = HeaderValue::from_bytes(&left.join(&b", "[..])).ok().filter(|v| !v.is_empty());
        headers.insert(ACCEPT_ENCODING, accepted.unwrap_or(HeaderValue::from_static("identity")));
    }
    if headers.contains_key(headers::GRPC_ACCEPT_ENCODING) {
        headers.insert(headers::GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
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
    let bodiless = *method == Method::HEAD
        || parts.status == StatusCode::NO_CONTENT
        || parts.status == StatusCode::NOT_MODIFIED
        || inner.is_end_stream();
    let Some(scrubber) = scrubber else {
        let mut stream = Stream::of(inner, lease, ending);
        stream.bodiless = bodiless;
        return Ok(Response::from_parts(parts, stream.body()));
    };
    scrub_head(&scrubber, &mut parts);
    if ending.http == HTTP_2 {
        detach(&mut parts.headers);
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
        let mut stream = Stream::of(inner, lease, ending);
        (stream.bodiless, stream.sized) = (true, !is_coded);
        stream.scrub = Some((scrubber.clone(), scrubber.body(Mask::SameLength)));
        return Ok(Response::from_parts(parts, stream.body()));
    }
    if let Some(why) = compressed_messages(&parts.headers) {
        return Err(ending.refused(Refusal::Body { status: StatusCode::BAD_GATEWAY, why }));
    }
    let opened = match open(coded, parts.status) {
        Ok(opened) => opened,
        Err(why) => return Err(ending.refused(Refusal::Body { status: StatusCode::BAD_GATEWAY, why })),
    };
    // each message of gRPC says its length before it, so nothing in it may change its own
    let framed = headers::grpc(&parts.headers).is_some();
    match inner.size_hint().exact() {
        Some(n) if n <= HELD && !framed => hold(parts, inner, opened, &scrubber, lease, ending).await,
        exact => {
            let sized = exact.is_some() && !is_coded;
            let mask = if sized || framed { Mask::SameLength } else { Mask::Placeholder };
            // whether they stay right is known when it is too late
            digests::remove(&mut parts.headers);
            let mut stream = Stream::of(inner, lease, ending);
            (stream.opened, stream.sized) = (opened, sized);
            stream.scrub = Some((scrubber.clone(), scrubber.body(mask)));
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
fn open(coded: Result<Vec<Coding>, CodingError>, status: StatusCode) -> Result<Option<Opened>, String> {
    let withheld = |e: CodingError| format!("the upstream's response can't be searched for keys: {e}");
    let codings = coded.map_err(withheld)?;
    if codings.is_empty() {
        return Ok(None);
    }
    if status == StatusCode::PARTIAL_CONTENT {
        return Err("the upstream's response is a slice, which was not asked for, of a coded body".into());
    }
    Opened::response(&codings).map(Some).map_err(withheld)
}

/// The answer that a connection switches with: a head, and then nothing that is HTTP.
pub(super) fn of_switch(response: Response<Incoming>, scrubber: Option<&Scrubber>) -> Response<ResponseBody> {
    let (mut parts, _) = response.into_parts();
    if let Some(scrubber) = scrubber {
        scrub_head(scrubber, &mut parts);
    }
    Response::from_parts(parts, ResponseBody::answer(Bytes::new()))
}

fn scrub_head(scrubber: &Scrubber, parts: &mut http::response::Parts) {
    parts.extensions.remove::<hyper::ext::ReasonPhrase>();
    scrub_values(scrubber, &mut parts.headers);
    weaken(&mut parts.headers);
}

fn scrub_values(scrubber: &Scrubber, headers: &mut HeaderMap) {
    for value in headers.values_mut() {
        if let Some(clean) = scrubber.header(value.as_bytes()) {
            *value = HeaderValue::from_bytes(&clean).unwrap_or_else(|_| HeaderValue::from_static("*"));
        }
    }
}

fn scrub_trailers(scrubber: &Scrubber, trailers: &mut HeaderMap) {
    trailers.remove(ACCEPT_RANGES);
    scrub_values(scrubber, trailers);
    detach(trailers);
}

/// Copies the values into memory of their own. They are slices of what the upstream's connection read, and with it of a
/// body that says a key back; an HTTP/2 client's connection keeps them in its table for as long as it lives.
fn detach(headers: &mut HeaderMap) {
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
    opened: Option<Opened>,
    scrubber: &Arc<Scrubber>,
    mut lease: Lease<RequestBody>,
    mut ending: Ending,
) -> Result<Response<ResponseBody>, Refusal> {
    let withheld = |why| Refusal::Body { status: StatusCode::BAD_GATEWAY, why };
    // no more than is held
    let expected = inner.size_hint().exact().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let (mut pieces, mut trailers) = (Pieces::of(expected), None);
    while let Some(frame) = inner.frame().await {
        let frame = frame.map_err(|e| {
            ending.refused(withheld(format!("the upstream broke off its response: {}", pool::chain(&e))))
        })?;
        match frame.into_data() {
            Ok(more) => pieces.push(more),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let mut data = pieces.whole();
    let coded = opened.is_some();
    if let Some(opened) = opened {
        let unfolded = unfold(opened, data);
        let (beginning, rest) = unfolded.map_err(|e| ending.refused(withheld(bad_coding(&e))))?;
        if let Some(opened) = rest {
            parts.headers.remove(CONTENT_LENGTH);
            digests::remove(&mut parts.headers);
            let mut stream = Stream::of(inner, lease, ending);
            (stream.first, stream.opened, stream.sized) = (beginning, Some(opened), false);
            stream.read = Some(trailers);
            stream.scrub = Some((scrubber.clone(), scrubber.body(Mask::Placeholder)));
            return Ok(Response::from_parts(parts, stream.body()));
        }
        data = beginning;
    }
    let mut scrub = scrubber.body(Mask::Placeholder);
    let clean = scrub.push(data);
    if let Some(trailers) = &mut trailers {
        scrub_trailers(scrubber, trailers);
    }
    if coded || scrub.hits() > 0 {
        digests::remove(&mut parts.headers);
        trailers.iter_mut().for_each(digests::remove);
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(clean.len()));
    }
    if !echoed(scrubber) {
        lease.finish();
    }
    ending.bytes_in = clean.len() as u64;
    ending.complete();
    let body = ResponseBody::Whole(Box::new(Whole { data: Some(clean), trailers, ending: Some(ending) }));
    Ok(Response::from_parts(parts, body))
}

/// All of a coded body, or its beginning and what opens the rest where it is too long to be held.
fn unfold(mut opened: Opened, coded: Bytes) -> Result<(Bytes, Option<Opened>), CodingError> {
    opened.feed(coded);
    let mut pieces = Pieces::default();
    while let Some(more) = opened.portion()? {
        pieces.push(more);
        if pieces.len() as u64 > HELD {
            return Ok((pieces.whole(), Some(opened)));
        }
    }
    opened.finish()?;
    Ok((pieces.whole(), None))
}

fn bad_coding(e: &CodingError) -> String {
    format!("the upstream's response can't be read: {e}")
}

/// A connection that a key came back on holds it in its buffers: it does not serve again.
fn echoed(scrubber: &Scrubber) -> bool {
    scrubber.hits().any(|(_, n)| n > 0)
}

impl Stream {
    /// One that is passed on as it is.
    fn of(inner: Incoming, lease: Lease<RequestBody>, ending: Ending) -> Self {
        let (opened, first, read, scrub) = (None, Bytes::new(), None, None);
        Self { inner, opened, first, read, scrub, bodiless: false, sized: true, lease: Some(lease), ending }
    }

    fn body(mut self) -> ResponseBody {
        if self.is_over() {
            // hyper doesn't poll an empty body
            self.end();
        }
        ResponseBody::Stream(Box::new(self))
    }

    fn is_over(&self) -> bool {
        self.opened.is_none() && self.inner.is_end_stream()
    }

    /// The response has ended well: its connection is free again.
    fn end(&mut self) {
        self.ending.complete();
        let Some(mut lease) = self.lease.take() else { return };
        if self.scrub.as_ref().is_none_or(|(scrubber, ..)| !echoed(scrubber)) {
            lease.finish();
        }
    }

    /// A cut for the agent too, and never a clean end.
    fn broken(&mut self, why: String, e: pool::BoxError) -> Poll<Option<Result<Frame<Bytes>, pool::BoxError>>> {
        self.ending.broken(why);
        // whatever else the upstream says, it doesn't end well any more
        self.lease = None;
        Poll::Ready(Some(Err(e)))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, pool::BoxError>>> {
        loop {
            let frame = match self.unfolded() {
                Ok(Some(data)) => Frame::data(data),
                Ok(None) if self.read.is_some() => return self.last(),
                Ok(None) => match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                    Some(Ok(frame)) => match self.fold(frame) {
                        Some(frame) => frame,
                        None => continue,
                    },
                    Some(Err(e)) => {
                        let why = format!("the upstream broke off its response: {}", pool::chain(&e));
                        return self.broken(why, e.into());
                    }
                    None => return self.last(),
                },
                Err(e) => return self.broken(bad_coding(&e), e.into()),
            };
            if self.bodiless && self.scrub.is_some() && frame.data_ref().is_some_and(|data| !data.is_empty()) {
                let why = "the upstream sent a body behind a head that has no body";
                return self.broken(why.into(), why.into());
            }
            let frame = self.clean(frame);
            if self.is_over() {
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

    /// The next portion of what has been read of a coded body.
    fn unfolded(&mut self) -> Result<Option<Bytes>, CodingError> {
        if !self.first.is_empty() {
            return Ok(Some(std::mem::take(&mut self.first)));
        }
        self.opened.as_mut().map_or(Ok(None), Opened::portion)
    }

    /// Puts by a frame of a coded body; gives others back.
    fn fold(&mut self, frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        let Some(opened) = &mut self.opened else { return Some(frame) };
        match frame.into_data() {
            Ok(data) => opened.feed(data),
            Err(frame) => self.read = Some(frame.into_trailers().ok()),
        }
        None
    }

    /// The upstream's body has been read to its end.
    fn last(&mut self) -> Poll<Option<Result<Frame<Bytes>, pool::BoxError>>> {
        if let Some(opened) = &self.opened {
            if let Err(e) = opened.finish() {
                return self.broken(bad_coding(&e), e.into());
            }
            self.opened = None;
        }
        let trailers = self.read.as_mut().and_then(Option::take);
        let frame = trailers.map(|trailers| self.clean(Frame::trailers(trailers)));
        self.end();
        Poll::Ready(frame.map(Ok))
    }

    fn clean(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let Some((scrubber, body)) = &mut self.scrub else { return frame };
        match frame.into_data() {
            Ok(data) => Frame::data(body.push(data)),
            Err(frame) => {
                let mut trailers = frame.into_trailers().unwrap_or_default();
                scrub_trailers(scrubber, &mut trailers);
                digests::remove(&mut trailers);
                Frame::trailers(trailers)
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // hyper doesn't poll a body again once its declared length is out, and often not at all where the head rules it out
        if self.lease.is_some() && (self.bodiless || self.is_over()) {
            self.end();
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
            ResponseBody::Stream(stream) => stream.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Whole(whole) => SizeHint::with_exact(whole.data.as_ref().map_or(0, |d| d.len() as u64)),
            ResponseBody::Stream(stream) if stream.sized => stream.inner.size_hint(),
            ResponseBody::Stream(_) => SizeHint::default(),
        }
    }
}
