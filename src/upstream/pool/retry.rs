//! What may be sent once more: the copy of a request, kept only where one may be needed, and which connections it may go
//! over then.

use crate::upstream::UpstreamError;
use bytes::Bytes;
use http::Request;
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

/// A request that was sent, got no answer and may be sent once more.
pub struct Unanswered<B> {
    pub(super) request: Request<B>,
    /// Only over a connection that was made after this: others may be as dead as the first, or refuse it as that did.
    pub(super) newer_than: Instant,
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
