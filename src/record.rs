//! What happened, as the audit writes it: facts only, never a key's bytes. Writes a record's members; `chain` makes them a line.

use crate::name::{AgentName, KeyName};
use crate::place::Place;
use jiff::fmt::temporal::DateTimePrinter;
use std::borrow::Cow;
use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

/// What a free text may take in a line, in bytes after escaping; the rest is cut and `…` says so.
const MAX_TEXT: usize = 2048;

/// The same for what is short unless somebody plays with us.
const MAX_WORD: usize = 256;

/// No record's members are longer than this, whatever their texts hold.
pub const MAX_MEMBERS: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    Substitution,
    Refusal,
    Exchange,
    Scrub,
    Tunnel,
    Key,
    Agent,
    Config,
    Admin,
    Anomaly,
    Start,
    Stop,
}

impl Event {
    pub const ALL: [Event; 12] = [
        Event::Substitution,
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

    pub const fn as_str(self) -> &'static str {
        match self {
            Event::Substitution => "substitution",
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

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What all records of one exchange share.
#[derive(Debug, Clone)]
pub struct ExchangeInfo {
    /// 16 characters of lower-case base32, unique.
    pub exchange: String,
    pub agent: AgentName,
    /// The local client's process, where the system tells it.
    pub pid: Option<u32>,
    /// What the agent says of itself in the header `locum-tool`: a claim.
    pub tool: Option<String>,
    pub method: String,
    pub scheme: &'static str,
    pub host: String,
    pub port: u16,
    /// Without the query; a placeholder in it as the agent wrote it.
    pub path: String,
}

/// Where a file of the audit stood: in the first record of the file after it, in the record of its removal, and with a
/// signature in a later record of its own.
#[derive(Debug, Clone)]
pub struct PreviousFile {
    pub file: String,
    /// The hash of its last whole line.
    pub head: String,
}

/// What a record is about.
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
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// How often a request uses a key in one place.
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
    pub at: SystemTime,
    pub event: Event,
    pub operation: Operation,
    pub info: Option<Arc<ExchangeInfo>>,
    pub key_ref: Option<KeyRef>,
    pub place: Option<Place>,
    pub count: Option<u64>,
    pub status: Option<u16>,
    pub success: Option<bool>,
    pub duration_ms: Option<f64>,
    /// Bytes of the request's body that went upstream.
    pub bytes_out: Option<u64>,
    /// Bytes of the response's body that reached the agent.
    pub bytes_in: Option<u64>,
    pub upstream_ip: Option<IpAddr>,
    /// `1.0`, `1.1` or `2`: the agent's protocol.
    pub http: Option<&'static str>,
    pub error: Option<String>,
    /// Placeholders left as they were in a body.
    pub kept: Option<u64>,
    /// Keys hidden in a response.
    pub scrubbed: Option<u64>,
    pub reason: Option<String>,
    pub previous: Option<Box<PreviousFile>>,
    /// Of `previous`.
    pub signature: Option<String>,
}

impl Record {
    pub fn new(at: SystemTime, event: Event, operation: impl Into<Operation>) -> Self {
        Self {
            at,
            event,
            operation: operation.into(),
            info: None,
            key_ref: None,
            place: None,
            count: None,
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
        if let Some(info) = &self.info {
            word(out, "tool", info.tool.as_deref());
            word(out, "exchange", Some(&info.exchange));
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
        match self.upstream_ip {
            Some(IpAddr::V4(ip)) => {
                name(out, "upstream_ip");
                for (octet, before) in ip.octets().into_iter().zip(*b"\"...") {
                    out.push(before);
                    digits(out, octet.into());
                }
                out.push(b'"');
            }
            Some(ip) => word(out, "upstream_ip", Some(&ip.to_string())),
            None => {}
        }
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

/// A string around a name, which has nothing to escape.
#[inline(always)]
fn around(out: &mut Vec<u8>, member: &str, before: &str, text: &str, after: &str) {
    name(out, member);
    out.push(b'"');
    for part in [before, text, after] {
        out.extend_from_slice(part.as_bytes());
    }
    out.push(b'"');
}

/// What a connection never told is left out.
fn known(told: &str) -> Option<&str> {
    Some(told).filter(|t| !t.is_empty())
}

/// The member `timestamp`: RFC 3339, UTC, always 27 characters, so that timestamps compare as bytes.
pub(crate) fn write_timestamp(out: &mut Vec<u8>, at: SystemTime) {
    thread_local!(static LAST: Cell<(i64, [u8; SECONDS])> = const { Cell::new((-1, [0; SECONDS])) });
    // A clock outside the years 1970 to 9999 is wrong, and its records would sort anywhere.
    let at = jiff::Timestamp::try_from(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH).max(jiff::Timestamp::UNIX_EPOCH);
    let (mut second, mut text) = LAST.get();
    if second != at.as_second() {
        (second, text) = (at.as_second(), to_the_second(at));
        LAST.set((second, text));
    }
    out.extend_from_slice(b"\"timestamp\":\"");
    out.extend_from_slice(&text);
    let micros = at.subsec_nanosecond().unsigned_abs() / 1000;
    out.extend_from_slice(&[b'.', digit(micros / 100_000), digit(micros / 10_000), digit(micros / 1000)]);
    out.extend_from_slice(&[digit(micros / 100), digit(micros / 10), digit(micros), b'Z', b'"']);
}

/// The length of `1970-01-01T00:00:00`.
const SECONDS: usize = 19;

/// A timestamp as far as it is the same for many records.
fn to_the_second(at: jiff::Timestamp) -> [u8; SECONDS] {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(0));
    let (mut text, mut printed) = ([b'0'; SECONDS], Vec::new());
    PRINTER.print_timestamp(&at, &mut printed).unwrap_or_default();
    text.iter_mut().zip(printed).for_each(|(to, from)| *to = from);
    text
}

/// The last decimal digit.
fn digit(n: u32) -> u8 {
    b'0' + (n % 10) as u8
}

/// Milliseconds with three decimals: what a clock can tell, and a fixed shape.
fn write_duration(out: &mut Vec<u8>, ms: f64) {
    let micros = (ms * 1000.0).round() as u64;
    name(out, "duration_ms");
    digits(out, micros / 1000);
    let rest = (micros % 1000) as u32;
    out.extend_from_slice(&[b'.', digit(rest / 100), digit(rest / 10), digit(rest)]);
}

#[inline(always)]
fn number(out: &mut Vec<u8>, member: &str, value: Option<u64>) {
    if let Some(value) = value {
        name(out, member);
        digits(out, value);
    }
}

#[inline(always)]
fn word(out: &mut Vec<u8>, member: &str, value: Option<&str>) {
    text(out, member, value, MAX_WORD);
}

#[inline(always)]
fn text(out: &mut Vec<u8>, member: &str, value: Option<&str>, max: usize) {
    if let Some(value) = value {
        name(out, member);
        write_string(out, value, max);
    }
}

#[inline(always)]
fn raw(out: &mut Vec<u8>, member: &str, value: &str) {
    name(out, member);
    out.extend_from_slice(value.as_bytes());
}

/// Inlined, so that the length of each name is known where it is written.
#[inline(always)]
fn name(out: &mut Vec<u8>, member: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(member.as_bytes());
    out.extend_from_slice(b"\":");
}

/// A number in decimal; `write!` takes several times as long.
pub(crate) fn digits(out: &mut Vec<u8>, mut n: u64) {
    let mut buf = [0u8; 20];
    let mut at = buf.len();
    loop {
        at -= 1;
        buf[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&buf[at..]);
}

/// A JSON string of at most `max` bytes between its quotes, without anything that a terminal would obey.
fn write_string(out: &mut Vec<u8>, s: &str, max: usize) {
    out.push(b'"');
    // not short-circuited, so that it is done for many bytes at once
    let odd = s.bytes().fold(false, |odd, b| odd | !matches!(b, b' '..=b'~') | (b == b'"') | (b == b'\\'));
    if s.len() <= max && !odd {
        out.extend_from_slice(s.as_bytes());
    } else {
        write_escaped(out, s, max);
    }
    out.push(b'"');
}

fn write_escaped(out: &mut Vec<u8>, s: &str, max: usize) {
    let limit = out.len() + max;
    for c in s.chars() {
        let before = out.len();
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if misleads(c) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    unicode_escape(out, *unit);
                }
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        if out.len() > limit {
            out.truncate(before);
            out.extend_from_slice("…".as_bytes());
            return;
        }
    }
}

/// A short text as a record holds it, with its quotes.
pub fn quoted(s: &str) -> String {
    let mut out = Vec::new();
    write_string(&mut out, s, MAX_WORD);
    String::from_utf8(out).unwrap_or_default()
}

/// Characters that move a cursor, end a line somewhere, or turn or hide the text around them.
pub fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

fn unicode_escape(out: &mut Vec<u8>, unit: u16) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.push(HEX[usize::from(unit >> shift & 15)]);
    }
}

#[cfg(test)]
mod tests;
