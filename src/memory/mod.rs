//! Secret bytes: sealed at rest, opened for one use, wiped after it.

use std::fmt;
use zeroize::Zeroizing;

/// A secret in the clear, for as short as one exchange; its bytes are wiped when it is dropped.
pub struct Opened(Zeroizing<Vec<u8>>);

impl Opened {
    /// Takes the bytes over; the vector must not have been grown since it held the secret (growing leaves copies).
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opened(…)")
    }
}
