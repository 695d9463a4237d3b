//! The connection that requests come in on: who opened it, and for which host.

use super::authorization::Caller;
use super::websocket::switch::Switch;
use super::worker::Worker;
use crate::ca::Leaves;
use crate::name::{AgentName, Host, NameError, Origin, Scheme};
use crate::policy::agent::AuthError;
use crate::proxy::accept::admitted::Admitted;
use crate::proxy::accept::slots::ConnectionSlot;
use crate::proxy::ceilings::PathToUpstream;
use crate::proxy::refusal::{Refusal, RefusalKind};
use crate::proxy::wire::early_hints::EarlyHints;
use crate::proxy::{Ruleset, Shared};
use crate::record::ExchangeInfo;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{HeaderValue, Method, Request, Uri, Version};
use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

/// The connection that requests come in on.
pub(crate) struct Conn {
    pub worker: Arc<Worker>,
    /// Who opened the tunnel; without one each request says for itself.
    opener: Option<Arc<Caller>>,
    /// The tunnel's host; without one each request names its own.
    pub origin: Option<Origin>,
    /// The host that the TLS handshake named, where it was not the tunnel's.
    misdirected: Option<Host>,
    /// Who asks where a request without a tunnel brings no token.
    descendant: Option<Admitted>,
    /// Who asks, and what was dialled, where the connection was led here on its way there: each request names its host itself.
    redirected: Option<(Admitted, SocketAddr)>,
    /// Its place among all connections, which it keeps once a request of it has proved who asks; a tunnel's opener has.
    slot: Option<Arc<ConnectionSlot>>,
    /// The client's process, where it was asked for.
    pub pid: Option<u32>,
    /// Exchanges that are not through.
    pub under_way: Arc<AtomicUsize>,
    /// The ceilings that the requests of a tunnel are under.
    ceilings: OnceLock<PathToUpstream>,
    /// What comes after HTTP, once a request has asked for it.
    pub switch: Switch,
    /// What an upstream says before its answer, on its way to a client of HTTP/1.1.
    pub hints: Arc<EarlyHints>,
}

impl Conn {
    /// The requests of a tunnel to `origin`.
    pub fn tunnel(worker: Arc<Worker>, Admitted { agent, proof, pid }: Admitted, origin: Origin) -> Self {
        let opener = Caller::new(agent, proof, &origin);
        Self { opener: Some(Arc::new(opener)), origin: Some(origin), pid, ..Self::new(worker) }
    }

    /// Requests by their whole URL, each with its own host and its own credentials.
    pub fn absolute(worker: Arc<Worker>, descendant: Option<Admitted>, slot: Arc<ConnectionSlot>) -> Self {
        let pid = descendant.as_ref().and_then(|by| by.pid);
        Self { descendant, pid, slot: Some(slot), ..Self::new(worker) }
    }

    /// Requests over `http://` on a connection to an address that nobody knows the name of.
    pub fn redirected(worker: Arc<Worker>, by: Admitted, destination: SocketAddr) -> Self {
        Self { pid: by.pid, redirected: Some((by, destination)), ..Self::new(worker) }
    }

    fn new(worker: Arc<Worker>) -> Self {
        let (under_way, switch, ceilings, hints) = Default::default();
        let (opener, origin, misdirected, descendant, redirected, slot, pid) = Default::default();
        Self {
            worker,
            opener,
            origin,
            misdirected,
            descendant,
            redirected,
            slot,
            pid,
            under_way,
            ceilings,
            switch,
            hints,
        }
    }

    pub fn set_scheme(&mut self, scheme: Scheme) {
        if let Some(origin) = &mut self.origin {
            origin.scheme = scheme;
        }
    }

    pub fn leaves(&self) -> &Leaves {
        &self.shared().leaves
    }

    /// The host to answer a handshake as, which named `named`: another than the tunnel's is noted.
    pub fn answer_as(&mut self, named: Option<Host>) -> Host {
        let own = self.origin.as_ref().map(|o| o.host.clone());
        match (named, own) {
            (Some(named), Some(own)) if named != own => {
                self.misdirected = Some(named.clone());
                named
            }
            (Some(named), None) => named,
            (_, Some(own)) => own,
            (None, None) => Host::Ip(std::net::Ipv4Addr::UNSPECIFIED.into()),
        }
    }

    /// Says once what to do about a client that has roots of its own.
    pub fn advise_of_distrust(&self) {
        let host = self.origin.as_ref().map_or_else(String::new, |origin| format!(" for {}", origin.host));
        self.shared().recorder.advise(format!(
            "a client refused locum's certificate{host}, since it has roots of its own: give it locum's CA by its own setting, \
             or list the host in [proxy] passthrough, where no key is put in"
        ));
    }

    /// Why a handshake that named `host` gets no certificate, where the CA doesn't cover that.
    pub fn uncovered(&self, host: Host) -> Refusal {
        match (&self.misdirected, &self.origin) {
            (Some(inside), Some(tunnel)) => Refusal::misdirected(inside, tunnel),
            _ => Refusal::not_covered(&host, self.shared().config.ca_remedy),
        }
    }

    /// Who asks, the opener of the tunnel or what the request itself says of its agent, and for which host.
    pub fn caller<B>(
        &self,
        ruleset: &Arc<Ruleset>,
        request: &Request<B>,
        now: SystemTime,
    ) -> Result<(Arc<Caller>, Origin), (AgentName, Refusal)> {
        if let Some(opener) = &self.opener {
            let asked = opener.agent(ruleset, now).and_then(|_| self.origin_of(request));
            return asked.map(|origin| (opener.clone(), origin)).map_err(|refusal| (opener.name(), refusal));
        }
        if let Some((by, _)) = &self.redirected {
            let origin = self.origin_of(request).map_err(|refusal| (by.agent.name.clone(), refusal))?;
            return Ok((Arc::new(Caller::new(by.agent.clone(), by.proof.clone(), &origin)), origin));
        }
        let credentials = request.headers().get(PROXY_AUTHORIZATION).map(HeaderValue::as_bytes);
        let (agent, proof) = match (ruleset.agents.authenticate(credentials, now), &self.descendant) {
            (Ok(known), _) => known,
            (Err(AuthError::Missing), Some(descendant)) => (descendant.agent.clone(), descendant.proof.clone()),
            (Err(e), _) => return Err((AgentName::nobody(), e.into())),
        };
        self.slot.iter().for_each(|slot| slot.prove());
        let origin = self.origin_of(request).map_err(|refusal| (agent.name.clone(), refusal))?;
        Ok((Arc::new(Caller::new(agent, proof, &origin)), origin))
    }

    /// The host that a request is for, in which tunnel, `Host`, `:authority` and target agree.
    pub fn origin_of<B>(&self, request: &Request<B>) -> Result<Origin, Refusal> {
        let malformed = |why: &'static str| Refusal::malformed(why);
        if *request.method() == Method::CONNECT {
            return Err(Refusal::new(
                RefusalKind::NotForwarded,
                "CONNECT comes first on a connection, and not inside a tunnel",
            ));
        }
        let uri = request.uri();
        let scheme = written_scheme(uri).map_err(malformed)?;
        let origin = match (&self.origin, &self.redirected) {
            (Some(origin), _) => origin.clone(),
            (None, Some((_, destination))) => named_origin(request, *destination)?,
            (None, None) => {
                let authority = uri.authority().ok_or_else(|| malformed("the target names no host"))?;
                let scheme = scheme.ok_or_else(|| malformed("the target names no scheme"))?;
                Origin::parse(scheme, authority.as_str()).map_err(|e| Refusal::malformed(e.to_string()))?
            }
        };
        if let Some(inside) = &self.misdirected {
            return Err(Refusal::misdirected(inside, &origin));
        }
        if scheme.is_some_and(|s| s != origin.scheme) {
            return Err(malformed("the target's scheme is not the connection's"));
        }
        let mut hosts = request.headers().get_all(HOST).iter();
        let host = hosts.next();
        if hosts.next().is_some() {
            return Err(malformed("two Host headers"));
        }
        if host.is_none() && uri.authority().is_none() && request.version() != Version::HTTP_10 {
            return Err(malformed("no Host header"));
        }
        let named = host.map(HeaderValue::as_bytes).into_iter().chain(uri.authority().map(|a| a.as_str().as_bytes()));
        for name in named {
            if !names(name, &origin) {
                return Err(Refusal::misdirected(String::from_utf8_lossy(name), &origin));
            }
        }
        Ok(origin)
    }

    /// Records what could not be read as HTTP.
    pub fn record_malformed(&self, why: String) {
        self.record(&Refusal::malformed(why));
    }

    pub fn record(&self, refusal: &Refusal) -> Arc<ExchangeInfo> {
        let recorder = &self.shared().recorder;
        let info = Arc::new(recorder.exchange(self.known_agent(), "", self.origin.as_ref()));
        recorder.refusal(info.clone(), refusal);
        info
    }

    /// The ceilings that a request of `agent` to `origin` is under.
    pub fn path_to(&self, agent: &AgentName, origin: &Origin) -> PathToUpstream {
        let look_up = || self.shared().ceilings.path(agent, origin);
        match &self.opener {
            // of one agent, to one host
            Some(_) => self.ceilings.get_or_init(look_up).clone(),
            None => look_up(),
        }
    }

    /// Who asks, as far as the connection itself proves it.
    fn known_agent(&self) -> AgentName {
        let ruleset = self.shared().ruleset.load();
        let redirected = self.redirected.as_ref().map(|(by, _)| &by.agent);
        let known = redirected.or(self.descendant.as_ref().map(|descendant| &descendant.agent));
        match (&self.opener, known) {
            (Some(opener), _) => opener.name(),
            (None, Some(agent)) => agent.name.clone(),
            (None, None) if ruleset.agents.need_token() => AgentName::nobody(),
            (None, None) => AgentName::local(),
        }
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.worker.shared
    }
}

/// The scheme of a target, where it names one.
///
/// # Errors
/// Why nothing is asked for over that scheme.
fn written_scheme(uri: &Uri) -> Result<Option<Scheme>, &'static str> {
    match uri.scheme_str() {
        Some("http") => Ok(Some(Scheme::Http)),
        Some("https") => Ok(Some(Scheme::Https)),
        Some(_) => Err("the target's scheme is neither http nor https"),
        None => Ok(None),
    }
}

/// The host that a request on a connection to `destination` names, on the port that was dialled; the address where it names
/// none (HTTP/1.0).
fn named_origin<B>(request: &Request<B>, destination: SocketAddr) -> Result<Origin, Refusal> {
    let malformed = |e: NameError| Refusal::malformed(e.to_string());
    let (scheme, port) = (Scheme::Http, destination.port());
    let host = request.headers().get(HOST).map(HeaderValue::as_bytes);
    let named = request.uri().authority().map(|authority| authority.as_str().as_bytes()).or(host);
    let Some(named) = named else {
        return Ok(Origin { scheme, host: Host::Ip(destination.ip().to_canonical()), port });
    };
    let Origin { host, .. } = Origin::parse(scheme, &String::from_utf8_lossy(named)).map_err(malformed)?;
    Ok(Origin { scheme, host, port })
}

/// The host that the agent wrote into the target, so that a refusal tells what was asked for.
pub(crate) fn written_origin(uri: &Uri) -> Option<Origin> {
    Origin::parse(written_scheme(uri).ok()??, uri.authority()?.as_str()).ok()
}

/// Whether an authority as written is `origin`'s.
fn names(written: &[u8], origin: &Origin) -> bool {
    if let Host::Dns(name) = &origin.host
        && origin.port == origin.scheme.default_port()
        && written.eq_ignore_ascii_case(name.as_bytes())
    {
        return true;
    }
    std::str::from_utf8(written).is_ok_and(|w| Origin::parse(origin.scheme, w).is_ok_and(|o| o == *origin))
}
