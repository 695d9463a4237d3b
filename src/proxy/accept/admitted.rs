//! Whom a connection is from, once that is known.

use crate::policy::Agent;
use crate::policy::agent::TokenProof;
use std::sync::Arc;

/// Who asks, and from which process, where that is known.
#[derive(Clone)]
pub struct Admitted {
    /// The agent, as it was when it was asked about.
    pub agent: Arc<Agent>,
    /// What it is looked up by again.
    pub proof: TokenProof,
    /// Its process.
    pub pid: Option<u32>,
}
