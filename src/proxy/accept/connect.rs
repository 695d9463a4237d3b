//! The first request on a connection: which agent asks, and for which host. Everything after it is for others.

use super::admit::{Admitted, admit, descendant, local_user};
use super::client::Client;
use super::first_head::{self, FirstHead};
use super::{intercept, tunnel};
use crate::name::{AgentName, Host, Origin, Scheme};
use crate::proxy::exchange::conn::Conn;
use crate::proxy::exchange::serve::serve;
use crate::proxy::exchange::worker::Worker;
use crate::proxy::limits::{AUTHENTICATION_TRIES, FIRST_HEAD_TIMEOUT};
use crate::proxy::refusal::{Refusal, RefusalKind};
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;

const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection Established\r\n\r\n";

/// Serves one client's connection to its end.
pub(crate) async fn connection(worker: Arc<Worker>, mut client: Client, stop: watch::Receiver<bool>) {
    let mut stopping = stop.clone();
    for _ in 0..AUTHENTICATION_TRIES {
        let read = tokio::select! {
            read = tokio::time::timeout(FIRST_HEAD_TIMEOUT, client.read_head()) => read,
            _ = stopping.wait_for(|stopped| *stopped) => return,
        };
        let head = match read {
            Ok(Ok(Some(len))) => first_head::parse(&client.read[..len]).map(|first| (first, len)),
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(refusal)) => Err(refusal),
        };
        match head {
            Ok((FirstHead::Absolute { authorized }, _)) => {
                let user = local_user(&worker.shared.ruleset.load(), client.user);
                let descendant = if authorized { None } else { descendant(&worker.shared, &client).await };
                return match user {
                    Ok(()) => {
                        serve(
                            Conn::absolute(worker, descendant, client.slot.clone()),
                            client.into_stream(),
                            false,
                            stop,
                        )
                        .await
                    }
                    Err(refusal) => {
                        client.refuse(&worker.shared.recorder, &refusal, AgentName::nobody(), None, true).await
                    }
                };
            }
            Ok((FirstHead::Health, _)) => return client.tell_health().await,
            Ok((FirstHead::Connect { host, port, authorization }, len)) => {
                let _ = client.read.split_to(len);
                match admit(&worker.shared, &client, &host, port, authorization.as_deref()).await {
                    Ok(asked) => {
                        client.slot.prove();
                        return connected(worker, client, asked, host, port, stop).await;
                    }
                    Err((agent, refusal)) => {
                        let again = refusal.kind() == RefusalKind::Unauthenticated;
                        client.refuse(&worker.shared.recorder, &refusal, agent, Some((&host, port)), !again).await;
                        if !again {
                            return;
                        }
                    }
                }
            }
            Err(refusal) => {
                return client.refuse(&worker.shared.recorder, &refusal, AgentName::nobody(), None, true).await;
            }
        }
    }
}

async fn connected(
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
    if client.stream.write_all(ESTABLISHED).await.is_ok() {
        intercept::run(client, Conn::tunnel(worker, admitted, origin), stop).await;
    }
}
