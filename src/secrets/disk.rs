//! Files of our own: private, replaced whole, and looked at for changes. What is in them is not its business.

use super::SourceError;
use crate::memory::Opened;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// The whole of a file that only its owner may read; `None` where there is none.
pub(super) fn read_private(path: &Path, most: usize) -> Result<Option<Opened>, SourceError> {
    let failed = |e: io::Error| {
        SourceError::new(format!("{} can't be read: {e}", path.display()), "see whose file it is, and its folder")
    };
    let file = match File::open(path) {
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
    let mut bytes = Opened::new(vec![0; found.len() as usize]);
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
            format!("chmod 600 {}", shell_quoted(path)),
        ));
    }
    Ok(())
}

/// Windows keeps rights in lists that inherit from the user's folder; there is no mode to judge.
#[cfg(not(unix))]
fn refuse_shared(_: &Path, _: &fs::Metadata) -> Result<(), SourceError> {
    Ok(())
}

/// The old bytes or the new ones, whatever happens meanwhile. Only for one writer at a time.
pub(super) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = beside(path, ".new");
    let folder = make_folder(path)?;
    // One that a killed writer left.
    match fs::remove_file(&new) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let write = || {
        let mut file = private(OpenOptions::new().create_new(true).write(true)).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    if let Err(e) = write() {
        let _ = fs::remove_file(&new);
        return Err(e);
    }
    // Else a power cut could undo the rename. Windows can't open folders, and needs it not.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// The folder of `path`, made for its owner alone if it isn't there.
pub(super) fn make_folder(path: &Path) -> io::Result<&Path> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut how = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut how, 0o700);
    how.recursive(true).create(folder)?;
    Ok(folder)
}

/// For its owner alone from the first moment on.
pub(super) fn private(how: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(how, 0o600);
    how
}

pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

pub(super) fn unwritable(path: &Path, e: &io::Error) -> SourceError {
    let next = match e.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room on the disk; what was there before is whole",
        _ => "see that the folder can be written; what was there before is whole",
    };
    SourceError::new(format!("{} can't be written: {e}", path.display()), next)
}

/// A number that differs once the file was changed or replaced; the same for all that can't be found.
pub(super) fn stamp(path: &Path) -> u64 {
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

/// As one word of a shell line that the user can paste.
pub(super) fn shell_quoted(path: &Path) -> String {
    let path = path.to_string_lossy();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+,:@%".contains(&b);
    if !path.is_empty() && !path.starts_with('-') && path.bytes().all(plain) {
        return path.into_owned();
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_paths_are_one_word() {
        for (path, word) in [("/a/b.c", "/a/b.c"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("", "''"), ("$x", "'$x'")]
        {
            assert_eq!(shell_quoted(Path::new(path)), word);
        }
    }
}
