//! Settings of the audit's log.

use super::tidy::Retention;
use crate::audit::signature::HeadSigner;
use crate::system::operator::Operator;
use std::path::PathBuf;

/// The durability of a record before its exchange goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// In the kernel's hands: outlives us, not the machine.
    #[default]
    Write,
    /// On the disk: outlives a power cut.
    Fsync,
}

/// Settings of a log.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// The folder of its files.
    pub dir: PathBuf,
    /// How safe a record is before its exchange goes on.
    pub durability: Durability,
    /// A file that has reached this is followed by another.
    pub max_file_bytes: u64,
    /// Whether records of ordinary exchanges are written too.
    pub exchanges: bool,
    /// What the first record says of this process, such as its version.
    pub about: String,
    /// And what it begins to do.
    pub action: &'static str,
    /// Whose it is.
    pub by: Operator,
}

/// Upkeep of the audit beyond writing it.
#[derive(Debug, Default)]
pub struct LogUpkeep {
    /// Signs heads, so that a rewrite of whole files is found.
    pub signer: Option<HeadSigner>,
    /// How long files are kept.
    pub retention: Retention,
}
