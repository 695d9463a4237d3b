//! The folder of what a command of `run` is given: gone when `run` ends, and where that was killed, when the next one starts.

use super::term;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

const PREFIX: &str = "locum-run-";
/// That of the file that everybody may read.
const SHARED_PREFIX: &str = "locum-ca-";
/// Locked for as long as its folder is in use: the system takes the lock away from whoever is gone.
const LOCK: &str = "in-use";
const TRIES: usize = 8;

/// A folder that nobody else looks into, and that is removed in the end.
pub struct RunDir {
    dir: tempfile::TempDir,
    _lock: File,
    /// A file that everybody may read, locked as well: root's apt reads certificates as a user of its own.
    shared: Option<NamedTempFile>,
    _among: Option<CommonFolder>,
}

/// That of all that this user runs, which goes with the last of it.
struct CommonFolder(PathBuf);

impl Drop for CommonFolder {
    fn drop(&mut self) {
        // it isn't removed while anything is in it
        let _ = fs::remove_dir(&self.0);
    }
}

impl RunDir {
    /// Makes one, and removes those that were left by others of this user that are no more.
    ///
    /// # Errors
    /// When it can't be made. What can't be tidied away stays.
    pub fn make() -> io::Result<Self> {
        tidy();
        Self::beside_others()
    }

    /// Makes one, and leaves all others alone.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn beside_others() -> io::Result<Self> {
        let (dir, among) = Self::folder()?;
        let lock = File::create_new(dir.path().join(LOCK))?;
        lock.lock()?;
        let shared = rustix::process::geteuid().is_root().then(shared_file).transpose()?;
        Ok(Self { dir, _lock: lock, shared, _among: among })
    }

    fn folder() -> io::Result<(tempfile::TempDir, Option<CommonFolder>)> {
        let mut made = tempfile::Builder::new();
        made.prefix(PREFIX).permissions(Permissions::from_mode(0o700));
        // whoever was the last in it may remove it in this moment
        for _ in 0..TRIES {
            let Some(folder) = common() else { break };
            match made.tempdir_in(&folder) {
                Ok(dir) => return Ok((dir, Some(CommonFolder(folder)))),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok((term::private_tempdir(PREFIX)?, None))
    }

    /// Where certificates may be put for others to read, where that is of use.
    pub fn shared(&self) -> Option<&Path> {
        self.shared.as_ref().map(NamedTempFile::path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

fn common_place() -> PathBuf {
    std::env::temp_dir().join(format!("locum-{}", rustix::process::geteuid().as_raw()))
}

/// The folder of all that this user runs, so that it can be hidden whole from a command that is confined: one run's files lead the
/// programs of another. `None` where somebody else has made it, who may keep us from it and from nothing more.
pub fn common() -> Option<PathBuf> {
    let folder = common_place();
    let _ = fs::DirBuilder::new().mode(0o700).create(&folder);
    let own = rustix::process::geteuid().as_raw();
    let metadata = fs::symlink_metadata(&folder).ok()?;
    (metadata.is_dir() && metadata.uid() == own && metadata.mode() & 0o077 == 0).then_some(folder)
}

fn shared_file() -> io::Result<NamedTempFile> {
    let file = tempfile::Builder::new().prefix(SHARED_PREFIX).suffix(".pem").tempfile()?;
    file.as_file().lock()?;
    fs::set_permissions(file.path(), Permissions::from_mode(0o644))?;
    Ok(file)
}

/// Removes what was left. What can't be removed stays.
pub fn tidy() {
    for path in left() {
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
}

/// What was left for what is passing by processes of this user that are no more.
pub fn left() -> Vec<PathBuf> {
    [std::env::temp_dir(), common_place()].iter().flat_map(|place| left_in(place)).collect()
}

/// A folder without a lock file is left out, and an empty file: it is being made in this moment.
fn left_in(among: &Path) -> Vec<PathBuf> {
    let own = rustix::process::geteuid().as_raw();
    let mut left = Vec::new();
    for entry in fs::read_dir(among).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_of_a_run = [PREFIX, SHARED_PREFIX].iter().any(|p| name.as_encoded_bytes().starts_with(p.as_bytes()));
        // not followed: a link of this name may lead anywhere
        let Some(metadata) = entry.metadata().ok().filter(|m| is_of_a_run && m.uid() == own) else { continue };
        let path = entry.path();
        let is_dead_file = || metadata.is_file() && metadata.len() > 0 && is_left(&path);
        if metadata.is_dir() && is_left(&path.join(LOCK)) || is_dead_file() {
            left.push(path);
        }
    }
    left
}

fn is_left(lock: &Path) -> bool {
    File::open(lock).is_ok_and(|lock| lock.try_lock().is_ok())
}
