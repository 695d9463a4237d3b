//! How locum speaks to a person: errors with a next step, and the exit codes. It decides nothing.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

pub const DONE: u8 = 0;
pub const FAILED: u8 = 1;
pub const WRONG_USAGE: u8 = 2;
pub const REFUSED: u8 = 3;
pub const UNAVAILABLE: u8 = 4;

/// An error for a person: what, what to do next, and the exit code that a script sees.
#[derive(Debug)]
pub struct CliError {
    pub what: String,
    pub next: String,
    pub code: u8,
}

impl CliError {
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

/// A folder for the time of a command, for nobody else to look into.
///
/// # Errors
/// When none can be made.
pub fn private_tempdir(prefix: &str) -> std::io::Result<tempfile::TempDir> {
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    tempfile::Builder::new().prefix(prefix).permissions(closed).tempdir()
}

/// Prints an error in two lines, and gives the exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let told = error.downcast_ref::<CliError>();
    let mut stderr = std::io::stderr().lock();
    let label = if stderr.is_terminal() { "\x1b[31merror\x1b[0m" } else { "error" };
    let what = told.map_or_else(|| format!("{error:#}"), |t| t.what.clone());
    // nobody is left to tell where this fails
    let _ = writeln!(stderr, "{label}: {what}");
    if let Some(next) = told.map(|t| &t.next).filter(|n| !n.is_empty()) {
        let _ = writeln!(stderr, "  next: {next}");
    }
    ExitCode::from(told.map_or(FAILED, |t| t.code))
}
