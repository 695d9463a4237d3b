//! A file that says where keys go, read where nobody but its user could have written it. What is in it is not its business.

use super::mistake::{ConfigLocation, Mistake};
use crate::disk;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The largest that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// The text of the file; none where there is none to read, which is a mistake only if the user named it.
pub(super) fn read(path: &Path, named: bool, instead: &str, mistakes: &mut Vec<Mistake>) -> Option<String> {
    let at = || ConfigLocation::File(path.into());
    let mut read = || -> io::Result<Vec<u8>> {
        let file = disk::open_regular(path)?;
        let meta = file.metadata()?;
        of_another(path, &file, &meta, mistakes);
        too_open(path, &meta, 0o022, "go-w", "is writable by others, who could send your keys away", mistakes);
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = match read() {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound && !named => return None,
        Err(e) => {
            mistakes.push(Mistake::new(at(), format!("can't be read: {e}"), instead));
            return None;
        }
    };
    if bytes.len() as u64 > MAX_FILE {
        mistakes.push(Mistake::new(
            at(),
            "is larger than 1 MiB",
            "a config has a few hundred lines; is it the right file?",
        ));
        return None;
    }
    String::from_utf8(bytes).map_err(|_| mistakes.push(Mistake::new(at(), "is not UTF-8", "save it as UTF-8"))).ok()
}

/// The rule of ssh for its config: it belongs to us or to root. Where it is mounted read-only, as containers have it, nobody here
/// can write it, whoever its number belongs to outside.
#[cfg(unix)]
fn of_another(path: &Path, file: &File, meta: &std::fs::Metadata, mistakes: &mut Vec<Mistake>) {
    use rustix::fs::{StatVfsMountFlags, fstatvfs};
    use std::os::unix::fs::MetadataExt;
    let (owner, own) = (meta.uid(), rustix::process::geteuid());
    let is_fixed = || fstatvfs(file).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::RDONLY));
    if owner == 0 || owner == own.as_raw() || is_fixed() {
        return;
    }
    let what = format!("belongs to another user (uid {owner}), who could send your keys away");
    let sudo = if own.is_root() { "" } else { "sudo " };
    let hint = format!("run: {sudo}chown {} {}", own.as_raw(), disk::shell_quoted(path));
    mistakes.push(Mistake::new(ConfigLocation::File(path.into()), what, hint));
}

/// Elsewhere files have no such owner.
#[cfg(not(unix))]
fn of_another(_: &Path, _: &File, _: &std::fs::Metadata, _: &mut Vec<Mistake>) {}

/// Notes a mode with any of these bits, and what takes them away.
#[cfg(unix)]
pub(super) fn too_open(
    path: &Path,
    meta: &std::fs::Metadata,
    bits: u32,
    take: &str,
    what: &str,
    mistakes: &mut Vec<Mistake>,
) {
    use std::os::unix::fs::MetadataExt;
    if meta.mode() & bits != 0 {
        mistakes.push(Mistake::new(
            ConfigLocation::File(path.into()),
            what,
            format!("run: chmod {take} {}", disk::shell_quoted(path)),
        ));
    }
}

/// Elsewhere permissions aren't modes, and the folders of a user are closed to others as they are made.
#[cfg(not(unix))]
pub(super) fn too_open(_: &Path, _: &std::fs::Metadata, _: u32, _: &str, _: &str, _: &mut Vec<Mistake>) {}
