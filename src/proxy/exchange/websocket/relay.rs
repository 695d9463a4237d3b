//! A WebSocket to a host that keys are bound to: text messages get their keys, and what comes back is scrubbed of them.
//!
//! Every frame is read, and written anew. A frame up to 64 KiB stays one; of a longer one each piece goes on as a fragment
//! as it comes, so nothing waits for its end. Once a rule or a key has changed the connection is closed with 1012: what
//! was decided for it holds no longer, and the client asks anew.

use super::endpoints::{FrameSink, FrameSource, RelayEnd};
use super::terms::RelayTerms;
use super::to_client::ToClient;
use super::to_upstream::ToUpstream;
use crate::proxy::exchange::outcome::ExchangeOutcome;
use crate::proxy::limits::CLOSE_TIMEOUT;
use crate::proxy::refusal::Refusal;
use crate::proxy::wire::ws_frames::FrameWriter;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

/// Passes frames on until both sides have closed, or one may not go on.
pub(super) async fn run<C, U>(
    terms: RelayTerms,
    client: C,
    early: Vec<u8>,
    upstream: U,
    mut stop: watch::Receiver<bool>,
    outcome: Arc<ExchangeOutcome>,
) where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let (from_client, to_client) = tokio::io::split(client);
    let (from_upstream, to_upstream) = tokio::io::split(upstream);
    let mut up = ToUpstream::new(
        &terms,
        FrameSource::new(FrameWriter::Client, from_client, &early),
        FrameSink::new(to_upstream),
        outcome.progress.clone(),
    );
    let mut down =
        ToClient::new(&terms, FrameSource::new(FrameWriter::Server, from_upstream, &[]), FrameSink::new(to_client));
    let (first, of_client) = both(&mut up, &mut down, &mut stop).await;
    outcome.bytes_in.store(down.bytes, Ordering::Relaxed);
    up.settle(&first);
    let (code, reason) = match &first {
        RelayEnd::Closed => {
            outcome.complete();
            (None, String::new())
        }
        // who hangs up without a word is answered so on the other side: an abrupt end is passed on as one
        RelayEnd::Gone(why) => {
            if !of_client {
                outcome.broken((*why).into());
            }
            (None, String::new())
        }
        RelayEnd::Malformed(fault) if of_client => {
            let refusal = Refusal::malformed(format!("the WebSocket is malformed: {}", fault.why));
            outcome.broken(refusal.to_string());
            terms.record(&refusal);
            (Some((fault.code, 1001)), fault.why.into())
        }
        RelayEnd::Malformed(fault) => {
            outcome.broken(format!("the upstream's WebSocket is malformed: {}", fault.why));
            (Some((1014, fault.code)), "the upstream failed".into())
        }
        RelayEnd::Refused(refusal) => {
            outcome.broken(refusal.to_string());
            terms.record(refusal);
            (Some((1008, 1001)), format!("locum: {}", refusal.word()))
        }
        RelayEnd::Changed(why) => {
            outcome.broken(why.clone());
            (Some((1012, 1001)), "locum: the rules have changed, connect again".into())
        }
        RelayEnd::Stopped => {
            outcome.broken("locum was stopped".into());
            (Some((1001, 1001)), "locum stops".into())
        }
    };
    drop(outcome);
    let ToUpstream { source: from_client, sink: to_upstream, .. } = up;
    let ToClient { sink: to_client, .. } = down;
    let (for_client, for_upstream) = code.unzip();
    let told = tokio::join!(to_client.end(for_client, &reason), to_upstream.end(for_upstream, ""));
    if told.0 {
        from_client.drain().await;
    }
}

/// Runs both directions: how it ended, and whether the client ended it.
async fn both<C, U>(
    up: &mut ToUpstream<'_, C, U>,
    down: &mut ToClient<'_, U, C>,
    stop: &mut watch::Receiver<bool>,
) -> (RelayEnd, bool)
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let terms = up.terms;
    let (mut up, mut down) = (std::pin::pin!(up.run()), std::pin::pin!(down.run()));
    let (first, of_client) = tokio::select! {
        end = &mut up => (end, true),
        end = &mut down => (end, false),
        end = terms.changed() => return (end, false),
        _ = stop.wait_for(|stopped| *stopped) => return (RelayEnd::Stopped, false),
    };
    if !matches!(first, RelayEnd::Closed) {
        return (first, of_client);
    }
    let other = async { if of_client { down.await } else { up.await } };
    // whoever has said goodbye doesn't have to be answered: the close frame was the end
    match tokio::time::timeout(CLOSE_TIMEOUT, other).await {
        Ok(end @ (RelayEnd::Malformed(_) | RelayEnd::Refused(_))) => (end, !of_client),
        _ => (RelayEnd::Closed, of_client),
    }
}
