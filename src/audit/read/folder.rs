//! The audit's folder: which files are its own, and how each is opened, compressed or not. Reads no records.

use super::lines::Stamp;
use crate::audit::AuditError;
use crate::audit::write::file::{self, Ending};
use crate::audit::write::tidy;
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
    pub path: PathBuf,
}

impl AuditFile {
    fn new(path: PathBuf) -> Option<Self> {
        let file = AuditFile { name: file::file_name(&path), path };
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

    pub fn is_compressed(&self) -> bool {
        self.name.ends_with(file::COMPRESSED)
    }

    /// The name it was begun with.
    pub fn plain_name(&self) -> &str {
        self.name.strip_suffix(file::COMPRESSED).unwrap_or(&self.name)
    }

    pub fn open(&self) -> Result<Input, AuditError> {
        self.open_counted(&Arc::default())
    }

    pub fn open_counted(&self, read: &Arc<AtomicU64>) -> Result<Input, AuditError> {
        let (file, compressed) = self.on_disk(|path| File::open(path))?;
        let file = Counted { file, read: read.clone() };
        if !compressed {
            return Ok(Input::Plain(file));
        }
        let decoder = zstd::Decoder::new(file).map_err(AuditError::io("read", &self.path))?;
        Ok(Input::Zstd(Box::new(decoder)))
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
                let name = format!("{}{}", self.name, file::COMPRESSED);
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

/// When a file of this name was begun, written as its records write it.
pub fn begun(name: &str) -> Option<Stamp> {
    let n = name.as_bytes().get(..23)?;
    let parts = [&n[..4], b"-", &n[4..6], b"-", &n[6..11], b":", &n[11..13], b":", &n[13..]];
    parts.concat().try_into().ok()
}

/// A name without what tells how it is written.
pub fn stem(name: &str) -> &str {
    let plain = name.strip_suffix(file::COMPRESSED).unwrap_or(name);
    plain.strip_suffix(file::EXTENSION).unwrap_or(name)
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
pub fn last_ending(dir: &Path) -> Option<(String, Ending)> {
    for file in files(dir).ok()?.into_iter().rev() {
        let Ok(mut open) = File::open(&file.path) else { continue };
        let ending = match file.is_compressed() {
            true => tidy::compressed_ending(&mut open).ok().flatten(),
            false if file::is_live(&open) => None,
            false => file::ending(&mut open).ok(),
        };
        if let Some(ending) = ending {
            return Some((file.plain_name().to_owned(), ending));
        }
    }
    None
}

/// A file that tells how much was read of it.
pub struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(out)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// An open file of the audit, compressed or not.
pub enum Input {
    Plain(Counted),
    Zstd(Box<zstd::Decoder<'static, BufReader<Counted>>>),
}

impl Input {
    /// Whether a process may still write to it.
    pub fn is_live(&self) -> bool {
        matches!(self, Input::Plain(open) if file::is_live(&open.file))
    }

    /// The same, standing before its last `n` records or fewer; tells how many there are.
    pub fn at_last(self, n: usize) -> io::Result<(Self, usize)> {
        let Input::Plain(mut open) = self else { return Ok((self, n)) };
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
                return Ok((Input::Plain(open), starts.len().min(n)));
            }
            reach *= 4;
        }
    }
}

impl Read for Input {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Input::Plain(file) => file.read(out),
            Input::Zstd(decoder) => decoder.read(out),
        }
    }
}
