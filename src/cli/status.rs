//! `locum status`: one screen of what runs, what it may use, what was refused, and what needs attention.

use super::context::CliContext;
use super::key_rows::KeyRow;
use super::progress::{ASKING_THE_STORES, ProgressLine};
use super::run::counted;
use super::running_service;
use super::stores::{self, StoreState};
use super::term::{FAILED, TextColour, in_words, shown, size};
use super::{table, when};
use crate::app;
use crate::audit;
use crate::audit::read::filter::{Filter, RecordQuery};
use crate::audit::read::lines::{MemberValue, member};
use crate::audit::read::query::{Merge, ReadProgress};
use crate::config::settings::{CaSource, ConfigEnvironment, Settings};
use crate::control::AgentToken;
use crate::record::Event;
use crate::secrets::SecretBackends;
use jiff::{Timestamp, ToSpan as _};
use serde::Serialize;
use serde_json::Value;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// How many refusals and unusual things are shown, the newest.
const SHOWN: usize = 5;
/// A certificate or token that ends sooner is told of.
pub(super) const SOON: Duration = Duration::from_secs(14 * 86_400);

/// Something that needs attention, and what to do about it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct StatusProblem {
    what: String,
    next: String,
}

#[derive(Debug, Serialize)]
struct StatusReport {
    healthy: bool,
    problems: Vec<StatusProblem>,
    /// As the running service has it; `null` where none runs.
    service: Option<Value>,
    config: Option<PathBuf>,
    state: PathBuf,
    stores: Vec<StoreState>,
    ca: Option<CaLine>,
    keys: Vec<KeyRow>,
    agents: Vec<AgentToken>,
    audit: AuditDisk,
    /// Of the last day.
    refusals: Vec<RecentRecord>,
    /// Of the last day.
    anomalies: Vec<RecentRecord>,
}

#[derive(Debug, Serialize)]
struct CaLine {
    kept_in: String,
    expires: Option<Timestamp>,
    fingerprint_sha256: String,
}

/// What the audit takes of the disk.
#[derive(Debug, Default, Serialize)]
struct AuditDisk {
    dir: PathBuf,
    files: usize,
    bytes: u64,
}

/// A record, as far as one line says it.
#[derive(Debug, Serialize)]
struct RecentRecord {
    at: String,
    agent: String,
    operation: String,
    reason: String,
    exchange: String,
}

/// Prints the status. It fails where something needs attention, and not where nothing runs.
pub fn run(args: &StatusArgs, context: &CliContext) -> anyhow::Result<ExitCode> {
    let (settings, mistakes) = Settings::read(context.paths(), &ConfigEnvironment::of_process());
    let backends = app::backends(&settings, context.take_secrets(&settings)?);
    let progress = ReadProgress::default();
    let line = (!args.json).then(|| ProgressLine::reading(ASKING_THE_STORES, &progress));
    let mut report = StatusReport::of(&settings, &backends, &progress)?;
    drop(line);
    report.problems.splice(
        ..0,
        mistakes
            .into_iter()
            .map(|mistake| StatusProblem { what: format!("{}: {}", mistake.at, mistake.what), next: mistake.hint }),
    );
    report.healthy = report.problems.is_empty();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        report.print();
    }
    Ok(if report.healthy { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

impl StatusReport {
    fn of(settings: &Settings, backends: &SecretBackends, progress: &ReadProgress) -> anyhow::Result<Self> {
        let service = running_service::status(&settings.state);
        let stores = stores::states(backends);
        let mut problems = Vec::new();
        let ca = ca(settings, backends, &mut problems);
        let keys = KeyRow::all(settings, backends, progress)?;
        problems.extend(keys.iter().flat_map(|key| key_problems(key, service.as_ref())));
        let due = app::overdue(app::active(settings, backends), &settings.state, SystemTime::now());
        problems.extend(due.into_iter().map(|(_, due)| StatusProblem { what: due.what, next: due.next }));
        problems.extend(service.iter().flat_map(service_problems));
        let agents = app::list_tokens(settings).map(|list| list.tokens).unwrap_or_else(|e| {
            problems.push(StatusProblem { what: e.to_string(), next: e.next() });
            Vec::new()
        });
        problems.extend(agents.iter().filter_map(agent_problem));
        let [refusals, anomalies] = recent(settings, progress);
        Ok(Self {
            healthy: true,
            problems,
            service,
            config: settings.file.clone(),
            state: settings.state.clone(),
            stores,
            ca,
            keys,
            agents,
            audit: audit_disk(settings),
            refusals,
            anomalies,
        })
    }

    fn print(&self) {
        let file =
            |path: &Option<PathBuf>| path.as_ref().map_or_else(|| "none: defaults".into(), |p| p.display().to_string());
        println!("proxy   {}", self.service.as_ref().map_or_else(not_running, running));
        println!("config  {}", file(&self.config));
        for (label, store) in ["stores"].into_iter().chain(std::iter::repeat("")).zip(&self.stores) {
            println!("{label:<6}  {}", store.text());
        }
        match &self.ca {
            Some(ca) => {
                println!("CA      in the {}, until {}", ca.kept_in, ca.expires.map_or_else(|| "?".into(), when::day_of))
            }
            None => println!("CA      none is kept: 'locum serve' and 'locum ca' make one, 'locum run' has its own"),
        }
        let AuditDisk { dir, files, bytes } = &self.audit;
        println!("audit   {}: {}, {}", dir.display(), counted(*files as u64, "file"), size(*bytes));
        let named = |agent: &AgentToken| {
            let end = agent.expires.and_then(|at| Timestamp::try_from(at).ok());
            agent.agent.to_string() + &end.map_or_else(String::new, |at| format!(" (until {})", when::day_of(at)))
        };
        if !self.agents.is_empty() {
            println!("agents  {}", self.agents.iter().map(named).collect::<Vec<_>>().join(", "));
        }
        println!();
        self.print_keys();
        print_recent("last refusals", &self.refusals);
        print_recent("unusual", &self.anomalies);
        match self.problems.as_slice() {
            [] => println!("{}", TextColour::Green.paint("healthy", &io::stdout())),
            problems => {
                println!("{}", TextColour::Red.paint(&format!("{} to look at:", problems.len()), &io::stdout()));
            }
        }
        for StatusProblem { what, next } in &self.problems {
            println!("  {}", TextColour::Yellow.paint(&in_words(what), &io::stdout()));
            if !next.is_empty() {
                println!("    next: {next}");
            }
        }
    }

    fn print_keys(&self) {
        if self.keys.is_empty() {
            println!("no key can be used yet: 'locum configure' sets one up\n");
            return;
        }
        let mut rows = vec![["KEY", "VALUE", "FROM", "SINCE", "LAST USED", "NEW VALUE DUE"].map(str::to_owned)];
        rows.extend(self.keys.iter().map(|key| {
            let (masked, from) =
                (key.masked.clone().unwrap_or_else(|| "none".into()), key.store.clone().unwrap_or_default());
            let due = key.rotate_due.map_or_else(String::new, when::day_of);
            [key.name.clone(), masked, from, key.since_text(), key.last_used_text(), due]
        }));
        println!("{}", table::shown(&rows));
    }
}

fn running(service: &Value) -> String {
    let text = |name: &str| service[name].as_str().unwrap_or("?").to_owned();
    let since = text("since").parse::<Timestamp>().map_or_else(|_| "?".into(), when::minute_of);
    let count = |name: &str, what| counted(service["counts"][name].as_u64().unwrap_or_default(), what);
    format!(
        "{} on {} since {since} (process {}): {}, {}, {}",
        text("phase"),
        text("listen"),
        service["pid"],
        count("substitutions", "substitution"),
        count("refusals", "refusal"),
        count("scrubs", "scrub"),
    )
}

fn not_running() -> String {
    "no service runs: 'locum serve' starts one, and 'locum run' needs none".into()
}

/// A key that has no value here may have one where the service was started.
fn key_problems(key: &KeyRow, service: Option<&Value>) -> Vec<StatusProblem> {
    let mut problems = Vec::new();
    let in_service = service.and_then(|service| service["keys"]["names"].as_array());
    let has_it = in_service.is_some_and(|names| names.iter().any(|name| *name == *key.name));
    if let Some((what, next)) = key.missing.clone().filter(|_| !has_it) {
        problems.push(StatusProblem { what, next });
    }
    problems
}

fn service_problems(service: &Value) -> Vec<StatusProblem> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let of = |what: Option<String>, next: &str| what.map(|what| StatusProblem { what, next: next.into() });
    let audit =
        text(&service["audit"]["error"]).map(|why| format!("the audit can't be written, so no key is used: {why}"));
    [
        of(audit, "free some space there, or mend its folder"),
        of(text(&service["ca"]["misfit"]), "'locum ca rotate' makes one that fits"),
        of(
            (service["phase"] == "draining").then(|| "the service drains, and accepts no more connections".into()),
            "wait for its end, and start it again",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn agent_problem(token: &AgentToken) -> Option<StatusProblem> {
    let end = token.expires?;
    let left = end.duration_since(SystemTime::now());
    let what = match left {
        Err(_) => format!("the token of {} has expired", token.agent),
        Ok(left) if left < SOON => format!("the token of {} expires in {} days", token.agent, left.as_secs() / 86_400),
        Ok(_) => return None,
    };
    Some(StatusProblem { what, next: format!("locum agent add {} --expires 90d", token.agent) })
}

/// The CA that is kept, without any being made.
fn ca(settings: &Settings, backends: &SecretBackends, problems: &mut Vec<StatusProblem>) -> Option<CaLine> {
    let kept = match &settings.ca.source {
        CaSource::Memory => None,
        CaSource::File(_) => app::kept_ca(settings, backends).transpose(),
        CaSource::Auto => match app::look_for_ca(settings, backends) {
            Ok(None) => None,
            Ok(Some(_)) => app::kept_ca(settings, backends).transpose(),
            Err(e) => Some(Err(e)),
        },
    };
    let (ca, kept_in) = match kept? {
        Ok(kept) => kept,
        Err(e) => {
            problems.push(StatusProblem { what: e.to_string(), next: e.next() });
            return None;
        }
    };
    let end = ca.current.not_after();
    if end.duration_since(SystemTime::now()).is_ok_and(|left| left < SOON) || end < SystemTime::now() {
        let what = "the CA ends soon, or has ended: clients will trust no host".into();
        problems.push(StatusProblem { what, next: "locum ca rotate".into() });
    }
    let expires = Timestamp::try_from(end).ok();
    Some(CaLine { kept_in, expires, fingerprint_sha256: ca.current.fingerprint() })
}

fn audit_disk(settings: &Settings) -> AuditDisk {
    let dir = settings.audit.dir.clone();
    let files = audit::files(&dir).unwrap_or_default();
    let bytes = files.iter().filter_map(|file| file.metadata().ok()).map(|(_, bytes)| bytes).sum();
    AuditDisk { dir, files: files.len(), bytes }
}

/// The newest refusals of the last day, and what was unusual in it.
fn recent(settings: &Settings, progress: &ReadProgress) -> [Vec<RecentRecord>; 2] {
    const EVENTS: [Event; 2] = [Event::Refusal, Event::Anomaly];
    let since = Timestamp::now().checked_sub(24.hours()).ok().map(|at| crate::audit::stamp::time_stamp(at.into()));
    let filter = Filter::new(&RecordQuery { events: EVENTS.to_vec(), since, ..RecordQuery::default() });
    let mut newest = EVENTS.map(|event| (event, VecDeque::new()));
    // what can't be read is for 'locum audit verify' to tell
    if let Ok(mut merge) = Merge::counted(&settings.audit.dir, filter, progress.clone()) {
        let _ = merge.run(|line| {
            let event = member(line, "event").map(|event| event.text());
            let of_it = newest.iter_mut().filter(|(of, _)| event.as_deref() == Some(of.as_str()));
            of_it.for_each(|(_, newest)| {
                newest.push_back(RecentRecord::of(line));
                newest.drain(..newest.len().saturating_sub(SHOWN));
            });
            Ok(())
        });
    }
    newest.map(|(_, newest)| newest.into())
}

impl RecentRecord {
    fn of(line: &[u8]) -> Self {
        let text =
            |name| member(line, name).map(|value: MemberValue<'_>| value.text().into_owned()).unwrap_or_default();
        let reason = [text("reason"), text("error")].into_iter().find(|reason| !reason.is_empty()).unwrap_or_default();
        Self {
            at: text("timestamp"),
            agent: text("agent"),
            operation: text("operation"),
            reason,
            exchange: text("exchange"),
        }
    }
}

/// Reasons repeat what agents wrote: no terminal obeys them.
fn print_recent(title: &str, records: &[RecentRecord]) {
    if records.is_empty() {
        return;
    }
    println!("{title}, of the last day");
    for record in records {
        let at = record.at.parse::<Timestamp>().map_or_else(|_| record.at.clone(), when::minute_of);
        println!("  {at}  {}  {}", record.agent, shown(&record.reason));
    }
    println!();
}
