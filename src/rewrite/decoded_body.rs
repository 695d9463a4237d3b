//! Coded bodies in portions: decoded for the way back, and decoded, rewritten and encoded again for the way out. What a few bytes
//! unfold to is never there as a whole, so that neither memory nor one turn of work grows with it.

use super::body::BodyRewriter;
use super::body::ledger::{BodyFault, BodyKey};
use super::coding::{Coding, CodingError, DecodeLimits, Decoder, Encoder};
use crate::name::KeyName;
use crate::record::KeyUse;
use bytes::Bytes;

/// The largest portion, in bytes of what is decoded.
pub const PORTION: usize = 64 * 1024;

/// A body with its content codings taken off (RFC 9110, section 8.4), portion by portion.
#[derive(Debug)]
pub struct DecodedBody {
    decoder: Decoder,
    /// What has come and is not decoded yet.
    coded: Bytes,
    /// More may come out of what has come.
    more: bool,
}

impl DecodedBody {
    /// The body of a response, which is passed on as it is decoded: to how much is for the agent to judge, as if it decoded it
    /// itself. Only what comes between stacked codings is seen by nobody, and held to limits.
    ///
    /// # Errors
    /// No memory for a decoder.
    pub fn response(codings: &[Coding]) -> Result<Self, CodingError> {
        let none = DecodeLimits { ratio: u64::MAX, free: u64::MAX, total: u64::MAX };
        Self::new(codings, if codings.len() > 1 { DecodeLimits::default() } else { none })
    }

    fn new(codings: &[Coding], limits: DecodeLimits) -> Result<Self, CodingError> {
        Ok(Self { decoder: Decoder::new(codings, limits)?, coded: Bytes::new(), more: false })
    }

    /// Brings more of the coded body.
    pub fn feed(&mut self, coded: Bytes) {
        self.coded = if self.coded.is_empty() { coded } else { [&self.coded[..], &coded].concat().into() };
        self.more = true;
    }

    /// The next portion; `None` once all that can be known from what has come has been given.
    ///
    /// # Errors
    /// The body breaks its coding, or a limit of it.
    pub fn portion(&mut self) -> Result<Option<Bytes>, CodingError> {
        if !self.more {
            return Ok(None);
        }
        let mut out = Vec::new();
        self.more = !self.decoder.decode(&mut self.coded, &mut out, PORTION)?;
        Ok((!out.is_empty()).then(|| out.into()))
    }

    /// The body has ended.
    ///
    /// # Errors
    /// It was not complete.
    pub fn finish(&self) -> Result<(), CodingError> {
        self.decoder.finish()
    }
}

/// A request's body rewritten inside its codings, if it has any.
pub struct CodedBodyRewriter {
    engine: BodyRewriter,
    /// The body is there as a whole, and comes in one piece.
    whole: bool,
    codings: Option<Box<RequestCodings>>,
}

/// The codings of a request's body, on both sides of the rewriting.
struct RequestCodings {
    codings: Vec<Coding>,
    decoded: DecodedBody,
    /// A whole body that is decoded a first time, to be judged; after that it is decoded anew, so that it is never there
    /// unfolded.
    ahead: Option<Bytes>,
    encoder: Encoder,
    /// What came in one piece leaves as one, before the next comes.
    flushes: bool,
    /// Something has been put in that has not been flushed.
    unflushed: bool,
    /// Something has come at all: a body of no bytes is complete in any coding, and stays one.
    begun: bool,
}

impl CodedBodyRewriter {
    /// For a body that streams; `codings` in the order of the header.
    ///
    /// # Errors
    /// No memory for a decoder or an encoder.
    pub fn new(engine: BodyRewriter, codings: &[Coding]) -> Result<Self, BodyFault> {
        if codings.is_empty() {
            return Ok(Self { engine, whole: false, codings: None });
        }
        let codings = RequestCodings {
            codings: codings.to_vec(),
            decoded: DecodedBody::new(codings, DecodeLimits::default())?,
            ahead: None,
            encoder: Encoder::new(codings)?,
            flushes: true,
            unflushed: false,
            begun: false,
        };
        Ok(Self { engine, whole: false, codings: Some(Box::new(codings)) })
    }

    /// For a body that is there as a whole and comes in one piece: it is judged to its end before any of it is rewritten, and
    /// nothing has to be flushed before its end.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_whole(engine: BodyRewriter, codings: &[Coding]) -> Result<Self, BodyFault> {
        let mut rewriter = Self::new(engine, codings)?;
        rewriter.whole = true;
        rewriter.codings.iter_mut().for_each(|codings| codings.flushes = false);
        Ok(rewriter)
    }

    /// Which keys were written where, in the order of their first use.
    pub fn uses(&self) -> &[KeyUse] {
        self.engine.uses()
    }

    /// How many placeholders were left as they are.
    pub fn kept(&self) -> u64 {
        self.engine.kept()
    }

    /// See [`BodyRewriter::doubt`].
    pub fn doubt(&mut self, is_doubtful: impl Fn(&KeyName) -> bool) {
        self.engine.doubt(is_doubtful);
    }

    /// See [`BodyRewriter::wanted`].
    pub fn wanted(&self) -> Option<&BodyKey> {
        self.engine.wanted()
    }

    /// See [`BodyRewriter::renew`].
    pub fn renew(&mut self, key: BodyKey) {
        self.engine.renew(key);
    }

    /// See [`BodyRewriter::resume`].
    pub fn resume(&mut self, out: &mut Vec<Bytes>) -> Result<(), BodyFault> {
        let Some(codings) = &mut self.codings else { return self.engine.resume(out) };
        let mut rewritten = Vec::new();
        self.engine.resume(&mut rewritten)?;
        codings.take(&rewritten, out)
    }

    /// Whether what goes out is not the bytes that came, even if no key was used.
    pub fn recodes(&self) -> bool {
        self.codings.is_some()
    }

    /// Whether something that was pushed is still to leave its coding.
    pub fn holds_back(&self) -> bool {
        self.codings.as_ref().is_some_and(|codings| codings.unflushed)
    }

    /// Takes a piece. What it comes to is in `out` once [`step`](Self::step) has said that there is no more.
    pub fn push(&mut self, piece: Bytes, out: &mut Vec<Bytes>) -> Result<(), BodyFault> {
        match &mut self.codings {
            None if self.whole => self.engine.push_whole(piece, out),
            None => self.engine.push(piece, out),
            Some(codings) => {
                codings.begun |= !piece.is_empty();
                codings.ahead = self.whole.then(|| piece.clone());
                codings.decoded.feed(piece);
                Ok(())
            }
        }
    }

    /// Rewrites one portion of what a piece unfolds to. `false`: there is no more, and all that can go on is in `out`.
    pub fn step(&mut self, out: &mut Vec<Bytes>) -> Result<bool, BodyFault> {
        let Some(codings) = &mut self.codings else { return Ok(false) };
        if let Some(body) = codings.ahead.take() {
            let matters = codings.decoded.portion()?.is_some_and(|portion| self.engine.read_ahead(&portion));
            if matters {
                codings.ahead = Some(body);
            } else {
                codings.restart(body)?;
            }
            return Ok(true);
        }
        let Some(portion) = codings.decoded.portion()? else {
            if std::mem::take(&mut codings.unflushed) && codings.flushes {
                codings.encode(&[], out, Encoder::flush)?;
            }
            return Ok(false);
        };
        let mut rewritten = Vec::new();
        self.engine.push(portion, &mut rewritten)?;
        codings.take(&rewritten, out)?;
        Ok(true)
    }

    /// The body has ended. Where a key is [`wanted`](Self::wanted) after that, it is to be said again once that is renewed.
    pub fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), BodyFault> {
        let Some(codings) = &mut self.codings else { return self.engine.finish(out) };
        codings.decoded.finish()?;
        let mut rewritten = Vec::new();
        self.engine.finish(&mut rewritten)?;
        if !codings.begun {
            return Ok(());
        }
        if self.engine.wanted().is_some() {
            return codings.take(&rewritten, out);
        }
        codings.encode(&rewritten, out, |encoder, made| std::mem::take(encoder).finish(made))
    }
}

impl RequestCodings {
    /// Decodes a body from its beginning.
    fn restart(&mut self, body: Bytes) -> Result<(), CodingError> {
        // the windows of the first time go before there are others
        self.decoded = DecodedBody::new(&[], DecodeLimits::default())?;
        self.decoded = DecodedBody::new(&self.codings, DecodeLimits::default())?;
        self.decoded.feed(body);
        Ok(())
    }

    /// Encodes what will be flushed later.
    fn take(&mut self, pieces: &[Bytes], out: &mut Vec<Bytes>) -> Result<(), BodyFault> {
        self.unflushed |= !pieces.is_empty();
        self.encode(pieces, out, |_, _| Ok(()))
    }

    fn encode(
        &mut self,
        pieces: &[Bytes],
        out: &mut Vec<Bytes>,
        then: impl FnOnce(&mut Encoder, &mut Vec<u8>) -> Result<(), CodingError>,
    ) -> Result<(), BodyFault> {
        let mut made = Vec::new();
        for piece in pieces {
            self.encoder.encode(piece, &mut made)?;
        }
        then(&mut self.encoder, &mut made)?;
        out.extend((!made.is_empty()).then(|| made.into()));
        Ok(())
    }
}
