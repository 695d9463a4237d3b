//! What answers are searched for, kept for as long as exchanges with a host follow each other closely.
//!
//! It is made of keys, so it is not kept a second longer than it is in use.

use crate::memory::Plaintext;
use crate::name::{Host, KeyName};
use crate::proxy::Ruleset;
use crate::proxy::limits::CACHED_SCRUBBERS;
use crate::rewrite::scrub::{ScrubKey, ScrubPatterns};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

#[derive(Default)]
pub struct ScrubCache(Mutex<HashMap<Host, Kept, RandomState>>);

struct Kept {
    patterns: Arc<ScrubPatterns>,
    /// The rules of then, by which placeholders are shown.
    ruleset: Weak<Ruleset>,
    used: bool,
}

impl ScrubCache {
    /// What these keys look like in answers of `host`, `described` where it has to be made.
    pub(crate) fn patterns<'a>(
        &self,
        host: &Host,
        ruleset: &Arc<Ruleset>,
        keys: impl Iterator<Item = (&'a KeyName, &'a Arc<Plaintext>)>,
        described: impl FnOnce() -> Vec<ScrubKey>,
    ) -> Arc<ScrubPatterns> {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = cache.get_mut(host)
            && ruleset.is(&kept.ruleset)
            && kept.patterns.are_of(keys)
        {
            kept.used = true;
            return kept.patterns.clone();
        }
        let patterns = Arc::new(ScrubPatterns::new(described()));
        if cache.len() < CACHED_SCRUBBERS || cache.contains_key(host) {
            let kept = Kept { patterns: patterns.clone(), ruleset: Arc::downgrade(ruleset), used: true };
            cache.insert(host.clone(), kept);
        }
        patterns
    }

    /// Forgets what no exchange has used since the last time.
    pub(crate) fn sweep(&self) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.retain(|_, kept| std::mem::take(&mut kept.used));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Agents, Rules};
    use crate::rewrite::Vocabulary;
    use crate::rewrite::scrub::Scrubber;
    use crate::secrets::KeyTable;

    fn ruleset() -> Arc<Ruleset> {
        Arc::new(Ruleset {
            rules: Rules::default(),
            agents: Agents::open(),
            vocabulary: Arc::new(Vocabulary::new(false, []).unwrap()),
            passthrough: Vec::new(),
            uids: Vec::new(),
            transparent_agent: None,
            intercept_bound_only: false,
            prefixes: HashMap::default(),
            keys: KeyTable::default(),
        })
    }

    fn scrubber(cache: &ScrubCache, ruleset: &Arc<Ruleset>, value: &str, placeholder: &str) -> Scrubber {
        let host = "a.example".parse().unwrap();
        let (key, value): (KeyName, _) = ("a".parse().unwrap(), Arc::new(Plaintext::new(value.as_bytes().to_vec())));
        let described = || {
            let (key, value) = (key.clone(), value.clone());
            vec![ScrubKey { key, placeholder: placeholder.into(), secret_from: 0, value, even_if_guessable: false }]
        };
        let patterns = cache.patterns(&host, ruleset, [(&key, &value)].into_iter(), described);
        Scrubber::with(patterns, Arc::default())
    }

    #[test]
    fn patterns_last_while_they_are_used_and_no_longer() {
        let (cache, ruleset) = (ScrubCache::default(), ruleset());
        let shown = |scrubber: &Scrubber, text: &str| scrubber.header(text.as_bytes()).map(String::from_utf8);
        let (old, new) = ("q8Zt2LwXv7RkYb5NcM1d", "JhGfPs9UaEi3oTzQxWnB");
        let first = scrubber(&cache, &ruleset, old, "<<a_key>>");
        assert_eq!(shown(&first, old), Some(Ok("<<a_key>>".into())));
        let again = scrubber(&cache, &ruleset, old, "described in vain");
        assert_eq!(shown(&again, old), Some(Ok("<<a_key>>".into())), "kept");
        let rotated = scrubber(&cache, &ruleset, new, "<<a_key>>");
        assert_eq!((shown(&rotated, new).is_some(), shown(&rotated, old)), (true, None), "looked for at once");
        let reloaded = scrubber(&cache, &self::ruleset(), new, "look-alike");
        assert_eq!(shown(&reloaded, new), Some(Ok("look-alike".into())), "by the rules of now");
        cache.sweep();
        assert_eq!(cache.0.lock().unwrap().len(), 1);
        cache.sweep();
        assert!(cache.0.lock().unwrap().is_empty(), "idle for one round");
    }
}
