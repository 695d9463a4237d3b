//! Secret bytes: sealed at rest, opened for one use, wiped after it; and a process that shows its memory to nobody.
//!
//! Only this room, `confine` and `system::sandbox` may hold `unsafe` code. Where the secrets come from is not its business.

mod environ;
mod harden;
pub mod own_variables;
mod pages;
mod plaintext;
mod sealed;
mod trim;
mod wiping;

pub use environ::{EnvironmentError, SealedEnvironment};
pub use harden::{Hardened, end_with_us, harden, renounce};
pub use pages::Protection;
pub use plaintext::Plaintext;
pub use sealed::{Sealed, UnsealError, WipeAtEnd, protection, wipe_all, wipe_stack};
pub use trim::give_back;
pub use wiping::{WipingAllocator, wipe};
