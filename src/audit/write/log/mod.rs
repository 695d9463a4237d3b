//! One writer for all runtimes: records queue unlinked, and whoever needs one in the file first writes all that queued
//! (group commit without a thread or a timer). Reads nothing back.

mod queue;
#[cfg(test)]
mod tests;

pub use queue::Commit;

use super::batch::encoded;
use super::config::{LogConfig, LogUpkeep};
use super::file::ChainFile;
use super::writer::LogWriter;
use crate::audit::error::AuditError;
use crate::record::{Event, PreviousFile, Record};
use queue::{LINGER, LogQueue, ScheduledFlush};
use std::borrow::Borrow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// The audit, to be shared; the last one to be dropped writes what is queued.
#[derive(Debug, Clone)]
pub struct Log {
    shared: Arc<LogQueue>,
}

impl Log {
    /// Makes the folder where needed and begins a file there.
    pub fn open(config: LogConfig, now: SystemTime) -> Result<Log, AuditError> {
        Log::open_with(config, LogUpkeep::default(), now)
    }

    /// The same; old files are looked after in the background, now and whenever a file is full.
    pub fn open_with(config: LogConfig, upkeep: LogUpkeep, now: SystemTime) -> Result<Log, AuditError> {
        let shared = LogQueue::new(LogWriter::open(config, upkeep, now)?);
        shared.tidy_if_due();
        Ok(Log { shared })
    }

    /// Queues a record that nobody waits for; it is in the file a few milliseconds later.
    pub fn append(&self, record: &Record) {
        if record.event == Event::Exchange && !self.shared.exchanges {
            return;
        }
        let due = encoded([record], false, |draft| self.shared.queue().admit(draft));
        if due {
            ScheduledFlush::schedule(&self.shared, LINGER);
        }
    }

    /// Queues records and resolves when they are in the file, on the disk with `Durability::Fsync`.
    ///
    /// Records of a commit that failed are not written later. Dropping the future doesn't take them back.
    pub fn commit<R: Borrow<Record>>(&self, records: impl IntoIterator<Item = R>) -> Commit {
        self.shared.commit(records)
    }

    /// Resolves when all that was queued before is in the file.
    pub fn flush(&self) -> Commit {
        self.commit([] as [Record; 0])
    }

    /// Writes what is queued, and `stop` as the last record; what comes later is refused.
    pub async fn close(&self, stop: Record) -> Result<(), AuditError> {
        let last = self.commit([stop]);
        self.shared.queue().closed = true;
        last.await?;
        self.shared.writer().finish()
    }

    /// Where the chain stands: for an anchor elsewhere.
    pub fn head(&self) -> Option<PreviousFile> {
        let writer = self.shared.writer();
        writer.file.as_ref().map(ChainFile::standing)
    }

    /// The file that is being written.
    pub fn path(&self) -> Option<PathBuf> {
        self.shared.writer().file.as_ref().map(|f| f.path().to_owned())
    }
}
