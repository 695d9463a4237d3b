//! Anomaly detection over the stream of records: a fold, live or over old ones, with the records' own times for a clock. Warns nobody.

mod config;
mod fact;
mod finding;
#[cfg(test)]
mod ordinary;
mod recent;
mod watch;
mod window;

pub use config::AnomalyLimits;
pub use fact::{Fact, HANDSHAKE_FAILED, UNREQUESTED};
pub use finding::{AnomalyKind, Finding, Severity};
pub use watch::{AnomalyDetector, subject};
