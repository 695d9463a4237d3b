//! Bytes that anybody can make anew from their position alone, so that a lost, doubled or moved one changes the digest.

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;

pub const CHUNK: usize = 64 * 1024;

/// The bytes from `offset` on, at most [`CHUNK`] of them and none beyond `total`. `offset` is a multiple of 8.
pub fn chunk(offset: u64, total: u64) -> Bytes {
    let len = usize::try_from(total - offset).unwrap_or(usize::MAX).min(CHUNK);
    let mut out = Vec::with_capacity(CHUNK + 8);
    for word in (offset / 8..).take(len.div_ceil(8)) {
        out.extend_from_slice(&word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
    out.truncate(len);
    Bytes::from(out)
}

/// SHA-256 over the first `total` bytes.
pub fn digest(total: u64) -> String {
    let mut hash = Hash::default();
    let mut offset = 0;
    while offset < total {
        let bytes = chunk(offset, total);
        hash.update(&bytes);
        offset += bytes.len() as u64;
    }
    hash.finish()
}

pub struct Hash(Context);

impl Default for Hash {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Hash {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(self) -> String {
        hex(self.0.finish().as_ref())
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    let mut hash = Hash::default();
    hash.update(bytes);
    hash.finish()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
