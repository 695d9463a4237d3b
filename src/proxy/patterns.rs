//! What answers are searched for, kept for as long as exchanges with a host follow each other closely.
//!
//! It is made of keys, so it is not kept a second longer than it is in use.

use crate::name::Origin;
use crate::rewrite::scrub::{Patterns, ScrubKey, Scrubber};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Hosts that are kept at once; beyond, patterns are made for each exchange.
const MOST: usize = 64;

#[derive(Default)]
pub struct PatternCache(Mutex<HashMap<Origin, Kept, RandomState>>);

struct Kept {
    patterns: Arc<Patterns>,
    used: bool,
}

impl PatternCache {
    /// What hides these keys in answers of `origin`.
    pub(super) fn scrubber(&self, origin: &Origin, keys: Vec<ScrubKey>) -> Scrubber {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = cache.get_mut(origin)
            && kept.patterns.are_of(&keys)
        {
            kept.used = true;
            return Scrubber::with(kept.patterns.clone());
        }
        let patterns = Arc::new(Patterns::new(keys));
        if cache.len() < MOST || cache.contains_key(origin) {
            cache.insert(origin.clone(), Kept { patterns: patterns.clone(), used: true });
        }
        Scrubber::with(patterns)
    }

    /// Forgets what no exchange has used since the last time.
    pub(super) fn sweep(&self) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.retain(|_, kept| std::mem::take(&mut kept.used));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Opened;
    use crate::name::Scheme;

    fn keys(value: &str) -> Vec<ScrubKey> {
        let value = Arc::new(Opened::new(value.as_bytes().to_vec()));
        vec![ScrubKey { key: "a".parse().unwrap(), placeholder: "<<a_key>>".into(), secret_from: 0, value }]
    }

    #[test]
    fn patterns_last_while_they_are_used_and_no_longer() {
        let cache = PatternCache::default();
        let origin = Origin::parse(Scheme::Https, "a.example").unwrap();
        let hides = |scrubber: &Scrubber, text: &str| scrubber.header(text.as_bytes()).is_some();
        let (old, new) = ("0123456789abcdefghij", "zyxwvutsrqponmlkjihg");
        assert!(hides(&cache.scrubber(&origin, keys(old)), old));
        let rotated = cache.scrubber(&origin, keys(new));
        assert!(hides(&rotated, new) && !hides(&rotated, old), "a new value is looked for at once");
        cache.sweep();
        assert_eq!(cache.0.lock().unwrap().len(), 1);
        cache.sweep();
        assert!(cache.0.lock().unwrap().is_empty(), "idle for one round");
    }
}
