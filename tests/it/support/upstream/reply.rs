//! The body of an upstream's answer: whole, in pieces, cut, or in the hands of the test.

use crate::support::pattern;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;

enum Step {
    Frame(Frame<Bytes>),
    Cut,
}

/// The body of an answer, in the hands of the test. It ends when this is dropped.
pub struct Feed(mpsc::UnboundedSender<Step>);

impl Feed {
    pub fn send(&self, bytes: impl Into<Bytes>) {
        let _ = self.0.send(Step::Frame(Frame::data(bytes.into())));
    }

    pub fn trailers(self, trailers: HeaderMap) {
        let _ = self.0.send(Step::Frame(Frame::trailers(trailers)));
    }

    /// Breaks off: no proper end will come.
    pub fn cut(self) {
        let _ = self.0.send(Step::Cut);
    }

    /// Resolves once nobody reads it any more.
    pub async fn abandoned(&self) {
        self.0.closed().await;
    }
}

/// How a body that is there as a whole goes out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// With its length.
    Sized,
    /// In pieces, without one.
    Streamed,
    /// In pieces, with its digest in a trailer.
    WithTrailers,
}

/// The body of an answer.
pub struct Reply {
    source: Source,
}

enum Source {
    Whole {
        bytes: Bytes,
        shape: Shape,
        trailers: Option<HeaderMap>,
    },
    Pattern {
        at: u64,
        total: u64,
    },
    /// Some bytes, a moment for them to leave, and no more.
    Cut(Option<Bytes>, bool),
    Fed(mpsc::UnboundedReceiver<Step>),
    /// The request's own body, frame by frame as it comes.
    Mirror(Incoming),
}

impl Reply {
    pub fn empty() -> Self {
        Self::of(String::new(), Shape::Sized)
    }

    pub fn of(text: String, shape: Shape) -> Self {
        let mut trailers = HeaderMap::new();
        if shape == Shape::WithTrailers {
            trailers.insert("x-checksum", pattern::sha256(text.as_bytes()).parse().expect("a value"));
        }
        let trailers = (!trailers.is_empty()).then_some(trailers);
        Self { source: Source::Whole { bytes: text.into(), shape, trailers } }
    }

    pub fn pattern(total: u64) -> Self {
        Self { source: Source::Pattern { at: 0, total } }
    }

    pub fn cut(first: Bytes) -> Self {
        Self { source: Source::Cut(Some(first), false) }
    }

    /// One that the test feeds.
    pub fn fed() -> (Feed, Self) {
        let (feed, steps) = mpsc::unbounded_channel();
        (Feed(feed), Self { source: Source::Fed(steps) })
    }

    /// What the request brings, as it comes.
    pub fn mirror(body: Incoming) -> Self {
        Self { source: Source::Mirror(body) }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let broken = || Poll::Ready(Some(Err(io::Error::other("cut by the test"))));
        match &mut self.source {
            Source::Whole { bytes, shape: Shape::Sized, .. } if !bytes.is_empty() => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes)))))
            }
            Source::Whole { bytes, .. } if !bytes.is_empty() => {
                let piece = bytes.split_to(bytes.len().min(100));
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Source::Whole { trailers, .. } => Poll::Ready(trailers.take().map(|t| Ok(Frame::trailers(t)))),
            Source::Pattern { at, total } if at == total => Poll::Ready(None),
            Source::Pattern { at, total } => {
                let bytes = pattern::chunk(*at, *total);
                *at += bytes.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Source::Cut(first, waited) => match (first.take(), std::mem::replace(waited, true)) {
                (Some(first), _) => {
                    *waited = false;
                    Poll::Ready(Some(Ok(Frame::data(first))))
                }
                (None, true) => broken(),
                (None, false) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            },
            Source::Fed(steps) => match ready!(steps.poll_recv(cx)) {
                Some(Step::Frame(frame)) => Poll::Ready(Some(Ok(frame))),
                Some(Step::Cut) => broken(),
                None => Poll::Ready(None),
            },
            Source::Mirror(body) => Pin::new(body).poll_frame(cx).map_err(io::Error::other),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.source, Source::Whole { bytes, trailers: None, .. } if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole { bytes, shape: Shape::Sized, .. } => SizeHint::with_exact(bytes.len() as u64),
            Source::Pattern { at, total } => SizeHint::with_exact(total - at),
            _ => SizeHint::default(),
        }
    }
}
