//! `locum key migrate --undo`: the values stand again where placeholders were put.

use super::placement::{Placed, Placements};
use super::scanned_file::{read_text, replace};
use crate::cli::administration::Administration;
use crate::cli::stores;
use crate::cli::term::{CliError, UNAVAILABLE};
use crate::config::key_scan::{self, ValueWriting};
use crate::config::settings::Settings;
use crate::memory::Plaintext;
use crate::name::KeyName;
use crate::secrets::{SecretBackends, entry_name};
use std::fs::Metadata;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A file that gets its values back.
struct UndoneFile<'f> {
    named: &'f Path,
    path: PathBuf,
    found: Metadata,
    text: String,
    parts: Vec<(Range<usize>, String)>,
    keys: Vec<String>,
}

/// Puts values back into `files`. All that could go wrong is looked at before anything is changed.
///
/// # Errors
/// When a file isn't as migrate left it, or a key is in no store any more.
pub fn undo(
    files: &[PathBuf],
    settings: &Settings,
    backends: &SecretBackends,
    admin: &mut Administration,
) -> anyhow::Result<ExitCode> {
    let placements = Placements::of(settings);
    let undone: Vec<UndoneFile> =
        files.iter().map(|named| prepared(named, &placements, settings, backends)).collect::<Result<_, _>>()?;
    for file in undone {
        let done = replace(&file.path, &file.found, &key_scan::replaced(&file.text, &file.parts)).map_err(|e| {
            CliError::failed(format!("{} can't be replaced: {e}", file.named.display()), "it is as it was")
        });
        admin.other("file", Some(format!("values back in {}", file.path.display())), done)?;
        placements.forget(&file.path)?;
        println!("{} has its values again: {}", file.named.display(), file.keys.join(", "));
    }
    println!("they are in the store as well: 'locum key remove NAME' takes one out of it");
    Ok(ExitCode::SUCCESS)
}

fn prepared<'f>(
    named: &'f Path,
    placements: &Placements,
    settings: &Settings,
    backends: &SecretBackends,
) -> anyhow::Result<UndoneFile<'f>> {
    let (path, found, text) = read_text(named)?;
    let shown = named.display();
    let placed = placements.in_file(&path, &found, &text)?.ok_or_else(|| {
        let next = "nothing has been changed; the name has to be that of the file as it was migrated";
        CliError::failed(format!("locum has moved nothing out of {shown}"), next)
    })?;
    if placed.is_empty() {
        let what = format!(
            "{shown} is not as locum left it, so a value could come to stand anywhere: its text, its owner or its mode has changed"
        );
        return Err(CliError::failed(
            what,
            "nothing has been changed; take the changes back, or write the values by hand",
        ));
    }
    let mut parts = Vec::with_capacity(placed.len());
    let mut keys = Vec::new();
    for (at, placed) in placed {
        parts.extend(placed.undone(&at, value_of(&placed, settings, backends)?));
        if !keys.contains(&placed.key) {
            keys.push(placed.key);
        }
    }
    Ok(UndoneFile { named, path, found, text, parts, keys })
}

/// The text that stood there, with the value that the key has now.
fn value_of(placed: &Placed, settings: &Settings, backends: &SecretBackends) -> anyhow::Result<String> {
    if let ValueWriting::Marker(word) = &placed.writing {
        return Ok(word.clone());
    }
    let gone = || CliError {
        what: format!("no store of this machine has '{}' any more", placed.key),
        next: "nothing has been changed; 'locum key set' gives it its value again".into(),
        code: UNAVAILABLE,
    };
    let name: KeyName = placed.key.parse().map_err(|_| gone())?;
    let value = stored(&name, settings, backends)?.ok_or_else(gone)?;
    let text = std::str::from_utf8(value.expose()).map_err(|_| gone())?;
    Ok(placed.writing.write(text))
}

fn stored(name: &KeyName, settings: &Settings, backends: &SecretBackends) -> anyhow::Result<Option<Plaintext>> {
    let setting = settings.keys.iter().find(|key| key.name == *name);
    let store = match setting.map(|setting| stores::named(setting, backends)).transpose()?.flatten() {
        Some(store) => Some(store),
        None => stores::holders(name, backends)?.into_iter().next(),
    };
    let value = store.map(|store| store.get(&entry_name(name))).transpose().map_err(|e| stores::unavailable(&e))?;
    Ok(value.flatten())
}
