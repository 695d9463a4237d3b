//! The ceilings of what is under way to upstreams: for one agent, to one host, and in all. Whoever comes to one waits behind
//! others, as many as may be under way and no longer than is stated; then it is told so.

use super::limits::{AGENT_SHARE, HOST_SHARE, PLACE_TIMEOUT};
use super::refusal::{Refusal, RefusalKind};
use crate::held_map::HeldMap;
use crate::name::{AgentName, Origin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// How much may be under way to upstreams at once.
pub struct Ceilings {
    all: Arc<Ceiling>,
    hosts: HeldMap<Origin, Ceiling>,
    agents: HeldMap<AgentName, Ceiling>,
}

/// The ceilings that one agent's requests to one origin are under. Looked up once for a tunnel.
#[derive(Clone)]
pub(crate) struct PathToUpstream {
    agent: Arc<Ceiling>,
    host: Arc<Ceiling>,
    all: Arc<Ceiling>,
}

/// A place among what is under way to upstreams; given back when dropped.
pub(crate) struct UpstreamPlace {
    _under: [UnderCeiling; 3],
}

impl Ceilings {
    /// `most` in all, of which one host and one agent may have a part.
    pub fn new(most: usize) -> Self {
        Self { all: Arc::new(Ceiling::new(most)), hosts: HeldMap::default(), agents: HeldMap::default() }
    }

    /// What `agent`'s requests to `origin` are under.
    pub(crate) fn path(&self, agent: &AgentName, origin: &Origin) -> PathToUpstream {
        let part = |share| move || Ceiling::new(self.all.most / share);
        let (agent, host) = (self.agents.of(agent, part(AGENT_SHARE)), self.hosts.of(origin, part(HOST_SHARE)));
        PathToUpstream { agent, host, all: self.all.clone() }
    }
}

impl PathToUpstream {
    /// A place, as soon as there is one.
    ///
    /// # Errors
    /// Too many wait already, or none ended in time.
    pub(crate) async fn place(self) -> Result<UpstreamPlace, Refusal> {
        let Self { agent, host, all } = self;
        // the agent's own first: whoever waits for that takes no room from others
        let of_agent = agent.enter().await.map_err(|full| {
            let why = format!("the agent has {} requests under way, which is as many as it may", full.most);
            full.refuse(RefusalKind::TooManyUnderWay, why)
        })?;
        let to_host = host.enter().await.map_err(|full| {
            full.refuse(RefusalKind::UpstreamBusy, format!("{} requests to this host are under way", full.most))
        })?;
        let of_all = all.enter().await.map_err(|full| {
            full.refuse(RefusalKind::UpstreamBusy, format!("{} requests are under way in all", full.most))
        })?;
        Ok(UpstreamPlace { _under: [of_agent, to_host, of_all] })
    }
}

/// So many at once, and as many again that wait. No lock is taken as long as nobody has to wait: one of these is over all
/// requests.
struct Ceiling {
    most: usize,
    under: AtomicUsize,
    waiting: AtomicUsize,
    /// Places that have been left to those who wait, and are counted as theirs.
    left: Semaphore,
}

/// One of those under a ceiling.
struct UnderCeiling(Arc<Ceiling>);

/// A ceiling that could not be got under.
struct Full {
    most: usize,
    /// It has been waited for.
    waited: bool,
}

impl Full {
    fn refuse(&self, kind: RefusalKind, why: String) -> Refusal {
        let then = match self.waited {
            true => format!("and none ended within {} s", PLACE_TIMEOUT.as_secs()),
            false => "and as many wait".to_owned(),
        };
        Refusal::for_now(kind, format!("{why}, {then} ([limits] under_way)"))
    }
}

/// One of those who wait.
struct Waiting<'c>(&'c Ceiling);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Ceiling {
    fn new(most: usize) -> Self {
        let (under, waiting, left) = (AtomicUsize::new(0), AtomicUsize::new(0), Semaphore::new(0));
        Self { most: most.max(1), under, waiting, left }
    }

    async fn enter(self: Arc<Self>) -> Result<UnderCeiling, Full> {
        if self.counts_one_more() {
            return Ok(UnderCeiling(self));
        }
        let place = {
            let before = self.waiting.fetch_add(1, Ordering::SeqCst);
            let _waiting = Waiting(&self);
            if before >= self.most {
                return Err(Full { most: self.most, waited: false });
            }
            // whoever left before we were seen to wait has left nothing to us
            self.counts_one_more() || self.is_left_one().await
        };
        if place { Ok(UnderCeiling(self)) } else { Err(Full { most: self.most, waited: true }) }
    }

    fn counts_one_more(&self) -> bool {
        let more = |under: usize| (under < self.most).then_some(under + 1);
        self.under.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    /// Waits for a place that somebody leaves, in turn. Whoever gives up leaves it to the next, or to whoever waits next.
    async fn is_left_one(&self) -> bool {
        let Ok(Ok(left)) = tokio::time::timeout(PLACE_TIMEOUT, self.left.acquire()).await else { return false };
        left.forget();
        true
    }
}

impl Drop for UnderCeiling {
    fn drop(&mut self) {
        self.0.under.fetch_sub(1, Ordering::SeqCst);
        if self.0.waiting.load(Ordering::SeqCst) > 0 && self.0.counts_one_more() {
            self.0.left.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Scheme;

    fn path(ceilings: &Ceilings, agent: &str, host: &str) -> PathToUpstream {
        ceilings.path(&agent.parse().unwrap(), &Origin::parse(Scheme::Https, host).unwrap())
    }

    /// Time stands still but where all wait, so the limit is reached at once.
    #[tokio::test(start_paused = true)]
    async fn who_is_over_a_ceiling_waits_in_turn_for_a_time_and_is_told_which_it_is() {
        let ceilings = Ceilings::new(16);
        let enter = async |agent: &str, host: &str| path(&ceilings, agent, host).place().await;
        let told = |refused: Result<UpstreamPlace, Refusal>| {
            let refusal = refused.err().unwrap();
            (refusal.status().as_u16(), refusal.in_full().to_owned())
        };
        let mut held = Vec::new();
        for agent in ["a", "a", "a", "a", "b", "b", "b", "b"] {
            held.push(enter(agent, "one.example").await.unwrap());
        }
        let why = "the agent has 4 requests under way, which is as many as it may, and none ended within 10 s \
                   ([limits] under_way)";
        assert_eq!(told(enter("a", "two.example").await), (429, why.into()));
        let why = "8 requests to this host are under way, and none ended within 10 s ([limits] under_way)";
        assert_eq!(told(enter("c", "one.example").await), (503, why.into()));
        for agent in ["c", "c", "c", "c", "d", "d", "d", "d"] {
            held.push(enter(agent, "two.example").await.unwrap());
        }
        let why = "16 requests are under way in all, and none ended within 10 s ([limits] under_way)";
        assert_eq!(told(enter("e", "three.example").await), (503, why.into()));
        drop(held);
        assert!(enter("e", "one.example").await.is_ok(), "what was waited for in vain holds no place");
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_wait_as_may_be_under_way_and_the_first_goes_first() {
        let ceilings = Ceilings::new(16);
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(path(&ceilings, "a", "one.example").place().await.unwrap());
        }
        let waiting: Vec<_> = (0..5).map(|_| tokio::spawn(path(&ceilings, "a", "one.example").place())).collect();
        tokio::task::yield_now().await;
        let ended: Vec<bool> = waiting.iter().map(|one| one.is_finished()).collect();
        assert_eq!(ended, [false, false, false, false, true], "the fifth is told at once");
        held.pop();
        tokio::task::yield_now().await;
        let ended: Vec<bool> = waiting.iter().map(|one| one.is_finished()).collect();
        assert_eq!(ended, [true, false, false, false, true]);
    }
}
