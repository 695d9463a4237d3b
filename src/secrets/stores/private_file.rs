//! Files of our own: private, and looked at for changes. What is in them is not its business.

use crate::disk::{self, Rights};
use crate::memory::Plaintext;
use crate::secrets::source::SourceError;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// The whole of a file that only its owner may read; `None` where there is none.
pub(crate) fn read_private(path: &Path, most: usize) -> Result<Option<Plaintext>, SourceError> {
    let failed = |e: io::Error| {
        SourceError::new(format!("{} can't be read: {e}", path.display()), "see whose file it is, and its folder")
    };
    let file = match disk::open_without_waiting(path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    let found = file.metadata().map_err(failed)?;
    refuse_shared(path, &found)?;
    if !found.is_file() || found.len() > most as u64 {
        return Err(SourceError::new(
            format!("{} is no file of locum's", path.display()),
            "see that the path is right",
        ));
    }
    let mut bytes = Plaintext::new(vec![0; found.len() as usize]);
    let mut file = file;
    file.read_exact(bytes.bytes_mut()).map_err(failed)?;
    Ok(Some(bytes))
}

#[cfg(unix)]
fn refuse_shared(path: &Path, found: &fs::Metadata) -> Result<(), SourceError> {
    use std::os::unix::fs::MetadataExt;
    if found.is_file() && found.mode() & 0o077 != 0 {
        return Err(SourceError::new(
            format!("{} is open to other users", path.display()),
            format!("chmod 600 {}", disk::shell_quoted(path)),
        ));
    }
    Ok(())
}

/// Windows keeps rights in lists that inherit from the user's folder; there is no mode to judge.
#[cfg(not(unix))]
fn refuse_shared(_: &Path, _: &fs::Metadata) -> Result<(), SourceError> {
    Ok(())
}

/// The old bytes or the new ones, for its owner alone; the folder is made if it isn't there.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    make_folder(path)?;
    disk::replace(path, bytes, Rights::Private)
}

/// The folder of `path`, for its owner alone.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    let mut how = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut how, 0o700);
    how.recursive(true).create(disk::folder(path))
}

/// The error of a file that can't be written.
pub(crate) fn unwritable(path: &Path, e: &io::Error) -> SourceError {
    let next = match e.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room on the disk; what was there before is whole",
        _ => "see that the folder can be written; what was there before is whole",
    };
    SourceError::new(format!("{} can't be written: {e}", path.display()), next)
}

/// A number that differs once the file was changed or replaced; the same for all that can't be found.
pub(crate) fn stamp(path: &Path) -> u64 {
    let Ok(found) = std::fs::metadata(path) else { return 0 };
    let mut hasher = DefaultHasher::new();
    found.len().hash(&mut hasher);
    found.modified().ok().hash(&mut hasher);
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        // The change time too: a copy may keep the old modification time.
        (found.dev(), found.ino(), found.mode(), found.ctime(), found.ctime_nsec()).hash(&mut hasher);
    }
    hasher.finish() | 1
}
