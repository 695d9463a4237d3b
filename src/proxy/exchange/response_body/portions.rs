//! A coded body, opened and cut anew: where it was cut says how well it was compressed, and so what it holds beside what an
//! agent had put into it.

use crate::rewrite::coding::CodingError;
use crate::rewrite::decoded_body::{DecodedBody, PORTION};
use bytes::{Bytes, BytesMut};

pub(crate) struct Portions {
    opened: DecodedBody,
    /// What has been opened and isn't a portion yet.
    rest: BytesMut,
    /// Cut behind line ends, as an event stream is read; else into equal portions.
    pub in_lines: bool,
}

impl Portions {
    pub fn new(opened: DecodedBody, in_lines: bool) -> Self {
        Self { opened, rest: BytesMut::new(), in_lines }
    }

    /// Brings more of the coded body.
    pub fn feed(&mut self, coded: Bytes) {
        self.opened.feed(coded);
    }

    /// The next portion; `None` until more has been brought.
    pub fn next(&mut self) -> Result<Option<Bytes>, CodingError> {
        loop {
            if let Some(len) = self.cut() {
                return Ok(Some(self.rest.split_to(len).freeze()));
            }
            match self.opened.portion()? {
                Some(more) => self.rest.extend_from_slice(&more),
                None => return Ok(None),
            }
        }
    }

    fn cut(&self) -> Option<usize> {
        if self.rest.len() >= PORTION {
            return Some(PORTION);
        }
        let line = self.in_lines.then(|| memchr::memrchr(b'\n', &self.rest));
        line.flatten().map(|at| at + 1)
    }

    /// The coded body has ended: what is left, if it was complete.
    pub fn finish(&mut self) -> Result<Bytes, CodingError> {
        self.opened.finish()?;
        Ok(self.rest.split().freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::coding::{Coding, Encoder};

    fn gzip(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new(&[Coding::Gzip]).unwrap();
        let mut coded: Vec<Vec<u8>> = Vec::new();
        for piece in pieces {
            let mut out = Vec::new();
            encoder.encode(piece, &mut out).unwrap();
            encoder.flush(&mut out).unwrap();
            coded.push(out);
        }
        let mut out = Vec::new();
        encoder.finish(&mut out).unwrap();
        coded.push(out);
        coded
    }

    fn cuts(pieces: &[&[u8]], in_lines: bool) -> Vec<usize> {
        let opened = DecodedBody::response(&[Coding::Gzip]).unwrap();
        let (mut portions, mut cuts) = (Portions::new(opened, in_lines), Vec::new());
        for coded in gzip(pieces) {
            portions.feed(coded.into());
            while let Some(portion) = portions.next().unwrap() {
                cuts.push(portion.len());
            }
        }
        cuts.push(portions.finish().unwrap().len());
        cuts
    }

    #[test]
    fn how_a_body_was_cut_and_coded_does_not_show() {
        let noise: Vec<u8> = (0..200_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let flat = vec![b'a'; 200_000];
        let want = [65536, 65536, 65536, 200_000 - 3 * 65536];
        for text in [&noise, &flat] {
            assert_eq!(cuts(&[text], false), want);
            assert_eq!(cuts(&text.chunks(777).collect::<Vec<_>>(), false), want);
        }
        assert_eq!(cuts(&[b"data: a\n\nda", b"ta: b", b"\n\nend"], true), [9, 9, 3]);
    }
}
