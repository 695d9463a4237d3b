//! What may be sent once more: the copy of a request, kept only where one may be needed, and which connections it may go
//! over then.

use crate::upstream::UpstreamError;
use crate::upstream::error::Retry;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use std::fmt;
use std::time::Instant;

/// A body that may be there to be sent again.
pub trait Replay: Sized {
    /// The same from its beginning, where all of it is there and may leave a second time.
    fn replay(&self) -> Option<Self>;
}

impl Replay for Full<Bytes> {
    fn replay(&self) -> Option<Self> {
        Some(self.clone())
    }
}

/// How often a request is sent, the first time included. An origin that restarts refuses it with each connection that it
/// still had or was just taking in; one that refuses for ever costs this many connections, and records where there are keys.
const ATTEMPTS: u8 = 4;

/// Which time it is that a request is sent, and what came of those before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    /// From 1.
    number: u8,
    /// Only over a connection that was made after this: others may be as dead as the last, or refuse it as that did.
    pub newer_than: Option<Instant>,
    /// An earlier one may have been acted on.
    may_have_been_processed: bool,
}

impl Attempt {
    /// The first.
    pub const FIRST: Self = Self { number: 1, newer_than: None, may_have_been_processed: false };

    /// Whether another can follow where this one fails with `retry`.
    pub fn may_follow(self, retry: Retry, method: &Method) -> bool {
        self.number < ATTEMPTS && retry.allows(method, self.may_have_been_processed)
    }

    /// The one after it, which failed with `retry` over a connection that was made no later than `made`.
    pub fn next(self, retry: Retry, made: Instant) -> Self {
        Self {
            number: self.number + 1,
            newer_than: Some(made),
            may_have_been_processed: self.may_have_been_processed || retry == Retry::Idempotent,
        }
    }
}

/// A request that was sent, got no answer and may be sent once more.
pub struct Unanswered<B> {
    pub(super) request: Request<B>,
    pub(super) attempt: Attempt,
}

impl<B> Unanswered<B> {
    /// Which attempt the next is, from 2.
    pub fn attempt(&self) -> u8 {
        self.attempt.number
    }
}

/// Why there was no response, and what may be sent once more where anything may.
pub struct SendError<B> {
    /// Why.
    pub error: UpstreamError,
    /// By [`Pool::send_again`](super::Pool::send_again).
    pub unanswered: Option<Box<Unanswered<B>>>,
}

impl<B> fmt::Debug for SendError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<B> From<UpstreamError> for SendError<B> {
    fn from(error: UpstreamError) -> Self {
        Self { error, unanswered: None }
    }
}

/// The same request again, where its body is there twice.
pub(super) fn copy<B: Replay>(request: &Request<B>) -> Option<Box<Request<B>>> {
    let mut copy = Box::new(Request::new(request.body().replay()?));
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy.extensions_mut().clone_from(request.extensions());
    Some(copy)
}
