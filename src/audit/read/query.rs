//! Records of the whole audit in the order of their times: all, those asked for, or the newest and what follows. Checks
//! no chains.

use super::filter::Filter;
use super::lines::{AuditLine, AuditLines, stamp};
use crate::audit::error::AuditError;
use crate::audit::folder::{AuditFile, AuditInput, files};
use crate::audit::stamp::{Stamp, time_stamp};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Records of several files in the order of their times.
///
/// A file is opened when its first record may be the next and closed at its end, so that neither memory nor descriptors
/// grow with the age of the audit.
pub struct Merge {
    dir: PathBuf,
    /// Files that begin later than all that was read so far, the earliest last.
    ahead: Vec<AuditFile>,
    open: Vec<Option<MergeSource>>,
    /// The next record of each source that has one.
    next: BinaryHeap<Reverse<(Stamp, usize)>>,
    known: HashSet<String>,
    /// Files that are still written to stay open at their end.
    follow: bool,
    filter: Filter,
    progress: ReadProgress,
    /// What kept the first of the files that can't be read from being so: it hides nothing of what the others hold.
    damaged: Option<AuditError>,
}

/// The progress of a reading, to be looked at from another thread.
#[derive(Debug, Clone, Default)]
pub struct ReadProgress {
    read: Arc<AtomicU64>,
    total: Arc<AtomicU64>,
}

impl ReadProgress {
    /// Of so many bytes.
    pub fn of(total: u64) -> Self {
        Self { read: Arc::default(), total: Arc::new(total.into()) }
    }

    /// So many bytes are to be read besides.
    pub(crate) fn expect(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many of them are not, after all.
    pub(crate) fn spare(&self, bytes: u64) {
        self.total.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes of all files that are read; 0 before it is known which.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// What readers add their bytes to.
    pub(crate) fn counter(&self) -> &Arc<AtomicU64> {
        &self.read
    }

    /// Bytes of files read so far, of [`Self::total`].
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

struct MergeSource {
    file: AuditFile,
    lines: AuditLines<AuditInput>,
    /// The record that is in `Merge::next`.
    line: Vec<u8>,
}

impl Merge {
    /// All that is in `dir` now and that `filter` takes.
    pub fn new(dir: &Path, filter: Filter) -> Result<Self, AuditError> {
        Self::counted(dir, filter, ReadProgress::default())
    }

    /// The same, with what is to be read and what is read added to `progress`.
    pub fn counted(dir: &Path, filter: Filter, progress: ReadProgress) -> Result<Self, AuditError> {
        let mut merge = Merge { filter, progress, ..Merge::empty(dir) };
        for file in merge.fresh()? {
            let Some((written, len)) = merge.spared(file.metadata()) else { continue };
            if merge.filter.may_be_in(file.begun().as_ref(), &time_stamp(written)) {
                merge.progress.expect(len);
                merge.ahead.push(file);
            }
        }
        Ok(merge)
    }

    /// How far the reading has come, counted on as it goes.
    pub fn progress(&self) -> ReadProgress {
        self.progress.clone()
    }

    /// At least the last `n` records in `dir`, and with `refresh` those to come.
    pub fn tail(dir: &Path, n: usize) -> Result<Self, AuditError> {
        let mut merge = Merge { follow: true, ..Merge::empty(dir) };
        let mut files = Vec::new();
        for file in merge.fresh()? {
            files.extend(merge.spared(file.metadata()).map(|(written, _)| (written, file)));
        }
        files.sort_by(|a, b| b.cmp(a));
        let (mut found, mut oldest) = (0, [b'9'; 27]);
        for (written, file) in files {
            let Some(input) = merge.spared(file.open()) else { continue };
            let enough = found >= n && time_stamp(written) < oldest;
            if enough && !input.is_live() {
                continue;
            }
            let wanted = if enough { 0 } else { n };
            let at_last = input.at_last(wanted).map_err(AuditError::io("read", &file.path));
            let Some((input, records)) = merge.spared(at_last) else { continue };
            if let Some(stamp) = merge.open(file, input) {
                found += records;
                oldest = oldest.min(stamp);
            }
        }
        Ok(merge)
    }

    fn empty(dir: &Path) -> Self {
        let (ahead, open, next, known, filter, progress) = Default::default();
        Merge { dir: dir.to_owned(), ahead, open, next, known, follow: false, filter, progress, damaged: None }
    }

    /// What came of reading one file: where nothing did, that is told of in the end.
    fn spared<T>(&mut self, read: Result<T, AuditError>) -> Option<T> {
        match read {
            Ok(read) => Some(read),
            Err(e) if e.is_of_a_file_that_is_gone() => None,
            Err(e) => {
                self.damaged.get_or_insert(e);
                None
            }
        }
    }

    /// Files that weren't there before, the earliest last.
    fn fresh(&mut self) -> Result<Vec<AuditFile>, AuditError> {
        let mut fresh = files(&self.dir)?;
        fresh.retain(|file| self.known.insert(file.stem().to_owned()));
        fresh.reverse();
        Ok(fresh)
    }

    /// Looks for new files, and for new records in those that had ended.
    pub fn refresh(&mut self) -> Result<(), AuditError> {
        let fresh = self.fresh()?;
        self.ahead.splice(..0, fresh);
        let waiting: HashSet<usize> = self.next.iter().map(|Reverse((_, at))| *at).collect();
        for at in (0..self.open.len()).filter(|at| !waiting.contains(at)) {
            self.advance(at);
        }
        Ok(())
    }

    /// Calls `each` with every record there is for now, without its line feed; lines that are none are passed over.
    ///
    /// # Errors
    /// Those of `each`, at once. What can't be read is for [`Self::damage`] to tell.
    pub fn run(&mut self, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        loop {
            self.open_due();
            let Some(Reverse((_, at))) = self.next.pop() else { return Ok(()) };
            if let Some(Some(source)) = self.open.get(at) {
                each(&source.line)?;
            }
            self.advance(at);
        }
    }

    /// What could not be read since this was asked last, while all else was.
    ///
    /// # Errors
    /// When there is a file that could not.
    pub fn damage(&mut self) -> Result<(), AuditError> {
        self.damaged.take().map_or(Ok(()), Err)
    }

    /// Opens the files that may hold the next record.
    fn open_due(&mut self) {
        while let Some(file) = self.ahead.last() {
            let next = self.next.peek().map(|Reverse((stamp, _))| *stamp);
            if next.is_some_and(|next| file.begun().is_some_and(|begun| next < begun)) {
                break;
            }
            if let Some(file) = self.ahead.pop() {
                let input = file.open_counted(&self.progress.read);
                self.spared(input).and_then(|input| self.open(file, input));
            }
        }
    }

    fn open(&mut self, file: AuditFile, input: AuditInput) -> Option<Stamp> {
        let source = MergeSource { file, lines: AuditLines::new(input), line: Vec::new() };
        let at = match self.open.iter().position(Option::is_none) {
            Some(at) => at,
            None => {
                self.open.push(None);
                self.open.len() - 1
            }
        };
        self.open[at] = Some(source);
        self.advance(at)
    }

    /// Reads the next record of a source, or closes it.
    fn advance(&mut self, at: usize) -> Option<Stamp> {
        let source = self.open.get_mut(at)?.as_mut()?;
        let mut read = source.read(&self.filter);
        if matches!(read, Ok(None)) && self.follow {
            if source.lines.source().is_live() {
                return None;
            }
            // Its process may have written a last record after our read and before it let go.
            read = source.read(&self.filter);
        }
        let read = read.map_err(AuditError::io("read", &source.file.path));
        let stamp = self.spared(read).flatten();
        match stamp {
            Some(stamp) => self.next.push(Reverse((stamp, at))),
            None => self.open.get_mut(at).into_iter().for_each(|slot| *slot = None),
        }
        stamp
    }
}

impl MergeSource {
    fn read(&mut self, filter: &Filter) -> io::Result<Option<Stamp>> {
        loop {
            let line = match self.lines.next_line()? {
                None => return Ok(None),
                Some(AuditLine::TooLong) => continue,
                Some(AuditLine::Whole(line)) => line,
            };
            if let Some(stamp) = stamp(line).filter(|stamp| filter.takes(stamp, line)) {
                self.line.clear();
                self.line.extend_from_slice(line);
                return Ok(Some(stamp));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::file_name::COMPRESSED;
    use crate::audit::read::lines::member;
    use crate::audit::read::verify::{Proofs, verify_all};
    use crate::chain::{ChainHead, link};
    use crate::record::{Event, Record};
    use std::fs::File;
    use std::io::Write;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + second)
    }

    /// A file begun at `begun` with records at `seconds`, whose operation is the second.
    fn write(dir: &Path, begun: u64, seconds: impl IntoIterator<Item = u64>) -> PathBuf {
        let mut bytes = Vec::new();
        let (mut head, mut last) = (ChainHead::ZERO, begun);
        for (seq, second) in seconds.into_iter().enumerate() {
            let mut members = Vec::new();
            Record::new(at(second), Event::Exchange, second.to_string()).write_members(&mut members);
            head = link(&head, seq as u64, &members, &mut bytes);
            last = second;
        }
        let begun = jiff::Timestamp::try_from(at(begun)).unwrap().strftime("%Y%m%dT%H%M%S.%6fZ").to_string();
        let path = dir.join(format!("{begun}-1.jsonl"));
        std::fs::write(&path, bytes).unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(at(last)).unwrap();
        path
    }

    fn run(merge: &mut Merge) -> Vec<u64> {
        let mut out = Vec::new();
        let each = |line: &[u8]| {
            out.push(member(line, "operation").unwrap().text().parse().unwrap());
            Ok(())
        };
        merge.run(each).unwrap();
        merge.damage().unwrap();
        out
    }

    #[test]
    fn files_merge_by_time_and_others_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 0, [0, 3, 6, 9]);
        write(dir.path(), 1, [1, 4, 7]);
        let path = write(dir.path(), 20, [20]);
        write(dir.path(), 2, [2, 5, 8]);
        std::fs::write(dir.path().join("notes.jsonl"), "{}\n").unwrap();
        std::fs::write(dir.path().join("ééééééééééé-1.jsonl"), "{}\n").unwrap();
        std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"nonsense\n{\"torn").unwrap();
        assert_eq!(
            run(&mut Merge::new(dir.path(), Filter::default()).unwrap()),
            (0..=9).chain([20]).collect::<Vec<_>>()
        );
        assert_eq!(run(&mut Merge::new(&dir.path().join("nowhere"), Filter::default()).unwrap()), Vec::<u64>::new());
    }

    #[test]
    fn few_files_are_open_at_once() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..100 {
            write(dir.path(), i * 10, [i * 10, i * 10 + 5]);
        }
        let mut merge = Merge::new(dir.path(), Filter::default()).unwrap();
        assert_eq!(run(&mut merge).len(), 200);
        assert!(merge.open.len() <= 2, "{}", merge.open.len());
    }

    #[test]
    fn compressed_files_are_read_like_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path(), 0, 0..1000);
        let mut name = path.clone().into_os_string();
        name.push(COMPRESSED);
        std::fs::write(&name, zstd::encode_all(&*std::fs::read(&path).unwrap(), 3).unwrap()).unwrap();
        assert_eq!(files(dir.path()).unwrap().len(), 1, "both hold the same");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(run(&mut Merge::new(dir.path(), Filter::default()).unwrap()), (0..1000).collect::<Vec<_>>());
        let verdicts = verify_all(dir.path(), &Proofs::default()).unwrap().files;
        assert_eq!((verdicts[0].records, verdicts[0].is_sound()), (1000, true));
    }

    #[test]
    fn the_tail_has_the_newest_of_all_files_and_then_what_comes() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 0, 0..5000);
        let live = write(dir.path(), 1, [1, 4998, 4999]);
        let writer = std::fs::OpenOptions::new().append(true).open(&live).unwrap();
        writer.lock().unwrap();
        for n in [0, 1, 3, 500, 4999, 9000] {
            let mut merge = Merge::tail(dir.path(), n).unwrap();
            let got = run(&mut merge);
            let mut all: Vec<u64> = (0..5000).chain([1, 4998, 4999]).collect();
            all.sort();
            let n = n.min(all.len());
            assert_eq!(got[got.len() - n..], all[all.len() - n..], "{n}");
        }
        let mut merge = Merge::tail(dir.path(), 0).unwrap();
        assert!(run(&mut merge).is_empty());
        // The new file shows at once; the same record in the live one when its second half is there.
        let more = std::fs::read(write(dir.path(), 5000, [6000])).unwrap();
        let (half, rest) = more.split_at(100);
        for (bytes, want) in [(half, vec![6000]), (rest, vec![6000])] {
            (&writer).write_all(bytes).unwrap();
            merge.refresh().unwrap();
            assert_eq!(run(&mut merge), want);
        }
    }
}
