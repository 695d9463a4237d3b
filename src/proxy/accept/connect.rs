//! What a connection comes to once it is known who asks for which host: a tunnel that is read, or one that is not.

use super::admitted::Admitted;
use super::client::Client;
use super::{intercept, tunnel};
use crate::name::{Host, Origin, Scheme};
use crate::proxy::exchange::conn::Conn;
use crate::proxy::exchange::worker::Worker;
use crate::proxy::refusal::Refusal;
use std::sync::Arc;
use tokio::sync::watch;

/// Serves what is asked of `host`, to the connection's end.
pub(super) async fn connected(
    worker: Arc<Worker>,
    mut client: Client,
    admitted: Admitted,
    host: Host,
    port: u16,
    stop: watch::Receiver<bool>,
) {
    let is_own = host.is_own();
    let unread = !is_own && worker.shared.ruleset.load().leaves_unread(&host, port);
    let origin = Origin { scheme: Scheme::Https, host, port };
    if unread {
        return tunnel::run(worker, client, admitted, origin, stop).await;
    }
    if !is_own && !worker.shared.leaves.covers(&origin.host) {
        let Origin { host, port, .. } = origin;
        let refusal = Refusal::not_covered(&host, worker.shared.config.ca_remedy);
        let recorder = &worker.shared.recorder;
        return client.refuse(recorder, &refusal, admitted.agent.name.clone(), Some((&host, port)), true).await;
    }
    if client.say(client.door.established()).await.is_ok() {
        intercept::run(client, Conn::tunnel(worker, admitted, origin), stop).await;
    }
}
