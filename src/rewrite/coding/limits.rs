//! Limits on what a coded body may grow to: a few bytes can unfold to gigabytes.

use super::content_coding::CodingError;

/// Limits on how far a body may grow when its codings are opened. Each of stacked codings is held to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Bytes out for each byte in. Nothing but a run of one byte reaches 1000 in gzip, whose own limit is 1032.
    pub ratio: u64,
    /// So much is never refused for its ratio: small bodies of great regularity are common.
    pub free: u64,
    /// So many bytes at most.
    pub total: u64,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { ratio: 1000, free: 1 << 20, total: 16 << 30 }
    }
}

impl DecodeLimits {
    /// Checks what a decoder has made so far of what it has read, in bytes.
    ///
    /// # Errors
    /// The limit that was passed.
    pub(super) fn check(&self, read: u64, made: u64) -> Result<(), CodingError> {
        if made > self.total {
            return Err(CodingError::Size(self.total));
        }
        let limit = read.saturating_mul(self.ratio).max(self.free);
        if made > limit { Err(CodingError::Ratio { limit, ratio: self.ratio }) } else { Ok(()) }
    }
}
