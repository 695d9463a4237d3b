//! An answer's body that is all there.

use crate::proxy::exchange::outcome::ExchangeOutcome;
use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use std::sync::Arc;

/// A body in one piece, and what is told once it has been passed on.
#[derive(Default)]
pub(crate) struct Whole {
    pub(super) data: Option<Bytes>,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) outcome: Option<Arc<ExchangeOutcome>>,
}

impl Whole {
    pub(super) fn next(&mut self) -> Option<Frame<Bytes>> {
        if let Some(data) = self.data.take().filter(|d| !d.is_empty()) {
            return Some(Frame::data(data));
        }
        self.outcome = None;
        self.trailers.take().map(Frame::trailers)
    }

    pub(super) fn is_over(&self) -> bool {
        self.len() == 0 && self.trailers.is_none()
    }

    /// Bytes that have not been passed on.
    pub(super) fn len(&self) -> u64 {
        self.data.as_ref().map_or(0, |d| d.len() as u64)
    }
}
