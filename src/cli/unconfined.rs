//! What an unconfined command may do past the proxy: said once, and at its end where it seems to have done so.

use super::term::shown;
use crate::app::App;
use crate::system::processes;
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::time::{Duration, Instant};

/// There once it was said.
const TOLD: &str = "told-unconfined";
/// A command that has run so long without a connection does not use the proxy, or does nothing.
const LONG: Duration = Duration::from_secs(4);
/// So many processes are named that outlive their command.
const MOST_NAMED: usize = 8;

/// Says what `run` does not protect from, where that was never said to this user.
pub fn tell_once(state: &Path) {
    let is_new = OpenOptions::new().write(true).create_new(true).open(state.join(TOLD)).is_ok();
    if is_new {
        eprintln!(
            "locum: not confined: a command that means to can go past the proxy, and read what you can; --confine prevents both"
        );
    }
}

/// What came of a command that was not confined.
pub struct Unseen {
    took: Duration,
    was_used: bool,
    left: Vec<(u32, String)>,
}

impl Unseen {
    /// Of a command that was started then, and has just ended.
    pub fn of(app: &App, started: Instant) -> Self {
        Self { took: started.elapsed(), was_used: app.was_connected_to(), left: outliving() }
    }

    pub fn tell(&self) {
        if !self.was_used && self.took >= LONG {
            eprintln!(
                "locum: the command made no connection to the proxy: one that knows of none goes past it\n  \
                 next: run it with --confine, or see 'locum doctor'"
            );
        }
        if !self.left.is_empty() {
            let named: Vec<String> =
                self.left.iter().take(MOST_NAMED).map(|(pid, name)| format!("{pid} ({name})")).collect();
            let more = self.left.len().saturating_sub(MOST_NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            eprintln!(
                "locum: still running, and without their proxy from now on: {}{more}\n  \
                 next: end them; for what outlives a command there is 'locum serve'",
                named.join(", ")
            );
        }
    }
}

/// The processes that the command has left behind, with their names.
fn outliving() -> Vec<(u32, String)> {
    let is_alive = |pid: &u32| processes::standing(*pid).is_some_and(|(state, _)| state != 'Z');
    let left = processes::processes().filter(|pid| processes::is_descendant(*pid)).filter(is_alive);
    left.map(|pid| (pid, shown(fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end())))
        .collect()
}
