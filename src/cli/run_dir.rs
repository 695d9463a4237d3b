//! The folder of what a command of `run` is given: gone when `run` ends, and where that was killed, when the next one starts.

use super::term;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

const PREFIX: &str = "locum-run-";
/// Locked for as long as its folder is in use: the system takes the lock away from whoever is gone.
const LOCK: &str = "in-use";

/// A folder that nobody else looks into, and that is removed in the end.
pub struct RunDir {
    dir: tempfile::TempDir,
    _lock: File,
}

impl RunDir {
    /// Makes one, and removes those that were left by others of this user that are no more.
    ///
    /// # Errors
    /// When it can't be made. What can't be tidied away stays.
    pub fn make() -> io::Result<Self> {
        tidy(&std::env::temp_dir());
        let dir = term::private_tempdir(PREFIX)?;
        let lock = File::create_new(dir.path().join(LOCK))?;
        lock.lock()?;
        Ok(Self { dir, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// A folder without a lock file is left alone: it is being made in this moment.
fn tidy(among: &Path) {
    let own = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(among).into_iter().flatten().flatten() {
        let is_of_a_run = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
        // not followed: a link of this name may lead anywhere
        let is_ours = || entry.metadata().is_ok_and(|m| m.is_dir() && m.uid() == own);
        if is_of_a_run && is_ours() && is_left(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_left(dir: &Path) -> bool {
    File::open(dir.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
}
