//! What hides keys in one answer, for as long as that runs: by the rules and values of now, not of when it was asked for.
//!
//! A stream may run for hours. Meanwhile a key gets a new value, or comes to be bound to the host, and the host may say it.

use super::{Live, Worker};
use crate::memory::Opened;
use crate::name::{KeyName, Origin};
use crate::policy::rule::{KeyRule, Scrubbing};
use crate::rewrite::scrub::{Hits, ScrubKey, Scrubber};
use crate::secrets::Keys;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Follows the keys that are bound to the host of one answer.
pub(super) struct CurrentScrubber {
    worker: Arc<Worker>,
    origin: Origin,
    hits: Arc<Hits>,
    known: Known,
    asking: Option<Asking>,
}

/// What was known when it was last looked at.
struct Known {
    live: Arc<Live>,
    /// Each key of the host, and what tells that its value has changed.
    generations: Vec<(KeyName, u64)>,
    scrubber: Option<Scrubber>,
}

type Asking = Pin<Box<dyn Future<Output = Result<Known, String>> + Send>>;

impl CurrentScrubber {
    /// `keys` are those that were just opened for a request which `live` judged.
    pub fn new(
        worker: Arc<Worker>,
        origin: Origin,
        live: Arc<Live>,
        generations: Vec<(KeyName, u64)>,
        keys: &Keys,
    ) -> Self {
        let hits = Arc::default();
        let rules = live.rules.bound_to_host(&origin.host);
        let scrubber = scrubber(&worker, &origin, &live, &rules, keys, &hits);
        drop(rules);
        Self { worker, origin, hits, known: Known { live, generations, scrubber }, asking: None }
    }

    /// What hides keys as of the last look; `None` for a host without any.
    pub fn scrubber(&self) -> Option<&Scrubber> {
        self.known.scrubber.as_ref()
    }

    pub fn hits(&self) -> &Arc<Hits> {
        &self.hits
    }

    /// Looks again. Whether something has changed.
    ///
    /// # Errors
    /// Why a key that may come back can't be hidden.
    pub async fn renew(&mut self) -> Result<bool, String> {
        std::future::poll_fn(|cx| self.poll_renew(cx)).await
    }

    /// [`Self::renew`]; it waits only where a key's source has to be asked.
    pub fn poll_renew(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, String>> {
        if self.asking.is_none() {
            if self.is_current() {
                return Poll::Ready(Ok(false));
            }
            self.asking = Some(Box::pin(look(self.worker.clone(), self.origin.clone(), self.hits.clone())));
        }
        let Some(asking) = &mut self.asking else { return Poll::Ready(Ok(false)) };
        let looked = ready!(asking.as_mut().poll(cx));
        self.asking = None;
        Poll::Ready(looked.map(|known| {
            let changed = !Arc::ptr_eq(&known.live, &self.known.live) || known.generations != self.known.generations;
            if changed {
                self.known = known;
            }
            changed
        }))
    }

    fn is_current(&self) -> bool {
        let shared = &self.worker.shared;
        let same_rules = Arc::ptr_eq(&shared.live.load(), &self.known.live);
        let keys = &self.known.live.keys;
        same_rules
            && self.known.generations.iter().all(|(name, generation)| shared.secrets.is_still(keys, name, *generation))
    }
}

async fn look(worker: Arc<Worker>, origin: Origin, hits: Arc<Hits>) -> Result<Known, String> {
    let live = worker.shared.live.load_full();
    let rules = live.rules.bound_to_host(&origin.host);
    let names: Vec<&KeyName> = rules.iter().map(|rule| &rule.name).collect();
    // before the values are had, so that one which changes meanwhile is not taken for the one it changed to
    let generations = generations(&worker, &names);
    let keys = worker.shared.secrets.open_to_hide(&live.keys, &names).await;
    if let Some(e) = keys.unhidden() {
        return Err(format!("what answers could show it: {e}"));
    }
    let scrubber = scrubber(&worker, &origin, &live, &rules, &keys, &hits);
    drop(rules);
    Ok(Known { live, generations, scrubber })
}

/// What tells later whether the values of these keys are still those of now.
pub(super) fn generations(worker: &Worker, names: &[&KeyName]) -> Vec<(KeyName, u64)> {
    names.iter().map(|name| ((*name).clone(), worker.shared.secrets.generation(name))).collect()
}

/// What hides these keys in answers of the host; `None` where there are none.
fn scrubber(
    worker: &Worker,
    origin: &Origin,
    live: &Arc<Live>,
    rules: &[&Arc<KeyRule>],
    keys: &Keys,
    hits: &Arc<Hits>,
) -> Option<Scrubber> {
    let rule = |name: &KeyName| rules.iter().find(|rule| rule.name == *name && rule.scrub != Scrubbing::Never);
    let hidden = || keys.iter().filter(|(name, _)| rule(name).is_some());
    if rules.is_empty() {
        return None;
    }
    let described = |(name, value): (&KeyName, &Arc<Opened>)| {
        Some(ScrubKey {
            key: name.clone(),
            placeholder: rule(name)?.shown_placeholder(),
            secret_from: live.secret_from(name, value.expose()),
            value: value.clone(),
            even_if_guessable: rule(name)?.scrub == Scrubbing::Always,
        })
    };
    let described = || hidden().filter_map(described).collect();
    let patterns = worker.patterns.patterns(&origin.host, live, hidden(), described);
    Some(Scrubber::with(patterns, hits.clone()))
}
