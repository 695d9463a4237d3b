//! The values that a key had lately: pages and logs upstream go on showing them, so answers are searched for them as well.
//!
//! All entries of one key share them, whichever reload they are from. Time is an argument.

use crate::memory::{Plaintext, Sealed};
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::time::Duration;

/// How long a value is still hidden in answers after its last day.
pub(super) const SCRUBBED_FOR: Duration = Duration::from_secs(15 * 60);
/// How many values of one key are hidden at once. A source that is asked every 900 ms has fewer in that time; one that
/// changes with reloads besides has no more, rather than that one is forgotten before its time.
pub(super) const MAX_VALUES: usize = 1024;
/// How long they may be all together: each exchange with the key's hosts opens them.
const MAX_BYTES: usize = 1024 * 1024;

/// The values of one key that are still to be hidden.
#[derive(Default)]
pub(super) struct PastValues(ArcSwap<Vec<PastValue>>);

#[derive(Clone)]
struct PastValue {
    value: Arc<Sealed>,
    until: Duration,
}

impl PastValues {
    /// This value as it is sealed already, where it was in use lately: one that comes back is no new one.
    pub fn known(&self, value: &Plaintext) -> Option<Arc<Sealed>> {
        let is = |used: &&PastValue| used.value.open().is_ok_and(|known| known.expose() == value.expose());
        self.0.load().iter().find(is).map(|used| used.value.clone())
    }

    /// Whether one more value of this length could be hidden.
    pub fn has_room(&self, length: usize, now: Duration) -> bool {
        let used = self.0.load();
        let (mut count, mut bytes) = (0, 0);
        for used in used.iter().filter(|used| now < used.until) {
            count += 1;
            bytes += used.value.len();
        }
        count < MAX_VALUES && bytes + length <= MAX_BYTES
    }

    /// Counts the time of a value from now: it is in use, or was until now.
    pub fn note(&self, value: &Arc<Sealed>, now: Duration) {
        self.0.rcu(|all| {
            let others = all.iter().filter(|used| now < used.until && !Arc::ptr_eq(&used.value, value));
            let newest = PastValue { value: value.clone(), until: now + SCRUBBED_FOR };
            std::iter::once(newest).chain(others.cloned()).collect::<Vec<_>>()
        });
    }

    /// Those that are still to be hidden besides `current`, newest first.
    pub fn opened(&self, current: Option<&Arc<Sealed>>, now: Duration) -> Vec<Arc<Plaintext>> {
        let all = self.0.load();
        let is_current = |used: &PastValue| current.is_some_and(|current| Arc::ptr_eq(current, &used.value));
        let old = all.iter().filter(|used| now < used.until && !is_current(used));
        old.filter_map(|used| used.value.open().ok().map(Arc::new)).collect()
    }

    /// Forgets those whose time is over. Whether any are left.
    pub fn tidy(&self, now: Duration) -> bool {
        if self.0.load().iter().any(|used| now >= used.until) {
            self.0.rcu(|all| all.iter().filter(|used| now < used.until).cloned().collect::<Vec<_>>());
        }
        !self.0.load().is_empty()
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.0.store(Arc::default());
    }
}
