//! The direction from the upstream to the client: keys are hidden in each message.

use super::endpoints::{FrameSink, FrameSource, RelayEnd};
use super::terms::RelayTerms;
use crate::proxy::wire::ws_frames::{self, FramePiece, Opcode};
use crate::rewrite::scrub::{BodyScrub, Mask};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

/// From the upstream to the client.
pub(super) struct ToClient<'r, U, C> {
    terms: &'r RelayTerms,
    source: FrameSource<U>,
    pub sink: FrameSink<C>,
    /// Each message is scrubbed as one text, whatever frames it comes in and whatever control frames come between.
    messages: Option<BodyScrub>,
    begun: bool,
    pub bytes: u64,
}

impl<'r, U: AsyncRead, C: AsyncWrite> ToClient<'r, U, C> {
    pub fn new(terms: &'r RelayTerms, source: FrameSource<U>, sink: FrameSink<C>) -> Self {
        let messages = terms.scrubber.as_ref().map(|s| s.body(Mask::Placeholder));
        Self { terms, source, sink, messages, begun: false, bytes: 0 }
    }

    pub async fn run(&mut self) -> RelayEnd {
        loop {
            match self.pass().await {
                Err(end) => return end,
                Ok(()) if self.source.fill().await => {}
                Ok(()) => return RelayEnd::Gone("the upstream broke off its WebSocket"),
            }
        }
    }

    async fn pass(&mut self) -> Result<(), RelayEnd> {
        self.terms.holds_now().await?;
        while let Some(FramePiece { opcode, payload, last }) =
            self.source.reader.next(&mut self.source.read).map_err(RelayEnd::Malformed)?
        {
            let is_control = matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong);
            let hits = self.hits();
            let payload = match opcode {
                Opcode::Close => self.reason(payload.freeze()),
                Opcode::Ping | Opcode::Pong => self.control(payload.freeze()),
                _ => self.message(payload.freeze(), last),
            };
            if self.hits() > hits {
                // what else was read moves to memory that the key was never in
                self.source.read = BytesMut::from(&self.source.read[..]);
            }
            self.bytes += payload.len() as u64;
            if !is_control && !last && payload.is_empty() {
                // all of it could still become a key
                continue;
            }
            let own = opcode;
            let opcode = match is_control {
                false if std::mem::replace(&mut self.begun, !last) => Opcode::Continuation,
                _ => opcode,
            };
            self.sink.put(opcode, last, &[payload])?;
            if own == Opcode::Close {
                self.flush().await?;
                return Err(RelayEnd::Closed);
            }
            if self.sink.is_full() {
                self.flush().await?;
            }
        }
        self.flush().await
    }

    /// A piece of a message without keys; what could become one waits for the next, or for the message's end.
    fn message(&mut self, piece: Bytes, last: bool) -> Bytes {
        let Some(scrub) = &mut self.messages else { return piece };
        let clean = scrub.push(piece);
        let rest = if last { scrub.finish() } else { Bytes::new() };
        if rest.is_empty() { clean } else { [&clean[..], &rest].concat().into() }
    }

    /// A control frame is whole, and no longer than it was (RFC 6455, section 5.5).
    fn control(&self, payload: Bytes) -> Bytes {
        let clean = self.terms.scrubber.as_ref().and_then(|scrubber| scrubber.same_length(&payload));
        clean.map_or(payload, Bytes::from)
    }

    fn hits(&self) -> u64 {
        self.terms.scrubber.as_ref().map_or(0, |scrubber| scrubber.hits().all().iter().map(|(_, count)| count).sum())
    }

    /// A close frame's payload: a code, and a reason that is whole, as a header is.
    fn reason(&self, payload: Bytes) -> Bytes {
        let Some((code, reason)) = payload.split_first_chunk() else { return payload };
        let clean = self.terms.scrubber.as_ref().and_then(|scrubber| scrubber.header(reason));
        clean.map_or(payload.clone(), |clean| {
            ws_frames::close(u16::from_be_bytes(*code), &String::from_utf8_lossy(&clean)).into()
        })
    }

    async fn flush(&mut self) -> Result<(), RelayEnd> {
        self.sink.flush().await.map_err(|_| RelayEnd::Gone("the agent hung up"))
    }
}
