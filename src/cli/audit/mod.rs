//! `locum audit`: shows what the audit holds and whether it still holds all of it. Writes nothing there.

mod progress;
mod row;
mod stats;
mod verify;

use super::term::CliError;
use super::when;
use crate::audit::AuditError;
use crate::audit::read::filter::{Filter, RecordQuery};
use crate::audit::read::query::Merge;
use crate::audit::stamp::time_stamp;
use crate::config::Settings;
use crate::record::Event;
use progress::ProgressBar;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
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
    /// The public key that heads have to be signed by, where the one kept in the state folder may have been replaced
    #[arg(long, value_name = "KEY")]
    signed_by: Vec<String>,
    /// One JSON object per file
    #[arg(long)]
    json: bool,
}

/// How often a followed audit is looked at: quick for a person, nothing for the machine.
const LOOK: Duration = Duration::from_millis(200);

pub fn run(args: AuditArgs, settings: &Settings) -> anyhow::Result<ExitCode> {
    let dir = &settings.audit.dir;
    let mut out = BufWriter::new(io::stdout().lock());
    let done = match args.command {
        Command::Tail(args) => tail(&args, dir, &mut out),
        Command::Query(args) => query(&args, dir, &mut out),
        Command::Stats(args) => stats::stats(&args, settings, &mut out),
        Command::Export(args) => export(&args, dir, &mut out),
        Command::Verify(args) => verify::verify(&args, settings, &mut out),
    };
    match done {
        // `| head` has seen enough.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(match error.downcast_ref::<AuditError>() {
            Some(audit) => CliError::failed(audit, audit.hint()),
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
    let damage = merge.damage();
    if newest.is_empty() && !args.follow && damage.is_ok() {
        writeln!(out, "nothing is recorded in {} yet", dir.display())?;
    }
    for line in newest {
        show(&line, args.json, out)?;
    }
    out.flush()?;
    if !args.follow {
        return damage.map(|()| ExitCode::SUCCESS).map_err(Into::into);
    }
    let tell = |damage: Result<(), AuditError>| damage.unwrap_or_else(|e| eprintln!("locum: {e}"));
    tell(damage);
    loop {
        std::thread::sleep(LOOK);
        merge.refresh()?;
        merge.run(|line| show(line, args.json, out))?;
        out.flush()?;
        tell(merge.damage());
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
        Ok(Filter::new(&RecordQuery {
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

    /// Calls `each` with every record that is asked for, and shows how far it is where that takes a while. Gives what could
    /// not be read, to be told once all else is shown. `at_last`: nothing is printed before it is through.
    fn run(&self, dir: &Path, at_last: bool, each: impl FnMut(&[u8]) -> io::Result<()>) -> anyhow::Result<Damage> {
        let mut merge = Merge::new(dir, self.filter()?)?;
        let _bar = ProgressBar::show(merge.progress(), at_last);
        merge.run(each)?;
        Ok(Damage(merge.damage()))
    }
}

/// Whether there is a file that could not be read.
#[must_use = "it is to be told in the end"]
struct Damage(Result<(), AuditError>);

impl Damage {
    fn told(self) -> anyhow::Result<ExitCode> {
        self.0?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A key may be named by its placeholder too.
fn bare_name(name: &str) -> String {
    let inner = name.strip_prefix("<<").and_then(|n| n.strip_suffix("_key>>"));
    inner.unwrap_or(name).to_owned()
}

fn query(args: &QueryArgs, dir: &Path, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut found = 0u64;
    let damage = args.filter.run(dir, false, |line| {
        found += 1;
        show(line, args.json, out)
    })?;
    if found == 0 && !args.json && damage.0.is_ok() {
        writeln!(out, "no record answers that")?;
    }
    out.flush()?;
    damage.told()
}

fn export(args: &ExportArgs, dir: &Path, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let damage = match args.format {
        Format::Csv => {
            writeln!(out, "{}", row::COLUMNS.join(","))?;
            args.filter.run(dir, false, |line| row::csv_row(line, out))?
        }
        Format::Json => {
            let mut before: &[u8] = b"[\n";
            let damage = args.filter.run(dir, false, |line| {
                out.write_all(std::mem::replace(&mut before, b",\n"))?;
                out.write_all(line)
            })?;
            out.write_all(if before == b"[\n" { b"[]\n" } else { b"\n]\n" })?;
            damage
        }
    };
    out.flush()?;
    damage.told()
}

fn show(line: &[u8], json: bool, out: &mut impl Write) -> io::Result<()> {
    if !json {
        return writeln!(out, "{}", row::sentence(line));
    }
    out.write_all(line)?;
    out.write_all(b"\n")
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
    fn every_event_can_be_asked_for() {
        for e in Event::ALL {
            assert_eq!(event(e.as_str()), Ok(e));
        }
        assert!(event("Exchange").is_err_and(|hint| hint.contains("exchange, scrub")));
        assert_eq!((bare_name("<<tool_key>>"), bare_name("tool")), ("tool".into(), "tool".into()));
    }
}
