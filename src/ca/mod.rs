//! locum's own certificate authority: a root, the intermediate that signs for it, and a certificate per host that is answered for.

pub mod authority;
pub mod constraints;
pub mod keep;
pub mod leaf;
pub mod rotation;

pub use authority::Authority;
pub use constraints::{Scope, Subtree};
pub use leaf::Leaves;
pub use rotation::{Authorities, Next};

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
    Mint { host: crate::name::Host, why: String },
    #[error("a certificate for {0} can't be made: the CA's name constraints don't cover it")]
    NotCovered(crate::name::Host),
}
