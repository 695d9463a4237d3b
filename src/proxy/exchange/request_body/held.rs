//! A request's body that is all there.

use crate::name::KeyName;
use crate::proxy::exchange::authorization::BodyKeys;
use crate::proxy::exchange::outcome::BodyProgress;
use crate::proxy::recorder::RecordedUses;
use crate::proxy::refusal::Refusal;
use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use std::sync::Arc;

/// A body of known length that goes out in one piece.
#[derive(Default)]
pub struct Held {
    pub(super) data: Option<Bytes>,
    pub(super) trailers: Option<HeaderMap>,
    /// Where keys are in it.
    pub(super) used: Option<Box<Used>>,
}

/// The keys that are in a held body.
pub(super) struct Used {
    pub keys: BodyKeys,
    pub names: Vec<KeyName>,
    pub progress: Arc<BodyProgress>,
    /// Taken back where the body doesn't leave.
    pub recorded: Option<RecordedUses>,
}

impl Held {
    /// The same once more, where no key is in it: one leaves only once for each of its records.
    pub(super) fn replay(&self) -> Option<Self> {
        self.used.is_none().then(|| Self { data: self.data.clone(), trailers: self.trailers.clone(), used: None })
    }

    pub(super) fn next(&mut self) -> Option<Result<Frame<Bytes>, Refusal>> {
        let Some(data) = self.data.take() else { return self.trailers.take().map(|t| Ok(Frame::trailers(t))) };
        let Some(used) = self.used.take() else { return Some(Ok(Frame::data(data))) };
        let Used { keys, names, progress, recorded } = *used;
        let may_leave = keys.hold(&names).inspect_err(|fault| progress.set_fault(fault));
        if may_leave.is_ok() {
            recorded.into_iter().for_each(RecordedUses::may_have_left);
        }
        Some(may_leave.map(|()| Frame::data(data)))
    }
}
