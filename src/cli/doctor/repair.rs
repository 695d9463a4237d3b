//! What `doctor --fix` does: to files of locum's own alone, and nothing that can't be seen from its line.

use crate::app::ControlSocket;
use crate::cli::run::counted;
use crate::cli::run_dir;
use crate::disk::shell_quoted;
use serde::{Serialize, Serializer};
use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Names that are shown; of more only how many there are.
const SHOWN: usize = 3;

/// One mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair {
    /// Takes these bits of their modes from files or folders.
    Narrow {
        /// Whose.
        paths: Vec<PathBuf>,
        /// `0o077` or `0o022`.
        bits: u32,
    },
    /// Takes away the control socket of a service that is no more.
    DeadSocket(PathBuf),
    /// Takes away what writers of files left that were killed.
    Drafts(Vec<PathBuf>),
    /// Takes away the folders of commands of `run` that were killed.
    RunFolders,
}

impl Repair {
    /// Does it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn make(&self) -> io::Result<()> {
        match self {
            Self::Narrow { paths, bits } => each(paths, |path| {
                let mode = fs::metadata(path)?.permissions().mode();
                fs::set_permissions(path, Permissions::from_mode(mode & 0o7777 & !bits))
            }),
            // who opens it finds that nobody serves it any more, and gives it back
            Self::DeadSocket(state) => ControlSocket::open(state).map(drop).map_err(io::Error::other),
            Self::Drafts(paths) => each(paths, |path| fs::remove_file(path)),
            Self::RunFolders => {
                run_dir::tidy();
                Ok(())
            }
        }
    }
}

/// Does it to each; what has gone meanwhile needs nothing.
fn each(paths: &[PathBuf], mend: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    paths.iter().try_for_each(|path| match mend(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    })
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |paths: &[PathBuf]| match paths {
            paths if paths.len() > SHOWN => counted(paths.len() as u64, "file"),
            paths => paths.iter().map(|p| shell_quoted(p)).collect::<Vec<_>>().join(" "),
        };
        match self {
            Self::Narrow { paths, bits } => {
                write!(f, "chmod {} {}", if *bits == 0o022 { "go-w" } else { "go-rwx" }, named(paths))
            }
            Self::DeadSocket(state) => write!(f, "rm {}", shell_quoted(&state.join("control.sock"))),
            Self::Drafts(paths) => write!(f, "rm {}", named(paths)),
            Self::RunFolders => f.write_str("removal of the folders that killed commands left"),
        }
    }
}

impl Serialize for Repair {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
