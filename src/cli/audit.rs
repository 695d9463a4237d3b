//! `locum audit`: shows what the audit holds and whether it still holds all of it. Writes nothing there.

use crate::audit::AuditError;
use crate::audit::lines::{Value, members};
use crate::audit::query::{self, Merge, Verdict};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the newest records, and with -f those to come
    Tail(TailArgs),
    /// Check that no record was edited, removed or moved
    Verify(VerifyArgs),
}

#[derive(Debug, clap::Args)]
struct TailArgs {
    /// How many to show
    #[arg(short = 'n', long, default_value_t = 10)]
    lines: usize,
    /// Go on with what is recorded from now on
    #[arg(short, long)]
    follow: bool,
    /// Records as they stand in the file
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// One JSON object per file
    #[arg(long)]
    json: bool,
}

/// How often a followed audit is looked at: quick for a person, nothing for the machine.
const LOOK: Duration = Duration::from_millis(200);

pub fn run(args: AuditArgs, dir: &Path) -> anyhow::Result<ExitCode> {
    let mut out = BufWriter::new(io::stdout().lock());
    let done = match args.command {
        Command::Tail(args) => tail(&args, dir, &mut out),
        Command::Verify(args) => verify(&args, dir, &mut out),
    };
    match done {
        // `| head` has seen enough.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        done => done,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let direct = cause.downcast_ref::<io::Error>();
        let ours = cause.downcast_ref::<AuditError>().and_then(|e| match e {
            AuditError::Io { source, .. } => Some(&**source),
            _ => None,
        });
        direct.or(ours).is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    })
}

fn tail(args: &TailArgs, dir: &Path, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut merge = Merge::tail(dir, args.lines)?;
    let mut newest: VecDeque<Vec<u8>> = VecDeque::new();
    merge.run(|line| {
        newest.push_back(line.to_vec());
        newest.drain(..newest.len().saturating_sub(args.lines));
        Ok(())
    })?;
    if newest.is_empty() && !args.follow {
        writeln!(out, "nothing is recorded in {} yet", dir.display())?;
    }
    for line in newest {
        show(&line, args.json, out)?;
    }
    out.flush()?;
    if !args.follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        std::thread::sleep(LOOK);
        merge.refresh()?;
        merge.run(|line| show(line, args.json, out))?;
        out.flush()?;
    }
}

fn show(line: &[u8], json: bool, out: &mut impl Write) -> io::Result<()> {
    if !json {
        return writeln!(out, "{}", sentence(line));
    }
    out.write_all(line)?;
    out.write_all(b"\n")
}

/// A record as a person reads it, on one line.
fn sentence(line: &[u8]) -> String {
    let Some(row) = Row::of(line) else { return "(no record of the audit)".into() };
    let mut out = format!("{}  {:<12} {:<10} {}", local_time(&row.timestamp), row.event, row.agent, row.operation);
    for (label, value) in [("", &row.place), ("", &row.method), ("", &row.url), ("", &row.status)] {
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
    for text in [&row.error, &row.reason] {
        if !text.is_empty() {
            let _ = write!(out, "  {text}");
        }
    }
    out
}

#[derive(Default)]
struct Row {
    timestamp: String,
    event: String,
    operation: String,
    agent: String,
    place: String,
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
}

impl Row {
    fn of(line: &[u8]) -> Option<Row> {
        let mut row = Row::default();
        for (name, value) in members(line) {
            row.take(name, value);
        }
        (!row.timestamp.is_empty()).then_some(row)
    }

    fn take(&mut self, name: &[u8], value: Value<'_>) {
        let text = || value.text().into_owned();
        match name {
            b"timestamp" => self.timestamp = text(),
            b"event" => self.event = text(),
            b"operation" => self.operation = text(),
            b"agent" => self.agent = text(),
            b"where" => self.place = text(),
            b"method" => self.method = text(),
            b"scheme" => self.url = text() + "://",
            b"host" => self.url += &value.text(),
            b"port" if !matches!(value, Value::Bare(b"443" | b"80")) => {
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
            _ => {}
        }
    }
}

/// As clocks on the wall here show it.
fn local_time(timestamp: &str) -> String {
    match timestamp.parse::<jiff::Timestamp>() {
        Ok(at) => at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => timestamp.to_owned(),
    }
}

fn size(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if size < 999.5 {
            let decimals = usize::from(unit != "B" && size < 9.95);
            return format!("{size:.decimals$} {unit}");
        }
        size /= 1000.0;
    }
    format!("{size:.1} TB")
}

fn verify(args: &VerifyArgs, dir: &Path, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut sound = true;
    let mut table = vec![["FILE".to_string(), "RECORDS".into(), "HEAD".into(), "RESULT".into()]];
    let report = query::verify_all(dir)?;
    for verdict in &report {
        sound &= verdict.is_sound();
        if args.json {
            writeln!(out, "{}", as_json(verdict))?;
        } else {
            let [file, head] = [verdict.name.clone(), verdict.head.to_string()];
            table.push([file, verdict.records.to_string(), head, verdict.to_string()]);
        }
    }
    if report.is_empty() && !args.json {
        writeln!(out, "nothing is recorded in {} yet", dir.display())?;
    } else if !args.json {
        print_table(&table, out)?;
    }
    out.flush()?;
    if sound {
        return Ok(ExitCode::SUCCESS);
    }
    let mark = if io::stderr().is_terminal() { "\x1b[31merror\x1b[0m" } else { "error" };
    eprintln!("{mark}: the audit was changed after it was written");
    eprintln!("keep the folder {} as it is, and compare it with a backup or an anchor", dir.display());
    Ok(ExitCode::FAILURE)
}

fn as_json(verdict: &Verdict) -> serde_json::Value {
    serde_json::json!({
        "file": verdict.name,
        "records": verdict.records,
        "head": verdict.head.as_str(),
        "sound": verdict.is_sound(),
        "live": verdict.live,
        "torn_bytes": verdict.torn,
        "result": verdict.to_string(),
    })
}

fn print_table<const N: usize>(rows: &[[String; N]], out: &mut impl Write) -> io::Result<()> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
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
