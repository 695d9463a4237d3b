//! Keys in files of their own, as Docker and Kubernetes mount them; read again once the file has changed.

use crate::disk::shell_quoted;
use crate::memory::Plaintext;
use crate::secrets::source::{Freshness, SecretSource, SourceError};
use crate::secrets::stores::private_file::stamp;
use crate::secrets::value::{self, MAX_VALUE};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// A file that holds the value alone.
pub struct FileSource {
    path: PathBuf,
}

impl FileSource {
    /// The file at `path`, which needn't be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn failed(&self, e: io::Error) -> SourceError {
        let next = match e.kind() {
            ErrorKind::PermissionDenied => {
                format!("let this user read it, or run as its owner ({})", self.path.display())
            }
            _ => "see that the path is right and the file can be read".to_owned(),
        };
        SourceError::new(format!("{} can't be read: {e}", self.describe()), next)
    }

    fn refuse_unsafe(&self, found: &Metadata) -> Result<(), SourceError> {
        if !found.is_file() {
            return Err(SourceError::new(
                format!("{} is no regular file", self.describe()),
                "name the file that holds the key",
            ));
        }
        if writable_by_all(found) {
            return Err(SourceError::new(
                format!("{} can be changed by every user", self.describe()),
                format!("chmod o-w {}", shell_quoted(&self.path)),
            ));
        }
        Ok(())
    }
}

impl SecretSource for FileSource {
    fn describe(&self) -> String {
        format!("file {}", self.path.display())
    }

    fn load(&self) -> Result<Option<Plaintext>, SourceError> {
        let mut file = match open(&self.path) {
            Ok(file) => file,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(e) => return Err(self.failed(e)),
        };
        let found = file.metadata().map_err(|e| self.failed(e))?;
        self.refuse_unsafe(&found)?;
        match read_whole(&mut file, found.len()).map_err(|e| self.failed(e))? {
            Some(raw) => value::clean(raw, &self.describe()),
            None => Err(value::too_long(&self.describe())),
        }
    }

    fn freshness(&self) -> Freshness {
        Freshness { stamp: stamp(&self.path), lifetime: None }
    }
}

/// Without waiting for a writer, should the path be a pipe.
fn open(path: &Path) -> io::Result<File> {
    let mut how = OpenOptions::new();
    how.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut how, libc::O_NONBLOCK | libc::O_NOCTTY);
    how.open(path)
}

/// `None` where it is longer than any value. The buffer never grows, so that the secret is in it alone.
fn read_whole(file: &mut File, expected: u64) -> io::Result<Option<Plaintext>> {
    // A value, its line end, and one byte that tells that there is more.
    let room = MAX_VALUE + 3;
    let room = usize::try_from(expected).map_or(room, |e| e.saturating_add(1).clamp(4096, room));
    let mut raw = Plaintext::new(vec![0; room]);
    let mut len = 0;
    while len < room {
        match file.read(&mut raw.bytes_mut()[len..]) {
            Ok(0) => {
                raw.truncate(len);
                return Ok(Some(raw));
            }
            Ok(n) => len += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(None)
}

#[cfg(unix)]
fn writable_by_all(found: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    found.mode() & 0o002 != 0
}

/// Windows keeps rights in lists that inherit from the user's folder; there is no mode to judge.
#[cfg(not(unix))]
fn writable_by_all(_: &Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn load(path: &Path) -> Result<Option<Vec<u8>>, SourceError> {
        FileSource::new(path).load().map(|v| v.map(|v| v.expose().to_vec()))
    }

    #[test]
    fn a_file_gives_its_line_and_a_missing_or_empty_one_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert_eq!(load(&path), Ok(None));
        assert_eq!(load(&path.join("below")), Ok(None));
        for (raw, value) in [("", None), ("\n", None), ("sk-1\n", Some("sk-1")), ("sk-2", Some("sk-2"))] {
            fs::write(&path, raw).unwrap();
            assert_eq!(load(&path), Ok(value.map(|v| v.as_bytes().to_vec())), "{raw:?}");
        }
    }

    #[test]
    fn the_longest_value_is_read_and_a_longer_one_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let mut raw = vec![b'a'; MAX_VALUE];
        raw.extend(b"\r\n");
        fs::write(&path, &raw).unwrap();
        assert_eq!(load(&path).unwrap().unwrap().len(), MAX_VALUE);
        for len in [MAX_VALUE + 1, MAX_VALUE + 3, 10 * MAX_VALUE] {
            fs::write(&path, vec![b'a'; len]).unwrap();
            assert!(load(&path).unwrap_err().what.contains("longer than 65536"), "{len}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_all_may_write_is_refused_with_the_line_that_helps() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a key");
        fs::write(&path, "sk-1").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o646)).unwrap();
        assert_eq!(load(&path).unwrap_err().next, format!("chmod o-w '{}'", path.display()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(load(&path).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn only_regular_files_are_read_and_a_pipe_blocks_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for path in [dir.path(), &fifo, Path::new("/dev/zero")] {
            assert!(load(path).unwrap_err().what.contains("no regular file"), "{}", path.display());
        }
    }

    #[test]
    fn the_stamp_follows_changes_even_of_the_same_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let source = FileSource::new(&path);
        let mut seen = vec![source.freshness().stamp];
        for text in ["sk-1", "sk-2", "sk-33"] {
            let new = dir.path().join("new");
            fs::write(&new, text).unwrap();
            fs::rename(&new, &path).unwrap();
            seen.push(source.freshness().stamp);
            assert_eq!(source.freshness().stamp, seen[seen.len() - 1]);
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(source.freshness().stamp, seen[0]);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 4);
    }
}
