//! The encoder of content codings, the first one first.

use super::content_coding::{Coding, CodingError};
use brotli::CompressorWriter;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use std::fmt;
use std::io::{self, Write};

/// A streaming encoder of stacked content codings, the first one first. All of them write into memory, which cannot fail but for want of it.
#[derive(Default)]
pub struct Encoder {
    stages: Vec<StreamEncoder>,
}

enum StreamEncoder {
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(ZlibEncoder<Vec<u8>>),
    Br(Box<CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    /// For codings in the order of the header.
    pub fn new(codings: &[Coding]) -> Result<Self, CodingError> {
        Ok(Self { stages: codings.iter().map(|&c| StreamEncoder::new(c)).collect::<Result<_, _>>()? })
    }

    /// Adds what is ready; the rest waits for more, for [`flush`](Self::flush) or for [`finish`](Self::finish).
    pub fn encode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), CodingError> {
        self.each(input, out, |_| Ok(()))
    }

    /// Adds all that has been encoded so far, so that a reader can know it.
    pub fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), CodingError> {
        self.each(&[], out, |stage| stage.writer().flush())
    }

    /// Ends the body. An encoder that got nothing makes a valid empty body.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), CodingError> {
        let mut data = Vec::new();
        for mut stage in self.stages {
            let coding = stage.coding();
            stage.writer().write_all(&data).map_err(|_| CodingError::Memory(coding))?;
            data = stage.finish().map_err(|_| CodingError::Memory(coding))?;
        }
        out.extend_from_slice(&data);
        Ok(())
    }

    fn each(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        then: impl Fn(&mut StreamEncoder) -> io::Result<()>,
    ) -> Result<(), CodingError> {
        let mut made = None;
        for stage in &mut self.stages {
            let coding = stage.coding();
            let data = made.as_deref().unwrap_or(input);
            stage.writer().write_all(data).map_err(|_| CodingError::Memory(coding))?;
            then(stage).map_err(|_| CodingError::Memory(coding))?;
            made = Some(std::mem::take(stage.made()));
        }
        out.extend_from_slice(made.as_deref().unwrap_or(input));
        Ok(())
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.stages.iter().map(StreamEncoder::coding)).finish()
    }
}

impl StreamEncoder {
    /// Fast rather than small: what comes in has been small already, and goes out once.
    fn new(coding: Coding) -> Result<Self, CodingError> {
        Ok(match coding {
            Coding::Gzip => StreamEncoder::Gzip(GzEncoder::new(Vec::new(), Compression::new(4))),
            Coding::Deflate => StreamEncoder::Deflate(ZlibEncoder::new(Vec::new(), Compression::new(4))),
            Coding::Br => StreamEncoder::Br(Box::new(CompressorWriter::new(Vec::new(), 4096, 4, 18))),
            Coding::Zstd => {
                let encoder = zstd::stream::write::Encoder::new(Vec::new(), 1);
                StreamEncoder::Zstd(encoder.map_err(|_| CodingError::Memory(coding))?)
            }
        })
    }

    fn coding(&self) -> Coding {
        match self {
            StreamEncoder::Gzip(_) => Coding::Gzip,
            StreamEncoder::Deflate(_) => Coding::Deflate,
            StreamEncoder::Br(_) => Coding::Br,
            StreamEncoder::Zstd(_) => Coding::Zstd,
        }
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            StreamEncoder::Gzip(w) => w,
            StreamEncoder::Deflate(w) => w,
            StreamEncoder::Br(w) => &mut **w,
            StreamEncoder::Zstd(w) => w,
        }
    }

    fn made(&mut self) -> &mut Vec<u8> {
        match self {
            StreamEncoder::Gzip(w) => w.get_mut(),
            StreamEncoder::Deflate(w) => w.get_mut(),
            StreamEncoder::Br(w) => w.get_mut(),
            StreamEncoder::Zstd(w) => w.get_mut(),
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            StreamEncoder::Gzip(w) => w.finish(),
            StreamEncoder::Deflate(w) => w.finish(),
            StreamEncoder::Br(w) => Ok(w.into_inner()),
            StreamEncoder::Zstd(w) => w.finish(),
        }
    }
}
