//! Who may open a tunnel or ask in plain: agents by their token, descendants of `run`, local users where nobody needs a token.

use super::admitted::Admitted;
use super::client::Client;
use crate::name::{AgentName, Host, Scheme};
use crate::policy::Agent;
use crate::policy::agent::AuthError;
use crate::proxy::refusal::{Refusal, RefusalKind};
use crate::proxy::{Ruleset, Shared};
use crate::system::socket_owner;
use std::net::SocketAddr;
use std::time::SystemTime;

/// The local user at the other end of a connection. Of one from another machine the system knows none.
pub(super) fn user(peer: SocketAddr, own: SocketAddr) -> Option<u32> {
    let is_local = peer.ip().to_canonical().is_loopback() || peer.ip() == own.ip();
    is_local.then(|| socket_owner::of(peer, own))?.map(|owner| owner.uid)
}

/// Whether this is a user who may ask where nobody needs a token. Where no system tells, everybody could be.
pub(super) fn may_be_local(ruleset: &Ruleset, user: Option<u32>) -> bool {
    !cfg!(any(target_os = "linux", target_os = "android")) || user.is_some_and(|user| ruleset.uids.contains(&user))
}

/// Who asks without a token has to be a local user who may (the kernel tells which it is).
pub(crate) fn local_user(ruleset: &Ruleset, user: Option<u32>) -> Result<(), Refusal> {
    if ruleset.agents.need_token() || may_be_local(ruleset, user) {
        return Ok(());
    }
    Err(stranger(match user {
        Some(user) => format!("user {user} is not among [proxy] uids, and there are no agents"),
        None => "the system does not tell which user connects; make a token with 'locum agent add'".into(),
    }))
}

fn stranger(why: String) -> Refusal {
    Refusal::new(RefusalKind::Stranger, why)
}

/// What a client says of who asks.
#[derive(Clone, Copy)]
pub(super) enum Credentials<'c> {
    /// A `Proxy-Authorization`, or nothing.
    Header(Option<&'c [u8]>),
    Login {
        user: &'c [u8],
        password: &'c [u8],
    },
}

pub(super) async fn admit(
    shared: &Shared,
    client: &Client,
    host: &Host,
    port: u16,
    credentials: Credentials<'_>,
) -> Result<Admitted, (AgentName, Refusal)> {
    let (ruleset, now) = (shared.ruleset.load_full(), SystemTime::now());
    let known = match credentials {
        Credentials::Header(authorization) => ruleset.agents.authenticate(authorization, now),
        Credentials::Login { user, password } => ruleset.agents.authenticate_login(user, password, now),
    };
    let admitted = match known {
        Ok((agent, proof)) => Admitted { agent, proof, pid: None },
        Err(e) => {
            let descendant = if e == AuthError::Missing { descendant(shared, client).await } else { None };
            let unauthenticated = (AgentName::nobody(), Refusal::from(e));
            descendant.ok_or(unauthenticated)?
        }
    };
    let ruleset = shared.ruleset.load();
    let agent = &admitted.agent;
    local_user(&ruleset, client.user).map_err(|r| (AgentName::nobody(), r))?;
    may_reach(&ruleset, agent, host, port).map_err(|refusal| (agent.name.clone(), refusal))?;
    Ok(admitted)
}

/// Whether this agent may open a tunnel to `host`.
pub(super) fn may_reach(ruleset: &Ruleset, agent: &Agent, host: &Host, port: u16) -> Result<(), Refusal> {
    if host.is_own() && port != Scheme::Http.default_port() {
        return Err(Refusal::own_host());
    }
    Ok(ruleset.rules.admit(agent, host, port)?)
}

/// Whom a connection without a token is from, where such are let in: it is known, or a descendant.
pub(crate) async fn descendant(shared: &Shared, client: &Client) -> Option<Admitted> {
    if client.known.is_some() {
        return client.known.clone();
    }
    let descendants = shared.descendants.as_ref()?;
    descendants.knows(client.peer, client.own).await
}
