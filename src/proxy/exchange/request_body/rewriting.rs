//! A body that is rewritten while it streams: each key is asked for again when its placeholder comes, and recorded before it
//! leaves.

use super::limited::LimitedBody;
use crate::name::KeyName;
use crate::proxy::exchange::authorization::{Authorization, BodyKeys, Renewed};
use crate::proxy::exchange::decode_budget::Reservation;
use crate::proxy::exchange::outcome::BodyProgress;
use crate::proxy::limits::PORTIONS_A_TURN;
use crate::proxy::recorder::{RecordedUses, substitutions};
use crate::proxy::refusal::{Refusal, RefusalKind};
use crate::record::Operation;
use crate::rewrite::decoded_body::CodedBodyRewriter;
use crate::rewrite::digests;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

/// Rewritten while it streams: nothing leaves before the record of the keys in it is written, and no key is used before it
/// was asked whether it still may be.
pub struct Rewriting {
    inner: LimitedBody,
    engine: CodedBodyRewriter,
    ready: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    ended: bool,
    recorded: Vec<u64>,
    /// The uses of keys in what is ready or comes behind it, which leaves once they are written.
    uses: Vec<RecordedUses>,
    keys: BodyKeys,
    /// For the key that the engine waits for.
    asking: Option<KeyRequest>,
    /// All of it has come.
    at_end: bool,
    /// The keys in what is ready.
    leaving: Vec<KeyName>,
    pub(crate) progress: Arc<BodyProgress>,
    /// For as long as its codings are open.
    _reservation: Option<Reservation>,
}

type KeyRequest = Pin<Box<dyn Future<Output = Result<Renewed, Refusal>> + Send>>;

impl Rewriting {
    pub(crate) fn new(
        inner: LimitedBody,
        engine: CodedBodyRewriter,
        keys: BodyKeys,
        progress: Arc<BodyProgress>,
        reservation: Option<Reservation>,
    ) -> Self {
        let (ready, recorded, uses, leaving) = Default::default();
        let (trailers, asking) = (None, None);
        let (ended, at_end, _reservation) = (false, false, reservation);
        Self {
            inner,
            engine,
            ready,
            trailers,
            ended,
            recorded,
            uses,
            keys,
            asking,
            at_end,
            leaving,
            progress,
            _reservation,
        }
    }

    pub(crate) fn authorization(&self) -> &Arc<Authorization> {
        self.keys.authorization()
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        for _ in 0..PORTIONS_A_TURN {
            for uses in &mut self.uses {
                ready!(uses.poll_written(cx))?;
            }
            if let Some(data) = self.ready.pop_front() {
                // it may have waited for long until the upstream took more
                if !self.leaving.is_empty() {
                    self.keys.hold(&self.leaving)?;
                }
                // in which of the pieces that are ready each key is isn't known
                self.uses.drain(..).for_each(RecordedUses::may_have_left);
                self.progress.bytes_out.fetch_add(data.len() as u64, Ordering::Relaxed);
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            // what is in the coder leaves with a later piece
            if !self.engine.holds_back() {
                self.leaving.clear();
            }
            if self.ended {
                return Poll::Ready(self.trailers.take().map(|t| Ok(Frame::trailers(t))));
            }
            let mut out = Vec::new();
            ready!(self.advance(cx, &mut out))?;
            self.progress.kept.store(self.engine.kept(), Ordering::Relaxed);
            self.ready.extend(out.into_iter().filter(|data| !data.is_empty()));
            self.record();
        }
        // there is more to do, and others on this thread have waited long enough
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Goes on by one piece: with what waits for a key, with what is left of the last, or with the next.
    fn advance(&mut self, cx: &mut Context<'_>, out: &mut Vec<Bytes>) -> Poll<Result<(), Refusal>> {
        let keys = &self.keys;
        if let Some(wanted) = self.engine.wanted() {
            let asking = self.asking.get_or_insert_with(|| Box::pin(keys.ask(wanted.clone())));
            let renewed = ready!(asking.as_mut().poll(cx));
            self.asking = None;
            self.engine.renew(self.keys.take(renewed?));
            return Poll::Ready(if self.at_end { self.finish(out) } else { Ok(self.engine.resume(out)?) });
        }
        self.engine.doubt(|key| !keys.is_current(key));
        if self.engine.step(out)? || !out.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        self.keys.authorization().agent_holds()?;
        match frame {
            None => self.finish(out)?,
            Some(Err(cut)) => return Poll::Ready(Err(cut)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.engine.push(data, out)?,
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            },
        }
        Poll::Ready(Ok(()))
    }

    fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), Refusal> {
        self.engine.finish(out)?;
        self.at_end = true;
        if self.engine.wanted().is_some() {
            return Ok(());
        }
        self.ended = true;
        let changed = self.engine.recodes() || !self.engine.uses().is_empty();
        match self.trailers.as_ref().and_then(digests::first).filter(|_| changed) {
            None => Ok(()),
            Some(name) => {
                let why =
                    format!("{name} after the body can't be kept right for a long one that has changed; leave it out");
                Err(Refusal::new(RefusalKind::BodyMalformed, why))
            }
        }
    }

    /// Queues the records of what has been used since the last time: nothing that is ready goes out before they are written.
    fn record(&mut self) {
        let authorization = self.keys.authorization();
        let records = substitutions(&authorization.info, self.engine.uses(), &mut self.recorded);
        self.engine.uses().iter().for_each(|used| self.progress.use_key(&used.key));
        if !records.is_empty() {
            self.leaving.extend(records.iter().filter_map(|record| match &record.operation {
                Operation::Key(key) => Some(key.clone()),
                Operation::Other(_) => None,
            }));
            self.uses.push(authorization.record_uses(records));
        }
    }
}
