//! `source = "auto"`: several sources asked in turn, the first value wins.

use crate::memory::Plaintext;
use crate::secrets::source::{Freshness, SecretSource, SourceError};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

/// Several sources, of which the first that has a value counts.
pub(crate) struct AutoSource {
    sources: Vec<Arc<dyn SecretSource>>,
    passed_over: Arc<PassedOver>,
}

/// Warnings that were already given of sources that failed, so that it is said once and not for every key and every second.
#[derive(Default)]
pub struct PassedOver(Mutex<BTreeSet<String>>);

impl PassedOver {
    /// Bounded, since an error's text may change each time.
    const MOST: usize = 64;

    fn is_news(&self, what: &str) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.len() < Self::MOST && said.insert(what.to_owned())
    }
}

impl AutoSource {
    /// Asks `sources` in this order.
    pub fn new(sources: Vec<Arc<dyn SecretSource>>, passed_over: Arc<PassedOver>) -> Self {
        Self { sources, passed_over }
    }
}

impl SecretSource for AutoSource {
    fn describe(&self) -> String {
        let all: Vec<String> = self.sources.iter().map(|s| s.describe()).collect();
        match all.as_slice() {
            [] => "no place at all".into(),
            [one] => one.clone(),
            [some @ .., last] => format!("{} and {last}", some.join(", ")),
        }
    }

    /// A source that fails is passed over, in one sentence; it is an error only where no other has the value.
    fn load(&self) -> Result<Option<Plaintext>, SourceError> {
        let mut failed: Vec<SourceError> = Vec::new();
        for source in &self.sources {
            match source.load() {
                Ok(None) => {}
                Ok(Some(value)) => {
                    for e in failed.iter().filter(|e| self.passed_over.is_news(&e.what)) {
                        tracing::warn!("{e}, so {} is used; {}", source.describe(), e.next);
                    }
                    return Ok(Some(value));
                }
                Err(e) => failed.push(e),
            }
        }
        let what: Vec<&str> = failed.iter().map(|e| e.what.as_str()).collect();
        match failed.first() {
            None => Ok(None),
            Some(first) => Err(SourceError::new(what.join("; "), first.next.clone())),
        }
    }

    fn freshness(&self) -> Freshness {
        let all: Vec<Freshness> = self.sources.iter().map(|s| s.freshness()).collect();
        let mut hasher = DefaultHasher::new();
        all.iter().for_each(|f| f.stamp.hash(&mut hasher));
        Freshness { stamp: hasher.finish(), lifetime: all.iter().filter_map(|f| f.lifetime).min() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Stands for a source with a fixed answer.
    struct Says(Result<Option<&'static str>, &'static str>, Freshness);

    impl SecretSource for Says {
        fn describe(&self) -> String {
            format!("{:?}", self.0)
        }

        fn load(&self) -> Result<Option<Plaintext>, SourceError> {
            self.0.map(|v| v.map(|v| Plaintext::new(v.into()))).map_err(|e| SourceError::new(e, format!("mend {e}")))
        }

        fn freshness(&self) -> Freshness {
            self.1
        }
    }

    fn auto(answers: &[Result<Option<&'static str>, &'static str>]) -> AutoSource {
        let all = answers.iter().map(|a| Arc::new(Says(*a, Freshness::default())) as Arc<dyn SecretSource>);
        AutoSource::new(all.collect(), Arc::default())
    }

    #[test]
    fn the_first_value_wins_and_failures_count_only_without_one() {
        let load = |a: &[_]| auto(a).load().map(|v| v.map(|v| String::from_utf8_lossy(v.expose()).into_owned()));
        assert_eq!(load(&[]), Ok(None));
        assert_eq!(load(&[Ok(None), Ok(None)]), Ok(None));
        assert_eq!(load(&[Ok(None), Ok(Some("a")), Ok(Some("b"))]), Ok(Some("a".into())));
        assert_eq!(load(&[Err("locked"), Ok(Some("b"))]), Ok(Some("b".into())));
        assert_eq!(load(&[Err("locked"), Ok(None)]), Err(SourceError::new("locked", "mend locked")));
        assert_eq!(load(&[Err("a"), Ok(None), Err("b")]), Err(SourceError::new("a; b", "mend a")));
    }

    #[test]
    fn it_is_as_fresh_as_its_shortest_lived_part() {
        let part = |stamp, secs: Option<u64>| {
            let f = Freshness { stamp, lifetime: secs.map(Duration::from_secs) };
            Arc::new(Says(Ok(None), f)) as Arc<dyn SecretSource>
        };
        let whole = |parts| AutoSource::new(parts, Arc::default()).freshness();
        let base = whole(vec![part(1, None), part(2, Some(60)), part(0, Some(5))]);
        assert_eq!(base.lifetime, Some(Duration::from_secs(5)));
        assert_ne!(base.stamp, whole(vec![part(1, None), part(3, Some(60)), part(0, Some(5))]).stamp);
        assert_eq!(whole(vec![part(1, None)]).lifetime, None);
    }

    #[test]
    fn what_was_passed_over_is_said_once_and_remembered_within_bounds() {
        let passed_over = PassedOver::default();
        assert!(passed_over.is_news("locked"));
        assert!(!passed_over.is_news("locked"));
        let news = (0..1000).filter(|i| passed_over.is_news(&i.to_string())).count();
        assert_eq!(news, PassedOver::MOST - 1);
    }
}
