//! A request's body in pieces, its placeholders replaced on the way. Content codings are taken off before and put on after it.

pub mod escape;
pub mod form;
pub mod format;
pub mod grpc;
pub mod json;
pub mod ledger;
pub mod multipart;

use super::finder::{Behind, Found, Reach, Scan, Spelling, Vocabulary};
use crate::name::KeyName;
use bytes::{Buf, Bytes};
use format::{BodyFormat, Declared, Location, Match};
use grpc::Messages;
use http::HeaderValue;
use json::is_space;
use ledger::{BodyFault, BodyKey, UsageLedger, Use};
use std::sync::Arc;

/// So many bytes of a new piece are first put behind what was held back, to see what becomes of it.
const SEAM: usize = 256;

/// Replaces placeholders in a body of any length, holding back no more than what could still become one.
///
/// What needs no change is passed on as the very bytes that came.
pub struct BodyRewriter {
    vocabulary: Arc<Vocabulary>,
    declared: Declared,
    account: UsageLedger,
    ahead: Option<Candidates>,
    stage: Stage,
}

enum Stage {
    /// Spaces so far: what the body is isn't known.
    Before(Candidates),
    Stream(Stream),
    Messages(Messages),
    /// No key could go anywhere in it: what is left is to count.
    Watch(Stream),
    Failed(BodyFault),
}

impl BodyRewriter {
    /// `keys` are those whose binding covers this request; with none, nothing is changed and placeholders are counted.
    pub fn new(vocabulary: Arc<Vocabulary>, content_type: Option<&HeaderValue>, keys: Vec<BodyKey>) -> Self {
        Self::of(vocabulary, Declared::new(content_type), keys)
    }

    /// For a text message of a WebSocket, which is JSON or not as its protocol has it.
    pub fn of_message(vocabulary: Arc<Vocabulary>, keys: Vec<BodyKey>) -> Self {
        Self::of(vocabulary, Declared::Json, keys)
    }

    fn of(vocabulary: Arc<Vocabulary>, declared: Declared, keys: Vec<BodyKey>) -> Self {
        let account = UsageLedger::new(keys);
        let stage = match account.places().next() {
            None => Stage::Watch(Stream::watch(Spelling::Raw)),
            Some(_) => Stage::Before(Candidates::new(&declared, &account)),
        };
        Self { vocabulary, declared, account, ahead: None, stage }
    }

    /// Reads a body that is there as a whole, before it is pushed: what isn't valid to its end holds no value. All of it has to be
    /// read so, or up to where this tells that the rest doesn't matter.
    pub fn read_ahead(&mut self, piece: &[u8]) -> bool {
        if !matches!(self.stage, Stage::Before(_)) {
            return false;
        }
        let ahead = self.ahead.get_or_insert_with(|| Candidates::new(&self.declared, &self.account));
        ahead.advance(piece);
        ahead.first.is_none() || !ahead.chosen().is_settled()
    }

    /// A body that is there as a whole and in one piece.
    pub fn push_whole(&mut self, body: Bytes, out: &mut Vec<Bytes>) -> Result<(), BodyFault> {
        self.read_ahead(&body);
        self.push(body, out)
    }

    /// Takes a piece, and adds to `out` what can go on.
    pub fn push(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) -> Result<(), BodyFault> {
        if chunk.is_empty() {
            return Ok(());
        }
        let chunk = match &mut self.stage {
            Stage::Before(_) => self.begin(chunk, out),
            _ => chunk,
        };
        let done = match &mut self.stage {
            Stage::Before(_) => return Ok(()),
            Stage::Failed(fault) => return Err(fault.clone()),
            Stage::Stream(stream) => stream.push(chunk, &self.vocabulary, &mut self.account, out),
            Stage::Messages(messages) => messages.push(chunk, &self.vocabulary, &mut self.account, out),
            Stage::Watch(stream) => {
                out.push(chunk.clone());
                stream.push(chunk, &self.vocabulary, &mut self.account, &mut Vec::new())
            }
        };
        self.remember(done)
    }

    /// The body has ended.
    pub fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), BodyFault> {
        let done = match &mut self.stage {
            Stage::Before(_) => return Ok(()),
            Stage::Failed(fault) => return Err(fault.clone()),
            Stage::Stream(stream) => stream.finish(&self.vocabulary, &mut self.account, out),
            Stage::Messages(messages) => {
                messages.finish(out);
                Ok(())
            }
            Stage::Watch(stream) => stream.finish(&self.vocabulary, &mut self.account, &mut Vec::new()),
        };
        self.remember(done)
    }

    /// Says of each key whether it has to be asked for again before its next use: a placeholder of such a key waits, and
    /// all behind it, until [`renew`](Self::renew) has told what the key is now.
    pub fn doubt(&mut self, is_doubtful: impl Fn(&KeyName) -> bool) {
        self.account.doubt(is_doubtful);
    }

    /// The key that is waited for. Until it is renewed nothing may be pushed.
    pub fn wanted(&self) -> Option<&BodyKey> {
        self.account.wanted()
    }

    pub fn renew(&mut self, key: BodyKey) {
        self.account.renew(key);
    }

    /// Goes on with what has waited; where the body was being finished, [`finish`](Self::finish) does.
    pub fn resume(&mut self, out: &mut Vec<Bytes>) -> Result<(), BodyFault> {
        let done = match &mut self.stage {
            Stage::Stream(stream) => stream.resume(&self.vocabulary, &mut self.account, out),
            Stage::Messages(messages) => messages.resume(&self.vocabulary, &mut self.account, out),
            Stage::Before(_) | Stage::Watch(_) => return Ok(()),
            Stage::Failed(fault) => return Err(fault.clone()),
        };
        self.remember(done)
    }

    /// Which keys were written where, in the order of their first use.
    pub fn uses(&self) -> &[Use] {
        self.account.uses()
    }

    /// How many placeholders were left as they are.
    pub fn kept(&self) -> u64 {
        self.account.kept()
    }

    /// Lets leading spaces through; the first other byte says what the body is.
    fn begin(&mut self, mut chunk: Bytes, out: &mut Vec<Bytes>) -> Bytes {
        let Stage::Before(candidates) = &mut self.stage else { return chunk };
        let spaces = chunk.iter().take_while(|b| is_lead(**b)).count();
        let lead = chunk.split_to(spaces);
        candidates.advance(&lead);
        if !lead.is_empty() {
            out.push(lead);
        }
        let Some(first) = chunk.first() else { return chunk };
        let begins_json = begins_json(*first);
        let whole = self.ahead.take().map(|ahead| ahead.chosen().is_whole());
        let Candidates { json, declared, .. } = candidates;
        let (kind, values) = match (begins_json, whole) {
            (false, whole) => (declared, whole.unwrap_or(true)),
            // the end of what streams is not known
            (true, None) => (json, !self.declared.denies_json()),
            (true, Some(false)) if self.declared.denies_json() => (declared, false),
            (true, Some(whole)) => (json, whole),
        };
        let kind = std::mem::replace(kind, BodyFormat::Plain);
        self.stage = if !self.account.places().any(|p| kind.has(p, values)) {
            Stage::Watch(Stream::watch(kind.spelling()))
        } else if self.declared == Declared::Grpc && !begins_json {
            Stage::Messages(Messages::new())
        } else {
            Stage::Stream(Stream::new(kind, values))
        };
        chunk
    }

    fn remember(&mut self, done: Result<(), BodyFault>) -> Result<(), BodyFault> {
        if let Err(fault) = &done {
            self.stage = Stage::Failed(fault.clone());
        }
        done
    }
}

/// What a body may be until its first byte is known.
struct Candidates {
    json: BodyFormat,
    declared: BodyFormat,
    /// The first byte that is no space.
    first: Option<u8>,
}

impl Candidates {
    fn new(declared: &Declared, account: &UsageLedger) -> Self {
        let json = BodyFormat::json(declared, account.places());
        Self { json, declared: BodyFormat::declared(declared, account.places()), first: None }
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

/// A body of any kind but framed messages, over all its cuts.
struct Stream {
    spelling: Spelling,
    /// `None` where placeholders are counted and nothing more.
    kind: Option<BodyFormat>,
    /// Whether its values are values, or mere text.
    values: bool,
    behind: Behind,
    /// What can't be decided yet.
    held: Bytes,
}

impl Stream {
    fn new(kind: BodyFormat, values: bool) -> Self {
        let spelling = kind.spelling();
        Self { spelling, kind: Some(kind), values, behind: Behind::default(), held: Bytes::new() }
    }

    fn watch(spelling: Spelling) -> Self {
        Self { spelling, kind: None, values: false, behind: Behind::default(), held: Bytes::new() }
    }

    fn push(
        &mut self,
        mut chunk: Bytes,
        vocabulary: &Vocabulary,
        account: &mut UsageLedger,
        out: &mut Vec<Bytes>,
    ) -> Result<(), BodyFault> {
        let mut take = SEAM;
        while !self.held.is_empty() && !chunk.is_empty() {
            let taken = take.min(chunk.len());
            let seam = Bytes::from([&self.held[..], &chunk[..taken]].concat());
            let done = self.pass(&seam, vocabulary, account, false, out)?;
            match done.checked_sub(self.held.len()) {
                Some(beyond) => {
                    chunk.advance(beyond);
                    self.held = Bytes::new();
                }
                None if taken == chunk.len() => {
                    self.held = seam.slice(done..);
                    return Ok(());
                }
                None => {
                    self.held.advance(done);
                    take *= 2;
                }
            }
        }
        let done = self.pass(&chunk, vocabulary, account, false, out)?;
        // A copy, so that a few bytes don't keep a large piece in memory.
        self.held = Bytes::copy_from_slice(&chunk[done..]);
        Ok(())
    }

    fn finish(
        &mut self,
        vocabulary: &Vocabulary,
        account: &mut UsageLedger,
        out: &mut Vec<Bytes>,
    ) -> Result<(), BodyFault> {
        self.settle_held(vocabulary, account, true, out)
    }

    /// Goes on with what has waited for a key.
    fn resume(
        &mut self,
        vocabulary: &Vocabulary,
        account: &mut UsageLedger,
        out: &mut Vec<Bytes>,
    ) -> Result<(), BodyFault> {
        self.settle_held(vocabulary, account, false, out)
    }

    fn settle_held(
        &mut self,
        vocabulary: &Vocabulary,
        account: &mut UsageLedger,
        last: bool,
        out: &mut Vec<Bytes>,
    ) -> Result<(), BodyFault> {
        let held = std::mem::take(&mut self.held);
        let done = self.pass(&held, vocabulary, account, last, out)?;
        self.held = Bytes::copy_from_slice(&held[done..]);
        Ok(())
    }

    /// Decides what it can of `hay`, adds that to `out`, and tells how many bytes of `hay` it was: all, where they are the last
    /// and wait for no key.
    fn pass(
        &mut self,
        hay: &Bytes,
        vocabulary: &Vocabulary,
        account: &mut UsageLedger,
        last: bool,
        out: &mut Vec<Bytes>,
    ) -> Result<usize, BodyFault> {
        let mut scan = Scan::new(vocabulary, self.spelling, hay);
        // Up to `sent` all is in `out`; up to `from` nothing more begins, and the kind has seen it.
        let (mut sent, mut seen, mut from) = (0, 0, 0);
        let done = loop {
            let Some(start) = scan.next(from) else {
                break if last { hay.len() } else { vocabulary.tail(self.spelling, hay, from, &self.behind) };
            };
            let hit = match vocabulary.at(self.spelling, hay, start, Reach::Name, last) {
                Found::Hit(hit) if self.behind.aligned(self.spelling, hay, start) => hit,
                Found::More if self.behind.aligned(self.spelling, hay, start) => break start,
                _ => {
                    from = start + 1;
                    continue;
                }
            };
            self.advance(&hay[seen..start]);
            seen = start;
            let written = match self.kind.as_ref().map(|kind| kind.sight(hay, &hit.at, last)) {
                None => {
                    account.keep();
                    None
                }
                Some(Match::More) => break start,
                Some(Match::Location(location)) => {
                    let location = Location { whole: location.whole && self.values, ..location };
                    if account.must_wait(&hit, &location) {
                        break start;
                    }
                    account.settle(&hit, &location)?
                }
            };
            from = hit.at.end;
            self.advance(&hay[seen..from]);
            seen = from;
            if let Some(written) = written {
                out.extend((sent < start).then(|| hay.slice(sent..start)));
                out.push(written);
                sent = from;
            }
        };
        self.advance(&hay[seen..done]);
        self.behind.pass(&hay[..done]);
        out.extend((sent < done).then(|| hay.slice(sent..done)));
        Ok(done)
    }

    fn advance(&mut self, bytes: &[u8]) {
        if let Some(kind) = &mut self.kind {
            kind.advance(bytes);
        }
    }
}

#[cfg(test)]
mod tests;
