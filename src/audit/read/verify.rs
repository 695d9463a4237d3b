//! Verification that the audit is what was written: chains, files that follow each other, signatures, anchors. Repairs
//! nothing.

use super::lines::{AuditLine, AuditLines, MemberValue, member};
use super::query::ReadProgress;
use crate::audit::error::AuditError;
use crate::audit::file_name::stem;
use crate::audit::folder::{AuditFile, files};
use crate::audit::signature::{self, SignatureChecker};
use crate::chain::{ChainFault, ChainHead, ChainVerifier};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;

/// So many records may follow the last signature: those before the next, and a few of our own.
const SIGNED_EVERY: u64 = signature::EVERY * 2;

/// Proofs that are asked for beyond the chains.
#[derive(Debug, Default)]
pub struct Proofs {
    /// Heads that were kept elsewhere: each has to be in some file.
    pub anchors: Vec<ChainHead>,
    /// Who signs heads: each file has to be signed, up to its last few records.
    pub checker: Option<SignatureChecker>,
}

/// The result of a check of all files.
#[derive(Debug)]
pub struct VerifyReport {
    /// One for each file that is there, oldest first.
    pub files: Vec<FileVerdict>,
    /// Files that others follow and that nobody removed knowingly: their names, and who names them.
    pub missing: Vec<(String, String)>,
    /// Anchors that are in no file.
    pub lost_anchors: Vec<ChainHead>,
}

impl VerifyReport {
    /// Whether nothing was found that a process of locum's doesn't leave.
    pub fn is_sound(&self) -> bool {
        self.files.iter().all(FileVerdict::is_sound) && self.missing.is_empty() && self.lost_anchors.is_empty()
    }
}

/// The result of a check of one file.
#[derive(Debug, Default)]
pub struct FileVerdict {
    /// The file's name.
    pub name: String,
    /// Good records, from the first on.
    pub records: u64,
    /// The hash of the last good one.
    pub head: ChainHead,
    /// Bytes after the last line feed: a process that was killed leaves them, and a live one is in the middle of a write.
    pub torn: usize,
    /// Whether a process may still write to it.
    pub live: bool,
    /// Why it could not be read on after the last good record.
    pub unreadable: Option<String>,
    /// The first bad line, counted from one, and what is wrong with it.
    pub fault: Option<(u64, ChainFault)>,
    /// The head that another file saw at this one's end, where it isn't the one found.
    pub expected: Option<(String, ChainHead)>,
    /// How many of its heads are signed by a key that is known.
    pub signatures: u64,
    /// How many are signed, by a key that isn't.
    pub unchecked: u64,
    /// Though its chain is whole, no key that is known has signed any of it: its process had none or another one, or somebody
    /// has rewritten it.
    pub unproven: bool,
    /// Where signatures are asked for: whether one is wrong, or more records come after the last than should.
    pub unsigned: bool,
    /// It was removed while others were read.
    gone: bool,
    /// Files that its records name: one that it follows, or some that were removed.
    claims: Vec<Claim>,
    anchors: Vec<ChainHead>,
}

#[derive(Debug)]
struct Claim {
    file: String,
    head: ChainHead,
    removed: bool,
}

impl Claim {
    /// Whether it takes the blame for a file that is gone. A chain can be written by anybody, so where heads are signed a
    /// good signature has to be behind it, unless neither file is from a time when there was a key.
    fn counts(&self, by: &AuditFile, signed: bool, checker: Option<&SignatureChecker>) -> bool {
        let asked = |checker: &SignatureChecker| checker.is_asked_of(&by.name) || checker.is_asked_of(&self.file);
        !self.removed || signed || !checker.is_some_and(asked)
    }
}

impl FileVerdict {
    /// Whether there is nothing to say of it but that it is whole, and whether that is proven.
    pub fn is_ordinary(&self) -> bool {
        self.is_sound() && !self.live && self.torn == 0
    }

    /// Whether the file is as it was written, up to its last whole record, as far as that can be checked: see `unproven`.
    pub fn is_sound(&self) -> bool {
        self.fault.is_none() && self.unreadable.is_none() && self.expected.is_none() && !self.unsigned
    }
}

impl fmt::Display for FileVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, fault)) = &self.fault {
            return write!(f, "BROKEN at line {line}: {fault}");
        }
        if let Some(why) = &self.unreadable {
            return write!(f, "BROKEN after its last good record: it can't be read on: {why}");
        }
        if let Some((by, head)) = &self.expected {
            return write!(f, "BROKEN at its end: {by} saw it end with {head}");
        }
        if self.unsigned {
            return f.write_str("BROKEN: its last head is not signed, or not by this key");
        }
        f.write_str(match (self.unproven, self.unchecked) {
            (false, _) => "ok",
            (true, 0) => "NOT PROVEN: chain ok, not signed",
            (true, _) => "NOT PROVEN: chain ok, signed by a key that is not here",
        })?;
        match (self.live, self.torn) {
            (true, _) => f.write_str(", still written to"),
            (false, 0) => Ok(()),
            (false, torn) => write!(f, " up to its last whole record; {torn} bytes of a torn one follow"),
        }
    }
}

/// Checks all files: their chains, that each ends where others say, and the proofs.
pub fn verify_all(dir: &Path, proofs: &Proofs) -> Result<VerifyReport, AuditError> {
    Ok(verify_files(&files(dir)?, proofs, &ReadProgress::default()))
}

/// The same for files that were listed before, with their bytes counted as they are read.
pub fn verify_files(files: &[AuditFile], proofs: &Proofs, progress: &ReadProgress) -> VerifyReport {
    let mut verdicts = at_once(files, |file| verify_counted(file, proofs, progress));
    verdicts.retain(|verdict| !verdict.gone);
    let claims: Vec<(String, Claim)> = verdicts
        .iter_mut()
        .flat_map(|verdict| verdict.claims.drain(..).map(|claim| (verdict.name.clone(), claim)).collect::<Vec<_>>())
        .collect();
    // Where old files are removed, those from before all that is left went with their time, and with them the records of
    // removals before theirs: the last one is always there.
    let removes = claims.iter().any(|(_, claim)| claim.removed);
    let oldest = verdicts.first().map(|v| stem(&v.name).to_owned()).unwrap_or_default();
    let removed: HashSet<&str> = claims.iter().filter(|(_, c)| c.removed).map(|(_, c)| stem(&c.file)).collect();
    let places: HashMap<String, usize> =
        verdicts.iter().enumerate().map(|(at, verdict)| (stem(&verdict.name).to_owned(), at)).collect();
    let mut missing = Vec::new();
    for (by, claim) in &claims {
        let name = stem(&claim.file);
        match places.get(name).and_then(|at| verdicts.get_mut(*at)) {
            Some(before) if before.head != claim.head => before.expected = Some((by.clone(), claim.head)),
            Some(_) => {}
            None if removes && name < oldest.as_str() || removed.contains(name) => {}
            None => missing.push((claim.file.clone(), by.clone())),
        }
    }
    let found: HashSet<ChainHead> = verdicts.iter().flat_map(|v| v.anchors.iter().copied()).collect();
    let lost_anchors = proofs.anchors.iter().copied().filter(|anchor| !found.contains(anchor)).collect();
    VerifyReport { files: verdicts, missing, lost_anchors }
}

/// Asks of every file, on all cores; the answers are in the files' order.
fn at_once<T: Send>(files: &[AuditFile], ask: impl Fn(&AuditFile) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut answers = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(at) else { return answers };
            answers.push((at, ask(file)));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(files.len());
    let mut answers: Vec<(usize, T)> = std::thread::scope(|scope| {
        // where the system gives no thread, this one does all
        let others: Vec<_> =
            (1..cores).filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok()).collect();
        let own = work();
        let answer = |other: ScopedJoinHandle<'_, _>| other.join().unwrap_or_else(|panic| resume_unwind(panic));
        others.into_iter().flat_map(answer).chain(own).collect()
    });
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// Checks one file.
pub fn verify(file: &AuditFile, proofs: &Proofs) -> FileVerdict {
    verify_counted(file, proofs, &ReadProgress::default())
}

fn verify_counted(file: &AuditFile, proofs: &Proofs, progress: &ReadProgress) -> FileVerdict {
    let mut verdict = FileVerdict { name: file.name.clone(), ..FileVerdict::default() };
    let input = match file.open_counted(progress.counter()) {
        Ok(input) => input,
        // one that is there and can't be opened hides no other
        Err(e) => {
            return FileVerdict { gone: e.is_of_a_file_that_is_gone(), unreadable: Some(e.to_string()), ..verdict };
        }
    };
    verdict.live = input.is_live();
    let mut lines = AuditLines::new(input);
    let mut verifier = ChainVerifier::default();
    let (mut signed, mut signed_claims) = (0, 0);
    while verdict.fault.is_none() {
        let line = match lines.next_line() {
            Ok(line) => line,
            Err(e) => {
                verdict.unreadable = Some(e.to_string());
                break;
            }
        };
        let judged = match line {
            None => break,
            Some(AuditLine::TooLong) => Err(ChainFault::NoRecord),
            Some(AuditLine::Whole(line)) => {
                let before = verifier.head();
                verifier.line(line).map(|_| {
                    if verdict.note(line, &before, verifier.lines(), proofs).is_some() {
                        (signed, signed_claims) = (verifier.lines(), verdict.claims.len());
                    }
                })
            }
        };
        verdict.fault = judged.err().map(|fault| (verifier.lines() + 1, fault));
        if proofs.anchors.contains(&verifier.head()) {
            verdict.anchors.push(verifier.head());
        }
    }
    verdict.torn = if verdict.fault.is_none() && verdict.unreadable.is_none() { lines.rest() } else { 0 };
    verdict.records = verifier.lines();
    verdict.head = verifier.head();
    let mut number = 0..;
    verdict.claims.retain(|claim| {
        let signed = number.next().is_some_and(|number| number < signed_claims);
        claim.counts(file, signed, proofs.checker.as_ref())
    });
    verdict.judge_signatures(signed, proofs.checker.as_ref());
    verdict
}

impl FileVerdict {
    /// Says whether signatures are as they should be, of which the last good one stands after `signed` records.
    fn judge_signatures(&mut self, signed: u64, checker: Option<&SignatureChecker>) {
        let is_asked = checker.is_some_and(|checker| checker.is_asked_of(&self.name));
        if self.signatures > 0 {
            // nobody has two keys, so one that signs some of a file's heads has signed all of them
            self.unsigned |= self.unchecked > 0 || is_asked && self.records - signed > SIGNED_EVERY;
            return;
        }
        // A file is signed from its second record on; only a process that was killed in between leaves one without.
        let is_bare = self.records > 1 && (is_asked || self.unchecked > 0);
        match checker.is_some_and(SignatureChecker::is_named) {
            true => self.unsigned |= is_bare,
            false => self.unproven = is_bare,
        }
    }

    /// Keeps what a good record, the `number`th, says of files; tells whether it holds a good signature of the head
    /// before it.
    fn note(&mut self, line: &[u8], before: &ChainHead, number: u64, proofs: &Proofs) -> Option<()> {
        memchr::memmem::find(line, br#","previous":""#)?;
        let file = member(line, "previous")?.text().into_owned();
        let head: ChainHead = member(line, "head")?.text().parse().ok()?;
        let Some(signature) = member(line, "signature") else {
            // the first one tells of a start, whatever it says
            let removed = number > 1 && member(line, "event")? != MemberValue::Text(b"start");
            self.claims.push(Claim { file, head, removed });
            return None;
        };
        let is_its_own = stem(&file) == stem(&self.name) && head == *before;
        let checker = proofs.checker.as_ref();
        let good = is_its_own && checker.is_some_and(|checker| checker.is_signed(&file, &head, &signature.text()));
        self.unsigned |= checker.is_some() && !is_its_own;
        self.signatures += u64::from(good);
        self.unchecked += u64::from(!good);
        good.then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::link;
    use crate::record::{Event, PreviousFile, Record};
    use std::path::PathBuf;
    use std::time::{Duration, UNIX_EPOCH};

    /// The first record of a file that follows another, or the record of its removal.
    fn naming(event: Event, file: &str) -> Record {
        let mut record = Record::new(UNIX_EPOCH, event, "audit");
        record.previous = Some(Box::new(PreviousFile { file: file.into(), head: ChainHead::ZERO.to_string() }));
        record
    }

    #[test]
    fn the_oldest_file_is_missed_unless_old_ones_are_removed_here() {
        let dir = tempfile::tempdir().unwrap();
        let first = "20261101T000000.000000Z-1.jsonl";
        write(dir.path(), 2, &[naming(Event::Start, first)]);
        let missing = verify_all(dir.path(), &Proofs::default()).unwrap().missing;
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert_eq!(missing[0].0, first);
        let removal = naming(Event::Admin, "20261030T000000.000000Z-1.jsonl");
        write(dir.path(), 3, std::slice::from_ref(&removal));
        assert_eq!(
            verify_all(dir.path(), &Proofs::default()).unwrap().missing.len(),
            2,
            "a first record is of a start"
        );
        write(dir.path(), 3, &[Record::new(UNIX_EPOCH, Event::Start, "audit"), removal]);
        assert!(verify_all(dir.path(), &Proofs::default()).unwrap().is_sound());
    }

    #[test]
    fn a_file_that_can_not_be_read_on_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let record = |second| Record::new(UNIX_EPOCH + Duration::from_secs(second), Event::Exchange, "x");
        let first = write(dir.path(), 1, &(0..2000).map(record).collect::<Vec<_>>());
        write(dir.path(), 2, &[record(9)]);
        let packed = zstd::encode_all(&std::fs::read(&first).unwrap()[..], 1).unwrap();
        std::fs::write(first.with_extension("jsonl.zst"), &packed[..packed.len() / 2]).unwrap();
        std::fs::remove_file(&first).unwrap();
        let files = verify_all(dir.path(), &Proofs::default()).unwrap().files;
        assert!(!files[0].is_sound() && files[0].to_string().contains("can't be read on"), "{}", files[0]);
        assert!(files[1].is_sound() && files[1].records == 1, "{}", files[1]);
        // and so in a query, which tells of it in the end
        let mut merge =
            crate::audit::read::query::Merge::new(dir.path(), crate::audit::read::filter::Filter::default()).unwrap();
        let mut seen = 0;
        let read = merge.run(|_| {
            seen += 1;
            Ok(())
        });
        assert!(read.is_ok() && merge.damage().unwrap_err().to_string().contains("jsonl.zst") && seen >= 1);
    }

    /// A file begun on `day` with these records.
    fn write(dir: &Path, day: u32, records: &[Record]) -> PathBuf {
        let (mut head, mut bytes) = (ChainHead::ZERO, Vec::new());
        for (seq, record) in records.iter().enumerate() {
            let mut members = Vec::new();
            record.write_members(&mut members);
            head = link(&head, seq as u64, &members, &mut bytes);
        }
        let path = dir.join(format!("202611{day:02}T000000.000000Z-1.jsonl"));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn a_file_that_was_cut_after_another_followed_it_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let record = |second| Record::new(UNIX_EPOCH + Duration::from_secs(second), Event::Exchange, "x");
        let first = write(dir.path(), 1, &(0..10).map(record).collect::<Vec<_>>());
        let verdict = verify(&files(dir.path()).unwrap()[0], &Proofs::default());
        let mut start = Record::new(UNIX_EPOCH, Event::Start, "audit");
        start.previous = Some(Box::new(PreviousFile { file: verdict.name.clone(), head: verdict.head.to_string() }));
        write(dir.path(), 2, &[start]);
        assert!(verify_all(dir.path(), &Proofs::default()).unwrap().is_sound());
        let bytes = std::fs::read(&first).unwrap();
        let cut = memchr::memrchr(b'\n', &bytes[..bytes.len() - 1]).unwrap() + 1;
        std::fs::write(&first, &bytes[..cut]).unwrap();
        let verdicts = verify_all(dir.path(), &Proofs::default()).unwrap().files;
        assert!(verdicts[0].to_string().starts_with("BROKEN at its end"), "{}", verdicts[0]);
        std::fs::write(&first, &bytes[..cut + 9]).unwrap();
        assert_eq!(verify(&files(dir.path()).unwrap()[0], &Proofs::default()).torn, 9);
    }
}
