//! Modes of the config, of the state folder and of files with secrets; what killed processes left behind.

use super::finding::{DoctorArea, DoctorFinding};
use super::repair::Repair;
use super::subject::DoctorSubject;
use crate::cli::run::counted;
use crate::cli::{run_dir, running_service};
use crate::config::{ConfigLocation, Mistake};
use crate::disk::{self, shell_quoted};
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const AREA: DoctorArea = DoctorArea::Files;
/// A file is written in moments: what has been waiting longer than this to take its place was left.
const LEFT: Duration = Duration::from_secs(600);
/// Names that a finding shows of many.
const SHOWN: usize = 3;
/// How deep the state folder is looked into, and how many files of it are looked at.
const DEPTH: usize = 4;
const MOST: usize = 20_000;

/// Modes and leftovers.
pub fn find(subject: &DoctorSubject) -> Vec<DoctorFinding> {
    let state = &subject.settings.state;
    let mut found: Vec<DoctorFinding> =
        subject.mistakes.iter().filter_map(|mistake| too_open(mistake, state)).collect();
    found.extend(open_in_state(subject));
    found.extend(subject.secret_files().iter().filter_map(|(what, path)| secret_file(what, path)));
    found.extend(running_service::is_dead(state).then(|| dead_socket(state)));
    found.extend(drafts(subject));
    found.extend(run_folders());
    if found.is_empty() {
        found.push(DoctorFinding::ok(
            AREA,
            "config, state and files of secrets are closed to others, and nothing was left",
        ));
    }
    found
}

/// Whether a mistake is about the mode of the config or of the state folder, and what is found then.
pub fn too_open(mistake: &Mistake, state: &Path) -> Option<DoctorFinding> {
    let ConfigLocation::File(path) = &mistake.at else { return None };
    let bits = if **path == *state { 0o077 } else { 0o022 };
    let is_open = fs::metadata(path).is_ok_and(|meta| meta.mode() & bits != 0);
    is_open.then(|| {
        let finding = DoctorFinding::fault(AREA, format!("{} {}", path.display(), mistake.what), &*mistake.hint);
        finding.mended_by(Repair::Narrow { paths: vec![path.to_path_buf()], bits })
    })
}

/// What others could read or write below the state folder, were that not closed.
fn open_in_state(subject: &DoctorSubject) -> Option<DoctorFinding> {
    let (state, export) = (&subject.settings.state, subject.settings.ca.export.as_deref());
    let mut open = Vec::new();
    for (path, meta) in below(state) {
        if meta.mode() & 0o077 != 0 && Some(path.as_path()) != export {
            open.push(path);
        }
    }
    let first = open.first()?;
    let more = if open.len() > 1 { format!(" and {} more", open.len() - 1) } else { String::new() };
    let what = format!("{}{more} in the state folder: open to others (mode {:o})", first.display(), mode(first));
    let repair = Repair::Narrow { paths: open, bits: 0o077 };
    let next = format!("chmod -R go-rwx {}", shell_quoted(state));
    Some(DoctorFinding::warning(AREA, what, next).mended_by(repair))
}

/// Files and folders below one, as far as anybody would look; links and sockets are none.
fn below(folder: &Path) -> Vec<(PathBuf, Metadata)> {
    let mut found = Vec::new();
    let mut waiting = vec![(folder.to_path_buf(), 0)];
    while let Some((folder, depth)) = waiting.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if found.len() >= MOST || meta.is_symlink() || meta.file_type().is_socket() {
                continue;
            }
            if meta.is_dir() && depth < DEPTH {
                waiting.push((entry.path(), depth + 1));
            }
            found.push((entry.path(), meta));
        }
    }
    found
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).map_or(0, |meta| meta.mode() & 0o777)
}

/// A file of a secret is the user's, so its mode is for the user to change.
fn secret_file(what: &str, path: &Path) -> Option<DoctorFinding> {
    let mode = fs::metadata(path).ok()?.mode();
    let file = shell_quoted(path);
    if mode & 0o002 != 0 {
        let what = format!("every user of this machine can change {what} in {}", path.display());
        return Some(DoctorFinding::fault(AREA, what, format!("chmod o-rwx {file}")));
    }
    let what = format!("every user of this machine can read {what} in {}", path.display());
    (mode & 0o004 != 0).then(|| DoctorFinding::warning(AREA, what, format!("chmod o-r {file}")))
}

fn dead_socket(state: &Path) -> DoctorFinding {
    let what = format!("nobody serves {}: the service that made it was killed", state.join("control.sock").display());
    let repair = Repair::DeadSocket(state.into());
    DoctorFinding::warning(AREA, what, "'locum serve' replaces it, and 'locum doctor --fix' removes it")
        .mended_by(repair)
}

/// Files that were to take another's place, beside those of the state folder and the config.
fn drafts(subject: &DoctorSubject) -> Option<DoctorFinding> {
    let state = below(&subject.settings.state).into_iter().map(|(path, _)| path).filter(|path| disk::is_draft(path));
    let of_config = subject.settings.file.iter().filter_map(|file| disk::drafts(file).ok()).flatten();
    let is_left = |path: &PathBuf| {
        let written = fs::symlink_metadata(path).and_then(|meta| meta.modified());
        written.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > LEFT))
    };
    let left: Vec<PathBuf> = state.chain(of_config).filter(is_left).collect();
    let first = left.first()?;
    let what = format!(
        "{} left by a process that was killed while it wrote: {}",
        counted(left.len() as u64, "file"),
        first.display()
    );
    let repair = Repair::Drafts(left);
    Some(DoctorFinding::warning(AREA, what, "'locum doctor --fix' removes what was left").mended_by(repair))
}

fn run_folders() -> Option<DoctorFinding> {
    let left = run_dir::left();
    if left.is_empty() {
        return None;
    }
    let names: Vec<_> = left.iter().take(SHOWN).map(|path| path.display().to_string()).collect();
    let what = format!(
        "{} of 'locum run' left by commands that were killed: {}",
        counted(left.len() as u64, "folder"),
        names.join(", ")
    );
    let next = "the next 'locum run' removes what was left, and so does 'locum doctor --fix'";
    Some(DoctorFinding::warning(AREA, what, next).mended_by(Repair::RunFolders))
}
