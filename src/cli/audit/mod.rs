//! `locum audit`: shows what the audit holds and whether it still holds all of it. Writes nothing there.

mod args;
mod row;
mod stats;
mod verify;

use super::progress::ProgressLine;
use super::term::{CliError, unwritten};
use crate::audit::AuditError;
use crate::audit::read::query::Merge;
use crate::config::Settings;
pub(super) use args::AuditArgs;
use args::{AuditCommand, ExportArgs, ExportFormat, QueryArgs, TailArgs};
use std::collections::VecDeque;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How often a followed audit is looked at: quick for a person, nothing for the machine.
const LOOK: Duration = Duration::from_millis(200);

/// Runs one of the commands on the audit.
pub(super) fn run(args: AuditArgs, settings: &Settings) -> anyhow::Result<ExitCode> {
    let dir = &settings.audit.dir;
    let mut out = BufWriter::new(io::stdout().lock());
    let done = match args.command {
        AuditCommand::Tail(args) => tail(&args, dir, &mut out),
        AuditCommand::Query(args) => query(&args, dir, &mut out),
        AuditCommand::Stats(args) => stats::stats(&args, settings, &mut out),
        AuditCommand::Export(args) => export(&args, dir, &mut out),
        AuditCommand::Verify(args) => verify::verify(&args, settings, &mut out),
    };
    match done {
        // `| head` has seen enough.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(match error.downcast_ref::<AuditError>() {
            Some(audit) => CliError::failed(audit, audit.hint()),
            None if error.is::<io::Error>() => unwritten(),
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
    let line = (!args.json).then(|| ProgressLine::of("reading the audit"));
    let mut merge = Merge::tail(dir, args.lines)?;
    let mut newest: VecDeque<Vec<u8>> = VecDeque::new();
    merge.run(|line| {
        newest.push_back(line.to_vec());
        newest.drain(..newest.len().saturating_sub(args.lines));
        Ok(())
    })?;
    let damage = merge.damage();
    drop(line);
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

fn query(args: &QueryArgs, dir: &Path, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut found = 0u64;
    let damage = args.filter.run(dir, !args.json && !io::stdout().is_terminal(), |line| {
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
    // what is printed meanwhile is sign enough, and would run into it
    let is_elsewhere = !io::stdout().is_terminal();
    let damage = match args.format {
        ExportFormat::Csv => {
            writeln!(out, "{}", row::COLUMNS.join(","))?;
            args.filter.run(dir, is_elsewhere, |line| row::csv_row(line, out))?
        }
        ExportFormat::Json => {
            let mut before: &[u8] = b"[\n";
            let damage = args.filter.run(dir, is_elsewhere, |line| {
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
