//! The last use of each key: read from the newest files on, and from older ones only while some key is still to be found.
//! What a record `unsent` takes back was no use.

use super::lines::{AuditLine, AuditLines, MemberValue, member, stamp};
use super::query::ReadProgress;
use crate::audit::folder::{AuditFile, files};
use crate::audit::stamp::{Stamp, time_stamp};
use std::collections::HashMap;
use std::path::Path;

/// How much is read for it at most, in bytes; a key that was used before that is as good as not used.
const MOST: u64 = 512 * 1024 * 1024;

/// When each of these keys was last put into a request, as far as the audit in `dir` tells. What can't be read tells
/// nothing. What is read, and is to be, is added to `progress`.
pub fn last_uses(dir: &Path, keys: &[&str], progress: &ReadProgress) -> HashMap<String, Stamp> {
    if keys.is_empty() {
        return HashMap::new();
    }
    let readable = |file: AuditFile| file.metadata().ok().map(|(written, length)| (written, length, file));
    let mut newest_first: Vec<_> = files(dir).unwrap_or_default().into_iter().filter_map(readable).collect();
    newest_first.sort_by(|a, b| b.cmp(a));
    let (mut last, mut unsent, mut read) = (HashMap::new(), HashMap::new(), 0);
    // each file twice
    let mut ahead = newest_first.iter().map(|(_, length, _)| length * 2).sum();
    progress.expect(ahead);
    for (written, length, file) in newest_first {
        let oldest = keys.iter().map(|key| last.get(*key).copied()).min().flatten();
        if read > MOST || oldest.is_some_and(|oldest| oldest >= time_stamp(written)) {
            break;
        }
        read += length;
        ahead -= length * 2;
        // what takes a use back follows it, in this file or in a newer one
        each_line(&file, progress, |line| {
            if let Some((_, used)) = used(line, br#""event":"unsent""#) {
                *unsent.entry(used).or_default() += count(line);
            }
        });
        each_line(&file, progress, |line| {
            let Some((key, used)) = used(line, br#""event":"substitution""#) else { return };
            let Some(at) = stamp(line).filter(|_| keys.contains(&key.as_str())) else { return };
            if take_back(&mut unsent, &used, count(line)) {
                return;
            }
            let last = last.entry(key).or_insert(at);
            *last = at.max(*last);
        });
    }
    progress.spare(ahead);
    last
}

/// A use of a key: its exchange, its operation, and the place in the request.
type RecordedUse = [String; 3];

/// Calls `each` with the whole lines of a file, as far as it can be read.
fn each_line(file: &AuditFile, progress: &ReadProgress, mut each: impl FnMut(&[u8])) {
    let Ok(input) = file.open_counted(progress.counter()) else { return };
    let mut lines = AuditLines::new(input);
    while let Ok(Some(line)) = lines.next_line() {
        if let AuditLine::Whole(line) = line {
            each(line);
        }
    }
}

/// The key that a record of this event is of, and the use that it tells of.
fn used(line: &[u8], event: &[u8]) -> Option<(String, RecordedUse)> {
    memchr::memmem::find(line, event)?;
    let text = |name| member(line, name).map(|value| value.text().into_owned()).unwrap_or_default();
    let used = ["exchange", "operation", "where"].map(text);
    Some((used[1].strip_prefix("api.")?.to_owned(), used))
}

fn count(line: &[u8]) -> u64 {
    member(line, "count").and_then(MemberValue::number).unwrap_or(1)
}

/// Whether so many uses were taken back.
fn take_back(unsent: &mut HashMap<RecordedUse, u64>, used: &RecordedUse, count: u64) -> bool {
    let Some(left) = unsent.get_mut(used) else { return false };
    let is_unsent = *left >= count;
    *left = left.saturating_sub(count);
    is_unsent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::{ChainHead, link};
    use crate::record::{Event, Record};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn the_last_use_counts_whatever_file_it_is_in() {
        let dir = tempfile::tempdir().unwrap();
        let at = |second| UNIX_EPOCH + Duration::from_secs(1_763_000_000 + second);
        let write = |name: &str, records: &[(u64, Event, &'static str)], written: u64| {
            let (mut head, mut bytes) = (ChainHead::ZERO, Vec::new());
            for (seq, (second, event, operation)) in (0..).zip(records) {
                let mut members = Vec::new();
                Record::new(at(*second), *event, *operation).write_members(&mut members);
                head = link(&head, seq, &members, &mut bytes);
            }
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            std::fs::File::options().write(true).open(path).unwrap().set_modified(at(written)).unwrap();
        };
        let use_of = |second, key| (second, Event::Substitution, key);
        // one that lives long, and one that was begun and ended meanwhile
        write("20251113T021320.000000Z-1.jsonl", &[use_of(1, "api.a"), use_of(90, "api.b")], 90);
        write("20251113T021330.000000Z-2.jsonl", &[use_of(20, "api.a"), (30, Event::Refusal, "api.c")], 30);
        let last = last_uses(dir.path(), &["a", "b", "c"], &ReadProgress::default());
        assert_eq!(last, [("a".into(), time_stamp(at(20))), ("b".into(), time_stamp(at(90)))].into());
        assert_eq!(last_uses(dir.path(), &["b"], &ReadProgress::default()).len(), 1);
        // one that was taken back was none, also where the file was full in between
        let unsent = |second| (second, Event::Unsent, "api.b");
        write("20251113T021500.000000Z-3.jsonl", &[use_of(100, "api.b"), unsent(101), use_of(102, "api.b")], 102);
        write("20251113T021600.000000Z-4.jsonl", &[unsent(103)], 103);
        assert_eq!(last_uses(dir.path(), &["b"], &ReadProgress::default()), [("b".into(), time_stamp(at(90)))].into());
        assert!(last_uses(&dir.path().join("none"), &["b"], &ReadProgress::default()).is_empty());
    }
}
