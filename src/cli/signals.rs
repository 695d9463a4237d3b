//! The signals that `run` hands on to its command: what a process sends to locum is meant for the command. What the terminal
//! sends reaches the command by itself, being in the same foreground group.

use crate::system::processes;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::{Handle, SignalsInfo};
use signal_hook::low_level::siginfo::{Cause, Origin};
use std::io;
use tokio::sync::mpsc;

const HANDED_ON: [i32; 6] = [SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2];

/// The signals that this process is sent, from when they are caught until it is dropped.
pub struct CaughtSignals {
    received: mpsc::UnboundedReceiver<Origin>,
    handle: Handle,
}

impl CaughtSignals {
    /// Catches them, but for those that were ignored before (`nohup`, a job in the background of a script): the command is to
    /// ignore them too, and a handler would be gone at its exec.
    ///
    /// # Errors
    /// The system's, where it gives no pipe or no thread.
    pub fn catch() -> io::Result<Self> {
        let caught = HANDED_ON.into_iter().filter(|number| !processes::is_ignored(*number));
        let mut caught = SignalsInfo::<WithOrigin>::new(caught)?;
        let handle = caught.handle();
        let (to, received) = mpsc::unbounded_channel();
        // it ends with the handle; nobody waits for what comes later
        let hear = move || caught.forever().try_for_each(|origin| to.send(origin)).unwrap_or_default();
        std::thread::Builder::new().name("signals".into()).spawn(hear)?;
        Ok(Self { received, handle })
    }

    /// Waits for one that `command` has to be sent, and would not have otherwise.
    pub async fn next(&mut self, command: u32) -> Signal {
        while let Some(origin) = self.received.recv().await {
            if let Some(signal) = due(&origin, command) {
                return signal;
            }
        }
        std::future::pending().await
    }
}

impl Drop for CaughtSignals {
    fn drop(&mut self) {
        self.handle.close();
    }
}

/// What is to be handed on: not what the terminal sent, nor what the command sent to its whole group.
fn due(origin: &Origin, command: u32) -> Option<Signal> {
    let by_the_command = origin.process.as_ref().is_some_and(|p| u32::try_from(p.pid) == Ok(command));
    let by_the_terminal = matches!(origin.signal, SIGINT | SIGQUIT) && !matches!(origin.cause, Cause::Sent(_));
    let signal = Signal::from_named_raw(origin.signal)?;
    (!by_the_command && !by_the_terminal).then_some(signal)
}

/// Sends it; a command that has ended in this moment is told of by whoever waits for it.
pub fn hand_on(signal: Signal, command: u32) {
    if let Some(pid) = i32::try_from(command).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}
