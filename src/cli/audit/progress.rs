//! How far a long reading is, for who waits at a terminal.

use crate::audit::read::query::ReadProgress;
use crate::cli::term::size;
use std::io::{self, IsTerminal};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How far a long reading is, on the terminal's last line; gone when dropped.
pub(super) struct ProgressBar {
    done: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ProgressBar {
    /// Quick readings show nothing.
    const AFTER: Duration = Duration::from_millis(500);

    /// Where the result comes `at_last`; else what is printed meanwhile is sign enough, and would run into it.
    pub(super) fn show(progress: ReadProgress, at_last: bool) -> Self {
        if !io::stderr().is_terminal() || io::stdout().is_terminal() && !at_last {
            return ProgressBar { done: None, thread: None };
        }
        let (done, ended) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut shown = false;
            while ended.recv_timeout(Self::AFTER) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprint!("\rread {} of {} ", size(progress.read()), size(progress.total));
                shown = true;
            }
            if shown {
                eprint!("\r\x1b[K");
            }
        });
        ProgressBar { done: Some(done), thread: Some(thread) }
    }
}

impl Drop for ProgressBar {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
