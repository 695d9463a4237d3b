//! Builds the rooms from settings and joins them: one listener, a runtime per core, and a way to reload and to drain.

use crate::audit::AuditError;
use crate::audit::log::{self, Log};
use crate::ca::keep::{self, Shelf};
use crate::ca::{CaError, Leaves, Root};
use crate::config::keys::{AgentSetting, KeySetting};
use crate::config::settings::{CaSource, Durability, Egress, Intercept, Settings};
use crate::memory::{Environment, Opened};
use crate::policy::agent::{Limits, TokenHash};
use crate::policy::{Agent, Agents, Rules, decide};
use crate::proxy::{self, ExchangeIds, Live, Shared, Worker, listen};
use crate::record::{Event, Record};
use crate::rewrite::{LookalikeError, Vocabulary};
use crate::secrets::{KeySource, Secrets, Store, Supplies, Vault};
use crate::upstream::dial::Dialer;
use crate::upstream::pool::Pool;
use crate::upstream::tls::{self, Tls};
use arc_swap::ArcSwap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// How long connections may take to end once the proxy drains.
pub const DRAIN: Duration = Duration::from_secs(30);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// A file of the audit is followed by another at this size.
const AUDIT_FILE: u64 = 64 * 1024 * 1024;

/// Why the proxy can't be set up: what, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("can't listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(transparent)]
    Roots(#[from] tls::RootsError),
    #[error(transparent)]
    Lookalike(#[from] LookalikeError),
    #[error("TLS can't be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the token of agent {agent} in {path} can't be used: {why}")]
    Token { agent: String, path: PathBuf, why: String },
    #[error("{path}: {why}")]
    State { path: PathBuf, why: String },
    #[error("no randomness from the system")]
    Random,
    #[error("no thread can be started: {0}")]
    Thread(io::Error),
}

impl AppError {
    pub fn next(&self) -> String {
        match self {
            AppError::Listen { source, address } if source.kind() == io::ErrorKind::AddrInUse => format!(
                "another program has port {}: stop it, or choose a port with [proxy] listen or LOCUM_PROXY__LISTEN",
                address.port()
            ),
            AppError::Listen { .. } => "set [proxy] listen to an address of this machine".into(),
            AppError::Ca(_) => "see [ca] source in the config, and 'locum ca --help'".into(),
            AppError::Audit(e) => e.hint(),
            AppError::Roots(_) => "see [proxy] upstream_ca in the config".into(),
            AppError::Lookalike(_) => "see `placeholder` in the config".into(),
            AppError::Tls(_) | AppError::Random | AppError::Thread(_) => "this machine is not fit for it".into(),
            AppError::State { .. } => "choose another folder with --state or XDG_STATE_HOME".into(),
            AppError::Token { .. } => "see [agent.*] token_file in the config".into(),
        }
    }
}

/// What differs between the ways to run.
pub struct Plan {
    pub settings: Settings,
    /// The variables that were taken out of the environment.
    pub environment: Arc<Environment>,
    /// An address instead of the configured one.
    pub listen: Option<SocketAddr>,
    /// A root made for the occasion instead of the configured one.
    pub root: Option<Root>,
    /// Tokens made for the occasion: with any, no others count.
    pub tokens: Vec<(TokenHash, Arc<Agent>)>,
}

/// A proxy that is set up and listens, but does not serve yet.
pub struct App {
    shared: Arc<Shared>,
    settings: Settings,
    supplies: Supplies,
    dialer: Dialer,
    tls: Tls,
    listener: TcpListener,
    tokens: Vec<(TokenHash, Arc<Agent>)>,
}

/// A proxy that serves.
pub struct Running {
    app: App,
    stop: watch::Sender<bool>,
    workers: Vec<JoinHandle<()>>,
}

impl App {
    /// Sets everything up in the order in which a mistake is cheapest to mend.
    pub fn build(plan: Plan) -> Result<Self, AppError> {
        let Plan { settings, environment, listen, root, tokens } = plan;
        let now = SystemTime::now();
        raise_descriptor_limit();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = Tls::new(tls::roots(&settings.proxy.upstream_ca)?, provider.clone())?;
        make_state_dir(&settings.state)?;
        let supplies = supplies(&settings, environment);
        let root = match root {
            Some(root) => root,
            None => root_of(&settings, &supplies, now)?,
        };
        let leaves = Leaves::new(Arc::new(root), provider)?;
        let secrets = Secrets::new(sources(&settings, &supplies));
        let live = live(&settings, &supplies, &tokens)?;
        let address = listen.unwrap_or(settings.proxy.listen);
        let listener = bind(address).map_err(|source| AppError::Listen { address, source })?;
        let own = listener.local_addr().map_err(|source| AppError::Listen { address, source })?;
        let audit = Log::open(audit_config(&settings), now)?;
        let dialer = Dialer {
            private_addresses: settings.proxy.private_addresses.clone().into(),
            proxy: settings.proxy.upstream_proxy.clone().map(Arc::new),
            own: [own].into(),
        };
        let shared = Shared {
            config: proxy::Config::default(),
            live: ArcSwap::from_pointee(live),
            secrets,
            audit,
            leaves,
            open: AtomicUsize::new(0),
            ids: ExchangeIds::new(random()?),
            counters: proxy::Counters::default(),
            meters: proxy::Meters::default(),
        };
        Ok(Self { shared: Arc::new(shared), settings, supplies, dialer, tls, listener, tokens })
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap_or(self.settings.proxy.listen)
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn root(&self) -> &Root {
        self.shared.leaves.root()
    }

    /// The keys that a request could use now.
    pub fn active_keys(&self) -> Vec<&KeySetting> {
        self.settings.keys.iter().filter(|k| is_active(k, &self.supplies)).collect()
    }

    pub fn counts(&self) -> proxy::Counts {
        self.shared.counters.read()
    }

    pub fn audit_path(&self) -> Option<PathBuf> {
        self.shared.audit.path()
    }

    /// Starts a runtime per core; all accept from the one listener.
    ///
    /// # Errors
    /// When the system gives no thread or no runtime.
    pub fn spawn(self) -> Result<Running, AppError> {
        let (stop, stopped) = watch::channel(false);
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let mut workers = Vec::with_capacity(count);
        for number in 0..count {
            let listener = self.listener.try_clone().map_err(AppError::Thread)?;
            let worker = Worker { shared: self.shared.clone(), pool: Pool::new(self.dialer.clone(), self.tls.clone()) };
            let (worker, stopped) = (Arc::new(worker), stopped.clone());
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AppError::Thread)?;
            let work = move || {
                runtime.block_on(async {
                    // the descriptor is non-blocking, and a runtime is there: nothing else can fail here
                    if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                        listen::serve(worker, listener, stopped).await;
                    }
                });
            };
            let thread = std::thread::Builder::new().name(format!("worker-{number}"));
            workers.push(thread.spawn(work).map_err(AppError::Thread)?);
        }
        Ok(Running { app: self, stop, workers })
    }
}

impl Running {
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Takes new settings over, whole or not at all. Listener, CA and audit stay as they were at the start.
    pub fn reload(&mut self, settings: Settings) -> Result<(), AppError> {
        let live = live(&settings, &self.app.supplies, &self.app.tokens)?;
        self.app.shared.secrets.reload(sources(&settings, &self.app.supplies));
        self.app.shared.live.store(Arc::new(live));
        self.app.settings = settings;
        let mut record = Record::new(SystemTime::now(), Event::Config, "reload");
        record.success = Some(true);
        self.app.shared.audit.append(&record);
        Ok(())
    }

    /// Resolves when all that has happened so far is in the audit.
    pub async fn flush_audit(&self) -> Result<(), AuditError> {
        self.app.shared.audit.flush().await
    }

    /// Drops all keys from memory; nothing is replaced until the next reload.
    pub fn wipe(&self) {
        self.app.shared.secrets.wipe();
        let mut record = Record::new(SystemTime::now(), Event::Key, "wipe");
        record.success = Some(true);
        self.app.shared.audit.append(&record);
    }

    /// Accepts nothing more, lets exchanges end for at most [`DRAIN`], and closes the audit.
    pub fn stop(self) -> Result<(), AuditError> {
        let _ = self.stop.send(true);
        let (done, all_done) = std::sync::mpsc::channel::<()>();
        for worker in self.workers {
            let done = done.clone();
            // a worker that hangs must not keep the process: it is left behind at the end
            let waiter = std::thread::Builder::new().name("drain".into());
            let _ = waiter.spawn(move || {
                let _ = worker.join();
                drop(done);
            });
        }
        drop(done);
        let _ = all_done.recv_timeout(DRAIN);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let stop = Record::new(SystemTime::now(), Event::Stop, "locum");
        match runtime {
            Ok(runtime) => runtime.block_on(self.app.shared.audit.close(stop)),
            Err(_) => Ok(()),
        }
    }
}

/// The stores of this machine, and what came by the environment.
pub fn supplies(settings: &Settings, environment: Arc<Environment>) -> Supplies {
    let machine: Arc<dyn Store> = Arc::new(Vault::machine(&settings.state));
    Supplies { environment, machine: Some(machine), ..Supplies::default() }
}

/// The name under which a store keeps the CA.
const CA_ENTRY: &str = "ca/root";

struct CaShelf(Arc<dyn Store>);

impl Shelf for CaShelf {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn take(&self) -> Result<Option<Opened>, String> {
        self.0.get(CA_ENTRY).map_err(|e| e.to_string())
    }

    fn put(&self, pem: &[u8]) -> Result<(), String> {
        self.0.set(CA_ENTRY, pem).map_err(|e| e.to_string())
    }
}

fn shelf(supplies: &Supplies) -> Option<CaShelf> {
    supplies.keyring.clone().or_else(|| supplies.machine.clone()).map(CaShelf)
}

/// The root that the settings name, made where there is none yet.
fn root_of(settings: &Settings, supplies: &Supplies, now: SystemTime) -> Result<Root, CaError> {
    match (&settings.ca.source, shelf(supplies)) {
        (CaSource::File(path), _) => Root::from_file(path),
        (CaSource::Auto, Some(shelf)) => keep::load_or_make(&shelf, &settings.state.join("ca.lock"), &host_name(), now),
        (CaSource::Memory, _) | (CaSource::Auto, None) => Root::generate(now, &host_name()),
    }
}

/// The root that a service with these settings signs with, made where there is none yet; `None` where it is in that
/// service's memory alone.
pub fn kept_root(settings: &Settings, supplies: &Supplies) -> Result<Option<Root>, CaError> {
    match settings.ca.source {
        CaSource::Memory => Ok(None),
        CaSource::File(_) | CaSource::Auto => root_of(settings, supplies, SystemTime::now()).map(Some),
    }
}

/// 0700: what is kept there is for nobody else.
pub fn make_state_dir(dir: &Path) -> Result<(), AppError> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let fail = |why: String| AppError::State { path: dir.into(), why };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| fail(e.to_string()))?;
    let mode = std::fs::metadata(dir).map_err(|e| fail(e.to_string()))?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(fail(format!("others can look into it; run: chmod 700 {}", dir.display())))
}

/// For the CA's name, so that people who trust several tell them apart.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn audit_config(settings: &Settings) -> log::Config {
    log::Config {
        dir: settings.audit.dir.clone(),
        durability: match settings.audit.durability {
            Durability::Write => log::Durability::Write,
            Durability::Fsync => log::Durability::Fsync,
        },
        max_file_bytes: AUDIT_FILE,
        exchanges: settings.audit.exchanges,
        about: concat!("locum ", env!("CARGO_PKG_VERSION")).into(),
    }
}

/// A key with a table of its own is always active; one of the catalog once something may have its value.
fn is_active(key: &KeySetting, supplies: &Supplies) -> bool {
    key.at.is_some() || supplies.environment.names().any(|taken| key.env.iter().any(|v| v == taken))
}

fn sources(settings: &Settings, supplies: &Supplies) -> Vec<KeySource> {
    let active = settings.keys.iter().filter(|k| is_active(k, supplies));
    active
        .map(|key| KeySource { name: key.name.clone(), source: supplies.source(&key.source, &key.name, &key.env) })
        .collect()
}

fn live(settings: &Settings, supplies: &Supplies, tokens: &[(TokenHash, Arc<Agent>)]) -> Result<Live, AppError> {
    let active: Vec<&KeySetting> = settings.keys.iter().filter(|k| is_active(k, supplies)).collect();
    let lookalikes = active.iter().filter_map(|k| Some((k.rule.placeholder.clone()?, k.name.clone())));
    let vocabulary = Vocabulary::new(settings.proxy.braces, lookalikes)?;
    let egress = decide::Egress {
        listed: settings.proxy.egress == Egress::Listed,
        allow: settings.proxy.allow.clone(),
        deny: settings.proxy.deny.clone(),
        connect_ports: settings.proxy.connect_ports.clone(),
    };
    Ok(Live {
        rules: Rules::new(active.iter().map(|k| k.rule.clone()), egress),
        agents: agents(settings, supplies, tokens)?,
        vocabulary: Arc::new(vocabulary),
        passthrough: settings.proxy.passthrough.clone(),
        uids: settings.proxy.uids.iter().copied().chain([rustix::process::geteuid().as_raw()]).collect(),
        intercept_bound_only: settings.proxy.intercept == Intercept::Bound,
        prefixes: active.iter().map(|k| (k.name.clone(), k.prefixes.clone())).collect(),
    })
}

fn agents(settings: &Settings, supplies: &Supplies, made: &[(TokenHash, Arc<Agent>)]) -> Result<Agents, AppError> {
    if !made.is_empty() {
        return Ok(Agents::with_tokens(made.to_vec()));
    }
    let mut tokens = Vec::new();
    for setting in &settings.agents {
        let Some(path) = &setting.token_file else { continue };
        let fail = |why: String| AppError::Token { agent: setting.name.to_string(), path: path.clone(), why };
        let token = Opened::new(std::fs::read(path).map_err(|e| fail(e.to_string()))?);
        let text = token.expose().trim_ascii();
        if text.len() < 16 {
            return Err(fail("it has under 16 characters".into()));
        }
        tokens.push((TokenHash::of(text), Arc::new(agent(setting))));
    }
    if let Ok(Some(token)) = supplies.environment.get(PROXY_TOKEN) {
        tokens.push((TokenHash::of(token.expose().trim_ascii()), Arc::new(Agent::local())));
    }
    Ok(if tokens.is_empty() { Agents::open() } else { Agents::with_tokens(tokens) })
}

/// What the config says of an agent, as policy takes it.
pub fn agent(setting: &AgentSetting) -> Agent {
    Agent {
        name: setting.name.clone(),
        keys: setting.keys.as_ref().map(|keys| keys.iter().cloned().collect()),
        hosts: setting.hosts.clone(),
        methods: setting.methods.clone(),
        expires: None,
        limits: Limits { rate: setting.rate.map(|r| (r.count, r.per)), concurrent: setting.concurrent },
    }
}

/// The variable that holds the token of the agent `local`.
pub const PROXY_TOKEN: &str = "LOCUM_PROXY_TOKEN";

/// The variables that hold secrets: taken out of the environment before anything else.
pub fn secret_variables(settings: &Settings) -> Vec<String> {
    let own = [PROXY_TOKEN, "LOCUM_MASTER_PASSWORD", "LOCUM_SECRET_KEY", "LOCUM_API_KEYS"].map(str::to_owned);
    let mut all: Vec<String> = settings.keys.iter().flat_map(KeySetting::variables).chain(own).collect();
    all.sort();
    all.dedup();
    all
}

/// 64 random bits.
pub fn random() -> Result<u64, AppError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AppError::Random)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Each connection is a descriptor, and its upstream another.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // where it is refused, the limit stays and accept says when it is reached
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
