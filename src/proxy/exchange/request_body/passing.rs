//! A request's body that no key may go into.

use super::limited::LimitedBody;
use crate::proxy::exchange::authorization::Authorization;
use crate::proxy::exchange::outcome::BodyProgress;
use crate::proxy::refusal::Refusal;
use crate::rewrite::body::BodyRewriter;
use bytes::Bytes;
use http_body::{Body as _, Frame};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

/// Passed on as it comes; placeholders in it are counted and stay.
pub struct Passing {
    pub(super) inner: LimitedBody,
    pub(super) counter: BodyRewriter,
    pub(super) authorization: Arc<Authorization>,
    pub(super) progress: Arc<BodyProgress>,
}

impl Passing {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            Some(Ok(frame)) => {
                self.authorization.agent_holds()?;
                if let Some(data) = frame.data_ref() {
                    self.progress.bytes_out.fetch_add(data.len() as u64, Ordering::Relaxed);
                    self.count(data.clone());
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(cut)) => Poll::Ready(Some(Err(cut))),
            None => Poll::Ready(None),
        }
    }

    /// What has no key bound to it is only counted, and a count can't fail the request.
    fn count(&mut self, data: Bytes) {
        let _ = self.counter.push(data, &mut Vec::new());
        self.progress.kept.store(self.counter.kept(), Ordering::Relaxed);
    }
}
