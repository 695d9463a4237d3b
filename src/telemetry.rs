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
    // the libraries warn of each odd message of a peer, so that a stranger could fill a disk with that
    let shown = shown.with(filter_fn(|about| about.target().starts_with(env!("CARGO_PKG_NAME"))));
    // whoever has set one before has reasons
    let _ = tracing::subscriber::set_global_default(shown);
}
