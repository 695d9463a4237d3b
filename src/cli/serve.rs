//! `locum serve`: the proxy as a service, until it is told to stop. Signals become commands, and what happens is told here.

use super::child_env;
use super::context::CliContext;
use super::term::CliError;
use crate::app::{
    self, App, CaUpdate, ControlSocket, LaunchOptions, LoadSettings, Service, ServiceEvent, ServiceHandle,
};
use crate::audit::AuditError;
use crate::config::settings::{ConfigEnvironment as Variables, Settings};
use crate::control::Control;
use crate::memory;
use crate::proxy::health;
use crate::record::PreviousFile;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Ask a running service whether it answers, and exit 0 if so
    #[arg(long)]
    healthcheck: bool,
}

/// Serves until it is told to stop, and has drained; with `--healthcheck`, asks a service that runs.
pub fn run(args: ServeArgs, context: &CliContext) -> anyhow::Result<ExitCode> {
    let settings = context.settings()?;
    if args.healthcheck {
        return healthcheck(settings.proxy.listen);
    }
    memory::renounce().iter().for_each(|what| eprintln!("locum: warning: {what}"));
    let environment = context.take_secrets(&settings)?;
    context.warn_of_weaknesses();
    child_env::warn_of_placeholders(&settings);
    let options = LaunchOptions { settings, environment, listen: None, tokens: Vec::new(), descendants: false };
    let app = App::build(options).map_err(CliError::from)?;
    let export = app.settings().ca.export.clone();
    if let Some(path) = &export {
        app::export_ca(app.ca(), path).map_err(CliError::from)?;
    }
    warn_of_misfit(&app);
    let control = ControlSocket::open(&app.settings().state).map_err(|e| warn(&e.to_string(), &e.next())).ok();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // who reads that it listens may stop it at once, and it drains even then
    let signals = runtime.block_on(async { Signals::heard() })?;
    announce(&app, export.as_deref());
    let service = Service::new(app.spawn().map_err(CliError::from)?, settings_of(context), tell);
    let ended = runtime.block_on(until_stopped(service, signals, control));
    // a store that hangs is left behind
    runtime.shutdown_background();
    if let Some(at) = ended? {
        eprintln!("locum: the audit ends in {} with {}", at.file, at.head);
        eprintln!("  kept elsewhere, it shows whether that was changed: locum audit verify --anchor {}", at.head);
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the settings anew, by the same paths.
fn settings_of(context: &CliContext) -> LoadSettings {
    let paths = context.paths().clone();
    Box::new(move || Ok(Settings::load(&paths, &Variables::of_process())?))
}

async fn until_stopped(
    service: Service,
    signals: Signals,
    control: Option<ControlSocket>,
) -> Result<Option<PreviousFile>, AuditError> {
    tokio::spawn(signals.command(service.handle()));
    let socket = control.map(|control| tokio::spawn(control.serve(Arc::new(service.handle()), service.stopping())));
    let ended = service.run().await;
    if let Some(socket) = socket {
        // it has its own bound on time, and nothing is left to do where it failed
        let _ = socket.await;
    }
    ended
}

/// Says what happens to a service, on standard error.
fn tell(app: &App, event: &ServiceEvent) {
    match event {
        ServiceEvent::Reloaded => {
            eprintln!("locum: reloaded");
            warn_of_misfit(app);
            warn_of_values(app);
        }
        ServiceEvent::NotReloaded(e) => eprintln!("locum: not reloaded, all is as it was: {e}"),
        ServiceEvent::Wiped => eprintln!(
            "locum: all keys are wiped from memory; SIGHUP loads them again, but for those that came by the environment"
        ),
        ServiceEvent::TokensReloaded => eprintln!("locum: the agents' tokens have changed and are taken over"),
        ServiceEvent::TokensNotReloaded(e) => {
            eprintln!("locum: the agents' tokens can't be taken over, all is as it was: {e}");
        }
        ServiceEvent::CaUpdated(update) => tell_ca(app, update),
        ServiceEvent::CaNotExported(e) => eprintln!("locum: the CA's certificate can't be written: {e}"),
        ServiceEvent::Draining => eprintln!("locum: draining (told again, it stops at once)"),
        ServiceEvent::Aborting => eprintln!("locum: stopping at once"),
    }
}

fn tell_ca(app: &App, update: &CaUpdate) {
    let ca = app.ca();
    let what = match (update, &ca.next) {
        (CaUpdate::Failed(why), _) => {
            return eprintln!("locum: the CA can't be taken over, all is as it was: {why}");
        }
        (CaUpdate::Rotated, Some(next)) => {
            format!("is being rotated: {} signs from {} on", next.authority.fingerprint(), next.signs_from())
        }
        (CaUpdate::Rotated | CaUpdate::Switched, _) => format!("has changed: {} signs now", ca.current.fingerprint()),
    };
    eprintln!("locum: the CA {what}");
    warn_of_misfit(app);
}

fn warn_of_misfit(app: &App) {
    if let Some((what, next)) = app.ca_misfit() {
        warn(&what, &next);
    }
}

fn warn(what: &str, next: &str) {
    eprintln!("locum: warning: {what}\n  next: {next}");
}

fn announce(app: &App, export: Option<&Path>) {
    let scheme = if app.speaks_tls() { "https" } else { "http" };
    eprintln!("locum listens on {scheme}://{}", app.address());
    if let Some(address) = app.transparent_address() {
        eprintln!("  takes in what is redirected to {address} ('locum env --nft' prints the rules)");
    }
    match (app.ca_kept_in(), export) {
        (_, Some(path)) => eprintln!("  CA certificate: {}", path.display()),
        (None, None) => eprintln!("  CA: new, in memory ([ca] export writes its certificate to a file)"),
        (Some(place), None) => eprintln!("  CA: {place} ('locum ca export' writes its certificate)"),
    }
    let names: Vec<&str> = app.active_keys().iter().map(|k| k.name.as_str()).collect();
    if names.is_empty() {
        eprintln!(
            "  keys: none (warning: nothing will be replaced; set a variable such as OPENAI_API_KEY, or [key.*] in the config)"
        );
    } else {
        eprintln!("  keys: {}", names.join(", "));
    }
    if let Some(path) = app.audit_path() {
        eprintln!("  audit: {}", path.display());
    }
    warn_of_values(app);
}

/// A store may take its time, and a person's: nothing waits for it.
fn warn_of_values(app: &App) {
    for reminder in app.reminders() {
        warn(&reminder.what, &reminder.next);
    }
    let complaints = app.value_complaints();
    let look = move || complaints().iter().for_each(|c| warn(&c.what, &c.next));
    // without a thread for it the first request tells
    let _ = std::thread::Builder::new().name("keys".into()).spawn(look);
}

/// The signals by which an operator commands a running service.
struct Signals {
    hup: Signal,
    wipe: Signal,
    term: Signal,
    int: Signal,
    /// Of no meaning: heard, so that it doesn't end the service as is its way.
    unused: Signal,
}

impl Signals {
    fn heard() -> std::io::Result<Self> {
        Ok(Self {
            hup: signal(SignalKind::hangup())?,
            wipe: signal(SignalKind::user_defined2())?,
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            unused: signal(SignalKind::user_defined1())?,
        })
    }

    /// Turns each into a command. None waits for its reply: a reload may take long, and the next signal counts meanwhile.
    async fn command(mut self, service: ServiceHandle) {
        loop {
            tokio::select! {
                _ = self.hup.recv() => drop(service.reload()),
                _ = self.wipe.recv() => drop(service.wipe()),
                _ = self.term.recv() => drop(service.stop()),
                _ = self.int.recv() => drop(service.stop()),
                _ = self.unused.recv() => {
                    eprintln!("locum: SIGUSR1 has no meaning here (SIGHUP reloads, SIGUSR2 wipes, SIGTERM drains)");
                }
            }
        }
    }
}

/// Asks at the address that is reserved for it, where nothing is recorded.
///
/// # Errors
/// When nothing answers there, or something else than locum.
pub fn healthcheck(address: SocketAddr) -> anyhow::Result<ExitCode> {
    match health::ask(address) {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Err(CliError::failed(format!("what answers on {address} is not locum"), "see [proxy] listen")),
        Err(e) => Err(CliError::failed(format!("nothing answers on {address}: {e}"), "start it with 'locum serve'")),
    }
}
