//! An answer that is passed on as it comes, keys hidden on the way.

use super::answer::{UpstreamAnswer, bad_coding};
use super::head;
use super::portions::Portions;
use crate::proxy::wire::headers;
use crate::rewrite::coding::CodingError;
use crate::rewrite::scrub::{BodyScrub, Mask, MessageScrub, Scrubber};
use crate::upstream::pool;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

/// A body that is passed on piece by piece.
pub(crate) struct Stream {
    inner: Incoming,
    answer: UpstreamAnswer,
    /// What takes the body's coding off.
    opened: Option<Portions>,
    scrub: Scrub,
    /// What has come and has not been looked at.
    came: Option<StreamItem>,
    /// The upstream's body was read to its end, with these trailers.
    read: Option<Option<HeaderMap>>,
    phase: Phase,
    /// The head has no body, so what HTTP/2 may frame behind it is none. Where it is searched, only trailers pass.
    bodiless: bool,
    /// The body that goes out is as long as the one that comes in.
    is_sized: bool,
    /// Its length, where that was declared.
    declared: Option<u64>,
    is_error: bool,
}

/// How keys are taken out.
enum Scrub {
    /// No key is bound to the host; `Some` where, should one come to be, its answer could not be searched.
    Unsearched(Option<&'static str>),
    Text(BodyScrub),
    Messages(MessageScrub),
}

enum StreamItem {
    Data(Bytes),
    End(Option<HeaderMap>),
}

#[derive(PartialEq)]
enum Phase {
    Passing,
    /// All data has been passed on; these trailers have not.
    Trailers(HeaderMap),
    Over,
}

type Polled = Poll<Option<Result<Frame<Bytes>, pool::BoxError>>>;

impl Stream {
    /// One that is passed on as it is.
    pub(crate) fn new(inner: Incoming, answer: UpstreamAnswer) -> Self {
        let is_error = answer.outcome.status().is_some_and(|status| status >= 400);
        let declared = inner.size_hint().exact();
        Self {
            inner,
            answer,
            opened: None,
            scrub: Scrub::Unsearched(None),
            came: None,
            read: None,
            phase: Phase::Passing,
            bodiless: false,
            is_sized: true,
            declared,
            is_error,
        }
    }

    pub(crate) fn bodiless(mut self, bodiless: bool) -> Self {
        self.bodiless = bodiless;
        self
    }

    pub(crate) fn unsized_if(mut self, is_unsized: bool) -> Self {
        self.is_sized &= !is_unsized;
        self
    }

    pub(crate) fn opened(mut self, opened: Option<Portions>) -> Self {
        self.is_sized &= opened.is_none();
        self.opened = opened;
        self
    }

    /// Notes whether the body could be searched, should a key come to be bound to the host while it runs.
    pub(crate) fn coded_as(mut self, headers: &HeaderMap) -> Self {
        let coded = headers.contains_key(CONTENT_ENCODING) || headers::grpc(headers).is_some();
        self.scrub = Scrub::Unsearched(coded.then_some("its answer was begun in a coding that can't be taken off now"));
        self
    }

    /// Some of the body, and perhaps its trailers, have come already.
    pub(crate) fn begun(mut self, first: Bytes, trailers: Option<HeaderMap>) -> Self {
        (self.came, self.read) = (Some(StreamItem::Data(first)), trailers.map(Some));
        self
    }

    /// `framed` are gRPC's messages.
    pub(crate) fn scrubbed(mut self, scrubber: &Scrubber, framed: bool) -> Self {
        self.is_sized &= self.declared.is_some() || self.bodiless;
        self.scrub = match framed {
            true => Scrub::Messages(MessageScrub::new(scrubber)),
            false => Scrub::Text(scrubber.body(self.mask())),
        };
        self
    }

    fn mask(&self) -> Mask {
        if self.is_sized && self.declared.is_some() { Mask::SameLength } else { Mask::Placeholder }
    }

    /// Ends at once where nothing will come: hyper doesn't poll an empty body.
    pub fn checked(mut self) -> Self {
        if self.is_over() {
            self.end();
        }
        self
    }

    pub fn size_hint(&self) -> SizeHint {
        if self.is_sized { self.inner.size_hint() } else { SizeHint::default() }
    }

    pub fn is_over(&self) -> bool {
        let untouched = matches!(self.scrub, Scrub::Unsearched(_)) || self.bodiless;
        match self.phase {
            Phase::Over => true,
            Phase::Passing => untouched && self.came.is_none() && self.inner.is_end_stream(),
            Phase::Trailers(_) => false,
        }
    }

    /// All of a declared length has been passed on. What the upstream still sends is its end: over HTTP/2 in a frame of its
    /// own, perhaps with trailers.
    fn is_passed_on(&self) -> bool {
        self.is_sized && self.declared == Some(self.answer.outcome.bytes_in.load(Ordering::Relaxed))
    }

    /// The response has ended well: its connection is free again.
    fn end(&mut self) {
        self.phase = Phase::Over;
        self.answer.outcome.complete();
        self.answer.give_back();
    }

    /// A cut for the agent too, and never a clean end. What is held back stays so.
    fn broken(&mut self, why: String) -> Polled {
        self.answer.outcome.broken(why.clone());
        self.phase = Phase::Over;
        Poll::Ready(Some(Err(why.into())))
    }

    pub fn poll(&mut self, cx: &mut Context<'_>) -> Polled {
        loop {
            match std::mem::replace(&mut self.phase, Phase::Over) {
                Phase::Passing => self.phase = Phase::Passing,
                Phase::Trailers(trailers) => {
                    self.end();
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Phase::Over => return Poll::Ready(None),
            }
            if self.came.is_none() {
                self.came = match ready!(self.poll_next(cx)) {
                    Ok(came) => Some(came),
                    Err(why) => return self.broken(why),
                };
            }
            // what hides keys has to be of now, and not of when the stream began to wait
            let renewed = ready!(self.answer.scrubber.poll_renew(cx)).map_err(|fault| fault.to_string());
            match renewed.and_then(|changed| self.renew(changed)) {
                Ok(()) => {}
                Err(why) => return self.broken(why),
            }
            let passed = match self.came.take() {
                Some(StreamItem::Data(data)) => self.pass(data),
                Some(StreamItem::End(trailers)) => self.pass_end(trailers),
                None => Ok(Bytes::new()),
            };
            match passed {
                Ok(data) if data.is_empty() => {}
                Ok(data) => {
                    self.answer.outcome.bytes_in.fetch_add(data.len() as u64, Ordering::Relaxed);
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Err(why) => return self.broken(why),
            }
        }
    }

    /// The next of what the upstream sends, its coding taken off.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<StreamItem, String>> {
        loop {
            let opened = self.opened.as_mut().map_or(Ok(None), Portions::next);
            if let Some(data) = opened.map_err(|e| bad_coding(&e))? {
                return Poll::Ready(Ok(StreamItem::Data(data)));
            }
            let frame = match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(frame) => {
                    frame.map_err(|e| format!("the upstream broke off its response: {}", pool::chain(&e)))?
                }
                None => return Poll::Ready(Ok(StreamItem::End(self.read.take().flatten()))),
            };
            match (frame.into_data(), &mut self.opened) {
                (Ok(data), Some(opened)) => opened.feed(data),
                (Ok(data), None) => return Poll::Ready(Ok(StreamItem::Data(data))),
                (Err(frame), _) => self.read = Some(frame.into_trailers().ok()),
            }
        }
    }

    /// Goes on with what hides keys now.
    fn renew(&mut self, changed: bool) -> Result<(), String> {
        let (true, now) = (changed, self.answer.scrubber.scrubber()) else { return Ok(()) };
        let now = now.map(|scrubber| scrubber.of_error(self.is_error));
        match (&mut self.scrub, now) {
            (Scrub::Text(scrub), Some(now)) => scrub.renew(now),
            (Scrub::Messages(scrub), Some(now)) => scrub.renew(now),
            (Scrub::Unsearched(Some(why)), Some(_)) => {
                return Err(format!("a key is bound to the host now, and {why}"));
            }
            (Scrub::Unsearched(None), Some(now)) => self.scrub = Scrub::Text(now.body(self.mask())),
            // what was to be hidden goes on being so until the end
            (_, None) => {}
        }
        Ok(())
    }

    fn pass(&mut self, data: Bytes) -> Result<Bytes, String> {
        if self.bodiless && !data.is_empty() && !matches!(self.scrub, Scrub::Unsearched(_)) {
            return Err("the upstream sent a body behind a head that has no body".into());
        }
        // an HTTP/1.1 body of declared length isn't asked for its end once it is out
        let is_last = self.opened.is_none() && self.inner.is_end_stream();
        let passed = self.scrub.push(data)?;
        if !is_last {
            return Ok(passed);
        }
        let rest = self.scrub.finish();
        self.end();
        Ok(if rest.is_empty() { passed } else { [&passed[..], &rest].concat().into() })
    }

    fn pass_end(&mut self, mut trailers: Option<HeaderMap>) -> Result<Bytes, String> {
        let left = self.opened.take().map_or(Ok(Bytes::new()), |mut opened| opened.finish());
        let left = left.map_err(|e: CodingError| bad_coding(&e))?;
        let passed = self.scrub.push(left)?;
        let rest = self.scrub.finish();
        trailers.iter_mut().for_each(headers::response_trailers);
        if let (Some(trailers), Some(scrubber)) = (&mut trailers, self.answer.scrubber.scrubber()) {
            head::scrub_trailers(&scrubber.of_error(self.is_error), trailers);
        }
        match trailers {
            Some(trailers) => self.phase = Phase::Trailers(trailers),
            None => self.end(),
        }
        Ok(if rest.is_empty() { passed } else { [&passed[..], &rest].concat().into() })
    }
}

impl Scrub {
    fn push(&mut self, data: Bytes) -> Result<Bytes, String> {
        match self {
            Scrub::Unsearched(_) => Ok(data),
            Scrub::Text(scrub) => Ok(scrub.push(data)),
            Scrub::Messages(scrub) => {
                let mut out = Vec::with_capacity(data.len());
                scrub
                    .push(data, &mut out)
                    .map_err(|e| format!("the upstream's response can't be searched for keys: {e}"))?;
                Ok(out.into())
            }
        }
    }

    fn finish(&mut self) -> Bytes {
        match self {
            Scrub::Unsearched(_) => Bytes::new(),
            Scrub::Text(scrub) => scrub.finish(),
            Scrub::Messages(scrub) => scrub.finish(),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // hyper doesn't poll a body again once its declared length is out, and often not at all where the head rules it out
        let is_read = match self.phase {
            Phase::Passing => self.bodiless || self.is_over() || self.is_passed_on(),
            Phase::Trailers(_) => true,
            Phase::Over => false,
        };
        if is_read {
            self.end();
        }
    }
}
