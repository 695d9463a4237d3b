//! Who writes what is queued, and when: whoever waits for a record, or a flush that was scheduled, for all at once.

use super::{LINGER, RETRY, Shared};
use crate::audit::write::batch::{Batch, Outcome};
use crate::audit::{AuditError, Durability};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::runtime::Handle;

/// The duty to write a batch. Done in `drop`, so that a runtime that ends before its blocking threads begin loses nothing.
pub(crate) struct Turn {
    pub shared: Arc<Shared>,
    pub batch: Batch,
    pub lost: u64,
    /// Whether what is left is tried again by itself.
    pub retry: bool,
}

impl Turn {
    /// A write goes to the page cache and is done here: waking another thread costs ten times as much. A sync takes
    /// milliseconds, and what queues meanwhile shares the next.
    pub fn run(self) {
        match Handle::try_current() {
            Ok(runtime) if self.shared.durability == Durability::Fsync => drop(runtime.spawn_blocking(|| drop(self))),
            _ => drop(self),
        }
    }
}

impl Drop for Turn {
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
            Some(Err(error)) => tracing::warn!("{error}, so no key is used until it can; {}", error.hint()),
            Some(Ok(())) => tracing::warn!("the audit is written again"),
            None => {}
        }
        wakers.into_iter().for_each(Waker::wake);
        if due {
            Due::schedule(&self.shared, if behind { RETRY } else { LINGER });
        }
    }
}

/// A flush that is to come. Done in `drop`: when its time has come, or its runtime ends before that.
pub(crate) struct Due {
    shared: Arc<Shared>,
    elapsed: bool,
}

impl Due {
    pub fn schedule(shared: &Arc<Shared>, after: Duration) {
        let due = Due { shared: shared.clone(), elapsed: false };
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

impl Drop for Due {
    fn drop(&mut self) {
        self.shared.queue().due = false;
        // A runtime that ends drops at once what is scheduled there: a retry would come back here for ever.
        self.shared.flush_now(self.elapsed);
    }
}

/// Resolves when its records are in the file.
///
/// On its first poll it steps back once, so that whatever else is ready may queue too; whoever comes back first writes for all.
#[derive(Debug)]
#[must_use = "records are only known to be written when this has resolved"]
pub struct Commit {
    shared: Arc<Shared>,
    outcome: Arc<Outcome>,
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
    pub(super) fn new(shared: Arc<Shared>, outcome: Arc<Outcome>, refused: Option<AuditError>) -> Self {
        Commit { shared, outcome, refused, yielded: false }
    }

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
            Due::schedule(&self.shared, LINGER);
        }
    }
}
