//! Files that no process writes to any more: compressed, and removed when they are older or more than wanted. Touches
//! no other.

use crate::audit::error::AuditError;
use crate::audit::file_end::{self, FileEnd, compressed_ending};
use crate::audit::file_name::COMPRESSED;
use crate::audit::folder::{AuditFile, files};
use crate::chain::ChainHead;
use crate::record::PreviousFile;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The retention of the audit's files; without bounds nothing is removed.
#[derive(Debug, Clone, Default)]
pub struct Retention {
    /// Since a file was last written to.
    pub max_age: Option<Duration>,
    /// What all files may take together, the oldest go first.
    pub max_bytes: Option<u64>,
}

/// Smaller files gain nothing.
const WORTH: u64 = 64 * 1024;

/// Records become a tenth at this level, at half the work of the next ones, which make them no smaller.
const LEVEL: i32 = 1;

/// Read at once, in bytes.
const PIECE: usize = 256 * 1024;

/// Added to a file that is being made.
const UNFINISHED: &str = ".tmp";

/// Compresses and removes what is due in `dir`. `tell` hears of each file that is to go and how it ends, and the file goes
/// only once that is recorded: one that is gone without a word looks as if somebody had taken it away.
pub fn tidy(
    dir: &Path,
    retention: &Retention,
    now: SystemTime,
    tell: impl FnMut(PreviousFile) -> Result<(), AuditError>,
) -> Result<(), AuditError> {
    remove_unfinished(dir);
    for file in files(dir)? {
        if !file.is_compressed() {
            compress(&file).map_err(AuditError::io("compress", &file.path))?;
        }
    }
    remove_old(dir, retention, now, tell)
}

/// What a process left that was killed while it compressed. One that still does has a lock.
fn remove_unfinished(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let ours = path.to_string_lossy().ends_with(&format!("{COMPRESSED}{UNFINISHED}"));
        if ours && File::open(&path).is_ok_and(|file| !file_end::is_live(&file)) {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn compress(file: &AuditFile) -> io::Result<()> {
    let mut plain = File::open(&file.path)?;
    // Others that tidy up, and processes that still write, hold it.
    if plain.try_lock().is_err() || plain.metadata()?.len() < WORTH {
        return Ok(());
    }
    let ending = file_end::ending(&mut plain)?;
    let target = file.path.with_file_name(format!("{}{COMPRESSED}", file.name));
    let unfinished = file.path.with_file_name(format!("{}{COMPRESSED}{UNFINISHED}", file.name));
    let done = write_compressed(&mut plain, &ending, &unfinished).and_then(|()| std::fs::rename(&unfinished, &target));
    if done.is_err() {
        let _ = std::fs::remove_file(&unfinished);
        return done;
    }
    // The plain file goes when the other is known to stay.
    target.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())?;
    std::fs::remove_file(&file.path)
}

fn write_compressed(plain: &mut File, ending: &FileEnd, target: &Path) -> io::Result<()> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
    made.lock()?;
    plain.seek(SeekFrom::Start(0))?;
    let mut encoder = zstd::Encoder::new(&made, LEVEL)?;
    encoder.include_checksum(true)?;
    io::copy(&mut BufReader::with_capacity(PIECE, &mut *plain), &mut encoder)?;
    encoder.finish()?;
    (&made).write_all(&file_end::end_frame(ending))?;
    // Its age is that of its records.
    made.set_modified(plain.metadata()?.modified()?)?;
    made.sync_all()
}

fn remove_old(
    dir: &Path,
    retention: &Retention,
    now: SystemTime,
    mut tell: impl FnMut(PreviousFile) -> Result<(), AuditError>,
) -> Result<(), AuditError> {
    if retention.max_age.is_none() && retention.max_bytes.is_none() {
        return Ok(());
    }
    let mut all = Vec::new();
    for file in files(dir)? {
        let meta = std::fs::metadata(&file.path).map_err(AuditError::io("read", &file.path))?;
        all.push((meta.modified().map_err(AuditError::io("read", &file.path))?, meta.len(), file));
    }
    all.sort_by_key(|(written, ..)| *written);
    let mut total: u64 = all.iter().map(|(_, len, _)| len).sum();
    for (written, len, file) in all {
        let old = retention.max_age.is_some_and(|max| now.duration_since(written).is_ok_and(|age| age > max));
        let many = retention.max_bytes.is_some_and(|max| total > max);
        if !old && !many {
            break;
        }
        let failed = || AuditError::io("remove", &file.path);
        if let Some((_lock, ended)) = to_be_removed(&file).map_err(failed())? {
            tell(ended)?;
            std::fs::remove_file(&file.path).map_err(failed())?;
            total -= len;
        }
    }
    Ok(())
}

/// Locked, and how it ends; `None` where somebody else has it.
fn to_be_removed(file: &AuditFile) -> io::Result<Option<(File, PreviousFile)>> {
    let mut open = File::open(&file.path)?;
    if open.try_lock().is_err() {
        return Ok(None);
    }
    let ending = if file.is_compressed() { compressed_ending(&mut open)? } else { Some(file_end::ending(&mut open)?) };
    let head = ending.and_then(|ending| ending.head).unwrap_or(ChainHead::ZERO).to_string();
    Ok(Some((open, PreviousFile { file: file.plain_name().to_owned(), head })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::file_name::file_name;
    use crate::audit::read::verify::{Proofs, verify_all};
    use crate::chain::link;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::time::UNIX_EPOCH;

    const DAY: Duration = Duration::from_secs(86_400);

    fn write(dir: &Path, day: u32, records: u64) -> PathBuf {
        let (mut head, mut bytes) = (ChainHead::ZERO, Vec::new());
        for seq in 0..records {
            head = link(&head, seq, br#""timestamp":"2026-11-21T19:26:53.123456Z","event":"scrub""#, &mut bytes);
        }
        let path = dir.join(format!("202611{day:02}T192653.123456Z-{day}.jsonl"));
        std::fs::write(&path, bytes).unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(UNIX_EPOCH + DAY * day).unwrap();
        path
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| file_name(&e.unwrap().path())).collect();
        names.sort();
        names
    }

    #[test]
    fn large_files_that_nobody_writes_to_are_compressed_and_stay_whole() {
        let dir = tempfile::tempdir().unwrap();
        let large = write(dir.path(), 1, 1000);
        write(dir.path(), 2, 3);
        let live = File::open(write(dir.path(), 3, 1000)).unwrap();
        live.lock().unwrap();
        std::fs::write(dir.path().join("20261109T000000.000000Z-1.jsonl.zst.tmp"), "half").unwrap();
        std::fs::OpenOptions::new().append(true).open(&large).unwrap().write_all(b"{\"torn").unwrap();
        let before = file_end::ending(&mut File::open(&large).unwrap()).unwrap();
        tidy(dir.path(), &Retention::default(), UNIX_EPOCH, |_| Ok(())).unwrap();
        let want = [
            "20261101T192653.123456Z-1.jsonl.zst",
            "20261102T192653.123456Z-2.jsonl",
            "20261103T192653.123456Z-3.jsonl",
        ];
        assert_eq!(names(dir.path()), want);
        let mut compressed = File::open(dir.path().join(want[0])).unwrap();
        assert_eq!(compressed.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(compressed.metadata().unwrap().len() < 100_000);
        assert_eq!(compressed_ending(&mut compressed).unwrap(), Some(before));
        let report = verify_all(dir.path(), &Proofs::default()).unwrap();
        assert!(report.is_sound());
        assert_eq!((report.files[0].records, report.files[0].torn), (1000, 6));
    }

    #[test]
    fn the_oldest_go_first_and_no_more_than_has_to() {
        let now = UNIX_EPOCH + DAY * 30;
        let size = |dir: &Path| write(dir, 1, 10).metadata().unwrap().len();
        type Case<'a> = (fn(u64) -> Retention, &'a [u32]);
        let cases: [Case<'_>; 4] = [
            (|_| Retention::default(), &[]),
            (|_| Retention { max_age: Some(DAY * 27), max_bytes: None }, &[1, 2]),
            (|size| Retention { max_age: None, max_bytes: Some(size * 3) }, &[1]),
            (|size| Retention { max_age: Some(DAY * 26), max_bytes: Some(size) }, &[1, 2, 4]),
        ];
        for (retention, want) in cases {
            let dir = tempfile::tempdir().unwrap();
            let size = size(dir.path());
            for day in [2, 4] {
                write(dir.path(), day, 10);
            }
            let live = File::open(write(dir.path(), 3, 10)).unwrap();
            live.lock().unwrap();
            let head =
                file_end::ending(&mut File::open(dir.path().join("20261101T192653.123456Z-1.jsonl")).unwrap()).unwrap();
            let untold = tidy(dir.path(), &retention(size), now, |_| Err(AuditError::Closed));
            assert_eq!((untold.is_err(), names(dir.path()).len()), (!want.is_empty(), 4));
            let mut removed = Vec::new();
            let tell = |file: PreviousFile| {
                assert!(dir.path().join(&file.file).exists(), "it is told of before it goes");
                removed.push(file);
                Ok(())
            };
            tidy(dir.path(), &retention(size), now, tell).unwrap();
            let days: Vec<u32> = removed.iter().map(|r| r.file[6..8].parse().unwrap()).collect();
            assert_eq!(days, want);
            assert!(removed.iter().all(|r| Some(&r.head) == head.head.map(|h| h.to_string()).as_ref()));
            assert_eq!(names(dir.path()).len(), 4 - want.len());
        }
    }
}
