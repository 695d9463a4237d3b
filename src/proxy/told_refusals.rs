//! What agents were told of refusals, so that each can ask again why it was refused. In memory alone, and the newest only.

use super::limits::{AGENTS_REMEMBERED, REASON_REMEMBERED, REFUSAL_MEMORY, REFUSALS_REMEMBERED};
use super::refusal::Problem;
use crate::name::AgentName;
use lru::LruCache;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// The newest refusals of each agent that was refused lately, the oldest first.
pub(super) struct ToldRefusals(Mutex<LruCache<AgentName, VecDeque<(SystemTime, Problem)>>>);

impl Default for ToldRefusals {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(NonZeroUsize::new(AGENTS_REMEMBERED).unwrap_or(NonZeroUsize::MIN))))
    }
}

impl ToldRefusals {
    /// Remembers what an agent was told. Of who has proved nothing there is nobody to ask about it.
    pub fn remember(&self, agent: &AgentName, mut told: Problem, now: SystemTime) {
        if *agent == AgentName::nobody() {
            return;
        }
        if told.detail.len() > REASON_REMEMBERED {
            let kept = told.detail.char_indices().take_while(|(at, c)| at + c.len_utf8() < REASON_REMEMBERED - 2);
            told.detail = kept.map(|(_, c)| c).chain(['…']).collect();
        }
        let mut agents = self.agents();
        let refusals = agents.get_or_insert_mut(agent.clone(), VecDeque::new);
        refusals.retain(|(at, _)| is_fresh(*at, now));
        if refusals.len() == REFUSALS_REMEMBERED {
            refusals.pop_front();
        }
        refusals.push_back((now, told));
    }

    /// What this very agent was told of that exchange. Others are not looked at, so nothing can be learned of them here.
    pub fn of(&self, agent: &AgentName, exchange: &str, now: SystemTime) -> Option<Problem> {
        let agents = self.agents();
        let mut refusals = agents.peek(agent)?.iter().rev();
        refusals.find(|(at, told)| told.exchange == exchange && is_fresh(*at, now)).map(|(_, told)| told.clone())
    }

    fn agents(&self) -> MutexGuard<'_, LruCache<AgentName, VecDeque<(SystemTime, Problem)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A clock that was set back makes nothing old.
fn is_fresh(at: SystemTime, now: SystemTime) -> bool {
    now.duration_since(at).is_ok_and(|age| age <= REFUSAL_MEMORY) || at > now
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::refusal::Refusal;
    use std::time::{Duration, UNIX_EPOCH};

    fn agent(name: &str) -> AgentName {
        name.parse().unwrap()
    }

    fn problem(exchange: usize, why: &str) -> Problem {
        Refusal::malformed(why.to_owned()).problem(&exchange.to_string(), None)
    }

    #[test]
    fn an_agent_finds_its_own_newest_refusals_for_an_hour() {
        let (told, start) = (ToldRefusals::default(), UNIX_EPOCH + Duration::from_secs(1_000_000));
        let after = |seconds| start + Duration::from_secs(seconds);
        (0..40).for_each(|n| told.remember(&agent("a"), problem(n, "why"), after(n as u64)));
        told.remember(&agent("b"), problem(7, "other"), start);
        told.remember(&AgentName::nobody(), problem(9, "none"), start);
        let found = |who: &str, exchange: &str, at| told.of(&agent(who), exchange, at).map(|told| told.detail);
        assert_eq!(found("a", "39", after(40)), Some("why".into()));
        assert_eq!(found("a", "8", after(40)), Some("why".into()));
        assert_eq!(found("a", "7", after(40)), None, "32 are remembered, and b's is not a's");
        assert_eq!(found("b", "7", after(3600)), Some("other".into()));
        assert_eq!(found("b", "7", after(3601)), None, "too old");
        assert_eq!(found("b", "7", UNIX_EPOCH), Some("other".into()), "the clock was set back");
        assert!(told.of(&AgentName::nobody(), "9", start).is_none());
    }

    #[test]
    fn whatever_is_refused_memory_is_bounded() {
        let (told, now) = (ToldRefusals::default(), UNIX_EPOCH);
        for n in 0..3 * AGENTS_REMEMBERED {
            for m in 0..2 * REFUSALS_REMEMBERED {
                told.remember(&agent(&format!("a{n}")), problem(m, &"é".repeat(3000)), now);
            }
        }
        let agents = told.agents();
        let bytes: usize = agents.iter().flat_map(|(_, all)| all).map(|(_, told)| told.detail.len()).sum();
        assert!(agents.len() == AGENTS_REMEMBERED && bytes <= 8 * 1024 * 1024, "{bytes}");
        assert!(agents.iter().all(|(_, all)| all.len() == REFUSALS_REMEMBERED));
    }
}
