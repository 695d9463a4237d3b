//! Names of the audit's files: `20261121T192653.123456Z-4711.jsonl`, when it was begun and by which process.

use super::stamp::Stamp;
use std::path::Path;

/// The end of a file's name while it is written to.
pub const EXTENSION: &str = ".jsonl";

/// Added to the name of a file that was compressed.
pub const COMPRESSED: &str = ".zst";

/// The last part of a path.
pub fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// When a file of this name was begun, written as its records write it.
pub fn begun(name: &str) -> Option<Stamp> {
    let n = name.as_bytes().get(..23)?;
    let parts = [&n[..4], b"-", &n[4..6], b"-", &n[6..11], b":", &n[11..13], b":", &n[13..]];
    parts.concat().try_into().ok()
}

/// A name without what tells how it is written.
pub fn stem(name: &str) -> &str {
    let plain = name.strip_suffix(COMPRESSED).unwrap_or(name);
    plain.strip_suffix(EXTENSION).unwrap_or(name)
}
