//! The body that an agent sends. Of HTTP/2 it is read on for a little after nobody wants it any more, so that what is malformed
//! in it is still answered as that.

use crate::proxy::limits::{LINGER, STREAM_WINDOW};
use crate::proxy::refusal::Refusal;
use crate::proxy::wire::http2::{AWAITS_CONTINUE, Interims};
use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// A request's body as it comes.
pub(crate) struct AgentBody {
    /// `None` once it has been given away.
    inner: Option<Incoming>,
    is_http2: bool,
    /// A client that waits to be asked for it. Over HTTP/1.1 the library does that.
    awaits: Option<AwaitsContinue>,
}

/// A client's stream that waits for `100 Continue` (RFC 9110, section 10.1.1).
struct AwaitsContinue {
    stream: u32,
    interims: Arc<Interims>,
}

impl AgentBody {
    /// The body of a request over HTTP/1.1.
    pub fn of_http1(inner: Incoming) -> Self {
        Self { inner: Some(inner), is_http2: false, awaits: None }
    }

    /// A request over HTTP/2, with its body.
    pub fn of_http2(mut request: Request<Incoming>, interims: &Arc<Interims>) -> Request<Self> {
        let stream = request.headers_mut().remove(AWAITS_CONTINUE);
        let stream = stream.and_then(|stream| stream.to_str().ok()?.parse().ok());
        let awaits = stream.map(|stream| AwaitsContinue { stream, interims: interims.clone() });
        request.map(|inner| Self { inner: Some(inner), is_http2: true, awaits })
    }
}

impl Body for AgentBody {
    type Data = Bytes;
    type Error = Refusal;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let polled = Pin::new(inner).poll_frame(cx);
        if let Some(AwaitsContinue { stream, interims }) = self.awaits.take() {
            interims.go_on(stream);
        }
        Poll::Ready(ready!(polled).map(|frame| Ok(frame?)))
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
