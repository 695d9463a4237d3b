//! The end of a file of the audit, read without the rest of it, and whether a process may still write to it.

use crate::chain::{self, ChainHead};
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};

/// A frame that zstd passes over; it carries how the file ends, which else only its decompression would tell.
const FRAME: [u8; 4] = 0x184D_2A50u32.to_le_bytes();

/// What is in it: the head and the torn bytes in decimal.
const ENDING: usize = 64 + 20;

/// Whether a process may still write to `file`; where the disk knows no locks, nobody can tell.
pub fn is_live(file: &File) -> bool {
    match file.try_lock_shared() {
        Ok(()) => {
            let _ = file.unlock();
            false
        }
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => true,
    }
}

/// The end of a file: the hash of its last whole line, and how many bytes of a torn one follow.
#[derive(Debug, PartialEq, Eq)]
pub struct FileEnd {
    /// None where no line is whole.
    pub head: Option<ChainHead>,
    /// Bytes after the last line feed.
    pub torn: u64,
}

/// Reads the end of `file` without the rest of it.
pub fn ending(file: &mut File) -> io::Result<FileEnd> {
    const REACH: u64 = 64 * 1024;
    let len = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(len.saturating_sub(REACH)))?;
    let mut tail = Vec::new();
    file.take(REACH).read_to_end(&mut tail)?;
    let whole = memchr::memrchr(b'\n', &tail).unwrap_or(0);
    let start = memchr::memrchr(b'\n', &tail[..whole]).map_or(0, |at| at + 1);
    let torn = if whole == 0 { tail.len() } else { tail.len() - whole - 1 } as u64;
    Ok(FileEnd { head: chain::parts(&tail[start..whole]).map(|parts| parts.head), torn })
}

/// The frame that says how the records before it end.
pub(super) fn end_frame(end: &FileEnd) -> Vec<u8> {
    let head = end.head.unwrap_or(ChainHead::ZERO);
    let length = (ENDING as u32).to_le_bytes();
    [&FRAME[..], &length, format!("{head}{:020}", end.torn).as_bytes()].concat()
}

/// How a compressed file ends.
pub fn compressed_ending(file: &mut File) -> io::Result<Option<FileEnd>> {
    let mut frame = [0; 8 + ENDING];
    let len = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(len.saturating_sub(frame.len() as u64)))?;
    file.read_exact(&mut frame)?;
    let (magic, ending) = frame.split_at(8);
    let text = std::str::from_utf8(ending).unwrap_or_default();
    let (Some((head, torn)), true) = (text.split_at_checked(64), magic.starts_with(&FRAME)) else { return Ok(None) };
    let (Ok(head), Ok(torn)) = (head.parse::<ChainHead>(), torn.parse()) else { return Ok(None) };
    Ok(Some(FileEnd { head: Some(head).filter(|head| *head != ChainHead::ZERO), torn }))
}
