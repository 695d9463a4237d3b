//! A file of settings as it was read, what was found in it, and how it is replaced.

use super::placement::{Placed, PlacedAt, Placements};
use crate::cli::term::CliError;
use crate::config::key_scan::{self, FoundValue, KeyScan, ValueVerdict};
use crate::config::settings::Settings;
use crate::disk::{self, Rights};
use std::fs::{self, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A larger file is no file of settings.
const MAX_FILE: u64 = 1024 * 1024;

/// A file as it was read, and what is to be changed in it.
pub struct ScannedFile {
    /// As it was named, for messages.
    pub named: PathBuf,
    /// Without links.
    pub path: PathBuf,
    pub found: Metadata,
    pub text: String,
    pub scan: KeyScan,
}

impl ScannedFile {
    /// Reads the file and finds what is in it.
    ///
    /// # Errors
    /// When it can't be read or replaced, or is no text.
    pub fn read(named: &Path, settings: &Settings) -> anyhow::Result<Self> {
        let (path, found, text) = read_text(named)?;
        let mut scan = key_scan::find(named, &text, &settings.keys);
        scan.values.retain(|value| !is_shown(value.value.as_bytes(), settings));
        Ok(Self { named: named.into(), path, found, text, scan })
    }

    /// What is moved, each with the number of its key.
    pub fn moved(&self) -> impl Iterator<Item = (usize, &FoundValue)> {
        self.scan.values.iter().filter_map(|value| match value.verdict {
            ValueVerdict::Key(of) | ValueVerdict::InKeyring { of, .. } => Some((of, value)),
            ValueVerdict::Stays(_) => None,
        })
    }

    /// As messages name the place of a value.
    pub fn place(&self, value: &FoundValue) -> String {
        format!("{}:{}", self.named.display(), value.line)
    }

    /// What takes the place of each value that is moved.
    pub fn placed(&self, settings: &Settings) -> Vec<PlacedAt> {
        let with = |(of, value): (usize, &FoundValue)| {
            let setting = settings.keys.get(of)?;
            let text = value.writing.write_placeholder(&setting.rule.shown_placeholder());
            let placed = Placed::new(setting.name.to_string(), text, value.writing.clone(), value.quotes);
            Some((value.at.clone(), placed))
        };
        self.moved().filter_map(with).collect()
    }

    /// Leaves placeholders where keys were, once it is noted what has to be known to undo it. All else stays byte for byte,
    /// and mode and owner as they were.
    ///
    /// # Errors
    /// When it can't be replaced; then it is as it was.
    pub fn rewrite(&self, settings: &Settings, placements: &Placements) -> anyhow::Result<()> {
        let placed = self.placed(settings);
        let edits: Vec<_> = placed.iter().flat_map(|(at, placed)| placed.edits(at)).collect();
        let after = key_scan::replaced(&self.text, &edits);
        placements.add(&self.path, &self.found, &self.text, &after, placed)?;
        replace(&self.path, &self.found, &after).map_err(|e| {
            let what = format!("{} can't be replaced: {e}", self.named.display());
            CliError::failed(what, "it is as it was, and its keys are in the store; run the same command again")
        })
    }
}

/// The path without links, and what is there.
///
/// # Errors
/// When it can't be read or replaced, or is no text.
pub fn read_text(named: &Path) -> anyhow::Result<(PathBuf, Metadata, String)> {
    let failed = |why: String| {
        CliError::failed(
            format!("{}: {why}", named.display()),
            "nothing has been changed; mend that, or leave this file out",
        )
    };
    let path = named.canonicalize().map_err(|e| failed(e.to_string()))?;
    let mut file = disk::open_without_waiting(&path).map_err(|e| failed(e.to_string()))?;
    let found = file.metadata().map_err(|e| failed(e.to_string()))?;
    if !found.is_file() {
        return Err(failed("it is no file of settings".into()));
    }
    if found.len() > MAX_FILE {
        return Err(failed("it is larger than 1 MiB, and no file of settings".into()));
    }
    if found.nlink() > 1 {
        return Err(failed("it has another name (a hard link), under which the keys would stay".into()));
    }
    replaceable(&path, &found).map_err(failed)?;
    let mut bytes = Vec::with_capacity(usize::try_from(found.len()).unwrap_or_default() + 1);
    file.read_to_end(&mut bytes).map_err(|e| failed(e.to_string()))?;
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(failed("it is UTF-16, and is read as UTF-8 only: save it so".into()));
    }
    if bytes.contains(&0) {
        return Err(failed("it is binary".into()));
    }
    let text = String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8".into()))?;
    Ok((path, found, text))
}

/// Why another can't take its place, with the same owner and mode.
fn replaceable(path: &Path, found: &Metadata) -> Result<(), String> {
    use rustix::fs::{Access, access};
    let own = rustix::process::geteuid();
    if found.uid() != own.as_raw() && !own.is_root() {
        return Err(format!("it belongs to another user (uid {}), who has to do it", found.uid()));
    }
    access(path, Access::WRITE_OK).map_err(|e| format!("it may not be written ({})", io::Error::from(e)))?;
    disk::writable(disk::folder(path)).map_err(|e| format!("its folder may not be written ({e})"))
}

/// Puts `text` in the place of the file, unless it isn't any more what it was as it was `found`.
///
/// # Errors
/// When it can't; then it is as it was.
pub fn replace(path: &Path, found: &Metadata, text: &str) -> io::Result<()> {
    let same = |m: &Metadata| (m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec());
    disk::replace_if(path, text.as_bytes(), Rights::Of(found), || {
        let now = fs::metadata(path)?;
        if same(&now) == same(found) { Ok(()) } else { Err(io::Error::other("it was changed meanwhile")) }
    })
}

/// Whether this is what agents are shown in place of a key: one that looks like a key is none.
pub fn is_shown(value: &[u8], settings: &Settings) -> bool {
    settings.keys.iter().any(|key| key.rule.shown_placeholder().as_bytes() == value)
}
