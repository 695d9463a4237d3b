//! The file that is written now: begun, left for another, repaid after a failure, signed. Knows no queue and no waiting.

use super::batch::{Batch, MAX_QUEUED};
use super::config::{Durability, LogConfig, LogUpkeep};
use super::file::{self, ChainFile};
use crate::audit::error::AuditError;
use crate::audit::folder;
use crate::audit::signature;
use crate::record::{Event, PreviousFile, Record};
use std::fs::File;
use std::time::SystemTime;

/// The file, and what it still owes.
#[derive(Debug)]
pub struct LogWriter {
    pub config: LogConfig,
    pub upkeep: LogUpkeep,
    pub file: Option<ChainFile>,
    /// How the next file's first record begins, and what it follows.
    follows: (String, Option<PreviousFile>),
    /// Records that nobody waited for, from before the disk failed; the first `repaid` are in the file again.
    backlog: Batch,
    repaid: usize,
    lost: u64,
    pub now: SystemTime,
    /// The number of records at which the next signature is due.
    sign_at: u64,
    /// A file was begun, so there may be one to compress.
    pub tidy_due: bool,
    members: Vec<u8>,
}

impl LogWriter {
    /// Begins a file.
    ///
    /// # Errors
    /// When the folder can't be made or written to, or is open to others.
    pub fn open(config: LogConfig, upkeep: LogUpkeep, now: SystemTime) -> Result<Self, AuditError> {
        file::make_dir(&config.dir)?;
        let follows = folder::last_ending(&config.dir).map_or((String::new(), None), |(name, ending)| {
            let torn = if ending.torn > 0 {
                format!("; {name} ends in {} bytes of a torn record: its process was killed", ending.torn)
            } else {
                String::new()
            };
            (torn, ending.head.map(|head| PreviousFile { file: name, head: head.to_string() }))
        });
        let mut writer = LogWriter {
            config,
            upkeep,
            file: None,
            follows,
            backlog: Batch::default(),
            repaid: 0,
            lost: 0,
            now,
            sign_at: 0,
            tidy_due: false,
            members: Vec::new(),
        };
        writer.begin(Some(writer.config.action))?;
        Ok(writer)
    }

    /// Writes all that is owed and then `batch`; tells how many of the batch's records are in the file for certain. Those
    /// that aren't and that nobody waits for are owed from then on.
    pub fn write(&mut self, batch: &Batch, lost: u64) -> (usize, Result<(), AuditError>) {
        self.lost += lost;
        self.now = batch.newest.map_or(self.now, |at| at.max(self.now));
        let (mut written, result) = match self.repay() {
            Ok(()) => self.append(batch),
            Err(error) => (0, Err(error)),
        };
        if batch.removes {
            self.sign_at = 0;
        }
        let result = result.and_then(|()| self.sign()).and_then(|()| self.sync());
        if result.is_err() && self.config.durability == Durability::Fsync {
            written = 0;
        }
        if result.is_err() {
            self.owe(batch, written);
        }
        (written, result)
    }

    fn append(&mut self, batch: &Batch) -> (usize, Result<(), AuditError>) {
        self.write_records(batch.records().map(|(members, _)| members))
    }

    /// Writes records, with a signature after every so many.
    fn write_records<'a>(&mut self, records: impl Iterator<Item = &'a [u8]>) -> (usize, Result<(), AuditError>) {
        let mut records = records.peekable();
        let mut total = 0;
        while records.peek().is_some() {
            let Some(file) = &mut self.file else { return (total, Err(AuditError::Closed)) };
            let (written, result) = file.write(records.by_ref().take(signature::EVERY as usize));
            total += written;
            if let Err(error) = result {
                return (total, Err(AuditError::io("write to", file.path())(error)));
            }
            if let Err(error) = self.sign() {
                return (total, Err(error));
            }
        }
        (total, Ok(()))
    }

    /// Sees to it that there is a file to write to, and writes what was owed.
    fn repay(&mut self) -> Result<(), AuditError> {
        self.look_after()?;
        if !self.backlog.entries.is_empty() {
            let backlog = std::mem::take(&mut self.backlog);
            let (repaid, result) = self.write_records(backlog.records().skip(self.repaid).map(|(members, _)| members));
            self.backlog = backlog;
            self.repaid += repaid;
            result?;
            self.backlog.clear();
            self.repaid = 0;
        }
        if self.lost == 0 {
            return Ok(());
        }
        let mut notice = Record::new(self.now, Event::Anomaly, "audit");
        notice.count = Some(self.lost);
        notice.reason = Some("records that nobody waited for were dropped while the audit could not be written".into());
        self.write_own(&notice)?;
        self.lost = 0;
        Ok(())
    }

    fn write_own(&mut self, record: &Record) -> Result<(), AuditError> {
        let Some(file) = &mut self.file else { return Err(AuditError::Closed) };
        self.members.clear();
        record.write_members(&mut self.members);
        let (_, result) = file.write(std::iter::once(self.members.as_slice()));
        result.map_err(AuditError::io("write to", file.path()))
    }

    /// Signs the head where that is due.
    fn sign(&mut self) -> Result<(), AuditError> {
        let (Some(signer), Some(file)) = (&self.upkeep.signer, &self.file) else { return Ok(()) };
        if file.records() < self.sign_at {
            return Ok(());
        }
        let at = file.standing();
        self.sign_at = file.records() + signature::EVERY;
        let mut record = Record::new(self.now, Event::Admin, "audit");
        record.signature = Some(signer.sign(&at));
        record.previous = Some(Box::new(at));
        self.write_own(&record)
    }

    /// Leaves the file where it is full or was touched, and begins another.
    fn look_after(&mut self) -> Result<(), AuditError> {
        if let Some(file) = &mut self.file {
            let disturbed = file.disturbed(self.now);
            let why = match disturbed {
                None if file.len() < self.config.max_file_bytes => return Ok(()),
                None => format!("; continues {}", file.name()),
                Some(what) => format!("; {} {what} after {} records", file.name(), file.records()),
            };
            self.follows = (why, Some(file.standing()));
            if disturbed.is_some() {
                self.file = None;
            }
        }
        self.begin(None)
    }

    /// Begins a file, the first one of this process with what that does.
    fn begin(&mut self, action: Option<&'static str>) -> Result<(), AuditError> {
        let mut first = Record::new(self.now, Event::Start, "audit");
        (first.action, first.by) = (action, Some(self.config.by.clone()));
        first.reason = Some(format!("{}{}", self.config.about, self.follows.0));
        first.previous = self.follows.1.clone().map(Box::new);
        let file = ChainFile::begin(&self.config.dir, &first, &mut self.members)?;
        if self.config.durability == Durability::Fsync {
            file.sync().map_err(AuditError::io("sync", file.path()))?;
            let dir = &self.config.dir;
            File::open(dir).and_then(|d| d.sync_all()).map_err(AuditError::io("sync", dir))?;
        }
        self.file = Some(file);
        self.tidy_due = true;
        self.sign_at = 0;
        self.sign()
    }

    /// Brings the file to the disk, where the durability asks for it.
    pub fn sync(&mut self) -> Result<(), AuditError> {
        if self.config.durability == Durability::Write {
            return Ok(());
        }
        let Some(file) = &self.file else { return Ok(()) };
        let Err(error) = file.sync() else { return Ok(()) };
        let error = AuditError::io("sync", file.path())(error);
        // The kernel has forgotten which pages failed: what this file holds can't be known any more.
        self.follows = (format!("; {} could not be synced to its disk", file.name()), Some(file.standing()));
        self.file = None;
        Err(error)
    }

    /// Signs the last head, for a file that nothing more comes to.
    pub fn finish(&mut self) -> Result<(), AuditError> {
        self.sign_at = 0;
        self.sign()?;
        self.sync()
    }

    fn owe(&mut self, batch: &Batch, written: usize) {
        for (members, _) in batch.records().skip(written).filter(|(_, entry)| !entry.waited) {
            if self.backlog.bytes.len() + members.len() > MAX_QUEUED {
                self.lost += 1;
            } else {
                self.backlog.push(members, false);
            }
        }
    }

    /// Whether something is owed.
    pub fn is_behind(&self) -> bool {
        !self.backlog.entries.is_empty() || self.lost > 0
    }
}

/// So that a file that is gone can be told from one that was taken away.
pub fn removal(now: SystemTime, file: PreviousFile) -> Record {
    let mut record = Record::new(now, Event::Admin, "audit");
    record.reason = Some(format!("removed {}, which was older or more than is kept", file.file));
    record.previous = Some(Box::new(file));
    record
}
