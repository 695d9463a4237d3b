//! What the rooms have to say while a service runs, on standard error: warnings, one a line. Never a key.

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

/// Unless the user or the terminal wants none (<https://no-color.org>).
pub fn wants_colour() -> bool {
    let none = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
    !none && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// Lines that are kept while somebody else has the screen; what comes then is counted.
const MOST_HELD: usize = 100;

static SCREEN: Screen = Screen(Mutex::new(Showing { only_errors: false, held: None }));

/// From here on warnings are shown. Once a process; a second call changes nothing.
pub fn start() {
    let shown = tracing_subscriber::fmt()
        .with_writer(&SCREEN)
        .with_max_level(Level::WARN)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal() && wants_colour())
        .finish();
    // the libraries warn of each odd message of a peer, so that a stranger could fill a disk with that
    let shown = shown.with(filter_fn(|about| about.target().starts_with(env!("CARGO_PKG_NAME"))));
    // whoever has set one before has reasons
    let _ = tracing::subscriber::set_global_default(shown);
}

/// From here on only errors are shown: what a person has to know though they asked for quiet.
pub fn show_only_errors() {
    SCREEN.showing().only_errors = true;
}

/// While it is held nothing is written to a terminal, where a program's picture would be broken by it; then all of it is.
pub struct HeldWarnings(());

/// Holds what there is to say. What goes to a file or a pipe instead goes there at once.
pub fn hold() -> HeldWarnings {
    if io::stderr().is_terminal() {
        SCREEN.showing().held.get_or_insert_default();
    }
    HeldWarnings(())
}

impl Drop for HeldWarnings {
    fn drop(&mut self) {
        SCREEN.release(&mut io::stderr());
    }
}

/// What may be shown at present.
struct Showing {
    only_errors: bool,
    held: Option<Held>,
}

/// What waits to be shown.
#[derive(Default)]
struct Held {
    lines: Vec<Vec<u8>>,
    more: usize,
}

/// Standard error, and what waits for it.
struct Screen(Mutex<Showing>);

impl Screen {
    fn showing(&self) -> MutexGuard<'_, Showing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what was held, and what comes from now on.
    fn release(&self, out: &mut impl Write) {
        let Some(held) = self.showing().held.take() else { return };
        // nobody is left to tell where this fails
        let _ = held.lines.iter().try_for_each(|line| out.write_all(line));
        if held.more > 0 {
            let _ = writeln!(out, "locum: and {} more warnings; what is unusual is in the audit", held.more);
        }
    }
}

impl<'s> MakeWriter<'s> for &'static Screen {
    type Writer = ScreenWriter;

    fn make_writer(&'s self) -> ScreenWriter {
        ScreenWriter { screen: self, level: Level::ERROR }
    }

    fn make_writer_for(&'s self, about: &Metadata<'_>) -> ScreenWriter {
        ScreenWriter { screen: self, level: *about.level() }
    }
}

/// The way of one line to the screen.
struct ScreenWriter {
    screen: &'static Screen,
    level: Level,
}

impl Write for ScreenWriter {
    /// A line is written in one go.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut showing = self.screen.showing();
        if showing.only_errors && self.level > Level::ERROR {
            return Ok(line.len());
        }
        match &mut showing.held {
            None => io::stderr().write(line),
            Some(held) if held.lines.len() < MOST_HELD => {
                held.lines.push(line.to_vec());
                Ok(line.len())
            }
            Some(held) => {
                held.more += 1;
                Ok(line.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_comes_in_the_end_within_bounds_and_in_quiet_only_errors() {
        static HELD: Screen = Screen(Mutex::new(Showing { only_errors: false, held: None }));
        let say = |level, line: &str| ScreenWriter { screen: &HELD, level }.write_all(line.as_bytes()).unwrap();
        let shown = || {
            let mut out = Vec::new();
            HELD.release(&mut out);
            String::from_utf8(out).unwrap()
        };
        HELD.showing().held = Some(Held::default());
        (0..MOST_HELD + 2).for_each(|i| say(Level::WARN, &format!("{i}\n")));
        let all = shown();
        assert!(all.starts_with("0\n1\n") && all.contains("\n99\nlocum: and 2 more warnings"), "{all}");
        *HELD.showing() = Showing { only_errors: true, held: Some(Held::default()) };
        say(Level::WARN, "a warning\n");
        say(Level::ERROR, "an error\n");
        assert_eq!((shown().as_str(), shown().as_str()), ("an error\n", ""));
    }
}
