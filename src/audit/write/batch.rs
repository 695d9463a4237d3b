//! Records on their way to the file: encoded, queued, and the answer to those who wait. Knows no file.

use crate::record::Record;
use std::borrow::Borrow;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::SystemTime;

/// Bytes that may queue while the disk is away; more is counted and told once it is back.
pub const MAX_QUEUED: usize = 4 * 1024 * 1024;

/// Buffers that grew beyond this in a bad moment are let go.
const KEPT_CAPACITY: usize = 256 * 1024;

/// Records as members without braces, one after the other.
#[derive(Debug, Default)]
pub struct Batch {
    pub bytes: Vec<u8>,
    pub entries: Vec<BatchEntry>,
    /// Who waits for the entries before the number.
    pub waiters: Vec<(usize, Arc<CommitOutcome>)>,
    pub newest: Option<SystemTime>,
    /// Whether any tells of a file that goes: that counts once it is signed.
    pub removes: bool,
}

/// A record's place in a batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchEntry {
    end: usize,
    /// Somebody waits for it: where it can't be written its exchange doesn't happen, so it must not be written later.
    pub waited: bool,
}

impl Batch {
    /// Adds a record that is encoded already.
    pub fn push(&mut self, members: &[u8], waited: bool) {
        self.bytes.extend_from_slice(members);
        self.entries.push(BatchEntry { end: self.bytes.len(), waited });
    }

    /// Adds a record.
    pub fn encode(&mut self, record: &Record, waited: bool) {
        record.write_members(&mut self.bytes);
        self.entries.push(BatchEntry { end: self.bytes.len(), waited });
        self.newest = self.newest.max(Some(record.at));
        self.removes |= record.previous.is_some();
    }

    /// Adds the records of another batch.
    pub fn extend(&mut self, other: &Batch) {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.entries.extend(other.entries.iter().map(|e| BatchEntry { end: before + e.end, ..*e }));
        self.newest = self.newest.max(other.newest);
        self.removes |= other.removes;
    }

    /// Each record's members, in their order.
    pub fn records(&self) -> impl Iterator<Item = (&[u8], BatchEntry)> {
        let starts = std::iter::once(0).chain(self.entries.iter().map(|e| e.end));
        starts.zip(&self.entries).map(|(start, e)| (&self.bytes[start..e.end], *e))
    }

    /// Whether there is nothing to write and nobody to tell.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.waiters.is_empty()
    }

    /// Forgets all, and keeps the buffers.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_CAPACITY);
        self.entries.clear();
        self.waiters.clear();
        self.newest = None;
        self.removes = false;
    }
}

/// Encodes outside of all locks, into a buffer that each thread keeps.
pub fn encoded<R: Borrow<Record>, T>(
    records: impl IntoIterator<Item = R>,
    waited: bool,
    then: impl FnOnce(&Batch) -> T,
) -> T {
    thread_local!(static DRAFT: Cell<Batch> = Cell::default());
    let mut draft = DRAFT.take();
    for record in records {
        draft.encode(record.borrow(), waited);
    }
    let result = then(&draft);
    draft.clear();
    DRAFT.set(draft);
    result
}

/// The outcome of one commit, once it is known: whether its records are in the file.
#[derive(Debug, Default)]
pub struct CommitOutcome(AtomicU8);

impl CommitOutcome {
    const WRITTEN: u8 = 1;
    const FAILED: u8 = 2;

    /// Tells it to those who wait.
    pub fn set(&self, written: bool) {
        self.0.store(if written { Self::WRITTEN } else { Self::FAILED }, Ordering::Release);
    }

    /// Whether they are in the file; `None` while that isn't known.
    pub fn get(&self) -> Option<bool> {
        match self.0.load(Ordering::Acquire) {
            Self::WRITTEN => Some(true),
            Self::FAILED => Some(false),
            _ => None,
        }
    }
}
