//! What can go wrong with the CA.

use crate::name::Host;

/// What went wrong with the CA; the text says whose fault and what next.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CaError {
    #[error("{path}: {why}")]
    File { path: String, why: String },
    #[error("the CA in {0} has no private key beside its certificate")]
    NoKey(String),
    #[error("the CA can't be used: {0}")]
    Unfit(String),
    #[error("a certificate for {host} can't be made: {why}")]
    Mint { host: Host, why: String },
    #[error("a certificate for {0} can't be made: the CA's name constraints don't cover it")]
    NotCovered(Host),
}
