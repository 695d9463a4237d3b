//! Lines of audit files: read whole with flat memory, and looked into without copies. Checks no hashes and knows no folder.

use crate::audit::stamp::Stamp;
use std::borrow::Cow;
use std::io::{self, Read};

/// No line that we write is longer, so one that is belongs to somebody else.
pub const MAX_LINE: usize = 64 * 1024;

const BUFFER: usize = 256 * 1024;

/// The lines of a source, one after the other; may be asked again after an end, when more has been appended.
#[derive(Debug)]
pub struct AuditLines<R> {
    source: R,
    buffer: Vec<u8>,
    /// What was read and not yet handed out.
    start: usize,
    end: usize,
    /// From here on no line feed was looked for yet.
    searched: usize,
    skipping: bool,
}

/// A line of a file of the audit.
#[derive(Debug, PartialEq, Eq)]
pub enum AuditLine<'a> {
    /// Without its line feed.
    Whole(&'a [u8]),
    /// Longer than any line of ours; its bytes were passed over.
    TooLong,
}

impl<R: Read> AuditLines<R> {
    /// The lines of `source` from where it stands.
    pub fn new(source: R) -> Self {
        AuditLines { source, buffer: Vec::new(), start: 0, end: 0, searched: 0, skipping: false }
    }

    /// The next line, or `None` where the source ends for now; then `rest` tells how much of a torn one there is.
    pub fn next_line(&mut self) -> io::Result<Option<AuditLine<'_>>> {
        loop {
            let fresh = self.buffer.get(self.searched..self.end).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', fresh) {
                let (from, to) = (self.start, self.searched + at);
                self.start = to + 1;
                self.searched = self.start;
                if std::mem::take(&mut self.skipping) || to - from > MAX_LINE {
                    return Ok(Some(AuditLine::TooLong));
                }
                return Ok(Some(AuditLine::Whole(&self.buffer[from..to])));
            }
            self.searched = self.end;
            if self.end - self.start > MAX_LINE {
                self.skipping = true;
                self.start = self.end;
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// The reader that the lines come from.
    pub fn source(&self) -> &R {
        &self.source
    }

    /// Bytes after the last line feed.
    pub fn rest(&self) -> usize {
        self.end - self.start
    }

    fn fill(&mut self) -> io::Result<bool> {
        if self.buffer.is_empty() {
            self.buffer.resize(BUFFER, 0);
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.searched -= self.start;
            self.start = 0;
        }
        loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(n) => {
                    self.end += n;
                    return Ok(n > 0);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// The members of a line's object, as they stand there: a string's value is its text between the quotes, still escaped.
///
/// Ends early where the bytes aren't a flat object as `Record` writes it.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    rest: &'a [u8],
}

/// The members of a line's object, in their order.
pub fn members(line: &[u8]) -> Members<'_> {
    Members { rest: line.strip_prefix(b"{").unwrap_or_default() }
}

/// The value of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberValue<'a> {
    /// Escaped as in the file.
    Text(&'a [u8]),
    /// A number, `true`, `false`.
    Bare(&'a [u8]),
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], MemberValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = string(self.rest)?;
        let rest = rest.strip_prefix(b":")?;
        let (value, rest) = match string(rest) {
            Some((text, rest)) => (MemberValue::Text(text), rest),
            None => {
                let end = memchr::memchr2(b',', b'}', rest)?;
                (MemberValue::Bare(&rest[..end]), &rest[end..])
            }
        };
        self.rest = rest.strip_prefix(b",").unwrap_or_default();
        Some((name, value))
    }
}

/// A string at the front, without its quotes, and what follows it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    /// Most are shorter, and then a search costs more to begin than to do.
    const SHORT: usize = 16;
    let inside = bytes.strip_prefix(b"\"")?;
    let mut from = 0;
    loop {
        let rest = inside.get(from..)?;
        let near = rest.iter().take(SHORT).position(|b| matches!(b, b'"' | b'\\'));
        let at = from + near.or_else(|| Some(SHORT + memchr::memchr2(b'"', b'\\', rest.get(SHORT..)?)?))?;
        if inside[at] == b'"' {
            return Some((&inside[..at], &inside[at + 1..]));
        }
        from = at + 2;
    }
}

impl<'a> MemberValue<'a> {
    /// What a person reads: escapes taken off, but those of characters that a terminal would obey.
    pub fn text(self) -> Cow<'a, str> {
        let raw = match self {
            MemberValue::Bare(raw) => return shown(String::from_utf8_lossy(raw)),
            MemberValue::Text(raw) => raw,
        };
        if !raw.contains(&b'\\') {
            return shown(String::from_utf8_lossy(raw));
        }
        let mut quoted = Vec::with_capacity(raw.len() + 2);
        quoted.push(b'"');
        quoted.extend_from_slice(raw);
        quoted.push(b'"');
        match serde_json::from_slice::<String>(&quoted) {
            Ok(text) => shown(Cow::Owned(text)),
            Err(_) => shown(String::from_utf8_lossy(raw)),
        }
    }

    /// The value as a whole number, where it is one.
    pub fn number(self) -> Option<u64> {
        match self {
            MemberValue::Bare(raw) => std::str::from_utf8(raw).ok()?.parse().ok(),
            MemberValue::Text(_) => None,
        }
    }

    /// The value as a finite number, where it is one.
    pub fn float(self) -> Option<f64> {
        match self {
            MemberValue::Bare(raw) => std::str::from_utf8(raw).ok()?.parse().ok().filter(|f: &f64| f.is_finite()),
            MemberValue::Text(_) => None,
        }
    }
}

fn shown(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.chars().any(crate::record::misleads) {
        return text;
    }
    let escape = |c: char| if crate::record::misleads(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

/// The value of one member.
pub fn member<'a>(line: &'a [u8], name: &str) -> Option<MemberValue<'a>> {
    members(line).find(|(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
}

/// A record's timestamp, found where `Record` puts it.
pub fn stamp(line: &[u8]) -> Option<Stamp> {
    const BEFORE: &[u8] = br#"{"v":1,"seq":"#;
    const MEMBER: &[u8] = br#","timestamp":""#;
    let rest = line.strip_prefix(BEFORE)?;
    let digits = rest.iter().take(21).position(|b| !b.is_ascii_digit())?;
    rest[digits..].strip_prefix(MEMBER)?.get(..27)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Hands out its bytes in pieces, as pipes and growing files do.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len()).min(out.len());
            out[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn all(bytes: &[u8], piece: usize) -> (Vec<Option<Vec<u8>>>, usize) {
        let mut lines = AuditLines::new(Pieces(bytes, piece));
        let mut out = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            out.push(match line {
                AuditLine::Whole(line) => Some(line.to_vec()),
                AuditLine::TooLong => None,
            });
        }
        (out, lines.rest())
    }

    #[test]
    fn lines_come_whole_whatever_the_pieces() {
        let long = [b"x".repeat(MAX_LINE), b"\n".to_vec(), b"y".repeat(MAX_LINE * 9), b"\nz\ntorn".to_vec()].concat();
        for piece in [1000, 4096, MAX_LINE, usize::MAX] {
            let (lines, rest) = all(&long, piece);
            assert_eq!(lines, vec![Some(b"x".repeat(MAX_LINE)), None, Some(b"z".to_vec())], "{piece}");
            assert_eq!(rest, 4);
        }
    }

    #[test]
    fn members_are_found_as_they_stand() {
        let line = br#"{"v":1,"path":"/a\"b\\","success":false,"hash":"00"}"#;
        let all: Vec<_> = members(line).map(|(n, v)| (std::str::from_utf8(n).unwrap(), v)).collect();
        assert_eq!(
            all,
            vec![
                ("v", MemberValue::Bare(b"1")),
                ("path", MemberValue::Text(br#"/a\"b\\"#)),
                ("success", MemberValue::Bare(b"false")),
                ("hash", MemberValue::Text(b"00")),
            ]
        );
        assert_eq!(member(line, "path").unwrap().text(), "/a\"b\\");
        assert_eq!(member(line, "v").unwrap().number(), Some(1));
        assert_eq!(MemberValue::Text(br"a\u001b[2J").text(), "a\\u{1b}[2J");
        assert_eq!(MemberValue::Bare(b"4\x1b[2J").text(), "4\\u{1b}[2J");
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(bytes in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..400), piece in 1usize..50) {
            let (lines, rest) = all(&bytes, piece);
            let mut want: Vec<Option<Vec<u8>>> = bytes.split(|&b| b == b'\n').map(|l| Some(l.to_vec())).collect();
            let torn = want.pop().flatten().unwrap_or_default();
            prop_assert_eq!(lines, want);
            prop_assert_eq!(rest, torn.len());
        }

        #[test]
        fn any_bytes_are_looked_into_without_a_panic(line in prop_oneof!["[{}\",:\\\\a1]{0,60}".prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..80)]) {
            for (name, value) in members(&line) {
                prop_assert!(name.len() < line.len());
                let text = value.text();
                prop_assert!(!text.chars().any(crate::record::misleads));
            }
            stamp(&line);
        }
    }
}
