//! Alerts that the audit gives by itself: findings to the log, to the console, to a webhook.

pub mod alerts;
pub(crate) mod webhook;
