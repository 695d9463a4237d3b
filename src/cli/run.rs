//! `locum run`: a proxy for one command, with everything that the command needs to use it, and nothing left behind.

use super::child_env::TakenEnvironment;
use super::confined::{ConfineArgs, WalledIn};
use super::context::CliContext;
use super::reaper::Reaper;
use super::run_dir::RunDir;
use super::signals::{self, CaughtSignals};
use super::term::{self, CliError, shown};
use super::unconfined::{self, Unseen};
use super::{allowing, child_env, lookup};
use crate::app::{App, AppError, LaunchOptions};
use crate::config::key_option::KeyOption;
use crate::config::keys::KeySetting;
use crate::config::settings::{CaSource, ConfigEnvironment, Settings, config_path};
use crate::confine::ConfinePlan;
use crate::confine::foreground::Foreground;
use crate::confine::names::{self, SyntheticNames};
use crate::confine::network::NamespaceListeners;
use crate::memory;
use crate::metrics::Counts;
use crate::name::{AgentName, KeyName};
use crate::policy::Agent;
use crate::policy::agent::TokenHash;
use crate::proxy::LastRefusal;
use crate::telemetry;
use crate::trust_env::{self, PastProxy, ProxyAccess, TrustFiles};
use crate::upstream::bypass::BypassRule;
use std::ffi::{OsStr, OsString};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::time::Instant;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Which agent the command is [default: one that may use every key]
    #[arg(long, value_name = "NAME")]
    agent: Option<AgentName>,
    /// A key for this run alone: its name, the variable that it is in, and the host that it may go to; may be given again
    #[arg(long = "key", value_name = "NAME=VARIABLE@HOST")]
    keys: Vec<KeyOption>,
    /// Only what has to be known: no line of summary at the end, and of what is unusual only what is grave
    #[arg(long, short)]
    quiet: bool,
    /// Exit with 3 where a request was refused and the command itself did well: for jobs that nobody watches
    #[arg(long)]
    strict: bool,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
    #[cfg(target_os = "linux")]
    #[command(flatten)]
    confine: ConfineArgs,
}

/// Exit codes that are ours and not the child's, as `env` and `nohup` have them.
const OWN_FAILURE: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Runs the command with a proxy of its own, and gives its exit code.
pub fn run(args: RunArgs, context: &CliContext) -> anyhow::Result<ExitCode> {
    let result = proxied(args, context);
    result.map_err(|e| match e.downcast::<CliError>() {
        Ok(told) if told.code == term::FAILED => CliError { code: OWN_FAILURE, ..told }.into(),
        Ok(told) => told.into(),
        Err(e) => CliError { what: format!("{e:#}"), next: String::new(), code: OWN_FAILURE }.into(),
    })
}

fn proxied(args: RunArgs, context: &CliContext) -> anyhow::Result<ExitCode> {
    let mut settings = context.settings()?;
    let bound = settings.bind(&args.keys).map_err(AppError::from).map_err(CliError::from)?;
    respect_own(&mut settings)?;
    let agent = Arc::new(lookup::agent_named(args.agent.as_ref(), &settings)?);
    let taken = context.take_environment(&settings)?;
    look_for(&bound, &taken)?;
    context.warn_of_weaknesses();
    warn_of_variables(&settings, &taken, args.quiet);
    let was = child_env::before(&taken);
    let is_confined = args.confine.is_wanted();
    let token = token()?;
    let options = launch_options(settings, &taken, &token, &agent);
    let mut app = App::build(options).map_err(CliError::from)?;
    warn(&app, &was);
    let dir = RunDir::make()?;
    let files = TrustFiles::write(dir.path(), &app.ca().bundle(), dir.shared(), &was)?;
    let (address, name) = (app.address(), agent.name.as_str());
    let past = if is_confined { PastProxy::Loopback } else { PastProxy::UsersAndLoopback };
    let access = ProxyAccess { address, tls_host: None, agent: name, token: Some(&token), past };
    let placeholders = placeholders(&app, &agent, &was);
    let stands = child_env::stands(&placeholders);
    let changes = trust_env::changes(&access, &files, &stands, &trust_env::outranking_settings(), &was);
    let changes = child_env::with_copies(changes, &taken);
    let dress = |command: &mut Command| {
        set_environment(command, &changes);
        context.hardened().spare(command);
        memory::end_with_us(command);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let config = config_path(context.paths(), &ConfigEnvironment::of_process()).map(|(path, _)| path);
    let start = match is_confined {
        true => args
            .confine
            .plan(&app, config.as_deref(), &files, dir.path(), &was)
            .and_then(|plan| walled_in(&args, plan, &mut app, dress))?,
        false => Start::plain(&args.command, dress),
    };
    if !is_confined && !args.quiet {
        unconfined::tell_once(&app.settings().state);
    }
    if args.quiet {
        telemetry::show_only_errors();
    }
    let running = app.spawn().map_err(CliError::from)?;
    let started = Instant::now();
    // the screen is the command's until it has ended
    let held = telemetry::hold();
    let status = runtime.block_on(child(start));
    drop((held, entered));
    let summary = Summary::of(running.app());
    let unseen = (!is_confined).then(|| Unseen::of(running.app(), started));
    let closed = running.stop();
    let status = status.map_err(|e| not_started(&args.command[0], &e))?;
    if !args.quiet {
        unseen.iter().for_each(Unseen::tell);
        summary.tell();
    }
    closed?;
    let is_refused = args.strict && status.success() && summary.counts.refusals > 0;
    Ok(if is_refused { ExitCode::from(term::REFUSED) } else { exit_code(status) })
}

/// A proxy for this command alone, with a CA that is gone with it.
fn launch_options(mut settings: Settings, taken: &TakenEnvironment, token: &str, agent: &Arc<Agent>) -> LaunchOptions {
    if !matches!(settings.ca.source, CaSource::File(_)) {
        settings.ca.source = CaSource::Memory;
    }
    LaunchOptions {
        settings,
        environment: taken.secrets.clone(),
        listen: Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)),
        tokens: vec![(TokenHash::of(token.as_bytes()), agent.clone())],
        descendants: true,
    }
}

/// Whether the variables hold something that the command line names for keys.
fn look_for(bound: &[(KeyName, String)], taken: &TakenEnvironment) -> anyhow::Result<()> {
    for (name, variable) in bound {
        if !matches!(taken.secrets.get(variable), Ok(Some(_))) {
            let what = format!("{variable} is not set, so there is no value of '{name}'");
            let next = format!("set it, or name the variable that holds the key: --key {name}=VARIABLE@HOST");
            return Err(CliError { what, next, code: term::UNAVAILABLE }.into());
        }
    }
    Ok(())
}

/// Says what of the environment is not as it looks.
fn warn_of_variables(settings: &Settings, taken: &TakenEnvironment, is_quiet: bool) {
    child_env::warn_of_withheld(taken);
    child_env::warn_of_placeholders(settings);
    child_env::warn_of_hostless(settings, taken);
    if !is_quiet {
        child_env::warn_of_unmanaged();
    }
}

/// Says what would keep keys from working.
fn warn(app: &App, was: &impl Fn(&str) -> Option<String>) {
    if let Some((what, next)) = app.ca_misfit() {
        eprintln!("locum: warning: {what}\n  next: {next}");
    }
    for complaint in app.value_complaints_at_hand().into_iter().chain(app.reminders()) {
        eprintln!("locum: warning: {}\n  next: {}", complaint.what, complaint.next);
    }
    child_env::warn_of_bypassed(app.active_keys().iter().flat_map(|key| &key.rule.hosts), was);
}

/// The variables of all keys that the child could find a value in, and what stands there instead.
fn placeholders(app: &App, agent: &Agent, was: &impl Fn(&str) -> Option<String>) -> Vec<(Vec<String>, String)> {
    let is_active = |key: &KeySetting| app.active_keys().iter().any(|active| active.name == key.name);
    let usable = |key: &KeySetting| is_active(key) && agent.may_use(&key.name);
    let mut placeholders = child_env::placeholders(app.settings(), usable);
    // a real value must not reach the child, whether or not this agent may use the key
    for key in app.settings().keys.iter().filter(|key| !usable(key)) {
        placeholders.extend(
            key.variables().into_iter().filter(|v| was(v).is_some()).map(|v| (vec![v], key.rule.shown_placeholder())),
        );
    }
    placeholders
}

/// Gives a command line all that changes for a child of it; what is secret was taken out of the environment before.
pub(super) fn set_environment(command: &mut Command, changes: &trust_env::EnvironmentChanges) {
    for (name, value) in changes {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    // settings of ours by variable, which may hold a password or a webhook's address
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_setting(name)) {
        command.env_remove(name);
    }
}

/// The command behind its walls, in which the proxy serves it.
fn walled_in(args: &RunArgs, plan: ConfinePlan, app: &mut App, dress: impl Fn(&mut Command)) -> anyhow::Result<Start> {
    let mut walled_in = args.confine.wall_in(plan, &args.command, dress)?;
    if !args.quiet {
        eprintln!("locum: {}", walled_in.told());
    }
    enclose(app, walled_in.helper.listeners.take())?;
    Ok(Start::WalledIn(walled_in))
}

/// Has the proxy serve who is in the command's own network, and answers there what asks for names.
fn enclose(app: &mut App, listeners: Option<NamespaceListeners>) -> anyhow::Result<()> {
    let Some(listeners) = listeners else { return Ok(()) };
    let NamespaceListeners { intake, proxy, dns_udp, dns_tcp, .. } = listeners;
    let names = Arc::new(SyntheticNames::default());
    dns_udp.set_nonblocking(true)?;
    dns_tcp.set_nonblocking(true)?;
    tokio::spawn(names::answer_all(
        names.clone(),
        tokio::net::UdpSocket::from_std(dns_udp)?,
        tokio::net::TcpListener::from_std(dns_tcp)?,
    ));
    app.enclose(proxy, intake, Arc::new(move |address| names.name_of(address))).map_err(CliError::from)?;
    Ok(())
}

/// What has come of the requests of a run.
struct Summary {
    counts: Counts,
    last_refusal: Option<Arc<LastRefusal>>,
    advice: Option<Arc<String>>,
    /// What would allow what was refused last.
    allowing: Option<String>,
    audit: Option<PathBuf>,
}

impl Summary {
    fn of(app: &App) -> Self {
        let last_refusal = app.last_refusal();
        let is_active = |key: &KeySetting| app.active_keys().iter().any(|active| active.name == key.name);
        let line = |refusal: &Arc<LastRefusal>| allowing::line(refusal, app.settings(), is_active);
        Self {
            counts: app.counts(),
            allowing: last_refusal.as_ref().and_then(line),
            last_refusal,
            advice: app.last_advice(),
            audit: app.audit_path(),
        }
    }

    fn tell(&self) {
        let counts = self.counts;
        let audit = self.audit.as_ref().map_or_else(String::new, |p| format!("; audit: {}", p.display()));
        let failures = counts.upstream_failures;
        let failed = if failures > 0 { format!(", {}", counted(failures, "upstream failure")) } else { String::new() };
        let why = self.last_refusal.as_ref().map(|refusal| format!("; last refusal: {}", shown(&refusal.reason)));
        let advice = self.advice.as_ref().map(|advice| format!("; {}", shown(advice)));
        eprintln!(
            "locum: {}, {}, {}{failed}{}{}{audit}",
            counted(counts.substitutions, "substitution"),
            counted(counts.refusals, "refusal"),
            counted(counts.scrubs, "scrub"),
            why.unwrap_or_default(),
            advice.unwrap_or_default(),
        );
        if let Some(line) = &self.allowing {
            eprintln!("  next: {line}");
        }
    }
}

/// Whether a variable is one of locum's settings, such as `LOCUM_PROXY__LISTEN`.
fn is_setting(variable: &OsStr) -> bool {
    variable.to_string_lossy().strip_prefix("LOCUM_").is_some_and(|rest| rest.contains("__"))
}

pub(super) fn counted(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// The user's own proxy becomes ours, and what the user trusts is trusted upstream.
fn respect_own(settings: &mut Settings) -> anyhow::Result<()> {
    if settings.proxy.upstream_proxy.is_none()
        && let Some(own) = trust_env::own_proxy(&child_env::now)
    {
        let proxy = own.parse().map_err(|e| {
            CliError::failed(
                format!("your HTTPS_PROXY can't be gone through: {e}"),
                "unset it, or set [proxy] upstream_proxy",
            )
        })?;
        settings.proxy.upstream_proxy = Some(proxy);
        settings.proxy.upstream_proxy_bypass.extend(BypassRule::all_of(&trust_env::own_no_proxy(&child_env::now)));
    }
    let own = trust_env::files::own_ca_files(&child_env::now);
    settings.proxy.upstream_ca.extend(own.into_iter().filter(|path| path.is_file()));
    Ok(())
}

/// 256 random bits in hex: for this child only, and gone with it.
pub(super) fn token() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| CliError::from(AppError::Random))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// The command, as it is to be started.
enum Start {
    Plain(Command),
    #[cfg(target_os = "linux")]
    WalledIn(WalledIn),
}

impl Start {
    fn plain(words: &[OsString], dress: impl Fn(&mut Command)) -> Self {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        dress(&mut command);
        Self::Plain(command)
    }

    /// Starts it: the process to wait for, and the one that signals are for.
    fn go(self) -> io::Result<(tokio::process::Child, u32)> {
        let (child, command) = match self {
            Self::Plain(command) => (tokio::process::Command::from(command).spawn()?, None),
            #[cfg(target_os = "linux")]
            Self::WalledIn(WalledIn { helper, .. }) => (helper.process, helper.command.go()?),
        };
        // it has one until it was waited for
        let pid = command.or(child.id()).unwrap_or_default();
        Ok((child, pid))
    }
}

/// Runs the child to its end, and hands on to it what is sent to us.
async fn child(start: Start) -> io::Result<ExitStatus> {
    let _given_back = Foreground::of_terminal();
    let mut signals = CaughtSignals::catch()?;
    let mut ended = signal(SignalKind::child())?;
    let mut orphans = Reaper::adopt();
    let (mut child, pid) = start.go()?;
    let own = child.id().unwrap_or_default();
    loop {
        tokio::select! {
            status = child.wait() => return status,
            _ = ended.recv() => orphans.expect(),
            () = orphans.due() => orphans.reap(own),
            sent = signals.next(pid) => signals::hand_on(sent, pid),
        }
    }
}

fn not_started(program: &OsString, error: &io::Error) -> anyhow::Error {
    let (code, next) = match error.kind() {
        io::ErrorKind::NotFound => (NOT_FOUND, "is it installed, and in PATH?"),
        io::ErrorKind::PermissionDenied => (NOT_EXECUTABLE, "is it a program, with its executable bit set?"),
        _ => (OWN_FAILURE, ""),
    };
    let what = format!("{} can't be started: {error}", program.to_string_lossy());
    CliError { what, next: next.into(), code }.into()
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|n| 128 + n)).unwrap_or(i32::from(OWN_FAILURE));
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(OWN_FAILURE))
}
