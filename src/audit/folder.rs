//! The audit's folder: which files are its own, and how each is opened, compressed or not. Reads no records.

use super::error::AuditError;
use super::file_end::{self, FileEnd};
use super::file_name::{self, COMPRESSED, begun, stem};
use super::stamp::Stamp;
use crate::disk;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// A file of the audit; sorts by the time at which it was begun.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditFile {
    /// `20261121T192653.123456Z-4711.jsonl`, or `….jsonl.zst`: when it was begun, and by which process.
    pub name: String,
    /// The place that it was listed at.
    pub path: PathBuf,
}

impl AuditFile {
    fn new(path: PathBuf) -> Option<Self> {
        let file = AuditFile { name: file_name::file_name(&path), path };
        let (time, pid) = file.stem().split_once('-')?;
        let ours = file.name != file.stem()
            && time.len() == 23
            && time.is_ascii()
            && time.ends_with('Z')
            && !pid.is_empty()
            && pid.bytes().all(|b| b.is_ascii_digit());
        ours.then_some(file)
    }

    /// Its name as long as it lives, whether compressed or not.
    pub fn stem(&self) -> &str {
        stem(&self.name)
    }

    /// Whether it was compressed when it was listed.
    pub fn is_compressed(&self) -> bool {
        self.name.ends_with(COMPRESSED)
    }

    /// The name it was begun with.
    pub fn plain_name(&self) -> &str {
        self.name.strip_suffix(COMPRESSED).unwrap_or(&self.name)
    }

    /// Opens it to be read from its first record on.
    ///
    /// # Errors
    /// When it is gone or can't be read.
    pub fn open(&self) -> Result<AuditInput, AuditError> {
        self.open_counted(&Arc::default())
    }

    /// The same, with the bytes of it that are read added to `read`.
    ///
    /// # Errors
    /// When it is gone or can't be read.
    pub fn open_counted(&self, read: &Arc<AtomicU64>) -> Result<AuditInput, AuditError> {
        let (file, compressed) = self.on_disk(disk::open_regular)?;
        let file = CountedFile { file, read: read.clone() };
        if !compressed {
            return Ok(AuditInput::Plain(file));
        }
        let decoder = zstd::Decoder::new(file).map_err(AuditError::io("read", &self.path))?;
        Ok(AuditInput::Zstd(Box::new(decoder)))
    }

    /// When it was last written to, and its length.
    pub fn metadata(&self) -> Result<(SystemTime, u64), AuditError> {
        let meta = |path: &Path| std::fs::metadata(path).and_then(|meta| Ok((meta.modified()?, meta.len())));
        Ok(self.on_disk(meta)?.0)
    }

    /// What `ask` says of the file, and whether it is compressed: that may have happened since it was listed.
    fn on_disk<T>(&self, ask: impl Fn(&Path) -> io::Result<T>) -> Result<(T, bool), AuditError> {
        let said = match ask(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && !self.is_compressed() => {
                let name = format!("{}{}", self.name, COMPRESSED);
                ask(&self.path.with_file_name(name)).map(|said| (said, true))
            }
            said => said.map(|said| (said, self.is_compressed())),
        };
        said.map_err(AuditError::io("read", &self.path))
    }

    /// When it was begun, written as its records write it.
    pub fn begun(&self) -> Option<Stamp> {
        begun(&self.name)
    }
}

/// The audit's files in `dir`, oldest first. A folder that isn't there has none.
pub fn files(dir: &Path) -> Result<Vec<AuditFile>, AuditError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(AuditError::io("read", dir)(e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(AuditError::io("read", dir))?;
        files.extend(AuditFile::new(entry.path()));
    }
    files.sort();
    // A process that was killed after it had compressed a file leaves both; they hold the same.
    files.dedup_by(|b, a| a.stem() == b.stem());
    Ok(files)
}

/// How the newest file that no process writes to any more ends.
pub fn last_ending(dir: &Path) -> Option<(String, FileEnd)> {
    for file in files(dir).ok()?.into_iter().rev() {
        let Ok(mut open) = disk::open_regular(&file.path) else { continue };
        let ending = match file.is_compressed() {
            true => file_end::compressed_ending(&mut open).ok().flatten(),
            false if file_end::is_live(&open) => None,
            false => file_end::ending(&mut open).ok(),
        };
        if let Some(ending) = ending {
            return Some((file.plain_name().to_owned(), ending));
        }
    }
    None
}

/// A file that tells how much was read of it.
pub struct CountedFile {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for CountedFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(out)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// An open file of the audit, compressed or not.
pub enum AuditInput {
    /// Records as they were written.
    Plain(CountedFile),
    /// Records compressed by Zstandard (RFC 8878).
    Zstd(Box<zstd::Decoder<'static, BufReader<CountedFile>>>),
}

impl AuditInput {
    /// Whether a process may still write to it.
    pub fn is_live(&self) -> bool {
        matches!(self, AuditInput::Plain(open) if file_end::is_live(&open.file))
    }

    /// The same, standing before its last `n` records or fewer; tells how many there are.
    pub fn at_last(self, n: usize) -> io::Result<(Self, usize)> {
        let AuditInput::Plain(mut open) = self else { return Ok((self, n)) };
        let file = &mut open.file;
        let len = file.seek(SeekFrom::End(0))?;
        let mut reach = if n == 0 { 0 } else { 64 * 1024 };
        loop {
            let from = len.saturating_sub(reach);
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.take(len - from).read_to_end(&mut bytes)?;
            // The first of these feeds ends a line that began earlier, unless the file begins here.
            let mut starts: Vec<usize> = memchr::memchr_iter(b'\n', &bytes).map(|at| at + 1).collect();
            let torn = starts.pop().unwrap_or(0);
            if from == 0 && torn > 0 {
                starts.insert(0, 0);
            }
            if from == 0 || starts.len() >= n {
                let start = starts.get(starts.len().saturating_sub(n)).copied().unwrap_or(torn);
                file.seek(SeekFrom::Start(from + start as u64))?;
                return Ok((AuditInput::Plain(open), starts.len().min(n)));
            }
            reach *= 4;
        }
    }
}

impl Read for AuditInput {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            AuditInput::Plain(file) => file.read(out),
            AuditInput::Zstd(decoder) => decoder.read(out),
        }
    }
}
