//! The CA's error.

use crate::name::Host;

/// An error of the CA; the text says whose fault and what next.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CaError {
    /// A file or store that can't be read or written, or holds something else.
    #[error("{path}: {why}")]
    File {
        /// The file or store.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file with the CA's key that others may read.
    #[error("others may read the CA's key in {path}")]
    Exposed {
        /// The file, as a shell takes it.
        path: String,
    },
    /// Certificates without the private key of one of them.
    #[error("the CA in {0} has no private key beside its certificate")]
    NoKey(String),
    /// Certificates that can't sign, or no randomness to make some.
    #[error("the CA can't be used: {0}")]
    Unfit(String),
    /// A leaf that can't be made.
    #[error("a certificate for {host} can't be made: {why}")]
    Mint {
        /// The host that was asked for.
        host: Host,
        /// What is wrong.
        why: String,
    },
    /// A host that clients wouldn't take a leaf of this CA for (RFC 5280, section 4.2.1.10).
    #[error("a certificate for {0} can't be made: the CA's name constraints don't cover it")]
    NotCovered(Host),
}
