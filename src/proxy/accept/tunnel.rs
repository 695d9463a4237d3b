//! A blind copy for hosts that are not to be read: no key can go there. It ends once its agent may go on no longer, or its
//! host is to be read.

use super::admitted::Admitted;
use super::client::Client;
use crate::name::Origin;
use crate::proxy::exchange::authorization::Caller;
use crate::proxy::exchange::worker::Worker;
use crate::proxy::limits::TUNNEL_BUFFER;
use crate::proxy::refusal::Refusal;
use crate::proxy::wire::hang_up::idle_at_stop;
use crate::proxy::{Recorder, Ruleset};
use crate::record::{Event, Record};
use crate::upstream::UpstreamError;
use crate::upstream::dial::AllowedPeer;
use crate::upstream::link::peer_addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio_util::io::InspectReader;

/// Connects, says so, and copies until both sides have ended. Recorded when it ends.
pub(crate) async fn run(
    worker: Arc<Worker>,
    mut client: Client,
    by: Admitted,
    origin: Origin,
    mut stop: watch::Receiver<bool>,
) {
    let dialling = async {
        let place = worker.shared.ceilings.path(&by.agent.name, &origin).place().await?;
        let dialed_by = worker.pool.outbound();
        let upstream = dialed_by.dialer.dial(&origin, AllowedPeer::Any, Some(&by.agent.name)).await;
        Ok::<_, Refusal>((upstream.map_err(UpstreamError::from)?, dialed_by, place))
    };
    let dialled = tokio::select! {
        dialled = dialling => dialled,
        () = idle_at_stop(&mut stop, || 0) => return,
    };
    let (upstream, dialed_by, _place) = match dialled {
        Ok(dialled) => dialled,
        Err(refusal) => {
            let target = Some((&origin.host, origin.port));
            return client.refuse(&worker.shared.recorder, &refusal, by.agent.name.clone(), target, true).await;
        }
    };
    let mut record = Record::new(SystemTime::now(), Event::Tunnel, origin.host.to_string());
    let recorder = worker.shared.recorder.clone();
    record.info = Some(Arc::new(recorder.exchange(by.agent.name.clone(), "CONNECT", Some(&origin))));
    let address = peer_addr(&upstream).ok();
    record.upstream_ip = address.map(|a| a.ip());
    (record.error, record.success) = (Some("locum was stopped".into()), Some(false));
    let mut closing = Closing { recorder, record, start: Instant::now() };
    let (up, down) = (AtomicU64::new(client.read.len() as u64), AtomicU64::new(0));
    let count = |passed: &AtomicU64, read: &[u8]| {
        passed.fetch_add(read.len() as u64, Ordering::Relaxed);
    };
    let mut from_client = InspectReader::new(&mut client.stream, |read| count(&up, read));
    let mut from_upstream = InspectReader::new(upstream, |read| count(&down, read));
    let copied = async {
        write_out(&mut from_client, client.door.established()).await?;
        write_out(&mut from_upstream, &client.read).await?;
        tokio::io::copy_bidirectional_with_sizes(&mut from_client, &mut from_upstream, TUNNEL_BUFFER, TUNNEL_BUFFER)
            .await
    };
    let passed = || up.load(Ordering::Relaxed).wrapping_add(down.load(Ordering::Relaxed));
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
        () = idle_at_stop(&mut stop, passed) => Err(std::io::Error::other("locum was stopped")),
    };
    let record = &mut closing.record;
    (record.bytes_out, record.bytes_in) = (Some(up.load(Ordering::Relaxed)), Some(down.load(Ordering::Relaxed)));
    match copied {
        Ok(_) => (record.error, record.success) = (None, Some(true)),
        Err(e) => record.error = Some(e.to_string()),
    }
}

/// Writes all of it, also through the TLS of a proxy on the way, which may hold it back.
async fn write_out(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
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
