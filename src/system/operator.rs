//! Whoever administers locum, as the system tells of them.

use super::processes;

/// Whoever administers locum: a person at a terminal, or a program of theirs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operator {
    /// Their user. A signal doesn't tell whose it is: only the user that runs locum can send one, and root.
    pub uid: Option<u32>,
    /// Their terminal, such as `/dev/pts/3`; none of a program without one.
    pub tty: Option<String>,
}

impl Operator {
    /// The user of this process, and the terminal that it was started from.
    pub fn own() -> Self {
        Self::of(rustix::process::getuid().as_raw(), Some(std::process::id()))
    }

    /// A user who acts by this process of theirs.
    pub fn of(uid: u32, pid: Option<u32>) -> Self {
        Self { uid: Some(uid), tty: pid.and_then(processes::terminal) }
    }
}
