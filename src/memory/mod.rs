//! Secret bytes: sealed at rest, opened for one use, wiped after it; and a process that shows its memory to nobody.
//!
//! Only this room and `confine` may hold `unsafe` code. Where the secrets come from is not its business.

mod environ;
mod harden;
pub mod own_variables;
mod pages;
mod sealed;
mod trim;
mod wiping;

pub use environ::{Environment, TakeError};
pub use harden::{Hardened, harden};
pub use pages::Protection;
pub use sealed::{Sealed, Unsealable, protection, wipe_all, wipe_on_panic, wipe_stack};
pub use trim::give_back;
pub use wiping::{WipingAllocator, wipe};

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

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plaintext(…)")
    }
}
