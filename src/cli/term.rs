//! How locum speaks to a person: errors with a next step, and the exit codes. It decides nothing.

use crate::app::AppError;
use crate::telemetry;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// Exit code: it failed.
pub const FAILED: u8 = 1;
/// Exit code: the command line is wrong.
pub const WRONG_USAGE: u8 = 2;
/// Exit code: policy refuses it.
pub const REFUSED: u8 = 3;
/// Exit code: a key or a store can't be had.
pub const UNAVAILABLE: u8 = 4;

/// A number of bytes, as people read it.
pub fn size(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if size < 999.5 {
            let decimals = usize::from(unit != "B" && size < 9.95);
            return format!("{size:.decimals$} {unit}");
        }
        size /= 1000.0;
    }
    format!("{size:.1} TB")
}

/// An error for a person: what, what to do next, and the exit code that a script sees.
#[derive(Debug)]
pub struct CliError {
    /// One line, without a full stop.
    pub what: String,
    /// One line; empty where there is nothing to do.
    pub next: String,
    /// The exit code.
    pub code: u8,
}

impl CliError {
    /// One with the exit code [`FAILED`].
    pub fn failed(what: impl fmt::Display, next: impl fmt::Display) -> anyhow::Error {
        Self { what: what.to_string(), next: next.to_string(), code: FAILED }.into()
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for CliError {}

impl From<AppError> for CliError {
    fn from(error: AppError) -> Self {
        let code = match error {
            AppError::Unasked(_) | AppError::NoStore => UNAVAILABLE,
            AppError::NotOurs(_) => WRONG_USAGE,
            _ => FAILED,
        };
        Self { what: error.to_string(), next: error.next(), code }
    }
}

/// Something could not be written, though somebody is there to read it: a disk is full.
static IS_INCOMPLETE: AtomicBool = AtomicBool::new(false);

/// Writes a text for a person. A reader that has left misses it, and what the command does goes on.
pub fn put(mut to: impl Write, text: fmt::Arguments<'_>) {
    LastLine::hold().clear();
    note(to.write_fmt(text));
}

/// What an error says, without the system's numbers for it.
pub fn in_words(said: &str) -> String {
    let mut parts = said.split(" (os error ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        match rest.strip_prefix(')') {
            Some(rest) => text + rest,
            None => text + " (os error " + part,
        }
    })
}

/// Whether what stands on the terminal's last line is to be taken away again.
static IS_PASSING: Mutex<bool> = Mutex::new(false);

/// The terminal's last line, on standard error. Whoever asks a person something holds it until that is answered, and prints
/// nothing by [`put`] meanwhile, which would wait for it.
pub struct LastLine(MutexGuard<'static, bool>);

impl LastLine {
    /// It, once nobody else has it.
    pub fn hold() -> Self {
        Self(IS_PASSING.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Hands it to `what`, unless somebody holds it.
    pub fn if_free(what: impl FnOnce(&mut Self)) {
        match IS_PASSING.try_lock() {
            Ok(held) => what(&mut Self(held)),
            Err(TryLockError::Poisoned(held)) => what(&mut Self(held.into_inner())),
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// Takes away what was passing.
    pub fn clear(&mut self) {
        if std::mem::take(&mut *self.0) {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
    }

    /// Shows a text in passing, in place of the one before.
    pub fn write(&mut self, text: &str) {
        *self.0 = true;
        let _ = write!(io::stderr(), "\r\x1b[K{text} ");
    }
}

fn note(written: io::Result<()>) {
    if written.is_err_and(|e| e.kind() != io::ErrorKind::BrokenPipe) {
        IS_INCOMPLETE.store(true, Ordering::Relaxed);
    }
}

/// The exit code of a command that came to `code`: none has done what it should whose output is not all there.
pub fn finish(code: ExitCode) -> ExitCode {
    note(io::stdout().flush());
    if code != ExitCode::SUCCESS || !IS_INCOMPLETE.load(Ordering::Relaxed) {
        return code;
    }
    report(&unwritten())
}

/// That a reader of standard output is there and has not got all of it.
pub fn unwritten() -> anyhow::Error {
    CliError::failed("not all could be written to standard output", "free some space where it goes")
}

/// A folder for the time of a command, for nobody else to look into.
///
/// # Errors
/// When none can be made.
pub fn private_tempdir(prefix: &str) -> std::io::Result<tempfile::TempDir> {
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    tempfile::Builder::new().prefix(prefix).permissions(closed).tempdir()
}

/// The columns of the terminal that standard output goes to; `None` where it goes elsewhere, and lines may be as long as they
/// are.
pub fn columns() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col)).filter(|n| *n > 0);
    let said = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|n| *n > 0);
    Some(size.or_else(said).unwrap_or(80))
}

/// The colour of a text, by what it says.
#[derive(Debug, Clone, Copy)]
pub enum TextColour {
    /// A fault.
    Red,
    /// All is well.
    Green,
    /// Something to look at.
    Yellow,
}

impl TextColour {
    /// A text in this colour, where `to` is a terminal whose user wants colours.
    pub fn paint(self, text: &str, to: &impl IsTerminal) -> String {
        let code = match self {
            Self::Red => 31,
            Self::Green => 32,
            Self::Yellow => 33,
        };
        if to.is_terminal() && telemetry::wants_colour() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    }
}

/// A reason repeats what the agent wrote: it is cut here, and no terminal obeys it.
const MOST_OF_A_REASON: usize = 400;

/// One line of text, whatever an agent has put into it.
pub fn shown(reason: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    let cut = if reason.chars().nth(MOST_OF_A_REASON).is_some() { "…" } else { "" };
    reason.chars().take(MOST_OF_A_REASON).map(escape).collect::<String>() + cut
}

/// Prints an error in two lines, and gives the exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let told = error.downcast_ref::<CliError>();
    let mut stderr = std::io::stderr().lock();
    let label = TextColour::Red.paint("error", &stderr);
    let what = told.map_or_else(|| format!("{error:#}"), |t| t.what.clone());
    // nobody is left to tell where this fails
    let _ = writeln!(stderr, "{label}: {}", in_words(&what));
    if let Some(next) = told.map(|t| &t.next).filter(|n| !n.is_empty()) {
        let _ = writeln!(stderr, "  next: {next}");
    }
    ExitCode::from(told.map_or(FAILED, |t| t.code))
}
