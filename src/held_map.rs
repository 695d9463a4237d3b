//! One value for each of many keys, such as hosts or agents, shared by whoever holds it and forgotten where nobody does.

use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Below so many, values that nobody holds are left where they are.
const TIDY_FROM: usize = 1024;

/// The values by their keys.
pub struct HeldMap<K, V>(Mutex<Values<K, V>>);

struct Values<K, V> {
    by_key: HashMap<K, Arc<V>, RandomState>,
    /// At so many it is looked which can be forgotten.
    tidy_at: usize,
}

impl<K, V> Default for HeldMap<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Values { by_key: HashMap::default(), tidy_at: TIDY_FROM }))
    }
}

impl<K: Clone + Eq + Hash, V> HeldMap<K, V> {
    /// The value of `key`, made where nobody holds one.
    pub fn of(&self, key: &K, make: impl FnOnce() -> V) -> Arc<V> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = values.by_key.get(key) {
            return value.clone();
        }
        if values.by_key.len() >= values.tidy_at {
            values.by_key.retain(|_, value| Arc::strong_count(value) > 1);
            // not again for each that comes, where all of them are held
            values.tidy_at = (2 * values.by_key.len()).max(TIDY_FROM);
        }
        values.by_key.entry(key.clone()).or_insert_with(|| Arc::new(make())).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_holds_is_forgotten_and_the_others_stay() {
        let map = HeldMap::default();
        let held: Vec<_> = (0..10).map(|n| map.of(&n, || n)).collect();
        (10..10_000).for_each(|n| drop(map.of(&n, || n)));
        assert!(map.0.lock().unwrap().by_key.len() <= TIDY_FROM);
        assert!(held.iter().zip(0..).all(|(value, n)| Arc::ptr_eq(value, &map.of(&n, || n))));
    }

    #[test]
    fn where_all_are_held_they_are_looked_through_now_and_then() {
        let map = HeldMap::default();
        let held: Vec<_> = (0..3 * TIDY_FROM).map(|n| map.of(&n, || n)).collect();
        assert_eq!(map.0.lock().unwrap().tidy_at, 4 * TIDY_FROM);
        drop(held);
        (3 * TIDY_FROM..5 * TIDY_FROM).for_each(|n| drop(map.of(&n, || n)));
        assert!(map.0.lock().unwrap().by_key.len() <= 2 * TIDY_FROM);
    }
}
