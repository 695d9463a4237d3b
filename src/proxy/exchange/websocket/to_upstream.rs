//! The direction from the client to the upstream: text messages get their keys.

use super::endpoints::{FrameSink, FrameSource, RelayEnd};
use super::terms::RelayTerms;
use crate::proxy::exchange::outcome::BodyProgress;
use crate::proxy::recorder::{RecordedUses, substitutions};
use crate::proxy::wire::ws_frames::{FramePiece, Opcode};
use crate::rewrite::BodyFault;
use crate::rewrite::body::BodyRewriter;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncRead, AsyncWrite};

/// From the client to the upstream.
pub(super) struct ToUpstream<'r, C, U> {
    pub terms: &'r RelayTerms,
    pub source: FrameSource<C>,
    pub sink: FrameSink<U>,
    progress: Arc<BodyProgress>,
    /// The text message that is not at its end.
    text: Option<TextMessage>,
    /// Of the message at hand a frame has gone out.
    begun: bool,
    kept: u64,
    /// The uses of keys in what is not written yet.
    unwritten: Vec<RecordedUses>,
}

struct TextMessage {
    rewriter: BodyRewriter,
    recorded: Vec<u64>,
}

impl<'r, C: AsyncRead, U: AsyncWrite> ToUpstream<'r, C, U> {
    pub fn new(
        terms: &'r RelayTerms,
        source: FrameSource<C>,
        mut sink: FrameSink<U>,
        progress: Arc<BodyProgress>,
    ) -> Self {
        sink.is_client = true;
        Self { terms, source, sink, progress, text: None, begun: false, kept: 0, unwritten: Vec::new() }
    }

    pub async fn run(&mut self) -> RelayEnd {
        loop {
            match self.pass().await {
                Err(end) => return end,
                Ok(()) if self.source.fill().await => {}
                Ok(()) => return RelayEnd::Gone("the agent hung up"),
            }
        }
    }

    /// Passes on all that was read.
    async fn pass(&mut self) -> Result<(), RelayEnd> {
        self.terms.still_holds()?;
        while let Some(piece) = self.source.reader.next(&mut self.source.read).map_err(RelayEnd::Malformed)? {
            self.progress.bytes_out.fetch_add(piece.payload.len() as u64, Ordering::Relaxed);
            match piece.opcode {
                Opcode::Close => {
                    self.sink.put(Opcode::Close, true, &[piece.payload.freeze()])?;
                    self.flush().await?;
                    return Err(RelayEnd::Closed);
                }
                Opcode::Ping | Opcode::Pong => self.sink.put(piece.opcode, true, &[piece.payload.freeze()])?,
                _ => self.data(piece).await?,
            }
            if self.sink.is_full() {
                self.flush().await?;
            }
        }
        self.flush().await
    }

    /// Settles what is not written yet: after a change of the rules it is dropped, since a key may be in it.
    pub fn settle(&mut self, end: &RelayEnd) {
        match end {
            RelayEnd::Changed(_) => self.sink.forget(),
            _ => self.may_leave(),
        }
    }

    /// What is not written yet will be, at least in part.
    fn may_leave(&mut self) {
        self.unwritten.drain(..).for_each(RecordedUses::may_have_left);
    }

    async fn flush(&mut self) -> Result<(), RelayEnd> {
        self.may_leave();
        self.sink.flush().await.map_err(|_| RelayEnd::Gone("the upstream broke off its WebSocket"))
    }

    async fn data(&mut self, FramePiece { opcode, payload, last }: FramePiece) -> Result<(), RelayEnd> {
        let mut out = Vec::new();
        if opcode == Opcode::Text {
            self.replace(payload.freeze(), last, &mut out).await?;
        } else {
            out.push(payload.freeze());
        }
        if !last && out.iter().all(Bytes::is_empty) {
            return Ok(());
        }
        let opcode = if std::mem::replace(&mut self.begun, !last) { Opcode::Continuation } else { opcode };
        self.sink.put(opcode, last, &out)
    }

    /// Puts keys into a piece of a text message; the record of each is written before this returns.
    async fn replace(&mut self, piece: Bytes, last: bool, out: &mut Vec<Bytes>) -> Result<(), RelayEnd> {
        let terms = self.terms;
        let whole = last && self.text.is_none();
        let text = self.text.get_or_insert_with(|| TextMessage {
            rewriter: BodyRewriter::of_message(terms.ruleset.vocabulary.clone(), terms.keys.clone()),
            recorded: Vec::new(),
        });
        text.rewriter.doubt(|key| !terms.is_current(key));
        let pushed = if whole { text.rewriter.push_whole(piece, out) } else { text.rewriter.push(piece, out) };
        pushed.map_err(refused)?;
        text.settle(terms, out).await?;
        if last {
            text.rewriter.finish(out).map_err(refused)?;
            while text.settle(terms, out).await? {
                text.rewriter.finish(out).map_err(refused)?;
            }
        }
        let records = substitutions(&terms.authorization.info, text.rewriter.uses(), &mut text.recorded);
        text.rewriter.uses().iter().for_each(|used| self.progress.use_key(&used.key));
        self.progress.kept.store(self.kept + text.rewriter.kept(), Ordering::Relaxed);
        if last {
            self.kept += text.rewriter.kept();
            self.text = None;
        }
        if records.is_empty() {
            return Ok(());
        }
        let mut uses = terms.authorization.record_uses(records);
        uses.written().await.map_err(|e| RelayEnd::Refused(e.into()))?;
        terms.still_holds()?;
        self.unwritten.push(uses);
        Ok(())
    }
}

fn refused(fault: BodyFault) -> RelayEnd {
    RelayEnd::Refused(fault.into())
}

impl TextMessage {
    /// Goes on with what waits for a key, which is asked for again. Whether anything has waited.
    async fn settle(&mut self, terms: &RelayTerms, out: &mut Vec<Bytes>) -> Result<bool, RelayEnd> {
        let mut waited = false;
        while let Some(wanted) = self.rewriter.wanted().cloned() {
            terms.ask(&wanted.key).await?;
            // it is what it was
            self.rewriter.renew(wanted);
            self.rewriter.resume(out).map_err(refused)?;
            waited = true;
        }
        Ok(waited)
    }
}
