//! A record as a person reads it, and as a spreadsheet does.

use crate::audit::read::lines::{MemberValue, members};
use crate::cli::term::size;
use crate::cli::when;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

/// A record as a person reads it, on one line.
pub(super) fn sentence(line: &[u8]) -> String {
    let Some(row) = RecordRow::of(line) else { return "(no record of the audit)".into() };
    let mut out = format!("{}  {:<12} {:<10} {}", local_time(&row.timestamp), row.event, row.agent, row.operation);
    for (label, value) in [
        ("", &row.action),
        ("by user ", &row.uid),
        ("on ", &row.tty),
        ("", &row.place),
        ("", &row.method),
        ("", &row.url),
        ("", &row.status),
    ] {
        if !value.is_empty() {
            let _ = write!(out, "  {label}{value}");
        }
    }
    if let Some(ms) = row.duration_ms {
        let _ = write!(out, "  {ms:.0} ms");
    }
    for (label, value) in [("out ", row.bytes_out), ("in ", row.bytes_in)] {
        if let Some(bytes) = value {
            let _ = write!(out, "  {label}{}", size(bytes));
        }
    }
    for (label, value) in [("kept", row.kept), ("scrubbed", row.scrubbed)] {
        if let Some(n) = value.filter(|n| *n > 0) {
            let _ = write!(out, "  {n} {label}");
        }
    }
    if !row.first.is_empty() {
        let _ = write!(out, "  {} times from {} to {}", row.count, local_time(&row.first), local_time(&row.last));
    }
    if row.signed {
        let _ = write!(out, "  signed the head of {}", row.previous);
    }
    for text in [&row.error, &row.reason] {
        if !text.is_empty() {
            let _ = write!(out, "  {text}");
        }
    }
    out
}

#[derive(Default)]
struct RecordRow {
    timestamp: String,
    event: String,
    operation: String,
    agent: String,
    action: String,
    uid: String,
    tty: String,
    place: String,
    count: String,
    first: String,
    last: String,
    method: String,
    url: String,
    status: String,
    duration_ms: Option<f64>,
    bytes_out: Option<u64>,
    bytes_in: Option<u64>,
    kept: Option<u64>,
    scrubbed: Option<u64>,
    error: String,
    reason: String,
    previous: String,
    signed: bool,
}

impl RecordRow {
    fn of(line: &[u8]) -> Option<RecordRow> {
        let mut row = RecordRow::default();
        for (name, value) in members(line) {
            row.take(name, value);
        }
        (!row.timestamp.is_empty()).then_some(row)
    }

    fn take(&mut self, name: &[u8], value: MemberValue<'_>) {
        let text = || value.text().into_owned();
        match name {
            b"timestamp" => self.timestamp = text(),
            b"event" => self.event = text(),
            b"operation" => self.operation = text(),
            b"agent" => self.agent = text(),
            b"action" => self.action = text(),
            b"uid" => self.uid = text(),
            b"tty" => self.tty = text(),
            b"where" => self.place = text(),
            b"count" => self.count = text(),
            b"first" => self.first = text(),
            b"last" => self.last = text(),
            b"method" => self.method = text(),
            b"scheme" => self.url = text() + "://",
            b"host" => self.url += &value.text(),
            b"port" if !matches!(value, MemberValue::Bare(b"443" | b"80")) => {
                let _ = write!(self.url, ":{}", value.text());
            }
            b"path" => self.url += &value.text(),
            b"status" => self.status = text(),
            b"duration_ms" => self.duration_ms = value.float(),
            b"bytes_out" => self.bytes_out = value.number(),
            b"bytes_in" => self.bytes_in = value.number(),
            b"kept" => self.kept = value.number(),
            b"scrubbed" => self.scrubbed = value.number(),
            b"error" => self.error = text(),
            b"reason" => self.reason = text(),
            b"previous" => self.previous = text(),
            b"signature" => self.signed = true,
            _ => {}
        }
    }
}

/// As clocks on the wall here show it.
pub(super) fn local_time(timestamp: &str) -> String {
    match timestamp.parse::<jiff::Timestamp>() {
        Ok(at) => when::second_of(at),
        Err(_) => timestamp.to_owned(),
    }
}

/// The members of a record, in the order of the contract.
pub(super) const COLUMNS: [&str; 33] = [
    "timestamp",
    "event",
    "operation",
    "action",
    "uid",
    "tty",
    "tool",
    "exchange",
    "agent",
    "pid",
    "key_ref",
    "where",
    "count",
    "first",
    "last",
    "method",
    "scheme",
    "host",
    "port",
    "path",
    "status",
    "success",
    "duration_ms",
    "bytes_out",
    "bytes_in",
    "upstream_ip",
    "http",
    "error",
    "kept",
    "scrubbed",
    "reason",
    "seq",
    "hash",
];

pub(super) fn csv_row(line: &[u8], out: &mut impl Write) -> io::Result<()> {
    let mut cells = [const { Cow::Borrowed("") }; COLUMNS.len()];
    for (name, value) in members(line) {
        if let Some(at) = COLUMNS.iter().position(|column| column.as_bytes() == name) {
            cells[at] = value.text();
        }
    }
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        csv_cell(cell, out)?;
    }
    out.write_all(b"\n")
}

fn csv_cell(cell: &str, out: &mut impl Write) -> io::Result<()> {
    // What a spreadsheet would take for a formula comes from an agent.
    let formula = cell.starts_with(['=', '+', '-', '@']);
    if !formula && !cell.contains([',', '"']) {
        return out.write_all(cell.as_bytes());
    }
    write!(out, "\"{}{}\"", if formula { "'" } else { "" }, cell.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_as_a_sentence() {
        let line = concat!(
            r#"{"v":1,"seq":3,"timestamp":"2026-11-21T19:26:53.123456Z","event":"exchange","operation":"api.openai","#,
            r#""exchange":"abcdefghij234567","agent":"local","method":"POST","scheme":"https","host":"api.openai.com","#,
            r#""port":443,"path":"/v1/chat","status":200,"success":true,"duration_ms":12.346,"bytes_out":18,"#,
            r#""bytes_in":123456,"scrubbed":2,"reason":"a\u001b[2Jb","hash":"00"}"#
        );
        let sentence = sentence(line.as_bytes());
        let (_, rest) = sentence.split_at(21);
        assert_eq!(
            rest,
            "exchange     local      api.openai  POST  https://api.openai.com/v1/chat  200  12 ms  out 18 B  in 123 kB  \
             2 scrubbed  a\\u{1b}[2Jb"
        );
    }

    #[test]
    fn cells_can_not_become_others_or_formulas() {
        let cases = [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("=cmd|' /C calc'!A0", "\"'=cmd|' /C calc'!A0\""),
            ("-1", "\"'-1\""),
        ];
        for (cell, want) in cases {
            let mut out = Vec::new();
            csv_cell(cell, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
    }

    #[test]
    fn sizes_are_short() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9_949, "9.9 kB"),
            (999_499, "999 kB"),
            (1_500_000, "1.5 MB"),
        ];
        for (bytes, want) in cases {
            assert_eq!(size(bytes), want);
        }
        assert_eq!(size(u64::MAX), "18446744.1 TB");
    }
}
