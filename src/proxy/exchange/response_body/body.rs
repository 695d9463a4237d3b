//! The body that the agent gets.

use super::stream::Stream;
use super::whole::Whole;
use crate::upstream::pool::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

/// The body of an answer.
pub(crate) enum ResponseBody {
    /// Locum's own, or one that was held.
    Whole(Box<Whole>),
    Stream(Box<Stream>),
}

impl ResponseBody {
    pub fn answer(data: Bytes) -> Self {
        ResponseBody::Whole(Box::new(Whole { data: Some(data), ..Whole::default() }))
    }
}

impl From<Stream> for ResponseBody {
    fn from(stream: Stream) -> Self {
        ResponseBody::Stream(Box::new(stream.checked()))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            ResponseBody::Whole(whole) => Poll::Ready(whole.next().map(Ok)),
            ResponseBody::Stream(stream) => stream.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Whole(whole) => whole.is_over(),
            ResponseBody::Stream(stream) => stream.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Whole(whole) => SizeHint::with_exact(whole.len()),
            ResponseBody::Stream(stream) => stream.size_hint(),
        }
    }
}
