//! Builds the rooms from settings and joins them: one listener, and a runtime per core that serves it.

mod agents;
mod audit;
mod authority;
mod error;
mod keys;
mod machine;
mod rotation;
mod rules;
mod running;

use crate::ca::{Authorities, Authority, Leaves};
use crate::config::keys::KeySetting;
use crate::config::settings::{CaSource, Settings};
use crate::memory::{self, SealedEnvironment};
use crate::metrics::Counts;
use crate::policy::Agent;
use crate::policy::agent::{TokenHash, TokenProof};
use crate::policy::egress::AddressPolicy;
use crate::proxy::accept::descendants::Descendants;
use crate::proxy::accept::listen;
use crate::proxy::exchange::worker::Worker;
use crate::proxy::{self, Recorder, Ruleset, Shared};
use crate::secrets::{SecretBackends, Secrets};
use crate::upstream::dial::Dialer;
use crate::upstream::pool::Pool;
use crate::upstream::tls::{self, Tls};
use arc_swap::ArcSwap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::SystemTime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

pub use agents::{MIN_TOKEN, PROXY_TOKEN, named_agents};
pub use audit::note;
pub use authority::{ca_misfit, host_name, kept_ca, look_for_ca, rotate_ca};
pub use error::AppError;
pub use keys::{Stored, active, backends, secret_variables, sources, supplies_asking};
pub use machine::{make_state_dir, random};
pub use rotation::CaNews;
pub use rules::rules;
pub use running::{Cutter, DRAIN, Running};

use agents::CliPaths;
use running::Ends;

/// What differs between the ways to run.
pub struct Plan {
    pub settings: Settings,
    /// The variables that were taken out of the environment.
    pub environment: Arc<SealedEnvironment>,
    /// An address instead of the configured one.
    pub listen: Option<SocketAddr>,
    /// Tokens made for the occasion: with any, no others count.
    pub tokens: Vec<(TokenHash, Arc<Agent>)>,
    /// What this process starts, and what that starts, needs no token: it counts as having the first.
    pub descendants: bool,
}

/// A proxy that is set up and listens, but does not serve yet.
pub struct App {
    shared: Arc<Shared>,
    settings: Settings,
    active_keys: Vec<KeySetting>,
    backends: SecretBackends,
    dialer: Dialer,
    tls: Tls,
    listener: TcpListener,
    given: CliPaths,
    /// When the file of tokens was last changed, as it was last read.
    tokens_read: Option<SystemTime>,
    webhook: Option<audit::Webhook>,
    ca: Authorities,
    ca_kept_in: Option<String>,
    /// When the CA was last rotated, as it was last read.
    ca_read: Option<SystemTime>,
}

impl App {
    /// Sets everything up in the order in which a mistake is cheapest to mend.
    pub fn build(plan: Plan) -> Result<Self, AppError> {
        let Plan { settings, environment, listen, tokens, descendants } = plan;
        let descendants = tokens.first().filter(|_| descendants).cloned();
        let now = SystemTime::now();
        machine::raise_descriptor_limit();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = Tls::new(tls::roots(&settings.proxy.upstream_ca)?, provider.clone())?;
        make_state_dir(&settings.state)?;
        let backends = backends(&settings, environment);
        let active_keys = active(&settings, &backends);
        let ca_read = authority::ca_stamp(&settings);
        let (ca, ca_kept_in) = match kept_ca(&settings, &backends)? {
            Some((ca, place)) => (ca, Some(place)),
            None => {
                let scope = authority::scope(&settings, &active_keys);
                (Authority::generate(now, &host_name(), &scope)?.into(), None)
            }
        };
        let leaves = Leaves::new(ca.current.clone(), provider)?;
        leaves.sign_by(ca.current.clone(), ca.next.as_ref().map(|next| next.authority.clone()));
        let secrets = Secrets::new(sources(&active_keys, &backends));
        let given = CliPaths::at_start(tokens, &backends.environment)?;
        let tokens_read = running::token_stamp(&settings);
        let ruleset = Ruleset { keys: secrets.table(), ..rules::ruleset(&settings, &active_keys, &given)? };
        let active_keys = active_keys.into_iter().cloned().collect();
        let address = listen.unwrap_or(settings.proxy.listen);
        if !address.ip().is_loopback() && !ruleset.agents.need_token() {
            return Err(AppError::Open { address });
        }
        let listener = machine::bind(address).map_err(|source| AppError::Listen { address, source })?;
        let own = listener.local_addr().map_err(|source| AppError::Listen { address, source })?;
        let log = audit::open(&settings, &backends, now)?;
        let (alerts, webhook) = audit::alerts(&settings, &backends, &log, &tls)?;
        let dialer = Dialer {
            addresses: AddressPolicy {
                private_addresses: settings.proxy.private_addresses.clone().into(),
                own: [own].into(),
            },
            proxy: settings.proxy.upstream_proxy.clone().map(Arc::new),
        };
        let shared = Shared {
            config: proxy::Config { limits: settings.limits, ca_remedy: remedy(&settings, ca_kept_in.as_deref()) },
            ruleset: ArcSwap::from_pointee(ruleset),
            changes: watch::Sender::new(()),
            secrets,
            recorder: Arc::new(Recorder::new(log, alerts, random()?)),
            leaves,
            open: AtomicUsize::new(0),
            meters: proxy::Meters::default(),
            decode_budget: Arc::default(),
            descendants: descendants.map(|(hash, agent)| Arc::new(Descendants::new(agent, TokenProof::of(hash)))),
        };
        let shared = Arc::new(shared);
        Ok(Self {
            ca,
            ca_kept_in,
            ca_read,
            shared,
            settings,
            active_keys,
            backends,
            dialer,
            tls,
            listener,
            given,
            tokens_read,
            webhook,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap_or(self.settings.proxy.listen)
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The CA that signs, and the one that is to follow it.
    pub fn ca(&self) -> &Authorities {
        &self.ca
    }

    /// Where the CA is kept, in words; `None` where that is in the memory of this process alone.
    pub fn ca_kept_in(&self) -> Option<&str> {
        self.ca_kept_in.as_deref()
    }

    /// What keeps the CA from fitting the settings, and what to do about it.
    pub fn ca_misfit(&self) -> Option<(String, String)> {
        let mut settings = self.settings.clone();
        if self.ca_kept_in.is_none() {
            settings.ca.source = CaSource::Memory;
        }
        ca_misfit(&settings, &self.active_keys.iter().collect::<Vec<_>>(), &self.ca)
    }

    /// The keys that a request could use now.
    pub fn active_keys(&self) -> &[KeySetting] {
        &self.active_keys
    }

    pub fn counts(&self) -> Counts {
        self.shared.recorder.counts()
    }

    pub fn audit_path(&self) -> Option<PathBuf> {
        self.shared.recorder.path()
    }

    /// Starts a runtime per core; all accept from the one listener.
    ///
    /// # Errors
    /// When the system gives no thread or no runtime.
    pub fn spawn(mut self) -> Result<Running, AppError> {
        let (stop, stopped) = watch::channel(false);
        let (cut, is_cut) = watch::channel(false);
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let mut workers = Vec::with_capacity(count);
        let mut pools = Vec::with_capacity(count);
        for number in 0..count {
            let listener = self.listener.try_clone().map_err(AppError::Thread)?;
            let worker = Worker {
                shared: self.shared.clone(),
                pool: Pool::new(self.dialer.clone(), self.tls.clone()),
                scrub_cache: Default::default(),
            };
            pools.push(worker.pool.clone());
            let (worker, stopped, mut is_cut) = (Arc::new(worker), stopped.clone(), is_cut.clone());
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AppError::Thread)?;
            let work = move || {
                runtime.block_on(async {
                    // a limit on the size of files has to fail a write, and not end the process
                    let _caught = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
                    // the descriptor is non-blocking, and a runtime is there: nothing else can fail here
                    if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                        tokio::select! {
                            () = listen::serve(worker, listener, stopped) => {}
                            _ = is_cut.wait_for(|cut| *cut) => {}
                        }
                    }
                });
                // drops what is still under way, which tells the audit so; a source that hangs is not waited for
                runtime.shutdown_timeout(running::LEFT_BEHIND);
            };
            let thread = std::thread::Builder::new().name(format!("worker-{number}"));
            workers.push(thread.spawn(work).map_err(AppError::Thread)?);
        }
        let webhook = self.webhook.take().map(audit::Webhook::serve).transpose()?;
        memory::give_back();
        Ok(Running::new(self, Ends { stop, cut }, workers, pools, webhook))
    }
}

/// What an operator does about a host that the CA doesn't cover.
fn remedy(settings: &Settings, ca_kept_in: Option<&str>) -> &'static str {
    match (&settings.ca.source, ca_kept_in) {
        (CaSource::File(_), _) => "the file that [ca] source names has to hold one that covers it",
        (_, Some(_)) => "'locum ca rotate' makes one that covers what the config lists",
        (_, None) => "it is in memory, and made anew when locum starts again",
    }
}
