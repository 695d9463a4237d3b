//! A secret while it is in use: its bytes in the clear, wiped behind it.

use super::wiping::wipe;
use std::fmt;
use zeroize::Zeroizing;

/// A secret in the clear, for as short as one exchange; its bytes are wiped when it is dropped.
///
/// ```compile_fail
/// fn clone<T: Clone>() {}
/// clone::<locum::memory::Plaintext>();
/// ```
/// ```compile_fail
/// fn display<T: std::fmt::Display>() {}
/// display::<locum::memory::Plaintext>();
/// ```
/// ```compile_fail
/// fn serialize<T: serde::Serialize>() {}
/// serialize::<locum::memory::Plaintext>();
/// ```
pub struct Plaintext(Zeroizing<Vec<u8>>);

impl Plaintext {
    /// Takes the bytes over; the vector must not have been grown since it held the secret (growing leaves copies).
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The secret bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// For a reader that fills it; its length is fixed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// Cuts the secret to its first `len` bytes and wipes the rest.
    pub fn truncate(&mut self, len: usize) {
        if let Some(tail) = self.0.get_mut(len..) {
            wipe(tail);
            self.0.truncate(len);
        }
    }
}

impl From<Zeroizing<Vec<u8>>> for Plaintext {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plaintext(…)")
    }
}
