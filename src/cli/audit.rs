//! `locum audit`: shows what the audit holds and whether it still holds all of it. Writes nothing there.

use super::term::{Told, WRONG_USAGE};
use super::when;
use crate::anomaly::{self, Finding, Watch};
use crate::audit::AuditError;
use crate::audit::alert;
use crate::audit::filter::{Filter, Wanted};
use crate::audit::lines::{Value, member, members};
use crate::audit::query::{self, Merge, Progress, Proofs, Verdict, time_stamp};
use crate::audit::sign::Checker;
use crate::audit::stats::{By, Group, Stats};
use crate::chain::Head;
use crate::record::Event;
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread::JoinHandle;
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
    /// Show the records that answer a question
    Query(QueryArgs),
    /// Count requests, failures and bytes per key, agent, host, status and hour
    Stats(StatsArgs),
    /// Write records as CSV or JSON, for other programs
    Export(ExportArgs),
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

/// Which records; several values of one option are alternatives.
#[derive(Debug, clap::Args)]
struct FilterArgs {
    /// Only this key, by its name
    #[arg(long, value_name = "NAME")]
    key: Vec<String>,
    /// Only this agent
    #[arg(long, value_name = "NAME")]
    agent: Vec<String>,
    /// Only this host
    #[arg(long)]
    host: Vec<String>,
    /// Only this event
    #[arg(long, value_parser = event)]
    event: Vec<Event>,
    /// Only this exchange
    #[arg(long, value_name = "ID")]
    exchange: Vec<String>,
    /// From then on: 2h, yesterday, 2026-11-21, 14:30
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only refusals, errors and what did not succeed
    #[arg(long)]
    failed: bool,
}

#[derive(Debug, clap::Args)]
struct QueryArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Records as they stand in the file
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct StatsArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ExportArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Format {
    #[default]
    Csv,
    /// One array
    Json,
}

#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// A head that was kept elsewhere, or a file of them: it has to be in the audit still
    #[arg(long, value_name = "HEAD|FILE")]
    anchor: Vec<String>,
    /// The public key (hexadecimal) that heads have to be signed by
    #[arg(long, value_name = "KEY")]
    signed_by: Option<String>,
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
        Command::Query(args) => query(&args, dir, &mut out),
        Command::Stats(args) => stats(&args, dir, &mut out),
        Command::Export(args) => export(&args, dir, &mut out),
        Command::Verify(args) => verify(&args, dir, &mut out),
    };
    match done {
        // `| head` has seen enough.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(match error.downcast_ref::<AuditError>() {
            Some(audit) => Told::failed(audit, audit.hint()),
            None => error,
        }),
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

fn event(said: &str) -> Result<Event, String> {
    let all = || Event::ALL.map(Event::as_str).join(", ");
    Event::ALL.into_iter().find(|event| event.as_str() == said).ok_or_else(|| format!("it is one of {}", all()))
}

impl FilterArgs {
    fn filter(&self) -> anyhow::Result<Filter> {
        let now = jiff::Zoned::now();
        let stamp = |at: jiff::Timestamp| time_stamp(at.into());
        Ok(Filter::new(&Wanted {
            keys: self.key.iter().map(|name| bare_name(name)).collect(),
            agents: self.agent.clone(),
            hosts: self.host.clone(),
            exchanges: self.exchange.clone(),
            events: self.event.clone(),
            since: self.since.as_deref().map(|said| when::since(said, &now)).transpose()?.map(stamp),
            until: self.until.as_deref().map(|said| when::until(said, &now)).transpose()?.map(stamp),
            failed: self.failed,
        }))
    }

    /// Calls `each` with every record that is asked for, and shows how far it is where that takes a while.
    fn run(&self, dir: &Path, each: impl FnMut(&[u8]) -> io::Result<()>) -> anyhow::Result<()> {
        let mut merge = Merge::new(dir, self.filter()?)?;
        let _bar = ProgressBar::show(merge.progress());
        Ok(merge.run(each)?)
    }
}

/// A key may be named by its placeholder too.
fn bare_name(name: &str) -> String {
    let inner = name.strip_prefix("<<").and_then(|n| n.strip_suffix("_key>>"));
    inner.unwrap_or(name).to_owned()
}

/// How far a long reading is, on the terminal's last line; gone when dropped.
struct ProgressBar {
    done: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ProgressBar {
    /// Quick readings show nothing.
    const AFTER: Duration = Duration::from_millis(500);

    fn show(progress: Progress) -> Self {
        if !io::stderr().is_terminal() || io::stdout().is_terminal() {
            return ProgressBar { done: None, thread: None };
        }
        let (done, ended) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut shown = false;
            while ended.recv_timeout(Self::AFTER) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprint!("\rread {} of {} ", size(progress.read()), size(progress.total));
                shown = true;
            }
            if shown {
                eprint!("\r\x1b[K");
            }
        });
        ProgressBar { done: Some(done), thread: Some(thread) }
    }
}

impl Drop for ProgressBar {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn query(args: &QueryArgs, dir: &Path, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut found = 0u64;
    args.filter.run(dir, |line| {
        found += 1;
        show(line, args.json, out)
    })?;
    if found == 0 && !args.json {
        writeln!(out, "no record answers that")?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn stats(args: &StatsArgs, dir: &Path, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut stats = Stats::default();
    let mut unusual = Unusual::default();
    args.filter.run(dir, |line| {
        stats.add(line);
        unusual.add(line);
        Ok(())
    })?;
    if args.json {
        let by = By::ALL.map(|by| {
            let groups = stats.by(by).into_iter().map(|(name, group)| group_json(by.as_str(), &name, group));
            (by.as_str().to_owned(), groups.collect::<serde_json::Value>())
        });
        let mut all = serde_json::json!({ "records": stats.records, "total": group_json("total", "", &stats.total) });
        if let Some(object) = all.as_object_mut() {
            object.extend(by);
            object.insert("unusual".into(), unusual.as_json());
        }
        writeln!(out, "{all}")?;
    } else {
        print_stats(&stats, out)?;
        unusual.print(out)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// What a watch with the usual limits would have told, had it been there.
struct Unusual {
    watch: Watch,
    counts: BTreeMap<&'static str, u64>,
    /// The newest findings and their times.
    newest: VecDeque<(String, Finding)>,
}

impl Default for Unusual {
    fn default() -> Self {
        let (counts, newest) = Default::default();
        Unusual { watch: Watch::new(anomaly::Config::default()), counts, newest }
    }
}

impl Unusual {
    const SHOWN: usize = 10;

    fn add(&mut self, line: &[u8]) {
        let Some(fact) = alert::fact(line) else { return };
        for finding in self.watch.take(&fact) {
            *self.counts.entry(finding.kind.as_str()).or_default() += 1;
            let at = member(line, "timestamp").map(|at| at.text().into_owned()).unwrap_or_default();
            self.newest.push_back((at, finding));
            self.newest.drain(..self.newest.len().saturating_sub(Self::SHOWN));
        }
    }

    fn as_json(&self) -> serde_json::Value {
        serde_json::json!(self.counts)
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        if self.newest.is_empty() {
            return Ok(());
        }
        let total: u64 = self.counts.values().sum();
        writeln!(out, "\nunusual: {total}, the newest of them")?;
        for (at, finding) in &self.newest {
            writeln!(out, "{}  {:<6}  {finding}", local_time(at), finding.severity.as_str())?;
        }
        Ok(())
    }
}

fn group_json(kind: &str, name: &str, group: &Group) -> serde_json::Value {
    serde_json::json!({
        kind: name,
        "requests": group.exchanges,
        "substitutions": group.substitutions,
        "refusals": group.refusals,
        "failed": group.failed,
        "bytes_out": group.bytes_out,
        "bytes_in": group.bytes_in,
        "p50_ms": group.durations.percentile(0.5),
        "p99_ms": group.durations.percentile(0.99),
    })
}

fn print_stats(stats: &Stats, out: &mut impl Write) -> io::Result<()> {
    for by in By::ALL {
        let groups = stats.by(by);
        if groups.is_empty() {
            continue;
        }
        let head = [by.as_str(), "requests", "keys sent", "refused", "failed", "out", "in", "p50", "p99"];
        let mut table = vec![head.map(str::to_ascii_uppercase)];
        table.extend(groups.iter().map(|(name, group)| group_row(&hour_or(by, name), group)));
        print_table(&table, out)?;
        writeln!(out)?;
    }
    writeln!(out, "{} records, {} requests, {} refused", stats.records, stats.total.exchanges, stats.total.refusals)
}

/// Hours are kept in UTC and shown as clocks here show them.
fn hour_or(by: By, name: &str) -> String {
    let at = format!("{name}:00:00Z").parse::<jiff::Timestamp>();
    match at {
        Ok(at) if by == By::Hour => at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string(),
        _ => name.to_owned(),
    }
}

fn group_row(name: &str, group: &Group) -> [String; 9] {
    let ms = |share| group.durations.percentile(share).map_or("-".into(), |ms| format!("{ms:.0} ms"));
    [
        name.to_owned(),
        group.exchanges.to_string(),
        group.substitutions.to_string(),
        group.refusals.to_string(),
        group.failed.to_string(),
        size(group.bytes_out),
        size(group.bytes_in),
        ms(0.5),
        ms(0.99),
    ]
}

/// The members of a record, in the order of the contract.
const COLUMNS: [&str; 28] = [
    "timestamp",
    "event",
    "operation",
    "tool",
    "exchange",
    "agent",
    "pid",
    "key_ref",
    "where",
    "count",
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

fn export(args: &ExportArgs, dir: &Path, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match args.format {
        Format::Csv => {
            writeln!(out, "{}", COLUMNS.join(","))?;
            args.filter.run(dir, |line| csv_row(line, out))?;
        }
        Format::Json => {
            let mut before: &[u8] = b"[\n";
            args.filter.run(dir, |line| {
                out.write_all(std::mem::replace(&mut before, b",\n"))?;
                out.write_all(line)
            })?;
            out.write_all(if before == b"[\n" { b"[]\n" } else { b"\n]\n" })?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn csv_row(line: &[u8], out: &mut impl Write) -> io::Result<()> {
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
    let report = query::verify_all(dir, &proofs(args)?)?;
    if args.json {
        for verdict in &report.files {
            writeln!(out, "{}", as_json(verdict))?;
        }
    } else if report.files.is_empty() {
        writeln!(out, "nothing is recorded in {} yet", dir.display())?;
    } else {
        let mut table = vec![["FILE".to_string(), "RECORDS".into(), "HEAD".into(), "RESULT".into()]];
        table.extend(
            report.files.iter().map(|v| [v.name.clone(), v.records.to_string(), v.head.to_string(), v.to_string()]),
        );
        print_table(&table, out)?;
    }
    out.flush()?;
    if report.is_sound() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut what = "the audit was changed after it was written".to_owned();
    for (name, by) in &report.missing {
        let _ = write!(what, "\n  {name} is missing; {by} follows it");
    }
    for anchor in &report.lost_anchors {
        let _ = write!(what, "\n  no record has the anchor {anchor}: its file was cut, rewritten or removed");
    }
    let keep = format!("keep the folder {} as it is, and compare it with a backup", dir.display());
    Err(Told::failed(what, keep))
}

fn proofs(args: &VerifyArgs) -> anyhow::Result<Proofs> {
    let mut anchors = Vec::new();
    for said in &args.anchor {
        anchors.extend(heads(said)?);
    }
    let checker = args.signed_by.as_deref().map(|hex| {
        let key = unhex(hex).and_then(|bytes| Checker::new(&bytes));
        key.ok_or_else(|| wrong(format!("'{}' is no public key", hex.escape_debug()), "it has 64 hexadecimal digits"))
    });
    Ok(Proofs { anchors, checker: checker.transpose()? })
}

/// A head, or the heads in a file: any word of 64 hexadecimal digits is one, so what `verify` printed can be kept as it is.
fn heads(said: &str) -> anyhow::Result<Vec<Head>> {
    if let Ok(head) = said.parse() {
        return Ok(vec![head]);
    }
    let next = "an anchor is a head as 'locum audit verify' prints it, or a file that holds such lines";
    let what = |why: &dyn std::fmt::Display| format!("the anchor '{}' can't be used: {why}", said.escape_debug());
    let text = std::fs::read_to_string(said).map_err(|e| wrong(what(&e), next))?;
    let heads: Vec<Head> = text.split([' ', '\t', '\n', '\r', '"', ',']).filter_map(|word| word.parse().ok()).collect();
    if heads.is_empty() { Err(wrong(what(&"it holds no head"), next)) } else { Ok(heads) }
}

fn wrong(what: String, next: &str) -> anyhow::Error {
    Told { what, next: next.into(), code: WRONG_USAGE }.into()
}

fn unhex(hex: &str) -> Option<Vec<u8>> {
    let nibble = |b: u8| char::from(b).to_digit(16).map(|n| n as u8);
    hex.as_bytes().chunks(2).map(|pair| Some(nibble(*pair.first()?)? << 4 | nibble(*pair.get(1)?)?)).collect()
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
    fn every_event_can_be_asked_for() {
        for e in Event::ALL {
            assert_eq!(event(e.as_str()), Ok(e));
        }
        assert!(event("Exchange").is_err_and(|hint| hint.contains("exchange, scrub")));
        assert_eq!((bare_name("<<tool_key>>"), bare_name("tool")), ("tool".into(), "tool".into()));
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
