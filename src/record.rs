//! Records of the audit: facts only, never a key's bytes. Writes a record's members; `chain` makes them a line.

mod members;

pub(crate) use members::{digits, write_timestamp};
pub use members::{misleads, quoted};

use crate::name::{AgentName, KeyName};
use crate::place::Place;
use crate::system::operator::Operator;
use members::{MAX_TEXT, around, ip, known, number, raw, text, time, word, write_duration};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

/// No record's members are longer than this, whatever their texts hold.
pub const MAX_MEMBERS: usize = 16 * 1024;

/// The kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A placeholder was replaced by its key.
    Substitution,
    /// What was recorded so did not leave after all.
    Unsent,
    /// A request was answered by the proxy itself.
    Refusal,
    /// A request and its response have ended.
    Exchange,
    /// A key was hidden in a response.
    Scrub,
    /// A connection was passed on unread, and has ended.
    Tunnel,
    /// A key was set, removed or rotated.
    Key,
    /// An agent was added or revoked.
    Agent,
    /// The config was read anew.
    Config,
    /// The operator did something else.
    Admin,
    /// Something unusual was found.
    Anomaly,
    /// A file of the audit begins.
    Start,
    /// The process ends.
    Stop,
}

impl Event {
    /// Every kind.
    pub const ALL: [Event; 13] = [
        Event::Substitution,
        Event::Unsent,
        Event::Refusal,
        Event::Exchange,
        Event::Scrub,
        Event::Tunnel,
        Event::Key,
        Event::Agent,
        Event::Config,
        Event::Admin,
        Event::Anomaly,
        Event::Start,
        Event::Stop,
    ];

    /// The word in the member `event`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Event::Substitution => "substitution",
            Event::Unsent => "unsent",
            Event::Refusal => "refusal",
            Event::Exchange => "exchange",
            Event::Scrub => "scrub",
            Event::Tunnel => "tunnel",
            Event::Key => "key",
            Event::Agent => "agent",
            Event::Config => "config",
            Event::Admin => "admin",
            Event::Anomaly => "anomaly",
            Event::Start => "start",
            Event::Stop => "stop",
        }
    }
}

/// Whether a request that was answered with this by the proxy itself failed by its upstream, and was not refused.
pub const fn is_upstreams_fault(status: u16) -> bool {
    matches!(status, 502 | 504)
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The members that all records of one exchange share.
#[derive(Debug, Clone)]
pub struct ExchangeInfo {
    /// 16 characters of lower-case base32, unique; empty where no agent asked for anything.
    pub exchange: String,
    /// The agent that asked.
    pub agent: AgentName,
    /// The local client's process, where the system tells it.
    pub pid: Option<u32>,
    /// What the agent says of itself in the header `locum-tool`: a claim.
    pub tool: Option<String>,
    /// The method; empty where none was told.
    pub method: String,
    /// `http` or `https`; empty where none was told.
    pub scheme: &'static str,
    /// The host that was asked for; empty where none was told.
    pub host: String,
    /// The port; it counts only with a host.
    pub port: u16,
    /// Without the query; a placeholder in it as the agent wrote it.
    pub path: String,
}

impl ExchangeInfo {
    /// An exchange of which nothing but its agent is told.
    pub fn unasked(exchange: String, agent: AgentName) -> Self {
        Self {
            exchange,
            agent,
            pid: None,
            tool: None,
            method: String::new(),
            scheme: "",
            host: String::new(),
            port: 0,
            path: String::new(),
        }
    }
}

/// The time within which all that a record counts has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedSpan {
    /// When the first of them did.
    pub first: SystemTime,
    /// When the last did.
    pub last: SystemTime,
}

/// The state of another file of the audit: in the first record of the file after it, in the record of its removal, and with a
/// signature in a later record of its own.
#[derive(Debug, Clone)]
pub struct PreviousFile {
    /// Its name, without the folder.
    pub file: String,
    /// The hash of its last whole line.
    pub head: String,
}

/// The key, host or part of locum that a record is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Written as `api.KEY`.
    Key(KeyName),
    /// The host where no key is meant, or a part of locum.
    Other(Cow<'static, str>),
}

impl From<&'static str> for Operation {
    fn from(text: &'static str) -> Self {
        Operation::Other(Cow::Borrowed(text))
    }
}

impl From<String> for Operation {
    fn from(text: String) -> Self {
        Operation::Other(Cow::Owned(text))
    }
}

/// A placeholder in a record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyRef {
    /// Of this key, in its usual form whichever one the agent wrote.
    Key(KeyName),
    /// As the agent wrote it: there may be no such key.
    Written(String),
}

impl KeyRef {
    /// The key that it stands for.
    pub fn key(&self) -> Option<&str> {
        match self {
            KeyRef::Key(key) => Some(key.as_str()),
            KeyRef::Written(text) => key_of(text),
        }
    }
}

/// The key that a `key_ref` means. An operation wouldn't tell: a host may be called `api.openai`.
pub fn key_of(key_ref: &str) -> Option<&str> {
    key_ref.strip_prefix("<<")?.strip_suffix("_key>>")
}

/// The uses of a key in one place of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// The key whose placeholder stands there.
    pub key: KeyName,
    /// In a head where the placeholder was found, in a body the binding's place that allowed it.
    pub place: Place,
    /// Placeholders, one at least.
    pub count: u64,
}

/// One line of the audit, before it is chained.
#[derive(Debug, Clone)]
pub struct Record {
    /// When it happened.
    pub at: SystemTime,
    /// What happened.
    pub event: Event,
    /// The key or host that it is about.
    pub operation: Operation,
    /// What an operator did: `key set`.
    pub action: Option<&'static str>,
    /// Who did it.
    pub by: Option<Operator>,
    /// The exchange that it belongs to.
    pub info: Option<Arc<ExchangeInfo>>,
    /// The placeholder that it is about.
    pub key_ref: Option<KeyRef>,
    /// Where in the request that stood.
    pub place: Option<Place>,
    /// How often.
    pub count: Option<u64>,
    /// Of many that are told in one: when those were.
    pub counted: Option<CountedSpan>,
    /// Which attempt at the request it belongs to, where that is not the first: 2 to 4.
    pub attempt: Option<u8>,
    /// The status that the agent was answered with.
    pub status: Option<u16>,
    /// Whether it went well, where that is known.
    pub success: Option<bool>,
    /// How long it took, in milliseconds.
    pub duration_ms: Option<f64>,
    /// Bytes of the request's body that went upstream.
    pub bytes_out: Option<u64>,
    /// Bytes of the response's body that reached the agent.
    pub bytes_in: Option<u64>,
    /// The address that was dialled.
    pub upstream_ip: Option<IpAddr>,
    /// `1.0`, `1.1` or `2`: the agent's protocol.
    pub http: Option<&'static str>,
    /// What broke off.
    pub error: Option<String>,
    /// Placeholders left as they were in a body.
    pub kept: Option<u64>,
    /// Keys hidden in a response.
    pub scrubbed: Option<u64>,
    /// Why it was refused, for the operator.
    pub reason: Option<String>,
    /// Another file of the audit.
    pub previous: Option<Box<PreviousFile>>,
    /// Of `previous`.
    pub signature: Option<String>,
}

impl Record {
    /// A record of which nothing but this is told.
    pub fn new(at: SystemTime, event: Event, operation: impl Into<Operation>) -> Self {
        Self {
            at,
            event,
            operation: operation.into(),
            action: None,
            by: None,
            info: None,
            key_ref: None,
            place: None,
            count: None,
            counted: None,
            attempt: None,
            status: None,
            success: None,
            duration_ms: None,
            bytes_out: None,
            bytes_in: None,
            upstream_ip: None,
            http: None,
            error: None,
            kept: None,
            scrubbed: None,
            reason: None,
            previous: None,
            signature: None,
        }
    }

    /// The same as an operator's act, and how it ended: with a note on it, or why it failed.
    pub fn done_by(mut self, by: Operator, action: &'static str, done: Result<Option<String>, String>) -> Self {
        (self.action, self.by, self.success) = (Some(action), Some(by), Some(done.is_ok()));
        match done {
            Ok(note) => self.reason = note,
            Err(why) => self.error = Some(why),
        }
        self
    }

    /// The same with no more of each text that others chose than is written: for one that has to wait.
    pub fn bounded(mut self) -> Self {
        if let Some(info) = &mut self.info {
            let info = Arc::make_mut(info);
            [&mut info.method, &mut info.path].into_iter().chain(&mut info.tool).for_each(shorten);
        }
        if let Some(KeyRef::Written(text)) = &mut self.key_ref {
            shorten(text);
        }
        self.error.iter_mut().chain(&mut self.reason).for_each(shorten);
        self
    }

    /// Appends the members of this record's JSON object, from `"timestamp":` on and without braces.
    ///
    /// The order is fixed and strings are escaped in one way only, so readers may look for `"agent":"x"` as bytes: no
    /// text can contain it, since its quotes would be escaped.
    pub fn write_members(&self, out: &mut Vec<u8>) {
        write_timestamp(out, self.at);
        word(out, "event", Some(self.event.as_str()));
        match &self.operation {
            Operation::Key(key) => around(out, "operation", "api.", key.as_str(), ""),
            Operation::Other(text) => word(out, "operation", Some(text)),
        }
        word(out, "action", self.action);
        if let Some(by) = &self.by {
            number(out, "uid", by.uid.map(u64::from));
            word(out, "tty", by.tty.as_deref());
        }
        if let Some(info) = &self.info {
            word(out, "tool", info.tool.as_deref());
            word(out, "exchange", known(&info.exchange));
            word(out, "agent", Some(info.agent.as_str()));
            number(out, "pid", info.pid.map(u64::from));
        }
        match &self.key_ref {
            Some(KeyRef::Key(key)) => around(out, "key_ref", "<<", key.as_str(), "_key>>"),
            Some(KeyRef::Written(text)) => word(out, "key_ref", Some(text)),
            None => {}
        }
        match &self.place {
            Some(Place::HeaderNamed(name)) => around(out, "where", "header:", name.as_str(), ""),
            Some(place) => word(out, "where", Some(&place.to_string())),
            None => {}
        }
        number(out, "count", self.count);
        if let Some(counted) = &self.counted {
            time(out, "first", counted.first);
            time(out, "last", counted.last);
        }
        number(out, "attempt", self.attempt.map(u64::from));
        if let Some(info) = &self.info {
            word(out, "method", known(&info.method));
            word(out, "scheme", known(info.scheme));
            word(out, "host", known(&info.host));
            number(out, "port", known(&info.host).map(|_| info.port.into()));
            text(out, "path", known(&info.path), MAX_TEXT);
        }
        number(out, "status", self.status.map(u64::from));
        if let Some(success) = self.success {
            raw(out, "success", if success { "true" } else { "false" });
        }
        if let Some(ms) = self.duration_ms {
            write_duration(out, ms);
        }
        number(out, "bytes_out", self.bytes_out);
        number(out, "bytes_in", self.bytes_in);
        ip(out, self.upstream_ip);
        word(out, "http", self.http);
        text(out, "error", self.error.as_deref(), MAX_TEXT);
        number(out, "kept", self.kept);
        number(out, "scrubbed", self.scrubbed);
        text(out, "reason", self.reason.as_deref(), MAX_TEXT);
        if let Some(previous) = &self.previous {
            word(out, "previous", Some(&previous.file));
            word(out, "head", Some(&previous.head));
        }
        word(out, "signature", self.signature.as_deref());
    }
}

/// Leaves a little more than what is written of a text, so that what is cut there shows.
fn shorten(text: &mut String) {
    let end = (MAX_TEXT + 1..=MAX_TEXT + 4).find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(text.len()));
    text.shrink_to_fit();
}

#[cfg(test)]
mod tests;
