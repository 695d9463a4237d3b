//! The arguments of `locum audit`, and the records that they ask for.

use crate::audit::AuditError;
use crate::audit::read::filter::{Filter, RecordQuery};
use crate::audit::read::query::Merge;
use crate::audit::stamp::time_stamp;
use crate::cli::progress::ProgressLine;
use crate::cli::when;
use crate::record::Event;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use std::io;
use std::path::Path;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    pub command: AuditCommand,
}

#[derive(Debug, clap::Subcommand)]
pub enum AuditCommand {
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
pub struct TailArgs {
    /// How many to show
    #[arg(short = 'n', long, default_value_t = 10)]
    pub lines: usize,
    /// Go on with what is recorded from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Records as they stand in the file
    #[arg(long)]
    pub json: bool,
}

/// Which records; several values of one option are alternatives.
#[derive(Debug, clap::Args)]
pub struct FilterArgs {
    /// Only this key, by its name
    #[arg(long, value_name = "NAME")]
    pub key: Vec<String>,
    /// Only this agent
    #[arg(long, value_name = "NAME")]
    pub agent: Vec<String>,
    /// Only this host
    #[arg(long, value_name = "HOST")]
    pub host: Vec<String>,
    /// Only this event
    #[arg(long, value_parser = PossibleValuesParser::new(Event::ALL.map(Event::as_str)).try_map(|said| event(&said)))]
    pub event: Vec<Event>,
    /// Only this exchange
    #[arg(long, value_name = "ID")]
    pub exchange: Vec<String>,
    /// From then on: 2h, yesterday, 2026-11-21, 14:30
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Before then
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only refusals, errors and what did not succeed
    #[arg(long)]
    pub failed: bool,
}

#[derive(Debug, clap::Args)]
pub struct QueryArgs {
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Records as they stand in the file
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct StatsArgs {
    #[command(flatten)]
    pub filter: FilterArgs,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    #[command(flatten)]
    pub filter: FilterArgs,
    /// How the records are written
    #[arg(long, value_enum, default_value_t)]
    pub format: ExportFormat,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
pub enum ExportFormat {
    /// A line for each, under a line of names
    #[default]
    Csv,
    /// One array
    Json,
}

#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// A head that was kept elsewhere, or a file of them: it has to be in the audit still
    #[arg(long, value_name = "HEAD|FILE")]
    pub anchor: Vec<String>,
    /// The public key that heads have to be signed by, where the one kept in the state folder may have been replaced
    #[arg(long, value_name = "KEY")]
    pub signed_by: Vec<String>,
    /// One JSON object per file
    #[arg(long)]
    pub json: bool,
}

fn event(said: &str) -> Result<Event, String> {
    let all = || Event::ALL.map(Event::as_str).join(", ");
    Event::ALL.into_iter().find(|event| event.as_str() == said).ok_or_else(|| format!("it is one of {}", all()))
}

impl FilterArgs {
    /// The filter that they make up.
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

    /// Calls `each` with every record that is asked for. Gives what could not be read, to be told once all else is shown.
    /// `shows_progress`: says how far it is where that takes a while, which is to be where nothing else is shown before the end.
    pub fn run(
        &self,
        dir: &Path,
        shows_progress: bool,
        each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> anyhow::Result<UnreadFiles> {
        let mut merge = Merge::new(dir, self.filter()?)?;
        let _line = shows_progress.then(|| ProgressLine::reading("", &merge.progress()));
        merge.run(each)?;
        Ok(UnreadFiles(merge.damage()))
    }
}

/// The files that could not be read, to be told of once all else is shown.
#[must_use = "it is to be told in the end"]
pub struct UnreadFiles(pub Result<(), AuditError>);

impl UnreadFiles {
    /// The exit code of a command that has shown all else.
    pub fn told(self) -> anyhow::Result<ExitCode> {
        self.0?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A key may be named by its placeholder too.
fn bare_name(name: &str) -> String {
    let inner = name.strip_prefix("<<").and_then(|n| n.strip_suffix("_key>>"));
    inner.unwrap_or(name).to_owned()
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
