//! What hides keys in one answer, for as long as that runs: by the rules and values of now, not of when it was asked for.
//!
//! A stream may run for hours. Meanwhile a key gets a new value, or comes to be bound to the host, and the host may say it.

use super::authorization::Authorization;
use super::worker::Worker;
use crate::memory::Plaintext;
use crate::name::KeyName;
use crate::policy::rule::{KeyRule, Scrubbing};
use crate::proxy::refusal::Refusal;
use crate::proxy::{Ruleset, Shared};
use crate::rewrite::scrub::{ScrubHits, ScrubKey, Scrubber};
use crate::secrets::Keys;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Follows the keys that are bound to the host of one answer, and the agent that it goes to.
pub(crate) struct CurrentScrubber {
    asked: ScrubContext,
    hits: Arc<ScrubHits>,
    known: KnownKeys,
    asking: Option<KeyLookup>,
}

/// What an answer is to.
#[derive(Clone)]
struct ScrubContext {
    worker: Arc<Worker>,
    authorization: Arc<Authorization>,
}

/// What was known when it was last looked at.
struct KnownKeys {
    ruleset: Arc<Ruleset>,
    /// Each key of the host, and what tells that its value has changed.
    generations: Vec<(KeyName, u64)>,
    scrubber: Option<Scrubber>,
}

type KeyLookup = Pin<Box<dyn Future<Output = Result<KnownKeys, Refusal>> + Send>>;

impl CurrentScrubber {
    /// `keys` are those that were just opened for a request which `ruleset` judged.
    pub fn new(
        worker: &Arc<Worker>,
        authorization: Arc<Authorization>,
        ruleset: Arc<Ruleset>,
        generations: Vec<(KeyName, u64)>,
        keys: &Keys,
    ) -> Self {
        let (asked, hits) = (ScrubContext { worker: worker.clone(), authorization }, Arc::default());
        let scrubber = scrubber(&asked, &ruleset, keys, &hits);
        Self { asked, hits, known: KnownKeys { ruleset, generations, scrubber }, asking: None }
    }

    /// What hides keys as of the last look; `None` for a host without any.
    pub fn scrubber(&self) -> Option<&Scrubber> {
        self.known.scrubber.as_ref()
    }

    pub fn hits(&self) -> &Arc<ScrubHits> {
        &self.hits
    }

    /// Looks again. Whether something has changed.
    ///
    /// # Errors
    /// Why a key that may come back can't be hidden, or the agent may have no more of the answer.
    pub async fn renew(&mut self) -> Result<bool, Refusal> {
        std::future::poll_fn(|cx| self.poll_renew(cx)).await
    }

    /// [`Self::renew`]; it waits only where a key's source has to be asked.
    pub fn poll_renew(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Refusal>> {
        if self.asking.is_none() {
            self.asked.authorization.agent_holds()?;
            if self.is_current() {
                return Poll::Ready(Ok(false));
            }
            self.asking = Some(Box::pin(look(self.asked.clone(), self.hits.clone())));
        }
        let Some(asking) = &mut self.asking else { return Poll::Ready(Ok(false)) };
        let looked = ready!(asking.as_mut().poll(cx));
        self.asking = None;
        let known = looked?;
        let is_bound = |name: &KeyName| known.generations.iter().any(|(now, _)| now == name);
        if !self.known.generations.iter().all(|(name, _)| is_bound(name)) {
            let why = "a key that the answer may show is no longer bound to its host; ask again";
            return Poll::Ready(Err(Refusal::key_unavailable(why)));
        }
        let changed = !Arc::ptr_eq(&known.ruleset, &self.known.ruleset) || known.generations != self.known.generations;
        self.known = known;
        Poll::Ready(Ok(changed))
    }

    fn is_current(&self) -> bool {
        let Shared { ruleset, secrets, .. } = &*self.asked.worker.shared;
        let same_rules = Arc::ptr_eq(&ruleset.load(), &self.known.ruleset);
        same_rules && self.known.generations.iter().all(|(name, generation)| secrets.is_known(name, *generation))
    }
}

async fn look(asked: ScrubContext, hits: Arc<ScrubHits>) -> Result<KnownKeys, Refusal> {
    let shared = &asked.worker.shared;
    let ruleset = shared.ruleset.load_full();
    let names: Vec<KeyName> = bound(&ruleset, &asked).iter().map(|rule| rule.name.clone()).collect();
    let keys = shared.secrets.open_to_hide(&ruleset.keys, &names).await;
    if let Some(e) = keys.unhidden() {
        return Err(Refusal::key_unavailable(format!("what answers could show it: {e}")));
    }
    let scrubber = scrubber(&asked, &ruleset, &keys, &hits);
    let generations = names.into_iter().map(|name| (name.clone(), keys.generation(&name))).collect();
    Ok(KnownKeys { ruleset, generations, scrubber })
}

fn bound<'l>(ruleset: &'l Ruleset, asked: &ScrubContext) -> Vec<&'l Arc<KeyRule>> {
    ruleset.rules.bound_to_host(&asked.authorization.origin.host)
}

/// What hides the keys of the host in its answers; `None` where there are none.
fn scrubber(asked: &ScrubContext, ruleset: &Arc<Ruleset>, keys: &Keys, hits: &Arc<ScrubHits>) -> Option<Scrubber> {
    let rules = bound(ruleset, asked);
    if rules.is_empty() {
        return None;
    }
    let rule = |name: &KeyName| rules.iter().find(|rule| rule.name == *name && rule.scrub != Scrubbing::Never);
    let hidden = || keys.iter().filter(|(name, _)| rule(name).is_some());
    let described = |(name, value): (&KeyName, &Arc<Plaintext>)| {
        Some(ScrubKey {
            key: name.clone(),
            placeholder: rule(name)?.shown_placeholder(),
            secret_from: ruleset.secret_from(name, value.expose()),
            value: value.clone(),
            even_if_guessable: rule(name)?.scrub == Scrubbing::Always,
        })
    };
    let described = || hidden().filter_map(described).collect();
    let host = &asked.authorization.origin.host;
    let patterns = asked.worker.scrub_cache.patterns(host, ruleset, hidden(), described);
    Some(Scrubber::with(patterns, hits.clone()))
}
