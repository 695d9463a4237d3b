//! The audit's error: why it can't be written or read, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An error of writing or reading the audit: always ours or the disk's fault, never the agent's.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuditError {
    /// The disk refused something.
    #[error("the audit can't {doing} {}: {source}", path.display())]
    Io {
        /// The verb that went wrong: `write to`.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: Arc<io::Error>,
    },
    /// Others than its owner may look into the folder.
    #[error("the audit's folder {} is open to others (mode {mode:03o})", path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// More is queued than may be.
    #[error("the audit has more waiting than it may hold; its disk is too slow or gone")]
    Overfull,
    /// It was closed.
    #[error("the audit is closed already")]
    Closed,
}

impl AuditError {
    /// Pairs an error of the system with what was being done.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AuditError {
        move |source| AuditError::Io { doing, path: path.to_owned(), source: Arc::new(source) }
    }

    /// Whether it only says that a file is gone: those that are too old are removed at any time, after they were listed too.
    pub(super) fn is_of_a_file_that_is_gone(&self) -> bool {
        matches!(self, AuditError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// What to do next, in one line.
    pub fn hint(&self) -> String {
        match self {
            AuditError::Io { path, source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                    format!("free some space for {}, or set [audit] dir to another disk", path.display())
                }
                io::ErrorKind::ReadOnlyFilesystem => {
                    format!("mount the disk of {} writable, or set [audit] dir to another", path.display())
                }
                io::ErrorKind::NotFound => format!("make the folder again: mkdir -p -m 700 {}", path.display()),
                io::ErrorKind::PermissionDenied => {
                    format!("let this user write there (see ls -ld {}), or set [audit] dir elsewhere", path.display())
                }
                _ => format!("see that {} can be written, or set [audit] dir elsewhere", path.display()),
            },
            AuditError::Open { path, .. } => format!("chmod 700 {}", path.display()),
            AuditError::Overfull => "wait, or set [audit] dir to a faster disk".into(),
            AuditError::Closed => "start locum again".into(),
        }
    }
}
