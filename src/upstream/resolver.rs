//! Names become addresses here: by DNS, asked as the system is set up for it, and by the system itself for names that DNS
//! does not know. On a thread of its own and so many at once, so that a zone that never answers holds up nobody else.

mod error;
mod names;

pub use error::ResolveError;

use crate::held_map::HeldMap;
use crate::name::AgentName;
use names::Names;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::task::AbortOnDropHandle;

/// Names that are looked up at once, where there are descriptors enough,
const AT_ONCE: usize = 256;
/// and where there are few: an agent has two of them then, and one domain one.
const AT_ONCE_AT_LEAST: usize = 8;
/// How long a name may take to become addresses, with what it waits for others: half of what a dial may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// One agent may have this part of all lookups,
const AGENT_SHARE: usize = 4;
/// and of those, names below one registrable domain this part, since the same servers answer for them.
const ZONE_SHARE: usize = 4;

/// Resolves names for all workers; its clones are one. It starts a thread with the first name.
#[derive(Clone)]
pub struct Resolver(Arc<Lookups>);

struct Lookups {
    thread: Mutex<Option<Arc<ResolverThread>>>,
    all: Semaphore,
    agents: HeldMap<Option<AgentName>, Semaphore>,
    zones: HeldMap<(Option<AgentName>, Box<str>), Semaphore>,
    of_agent: usize,
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new(AT_ONCE)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// With so many lookups at once, within 8 and 256. Each takes up to four descriptors: two families are asked for, of
    /// two name servers.
    pub fn new(at_once: usize) -> Self {
        let at_once = at_once.clamp(AT_ONCE_AT_LEAST, AT_ONCE);
        Self(Arc::new(Lookups {
            thread: Mutex::default(),
            all: Semaphore::new(at_once),
            agents: HeldMap::default(),
            zones: HeldMap::default(),
            of_agent: at_once / AGENT_SHARE,
        }))
    }

    /// The addresses of a name, asked for by an agent or, without one, by the operator.
    ///
    /// # Errors
    /// There is none, or nobody could say so in time.
    pub async fn resolve(&self, name: &str, asker: Option<&AgentName>) -> Result<Vec<IpAddr>, ResolveError> {
        let resolved = tokio::time::timeout(LOOKUP_TIMEOUT, self.in_turn(name, asker.cloned()));
        resolved.await.unwrap_or(Err(ResolveError::Timeout { seconds: LOOKUP_TIMEOUT.as_secs() }))
    }

    async fn in_turn(&self, name: &str, asker: Option<AgentName>) -> Result<Vec<IpAddr>, ResolveError> {
        let Lookups { all, agents, zones, of_agent, .. } = &*self.0;
        let of_agent = *of_agent;
        let agent = agents.of(&asker, || Semaphore::new(of_agent));
        let zone = zones.of(&(asker, zone(name).into()), || Semaphore::new((of_agent / ZONE_SHARE).max(1)));
        // the narrowest first: whoever waits for that takes no turn from others. None of them is ever closed
        let _turns = (zone.acquire().await, agent.acquire().await, all.acquire().await);
        let thread = self.thread().map_err(|e| ResolveError::Failed(format!("no thread to ask from: {e}")))?;
        // whoever gives up leaves nobody asking
        let asking = AbortOnDropHandle::new(thread.runtime.spawn(thread.names.clone().lookup(name.to_owned())));
        asking.await.unwrap_or_else(|e| Err(ResolveError::Failed(e.to_string())))
    }

    fn thread(&self) -> io::Result<Arc<ResolverThread>> {
        let mut thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = &*thread {
            return Ok(thread.clone());
        }
        Ok(thread.insert(Arc::new(ResolverThread::start()?)).clone())
    }
}

/// A thread with a runtime, so that neither what workers do nor when they end matters to a lookup. Ends when dropped.
struct ResolverThread {
    runtime: Handle,
    names: Arc<Names>,
    _ends: oneshot::Sender<()>,
}

impl ResolverThread {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (ends, ended) = oneshot::channel::<()>();
        let work = move || {
            let _ = runtime.block_on(ended);
            // the system may be asking still
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("resolver".into()).spawn(work)?;
        Ok(Self { runtime: handle, names: Arc::default(), _ends: ends })
    }
}

/// The registrable domain, else the name itself.
fn zone(name: &str) -> &str {
    psl::domain_str(name).unwrap_or(name)
}
