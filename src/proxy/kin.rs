//! Whether a connection comes from a descendant of this process: what `run` started may do without a token, since some
//! clients (Java's, browsers) can't send one.
//!
//! The kernel names the client's socket, and `/proc` who holds it and whose child that is. Where any of it can't be told,
//! the client needs the token like everyone else.

use super::peer;
use crate::policy::Agent;
use crate::policy::agent::Proof;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Generations between a process and this one; more is a loop of ids that were given anew meanwhile.
const MAX_DEPTH: usize = 128;

/// The processes that this one started, and theirs.
pub struct Kin {
    /// Whom they ask as.
    agent: Arc<Agent>,
    proof: Proof,
    /// Those that connected before: most likely the next connection is one of theirs.
    seen: Mutex<HashSet<u32>>,
}

impl Kin {
    pub fn new(agent: Arc<Agent>, proof: Proof) -> Self {
        Self { agent, proof, seen: Mutex::default() }
    }

    /// Who asks, and from which process; `None` for a stranger.
    pub(super) async fn knows(self: &Arc<Self>, client: SocketAddr, own: SocketAddr) -> Option<Relative> {
        let kin = self.clone();
        // `/proc` is read in the blocking pool: with many processes it takes milliseconds
        let pid = tokio::task::spawn_blocking(move || kin.holder(client, own)).await.ok().flatten()?;
        Some(Relative { agent: self.agent.clone(), proof: self.proof.clone(), pid })
    }

    /// The descendant that holds the client's end of a connection.
    fn holder(&self, client: SocketAddr, own: SocketAddr) -> Option<u32> {
        let socket = format!("socket:[{}]", peer::of(client, own)?.inode);
        let seen: Vec<u32> = self.seen.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        let holds = |pid: &u32| is_descendant(*pid) && holds(*pid, &socket);
        let found = seen.into_iter().find(holds).or_else(|| processes().find(holds))?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|pid| Path::new(&format!("/proc/{pid}")).exists());
        seen.insert(found);
        Some(found)
    }
}

/// A descendant that is at the other end of a connection.
#[derive(Clone)]
pub(super) struct Relative {
    pub agent: Arc<Agent>,
    pub proof: Proof,
    pub pid: u32,
}

/// The ids of all processes that can be seen.
pub fn processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn is_descendant(pid: u32) -> bool {
    let own = std::process::id();
    let mut at = pid;
    for _ in 0..MAX_DEPTH {
        match standing(at) {
            Some((_, parent)) if parent == own => return true,
            Some((_, parent)) if parent > 1 => at = parent,
            _ => return false,
        }
    }
    false
}

/// A process's state and its parent: what follows its name, which may hold anything, in `/proc/PID/stat`.
pub fn standing(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let rest = stat.get(memchr::memrchr(b')', &stat)? + 1..)?;
    let mut fields = std::str::from_utf8(rest).ok()?.split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn holds(pid: u32, socket: &str) -> bool {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    entries.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == socket))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn the_family_is_told_from_strangers() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert_eq!(standing(child.id()).map(|(_, parent)| parent), Some(std::process::id()));
        assert!(is_descendant(child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!is_descendant(child.id()), "gone");
        let own = std::process::id();
        assert!(!is_descendant(own) && !is_descendant(1) && !is_descendant(standing(own).unwrap().1));
    }
}
