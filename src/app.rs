//! Builds the rooms from settings and joins them: one listener, a runtime per core, and a way to reload and to drain.

use crate::audit::AuditError;
use crate::audit::log::{self, Log};
use crate::ca::keep::{self, Shelf};
use crate::ca::{CaError, Leaves, Root};
use crate::config::keys::{AgentSetting, KeySetting};
use crate::config::settings::{CaSource, Durability, Egress, Intercept, Settings};
use crate::config::tokens::{self, Tokens, TokensError};
use crate::memory::{self, Environment, Opened};
use crate::name::AgentName;
use crate::policy::agent::{Limits, TokenHash};
use crate::policy::{Agent, Agents, Rules, decide};
use crate::proxy::{self, ExchangeIds, Live, PatternCache, RequestBody, Shared, Worker, listen};
use crate::record::{Event, Record};
use crate::rewrite::{LookalikeError, Vocabulary};
use crate::secrets::{self, KeySource, Secrets, Source, Store, Supplies, entry_name};
use crate::upstream::dial::Dialer;
use crate::upstream::pool::Pool;
use crate::upstream::tls::{self, Tls};
use arc_swap::ArcSwap;
use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long connections may take to end once the proxy drains.
pub const DRAIN: Duration = Duration::from_secs(30);
/// How long a keyring may take to answer, with the person who unlocks it.
const PATIENCE: Duration = Duration::from_secs(10);
/// A shorter token could be guessed.
const MIN_TOKEN: usize = 16;
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
    #[error(transparent)]
    Tokens(#[from] TokensError),
    #[error("beyond loopback anyone could spend your keys: listening on {address} takes agents")]
    Open { address: SocketAddr },
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
            AppError::Tokens(_) => {
                "mend or remove the file; without it the tokens are gone: 'locum agent add' makes new ones".into()
            }
            AppError::Open { .. } => "make an agent with 'locum agent add NAME', or set LOCUM_PROXY_TOKEN".into(),
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
    active_keys: Vec<KeySetting>,
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
    pools: Vec<Arc<Pool<RequestBody>>>,
    /// When the file of tokens was last changed, as it was last read.
    tokens_read: Option<SystemTime>,
}

fn token_stamp(settings: &Settings) -> Option<SystemTime> {
    std::fs::metadata(tokens::path(&settings.state)).and_then(|m| m.modified()).ok()
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
        let active_keys = active(&settings, &supplies);
        let secrets = Secrets::new(sources(&active_keys, &supplies));
        let live = live(&settings, &active_keys, &supplies, &tokens)?;
        let active_keys = active_keys.into_iter().cloned().collect();
        let address = listen.unwrap_or(settings.proxy.listen);
        if !address.ip().is_loopback() && !live.agents.need_token() {
            return Err(AppError::Open { address });
        }
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
        Ok(Self { shared: Arc::new(shared), settings, active_keys, supplies, dialer, tls, listener, tokens })
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
    pub fn active_keys(&self) -> &[KeySetting] {
        &self.active_keys
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
        let mut pools = Vec::with_capacity(count);
        for number in 0..count {
            let listener = self.listener.try_clone().map_err(AppError::Thread)?;
            let worker = Worker {
                shared: self.shared.clone(),
                pool: Pool::new(self.dialer.clone(), self.tls.clone()),
                patterns: PatternCache::default(),
            };
            pools.push(worker.pool.clone());
            let (worker, stopped) = (Arc::new(worker), stopped.clone());
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AppError::Thread)?;
            let work = move || {
                runtime.block_on(async {
                    // a limit on the size of files has to fail a write, and not end the process
                    let _caught = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
                    // the descriptor is non-blocking, and a runtime is there: nothing else can fail here
                    if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                        listen::serve(worker, listener, stopped).await;
                    }
                });
            };
            let thread = std::thread::Builder::new().name(format!("worker-{number}"));
            workers.push(thread.spawn(work).map_err(AppError::Thread)?);
        }
        memory::give_back();
        let tokens_read = token_stamp(&self.settings);
        Ok(Running { app: self, stop, workers, pools, tokens_read })
    }
}

impl Running {
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Takes new settings over, whole or not at all. Listener, CA and audit stay as they were at the start.
    pub fn reload(&mut self, settings: Settings) -> Result<(), AppError> {
        let App { shared, supplies, tokens, .. } = &self.app;
        let active = active(&settings, supplies);
        let live = live(&settings, &active, supplies, tokens)?;
        if !self.app.address().ip().is_loopback() && !live.agents.need_token() {
            return Err(AppError::Open { address: self.app.address() });
        }
        let changed = changes(&self.app.active_keys, &active);
        shared.secrets.reload(sources(&active, supplies));
        shared.live.store(Arc::new(live));
        // what carried a key that is bound elsewhere now, or gone, carries nothing more
        self.pools.iter().for_each(|pool| pool.close(None));
        self.app.active_keys = active.into_iter().cloned().collect();
        self.app.settings = settings;
        let mut record = Record::new(SystemTime::now(), Event::Config, "reload");
        record.success = Some(true);
        record.reason = Some(changed);
        self.app.shared.audit.append(&record);
        Ok(())
    }

    /// Resolves when all that has happened so far is in the audit.
    pub async fn flush_audit(&self) -> Result<(), AuditError> {
        self.app.shared.audit.flush().await
    }

    /// Asks the sources that may have something new, so that a changed key is in use within a second or so.
    pub async fn refresh_keys(&self) {
        self.app.shared.secrets.refresh().await;
    }

    /// Takes over what `agent add` or `agent revoke` has changed since. Whether there was anything.
    pub fn reload_tokens(&mut self) -> Result<bool, AppError> {
        let stamp = token_stamp(&self.app.settings);
        if stamp == self.tokens_read {
            return Ok(false);
        }
        self.tokens_read = stamp;
        self.reload(self.app.settings.clone()).map(|()| true)
    }

    /// Drops all keys from memory; nothing is replaced until the next reload. What came by the environment is gone for good.
    pub fn wipe(&self) {
        self.app.shared.secrets.wipe();
        memory::wipe_all();
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

/// The stores of this machine, and what came by the environment. Nobody is asked for a password.
pub fn supplies(settings: &Settings, environment: Arc<Environment>) -> Supplies {
    Supplies::build(stores(settings, None), environment)
}

/// As [`supplies`], for a command with a person in front of it.
pub fn supplies_asking(settings: &Settings, environment: Arc<Environment>, prompt: Arc<dyn Source>) -> Supplies {
    Supplies::build(stores(settings, Some(prompt)), environment)
}

fn stores(settings: &Settings, prompt: Option<Arc<dyn Source>>) -> secrets::Config {
    secrets::Config { state: settings.state.clone(), password_file: None, prompt, patience: PATIENCE }
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

/// Where the root is, or is to be: the first store that has one, else the first that works.
fn shelf(supplies: &Supplies) -> Option<CaShelf> {
    let stores = || [supplies.keyring.clone(), supplies.machine.clone()].into_iter().flatten().map(CaShelf);
    let has_one = |shelf: &CaShelf| matches!(shelf.take(), Ok(Some(_)));
    stores().find(has_one).or_else(|| stores().find(|shelf| shelf.take().is_ok()))
}

/// The root that the settings name, made where there is none yet.
fn root_of(settings: &Settings, supplies: &Supplies, now: SystemTime) -> Result<Root, CaError> {
    if let CaSource::File(path) = &settings.ca.source {
        return Root::from_file(path);
    }
    let shelf = if settings.ca.source == CaSource::Auto { shelf(supplies) } else { None };
    match shelf {
        Some(shelf) => keep::load_or_make(&shelf, &settings.state.join("ca.lock"), &host_name(), now),
        None => Root::generate(now, &host_name()),
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

/// What a reload changes in the keys, in a sentence: bindings are compared as they are written.
fn changes(before: &[KeySetting], after: &[&KeySetting]) -> String {
    let told = |key: &KeySetting| format!("{:?} {}", key.rule, key.source);
    let was = |key: &KeySetting| before.iter().find(|b| b.name == key.name);
    let mut parts = [("added", Vec::new()), ("removed", Vec::new()), ("changed", Vec::new())];
    for key in after {
        match was(key) {
            None => parts[0].1.push(key.name.as_str()),
            Some(before) if told(before) != told(key) => parts[2].1.push(key.name.as_str()),
            Some(_) => {}
        }
    }
    let gone = before.iter().filter(|b| !after.iter().any(|key| key.name == b.name));
    parts[1].1.extend(gone.map(|key| key.name.as_str()));
    let parts = parts.iter().filter(|(_, names)| !names.is_empty());
    let parts: Vec<String> = parts.map(|(what, names)| format!("keys {what}: {}", names.join(" "))).collect();
    if parts.is_empty() { "no key added, removed or bound anew".into() } else { parts.join("; ") }
}

/// The keys that something may have a value for. One with a table of its own always is; one of the catalog once its
/// variable was set or a store has it.
pub fn active<'s>(settings: &'s Settings, supplies: &Supplies) -> Vec<&'s KeySetting> {
    // a store that can't be listed now is told of when a key of its own is asked for
    let stored: HashSet<String> = supplies.stores().filter_map(|store| store.list().ok()).flatten().collect();
    let taken: HashSet<&str> = supplies.environment.names().collect();
    let has_value = |key: &KeySetting| {
        stored.contains(&entry_name(&key.name)) || key.env.iter().any(|name| taken.contains(name.as_str()))
    };
    settings.keys.iter().filter(|key| key.at.is_some() || has_value(key)).collect()
}

/// The sources of these keys.
pub fn sources(active: &[&KeySetting], supplies: &Supplies) -> Vec<KeySource> {
    let source = |key: &&KeySetting| KeySource {
        name: key.name.clone(),
        source: supplies.source(&key.source, &key.name, &key.env),
    };
    active.iter().map(source).collect()
}

/// The rules that a service with these settings would follow, without anything being opened or bound.
pub fn rules(settings: &Settings, supplies: &Supplies) -> Result<Live, AppError> {
    live(settings, &active(settings, supplies), supplies, &[])
}

fn live(
    settings: &Settings,
    active: &[&KeySetting],
    supplies: &Supplies,
    tokens: &[(TokenHash, Arc<Agent>)],
) -> Result<Live, AppError> {
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

/// Who may ask. Any agent in the config, token in the state folder or `LOCUM_PROXY_TOKEN` makes a token necessary.
fn agents(settings: &Settings, supplies: &Supplies, made: &[(TokenHash, Arc<Agent>)]) -> Result<Agents, AppError> {
    if !made.is_empty() {
        return Ok(Agents::with_tokens(made.to_vec()));
    }
    let kept = Tokens::load(&settings.state)?.kept;
    let from_environment = supplies.environment.get(PROXY_TOKEN).ok().flatten();
    if settings.agents.is_empty() && kept.is_empty() && from_environment.is_none() {
        return Ok(Agents::open());
    }
    let mut tokens = Vec::new();
    for setting in &settings.agents {
        if let Some(path) = &setting.token_file {
            tokens.push((token_in(path, &setting.name)?, Arc::new(agent(setting))));
        }
    }
    for kept in kept {
        let table = settings.agents.iter().find(|a| a.name == kept.name);
        let mut agent = table.map_or_else(|| Agent { name: kept.name.clone(), ..Agent::local() }, agent);
        agent.expires = kept.expires;
        if let Some(keys) = kept.keys {
            let allowed = keys.into_iter().filter(|key| agent.may_use(key)).collect();
            agent.keys = Some(allowed);
        }
        tokens.push((kept.hash, Arc::new(agent)));
    }
    if let Some(token) = from_environment {
        tokens.push((TokenHash::of(token.expose().trim_ascii()), Arc::new(Agent::local())));
    }
    Ok(Agents::with_tokens(tokens))
}

fn token_in(path: &Path, agent: &AgentName) -> Result<TokenHash, AppError> {
    let fail = |why: String| AppError::Token { agent: agent.to_string(), path: path.into(), why };
    let token = Opened::new(std::fs::read(path).map_err(|e| fail(e.to_string()))?);
    let text = token.expose().trim_ascii();
    if text.len() < MIN_TOKEN {
        Err(fail(format!("it has under {MIN_TOKEN} characters")))
    } else {
        Ok(TokenHash::of(text))
    }
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
