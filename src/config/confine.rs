//! `[confine]`: what commands of `run --confine` see and may use beyond what is decided for everybody.

use super::reader::TableReader;
use std::path::PathBuf;

/// `[confine]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfineSettings {
    /// Files and folders that are not there for a command.
    pub hide: Vec<PathBuf>,
    /// Sockets that a command may use, though it goes past the proxy by them.
    pub allow_socket: Vec<PathBuf>,
    /// Folders that a command of `--read-only` may write to.
    pub allow_write: Vec<PathBuf>,
}

pub(super) fn confine(r: &mut TableReader<'_>) -> ConfineSettings {
    let mut paths = |name| r.paths(name).unwrap_or_default();
    ConfineSettings { hide: paths("hide"), allow_socket: paths("allow_socket"), allow_write: paths("allow_write") }
}
