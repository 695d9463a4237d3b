//! What a command that takes a while shows who waits at a terminal: one line on standard error, gone before anything else is
//! shown. How far it is, others count.

use super::term::{LastLine, size};
use crate::audit::read::query::ReadProgress;
use crate::telemetry::{self, HeldWarnings};
use std::io::{self, IsTerminal};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// What most commands wait for: a store that is slow, or locked.
pub const ASKING_THE_STORES: &str = "asking the stores";

/// A line that says what takes so long; gone when dropped. What is printed meanwhile takes its place.
pub struct ProgressLine {
    done: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _warnings: Option<HeldWarnings>,
}

impl ProgressLine {
    /// What is done by then shows nothing.
    const AFTER: Duration = Duration::from_millis(500);

    /// What is under way, where nobody can tell how far it is.
    pub fn of(what: &'static str) -> Self {
        Self::show(move || what.to_owned())
    }

    /// How far the audit has been read, and `before` that has begun what else is done.
    pub fn reading(before: &'static str, progress: &ReadProgress) -> Self {
        let progress = progress.clone();
        Self::show(move || match progress.total() {
            0 => before.to_owned(),
            total => format!("read {} of {}", size(progress.read()), size(total)),
        })
    }

    /// What `text` says at the time. Only where standard error is a terminal that can take a line back, and once all has been
    /// done that wants the process to have one thread.
    pub fn show(text: impl Fn() -> String + Send + 'static) -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        if is_dumb || !io::stderr().is_terminal() {
            return Self { done: None, thread: None, _warnings: None };
        }
        let (done, ended) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut before = String::new();
            while ended.recv_timeout(Self::AFTER) == Err(mpsc::RecvTimeoutError::Timeout) {
                let now = text();
                if now != before {
                    // while a person is asked something, the last line is the question's; what a program of the user's asks there
                    // has to stay too, so nothing is written twice
                    LastLine::if_free(|line| line.write(&now));
                    before = now;
                }
            }
            LastLine::hold().clear();
        });
        Self { done: Some(done), thread: Some(thread), _warnings: Some(telemetry::hold()) }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
