//! The audit's hash chain: makes a record's members a line that vouches for all before it, and checks such lines. Knows no files.

use crate::record::digits;
use aws_lc_rs::digest::{Context, Digest, SHA256, digest};
use std::fmt;
use std::str::FromStr;

const HASH: &[u8] = br#","hash":""#;
const END: &[u8] = br#""}"#;
const SEQ: &[u8] = br#"{"v":1,"seq":"#;

/// What `,"hash":"…"}` takes at the end of each line.
const TAIL: usize = HASH.len() + 64 + END.len();

/// Each byte in two lower-case digits.
const HEX: [[u8; 2]; 256] = {
    let (digits, mut table, mut byte) = (b"0123456789abcdef", [[0; 2]; 256], 0);
    while byte < 256 {
        table[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    table
};

/// The hash of a line: 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChainHead([u8; 64]);

impl ChainHead {
    /// The head that the first line of a file follows.
    pub const ZERO: ChainHead = ChainHead([b'0'; 64]);

    /// The digits.
    pub fn as_str(&self) -> &str {
        // Made of hexadecimal digits only.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    fn of(previous: &ChainHead, line: &[u8]) -> ChainHead {
        let mut hex = [0; 64];
        for (pair, byte) in hex.as_chunks_mut::<2>().0.iter_mut().zip(sha256(&previous.0, line).as_ref()) {
            *pair = HEX[usize::from(*byte)];
        }
        ChainHead(hex)
    }
}

/// In one call where both fit a buffer, as almost all lines do: a context costs as much again as hashing them.
fn sha256(previous: &[u8; 64], line: &[u8]) -> Digest {
    let mut whole = [0; 1024];
    if let Some(whole) = whole.get_mut(..previous.len() + line.len()) {
        whole[..previous.len()].copy_from_slice(previous);
        whole[previous.len()..].copy_from_slice(line);
        return digest(&SHA256, whole);
    }
    let mut context = Context::new(&SHA256);
    context.update(previous);
    context.update(line);
    context.finish()
}

impl Default for ChainHead {
    fn default() -> Self {
        ChainHead::ZERO
    }
}

impl fmt::Display for ChainHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for ChainHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a head is 64 lower-case hexadecimal digits")]
pub struct ChainHeadError;

impl FromStr for ChainHead {
    type Err = ChainHeadError;

    fn from_str(s: &str) -> Result<Self, ChainHeadError> {
        ChainHead::from_bytes(s.as_bytes()).ok_or(ChainHeadError)
    }
}

impl ChainHead {
    fn from_bytes(hex: &[u8]) -> Option<ChainHead> {
        let hex: [u8; 64] = hex.try_into().ok()?;
        hex.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')).then_some(ChainHead(hex))
    }
}

/// Appends the line, with its line feed, that `members` make after `previous`.
pub fn link(previous: &ChainHead, seq: u64, members: &[u8], out: &mut Vec<u8>) -> ChainHead {
    let start = out.len();
    out.extend_from_slice(SEQ);
    digits(out, seq);
    out.push(b',');
    out.extend_from_slice(members);
    let head = ChainHead::of(previous, &out[start..]);
    out.extend_from_slice(HASH);
    out.extend_from_slice(&head.0);
    out.extend_from_slice(END);
    out.push(b'\n');
    head
}

/// Reads a line, without its line feed, into the parts that the chain is about; `None` where it isn't made like one.
pub fn parts(line: &[u8]) -> Option<ChainLine<'_>> {
    let (hashed, tail) = line.split_at_checked(line.len().checked_sub(TAIL)?)?;
    let head = ChainHead::from_bytes(tail.strip_prefix(HASH)?.strip_suffix(END)?)?;
    let rest = hashed.strip_prefix(SEQ)?;
    let comma = rest.iter().take(21).position(|&b| b == b',')?;
    let seq = std::str::from_utf8(&rest[..comma]).ok()?.parse().ok()?;
    Some(ChainLine { seq, members: &rest[comma + 1..], hashed, head })
}

/// A line that is made like one of the chain; whether it is in its place, [`ChainVerifier::line`] says.
#[derive(Debug, Clone, Copy)]
pub struct ChainLine<'a> {
    /// Its number, from 0 in each file.
    pub seq: u64,
    /// From `"timestamp":` on, without the hash.
    pub members: &'a [u8],
    /// All that the hash covers.
    hashed: &'a [u8],
    /// The hash that the line tells of itself.
    pub head: ChainHead,
}

/// Damage to the chain, at the first line where it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// It isn't made like a line of the chain.
    #[error("it is no record of the audit")]
    NoRecord,
    /// Its bytes, or those before it, are others than were hashed.
    #[error("it was edited, or the line before it was and hashed anew")]
    Edited,
    /// Numbers are missing.
    #[error("records {from} to {to} are missing before it")]
    Removed {
        /// The first number that is missing.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// Its number has been before.
    #[error("record {seq} stands where {expected} belongs: moved, repeated or inserted")]
    Moved {
        /// The number that the line has.
        seq: u64,
        /// The number that comes next.
        expected: u64,
    },
}

/// A check of one file's lines, in their order.
#[derive(Debug, Clone, Default)]
pub struct ChainVerifier {
    head: ChainHead,
    lines: u64,
}

impl ChainVerifier {
    /// The hash of the last good line.
    pub fn head(&self) -> ChainHead {
        self.head
    }

    /// How many lines were good.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Takes the next line, without its line feed.
    ///
    /// # Errors
    /// The damage that shows here; the line is not counted then.
    pub fn line<'a>(&mut self, line: &'a [u8]) -> Result<ChainLine<'a>, ChainFault> {
        let parts = parts(line).ok_or(ChainFault::NoRecord)?;
        let expected = self.lines;
        // The number is looked at first because it tells more: a wrong hash is all that a removed line leaves else.
        if parts.seq > expected {
            return Err(ChainFault::Removed { from: expected, to: parts.seq - 1 });
        }
        if parts.seq < expected {
            return Err(ChainFault::Moved { seq: parts.seq, expected });
        }
        if ChainHead::of(&self.head, parts.hashed) != parts.head {
            return Err(ChainFault::Edited);
        }
        self.head = parts.head;
        self.lines += 1;
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chain(members: &[&str]) -> Vec<Vec<u8>> {
        let mut head = ChainHead::ZERO;
        let mut lines = Vec::new();
        for (seq, m) in members.iter().enumerate() {
            let mut line = Vec::new();
            head = link(&head, seq as u64, m.as_bytes(), &mut line);
            assert_eq!(line.pop(), Some(b'\n'));
            lines.push(line);
        }
        lines
    }

    fn fault(lines: &[Vec<u8>]) -> Option<(u64, ChainFault)> {
        let mut verifier = ChainVerifier::default();
        for line in lines {
            if let Err(fault) = verifier.line(line) {
                return Some((verifier.lines(), fault));
            }
        }
        None
    }

    fn four() -> Vec<Vec<u8>> {
        chain(&[r#""event":"start""#, r#""event":"scrub""#, r#""event":"key","hash":"x""#, r#""event":"stop""#])
    }

    #[test]
    fn the_hash_is_what_sha256sum_says() {
        // printf '%064d{"v":1,"seq":0,"event":"start"' 0 | sha256sum
        assert_eq!(
            String::from_utf8(chain(&[r#""event":"start""#]).remove(0)).unwrap(),
            concat!(
                r#"{"v":1,"seq":0,"event":"start","hash":""#,
                "d16e49dc91aee42cfdaf114e71d3ba1796518dda4647fa7a906d54404f272a92",
                r#""}"#
            )
        );
    }

    #[test]
    fn each_kind_of_damage_has_its_name() {
        let lines = four();
        assert_eq!(fault(&lines), None);

        let mut edited = lines.clone();
        edited[1] = edited[1].iter().map(|&b| if b == b'u' { b'x' } else { b }).collect();
        assert_eq!(fault(&edited), Some((1, ChainFault::Edited)));

        let mut removed = lines.clone();
        removed.remove(1);
        assert_eq!(fault(&removed), Some((1, ChainFault::Removed { from: 1, to: 1 })));

        let mut swapped = lines.clone();
        swapped.swap(1, 2);
        assert_eq!(fault(&swapped), Some((1, ChainFault::Removed { from: 1, to: 1 })));

        let mut repeated = lines.clone();
        repeated.insert(2, lines[1].clone());
        assert_eq!(fault(&repeated), Some((2, ChainFault::Moved { seq: 1, expected: 2 })));

        let mut inserted = lines.clone();
        let mut line = Vec::new();
        link(&parts(&lines[0]).unwrap().head, 1, br#""event":"scrub""#, &mut line);
        line.pop();
        inserted.insert(1, line);
        assert_eq!(fault(&inserted), Some((2, ChainFault::Moved { seq: 1, expected: 2 })));

        let mut rehashed = lines.clone();
        let mut line = Vec::new();
        link(&parts(&lines[0]).unwrap().head, 1, br#""event":"other""#, &mut line);
        line.pop();
        rehashed[1] = line;
        assert_eq!(fault(&rehashed), Some((2, ChainFault::Edited)));
    }

    #[test]
    fn heads_are_read_strictly() {
        assert_eq!(ChainHead::ZERO.to_string().parse(), Ok(ChainHead::ZERO));
        for bad in ["", "0", &"0".repeat(63), &"0".repeat(65), &"A".repeat(64), &"g".repeat(64)] {
            assert_eq!(bad.parse::<ChainHead>(), Err(ChainHeadError), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_changed_byte_is_found(line in 0usize..4, at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let mut lines = four();
            let at = at.index(lines[line].len());
            prop_assume!(lines[line][at] != to);
            lines[line][at] = to;
            let found = fault(&lines);
            prop_assert_eq!(found.map(|f| f.0), Some(line as u64));
        }

        #[test]
        fn every_removed_or_swapped_line_is_found(a in 0usize..4, b in 0usize..4) {
            prop_assume!(a != b);
            let mut swapped = four();
            swapped.swap(a, b);
            prop_assert!(fault(&swapped).is_some());
            let mut removed = four();
            removed.remove(a.min(2));
            prop_assert!(fault(&removed).is_some());
        }

        #[test]
        fn any_bytes_are_judged_without_a_panic(line in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(ChainVerifier::default().line(&line).is_err());
        }

        #[test]
        fn what_was_linked_verifies(members in prop::collection::vec("[^\n]{0,80}", 1..20)) {
            let members: Vec<&str> = members.iter().map(String::as_str).collect();
            prop_assert_eq!(fault(&chain(&members)), None);
        }
    }
}
