//! `locum serve`: the proxy until it is told to stop.

use super::{Context, term, told};
use crate::app::{App, CaNews, Plan, Running, Stored};
use crate::ca::Authorities;
use crate::config::settings::Settings;
use crate::disk::{self, Rights};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinError, JoinHandle};

#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Ask a running service whether it answers, and exit 0 if so
    #[arg(long)]
    healthcheck: bool,
}

/// How long a healthy service may take to answer.
const HEALTHY: Duration = Duration::from_secs(3);

pub fn run(args: ServeArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let settings = context.settings()?;
    if args.healthcheck {
        return healthcheck(settings.proxy.listen);
    }
    let environment = context.take_secrets(&settings)?;
    context.warn_of_weaknesses();
    let export = settings.ca.export.clone();
    let plan = Plan { settings, environment, listen: None, tokens: Vec::new(), descendants: false };
    let app = App::build(plan).map_err(told)?;
    if let Some(path) = &export {
        export_certificates(app.ca(), path)?;
    }
    warn_of_misfit(&app);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // who reads that it listens may stop it at once, and it drains even then
    let signals = runtime.block_on(async { Signals::heard() })?;
    announce(&app, export.as_deref());
    let running = app.spawn().map_err(told)?;
    let (running, mut signals) = runtime.block_on(until_stopped(running, signals, context));
    let cutter = running.cutter();
    // left behind when all ends well
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(signals.ended());
        eprintln!("locum: stopping at once");
        cutter.cut();
    })?;
    if let Some(at) = running.stop()? {
        eprintln!("locum: the audit ends in {} with {}", at.file, at.head);
        eprintln!("  kept elsewhere, it shows whether that was changed: locum audit verify --anchor {}", at.head);
    }
    Ok(ExitCode::SUCCESS)
}

/// Written whole or not at all: who waits for the file finds certificates in it. The folder may be one that agents write
/// into, so nothing that is there is followed.
pub fn export_certificates(ca: &Authorities, path: &Path) -> anyhow::Result<()> {
    let fail =
        |e: std::io::Error| term::CliError::failed(format!("{}: {e}", path.display()), "see [ca] export in the config");
    disk::replace(path, ca.bundle().as_bytes(), Rights::Public).map_err(fail)
}

fn warn_of_misfit(app: &App) {
    if let Some((what, next)) = app.ca_misfit() {
        eprintln!("locum: warning: {what}\n  next: {next}");
    }
}

/// Says what has become of the CA, and has clients find it where it is exported to.
fn tell_ca(app: &App, news: CaNews) {
    let ca = app.ca();
    let what = match (news, &ca.next) {
        (CaNews::Failed(why), _) => return eprintln!("locum: the CA can't be taken over, all is as it was: {why}"),
        (CaNews::Rotated, Some(next)) => {
            format!("is being rotated: {} signs from {} on", next.authority.fingerprint(), next.signs_from())
        }
        (CaNews::Rotated | CaNews::Switched, _) => format!("has changed: {} signs now", ca.current.fingerprint()),
    };
    let exported = app.settings().ca.export.as_deref().map_or(Ok(()), |path| export_certificates(ca, path));
    if let Err(e) = exported {
        eprintln!("locum: the CA's certificate can't be written: {e:#}");
    }
    eprintln!("locum: the CA {what}");
    warn_of_misfit(app);
}

fn announce(app: &App, export: Option<&Path>) {
    eprintln!("locum listens on http://{}", app.address());
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
}

/// What the operator says to a running service.
struct Signals {
    hup: Signal,
    wipe: Signal,
    term: Signal,
    int: Signal,
}

impl Signals {
    /// Resolves when it is told to stop.
    async fn ended(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }

    fn heard() -> std::io::Result<Self> {
        Ok(Self {
            hup: signal(SignalKind::hangup())?,
            wipe: signal(SignalKind::user_defined2())?,
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }
}

/// New settings that wait for the stores to say what they hold. A store may hang, and signals still count.
struct Reload {
    settings: Settings,
    stored: JoinHandle<Stored>,
}

impl Reload {
    fn begin(running: &Running, settings: Settings) -> Self {
        Self { settings, stored: tokio::task::spawn_blocking(running.listing()) }
    }

    /// The one that is under way, once its stores have said so.
    async fn ready(under_way: &mut Option<Self>) -> (Settings, Result<Stored, JoinError>) {
        let Some(reload) = under_way else { return std::future::pending().await };
        let stored = (&mut reload.stored).await;
        (reload.settings.clone(), stored)
    }
}

async fn until_stopped(mut running: Running, mut signals: Signals, context: &Context) -> (Running, Signals) {
    let (mut reload, mut refresh) = (None, None::<JoinHandle<()>>);
    // what keeps tokens or a CA from being taken over is said once, and tried again until it is
    let (mut said, mut said_of_ca) = (String::new(), String::new());
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = signals.hup.recv() => match context.settings() {
                Ok(settings) => reload = Some(Reload::begin(&running, settings)),
                Err(e) => not_reloaded(&e),
            },
            (settings, stored) = Reload::ready(&mut reload) => {
                reload = None;
                match stored.map_err(Into::into).and_then(|stored| running.reload(settings, &stored).map_err(told)) {
                    Ok(()) => {
                        eprintln!("locum: reloaded");
                        warn_of_misfit(running.app());
                    }
                    Err(e) => not_reloaded(&e),
                }
            }
            _ = second.tick() => {
                // a source that hangs holds up nobody but those who need its key
                if refresh.as_ref().is_none_or(JoinHandle::is_finished) {
                    refresh = Some(tokio::spawn(running.refresh_keys()));
                }
                running.close_changed();
                take_tokens_over(&mut running, &mut said);
                match running.tend_ca(SystemTime::now()) {
                    Some(CaNews::Failed(why)) if why == said_of_ca => {}
                    Some(news) => {
                        said_of_ca = if let CaNews::Failed(why) = &news { why.clone() } else { String::new() };
                        tell_ca(running.app(), news);
                    }
                    None => {}
                }
            }
            _ = signals.wipe.recv() => {
                // what was asked for before would load them again
                reload = None;
                running.wipe();
                eprintln!("locum: all keys are wiped from memory; SIGHUP loads them again, but for those that came by the environment");
            }
            _ = signals.term.recv() => break,
            _ = signals.int.recv() => break,
        }
    }
    eprintln!("locum: draining (told again, it stops at once)");
    (running, signals)
}

fn take_tokens_over(running: &mut Running, said: &mut String) {
    match running.reload_tokens() {
        Ok(true) => {
            said.clear();
            eprintln!("locum: the agents' tokens have changed and are taken over");
        }
        Ok(false) => {}
        Err(e) if e.to_string() == *said => {}
        Err(e) => {
            *said = e.to_string();
            eprintln!("locum: the agents' tokens can't be taken over, all is as it was: {said}");
        }
    }
}

fn not_reloaded(e: &anyhow::Error) {
    eprintln!("locum: not reloaded, all is as it was: {e:#}");
}

/// Any answer of locum's own will do: it says so in a header.
fn healthcheck(mut address: SocketAddr) -> anyhow::Result<ExitCode> {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, HEALTHY)?;
        stream.set_read_timeout(Some(HEALTHY))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: locum\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.take(4096).read_to_end(&mut answer)?;
        Ok(memchr::memmem::find(&answer, b"locum-refused: not-forwarded").is_some())
    };
    match ask() {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => {
            Err(term::CliError::failed(format!("what answers on {address} is not locum"), "see [proxy] listen"))
        }
        Err(e) => {
            Err(term::CliError::failed(format!("nothing answers on {address}: {e}"), "start it with 'locum serve'"))
        }
    }
}
