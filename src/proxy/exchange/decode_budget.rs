//! Memory for the windows of coded request bodies: a few bytes fill one, and an agent may open many at once.

use crate::name::AgentName;
use crate::proxy::limits::{DECODE_BUDGET, DECODE_LEAST};
use crate::rewrite::coding::Coding;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The room that there is, and who has how much of it.
#[derive(Default)]
pub struct DecodeBudget(Mutex<HashMap<AgentName, u64>>);

/// Reservation for one body, until this is dropped.
pub(crate) struct Reservation {
    of: Arc<DecodeBudget>,
    agent: AgentName,
    bytes: u64,
}

impl DecodeBudget {
    /// Reservation for the windows of these codings. An agent has no more than it leaves free: whatever one has taken, half of
    /// all at most, the next can have half of the rest.
    pub(crate) fn take(self: &Arc<Self>, agent: &AgentName, codings: &[Coding]) -> Option<Reservation> {
        let bytes = codings.iter().map(|coding| u64::from(coding.window()).max(DECODE_LEAST)).sum();
        let mut taken = self.taken();
        let (own, all) = (taken.get(agent).copied().unwrap_or(0), taken.values().sum::<u64>());
        if own + bytes > DECODE_BUDGET.saturating_sub(all + bytes) {
            return None;
        }
        taken.insert(agent.clone(), own + bytes);
        Some(Reservation { of: self.clone(), agent: agent.clone(), bytes })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<AgentName, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut taken = self.of.taken();
        let left = taken.get(&self.agent).map_or(0, |own| own.saturating_sub(self.bytes));
        if left > 0 {
            taken.insert(self.agent.clone(), left);
        } else {
            taken.remove(&self.agent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_agent_leaves_as_much_as_it_has() {
        let decode_budget: Arc<DecodeBudget> = Arc::default();
        let mut rooms = Vec::new();
        for (agent, bodies) in [("first", 16), ("second", 8), ("third", 4), ("fourth", 2), ("fifth", 1), ("sixth", 0)] {
            let agent: AgentName = agent.parse().unwrap();
            let had = rooms.len();
            rooms.extend(std::iter::from_fn(|| decode_budget.take(&agent, &[Coding::Br])));
            assert_eq!(rooms.len() - had, bodies, "{agent}");
        }
        let small = decode_budget.take(&"sixth".parse().unwrap(), &[Coding::Gzip, Coding::Deflate]);
        assert!(small.is_some(), "what is left is enough for a small window");
        drop((rooms, small));
        assert!(decode_budget.taken().is_empty());
    }
}
