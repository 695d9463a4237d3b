//! The audit as the settings have it.

use crate::audit::log;
use crate::config::settings::{Durability, Settings};

/// A file of the audit is followed by another at this size.
const AUDIT_FILE: u64 = 64 * 1024 * 1024;

pub(super) fn config(settings: &Settings) -> log::Config {
    log::Config {
        dir: settings.audit.dir.clone(),
        durability: match settings.audit.durability {
            Durability::Write => log::Durability::Write,
            Durability::Fsync => log::Durability::Fsync,
        },
        max_file_bytes: AUDIT_FILE,
        exchanges: settings.audit.exchanges,
        about: concat!("locum ", env!("CARGO_PKG_VERSION")).into(),
    }
}
