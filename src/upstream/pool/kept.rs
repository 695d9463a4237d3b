//! How a pool counts the connections that it keeps.

use std::sync::Arc;

/// Counts a connection as one that the pool keeps, for as long as it is held.
pub(super) type Kept = Arc<()>;
