//! The members of a record's JSON object (RFC 8259), written by hand: a record is made for each request, and a serializer
//! takes several times as long.

use jiff::fmt::temporal::DateTimePrinter;
use std::cell::Cell;
use std::net::IpAddr;
use std::time::SystemTime;

/// The longest free text in a line, in bytes after escaping; the rest is cut and `…` says so.
pub(super) const MAX_TEXT: usize = 2048;

/// The same for what is short unless somebody plays with us.
const MAX_WORD: usize = 256;

/// A string around a name, which has nothing to escape.
#[inline(always)]
pub(super) fn around(out: &mut Vec<u8>, member: &str, before: &str, text: &str, after: &str) {
    name(out, member);
    out.push(b'"');
    for part in [before, text, after] {
        out.extend_from_slice(part.as_bytes());
    }
    out.push(b'"');
}

/// What a connection never told is left out.
pub(super) fn known(told: &str) -> Option<&str> {
    Some(told).filter(|t| !t.is_empty())
}

/// The member `timestamp`: RFC 3339, UTC, always 27 characters, so that timestamps compare as bytes.
pub(crate) fn write_timestamp(out: &mut Vec<u8>, at: SystemTime) {
    out.extend_from_slice(b"\"timestamp\":");
    write_time(out, at);
}

/// A time in the form of `timestamp`.
pub(super) fn time(out: &mut Vec<u8>, member: &str, at: SystemTime) {
    name(out, member);
    write_time(out, at);
}

fn write_time(out: &mut Vec<u8>, at: SystemTime) {
    thread_local!(static LAST: Cell<(i64, [u8; SECONDS])> = const { Cell::new((-1, [0; SECONDS])) });
    // A clock outside the years 1970 to 9999 is wrong, and its records would sort anywhere.
    let at = jiff::Timestamp::try_from(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH).max(jiff::Timestamp::UNIX_EPOCH);
    let (mut second, mut text) = LAST.get();
    if second != at.as_second() {
        (second, text) = (at.as_second(), to_the_second(at));
        LAST.set((second, text));
    }
    out.push(b'"');
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
pub(super) fn write_duration(out: &mut Vec<u8>, ms: f64) {
    let micros = (ms * 1000.0).round() as u64;
    name(out, "duration_ms");
    digits(out, micros / 1000);
    let rest = (micros % 1000) as u32;
    out.extend_from_slice(&[b'.', digit(rest / 100), digit(rest / 10), digit(rest)]);
}

/// The member `upstream_ip`.
pub(super) fn ip(out: &mut Vec<u8>, ip: Option<IpAddr>) {
    match ip {
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
}

#[inline(always)]
pub(super) fn number(out: &mut Vec<u8>, member: &str, value: Option<u64>) {
    if let Some(value) = value {
        name(out, member);
        digits(out, value);
    }
}

#[inline(always)]
pub(super) fn word(out: &mut Vec<u8>, member: &str, value: Option<&str>) {
    text(out, member, value, MAX_WORD);
}

#[inline(always)]
pub(super) fn text(out: &mut Vec<u8>, member: &str, value: Option<&str>, max: usize) {
    if let Some(value) = value {
        name(out, member);
        write_string(out, value, max);
    }
}

#[inline(always)]
pub(super) fn raw(out: &mut Vec<u8>, member: &str, value: &str) {
    name(out, member);
    out.extend_from_slice(value.as_bytes());
}

/// Inlined, so that the length of each name is known where it is written.
#[inline(always)]
pub(super) fn name(out: &mut Vec<u8>, member: &str) {
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
pub(super) fn write_string(out: &mut Vec<u8>, s: &str, max: usize) {
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
