//! A WebSocket to a host that keys are bound to: text messages get their keys, and what comes back is scrubbed of them.
//!
//! Every frame is read, and written anew. A frame up to 64 KiB stays one; of a longer one each piece goes on as a fragment
//! as it comes, so nothing waits for its end. Once a rule or a key has changed the connection is closed with 1012: what
//! was decided for it holds no longer, and the client asks anew.

use crate::memory;
use crate::name::KeyName;
use crate::policy::Permit;
use crate::proxy::Ruleset;
use crate::proxy::exchange::authorization::{Authorization, Value};
use crate::proxy::exchange::outcome::{BodyProgress, ExchangeOutcome};
use crate::proxy::exchange::request_body;
use crate::proxy::exchange::substitutions;
use crate::proxy::refusal::Refusal;
use crate::proxy::wire::ws_frames::{self, Fault, HELD, Opcode, Piece, Reader, Writer};
use crate::rewrite::body::BodyRewriter;
use crate::rewrite::scrub::{BodyScrub, Mask, Scrubber};
use crate::rewrite::{BodyFault, BodyKey};
use crate::secrets::SecretError;
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::watch;

/// How much is read at once, and kept ready while nothing comes.
const READ: usize = 16 * 1024;
/// How long the other side may take to answer a close frame.
const CLOSING: Duration = Duration::from_secs(10);
/// Why a connection is closed that goes on by other rules.
const CHANGED: &str = "a rule or a key has changed";
/// How long a side may take to hear why it is cut off.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What was decided when the connection was opened.
pub(crate) struct Relay {
    pub authorization: Arc<Authorization>,
    pub ruleset: Arc<Ruleset>,
    pub permit: Permit,
    /// Those that may go into text messages.
    pub keys: Vec<BodyKey>,
    /// All keys bound to the host.
    pub bound: Vec<Value>,
    pub scrubber: Option<Scrubber>,
}

/// Why a direction has ended.
#[derive(Debug)]
enum End {
    /// A close frame has been passed on.
    Closed,
    /// Without one.
    Gone(&'static str),
    Malformed(Fault),
    Refused(Refusal),
    /// Rules, keys or the agent are not what they were.
    Changed(String),
    Stopped,
}

impl Relay {
    /// Passes frames on until both sides have closed, or one may not go on.
    pub async fn run<C, U>(
        self,
        client: C,
        early: Vec<u8>,
        upstream: U,
        mut stop: watch::Receiver<bool>,
        progress: Arc<BodyProgress>,
        mut outcome: ExchangeOutcome,
    ) where
        C: AsyncRead + AsyncWrite + Unpin,
        U: AsyncRead + AsyncWrite + Unpin,
    {
        let (from_client, to_client) = tokio::io::split(client);
        let (from_upstream, to_upstream) = tokio::io::split(upstream);
        let mut up = Up::new(&self, Source::new(Writer::Client, from_client, &early), Sink::new(to_upstream), progress);
        let mut down = Down::new(&self, Source::new(Writer::Server, from_upstream, &[]), Sink::new(to_client));
        let (first, of_client) = both(&mut up, &mut down, &mut stop).await;
        outcome.bytes_in = down.bytes;
        let (code, reason) = match &first {
            End::Closed => {
                outcome.complete();
                (None, String::new())
            }
            // who hangs up without a word is answered so on the other side: an abrupt end is passed on as one
            End::Gone(why) => {
                if !of_client {
                    outcome.broken((*why).into());
                }
                (None, String::new())
            }
            End::Malformed(fault) if of_client => {
                let refusal = Refusal::Malformed(format!("the WebSocket is malformed: {}", fault.why));
                outcome.broken(refusal.in_full());
                self.record(&refusal);
                (Some((fault.code, 1001)), fault.why.into())
            }
            End::Malformed(fault) => {
                outcome.broken(format!("the upstream's WebSocket is malformed: {}", fault.why));
                (Some((1014, fault.code)), "the upstream failed".into())
            }
            End::Refused(refusal) => {
                outcome.broken(refusal.in_full());
                self.record(refusal);
                (Some((1008, 1001)), format!("locum: {}", refusal.reason()))
            }
            End::Changed(why) => {
                // a key may be in what has not been written yet
                up.sink.forget();
                outcome.broken(why.clone());
                (Some((1012, 1001)), "locum: the rules have changed, connect again".into())
            }
            End::Stopped => {
                outcome.broken("locum was stopped".into());
                (Some((1001, 1001)), "locum stops".into())
            }
        };
        drop(outcome);
        let Up { source: from_client, sink: to_upstream, .. } = up;
        let Down { sink: to_client, .. } = down;
        let (for_client, for_upstream) = code.unzip();
        let told = tokio::join!(to_client.end(for_client, &reason), to_upstream.end(for_upstream, ""));
        if told.0 {
            from_client.drain().await;
        }
    }

    fn record(&self, refusal: &Refusal) {
        self.authorization.shared.record_refusal(self.authorization.info.clone(), refusal);
    }

    /// Resolves once it holds no longer: also where nothing is said, keys are held for no longer than they may be.
    async fn changed(&self) -> End {
        let Authorization { shared, caller, .. } = &*self.authorization;
        End::Changed(caller.ended(shared, |ruleset| self.is_other_than(ruleset).then_some(CHANGED)).await)
    }

    /// What was decided at the handshake holds as long as nothing that it was decided by has changed.
    fn still_holds(&self) -> Result<(), End> {
        self.authorization.agent_holds().map_err(|fault| End::Changed(fault.to_string()))?;
        let changed = self.is_other_than(&self.authorization.shared.ruleset.load());
        if changed { Err(End::Changed(CHANGED.into())) } else { Ok(()) }
    }

    fn is_other_than(&self, ruleset: &Arc<Ruleset>) -> bool {
        let shared = &self.authorization.shared;
        !Arc::ptr_eq(ruleset, &self.ruleset) || !self.bound.iter().all(|value| value.is_the_last(shared))
    }

    /// Whether the value of a key may be used without asking for it again.
    fn is_current(&self, key: &KeyName) -> bool {
        let value = self.bound.iter().find(|value| value.key == *key);
        value.is_some_and(|value| self.authorization.shared.secrets.may_be_used(key, value.generation))
    }

    /// The same, where what comes may hold a value that only its source knows yet.
    async fn holds_now(&self) -> Result<(), End> {
        let secrets = &self.authorization.shared.secrets;
        if !self.bound.iter().all(|value| secrets.is_known(&value.key, value.generation)) {
            let names: Vec<KeyName> = self.bound.iter().map(|value| value.key.clone()).collect();
            let keys = secrets.open_to_hide(&self.ruleset.keys, &names).await;
            if let Some(e) = keys.unhidden() {
                return Err(End::Refused(Refusal::KeyUnavailable(e.to_string())));
            }
        }
        self.still_holds()
    }

    /// Asks the sources again, if it is time to, whether the keys are still what they were.
    async fn ask(&self, wanted: &KeyName) -> Result<(), End> {
        let unavailable = |e: &SecretError| End::Refused(Refusal::KeyUnavailable(e.to_string()));
        let opened = self.authorization.shared.secrets.open(&self.ruleset.keys, &self.permit).await;
        let keys = opened.map_err(|e| unavailable(&e))?;
        keys.missing(wanted).map_or(Ok(()), |e| Err(unavailable(e)))?;
        self.still_holds()
    }
}

/// Runs both directions: how it ended, and whether the client ended it.
async fn both<C, U>(up: &mut Up<'_, C, U>, down: &mut Down<'_, U, C>, stop: &mut watch::Receiver<bool>) -> (End, bool)
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let relay = up.relay;
    let (mut up, mut down) = (std::pin::pin!(up.run()), std::pin::pin!(down.run()));
    let (first, of_client) = tokio::select! {
        end = &mut up => (end, true),
        end = &mut down => (end, false),
        end = relay.changed() => return (end, false),
        _ = stop.wait_for(|stopped| *stopped) => return (End::Stopped, false),
    };
    if !matches!(first, End::Closed) {
        return (first, of_client);
    }
    let other = async { if of_client { down.await } else { up.await } };
    // whoever has said goodbye doesn't have to be answered: the close frame was the end
    match tokio::time::timeout(CLOSING, other).await {
        Ok(end @ (End::Malformed(_) | End::Refused(_))) => (end, !of_client),
        _ => (End::Closed, of_client),
    }
}

/// Where a direction's frames come from.
struct Source<S> {
    from: ReadHalf<S>,
    read: BytesMut,
    reader: Reader,
}

impl<S: AsyncRead> Source<S> {
    fn new(writer: Writer, from: ReadHalf<S>, early: &[u8]) -> Self {
        Self { from, read: BytesMut::from(early), reader: Reader::new(writer) }
    }

    /// Reads on; whether there is anything.
    async fn fill(&mut self) -> bool {
        self.read.reserve(READ);
        self.from.read_buf(&mut self.read).await.is_ok_and(|n| n > 0)
    }

    /// Reads and drops what is still under way, so that closing doesn't overtake the last frame.
    async fn drain(mut self) {
        let (mut dropped, mut buffer) = (0, vec![0; READ]);
        let draining = async {
            while let Ok(n @ 1..) = self.from.read(&mut buffer).await {
                dropped += n;
                if dropped > 1 << 24 {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(LAST_WORDS, draining).await;
    }
}

/// Where they go. What is not written yet stays here, so that a direction may be broken off between any two bytes.
struct Sink<S> {
    to: WriteHalf<S>,
    out: Vec<u8>,
    written: usize,
    /// Masks what is sent.
    is_client: bool,
    /// A close frame was put, after which nothing may come (RFC 6455, section 5.5.1).
    closed: bool,
}

impl<S: AsyncWrite> Sink<S> {
    fn new(to: WriteHalf<S>) -> Self {
        Self { to, out: Vec::new(), written: 0, is_client: false, closed: false }
    }

    fn put(&mut self, opcode: Opcode, last: bool, payload: &[Bytes]) -> Result<(), End> {
        let mut key = [0; 4];
        if self.is_client && aws_lc_rs::rand::fill(&mut key).is_err() {
            return Err(End::Gone("the system gives no randomness"));
        }
        self.closed |= opcode == Opcode::Close;
        let pieces = payload.iter().map(|piece| &piece[..]);
        ws_frames::write(&mut self.out, opcode, last, pieces, self.is_client.then_some(key));
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.out.len() as u64 >= HELD
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.to.write(rest).await? {
                0 => return Err(std::io::ErrorKind::WriteZero.into()),
                n => self.written += n,
            }
        }
        // a connection may idle for hours, and no key is to lie here meanwhile
        memory::wipe(&mut self.out);
        self.out = Vec::new();
        self.written = 0;
        self.to.flush().await
    }

    /// Drops what is not written yet. Where that was begun, nothing can follow it.
    fn forget(&mut self) {
        self.closed |= self.written > 0;
        memory::wipe(&mut self.out);
        self.out = Vec::new();
        self.written = 0;
    }

    /// Closes, with a word where there is one to say. Whether it could be said.
    async fn end(mut self, code: Option<u16>, reason: &str) -> bool {
        let outcome = async {
            if let Some(code) = code.filter(|_| !self.closed) {
                let payload = Bytes::from(ws_frames::close(code, reason));
                self.put(Opcode::Close, true, &[payload]).map_err(|_| std::io::Error::other("no mask"))?;
            }
            self.flush().await?;
            self.to.shutdown().await
        };
        matches!(tokio::time::timeout(LAST_WORDS, outcome).await, Ok(Ok(())))
    }
}

/// From the client to the upstream.
struct Up<'r, C, U> {
    relay: &'r Relay,
    source: Source<C>,
    sink: Sink<U>,
    progress: Arc<BodyProgress>,
    /// The text message that is not at its end.
    text: Option<Text>,
    /// Of the message at hand a frame has gone out.
    begun: bool,
    kept: u64,
}

struct Text {
    rewriter: BodyRewriter,
    recorded: Vec<u64>,
}

impl<'r, C: AsyncRead, U: AsyncWrite> Up<'r, C, U> {
    fn new(relay: &'r Relay, source: Source<C>, mut sink: Sink<U>, progress: Arc<BodyProgress>) -> Self {
        sink.is_client = true;
        Self { relay, source, sink, progress, text: None, begun: false, kept: 0 }
    }

    async fn run(&mut self) -> End {
        loop {
            match self.pass().await {
                Err(end) => return end,
                Ok(()) if self.source.fill().await => {}
                Ok(()) => return End::Gone("the agent hung up"),
            }
        }
    }

    /// Passes on all that was read.
    async fn pass(&mut self) -> Result<(), End> {
        self.relay.still_holds()?;
        while let Some(piece) = self.source.reader.next(&mut self.source.read).map_err(End::Malformed)? {
            self.progress.bytes_out.fetch_add(piece.payload.len() as u64, Ordering::Relaxed);
            match piece.opcode {
                Opcode::Close => {
                    self.sink.put(Opcode::Close, true, &[piece.payload.freeze()])?;
                    self.flush().await?;
                    return Err(End::Closed);
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

    async fn flush(&mut self) -> Result<(), End> {
        self.sink.flush().await.map_err(|_| End::Gone("the upstream broke off its WebSocket"))
    }

    async fn data(&mut self, Piece { opcode, payload, last }: Piece) -> Result<(), End> {
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
    async fn replace(&mut self, piece: Bytes, last: bool, out: &mut Vec<Bytes>) -> Result<(), End> {
        let relay = self.relay;
        let whole = last && self.text.is_none();
        let text = self.text.get_or_insert_with(|| Text {
            rewriter: BodyRewriter::of_message(relay.ruleset.vocabulary.clone(), relay.keys.clone()),
            recorded: Vec::new(),
        });
        text.rewriter.doubt(|key| !relay.is_current(key));
        let pushed = if whole { text.rewriter.push_whole(piece, out) } else { text.rewriter.push(piece, out) };
        pushed.map_err(refused)?;
        text.settle(relay, out).await?;
        if last {
            text.rewriter.finish(out).map_err(refused)?;
            while text.settle(relay, out).await? {
                text.rewriter.finish(out).map_err(refused)?;
            }
        }
        let records = substitutions(&relay.authorization.info, text.rewriter.uses(), &mut text.recorded);
        text.rewriter.uses().iter().for_each(|used| self.progress.use_key(&used.key));
        self.progress.kept.store(self.kept + text.rewriter.kept(), Ordering::Relaxed);
        if last {
            self.kept += text.rewriter.kept();
            self.text = None;
        }
        if records.is_empty() {
            return Ok(());
        }
        let written = relay.authorization.shared.commit(&records).await;
        written.map_err(|e| End::Refused(Refusal::AuditUnavailable(e.to_string())))?;
        relay.still_holds()
    }
}

fn refused(fault: BodyFault) -> End {
    End::Refused(request_body::Fault::from(fault).into())
}

impl Text {
    /// Goes on with what waits for a key, which is asked for again. Whether anything has waited.
    async fn settle(&mut self, relay: &Relay, out: &mut Vec<Bytes>) -> Result<bool, End> {
        let mut waited = false;
        while let Some(wanted) = self.rewriter.wanted().cloned() {
            relay.ask(&wanted.key).await?;
            // it is what it was
            self.rewriter.renew(wanted);
            self.rewriter.resume(out).map_err(refused)?;
            waited = true;
        }
        Ok(waited)
    }
}

/// From the upstream to the client.
struct Down<'r, U, C> {
    relay: &'r Relay,
    source: Source<U>,
    sink: Sink<C>,
    /// Each message is scrubbed as one text, whatever frames it comes in and whatever control frames come between.
    messages: Option<BodyScrub>,
    begun: bool,
    bytes: u64,
}

impl<'r, U: AsyncRead, C: AsyncWrite> Down<'r, U, C> {
    fn new(relay: &'r Relay, source: Source<U>, sink: Sink<C>) -> Self {
        let messages = relay.scrubber.as_ref().map(|s| s.body(Mask::Placeholder));
        Self { relay, source, sink, messages, begun: false, bytes: 0 }
    }

    async fn run(&mut self) -> End {
        loop {
            match self.pass().await {
                Err(end) => return end,
                Ok(()) if self.source.fill().await => {}
                Ok(()) => return End::Gone("the upstream broke off its WebSocket"),
            }
        }
    }

    async fn pass(&mut self) -> Result<(), End> {
        self.relay.holds_now().await?;
        while let Some(Piece { opcode, payload, last }) =
            self.source.reader.next(&mut self.source.read).map_err(End::Malformed)?
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
                return Err(End::Closed);
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
        let clean = self.relay.scrubber.as_ref().and_then(|scrubber| scrubber.same_length(&payload));
        clean.map_or(payload, Bytes::from)
    }

    fn hits(&self) -> u64 {
        self.relay.scrubber.as_ref().map_or(0, |scrubber| scrubber.hits().all().iter().map(|(_, count)| count).sum())
    }

    /// A close frame's payload: a code, and a reason that is whole, as a header is.
    fn reason(&self, payload: Bytes) -> Bytes {
        let Some((code, reason)) = payload.split_first_chunk() else { return payload };
        let clean = self.relay.scrubber.as_ref().and_then(|scrubber| scrubber.header(reason));
        clean.map_or(payload.clone(), |clean| {
            ws_frames::close(u16::from_be_bytes(*code), &String::from_utf8_lossy(&clean)).into()
        })
    }

    async fn flush(&mut self) -> Result<(), End> {
        self.sink.flush().await.map_err(|_| End::Gone("the agent hung up"))
    }
}
