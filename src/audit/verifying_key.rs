//! The public keys that heads are verified by, in a file beside the audit: which they are, and since when. No secret is
//! in it.

use super::error::AuditError;
use super::stamp::{Stamp, time_stamp};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What the file begins each line with.
const KIND: &str = "ed25519";
/// A key is made once a machine; a file with more lines is none of ours.
const MOST: usize = 1000;

/// A key, and since when every file of the audit is signed by it or another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    /// The Ed25519 key (RFC 8032, section 5.1.5).
    pub key: [u8; 32],
    /// None where it was named by hand: every file is asked for a signature then.
    pub since: Option<Stamp>,
}

impl VerifyingKey {
    /// From 64 hexadecimal digits.
    pub fn parse(hex: &str) -> Option<Self> {
        let nibble = |b: u8| char::from(b).to_digit(16).and_then(|n| u8::try_from(n).ok());
        let byte = |pair: &[u8]| Some(nibble(*pair.first()?)? << 4 | nibble(*pair.get(1)?)?);
        let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(byte).collect();
        Some(Self { key: bytes?.try_into().ok()?, since: None })
    }

    /// The key as 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        self.key.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn of_line(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let key = words.next().filter(|kind| *kind == KIND).and_then(|_| Self::parse(words.next()?))?;
        Some(Self { since: Some(words.next()?.as_bytes().try_into().ok()?), ..key })
    }
}

/// The file's place in the state folder.
pub fn path(state: &Path) -> PathBuf {
    state.join("audit.pub")
}

/// The keys that were used here; none where there is no file.
pub fn known(path: &Path) -> Result<Vec<VerifyingKey>, AuditError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(AuditError::io("read", path)(e)),
    };
    Ok(text.lines().take(MOST).filter_map(VerifyingKey::of_line).collect())
}

/// Adds a key that the file hasn't yet. Two processes may add the same one, which does no harm.
pub fn remember(path: &Path, key: &[u8; 32], now: SystemTime) -> Result<(), AuditError> {
    if known(path)?.iter().any(|known| known.key == *key) {
        return Ok(());
    }
    let since = String::from_utf8_lossy(&time_stamp(now)).into_owned();
    let line = format!("{KIND} {} {since}\n", VerifyingKey { key: *key, since: None }.hex());
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes())).map_err(AuditError::io("write to", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn a_key_is_remembered_once_with_the_time_it_was_new() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path());
        assert_eq!(known(&path).unwrap(), []);
        for second in [1, 2] {
            let now = UNIX_EPOCH + Duration::from_secs(second);
            remember(&path, &[7; 32], now).unwrap();
            remember(&path, &[8; 32], now).unwrap();
        }
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"nonsense\ned25519 00\n").unwrap();
        let since = Some(*b"1970-01-01T00:00:01.000000Z");
        assert_eq!(known(&path).unwrap(), [7, 8].map(|n| VerifyingKey { key: [n; 32], since }));
    }

    #[test]
    fn hexadecimal_is_read_as_it_is_written() {
        let key = VerifyingKey { key: std::array::from_fn(|n| n as u8 * 7), since: None };
        assert_eq!(VerifyingKey::parse(&key.hex()), Some(key));
        for text in ["", "00", "zz", &"0".repeat(63), &"0".repeat(66), &"é".repeat(32)] {
            assert_eq!(VerifyingKey::parse(text), None, "{text}");
        }
    }
}
