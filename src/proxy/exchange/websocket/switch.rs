//! A connection that has switched protocols: a WebSocket that is read, or something that is passed on as it is.

use super::handshake::Handshake;
use super::relay;
use super::terms::RelayTerms;
use crate::proxy::Ruleset;
use crate::proxy::exchange::authorization::Authorization;
use crate::proxy::exchange::outcome::ExchangeOutcome;
use crate::proxy::exchange::response_body::{ResponseBody, head};
use crate::proxy::limits::WEBSOCKET_BUFFER;
use crate::proxy::refusal::Refusal;
use crate::proxy::wire::headers;
use crate::upstream::{UpstreamError, pool};
use bytes::Bytes;
use http::Response;
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio_util::io::InspectReader;

/// The upstream's side of a connection that has switched, and how it goes on.
pub(crate) struct Switched {
    upstream: TokioIo<Upgraded>,
    /// `None` for hosts without keys: what goes there and back is nobody's business, as long as there are none.
    terms: Option<RelayTerms>,
    authorization: Arc<Authorization>,
    outcome: Arc<ExchangeOutcome>,
}

impl Switched {
    /// Goes on until both sides have ended. `early` are the client's bytes that were read with its request.
    pub async fn run<S>(self, client: S, early: Vec<u8>, mut stop: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if let Some(terms) = self.terms {
            return relay::run(terms, client, early, self.upstream, stop, self.outcome).await;
        }
        let Authorization { shared, caller, origin, .. } = &*self.authorization;
        let is_bound = |ruleset: &Arc<Ruleset>| ruleset.rules.is_bound_host(&origin.host);
        let ended = caller.ended(shared, |ruleset| is_bound(ruleset).then_some("a key is bound to its host now"));
        let (mut up, mut down) = (early.len() as u64, 0);
        let mut client = InspectReader::new(client, |read: &[u8]| up += read.len() as u64);
        let mut upstream = InspectReader::new(self.upstream, |read: &[u8]| down += read.len() as u64);
        let copied = async {
            upstream.write_all(&early).await?;
            tokio::io::copy_bidirectional_with_sizes(&mut client, &mut upstream, WEBSOCKET_BUFFER, WEBSOCKET_BUFFER)
                .await
        };
        let copied = tokio::select! {
            // before anything is passed on: the rules may have changed since they were asked
            biased;
            why = ended => Err(std::io::Error::other(format!("ended by a change of the rules: {why}"))),
            copied = copied => copied,
            _ = stop.wait_for(|stopped| *stopped) => Err(std::io::Error::other("locum was stopped")),
        };
        self.outcome.progress.bytes_out.store(up, Ordering::Relaxed);
        self.outcome.bytes_in.store(down, Ordering::Relaxed);
        match copied {
            Ok(_) => self.outcome.complete(),
            Err(e) => self.outcome.broken(pool::chain(&e)),
        }
    }
}

/// Where a connection leaves what it is to become when its answer is through.
#[derive(Default)]
pub(crate) struct Switch {
    /// The client's bytes are no HTTP any more.
    pub made: Arc<AtomicBool>,
    next: Mutex<Option<Switched>>,
}

impl Switch {
    /// Takes the upstream's stream over, if its 101 is what was asked for, and makes the answer to the client.
    pub async fn make(
        &self,
        handshake: Option<Handshake>,
        authorization: Arc<Authorization>,
        mut response: Response<Incoming>,
        terms: Option<RelayTerms>,
        outcome: Arc<ExchangeOutcome>,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let origin = authorization.origin.clone();
        let fail = |why: &str| Refusal::from(UpstreamError::Exchange { origin: origin.clone(), why: why.into() });
        let Some(handshake) = handshake else {
            return Err(fail("it switched protocols without being asked to"));
        };
        let protocol = handshake.granted(&response, terms.is_some()).map_err(fail)?;
        let upstream = hyper::upgrade::on(&mut response).await;
        let upstream = upstream.map_err(|e| fail(&format!("it did not switch: {e}")))?;
        let headers = response.headers_mut();
        headers::response(headers);
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, protocol);
        let (mut parts, _) = response.into_parts();
        if let Some(scrubber) = terms.as_ref().and_then(|terms| terms.scrubber.as_ref()) {
            head::scrub(scrubber, &mut parts);
        }
        // a head, and then nothing that is HTTP
        let answer = Response::from_parts(parts, ResponseBody::answer(Bytes::new()));
        let switched = Switched { upstream: TokioIo::new(upstream), terms, authorization, outcome };
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(switched);
        self.made.store(true, Ordering::Release);
        Ok(answer)
    }

    /// What the connection is to become, once it is through with HTTP.
    pub fn take(&self) -> Option<Switched> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
