//! A request's body in pieces, its placeholders replaced on the way. Content codings are taken off before and put on after it.

use super::content_type::DeclaredType;
use super::format::BodyFormat;
use super::grpc::GrpcMessages;
use super::json::is_space;
use super::ledger::{BodyFault, BodyKey, UsageLedger};
use super::stream::StreamRewriter;
use crate::name::KeyName;
use crate::record::KeyUse;
use crate::rewrite::finder::{Spelling, Vocabulary};
use bytes::Bytes;
use http::HeaderValue;
use std::sync::Arc;

/// Replaces placeholders in a body of any length, holding back no more than what could still become one.
///
/// What needs no change is passed on as the very bytes that came.
pub struct BodyRewriter {
    vocabulary: Arc<Vocabulary>,
    declared: DeclaredType,
    ledger: UsageLedger,
    ahead: Option<FormatCandidates>,
    stage: RewriteStage,
}

enum RewriteStage {
    /// Spaces so far: what the body is isn't known.
    Before(FormatCandidates),
    Stream(StreamRewriter),
    Messages(GrpcMessages),
    /// No key could go anywhere in it: what is left is to count.
    Count(StreamRewriter),
    Failed(BodyFault),
}

impl BodyRewriter {
    /// `keys` are those whose binding covers this request; with none, nothing is changed and placeholders are counted.
    pub fn new(vocabulary: Arc<Vocabulary>, content_type: Option<&HeaderValue>, keys: Vec<BodyKey>) -> Self {
        Self::of(vocabulary, DeclaredType::new(content_type), keys)
    }

    /// For a text message of a WebSocket, which is JSON or not as its protocol has it.
    pub fn of_message(vocabulary: Arc<Vocabulary>, keys: Vec<BodyKey>) -> Self {
        Self::of(vocabulary, DeclaredType::Json, keys)
    }

    fn of(vocabulary: Arc<Vocabulary>, declared: DeclaredType, keys: Vec<BodyKey>) -> Self {
        let ledger = UsageLedger::new(keys);
        let stage = match ledger.places().next() {
            None => RewriteStage::Count(StreamRewriter::count(Spelling::Raw)),
            Some(_) => RewriteStage::Before(FormatCandidates::new(&declared, &ledger)),
        };
        Self { vocabulary, declared, ledger, ahead: None, stage }
    }

    /// Reads a body that is there as a whole, before it is pushed: what isn't valid to its end holds no value. All of it has to be
    /// read so, or up to where this tells that the rest doesn't matter.
    pub fn read_ahead(&mut self, piece: &[u8]) -> bool {
        if !matches!(self.stage, RewriteStage::Before(_)) {
            return false;
        }
        let ahead = self.ahead.get_or_insert_with(|| FormatCandidates::new(&self.declared, &self.ledger));
        ahead.advance(piece);
        ahead.first.is_none() || !ahead.chosen().is_settled()
    }

    /// Takes a body that is there as a whole and in one piece.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_whole(&mut self, body: Bytes, out: &mut Vec<Bytes>) -> Result<(), BodyFault> {
        self.read_ahead(&body);
        self.push(body, out)
    }

    /// Takes a piece, and adds to `out` what can go on.
    ///
    /// # Errors
    /// A fault of the body or of a key in it; the same again at each later call.
    pub fn push(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) -> Result<(), BodyFault> {
        if chunk.is_empty() {
            return Ok(());
        }
        let chunk = match &mut self.stage {
            RewriteStage::Before(_) => self.begin(chunk, out),
            _ => chunk,
        };
        let done = match &mut self.stage {
            RewriteStage::Before(_) => return Ok(()),
            RewriteStage::Failed(fault) => return Err(fault.clone()),
            RewriteStage::Stream(stream) => stream.push(chunk, &self.vocabulary, &mut self.ledger, out),
            RewriteStage::Messages(messages) => messages.push(chunk, &self.vocabulary, &mut self.ledger, out),
            RewriteStage::Count(stream) => {
                out.push(chunk.clone());
                stream.push(chunk, &self.vocabulary, &mut self.ledger, &mut Vec::new())
            }
        };
        self.remember(done)
    }

    /// The body has ended.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), BodyFault> {
        let done = match &mut self.stage {
            RewriteStage::Before(_) => return Ok(()),
            RewriteStage::Failed(fault) => return Err(fault.clone()),
            RewriteStage::Stream(stream) => stream.finish(&self.vocabulary, &mut self.ledger, out),
            RewriteStage::Messages(messages) => {
                messages.finish(out);
                Ok(())
            }
            RewriteStage::Count(stream) => stream.finish(&self.vocabulary, &mut self.ledger, &mut Vec::new()),
        };
        self.remember(done)
    }

    /// Says of each key whether it has to be asked for again before its next use: a placeholder of such a key waits, and
    /// all behind it, until [`renew`](Self::renew) has told what the key is now.
    pub fn doubt(&mut self, is_doubtful: impl Fn(&KeyName) -> bool) {
        self.ledger.doubt(is_doubtful);
    }

    /// The key that is waited for. Until it is renewed nothing may be pushed.
    pub fn wanted(&self) -> Option<&BodyKey> {
        self.ledger.wanted()
    }

    /// Tells what a key that was in doubt is now; what was used of it counts on.
    pub fn renew(&mut self, key: BodyKey) {
        self.ledger.renew(key);
    }

    /// Goes on with what has waited; where the body was being finished, [`finish`](Self::finish) does.
    pub fn resume(&mut self, out: &mut Vec<Bytes>) -> Result<(), BodyFault> {
        let done = match &mut self.stage {
            RewriteStage::Stream(stream) => stream.resume(&self.vocabulary, &mut self.ledger, out),
            RewriteStage::Messages(messages) => messages.resume(&self.vocabulary, &mut self.ledger, out),
            RewriteStage::Before(_) | RewriteStage::Count(_) => return Ok(()),
            RewriteStage::Failed(fault) => return Err(fault.clone()),
        };
        self.remember(done)
    }

    /// Which keys were written where, in the order of their first use.
    pub fn uses(&self) -> &[KeyUse] {
        self.ledger.uses()
    }

    /// How many placeholders were left as they are.
    pub fn kept(&self) -> u64 {
        self.ledger.kept()
    }

    /// How much is held back, in bytes; `None` where the body isn't rewritten as a stream.
    #[cfg(test)]
    pub fn held_len(&self) -> Option<usize> {
        match &self.stage {
            RewriteStage::Stream(stream) => Some(stream.held_len()),
            _ => None,
        }
    }

    /// Lets leading spaces through; the first other byte says what the body is.
    fn begin(&mut self, mut chunk: Bytes, out: &mut Vec<Bytes>) -> Bytes {
        let RewriteStage::Before(candidates) = &mut self.stage else { return chunk };
        let spaces = chunk.iter().take_while(|b| is_lead(**b)).count();
        let lead = chunk.split_to(spaces);
        candidates.advance(&lead);
        if !lead.is_empty() {
            out.push(lead);
        }
        let Some(first) = chunk.first() else { return chunk };
        let begins_json = begins_json(*first);
        let whole = self.ahead.take().map(|ahead| ahead.chosen().is_whole());
        let FormatCandidates { json, declared, .. } = candidates;
        let (format, values) = match (begins_json, whole) {
            (false, whole) => (declared, whole.unwrap_or(true)),
            // the end of what streams is not known
            (true, None) => (json, !self.declared.denies_json()),
            (true, Some(false)) if self.declared.denies_json() => (declared, false),
            (true, Some(whole)) => (json, whole),
        };
        let format = std::mem::replace(format, BodyFormat::Plain);
        self.stage = if !self.ledger.places().any(|p| format.has(p, values)) {
            RewriteStage::Count(StreamRewriter::count(format.spelling()))
        } else if self.declared == DeclaredType::Grpc && !begins_json {
            RewriteStage::Messages(GrpcMessages::new())
        } else {
            RewriteStage::Stream(StreamRewriter::new(format, values))
        };
        chunk
    }

    fn remember(&mut self, done: Result<(), BodyFault>) -> Result<(), BodyFault> {
        if let Err(fault) = &done {
            self.stage = RewriteStage::Failed(fault.clone());
        }
        done
    }
}

/// The formats that a body may have until its first byte is known.
struct FormatCandidates {
    json: BodyFormat,
    declared: BodyFormat,
    /// The first byte that is no space.
    first: Option<u8>,
}

impl FormatCandidates {
    fn new(declared: &DeclaredType, ledger: &UsageLedger) -> Self {
        let json = BodyFormat::json(declared, ledger.places());
        Self { json, declared: BodyFormat::declared(declared, ledger.places()), first: None }
    }

    /// These bytes have gone by.
    fn advance(&mut self, bytes: &[u8]) {
        let lead = match self.first {
            None => bytes.iter().position(|b| !is_lead(*b)).unwrap_or(bytes.len()),
            Some(_) => 0,
        };
        let (lead, rest) = bytes.split_at(lead);
        self.json.advance(lead);
        self.declared.advance(lead);
        self.first = self.first.or(rest.first().copied());
        let chosen = if self.begins_json() { &mut self.json } else { &mut self.declared };
        chosen.advance(rest);
    }

    fn begins_json(&self) -> bool {
        self.first.is_some_and(begins_json)
    }

    fn chosen(&self) -> &BodyFormat {
        if self.begins_json() { &self.json } else { &self.declared }
    }
}

fn begins_json(first: u8) -> bool {
    matches!(first, b'{' | b'[' | b'"')
}

/// Spaces, and the byte order mark that some clients begin JSON with.
fn is_lead(byte: u8) -> bool {
    is_space(byte) || "\u{feff}".as_bytes().contains(&byte)
}
