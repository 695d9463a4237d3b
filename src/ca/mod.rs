//! locum's own certificate authority: one root, and a certificate per host that it answers for.

pub mod keep;
pub mod leaf;
pub mod root;

pub use leaf::Leaves;
pub use root::Root;

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
}
