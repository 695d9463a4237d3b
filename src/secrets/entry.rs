//! A key in the table: its source, its sealed value, and what the source said last.

use super::error::SecretError;
use super::keys::OpenedKey;
use super::past::{MAX_VALUES, PastValues};
use super::source::{Freshness, SecretSource, SourceError};
use crate::memory::{Plaintext, Sealed};
use crate::name::KeyName;
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// How often a source is asked whether its value changed: a rotation is in use a second later.
pub(super) const CHECK_EVERY: Duration = Duration::from_millis(900);
/// A source that keeps failing is asked by itself every minute at last.
const MAX_DOUBLINGS: u32 = 6;

/// A key and where its value comes from.
#[derive(Clone)]
pub struct KeySource {
    /// The key's name.
    pub name: KeyName,
    /// The source of its value.
    pub source: Arc<dyn SecretSource>,
}

/// A key of the table.
pub(super) struct KeyEntry {
    pub key: KeySource,
    pub state: ArcSwap<SourceState>,
    pub past: Arc<PastValues>,
    /// Held while the source is asked: all others wait for that one answer.
    pub flight: Arc<Mutex<()>>,
}

/// The answer of the source when it was last asked. Replaced whole, so that readers take no lock.
#[derive(Clone, Default)]
pub(super) struct SourceState {
    /// Whether the source ever was.
    asked: bool,
    /// The last value that was had, and still is unless `failed`.
    pub value: Option<Arc<Sealed>>,
    pub failed: Option<SecretError>,
    pub generation: u64,
    freshness: Freshness,
    loaded: Duration,
    /// Until then nothing needs to be asked.
    fresh_until: Duration,
    /// How often in a row the source has failed.
    failures: u32,
}

impl KeyEntry {
    /// The key with what was known of it before.
    pub fn new(key: KeySource, state: SourceState, past: Arc<PastValues>) -> Self {
        Self { key, state: ArcSwap::from_pointee(state), past, flight: Arc::default() }
    }

    /// Keeps nothing of what is known.
    pub fn forget(&self) {
        self.state.rcu(|s| SourceState { generation: s.generation + 1, ..SourceState::default() });
        self.past.clear();
    }

    /// Asks the source whether there is something new, and for it. Blocks, and asks `clock` again once it has: a failure
    /// is remembered from then on, so that all who have waited for it share it, however long it took to come.
    pub fn ask(&self, clock: impl Fn() -> Duration, _flight: OwnedMutexGuard<()>) -> Arc<SourceState> {
        let now = clock();
        let before = self.state.load_full();
        let freshness = self.key.source.freshness();
        let next =
            if before.holds_under(freshness, now) { (*before).clone() } else { before.after(self, freshness, now) };
        let told_at = if next.failed.is_some() { clock() } else { now };
        let next = Arc::new(SourceState { fresh_until: told_at + CHECK_EVERY, ..next });
        // A wipe meanwhile wins: what was loaded under the state before it is dropped.
        let seen = self.state.compare_and_swap(&before, next.clone());
        if !Arc::ptr_eq(&seen, &before) {
            return self.state.load_full();
        }
        if next.generation != before.generation || before.value.is_none() {
            [&before.value, &next.value].into_iter().flatten().for_each(|value| self.past.note(value, now));
        }
        next
    }

    /// Why a value can't be used: what hides the old ones is full, and none is forgotten before its time.
    fn no_room(&self) -> SecretError {
        let what = format!("it changes too often for its old values to be hidden ({MAX_VALUES} or 1 MiB at most)");
        let next = "change it less often: each value is hidden for a quarter of an hour after its use";
        SecretError::Source { key: self.key.name.clone(), error: SourceError::new(what, next) }
    }
}

impl SourceState {
    /// Of a key whose source was never asked.
    pub fn new(generation: u64) -> Self {
        SourceState { generation, ..SourceState::default() }
    }

    /// Whether it is too early to ask again.
    pub fn is_fresh(&self, now: Duration) -> bool {
        self.asked && now < self.fresh_until
    }

    /// Whether it is time to ask by itself, without anybody who waits for the key: a source that keeps failing is left
    /// alone for longer and longer, since it may cost a prompt or a second of work each time.
    pub fn is_due(&self, now: Duration) -> bool {
        let rest = CHECK_EVERY.saturating_mul(1 << self.failures.min(MAX_DOUBLINGS)) - CHECK_EVERY;
        self.asked && now >= self.fresh_until.saturating_add(rest)
    }

    /// Whether the value that is here is still the source's. One that failed is always asked again.
    fn holds_under(&self, freshness: Freshness, now: Duration) -> bool {
        let alive = freshness.lifetime.is_none_or(|l| now < self.loaded.saturating_add(l));
        self.asked && self.failed.is_none() && self.freshness == freshness && alive
    }

    /// The same, to be loaded again.
    pub fn stale(&self) -> Self {
        SourceState { asked: false, ..self.clone() }
    }

    /// What follows once the source was asked for the value.
    fn after(&self, entry: &KeyEntry, freshness: Freshness, now: Duration) -> SourceState {
        let KeyEntry { key, past, .. } = entry;
        let mut next = SourceState { asked: true, failed: None, failures: 0, freshness, loaded: now, ..self.clone() };
        match key.source.load() {
            // The key may be there all the same: connections that carried it stay.
            Err(error) => {
                next.failed = Some(SecretError::Source { key: key.name.clone(), error });
                next.failures = self.failures.saturating_add(1);
            }
            Ok(None) => {
                next.replace(None, self.asked);
                next.failed = Some(SecretError::Absent { key: key.name.clone(), looked: key.source.describe() });
            }
            Ok(Some(value)) if next.is(&value) => {}
            Ok(Some(value)) => match past.known(&value) {
                Some(known) => next.replace(Some(known), self.asked),
                None if past.has_room(value.expose().len(), now) => {
                    next.replace(Some(Arc::new(Sealed::seal(value))), self.asked);
                }
                None => {
                    next.failed = Some(entry.no_room());
                    next.failures = self.failures.saturating_add(1);
                }
            },
        }
        next
    }

    fn is(&self, value: &Plaintext) -> bool {
        self.value.as_ref().and_then(|v| v.open().ok()).is_some_and(|v| v.expose() == value.expose())
    }

    /// `was_asked`: somebody may have been told that there is none.
    fn replace(&mut self, value: Option<Arc<Sealed>>, was_asked: bool) {
        let is_new = value.is_some() && was_asked;
        if std::mem::replace(&mut self.value, value).is_some() || is_new {
            self.generation += 1;
        }
    }

    /// The key as one exchange holds it.
    pub fn hold(&self, name: &KeyName, past: &PastValues, now: Duration) -> OpenedKey {
        let mut older = past.opened(self.value.as_ref(), now);
        let current = self.value.as_ref().map(|v| v.open().map(Arc::new));
        let value = match (&self.failed, current) {
            (None, Some(Ok(value))) => Ok(value),
            (None, _) => Err(SecretError::Wiped(name.clone())),
            (Some(e), current) => {
                older.extend(current.and_then(Result::ok));
                Err(e.clone())
            }
        };
        OpenedKey { name: name.clone(), value, older, generation: self.generation }
    }
}
