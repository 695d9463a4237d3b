//! The transparent listener: connections that the firewall of this machine redirects to it, each of them by a user who is known.
//!
//! There is no token, so only local users get in, whom the kernel names and `[proxy] uids` lists: from another machine nobody
//! can. Where agents have tokens, all that comes counts as the agent that `[proxy] transparent_agent` names. Locum's own user is
//! never let in, so that what locum itself dials and a rule leads back here ends here, and goes round no second time.

use super::redirected::{self, Redirected};
use crate::name::{AgentName, Host};
use crate::proxy::Shared;
use crate::proxy::accept::admitted::Admitted;
use crate::proxy::accept::client::record;
use crate::proxy::exchange::worker::Worker;
use crate::proxy::refusal::{Refusal, RefusalKind};
use crate::system::{original_destination, socket_owner};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Serves one connection to the transparent listener to its end.
pub(in crate::proxy::accept) async fn serve(
    worker: Arc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    stop: watch::Receiver<bool>,
) {
    let destination = original_destination::of(&stream).ok().filter(|to| Some(*to) != stream.local_addr().ok());
    let recorder = &worker.shared.recorder;
    let refuse = |refusal: &Refusal, target| drop(record(recorder, refusal, AgentName::nobody(), target));
    let Some(destination) = destination else {
        return refuse(&Refusal::new(RefusalKind::NotForwarded, DIRECT), None);
    };
    match caller(&worker.shared, peer, destination) {
        Ok(by) => redirected::serve(worker, Redirected { stream, peer, destination, name: None, by }, stop).await,
        Err(refusal) => {
            refuse(&refusal, Some((&Host::Ip(destination.ip().to_canonical()), destination.port())));
        }
    }
}

const DIRECT: &str = "it came straight to the transparent listener, which takes in what is redirected to it; `locum env --nft` prints the rules, \
                      and [proxy] listen is the address of the proxy";
const OWN: &str = "it is of locum's own user, whose connections must not be redirected: they would go round for ever";
const NAMELESS: &str =
    "agents have tokens, and what is redirected has none; [proxy] transparent_agent names the agent that it is of";

/// Who is at the other end: the kernel knows the client's socket by the address that it has dialled.
fn caller(shared: &Shared, peer: SocketAddr, destination: SocketAddr) -> Result<Admitted, Refusal> {
    let ruleset = shared.ruleset.load();
    let stranger = |why: String| Err(Refusal::new(RefusalKind::Stranger, why));
    match socket_owner::of(peer, destination).map(|owner| owner.uid) {
        None => return stranger("the system does not tell which user connects".into()),
        Some(user) if user == rustix::process::geteuid().as_raw() => return stranger(OWN.into()),
        Some(user) if !ruleset.uids.contains(&user) => {
            return stranger(format!("user {user} is not among [proxy] uids"));
        }
        Some(_) => {}
    }
    let unauthenticated = |why: String| Refusal::new(RefusalKind::Unauthenticated, why);
    let name = match &ruleset.transparent_agent {
        None if ruleset.agents.need_token() => return Err(unauthenticated(NAMELESS.into())),
        None => AgentName::local(),
        Some(name) => name.clone(),
    };
    let (agent, proof) = ruleset.agents.named(&name, SystemTime::now()).map_err(|e| {
        unauthenticated(format!("[proxy] transparent_agent is '{name}', and no such agent may ask: {e}"))
    })?;
    Ok(Admitted { agent, proof, pid: None })
}
