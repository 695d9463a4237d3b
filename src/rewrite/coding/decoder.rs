//! The decoder of content codings, the last one first: bytes from the wire in, and out whatever can be known from them.

use super::content_coding::{Coding, CodingError};
use super::limits::DecodeLimits;
use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use bytes::{Buf, Bytes};
use flate2::{Decompress, FlushDecompress, Status};
use std::fmt;
use std::io;
use zstd::stream::raw::{DParameter, Operation};

/// The most that one step of a decoder makes, in bytes.
const PIECE: usize = 32 * 1024;
/// The largest window of a zstd frame, as a power of two: 8 MiB.
const ZSTD_WINDOW: u32 = 23;
const GZIP_WINDOW: u8 = 15;

/// A streaming decoder of stacked content codings, the last one first.
pub struct Decoder {
    /// From the wire inwards.
    stages: Vec<DecoderStage>,
    limits: DecodeLimits,
    /// Bytes from the wire.
    read: u64,
}

struct DecoderStage {
    open: StreamDecoder,
    /// What the stage before has made and this one has not read yet. The first one reads the caller's.
    waiting: Bytes,
    made: u64,
}

impl Decoder {
    /// For codings in the order of the header.
    pub fn new(codings: &[Coding], limits: DecodeLimits) -> Result<Self, CodingError> {
        let stage = |&coding| Ok(DecoderStage { open: StreamDecoder::new(coding)?, waiting: Bytes::new(), made: 0 });
        Ok(Self { stages: codings.iter().rev().map(stage).collect::<Result<_, _>>()?, limits, read: 0 })
    }

    /// Reads from `input` and adds up to `room` bytes to `out`. `true`: the input is used up, and whatever can be known
    /// from it has been given. `false`: call again, there may be more.
    pub fn decode(&mut self, input: &mut Bytes, out: &mut Vec<u8>, room: usize) -> Result<bool, CodingError> {
        let end = out.len() + room;
        while out.len() < end {
            let from = out.len();
            out.resize(end.min(from + PIECE), 0);
            let made = self.fill(self.stages.len(), input, out.get_mut(from..).unwrap_or_default());
            out.truncate(from + made.as_ref().copied().unwrap_or(0));
            if made? == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Says whether the body was complete. An empty body is, in any coding: answers without one often name it.
    pub fn finish(&self) -> Result<(), CodingError> {
        if self.read == 0 {
            return Ok(());
        }
        match self.stages.iter().find(|s| !s.open.ended || !s.waiting.is_empty()) {
            Some(stage) => Err(CodingError::Truncated(stage.open.coding)),
            None => Ok(()),
        }
    }

    /// Fills `out` with some of what comes out of the first `depth` stages; 0 when more input is needed.
    fn fill(&mut self, depth: usize, input: &mut Bytes, out: &mut [u8]) -> Result<usize, CodingError> {
        let Some(last) = depth.checked_sub(1) else {
            let len = input.len().min(out.len());
            input.split_to(len).copy_to_slice(out.get_mut(..len).unwrap_or_default());
            self.read += len as u64;
            return Ok(len);
        };
        loop {
            let Some(stage) = self.stages.get_mut(last) else { return Ok(0) };
            let source = if last == 0 { &mut *input } else { &mut stage.waiting };
            let (used, made) = stage.open.run(source, out)?;
            source.advance(used);
            stage.made += made as u64;
            let total = stage.made;
            self.read += if last == 0 { used as u64 } else { 0 };
            self.limits.check(self.read, total)?;
            if made > 0 {
                return Ok(made);
            }
            if used == 0 && (last == 0 || !self.refill(last, input)?) {
                return Ok(0);
            }
        }
    }

    /// Lets the stages before this one make something for it.
    fn refill(&mut self, stage: usize, input: &mut Bytes) -> Result<bool, CodingError> {
        let mut piece = vec![0; PIECE];
        let made = self.fill(stage, input, &mut piece)?;
        piece.truncate(made);
        if let Some(stage) = self.stages.get_mut(stage) {
            stage.waiting = piece.into();
        }
        Ok(made > 0)
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.stages.iter().map(|s| s.open.coding)).finish()
    }
}

/// The decoder of one coding.
struct StreamDecoder {
    coding: Coding,
    inner: LibraryDecoder,
    /// The end of the coding has been seen, and nothing after it.
    ended: bool,
    /// The library has nothing left that it could give without more input.
    drained: bool,
}

enum LibraryDecoder {
    Gzip(Decompress),
    /// `None` until the first byte has told whether there is a zlib header.
    Deflate(Option<Decompress>),
    Br(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Zstd(zstd::stream::raw::Decoder<'static>),
}

impl StreamDecoder {
    fn new(coding: Coding) -> Result<Self, CodingError> {
        let alloc = StandardAlloc::default;
        let inner = match coding {
            Coding::Gzip => LibraryDecoder::Gzip(Decompress::new_gzip(GZIP_WINDOW)),
            Coding::Deflate => LibraryDecoder::Deflate(None),
            Coding::Br => LibraryDecoder::Br(Box::new(BrotliState::new_strict(alloc(), alloc(), alloc()))),
            Coding::Zstd => LibraryDecoder::Zstd(zstd_decoder().map_err(|_| CodingError::Memory(coding))?),
        };
        Ok(Self { coding, inner, ended: false, drained: true })
    }

    /// Reads from `input` and writes into `out`; says how much of each.
    fn run(&mut self, input: &[u8], out: &mut [u8]) -> Result<(usize, usize), CodingError> {
        if input.is_empty() && (self.drained || self.ended) {
            return Ok((0, 0));
        }
        if self.ended {
            self.begin_again()?;
        }
        let (used, made) = match &mut self.inner {
            LibraryDecoder::Gzip(inflate) => inflated(inflate, input, out, &mut self.ended),
            LibraryDecoder::Deflate(inflate) => {
                let zlib = input.first().is_some_and(|b| b & 0x8f == 0x08);
                inflated(inflate.get_or_insert_with(|| Decompress::new(zlib)), input, out, &mut self.ended)
            }
            LibraryDecoder::Br(state) => unbrotlied(state, input, out, &mut self.ended),
            LibraryDecoder::Zstd(frame) => unzstded(frame, input, out, &mut self.ended),
        }
        .ok_or(CodingError::Corrupt(self.coding))?;
        // Each of them fills `out` as long as it has anything to fill it with.
        self.drained = used == input.len() && made < out.len();
        if used == 0 && made == 0 && !input.is_empty() {
            return Err(if self.ended {
                CodingError::Trailing(self.coding)
            } else {
                CodingError::Corrupt(self.coding)
            });
        }
        Ok((used, made))
    }

    /// gzip has members and zstd frames, one after the other; the others end once.
    fn begin_again(&mut self) -> Result<(), CodingError> {
        match &mut self.inner {
            LibraryDecoder::Gzip(inflate) => inflate.reset(true),
            LibraryDecoder::Zstd(_) => {}
            LibraryDecoder::Deflate(_) | LibraryDecoder::Br(_) => return Err(CodingError::Trailing(self.coding)),
        }
        self.ended = false;
        Ok(())
    }
}

/// Bytes read and written, or `None` where the input is not valid.
type Step = Option<(usize, usize)>;

fn inflated(inflate: &mut Decompress, input: &[u8], out: &mut [u8], ended: &mut bool) -> Step {
    let (read, made) = (inflate.total_in(), inflate.total_out());
    let status = inflate.decompress(input, out, FlushDecompress::None).ok()?;
    *ended = status == Status::StreamEnd;
    Some(((inflate.total_in() - read) as usize, (inflate.total_out() - made) as usize))
}

fn unbrotlied(
    state: &mut BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    input: &[u8],
    out: &mut [u8],
    ended: &mut bool,
) -> Step {
    let (mut left, mut used, mut room, mut made, mut total) = (input.len(), 0, out.len(), 0, 0);
    let result = BrotliDecompressStream(&mut left, &mut used, input, &mut room, &mut made, out, &mut total, state);
    *ended = matches!(result, BrotliResult::ResultSuccess);
    (!matches!(result, BrotliResult::ResultFailure)).then_some((used, made))
}

fn zstd_decoder() -> io::Result<zstd::stream::raw::Decoder<'static>> {
    let mut decoder = zstd::stream::raw::Decoder::new()?;
    decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW))?;
    Ok(decoder)
}

fn unzstded(frame: &mut zstd::stream::raw::Decoder<'static>, input: &[u8], out: &mut [u8], ended: &mut bool) -> Step {
    let status = frame.run_on_buffers(input, out).ok()?;
    *ended = status.remaining == 0;
    Some((status.bytes_read, status.bytes_written))
}
