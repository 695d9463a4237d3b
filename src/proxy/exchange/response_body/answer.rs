//! An upstream's answer besides its bytes.

use crate::proxy::exchange::current_scrubber::CurrentScrubber;
use crate::proxy::exchange::outcome::ExchangeOutcome;
use crate::proxy::exchange::request_body::RequestBody;
use crate::rewrite::coding::CodingError;
use crate::upstream::pool::Lease;
use std::sync::Arc;

/// What belongs to an answer besides its bytes.
pub(crate) struct UpstreamAnswer {
    pub scrubber: CurrentScrubber,
    pub lease: Lease<RequestBody>,
    pub outcome: Arc<ExchangeOutcome>,
}

impl UpstreamAnswer {
    /// Frees the upstream's connection. One that a key came back on holds it in its buffers: it does not serve again.
    pub fn give_back(&mut self) {
        if self.scrubber.hits().is_empty() {
            self.lease.finish();
        }
    }
}

/// Why a coded answer can't be passed on.
pub(super) fn bad_coding(e: &CodingError) -> String {
    format!("the upstream's response can't be read: {e}")
}
