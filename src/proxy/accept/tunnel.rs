//! A blind copy for hosts that are not to be read: no key can go there. It ends once its agent may go on no longer, or its
//! host is to be read.

use super::admit::Admitted;
use super::client::Client;
use crate::name::Origin;
use crate::proxy::exchange::authorization::Caller;
use crate::proxy::exchange::worker::Worker;
use crate::proxy::limits::TUNNEL_BUFFER;
use crate::proxy::refusal::Refusal;
use crate::proxy::{Recorder, Ruleset};
use crate::record::{Event, Record};
use crate::upstream::UpstreamError;
use crate::upstream::dial::AllowedPeer;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use tokio::io::AsyncWriteExt;

/// Connects, says so, and copies until both sides have ended. Recorded when it ends.
pub(crate) async fn run(worker: Arc<Worker>, mut client: Client, by: Admitted, origin: Origin) {
    let dialed_by = worker.pool.outbound();
    let mut upstream = match dialed_by.dialer.dial(&origin, AllowedPeer::Any).await {
        Ok(upstream) => upstream,
        Err(e) => {
            let refusal = Refusal::from(UpstreamError::from(e));
            let target = Some((&origin.host, origin.port));
            return client.refuse(&worker.shared.recorder, &refusal, by.agent.name.clone(), target, true).await;
        }
    };
    let mut record = Record::new(SystemTime::now(), Event::Tunnel, origin.host.to_string());
    let recorder = worker.shared.recorder.clone();
    record.info = Some(Arc::new(recorder.exchange(by.agent.name.clone(), "CONNECT", Some(&origin))));
    let address = upstream.peer_addr().ok();
    record.upstream_ip = address.map(|a| a.ip());
    (record.error, record.success) = (Some("locum was stopped".into()), Some(false));
    let mut closing = Closing { recorder, record, start: Instant::now() };
    let early = client.read.len() as u64;
    let copied = async {
        client.stream.write_all(b"HTTP/1.1 200 Connection Established\r\n\r\n").await?;
        upstream.write_all(&client.read).await?;
        tokio::io::copy_bidirectional_with_sizes(&mut client.stream, &mut upstream, TUNNEL_BUFFER, TUNNEL_BUFFER).await
    };
    let caller = Caller::new(by.agent, by.proof, &origin);
    let ended = caller.ended(&worker.shared, |ruleset: &Arc<Ruleset>| {
        if !ruleset.leaves_unread(&origin.host, origin.port) {
            return Some("it is to be read now");
        }
        let dialer = &worker.pool.outbound().dialer;
        let would_be = address.is_some_and(|address| dialer.would_dial(&dialed_by.dialer, &origin, address));
        (!would_be).then_some("its host is not reached in this way now")
    });
    let copied = tokio::select! {
        // before anything is passed on: the rules may have changed since they were asked
        biased;
        why = ended => Err(std::io::Error::other(format!("ended by a change of the rules: {why}"))),
        copied = copied => copied,
    };
    let record = &mut closing.record;
    match copied {
        Ok((up, down)) => {
            (record.bytes_out, record.bytes_in) = (Some(up.saturating_add(early)), Some(down));
            (record.error, record.success) = (None, Some(true));
        }
        Err(e) => record.error = Some(e.to_string()),
    }
}

/// Writes the record when it is dropped, be it at the tunnel's end or at ours.
struct Closing {
    recorder: Arc<Recorder>,
    record: Record,
    start: Instant,
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.record.duration_ms = Some(self.start.elapsed().as_secs_f64() * 1e3);
        self.recorder.append(&self.record);
    }
}
