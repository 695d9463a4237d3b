//! The reaper of orphans: processes of the command that outlive their parents are adopted, so that they count as its
//! descendants, and waited for when they end (`PR_SET_CHILD_SUBREAPER` of prctl(2)).

use crate::system::processes;
use rustix::process::{Pid, WaitOptions, waitpid};
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::Instant;

/// How long a process that has ended is left to whoever started it here and waits for it.
const LEFT: Duration = Duration::from_secs(5);

/// The reaper of processes that were adopted: it waits for those that have ended and that nobody else waits for.
pub struct Reaper {
    /// Had ended when they were last looked at, and nobody had waited for them.
    ended: HashSet<u32>,
    due: Option<Instant>,
}

impl Reaper {
    /// From here on, what loses its parent becomes a child of this process.
    pub fn adopt() -> Self {
        #[cfg(target_os = "linux")]
        {
            // where it is refused they go to init as ever, and need the token
            let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        }
        Self { ended: HashSet::new(), due: None }
    }

    /// Some child has ended.
    pub fn expect(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + LEFT);
    }

    /// Resolves when it is time to look.
    pub async fn due(&self) {
        match self.due {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Reaps what had ended the last time and still waits to be. `own` is the command, which is waited for elsewhere.
    pub fn reap(&mut self, own: u32) {
        self.reap_among(processes::processes(), own);
    }

    fn reap_among(&mut self, processes: impl Iterator<Item = u32>, own: u32) {
        let ours = std::process::id();
        let zombie = |pid: &u32| *pid != own && processes::standing(*pid) == Some(('Z', ours));
        let now: HashSet<u32> = processes.filter(zombie).collect();
        for pid in now.intersection(&self.ended) {
            let pid = i32::try_from(*pid).ok().and_then(Pid::from_raw);
            // whatever it comes to, nothing is left to do for it
            let _ = pid.map(|pid| waitpid(Some(pid), WaitOptions::NOHANG));
        }
        self.ended = now.difference(&self.ended).copied().collect();
        self.due = (!self.ended.is_empty()).then(|| Instant::now() + LEFT);
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_is_reaped_the_second_time() {
        let mut orphans = Reaper { ended: HashSet::new(), due: None };
        let mut left = Command::new("true").spawn().unwrap();
        let mut own = Command::new("true").spawn().unwrap();
        let is_zombie = |pid| matches!(processes::standing(pid), Some(('Z', _)));
        while !is_zombie(left.id()) || !is_zombie(own.id()) {
            std::thread::yield_now();
        }
        // other tests wait for their children themselves
        let these = [left.id(), own.id()];
        orphans.expect();
        orphans.due().await;
        orphans.reap_among(these.into_iter(), own.id());
        assert!(is_zombie(left.id()) && orphans.ended.contains(&left.id()));
        orphans.due().await;
        orphans.reap_among(these.into_iter(), own.id());
        assert!(!is_zombie(left.id()) && is_zombie(own.id()));
        assert!(!orphans.ended.contains(&left.id()));
        assert!(left.wait().is_err() && own.wait().is_ok());
    }
}
