//! Puts keys where placeholders stand in a request: bytes in, bytes out. It has no sockets, no clocks, and no say in what is allowed.

mod dress;
mod finder;
pub mod head;
pub mod scrub;

pub use dress::{Misfit, Unfit};
pub use finder::{LookalikeError, MAX_LOOKALIKE, MIN_LOOKALIKE, Vocabulary};
