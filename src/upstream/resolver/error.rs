//! Why a name has no address now.

/// An error of a lookup, and who could not say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// It has none, or whoever was asked could not say.
    #[error("{0}")]
    Failed(String),
    /// Nobody has said in time.
    #[error("its name servers did not answer within {seconds} s")]
    Timeout {
        /// The limit.
        seconds: u64,
    },
}
