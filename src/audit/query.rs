//! Reads the audit's folder: finds its files, merges their records by time, follows them as they grow, checks their chains.

use super::AuditError;
use super::file::{self, Ending};
use super::filter::Filter;
use super::lines::{Line, Lines, Stamp, Value, member, stamp};
use super::sign::{self, Checker};
use super::tidy;
use crate::chain::{Fault, Head, Verifier};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// So many records may follow the last signature: those before the next, and a few of our own.
const SIGNED_EVERY: u64 = sign::EVERY * 2;

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

    fn open(&self) -> Result<Input, AuditError> {
        self.open_counted(&Arc::default())
    }

    fn open_counted(&self, read: &Arc<AtomicU64>) -> Result<Input, AuditError> {
        let (file, compressed) = self.on_disk(|path| File::open(path))?;
        let file = Counted { file, read: read.clone() };
        if !compressed {
            return Ok(Input::Plain(file));
        }
        let decoder = zstd::Decoder::new(file).map_err(AuditError::io("read", &self.path))?;
        Ok(Input::Zstd(Box::new(decoder)))
    }

    fn metadata(&self) -> Result<(SystemTime, u64), AuditError> {
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
    fn begun(&self) -> Option<Stamp> {
        let n = self.name.as_bytes().get(..23)?;
        let parts = [&n[..4], b"-", &n[4..6], b"-", &n[6..11], b":", &n[11..13], b":", &n[13..]];
        parts.concat().try_into().ok()
    }
}

fn stem(name: &str) -> &str {
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
pub(super) fn last_ending(dir: &Path) -> Option<(String, Ending)> {
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

/// Records of several files in the order of their times.
///
/// A file is opened when its first record may be the next and closed at its end, so that neither memory nor descriptors
/// grow with the age of the audit.
pub struct Merge {
    dir: PathBuf,
    /// Files that begin later than all that was read so far, the earliest last.
    ahead: Vec<AuditFile>,
    open: Vec<Option<Source>>,
    /// The next record of each source that has one.
    next: BinaryHeap<Reverse<(Stamp, usize)>>,
    known: HashSet<String>,
    /// Files that are still written to stay open at their end.
    follow: bool,
    filter: Filter,
    progress: Progress,
}

/// How far a reading has come, to be looked at from another thread.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    read: Arc<AtomicU64>,
    pub total: u64,
}

impl Progress {
    /// Bytes of files read so far, of `total`.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

struct Source {
    file: AuditFile,
    lines: Lines<Input>,
    /// The record that is in `Merge::next`.
    line: Vec<u8>,
}

impl Merge {
    /// All that is in `dir` now and that `filter` takes.
    pub fn new(dir: &Path, filter: Filter) -> Result<Self, AuditError> {
        let mut merge = Merge { filter, ..Merge::empty(dir) };
        for file in merge.fresh()? {
            let (written, len) = file.metadata()?;
            if merge.filter.may_be_in(file.begun().as_ref(), &time_stamp(written)) {
                merge.progress.total += len;
                merge.ahead.push(file);
            }
        }
        Ok(merge)
    }

    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// At least the last `n` records in `dir`, and with `refresh` those to come.
    pub fn tail(dir: &Path, n: usize) -> Result<Self, AuditError> {
        let mut merge = Merge { follow: true, ..Merge::empty(dir) };
        let mut files = Vec::new();
        for file in merge.fresh()? {
            files.push((file.metadata()?.0, file));
        }
        files.sort_by(|a, b| b.cmp(a));
        let (mut found, mut oldest) = (0, [b'9'; 27]);
        for (written, file) in files {
            let input = file.open()?;
            let enough = found >= n && time_stamp(written) < oldest;
            if enough && !input.is_live() {
                continue;
            }
            let wanted = if enough { 0 } else { n };
            let (input, records) = input.at_last(wanted).map_err(AuditError::io("read", &file.path))?;
            found += records;
            if let Some(stamp) = merge.open(file, input)? {
                oldest = oldest.min(stamp);
            }
        }
        Ok(merge)
    }

    fn empty(dir: &Path) -> Self {
        let (ahead, open, next, known, filter, progress) = Default::default();
        Merge { dir: dir.to_owned(), ahead, open, next, known, follow: false, filter, progress }
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
            self.advance(at)?;
        }
        Ok(())
    }

    /// Calls `each` with every record there is for now, without its line feed; lines that are none are passed over.
    pub fn run(&mut self, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> Result<(), AuditError> {
        loop {
            self.open_due()?;
            let Some(Reverse((_, at))) = self.next.pop() else { return Ok(()) };
            if let Some(Some(source)) = self.open.get(at) {
                each(&source.line).map_err(AuditError::io("hand on what is in", &source.file.path))?;
            }
            self.advance(at)?;
        }
    }

    /// Opens the files that may hold the next record.
    fn open_due(&mut self) -> Result<(), AuditError> {
        while let Some(file) = self.ahead.last() {
            let next = self.next.peek().map(|Reverse((stamp, _))| *stamp);
            if next.is_some_and(|next| file.begun().is_some_and(|begun| next < begun)) {
                break;
            }
            if let Some(file) = self.ahead.pop() {
                let input = file.open_counted(&self.progress.read)?;
                self.open(file, input)?;
            }
        }
        Ok(())
    }

    fn open(&mut self, file: AuditFile, input: Input) -> Result<Option<Stamp>, AuditError> {
        let source = Source { file, lines: Lines::new(input), line: Vec::new() };
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
    fn advance(&mut self, at: usize) -> Result<Option<Stamp>, AuditError> {
        let Some(slot) = self.open.get_mut(at) else { return Ok(None) };
        let Some(source) = slot else { return Ok(None) };
        let mut stamp = source.read(&self.filter).map_err(AuditError::io("read", &source.file.path))?;
        if stamp.is_none() && self.follow {
            if source.lines.source().is_live() {
                return Ok(None);
            }
            // Its process may have written a last record after our read and before it let go.
            stamp = source.read(&self.filter).map_err(AuditError::io("read", &source.file.path))?;
        }
        match stamp {
            Some(stamp) => self.next.push(Reverse((stamp, at))),
            None => *slot = None,
        }
        Ok(stamp)
    }
}

impl Source {
    fn read(&mut self, filter: &Filter) -> io::Result<Option<Stamp>> {
        loop {
            let line = match self.lines.next_line()? {
                None => return Ok(None),
                Some(Line::TooLong) => continue,
                Some(Line::Whole(line)) => line,
            };
            if let Some(stamp) = stamp(line).filter(|stamp| filter.takes(stamp, line)) {
                self.line.clear();
                self.line.extend_from_slice(line);
                return Ok(Some(stamp));
            }
        }
    }
}

/// A file that tells how much was read of it.
struct Counted {
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
enum Input {
    Plain(Counted),
    Zstd(Box<zstd::Decoder<'static, BufReader<Counted>>>),
}

impl Input {
    /// Whether a process may still write to it.
    fn is_live(&self) -> bool {
        matches!(self, Input::Plain(open) if file::is_live(&open.file))
    }

    /// The same, standing before its last `n` records or fewer; tells how many there are.
    fn at_last(self, n: usize) -> io::Result<(Self, usize)> {
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

/// What to check beyond the chains.
#[derive(Debug, Default)]
pub struct Proofs {
    /// Heads that were kept elsewhere: each has to be in some file.
    pub anchors: Vec<Head>,
    /// Who signs heads: each file has to be signed, up to its last few records.
    pub checker: Option<Checker>,
}

/// What a check of all files found.
#[derive(Debug)]
pub struct Report {
    pub files: Vec<Verdict>,
    /// Files that others follow and that nobody removed knowingly: their names, and who names them.
    pub missing: Vec<(String, String)>,
    /// Anchors that are in no file.
    pub lost_anchors: Vec<Head>,
}

impl Report {
    pub fn is_sound(&self) -> bool {
        self.files.iter().all(Verdict::is_sound) && self.missing.is_empty() && self.lost_anchors.is_empty()
    }
}

/// What a check of one file found.
#[derive(Debug, Default)]
pub struct Verdict {
    pub name: String,
    /// Good records, from the first on.
    pub records: u64,
    /// The hash of the last good one.
    pub head: Head,
    /// Bytes after the last line feed: a process that was killed leaves them, and a live one is in the middle of a write.
    pub torn: usize,
    pub live: bool,
    /// The first bad line, counted from one, and what is wrong with it.
    pub fault: Option<(u64, Fault)>,
    /// The head that another file saw at this one's end, where it isn't the one found.
    pub expected: Option<(String, Head)>,
    /// Where signatures are asked for: whether none is wrong and few records come after the last.
    pub unsigned: bool,
    /// Files that its records name: one that it follows, or some that were removed.
    claims: Vec<Claim>,
    anchors: Vec<Head>,
}

#[derive(Debug)]
struct Claim {
    file: String,
    head: Head,
    removed: bool,
}

impl Verdict {
    pub fn is_sound(&self) -> bool {
        self.fault.is_none() && self.expected.is_none() && !self.unsigned
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, fault)) = &self.fault {
            return write!(f, "BROKEN at line {line}: {fault}");
        }
        if let Some((by, head)) = &self.expected {
            return write!(f, "BROKEN at its end: {by} saw it end with {head}");
        }
        if self.unsigned {
            return f.write_str("BROKEN: its last head is not signed, or not by this key");
        }
        match (self.live, self.torn) {
            (true, _) => f.write_str("ok, still written to"),
            (false, 0) => f.write_str("ok"),
            (false, torn) => write!(f, "ok up to its last whole record; {torn} bytes of a torn one follow"),
        }
    }
}

/// Checks all files: their chains, that each ends where others say, and the proofs.
pub fn verify_all(dir: &Path, proofs: &Proofs) -> Result<Report, AuditError> {
    let mut verdicts = files(dir)?.iter().map(|file| verify(file, proofs)).collect::<Result<Vec<_>, _>>()?;
    let claims: Vec<(String, Claim)> = verdicts
        .iter_mut()
        .flat_map(|verdict| verdict.claims.drain(..).map(|claim| (verdict.name.clone(), claim)).collect::<Vec<_>>())
        .collect();
    // What was begun before all that is left went with its time, and so did the record of its removal.
    let oldest = verdicts.first().map(|v| stem(&v.name).to_owned()).unwrap_or_default();
    let removed: HashSet<&str> = claims.iter().filter(|(_, c)| c.removed).map(|(_, c)| stem(&c.file)).collect();
    let mut missing = Vec::new();
    for (by, claim) in &claims {
        let name = stem(&claim.file);
        match verdicts.iter_mut().find(|v| stem(&v.name) == name) {
            Some(before) if before.head != claim.head => before.expected = Some((by.clone(), claim.head)),
            Some(_) => {}
            None if name < oldest.as_str() || removed.contains(name) => {}
            None => missing.push((claim.file.clone(), by.clone())),
        }
    }
    let found: HashSet<Head> = verdicts.iter().flat_map(|v| v.anchors.iter().copied()).collect();
    let lost_anchors = proofs.anchors.iter().copied().filter(|anchor| !found.contains(anchor)).collect();
    Ok(Report { files: verdicts, missing, lost_anchors })
}

/// Checks one file.
pub fn verify(file: &AuditFile, proofs: &Proofs) -> Result<Verdict, AuditError> {
    let input = file.open()?;
    let mut verdict = Verdict { name: file.name.clone(), live: input.is_live(), ..Verdict::default() };
    let mut lines = Lines::new(input);
    let mut verifier = Verifier::default();
    let mut signed = 0;
    while verdict.fault.is_none() {
        let judged = match lines.next_line().map_err(AuditError::io("read", &file.path))? {
            None => break,
            Some(Line::TooLong) => Err(Fault::NoRecord),
            Some(Line::Whole(line)) => {
                let before = verifier.head();
                verifier
                    .line(line)
                    .map(|_| signed = verdict.note(line, &before, proofs).map_or(signed, |_| verifier.lines()))
            }
        };
        verdict.fault = judged.err().map(|fault| (verifier.lines() + 1, fault));
        if proofs.anchors.contains(&verifier.head()) {
            verdict.anchors.push(verifier.head());
        }
    }
    verdict.torn = if verdict.fault.is_none() { lines.rest() } else { 0 };
    verdict.records = verifier.lines();
    verdict.head = verifier.head();
    verdict.unsigned |= proofs.checker.is_some() && !verdict.live && verdict.records - signed > SIGNED_EVERY;
    Ok(verdict)
}

impl Verdict {
    /// Keeps what a good record says of files; tells whether it holds a good signature of the head before it.
    fn note(&mut self, line: &[u8], before: &Head, proofs: &Proofs) -> Option<()> {
        memchr::memmem::find(line, br#","previous":""#)?;
        let file = member(line, "previous")?.text().into_owned();
        let head: Head = member(line, "head")?.text().parse().ok()?;
        let Some(signature) = member(line, "signature") else {
            let removed = member(line, "event")? != Value::Text(b"start");
            self.claims.push(Claim { file, head, removed });
            return None;
        };
        let checker = proofs.checker.as_ref()?;
        let good =
            stem(&file) == stem(&self.name) && head == *before && checker.is_signed(&file, &head, &signature.text());
        self.unsigned |= !good;
        good.then_some(())
    }
}

/// A time as records write it.
pub fn time_stamp(at: SystemTime) -> Stamp {
    let mut out = Vec::with_capacity(64);
    crate::record::Record::new(at, crate::record::Event::Start, "").write_members(&mut out);
    stamp(&out).unwrap_or([b'0'; 27])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::link;
    use crate::record::{Event, Record};
    use std::io::Write;
    use std::time::{Duration, UNIX_EPOCH};

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + second)
    }

    /// A file begun at `begun` with records at `seconds`, whose operation is the second.
    fn write(dir: &Path, begun: u64, seconds: impl IntoIterator<Item = u64>) -> PathBuf {
        let mut bytes = Vec::new();
        let (mut head, mut last) = (Head::ZERO, begun);
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
        name.push(file::COMPRESSED);
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

    #[test]
    fn a_file_that_was_cut_after_another_followed_it_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let first = write(dir.path(), 0, 0..10);
        let verdict = verify(&files(dir.path()).unwrap()[0], &Proofs::default()).unwrap();
        let mut record = Record::new(at(10), Event::Start, "audit");
        record.previous =
            Some(Box::new(crate::record::Previous { file: verdict.name.clone(), head: verdict.head.to_string() }));
        let (mut members, mut line) = (Vec::new(), Vec::new());
        record.write_members(&mut members);
        link(&Head::ZERO, 0, &members, &mut line);
        std::fs::write(write(dir.path(), 10, []), line).unwrap();
        assert!(verify_all(dir.path(), &Proofs::default()).unwrap().is_sound());
        let bytes = std::fs::read(&first).unwrap();
        let cut = memchr::memrchr(b'\n', &bytes[..bytes.len() - 1]).unwrap() + 1;
        std::fs::write(&first, &bytes[..cut]).unwrap();
        let verdicts = verify_all(dir.path(), &Proofs::default()).unwrap().files;
        assert!(verdicts[0].to_string().starts_with("BROKEN at its end"), "{}", verdicts[0]);
        std::fs::write(&first, &bytes[..cut + 9]).unwrap();
        assert_eq!(verify(&files(dir.path()).unwrap()[0], &Proofs::default()).unwrap().torn, 9);
    }
}
