//! One file of the audit: begun with mode and lock, appended to in whole lines, watched for hands other than ours.
//! Decides nothing about when.

use crate::audit::error::AuditError;
use crate::audit::file_name::{EXTENSION, file_name};
use crate::chain::{self, ChainHead};
use crate::disk;
use crate::record::{PreviousFile, Record};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The path is asked about no more often: a renamed folder loses nothing, it only moves what is written.
const LOOK: Duration = Duration::from_secs(1);

/// Lines that are written at once; a failure costs no more than this much work.
const CHUNK: usize = 64 * 1024;

/// A file of the audit that is being written.
#[derive(Debug)]
pub struct ChainFile {
    file: File,
    path: PathBuf,
    head: ChainHead,
    seq: u64,
    /// Up to the end of the last whole line.
    len: u64,
    inode: (u64, u64),
    looked: SystemTime,
    /// Linked lines on their way to the file, kept for its capacity.
    lines: Vec<u8>,
}

impl ChainFile {
    /// Begins a file in `dir` whose first record is `first`; its name sorts by `first.at` and tells our pid.
    pub fn begin(dir: &Path, first: &Record, members: &mut Vec<u8>) -> Result<Self, AuditError> {
        let (file, path) = create(dir, first.at)?;
        // Others take an unlocked file for one whose process has ended.
        file.lock().or_else(unsupported).map_err(AuditError::io("lock", &path))?;
        let meta = file.metadata().map_err(AuditError::io("read", &path))?;
        let inode = (meta.dev(), meta.ino());
        let mut begun =
            ChainFile { file, path, head: ChainHead::ZERO, seq: 0, len: 0, inode, looked: first.at, lines: Vec::new() };
        members.clear();
        first.write_members(members);
        match begun.write(std::iter::once(members.as_slice())) {
            (1, Ok(())) => Ok(begun),
            (_, result) => {
                let error = result.err().unwrap_or_else(|| io::ErrorKind::WriteZero.into());
                // An empty file would only be asked about later.
                let _ = std::fs::remove_file(&begun.path);
                Err(AuditError::io("write", dir)(error))
            }
        }
    }

    /// Links and appends each of `records` (members without braces); tells how many are in the file whole. After an error
    /// the file ends with a whole line, or `is_torn` says that it couldn't be made to.
    pub fn write<'a>(&mut self, records: impl Iterator<Item = &'a [u8]>) -> (usize, io::Result<()>) {
        let (mut written, mut linked) = (0, 0);
        let (mut head, mut seq) = (self.head, self.seq);
        self.lines.clear();
        let mut records = records.peekable();
        while let Some(members) = records.next() {
            head = chain::link(&head, seq, members, &mut self.lines);
            seq += 1;
            linked += 1;
            if self.lines.len() < CHUNK && records.peek().is_some() {
                continue;
            }
            if let Err(error) = self.file.write_all(&self.lines) {
                // If this fails as well, `disturbed` finds the torn line by the file's size.
                let _ = self.file.set_len(self.len);
                return (written, Err(error));
            }
            (self.head, self.seq) = (head, seq);
            self.len += self.lines.len() as u64;
            written = linked;
            self.lines.clear();
        }
        (written, Ok(()))
    }

    /// Brings what was written to the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Whether somebody took the file away, cut it or wrote to it: then what follows belongs into another.
    pub fn disturbed(&mut self, now: SystemTime) -> Option<&'static str> {
        match self.file.metadata() {
            Ok(meta) if meta.nlink() == 0 => return Some("was removed"),
            Ok(meta) if meta.len() != self.len => return Some("was cut, torn or written to by another"),
            Ok(_) => {}
            Err(_) => return Some("can't be read any more"),
        }
        if now.duration_since(self.looked).is_ok_and(|age| age < LOOK) {
            return None;
        }
        self.looked = now;
        match std::fs::symlink_metadata(&self.path) {
            Ok(meta) if (meta.dev(), meta.ino()) == self.inode => None,
            _ => Some("was moved or replaced"),
        }
    }

    /// The place that it was begun at.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last part of its path.
    pub fn name(&self) -> String {
        file_name(&self.path)
    }

    /// Its name and head, for another file to tell.
    pub fn standing(&self) -> PreviousFile {
        PreviousFile { file: self.name(), head: self.head.to_string() }
    }

    /// Bytes up to the end of the last whole line.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// How many records it holds.
    pub fn records(&self) -> u64 {
        self.seq
    }
}

/// Makes the audit's folder, or sees that one that is there belongs to nobody else.
pub fn make_dir(dir: &Path) -> Result<(), AuditError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(AuditError::io("make the folder", dir))?;
    refuse_open(dir)
}

/// Whether a file could be begun in the folder, or the folder be made. Changes nothing.
///
/// # Errors
/// Why it couldn't.
pub fn preflight(dir: &Path) -> Result<(), AuditError> {
    disk::writable(dir).map_err(AuditError::io("begin a file in", dir))?;
    if dir.exists() { refuse_open(dir) } else { Ok(()) }
}

fn refuse_open(dir: &Path) -> Result<(), AuditError> {
    let meta = std::fs::metadata(dir).map_err(AuditError::io("read", dir))?;
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(AuditError::Open { path: dir.to_owned(), mode }) }
}

fn create(dir: &Path, at: SystemTime) -> Result<(File, PathBuf), AuditError> {
    let mut at = jiff::Timestamp::try_from(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    loop {
        let path = dir.join(format!("{}-{}{EXTENSION}", at.strftime("%Y%m%dT%H%M%S.%6fZ"), std::process::id()));
        match OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return Ok((file, path)),
            // In containers every locum has the same pid.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => at += Duration::from_micros(1),
            // The folder is what the user can do something about.
            Err(e) => return Err(AuditError::io("begin a file in", dir)(e)),
        }
    }
}

fn unsupported(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::Unsupported { Ok(()) } else { Err(error) }
}
