//! The rewriting of a body that is no row of framed messages: its placeholders replaced, over all its cuts.

use super::format::BodyFormat;
use super::ledger::{BodyFault, UsageLedger};
use super::location::{Location, Match};
use crate::rewrite::finder::{Lookbehind, PlaceholderScan, Reach, Recognition, Spelling, Vocabulary};
use bytes::{Buf, Bytes};

/// So many bytes of a new piece are first joined to what was held back, to see what becomes of it.
const SEAM: usize = 256;

/// The rewriter of a body that is no row of framed messages.
pub(super) struct StreamRewriter {
    spelling: Spelling,
    /// `None` where placeholders are counted and nothing more.
    format: Option<BodyFormat>,
    /// Whether its values are values, or mere text.
    values: bool,
    lookbehind: Lookbehind,
    /// What can't be decided yet.
    held: Bytes,
}

impl StreamRewriter {
    /// A body of which nothing has come; `values` says whether a whole value in it is a place, or mere text.
    pub fn new(format: BodyFormat, values: bool) -> Self {
        let spelling = format.spelling();
        Self { spelling, format: Some(format), values, lookbehind: Lookbehind::default(), held: Bytes::new() }
    }

    /// A body that no key may go into: its placeholders are counted.
    pub fn count(spelling: Spelling) -> Self {
        Self { spelling, format: None, values: false, lookbehind: Lookbehind::default(), held: Bytes::new() }
    }

    /// How much is held back, in bytes.
    #[cfg(test)]
    pub fn held_len(&self) -> usize {
        self.held.len()
    }

    /// Takes a piece, and adds to `out` what can go on.
    ///
    /// # Errors
    /// What [`UsageLedger::settle`] refuses.
    pub fn push(
        &mut self,
        mut chunk: Bytes,
        vocabulary: &Vocabulary,
        ledger: &mut UsageLedger,
        out: &mut Vec<Bytes>,
    ) -> Result<(), BodyFault> {
        let mut take = SEAM;
        while !self.held.is_empty() && !chunk.is_empty() {
            let taken = take.min(chunk.len());
            let seam = Bytes::from([&self.held[..], &chunk[..taken]].concat());
            let done = self.pass(&seam, vocabulary, ledger, false, out)?;
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
        let done = self.pass(&chunk, vocabulary, ledger, false, out)?;
        // A copy, so that a few bytes don't keep a large piece in memory.
        self.held = Bytes::copy_from_slice(&chunk[done..]);
        Ok(())
    }

    /// The body has ended.
    pub fn finish(
        &mut self,
        vocabulary: &Vocabulary,
        ledger: &mut UsageLedger,
        out: &mut Vec<Bytes>,
    ) -> Result<(), BodyFault> {
        self.settle_held(vocabulary, ledger, true, out)
    }

    /// Goes on with what has waited for a key.
    pub fn resume(
        &mut self,
        vocabulary: &Vocabulary,
        ledger: &mut UsageLedger,
        out: &mut Vec<Bytes>,
    ) -> Result<(), BodyFault> {
        self.settle_held(vocabulary, ledger, false, out)
    }

    fn settle_held(
        &mut self,
        vocabulary: &Vocabulary,
        ledger: &mut UsageLedger,
        last: bool,
        out: &mut Vec<Bytes>,
    ) -> Result<(), BodyFault> {
        let held = std::mem::take(&mut self.held);
        let done = self.pass(&held, vocabulary, ledger, last, out)?;
        self.held = Bytes::copy_from_slice(&held[done..]);
        Ok(())
    }

    /// Decides what it can of `hay`, adds that to `out`, and tells how many bytes of `hay` it was: all, where they are the last
    /// and wait for no key.
    fn pass(
        &mut self,
        hay: &Bytes,
        vocabulary: &Vocabulary,
        ledger: &mut UsageLedger,
        last: bool,
        out: &mut Vec<Bytes>,
    ) -> Result<usize, BodyFault> {
        let mut scan = PlaceholderScan::new(vocabulary, self.spelling, hay);
        // Up to `sent` all is in `out`; up to `from` nothing more begins, and the format has seen it.
        let (mut sent, mut seen, mut from) = (0, 0, 0);
        let done = loop {
            let Some(start) = scan.next(from) else {
                break if last { hay.len() } else { vocabulary.tail(self.spelling, hay, from, &self.lookbehind) };
            };
            let hit = match vocabulary.at(self.spelling, hay, start, Reach::Name, last) {
                Recognition::Hit(hit) if self.lookbehind.aligned(self.spelling, hay, start) => hit,
                Recognition::Incomplete if self.lookbehind.aligned(self.spelling, hay, start) => break start,
                _ => {
                    from = start + 1;
                    continue;
                }
            };
            self.advance(&hay[seen..start]);
            seen = start;
            let written = match self.format.as_ref().map(|format| format.locate(hay, &hit.at, last)) {
                None => {
                    ledger.keep();
                    None
                }
                Some(Match::Incomplete) => break start,
                Some(Match::Location(location)) => {
                    let location = Location { whole: location.whole && self.values, ..location };
                    if ledger.must_wait(&hit, &location) {
                        break start;
                    }
                    ledger.settle(&hit, &location)?
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
        self.lookbehind.pass(&hay[..done]);
        out.extend((sent < done).then(|| hay.slice(sent..done)));
        Ok(done)
    }

    fn advance(&mut self, bytes: &[u8]) {
        if let Some(format) = &mut self.format {
            format.advance(bytes);
        }
    }
}
