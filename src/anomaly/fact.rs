//! The part of a record that says whether something is unusual, borrowed from it.

use crate::record::{Event, KeyRef, Record};
use std::time::{SystemTime, UNIX_EPOCH};

/// The part of a record that matters here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fact<'a> {
    /// Seconds since 1970.
    pub second: u64,
    /// What happened.
    pub event: Option<Event>,
    /// The key, without the signs of a placeholder.
    pub key: Option<&'a str>,
    /// The id of the exchange; empty where there is none.
    pub exchange: &'a str,
    /// The agent's name; empty where there is none.
    pub agent: &'a str,
    /// The host's name; empty where there is none.
    pub host: &'a str,
    /// The status of the answer.
    pub status: Option<u64>,
    /// Whether it went well, where that is known.
    pub success: Option<bool>,
    /// Bytes of the response's body.
    pub bytes_in: u64,
    /// How often, for what is counted; none for what happened once.
    pub count: u64,
    /// Of a key that was hidden: the request had brought no placeholder of it.
    pub unrequested: bool,
    /// Of a refusal: a TLS handshake failed or was too slow, in which nobody has asked for anything.
    pub handshake: bool,
}

/// In a record of a key that was hidden: the request had brought no placeholder of it.
pub const UNREQUESTED: &str = "unrequested";

/// In a record of a refusal: a client's TLS handshake failed or was too slow.
pub const HANDSHAKE_FAILED: &str = "handshake-failed";

impl<'a> From<&'a Record> for Fact<'a> {
    fn from(record: &'a Record) -> Self {
        let info = record.info.as_deref();
        Fact {
            second: seconds(record.at),
            event: Some(record.event),
            key: record.key_ref.as_ref().and_then(KeyRef::key),
            exchange: info.map_or("", |s| &s.exchange),
            agent: info.map_or("", |s| s.agent.as_str()),
            host: info.map_or("", |s| &s.host),
            status: record.status.map(u64::from),
            success: record.success,
            bytes_in: record.bytes_in.unwrap_or(0),
            count: record.count.unwrap_or(0),
            unrequested: record.error.as_deref() == Some(UNREQUESTED),
            handshake: record.error.as_deref() == Some(HANDSHAKE_FAILED),
        }
    }
}

/// Whole seconds since 1970; a time before that is its beginning.
pub(super) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
