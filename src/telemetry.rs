//! What the rooms have to say while a service runs, on standard error: warnings, one a line. Never a key.

use std::io::IsTerminal as _;
use tracing::Level;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;

/// From here on warnings are shown. Once a process; a second call changes nothing.
pub fn start() {
    let shown = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(Level::WARN)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .finish();
    // it warns of each odd message of a name server, which strangers can have sent
    let shown = shown.with(filter_fn(|about| !about.target().starts_with("hickory")));
    // whoever has set one before has reasons
    let _ = tracing::subscriber::set_global_default(shown);
}
