//! A request's body as it comes, in which no field may stand for a method or path that its head wouldn't be let with.

use super::agent_body::AgentBody;
use crate::policy::OverrideLimits;
use crate::policy::body_overrides::BodyOverrideScan;
use crate::proxy::refusal::{Refusal, RefusalKind};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A body that is watched for fields which override the method or path.
pub(crate) struct LimitedBody {
    inner: AgentBody,
    watch: Option<Box<BodyOverrideScan>>,
}

impl LimitedBody {
    pub fn new(inner: AgentBody, limits: &OverrideLimits, headers: &HeaderMap) -> Result<Self, Refusal> {
        let watch = BodyOverrideScan::new(limits, headers).map_err(forbidden)?;
        Ok(Self { inner, watch: watch.map(Box::new) })
    }
}

/// The same for a body all of which is there.
pub(crate) fn check(body: &[u8], limits: &OverrideLimits, headers: &HeaderMap) -> Result<(), Refusal> {
    let watch = BodyOverrideScan::new(limits, headers).map_err(forbidden)?;
    match watch.and_then(|mut watch| watch.push(body)) {
        Some(by) => Err(overriding(&by)),
        None => Ok(()),
    }
}

fn overriding(by: &impl std::fmt::Display) -> Refusal {
    forbidden(format!("{by} may stand for another method or path than the request's; leave it out"))
}

fn forbidden(why: String) -> Refusal {
    Refusal::new(RefusalKind::BodyForbidden, why)
}

impl Body for LimitedBody {
    type Data = Bytes;
    type Error = Refusal;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)) else { return Poll::Ready(None) };
        let frame = frame?;
        if let (Some(watch), Some(data)) = (&mut self.watch, frame.data_ref())
            && let Some(by) = watch.push(data)
        {
            return Poll::Ready(Some(Err(overriding(&by))));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
