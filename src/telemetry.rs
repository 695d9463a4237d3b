//! What the rooms have to say while a service runs, on standard error: warnings, one a line. Never a key.

use std::io::IsTerminal as _;
use tracing::Level;

/// From here on warnings are shown. Once a process; a second call changes nothing.
pub fn start() {
    let shown = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(Level::WARN)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    // whoever has set one before has reasons
    let _ = shown.try_init();
}
