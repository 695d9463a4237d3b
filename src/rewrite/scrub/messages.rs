//! The messages of a gRPC answer (gRPC over HTTP2, "Length-Prefixed-Message"): each says its length before it, so keys in it
//! are covered by as many bytes, and none is read as part of the next.

use super::body::BodyScrub;
use super::cover::Mask;
use super::scrubber::Scrubber;
use bytes::{Buf as _, Bytes};

/// A flag and the length.
const PREFIX: usize = 5;

/// A message that can't be searched, since it is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message is compressed, though that was not asked for")]
pub struct CompressedMessage;

/// Scrubs the messages of one body.
pub struct MessageScrub {
    scrub: BodyScrub,
    /// What has come of the prefix.
    prefix: Vec<u8>,
    /// What is still to come of the message.
    left: usize,
}

impl MessageScrub {
    /// A body of which nothing has come.
    pub fn new(scrubber: &Scrubber) -> Self {
        Self { scrub: scrubber.body(Mask::SameLength), prefix: Vec::with_capacity(PREFIX), left: 0 }
    }

    /// Takes a piece, and adds to `out` what may be passed on.
    pub fn push(&mut self, mut piece: Bytes, out: &mut Vec<u8>) -> Result<(), CompressedMessage> {
        while !piece.is_empty() {
            if self.left == 0 {
                self.begin(&mut piece, out)?;
                continue;
            }
            let part = piece.split_to(self.left.min(piece.len()));
            self.left -= part.len();
            out.extend_from_slice(&self.scrub.push(part));
            if self.left == 0 {
                out.extend_from_slice(&self.scrub.finish());
            }
        }
        Ok(())
    }

    /// Reads the prefix as far as it is there. Its lowest bit says that the message is compressed.
    fn begin(&mut self, piece: &mut Bytes, out: &mut Vec<u8>) -> Result<(), CompressedMessage> {
        let missing = (PREFIX - self.prefix.len()).min(piece.len());
        self.prefix.extend_from_slice(piece.get(..missing).unwrap_or_default());
        piece.advance(missing);
        let [flag, length @ ..] = self.prefix.as_slice() else { return Ok(()) };
        if flag & 1 != 0 {
            return Err(CompressedMessage);
        }
        if let Ok(length) = <[u8; 4]>::try_from(length) {
            self.left = u32::from_be_bytes(length) as usize;
            out.append(&mut self.prefix);
        }
        Ok(())
    }

    /// The body has ended: what is held back of a message that isn't whole. The client will say what it thinks of it.
    pub fn finish(&mut self) -> Bytes {
        let rest = self.scrub.finish();
        if rest.is_empty() { std::mem::take(&mut self.prefix).into() } else { rest }
    }

    /// See [`BodyScrub::renew`].
    pub fn renew(&mut self, scrubber: Scrubber) {
        self.scrub.renew(scrubber);
    }

    /// How often a key has been hidden in this body.
    pub fn hits(&self) -> u64 {
        self.scrub.hits()
    }
}
