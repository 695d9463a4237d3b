//! A proxy that is set up from settings: its rooms are built and joined, and it listens. It serves once it has workers.

use super::agents::StartupTokens;
use super::key_ages;
use super::key_values::{self, ValueComplaint};
use super::keys::{active, backends, sources};
use super::listener_tls::ListenerTls;
use super::machine::{self, DescriptorRoom, make_state_dir};
use super::{AppError, audit, authority, rules};
use crate::ca::{Authorities, Authority, Leaves};
use crate::config::keys::KeySetting;
use crate::config::settings::{CaSource, Settings};
use crate::config::tokens;
use crate::memory::SealedEnvironment;
use crate::metrics::Counts;
use crate::policy::Agent;
use crate::policy::agent::{TokenHash, TokenProof};
use crate::proxy::accept::descendants::Descendants;
use crate::proxy::accept::doors::enclosed::{Enclosure, NameOf};
use crate::proxy::accept::slots::ConnectionSlots;
use crate::proxy::{self, LastRefusal, Recorder, Ruleset, Shared};
use crate::secrets::{SecretBackends, Secrets};
use crate::upstream::dial::Dialer;
use crate::upstream::outbound::Outbound;
use crate::upstream::proxy::ProxyProtocol;
use crate::upstream::resolver::Resolver;
use crate::upstream::tls::{self, Tls};
use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::crypto::CryptoProvider;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::watch;

/// The settings of a proxy, and what differs between the ways to run one.
pub struct LaunchOptions {
    /// The config, as read.
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
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Settings,
    pub(super) active_keys: Vec<KeySetting>,
    pub(super) backends: SecretBackends,
    /// What this machine has room for.
    pub(super) room: DescriptorRoom,
    pub(super) outbound: Outbound,
    /// Until workers have it: then it is closed when they accept no more.
    pub(super) listener: Option<TcpListener>,
    /// The network of the command that it is for, until workers serve it.
    pub(super) enclosure: Option<Enclosure>,
    /// The same, for connections that are redirected.
    pub(super) transparent: Option<TcpListener>,
    address: SocketAddr,
    transparent_address: Option<SocketAddr>,
    pub(super) startup_tokens: StartupTokens,
    /// When the file of tokens was last changed, as it was last read.
    pub(super) tokens_read: Option<SystemTime>,
    pub(super) webhook: Option<audit::PendingWebhook>,
    pub(super) ca: Authorities,
    pub(super) ca_kept_in: Option<String>,
    /// When the CA was last rotated, as it was last read.
    pub(super) ca_read: Option<SystemTime>,
}

impl App {
    /// Sets everything up in the order in which a mistake is cheapest to mend.
    ///
    /// # Errors
    /// The first thing that can't be had: the state folder, the CA, the port, the audit and the like.
    pub fn build(options: LaunchOptions) -> Result<Self, AppError> {
        let LaunchOptions { settings, environment, listen, tokens, descendants } = options;
        let descendants = tokens.first().filter(|_| descendants).cloned();
        let now = SystemTime::now();
        let room = DescriptorRoom::of(machine::raise_descriptor_limit());
        let limits = room.fitting(settings.limits);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let (tls, proxy_tls) = (trusting(&settings.proxy.upstream_ca, &settings.state)?, proxy_tls(&settings)?);
        // one for a single command is on loopback, and reached by that alone
        let listener_tls = if listen.is_none() { ListenerTls::of(&settings)? } else { None };
        make_state_dir(&settings.state)?;
        let backends = backends(&settings, environment);
        let active_keys = active(&settings, &backends);
        let ca_read = authority::ca_stamp(&settings);
        let (ca, ca_kept_in) = signing_ca(&settings, &backends, &active_keys, now)?;
        let leaves = leaves(&ca, provider)?;
        let secrets = Secrets::new(sources(&active_keys, &backends));
        let startup_tokens = StartupTokens::at_start(tokens, &backends.environment)?;
        let tokens_read = token_stamp(&settings);
        let ruleset = Ruleset { keys: secrets.table(), ..rules::ruleset(&settings, &active_keys, &startup_tokens)? };
        let active_keys = active_keys.into_iter().cloned().collect();
        let (listener, own) = listen_on(listen.unwrap_or(settings.proxy.listen), &ruleset)?;
        // one for a single command is led to by its environment, and leaves that port to the service
        let transparent = settings.proxy.transparent.filter(|_| listen.is_none());
        let (transparent, transparent_address) = transparent.map(bound).transpose()?.unzip();
        let all_own = Vec::from_iter([own].into_iter().chain(transparent_address));
        let log = audit::open(&settings, &backends, now, "start")?;
        let dialer = Dialer { proxy_tls, ..rules::dialer(&settings, &all_own, Resolver::new(room.lookups)) };
        let outbound = Outbound { dialer, tls };
        let (alerts, webhook) = audit::alerts(&settings, &backends, &log, &outbound)?;
        let shared = Shared {
            config: proxy::Config { limits, ca_remedy: remedy(&settings, ca_kept_in.as_deref()) },
            ruleset: ArcSwap::from_pointee(ruleset),
            changes: watch::Sender::new(()),
            secrets,
            recorder: Arc::new(Recorder::new(log, alerts, machine::random()?)),
            leaves,
            listener_tls: ArcSwapOption::new(listener_tls.map(|tls| tls.config)),
            slots: Arc::new(ConnectionSlots::new(limits.connections)),
            ceilings: proxy::Ceilings::new(limits.under_way),
            meters: proxy::Meters::default(),
            decode_budget: Arc::default(),
            descendants: descendants.map(|(hash, agent)| Arc::new(Descendants::new(agent, TokenProof::of(hash)))),
        };
        Ok(Self {
            shared: Arc::new(shared),
            room,
            outbound,
            settings,
            active_keys,
            backends,
            listener: Some(listener),
            enclosure: None,
            transparent,
            address: own,
            transparent_address,
            startup_tokens,
            tokens_read,
            webhook,
            ca,
            ca_kept_in,
            ca_read,
        })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves the network of a command that this process starts: `proxy` is where that is told that the proxy is, and what it
    /// means for others comes to `intake`.
    ///
    /// # Errors
    /// The system's, of a listener.
    pub fn enclose(&mut self, proxy: TcpListener, intake: Vec<TcpListener>, name_of: NameOf) -> Result<(), AppError> {
        for listener in intake.iter().chain([&proxy]) {
            listener.set_nonblocking(true).map_err(AppError::Thread)?;
        }
        let by = self.shared.descendants.as_ref().map(|descendants| descendants.as_one());
        self.enclosure = by.map(|by| Enclosure { proxy, intake, name_of, by });
        Ok(())
    }

    /// Whether it speaks TLS there.
    pub fn speaks_tls(&self) -> bool {
        self.shared.listener_tls.load().is_some()
    }

    /// The address of the transparent listener, where there is one.
    pub fn transparent_address(&self) -> Option<SocketAddr> {
        self.transparent_address
    }

    /// All addresses that it listens on.
    pub(super) fn own_addresses(&self) -> Vec<SocketAddr> {
        [self.address].into_iter().chain(self.transparent_address).collect()
    }

    /// The settings that it follows.
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
        authority::ca_misfit(&settings, &self.active_keys.iter().collect::<Vec<_>>(), &self.ca)
    }

    /// The keys that a request could use now.
    pub fn active_keys(&self) -> &[KeySetting] {
        &self.active_keys
    }

    /// What is the matter with the values of these keys, found by whoever calls it, who may have to wait for a store; no
    /// program is run.
    pub fn value_complaints(&self) -> impl FnOnce() -> Vec<ValueComplaint> + Send + 'static {
        let (keys, backends) = (self.active_keys.clone(), self.backends.clone());
        move || key_values::value_complaints(&keys, &backends)
    }

    /// The same of those keys alone whose value is in a variable or a file. Waits for nobody.
    pub fn value_complaints_at_hand(&self) -> Vec<ValueComplaint> {
        key_values::value_complaints_at_hand(&self.active_keys, &self.backends)
    }

    /// What is to be reminded of: keys of which a new value is due.
    pub fn reminders(&self) -> Vec<ValueComplaint> {
        let due = key_ages::overdue(&self.active_keys, &self.settings.state, SystemTime::now());
        due.into_iter().map(|(_, complaint)| complaint).collect()
    }

    /// Whether any client ever connected.
    pub fn was_connected_to(&self) -> bool {
        self.shared.slots.were_taken()
    }

    /// The counts since the start.
    pub fn counts(&self) -> Counts {
        self.shared.recorder.counts()
    }

    /// What was last said of requests that can't succeed as they are.
    pub fn last_advice(&self) -> Option<Arc<String>> {
        self.shared.recorder.last_advice()
    }

    /// The last request that was refused.
    pub fn last_refusal(&self) -> Option<Arc<LastRefusal>> {
        self.shared.recorder.last_refusal()
    }

    /// The file of the audit that is written to.
    pub fn audit_path(&self) -> Option<PathBuf> {
        self.shared.recorder.path()
    }
}

/// The CA that is kept and where that is, else one that is made for this process alone.
fn signing_ca(
    settings: &Settings,
    backends: &SecretBackends,
    active_keys: &[&KeySetting],
    now: SystemTime,
) -> Result<(Authorities, Option<String>), AppError> {
    if let Some((ca, place)) = authority::kept_ca(settings, backends)? {
        return Ok((ca, Some(place)));
    }
    let scope = authority::scope(settings, active_keys);
    Ok((Authority::generate(now, &authority::host_name(), &scope)?.into(), None))
}

fn leaves(ca: &Authorities, provider: Arc<CryptoProvider>) -> Result<Leaves, AppError> {
    let leaves = Leaves::new(ca.current.clone(), provider)?;
    leaves.sign_by(ca.current.clone(), ca.next.as_ref().map(|next| next.authority.clone()));
    Ok(leaves)
}

/// The listener and the address that it came to have.
fn listen_on(address: SocketAddr, ruleset: &Ruleset) -> Result<(TcpListener, SocketAddr), AppError> {
    machine::permit_listening(address, &ruleset.agents)?;
    bound(address)
}

fn bound(address: SocketAddr) -> Result<(TcpListener, SocketAddr), AppError> {
    let listener = machine::bind(address).map_err(|source| AppError::Listen { address, source })?;
    let own = listener.local_addr().map_err(|source| AppError::Listen { address, source })?;
    Ok((listener, own))
}

/// How these settings would have upstreams reached by a proxy that listens on these addresses. Reads the files of roots.
pub(super) fn outbound(settings: &Settings, own: &[SocketAddr], resolver: Resolver) -> Result<Outbound, AppError> {
    let dialer = Dialer { proxy_tls: proxy_tls(settings)?, ..rules::dialer(settings, own, resolver) };
    Ok(Outbound { dialer, tls: trusting(&settings.proxy.upstream_ca, &settings.state)? })
}

/// What a proxy on the way out is verified by, where it speaks TLS.
fn proxy_tls(settings: &Settings) -> Result<Option<Tls>, AppError> {
    let proxy = &settings.proxy;
    if proxy.upstream_proxy.as_ref().is_none_or(|known| known.protocol != ProxyProtocol::Https) {
        return Ok(None);
    }
    trusting(&[&proxy.upstream_ca[..], &proxy.upstream_proxy_ca].concat(), &settings.state).map(Some)
}

fn trusting(roots: &[PathBuf], state: &Path) -> Result<Tls, AppError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(Tls::new(tls::roots(roots, Some(state))?, provider)?)
}

/// The time at which the file of tokens was last changed, where there is one.
pub(super) fn token_stamp(settings: &Settings) -> Option<SystemTime> {
    std::fs::metadata(tokens::path(&settings.state)).and_then(|m| m.modified()).ok()
}

/// What an operator does about a host that the CA doesn't cover.
fn remedy(settings: &Settings, ca_kept_in: Option<&str>) -> &'static str {
    match (&settings.ca.source, ca_kept_in) {
        (CaSource::File(_), _) => "the file that [ca] source names has to hold one that covers it",
        (_, Some(_)) => "'locum ca rotate' makes one that covers what the config lists",
        (_, None) => "it is in memory, and made anew when locum starts again",
    }
}
