//! Whether a connection comes from a descendant of this process: what `run` started may do without a token, since some
//! clients (Java's, browsers) can't send one.
//!
//! The kernel names the client's socket, and `/proc` who holds it and whose child that is. Where any of it can't be told,
//! the client needs the token like everyone else.

use super::admitted::Admitted;
use crate::policy::Agent;
use crate::policy::agent::TokenProof;
use crate::system::processes::{holds_socket, is_descendant, processes};
use crate::system::socket_owner;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The processes that this one started, and theirs.
pub struct Descendants {
    /// Whom they ask as.
    agent: Arc<Agent>,
    proof: TokenProof,
    /// Those that connected before: most likely the next connection is one of theirs.
    seen: Mutex<HashSet<u32>>,
}

impl Descendants {
    /// Of this process; they ask as `agent`.
    pub fn new(agent: Arc<Agent>, proof: TokenProof) -> Self {
        Self { agent, proof, seen: Mutex::default() }
    }

    /// One of them, of which it isn't known which.
    pub fn as_one(&self) -> Admitted {
        Admitted { agent: self.agent.clone(), proof: self.proof.clone(), pid: None }
    }

    /// Who asks, and from which process; `None` for a stranger.
    pub(crate) async fn knows(self: &Arc<Self>, client: SocketAddr, own: SocketAddr) -> Option<Admitted> {
        let descendants = self.clone();
        // `/proc` is read in the blocking pool: with many processes it takes milliseconds
        let pid = tokio::task::spawn_blocking(move || descendants.holder(client, own)).await.ok().flatten()?;
        Some(Admitted { pid: Some(pid), ..self.as_one() })
    }

    /// The descendant that holds the client's end of a connection.
    fn holder(&self, client: SocketAddr, own: SocketAddr) -> Option<u32> {
        let socket = format!("socket:[{}]", socket_owner::of(client, own)?.inode);
        let seen: Vec<u32> = self.seen.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        let holds = |pid: &u32| is_descendant(*pid) && holds_socket(*pid, &socket);
        let found = seen.into_iter().find(holds).or_else(|| processes().find(holds))?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|pid| Path::new(&format!("/proc/{pid}")).exists());
        seen.insert(found);
        Some(found)
    }
}
