//! What else may have the old text of a file: copies that editors leave beside it, its history in git, and whoever could
//! read it.

use super::scanned_file::ScannedFile;
use crate::cli::term::shown;
use crate::disk::{folder, shell_quoted};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A larger one is no copy of a file of settings.
const MAX_COPY: u64 = 16 * 1024 * 1024;

/// All that is to be told of this file, a line each.
pub fn of(document: &ScannedFile) -> Vec<String> {
    let named = document.named.display();
    let mut told = Vec::new();
    for copy in copies(document) {
        told.push(format!("{} still has a key of {named}: migrate it or remove it", shown(&copy.to_string_lossy())));
    }
    if is_in_repository(&document.path) {
        let name = Path::new(document.path.file_name().unwrap_or_default());
        let see = format!("git -C {} log --all -p -- {}", shell_quoted(folder(&document.path)), shell_quoted(name));
        told.push(format!("the history of git has {named} as it was, if it was ever committed: {see}"));
    }
    let mode = document.found.mode() & 0o777;
    if mode & 0o044 != 0 {
        told.push(format!("other users of this machine could read {named} (mode {mode:04o})"));
    }
    told
}

/// Files beside it whose names hold its name, as those of editors' copies do, and that hold a value of its.
fn copies(document: &ScannedFile) -> Vec<PathBuf> {
    let values: Vec<memchr::memmem::Finder<'_>> = document
        .moved()
        .filter(|(_, found)| !found.value.is_empty())
        .map(|(_, found)| memchr::memmem::Finder::new(found.value.as_bytes()))
        .collect();
    let name = document.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Ok(entries) = fs::read_dir(folder(&document.path)) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    found.retain(|path| {
        let of_it = path.file_name().is_some_and(|other| other.to_string_lossy().contains(&name));
        let is_small = fs::symlink_metadata(path).is_ok_and(|m| m.is_file() && m.len() <= MAX_COPY);
        let holds = || fs::read(path).is_ok_and(|bytes| values.iter().any(|value| value.find(&bytes).is_some()));
        of_it && is_small && *path != document.path && holds()
    });
    found.sort();
    found
}

/// Whether the file is in a repository. Git is not asked whether it has it: a repository's own settings can have programs run, and
/// an agent may have written them.
fn is_in_repository(path: &Path) -> bool {
    path.ancestors().skip(1).any(|folder| fs::symlink_metadata(folder.join(".git")).is_ok())
}
