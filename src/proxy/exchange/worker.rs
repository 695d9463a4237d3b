//! The share of one thread: its connections to upstreams, and what it searches answers for.

use super::request_body::RequestBody;
use super::scrub_cache::ScrubCache;
use crate::proxy::Shared;
use crate::upstream::pool::Pool;
use std::sync::Arc;

/// What the connections of one thread share.
pub struct Worker {
    /// What the connections of all threads share.
    pub shared: Arc<Shared>,
    /// Kept connections to upstreams.
    pub pool: Arc<Pool<RequestBody>>,
    /// What answers are searched for.
    pub scrub_cache: ScrubCache,
}
