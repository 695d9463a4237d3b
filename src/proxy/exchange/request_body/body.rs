//! A request's body on its way to the upstream.

use super::held::Held;
use super::passing::Passing;
use super::rewriting::Rewriting;
use crate::proxy::exchange::outcome::BodyProgress;
use crate::proxy::limits::CONTINUE_TIMEOUT;
use crate::proxy::recorder::RecordedUses;
use crate::proxy::refusal::{Refusal, RefusalKind};
use crate::upstream::pool::Replay;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use tokio::sync::Notify;

/// The body of a request on its way to the upstream.
pub enum RequestBody {
    /// One that is all there.
    Held(Held),
    /// One that no key may go into.
    Passing(Box<Passing>),
    /// One that keys are written into while it streams.
    Rewriting(Box<Rewriting>),
    /// One of them, once the upstream wants it.
    Expecting(Box<Expecting>),
}

/// The client waits for the upstream's word before it sends its body (RFC 9110, section 10.1.1), so we wait as well.
pub struct Expecting {
    /// Whether the body is to be sent.
    word: Pin<Box<dyn Future<Output = bool> + Send>>,
    body: RequestBody,
}

impl RequestBody {
    /// Holds back until the upstream's 100, which `go` tells of, or for as long as it may take to send one. After a
    /// final status it never goes.
    pub(crate) fn expecting(self, progress: Arc<BodyProgress>) -> (Self, Arc<Notify>) {
        let go = Arc::new(Notify::new());
        let told = go.clone();
        let word = Box::pin(async move {
            if tokio::time::timeout(CONTINUE_TIMEOUT, told.notified()).await.is_ok()
                || !progress.answered.load(Ordering::Acquire)
            {
                return true;
            }
            progress.over.notified().await;
            false
        });
        (RequestBody::Expecting(Box::new(Expecting { word, body: self })), go)
    }

    /// Tells whoever waits for the answer why there is none; where nobody does, the audit alone.
    fn note(&self, fault: &Refusal) {
        let (authorization, progress) = match self {
            RequestBody::Held(_) | RequestBody::Expecting(_) => return,
            RequestBody::Passing(passing) => (&passing.authorization, &passing.progress),
            RequestBody::Rewriting(rewriting) => (rewriting.authorization(), &rewriting.progress),
        };
        progress.set_fault(fault);
        if progress.ended.load(Ordering::Acquire) {
            authorization.record(fault);
        }
    }

    /// Takes the recorded uses of keys in a body that is held.
    pub(crate) fn carry(&mut self, recorded: RecordedUses) {
        if let RequestBody::Held(Held { used: Some(used), .. }) = self {
            used.recorded = Some(recorded);
        }
    }

    /// Whether it is all there.
    pub fn is_held(&self) -> bool {
        matches!(self, RequestBody::Held(_))
    }
}

impl Replay for RequestBody {
    fn replay(&self) -> Option<Self> {
        match self {
            RequestBody::Held(held) => held.replay().map(RequestBody::Held),
            RequestBody::Passing(_) | RequestBody::Rewriting(_) | RequestBody::Expecting(_) => None,
        }
    }
}

impl Expecting {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<RequestBody, Refusal>> {
        let wanted = ready!(self.word.as_mut().poll(cx));
        let body = std::mem::replace(&mut self.body, RequestBody::Held(Held::default()));
        let unwanted = || {
            let why = "the upstream answered before the body, which was not sent then";
            Refusal::new(RefusalKind::BrokenOff, why)
        };
        Poll::Ready(if wanted { Ok(body) } else { Err(unwanted()) })
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Refusal;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        if let RequestBody::Expecting(expecting) = &mut *self {
            let body = ready!(expecting.poll(cx))?;
            *self = body;
        }
        let polled = match &mut *self {
            RequestBody::Expecting(_) => Poll::Ready(None),
            RequestBody::Held(held) => Poll::Ready(held.next()),
            RequestBody::Passing(passing) => passing.poll(cx),
            RequestBody::Rewriting(rewriting) => rewriting.poll(cx),
        };
        let polled = ready!(polled);
        if let Some(Err(fault)) = &polled {
            self.note(fault);
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Held(held) => held.data.is_none() && held.trailers.is_none(),
            RequestBody::Passing(passing) => passing.inner.is_end_stream(),
            RequestBody::Rewriting(_) => false,
            RequestBody::Expecting(expecting) => expecting.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Held(held) => SizeHint::with_exact(held.data.as_ref().map_or(0, |d| d.len() as u64)),
            RequestBody::Passing(passing) => passing.inner.size_hint(),
            RequestBody::Rewriting(_) => SizeHint::default(),
            RequestBody::Expecting(expecting) => expecting.body.size_hint(),
        }
    }
}
