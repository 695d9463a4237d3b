//! A request's body as it comes, in which no field may stand for a method or path that its head wouldn't be let with.

use crate::policy::OverrideLimits;
use crate::policy::body_overrides::BodyOverrideScan;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pub(crate) struct LimitedBody {
    inner: Incoming,
    watch: Option<Box<BodyOverrideScan>>,
}

/// Why a body ends before its end.
pub(crate) enum Cut {
    /// The agent broke off.
    Gone(hyper::Error),
    /// What it has in it may not go on.
    Forbidden(String),
}

impl LimitedBody {
    pub fn new(inner: Incoming, limits: &OverrideLimits, headers: &HeaderMap) -> Result<Self, Cut> {
        let watch = BodyOverrideScan::new(limits, headers).map_err(Cut::Forbidden)?;
        Ok(Self { inner, watch: watch.map(Box::new) })
    }
}

/// The same for a body all of which is there.
pub(crate) fn check(body: &[u8], limits: &OverrideLimits, headers: &HeaderMap) -> Result<(), Cut> {
    let watch = BodyOverrideScan::new(limits, headers).map_err(Cut::Forbidden)?;
    match watch.and_then(|mut watch| watch.push(body)) {
        Some(by) => Err(forbidden(&by)),
        None => Ok(()),
    }
}

fn forbidden(by: &impl std::fmt::Display) -> Cut {
    Cut::Forbidden(format!("{by} may stand for another method or path than the request's; leave it out"))
}

impl Body for LimitedBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)) else { return Poll::Ready(None) };
        let frame = frame.map_err(Cut::Gone)?;
        if let (Some(watch), Some(data)) = (&mut self.watch, frame.data_ref())
            && let Some(by) = watch.push(data)
        {
            return Poll::Ready(Some(Err(forbidden(&by))));
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
