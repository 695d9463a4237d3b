//! The queue of records, and group commit: all that is queued is written by whoever waits for a record, or a flush that
//! was scheduled, for all at once.

use crate::audit::error::AuditError;
use crate::audit::write::batch::{Batch, CommitOutcome, MAX_QUEUED, encoded};
use crate::audit::write::config::{Durability, LogConfig};
use crate::audit::write::tidy;
use crate::audit::write::writer::{LogWriter, removal};
use crate::record::Record;
use std::borrow::Borrow;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::runtime::{Builder, Handle};

/// How long a record that nobody waits for may stay in memory: at load the next commit takes it along for nothing.
pub(super) const LINGER: Duration = Duration::from_millis(5);

/// How long after a failed write the queue tries again by itself.
const RETRY: Duration = Duration::from_secs(1);

/// The queue of one log, and the writer of its file.
#[derive(Debug)]
pub(super) struct LogQueue {
    queue: Mutex<QueuedRecords>,
    /// Held by whoever is `QueuedRecords::writing`, and briefly by those who ask for the head.
    writer: Mutex<LogWriter>,
    pub durability: Durability,
    pub exchanges: bool,
}

/// Records that wait to be written. Never locked during a write.
#[derive(Debug, Default)]
pub(super) struct QueuedRecords {
    batch: Batch,
    /// An empty batch with the capacity of an earlier one.
    spare: Option<Batch>,
    writing: bool,
    /// Those whose records are being written, or came too late for it.
    wakers: Vec<Waker>,
    /// A task will flush soon.
    due: bool,
    lost: u64,
    pub closed: bool,
    failure: Option<AuditError>,
}

impl QueuedRecords {
    /// Takes records that nobody waits for, or counts them as lost; tells whether a flush has to be scheduled.
    pub fn admit(&mut self, draft: &Batch) -> bool {
        if self.closed || self.batch.bytes.len() + draft.bytes.len() > MAX_QUEUED {
            self.lost += draft.entries.len() as u64;
            return false;
        }
        self.batch.extend(draft);
        !std::mem::replace(&mut self.due, true)
    }

    fn admit_waited(&mut self, draft: &Batch, outcome: &Arc<CommitOutcome>) -> Result<(), AuditError> {
        if self.closed {
            return Err(AuditError::Closed);
        }
        if self.batch.bytes.len() + draft.bytes.len() > MAX_QUEUED {
            return Err(self.failure.clone().unwrap_or(AuditError::Overfull));
        }
        self.batch.extend(draft);
        self.batch.waiters.push((self.batch.entries.len(), outcome.clone()));
        Ok(())
    }
}

impl LogQueue {
    /// An empty queue before `writer`.
    pub fn new(writer: LogWriter) -> Arc<Self> {
        let LogConfig { durability, exchanges, .. } = writer.config;
        Arc::new(Self { queue: Mutex::default(), writer: Mutex::new(writer), durability, exchanges })
    }

    /// Never held during a write.
    pub fn queue(&self) -> MutexGuard<'_, QueuedRecords> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held during a write.
    pub fn writer(&self) -> MutexGuard<'_, LogWriter> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues records that somebody waits for.
    pub fn commit<R: Borrow<Record>>(self: &Arc<Self>, records: impl IntoIterator<Item = R>) -> Commit {
        let outcome = Arc::new(CommitOutcome::default());
        let refused = encoded(records, true, |draft| self.queue().admit_waited(draft, &outcome)).err();
        Commit { shared: self.clone(), outcome, refused, yielded: false }
    }

    /// Takes all that is queued, with the duty to write it.
    fn turn(self: &Arc<Self>, queue: &mut QueuedRecords, retry: bool) -> WriteTurn {
        queue.writing = true;
        let spare = queue.spare.take().unwrap_or_default();
        let batch = std::mem::replace(&mut queue.batch, spare);
        WriteTurn { shared: self.clone(), batch, lost: std::mem::take(&mut queue.lost), retry }
    }

    /// In a thread of its own: compressing takes long, and nobody waits for it.
    pub fn tidy_if_due(self: &Arc<Self>) {
        let mut writer = self.writer();
        if !std::mem::take(&mut writer.tidy_due) {
            return;
        }
        let (dir, retention, now) = (writer.config.dir.clone(), writer.upkeep.retention.clone(), writer.now);
        drop(writer);
        let queue = Arc::downgrade(self);
        let folder = dir.clone();
        let tell = move |file| {
            let queue = queue.upgrade().ok_or(AuditError::Closed)?;
            let runtime = Builder::new_current_thread().enable_time().build();
            let runtime = runtime.map_err(AuditError::io("write to", &folder))?;
            runtime.block_on(queue.commit([removal(now, file)]))
        };
        let work = move || match tidy::tidy(&dir, &retention, now, tell) {
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

impl Drop for LogQueue {
    fn drop(&mut self) {
        let queue = self.queue.get_mut().unwrap_or_else(PoisonError::into_inner);
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !queue.batch.is_empty() || writer.is_behind() {
            let _ = writer.write(&queue.batch, queue.lost);
        }
    }
}

/// The duty to write a batch. Done in `drop`, so that a runtime that ends before its blocking threads begin loses nothing.
struct WriteTurn {
    shared: Arc<LogQueue>,
    batch: Batch,
    lost: u64,
    /// Whether what is left is tried again by itself.
    retry: bool,
}

impl WriteTurn {
    /// A write goes to the page cache and is done here: waking another thread costs ten times as much. A sync takes
    /// milliseconds, and what queues meanwhile shares the next.
    fn run(self) {
        match Handle::try_current() {
            Ok(runtime) if self.shared.durability == Durability::Fsync => drop(runtime.spawn_blocking(|| drop(self))),
            _ => drop(self),
        }
    }
}

impl Drop for WriteTurn {
    fn drop(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        let mut writer = self.shared.writer();
        let (written, result) = writer.write(&batch, self.lost);
        let behind = writer.is_behind();
        drop(writer);
        self.shared.tidy_if_due();
        for (end, outcome) in &batch.waiters {
            outcome.set(result.is_ok() || (1..=written).contains(end));
        }
        batch.clear();

        let mut queue = self.shared.queue();
        queue.writing = false;
        let was = std::mem::replace(&mut queue.failure, result.err());
        let change = match (&was, &queue.failure) {
            (None, Some(error)) => Some(Err(error.clone())),
            (Some(_), None) => Some(Ok(())),
            _ => None,
        };
        queue.spare = Some(batch);
        let wakers = std::mem::take(&mut queue.wakers);
        let left = !queue.batch.entries.is_empty() && wakers.is_empty();
        let due = self.retry && (left || behind) && !std::mem::replace(&mut queue.due, true);
        drop(queue);
        match change {
            Some(Err(error)) => tracing::error!("{error}, so no key is used until it can; {}", error.hint()),
            Some(Ok(())) => tracing::warn!("the audit is written again"),
            None => {}
        }
        wakers.into_iter().for_each(Waker::wake);
        if due {
            ScheduledFlush::schedule(&self.shared, if behind { RETRY } else { LINGER });
        }
    }
}

/// A flush that is to come. Done in `drop`: when its time has come, or its runtime ends before that.
pub(super) struct ScheduledFlush {
    shared: Arc<LogQueue>,
    elapsed: bool,
}

impl ScheduledFlush {
    /// Flushes after a while, where a runtime is there to wait.
    pub fn schedule(shared: &Arc<LogQueue>, after: Duration) {
        let due = ScheduledFlush { shared: shared.clone(), elapsed: false };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(after).await;
                due.ripen();
            });
        }
    }

    fn ripen(mut self) {
        self.elapsed = true;
    }
}

impl Drop for ScheduledFlush {
    fn drop(&mut self) {
        self.shared.queue().due = false;
        // A runtime that ends drops at once what is scheduled there: a retry would come back here for ever.
        self.shared.flush_now(self.elapsed);
    }
}

/// Resolves when its records are in the file.
///
/// On its first poll it steps back once, so that whatever else is ready may queue too; whoever comes back first writes
/// for all.
#[derive(Debug)]
#[must_use = "records are only known to be written when this has resolved"]
pub struct Commit {
    shared: Arc<LogQueue>,
    outcome: Arc<CommitOutcome>,
    refused: Option<AuditError>,
    yielded: bool,
}

impl Future for Commit {
    type Output = Result<(), AuditError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(error) = &self.refused {
            return Poll::Ready(Err(error.clone()));
        }
        loop {
            if let Some(written) = self.outcome.get() {
                return Poll::Ready(if written { Ok(()) } else { Err(self.failure()) });
            }
            if !std::mem::replace(&mut self.yielded, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut queue = self.shared.queue();
            if self.outcome.get().is_some() {
                continue;
            }
            let elsewhere = queue.writing;
            if elsewhere || self.shared.durability == Durability::Fsync {
                queue.wakers.push(cx.waker().clone());
            }
            if elsewhere {
                return Poll::Pending;
            }
            let turn = self.shared.turn(&mut queue, true);
            drop(queue);
            turn.run();
            if self.shared.durability == Durability::Fsync && self.outcome.get().is_none() {
                return Poll::Pending;
            }
        }
    }
}

impl Commit {
    fn failure(&self) -> AuditError {
        // A success of others may have come between; then the disk is back, and this one still was not written.
        self.shared.queue().failure.clone().unwrap_or(AuditError::Overfull)
    }
}

impl Drop for Commit {
    /// The client hung up: its record is queued and may be what others wait behind.
    fn drop(&mut self) {
        if self.refused.is_some() || self.outcome.get().is_some() {
            return;
        }
        if !std::mem::replace(&mut self.shared.queue().due, true) {
            ScheduledFlush::schedule(&self.shared, LINGER);
        }
    }
}
