//! Content codings by the libraries themselves, and not by the code under test.

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzDecoder, GzEncoder, ZlibDecoder, ZlibEncoder};
use std::io::{Read as _, Write};

pub const CODINGS: [&str; 4] = ["gzip", "deflate", "br", "zstd"];

/// An encoder whose output is taken as it comes.
pub enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(ZlibEncoder<Vec<u8>>),
    Br(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    pub fn new(coding: &str) -> Self {
        match coding {
            "gzip" => Encoder::Gzip(GzEncoder::new(Vec::new(), Compression::default())),
            "deflate" => Encoder::Deflate(ZlibEncoder::new(Vec::new(), Compression::default())),
            "br" => Encoder::Br(Box::new(brotli::CompressorWriter::new(Vec::new(), 4096, 2, 22))),
            "zstd" => Encoder::Zstd(zstd::stream::write::Encoder::new(Vec::new(), 3).expect("an encoder")),
            other => panic!("no coding {other}"),
        }
    }

    /// These bytes, flushed, as far as the coding is concerned.
    pub fn flushed(&mut self, bytes: &[u8]) -> Bytes {
        let writer: &mut dyn Write = match self {
            Encoder::Gzip(w) => w,
            Encoder::Deflate(w) => w,
            Encoder::Br(w) => w,
            Encoder::Zstd(w) => w,
        };
        writer.write_all(bytes).expect("memory");
        writer.flush().expect("memory");
        let made = match self {
            Encoder::Gzip(w) => w.get_mut(),
            Encoder::Deflate(w) => w.get_mut(),
            Encoder::Br(w) => w.get_mut(),
            Encoder::Zstd(w) => w.get_mut(),
        };
        std::mem::take(made).into()
    }

    /// What is left, and the end.
    pub fn end(self) -> Bytes {
        match self {
            Encoder::Gzip(w) => w.finish().expect("memory"),
            Encoder::Deflate(w) => w.finish().expect("memory"),
            Encoder::Br(w) => w.into_inner(),
            Encoder::Zstd(w) => w.finish().expect("memory"),
        }
        .into()
    }
}

/// A list of codings as the header has it: the first is put on first.
pub fn encode(codings: &str, bytes: &[u8]) -> Vec<u8> {
    codings.split(", ").fold(bytes.to_vec(), |bytes, coding| {
        let mut encoder = Encoder::new(coding);
        let mut out = encoder.flushed(&bytes).to_vec();
        out.extend_from_slice(&encoder.end());
        out
    })
}

/// Takes them off again; a body that doesn't end properly is an error.
pub fn decode(codings: &str, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    codings.rsplit(", ").try_fold(bytes.to_vec(), |bytes, coding| {
        let mut out = Vec::new();
        match coding {
            "gzip" => {
                let mut decoder = GzDecoder::new(out);
                decoder.write_all(&bytes)?;
                out = decoder.finish()?;
            }
            "deflate" => {
                let mut decoder = ZlibDecoder::new(out);
                decoder.write_all(&bytes)?;
                out = decoder.finish()?;
            }
            "br" => {
                brotli::Decompressor::new(&bytes[..], 4096).read_to_end(&mut out)?;
            }
            "zstd" => out = zstd::stream::decode_all(&bytes[..])?,
            other => panic!("no coding {other}"),
        }
        Ok(out)
    })
}
