//! A body that comes in pieces and is held. One alone stays as it is; many, however small, are copied into one buffer.

use bytes::{Bytes, BytesMut};

/// A body in pieces.
#[derive(Default)]
pub struct BodyBuffer {
    first: Bytes,
    all: BytesMut,
    /// How much will come, as far as that is known.
    expected: usize,
}

impl BodyBuffer {
    /// For a body of which so many bytes are expected.
    pub fn of(expected: usize) -> Self {
        Self { expected, ..Self::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.first.len() + self.all.len()
    }

    /// Takes the next piece.
    pub fn push(&mut self, more: Bytes) {
        if self.len() == 0 {
            self.first = more;
            return;
        }
        if !self.first.is_empty() {
            self.all.reserve(self.expected);
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.all.extend_from_slice(&more);
    }

    /// All of it in one piece.
    pub fn whole(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_copied_once_and_one_alone_not_at_all() {
        let alone = Bytes::from(vec![b'x'; 100]);
        let mut pieces = BodyBuffer::default();
        pieces.push(alone.clone());
        assert_eq!(pieces.whole().as_ptr(), alone.as_ptr());

        let text: Vec<u8> = (0..65_536_u32).map(|i| (i % 251) as u8).collect();
        let mut pieces = BodyBuffer::of(text.len());
        let mut buffers: Vec<*const u8> = Vec::new();
        for byte in &text {
            pieces.push(Bytes::copy_from_slice(&[*byte]));
            pieces.push(Bytes::new());
            buffers.extend((!pieces.all.is_empty()).then(|| pieces.all.as_ptr()));
        }
        buffers.dedup();
        assert_eq!(buffers.len(), 1);
        assert!(pieces.whole() == text);
        assert!(BodyBuffer::default().whole().is_empty());
    }
}
