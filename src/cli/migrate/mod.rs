//! `locum key migrate` and `locum key import`: keys that lie about in files or variables go into a store; and `--undo`.

mod diff;
mod import;
mod key_move;
mod keyring_marker;
mod placement;
mod report;
mod scanned_file;
mod traces;
mod undo;

pub use import::{import, import_one};
pub use undo::undo;

use crate::cli::administration::Administration;
use crate::cli::progress::ProgressLine;
use crate::cli::stores::{self, KeyStores};
use crate::cli::term::{self, CliError};
use crate::config::settings::Settings;
use key_move::{gather, is_stored};
use placement::Placements;
use scanned_file::ScannedFile;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Moves keys out of `files`. All that could go wrong is looked at before anything is changed.
pub fn migrate(
    files: &[PathBuf],
    dry_run: bool,
    settings: &Settings,
    stores: &KeyStores,
    admin: &mut Administration,
) -> anyhow::Result<ExitCode> {
    let mut documents = read(files, settings)?;
    // one that is named twice is one
    let mut seen = BTreeSet::new();
    documents.retain(|document| seen.insert(document.path.clone()));
    keyring_marker::resolve(&mut documents, stores.backends);
    let moving = gather(&documents, settings)?;
    let mut missing = Vec::new();
    for key in moving.values() {
        let store = stores.of(key.setting)?;
        if !is_stored(key, stores, &*store, "take that one out of the file")? {
            missing.push((key, store));
        }
    }
    if dry_run {
        for (key, store) in missing {
            println!("{} would go into the {}", key.setting.name, store.describe());
        }
        for document in &documents {
            print!("{}", diff::masked(document, settings));
        }
        return ended(&documents, moving.is_empty());
    }
    for (key, store) in missing {
        let name = &key.setting.name;
        let note = format!("from {} into the {}", key.first, store.describe());
        admin.key(name, Some(note), stores::put(&*store, name, key.value))?;
        admin.renewed(name);
        println!("{name} is in the {}", store.describe());
    }
    let placements = Placements::of(settings);
    for document in documents.iter().filter(|document| document.moved().next().is_some()) {
        let note = format!("placeholders in {}", document.path.display());
        admin.other("file", Some(note), document.rewrite(settings, &placements))?;
    }
    report::placed(&documents, settings);
    let ended = ended(&documents, moving.is_empty())?;
    report::traces(&documents);
    report::next(moving.values());
    Ok(ended)
}

/// Reads what is named, and says how far it is.
fn read(files: &[PathBuf], settings: &Settings) -> anyhow::Result<Vec<ScannedFile>> {
    let (read, all) = (Arc::new(AtomicUsize::new(0)), files.len());
    let progress = read.clone();
    let _line =
        ProgressLine::show(move || format!("looked through {} of {all} files", progress.load(Ordering::Relaxed)));
    let one = |path| ScannedFile::read(path, settings).inspect(|_| _ = read.fetch_add(1, Ordering::Relaxed));
    files.iter().map(|path| one(path)).collect()
}

/// Whether keys that locum knows lie open in a file, as far as it can be read.
pub fn has_keys(file: &Path, settings: &Settings) -> bool {
    ScannedFile::read(file, settings).is_ok_and(|document| document.moved().next().is_some())
}

/// Tells what stays, and whether that is all.
fn ended(documents: &[ScannedFile], has_moved_none: bool) -> anyhow::Result<ExitCode> {
    let count = report::staying(documents);
    if count > 0 {
        let (values, may) =
            if count == 1 { ("value", "that may be a key stays") } else { ("values", "that may be keys stay") };
        let error = CliError::failed(
            format!("{count} {values} {may} in clear text, each with its reason above"),
            "do what is said there, or keep the files where no agent reads them",
        );
        return Ok(term::report(&error));
    }
    if has_moved_none {
        let next =
            "it is known by its name, such as OPENAI_API_KEY: 'locum key set NAME --host HOST' makes others known";
        return Err(CliError::failed("no key that locum knows is in there, so nothing has been changed", next));
    }
    Ok(ExitCode::SUCCESS)
}
