//! What migrate has put where, for `--undo`: in `STATE/migrated.json`, for each file which placeholder of which key stands
//! where (as the second or third of such texts), how the value was written, and the hash of the text with the placeholders in it.

use crate::cli::term::CliError;
use crate::config::key_scan::ValueWriting;
use crate::config::settings::Settings;
use crate::disk::{self, Rights};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A placeholder that stands where a value was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Placed {
    pub key: String,
    /// What was put there.
    text: String,
    /// How far before and behind it the quotes are that the word around it got, where it got some.
    quotes: Option<(usize, usize)>,
    /// Which of those texts it is, from 0, and how many there are.
    nth: usize,
    of: usize,
    pub writing: ValueWriting,
}

/// One with its place in a text.
pub type PlacedAt = (Range<usize>, Placed);

/// What was put into one file, as it came to be at a time, and whose the file was. Who is killed between noting it and doing it leaves the file as
/// it was before, so that the one before counts.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Generation {
    placed: Vec<Placed>,
    /// SHA-256 of the text with the placeholders in it, in hex: in any other text they may stand anywhere.
    sha256: String,
    uid: u32,
    mode: u32,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct MigratedFiles {
    files: BTreeMap<PathBuf, Vec<Generation>>,
}

/// The file that keeps them.
pub struct Placements {
    file: PathBuf,
}

impl Placed {
    pub fn new(key: String, text: String, writing: ValueWriting, quotes: Option<(usize, usize)>) -> Self {
        Self { key, text, quotes, nth: 0, of: 0, writing }
    }

    /// What is changed where it takes the place of the value at `at`, in order.
    pub fn edits(&self, at: &Range<usize>) -> Vec<(Range<usize>, String)> {
        let placed = (at.clone(), self.text.clone());
        match self.quotes {
            Some((before, behind)) => {
                let (start, end) = (at.start - before, at.end + behind);
                vec![(start..start, "\"".into()), placed, (end..end, "\"".into())]
            }
            None => vec![placed],
        }
    }

    /// What is changed where `old` takes its place at `at` again, in order.
    pub fn undone(&self, at: &Range<usize>, old: String) -> Vec<(Range<usize>, String)> {
        match self.quotes {
            Some((before, behind)) => {
                let (start, end) = (at.start - before, at.end + behind);
                vec![(start - 1..start, String::new()), (at.clone(), old), (end..end + 1, String::new())]
            }
            None => vec![(at.clone(), old)],
        }
    }

    /// The same with its number in the text where it begins at `start`.
    fn numbered(mut self, start: usize, text: &str) -> Self {
        self.nth = text.get(..start).unwrap_or_default().matches(self.text.as_str()).count();
        self.of = text.matches(self.text.as_str()).count();
        self
    }

    /// Whether it stands at `at` with its quotes.
    fn is_quoted(&self, text: &str, at: &Range<usize>) -> bool {
        let Some((before, behind)) = self.quotes else { return true };
        let quote = |at: Option<usize>| at.and_then(|at| text.as_bytes().get(at)) == Some(&b'"');
        quote(at.start.checked_sub(before + 1)) && quote(Some(at.end + behind))
    }
}

impl Placements {
    pub fn of(settings: &Settings) -> Self {
        Self { file: settings.state.join("migrated.json") }
    }

    /// Notes what is about to be put into `path`, whose text is `before` now and will be `after`. Each of `placed` is with
    /// the place in `before` that it takes.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn add(
        &self,
        path: &Path,
        found: &Metadata,
        before: &str,
        after: &str,
        placed: Vec<PlacedAt>,
    ) -> anyhow::Result<()> {
        self.change(|migrated| {
            let known = migrated.files.remove(path).unwrap_or_default();
            let standing = known.into_iter().rev().find_map(|generation| in_place(generation, before));
            let of = |text: &str, placed: Vec<Placed>| Generation {
                placed,
                sha256: sha256(text),
                uid: found.uid(),
                mode: found.mode() & 0o7777,
            };
            let before_it: Vec<Generation> =
                standing.iter().map(|s| of(before, s.iter().map(|(_, placed)| placed.clone()).collect())).collect();
            let edits: Vec<_> = placed.iter().flat_map(|(at, placed)| placed.edits(at)).collect();
            let mut all: Vec<PlacedAt> = placed.into_iter().chain(standing.into_iter().flatten()).collect();
            all.sort_by_key(|(at, _)| at.start);
            let now = all.into_iter().map(|(at, placed)| placed.numbered(moved(at.start, &edits), after)).collect();
            let generations = before_it.into_iter().chain([of(after, now)]).collect();
            migrated.files.insert(path.to_owned(), generations);
        })
    }

    /// What stands in the text of `path` of what was put there, each with its place; `None` where nothing is known of it,
    /// an empty one where it isn't as it was left: another text, another owner, or open to more.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn in_file(&self, path: &Path, found: &Metadata, text: &str) -> anyhow::Result<Option<Vec<PlacedAt>>> {
        let Some(generations) = self.load()?.files.remove(path) else { return Ok(None) };
        let mut is_as_left = generations.into_iter().rev().filter(|generation| generation.is_of(found));
        Ok(Some(is_as_left.find_map(|generation| in_place(generation, text)).unwrap_or_default()))
    }

    /// Forgets what was put into `path`.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn forget(&self, path: &Path) -> anyhow::Result<()> {
        self.change(|migrated| drop(migrated.files.remove(path)))
    }

    fn change(&self, change: impl FnOnce(&mut MigratedFiles)) -> anyhow::Result<()> {
        let failed = |e: &dyn std::fmt::Display| self.failed(e);
        let _turn = disk::turn(&self.file.with_extension("lock")).map_err(|e| failed(&e))?;
        let mut migrated = self.load()?;
        change(&mut migrated);
        let text = serde_json::to_string_pretty(&migrated).map_err(|e| failed(&e))?;
        disk::replace(&self.file, text.as_bytes(), Rights::Private).map_err(|e| failed(&e))
    }

    fn load(&self) -> anyhow::Result<MigratedFiles> {
        match std::fs::read(&self.file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| self.failed(&e)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(MigratedFiles::default()),
            Err(e) => Err(self.failed(&e)),
        }
    }

    fn failed(&self, e: &dyn std::fmt::Display) -> anyhow::Error {
        let what = format!("{}, which says what --undo has to know: {e}", self.file.display());
        CliError::failed(what, "mend it or move it away; the files are as they were")
    }
}

/// Where the byte at `at` is once `edits` are made.
fn moved(at: usize, edits: &[(Range<usize>, String)]) -> usize {
    let ahead = edits.iter().filter(|(edit, _)| edit.end <= at);
    let (more, less) = ahead.fold((0, 0), |(more, less), (edit, new)| (more + new.len(), less + edit.len()));
    at + more - less
}

impl Generation {
    /// Whether the file is still its owner's, and open to no more.
    fn is_of(&self, found: &Metadata) -> bool {
        found.uid() == self.uid && found.mode() & 0o7777 & !self.mode == 0
    }
}

fn sha256(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where each stands in `text`, if that is the text that they were put into.
fn in_place(generation: Generation, text: &str) -> Option<Vec<PlacedAt>> {
    if generation.sha256 != sha256(text) {
        return None;
    }
    generation
        .placed
        .into_iter()
        .map(|placed| {
            let found: Vec<usize> = text.match_indices(placed.text.as_str()).map(|(at, _)| at).collect();
            let at = *found.get(placed.nth).filter(|_| found.len() == placed.of)?;
            let at = at..at + placed.text.len();
            placed.is_quoted(text, &at).then_some((at, placed))
        })
        .collect()
}
