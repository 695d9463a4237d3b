//! The first request of HTTP on a connection: which agent asks, and for which host. Everything after it is for others.

use super::first_head::{self, FirstHead};
use crate::name::AgentName;
use crate::proxy::accept::admit::{Credentials, admit, descendant, local_user};
use crate::proxy::accept::client::Client;
use crate::proxy::accept::connect::connected;
use crate::proxy::exchange::conn::Conn;
use crate::proxy::exchange::serve::serve;
use crate::proxy::exchange::worker::Worker;
use crate::proxy::limits::{AUTHENTICATION_TRIES, FIRST_HEAD_TIMEOUT};
use crate::proxy::refusal::RefusalKind;
use std::sync::Arc;
use tokio::sync::watch;

/// Serves one client's connection to its end.
pub(super) async fn connection(worker: Arc<Worker>, mut client: Client, stop: watch::Receiver<bool>) {
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
                let credentials = Credentials::Header(authorization.as_deref());
                match admit(&worker.shared, &client, &host, port, credentials).await {
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

/// Whether the question comes that anybody may ask.
pub(super) async fn is_health(client: &mut Client) -> bool {
    match client.read_head().await {
        Ok(Some(len)) => matches!(first_head::parse(&client.read[..len]), Ok(FirstHead::Health)),
        Ok(None) | Err(_) => false,
    }
}
