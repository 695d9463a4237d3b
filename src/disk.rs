//! Files replaced whole, turns of those who write them, and paths as a shell takes them. What is in a file, and whether it
//! may be read, its owner knows.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// The permissions of a file that is written anew.
#[derive(Debug, Clone, Copy)]
pub enum Rights<'a> {
    /// Its owner alone.
    Private,
    /// Everybody, whatever the umask says.
    Public,
    /// Those who could read this one, which it takes the place of; it has the same owner too.
    Of(&'a Metadata),
}

/// The old bytes or the new ones, whatever happens meanwhile. What is at `path` is replaced and not followed, and what is
/// written first has a name that nobody can have put a link at.
///
/// # Errors
/// When anything fails; then the old bytes are there.
pub fn replace(path: &Path, bytes: &[u8], rights: Rights) -> io::Result<()> {
    replace_if(path, bytes, rights, || Ok(()))
}

/// As [`replace`], unless `still` objects at the last moment.
///
/// # Errors
/// When anything fails, or `still` does.
pub fn replace_if(path: &Path, bytes: &[u8], rights: Rights, still: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let draft = draft(path, bytes, rights)?;
    draft.as_file().sync_all()?;
    still()?;
    draft.persist(path).map_err(|e| e.error)?;
    press(folder(path));
    Ok(())
}

/// Brings a folder to its disk; else a power cut could undo the rename. The new bytes are there whether or not it works:
/// some file systems don't do it for folders, and one that may not be read can't be opened for it.
fn press(folder: &Path) {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    // Windows can't open folders, and needs it not.
    if cfg!(unix)
        && let Err(e) = File::open(folder).and_then(|folder| folder.sync_all())
        && !matches!(e.kind(), InvalidInput | PermissionDenied | Unsupported)
    {
        tracing::warn!("{} was changed, which a power cut may undo: {e}", folder.display());
    }
}

/// As [`replace`], for what can be made again: readers find it whole, but a power cut may undo it.
///
/// # Errors
/// When anything fails; then the old bytes are there.
pub fn put(path: &Path, bytes: &[u8], rights: Rights) -> io::Result<()> {
    draft(path, bytes, rights)?.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// Takes away what writers of `path` left who were killed. Only for who knows that nobody writes it now.
///
/// # Errors
/// When the folder can't be read, or one of them can't be taken away.
pub fn sweep(path: &Path) -> io::Result<()> {
    drafts(path)?.iter().try_for_each(fs::remove_file)
}

/// What writers of `path` write at present, or left when they were killed.
///
/// # Errors
/// When the folder can't be read.
pub fn drafts(path: &Path) -> io::Result<Vec<PathBuf>> {
    let begin = draft_begin(path);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder(path))? {
        let entry = entry?;
        let name = entry.file_name();
        let rest = name.as_encoded_bytes().strip_prefix(begin.as_encoded_bytes());
        if rest.is_some_and(|rest| rest.ends_with(DRAFT_END.as_bytes())) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Whether its name is that of a file that is to take another's place: `.NAME.RANDOM.new`.
pub fn is_draft(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let middle =
        name.strip_prefix('.').and_then(|rest| rest.strip_suffix(DRAFT_END)).and_then(|rest| rest.rsplit_once('.'));
    middle.is_some_and(|(of, random)| {
        !of.is_empty() && random.len() == DRAFT_RANDOM && random.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

/// Letters that a draft's name has at random.
const DRAFT_RANDOM: usize = 6;
const DRAFT_END: &str = ".new";

fn draft_begin(path: &Path) -> OsString {
    let mut begin = OsString::from(".");
    begin.push(path.file_name().unwrap_or_default());
    begin.push(".");
    begin
}

/// The new bytes beside the old. Dropped, it is gone again.
fn draft(path: &Path, bytes: &[u8], rights: Rights) -> io::Result<NamedTempFile> {
    let begin = draft_begin(path);
    let draft =
        tempfile::Builder::new().prefix(&begin).suffix(DRAFT_END).rand_bytes(DRAFT_RANDOM).tempfile_in(folder(path));
    let mut draft = draft.map_err(unnamed)?;
    draft.write_all(bytes)?;
    rights.give(draft.as_file())?;
    Ok(draft)
}

/// The error as the system has it, without the draft's own name, which nobody has ever seen.
fn unnamed(e: io::Error) -> io::Error {
    let said = e.to_string();
    let kind = e.kind();
    said.split_once(" at path ").map_or(e, |(said, _)| io::Error::new(kind, said))
}

impl Rights<'_> {
    #[cfg(unix)]
    fn give(self, file: &File) -> io::Result<()> {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
        let mode = match self {
            Rights::Private => 0o600,
            Rights::Public => 0o644,
            Rights::Of(found) => {
                let own = file.metadata()?;
                if (own.uid(), own.gid()) != (found.uid(), found.gid()) {
                    fchown(file, Some(found.uid()), Some(found.gid()))?;
                }
                found.mode() & 0o7777
            }
        };
        file.set_permissions(fs::Permissions::from_mode(mode))
    }

    /// Windows keeps rights in lists that inherit from the folder.
    #[cfg(not(unix))]
    fn give(self, _: &File) -> io::Result<()> {
        Ok(())
    }
}

/// Held by whoever reads in order to write: of two, the second reads what the first wrote. `path` is a file for this alone.
///
/// # Errors
/// When it can't be made, or the system has no locks there.
pub fn turn(path: &Path) -> io::Result<File> {
    let mut how = OpenOptions::new();
    how.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut how, 0o600);
    let file = how.open(path)?;
    file.lock()?;
    Ok(file)
}

/// What `find` finds, else what `make` makes: made once, however many processes come at a time. `lock` is a file that they
/// share, and `locked` says what it means that it can't be had.
///
/// # Errors
/// When the lock can't be had, or `find` or `make` fails.
pub fn found_or_made<T, E>(
    lock: &Path,
    locked: impl FnOnce(io::Error) -> E,
    find: impl Fn() -> Result<Option<T>, E>,
    make: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    if let Some(found) = find()? {
        return Ok(found);
    }
    let _turn = turn(lock).map_err(locked)?;
    match find()? {
        Some(found) => Ok(found),
        None => make(),
    }
}

/// Opens a file to be read, and waits for nobody: a pipe that nobody writes to would otherwise hold up whoever opens it. What it
/// is, is for the caller to look at.
///
/// # Errors
/// When it can't be opened.
pub fn open_without_waiting(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// Opens a regular file to be read. A pipe or a device would hold up whoever reads it, or never end.
///
/// # Errors
/// When it can't be opened, or is something else.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let file = open_without_waiting(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no regular file")),
    }
}

/// The text of a regular file.
///
/// # Errors
/// As [`open_regular`], and when it can't be read or is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    io::read_to_string(open_regular(path)?)
}

/// The bytes of a regular file.
///
/// # Errors
/// As [`open_regular`], and when it can't be read.
pub fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The folder that `path` is in.
pub fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether files could be made in this folder, or it in one above it where it isn't there yet. Changes nothing.
///
/// # Errors
/// Why they couldn't.
pub fn writable(dir: &Path) -> io::Result<()> {
    use rustix::fs::{Access, access};
    let there = dir.ancestors().find(|above| above.symlink_metadata().is_ok()).unwrap_or(Path::new("."));
    if !there.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(access(there, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// As one word of a shell line that the user can paste.
pub fn shell_quoted(path: &Path) -> String {
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

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[cfg(unix)]
    #[test]
    fn a_replaced_file_has_the_rights_it_is_to_have() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        for (rights, given) in [(Rights::Private, 0o600), (Rights::Public, 0o644)] {
            replace(&path, b"one", rights).unwrap();
            assert_eq!(mode(), given);
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let found = fs::metadata(&path).unwrap();
        replace(&path, b"two", Rights::Of(&found)).unwrap();
        assert_eq!((mode(), fs::read(&path).unwrap()), (0o640, b"two".to_vec()));
        assert_eq!(names(dir.path()), ["file"]);
    }

    #[test]
    fn what_fails_leaves_the_old_bytes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        replace(&path, b"old", Rights::Private).unwrap();
        let objects = || Err(io::Error::other("it was changed meanwhile"));
        assert!(replace_if(&path, b"new", Rights::Private, objects).is_err());
        fs::create_dir(dir.path().join("folder")).unwrap();
        assert!(replace(&dir.path().join("folder"), b"new", Rights::Private).is_err());
        assert_eq!(
            (fs::read(&path).unwrap(), names(dir.path())),
            (b"old".to_vec(), vec!["file".into(), "folder".into()])
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join("file"), dir.path().join("victim"));
        fs::write(&victim, "victim").unwrap();
        for write in [replace, put] {
            let _ = fs::remove_file(&path);
            std::os::unix::fs::symlink(&victim, &path).unwrap();
            write(&path, b"new", Rights::Private).unwrap();
            assert_eq!(fs::read(&victim).unwrap(), b"victim");
            assert!(fs::symlink_metadata(&path).unwrap().is_file());
        }
    }

    #[test]
    fn what_killed_writers_left_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["file", ".file.x.new", ".file.y.new", ".files.z.new", ".file.new", "x.new"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let drafts = [".file.x1Y2z3.new", ".file.toml.x1Y2z3.new"];
        assert!(drafts.iter().all(|name| is_draft(Path::new(name))));
        assert!(names(dir.path()).iter().all(|name| !is_draft(Path::new(name))));
        sweep(&dir.path().join("file")).unwrap();
        assert_eq!(names(dir.path()), [".file.new", ".files.z.new", "file", "x.new"]);
    }

    #[test]
    fn turns_are_taken_one_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let (lock, count) = (dir.path().join("lock"), dir.path().join("count"));
        fs::write(&count, "0").unwrap();
        std::thread::scope(|s| {
            for _ in 0..8 {
                s.spawn(|| {
                    let _turn = turn(&lock).unwrap();
                    let n: u32 = fs::read_to_string(&count).unwrap().parse().unwrap();
                    replace(&count, (n + 1).to_string().as_bytes(), Rights::Private).unwrap();
                });
            }
        });
        assert_eq!(fs::read_to_string(&count).unwrap(), "8");
    }

    #[test]
    fn quoted_paths_are_one_word() {
        let words = [
            ("/a/b.c", "/a/b.c"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
            ("$x", "'$x'"),
            ("-r", "'-r'"),
        ];
        for (path, word) in words {
            assert_eq!(shell_quoted(Path::new(path)), word);
        }
    }
}
