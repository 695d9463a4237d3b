//! A bounded memory of what was seen lately: what was not seen for longest leaves first.

use foldhash::fast::RandomState;
use lru::LruCache;
use std::borrow::Borrow;
use std::hash::Hash;

/// So many names and what is known of each.
#[derive(Debug)]
pub(super) struct Recent<K: Hash + Eq, V> {
    kept: LruCache<K, V, RandomState>,
    most: usize,
    forgotten: bool,
}

impl<K: Hash + Eq, V: Default> Recent<K, V> {
    /// Empty, and without memory until something comes.
    pub fn up_to(most: usize) -> Self {
        Self { kept: LruCache::unbounded_with_hasher(RandomState::default()), most, forgotten: false }
    }

    /// What is known of a name, which is nothing yet for one that is new.
    pub fn entry<Q>(&mut self, name: &Q) -> &mut V
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if self.kept.len() >= self.most && !self.kept.contains(name) {
            self.kept.pop_lru();
            self.forgotten = true;
        }
        self.kept.get_or_insert_mut_ref(name, V::default)
    }

    /// What is known of a name, without its having been seen.
    pub fn peek<Q>(&self, name: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.kept.peek(name)
    }

    /// Whether any name had to leave.
    pub fn has_forgotten(&self) -> bool {
        self.forgotten
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.kept.len()
    }
}

impl Recent<u64, ()> {
    /// Whether a number comes for the first time.
    pub fn is_new(&mut self, number: u64) -> bool {
        let is_new = !self.kept.contains(&number);
        self.entry(&number);
        is_new
    }
}
