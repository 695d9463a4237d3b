//! One writer for all runtimes: records queue unlinked, and whoever needs one in the file first writes all that queued (group
//! commit without a thread or a timer). Reads nothing back.

mod commit;
#[cfg(test)]
mod tests;

use super::batch::{Batch, Outcome, encoded};
pub use super::writer::{Care, Config, Durability};
use super::writer::{Writer, removal};
use super::{file::ChainFile, tidy};
use crate::audit::AuditError;
use crate::record::{Event, PreviousFile, Record};
pub use commit::Commit;
use commit::{Due, Turn};
use std::borrow::Borrow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, SystemTime};
use tokio::runtime::Builder;

/// What may queue while the disk is away; more is counted and told once it is back.
pub(crate) const QUEUE: usize = 4 * 1024 * 1024;

/// How long a record that nobody waits for may stay in memory: at load the next commit takes it along for nothing.
const LINGER: Duration = Duration::from_millis(5);

/// How long after a failed write the queue tries again by itself.
const RETRY: Duration = Duration::from_secs(1);

/// The audit, to be shared; the last one to be dropped writes what is queued.
#[derive(Debug, Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Held by whoever is `Queue::writing`, and briefly by those who ask for the head.
    writer: Mutex<Writer>,
    durability: Durability,
    exchanges: bool,
}

/// What waits to be written. Never locked during a write.
#[derive(Debug, Default)]
struct Queue {
    batch: Batch,
    /// An empty batch with the capacity of an earlier one.
    spare: Option<Batch>,
    writing: bool,
    /// Those whose records are being written, or came too late for it.
    wakers: Vec<Waker>,
    /// A task will flush soon.
    due: bool,
    lost: u64,
    closed: bool,
    failure: Option<AuditError>,
}

impl Log {
    /// Makes the folder where needed and begins a file there.
    pub fn open(config: Config, now: SystemTime) -> Result<Log, AuditError> {
        Log::open_with(config, Care::default(), now)
    }

    /// The same; old files are looked after in the background, now and whenever a file is full.
    pub fn open_with(config: Config, care: Care, now: SystemTime) -> Result<Log, AuditError> {
        let (durability, exchanges) = (config.durability, config.exchanges);
        let writer = Mutex::new(Writer::open(config, care, now)?);
        let shared = Arc::new(Shared { queue: Mutex::default(), writer, durability, exchanges });
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
            Due::schedule(&self.shared, LINGER);
        }
    }

    /// Queues records and resolves when they are in the file, on the disk with `Durability::Fsync`.
    ///
    /// Records of a commit that failed are not written later. Dropping the future doesn't take them back.
    pub fn commit<R: Borrow<Record>>(&self, records: impl IntoIterator<Item = R>) -> Commit {
        let outcome = Arc::new(Outcome::default());
        let refused = encoded(records, true, |draft| self.shared.queue().admit_waited(draft, &outcome)).err();
        Commit::new(self.shared.clone(), outcome, refused)
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

impl Queue {
    /// Takes records that nobody waits for, or counts them as lost; tells whether a flush has to be scheduled.
    fn admit(&mut self, draft: &Batch) -> bool {
        if self.closed || self.batch.bytes.len() + draft.bytes.len() > QUEUE {
            self.lost += draft.entries.len() as u64;
            return false;
        }
        self.batch.extend(draft);
        !std::mem::replace(&mut self.due, true)
    }

    fn admit_waited(&mut self, draft: &Batch, outcome: &Arc<Outcome>) -> Result<(), AuditError> {
        if self.closed {
            return Err(AuditError::Closed);
        }
        if self.batch.bytes.len() + draft.bytes.len() > QUEUE {
            return Err(self.failure.clone().unwrap_or(AuditError::Overfull));
        }
        self.batch.extend(draft);
        self.batch.waiters.push((self.batch.entries.len(), outcome.clone()));
        Ok(())
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all that is queued, with the duty to write it.
    fn turn(self: &Arc<Self>, queue: &mut Queue, retry: bool) -> Turn {
        queue.writing = true;
        let spare = queue.spare.take().unwrap_or_default();
        let batch = std::mem::replace(&mut queue.batch, spare);
        Turn { shared: self.clone(), batch, lost: std::mem::take(&mut queue.lost), retry }
    }

    /// In a thread of its own: compressing takes long, and nobody waits for it.
    fn tidy_if_due(self: &Arc<Self>) {
        let mut writer = self.writer();
        if !std::mem::take(&mut writer.tidy_due) {
            return;
        }
        let (dir, keeping, now) = (writer.config.dir.clone(), writer.care.keeping.clone(), writer.now);
        drop(writer);
        let shared = Arc::downgrade(self);
        let folder = dir.clone();
        let tell = move |file| {
            let log = Log { shared: shared.upgrade().ok_or(AuditError::Closed)? };
            let runtime = Builder::new_current_thread().enable_time().build();
            let runtime = runtime.map_err(AuditError::io("write to", &folder))?;
            runtime.block_on(log.commit([removal(now, file)]))
        };
        let work = move || match tidy::tidy(&dir, &keeping, now, tell) {
            // what is left is removed the next time
            Ok(()) | Err(AuditError::Closed) => {}
            Err(error) => tracing::warn!("{error}; {}", error.hint()),
        };
        if let Err(error) = std::thread::Builder::new().name("audit-tidy".into()).spawn(work) {
            tracing::warn!("old files of the audit stay as they are: {error}");
        }
    }

    fn flush_now(self: &Arc<Self>, retry: bool) {
        let mut queue = self.queue();
        // Who writes now sees what is left over.
        if queue.writing {
            return;
        }
        let turn = self.turn(&mut queue, retry);
        drop(queue);
        turn.run();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let queue = self.queue.get_mut().unwrap_or_else(PoisonError::into_inner);
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !queue.batch.is_empty() || writer.is_behind() {
            let _ = writer.write(&queue.batch, queue.lost);
        }
    }
}
