//! The body that an agent sends. Of HTTP/2 it is read on for a little after nobody wants it any more, so that what is malformed
//! in it is still answered as that.

use crate::proxy::limits::{LINGER, STREAM_WINDOW};
use crate::proxy::refusal::Refusal;
use bytes::Bytes;
use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A request's body as it comes.
pub(crate) struct AgentBody {
    /// `None` once it has been given away.
    inner: Option<Incoming>,
    is_http2: bool,
}

impl AgentBody {
    /// The request, with its body.
    pub fn of(request: Request<Incoming>) -> Request<Self> {
        let is_http2 = request.version() == Version::HTTP_2;
        request.map(|inner| Self { inner: Some(inner), is_http2 })
    }
}

impl Body for AgentBody {
    type Data = Bytes;
    type Error = Refusal;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        Poll::Ready(ready!(Pin::new(inner).poll_frame(cx)).map(|frame| Ok(frame?)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for AgentBody {
    fn drop(&mut self) {
        let left = self.inner.take().filter(|inner| self.is_http2 && !inner.is_end_stream());
        // without a runtime the connection is gone too
        if let (Some(left), Ok(runtime)) = (left, tokio::runtime::Handle::try_current()) {
            runtime.spawn(linger(left));
        }
    }
}

/// Reads what was sent before the answer was there to be read. A stream that nobody reads is reset without an error once it is
/// answered (RFC 9113, section 8.1), and whatever comes on it then is ignored.
async fn linger(mut body: Incoming) {
    let read = async {
        let mut left = STREAM_WINDOW as usize;
        while let Some(Ok(frame)) = body.frame().await {
            left = match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(left) => left,
                None => return,
            };
        }
    };
    // whoever sends for longer has had the time to hear of it
    let _ = tokio::time::timeout(LINGER, read).await;
}
