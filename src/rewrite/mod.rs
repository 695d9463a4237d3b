//! Puts keys where placeholders stand in a request: bytes in, bytes out. It has no sockets, no clocks, and no say in what is allowed.

mod account;
pub mod body;
pub mod coding;
mod dress;
mod finder;
mod form;
mod grpc;
pub mod head;
mod json;
mod kind;
mod multipart;
pub mod scrub;

pub use account::{BodyFault, BodyKey, Use};
pub use dress::{Misfit, Unfit};
pub use finder::{LookalikeError, MAX_LOOKALIKE, MIN_LOOKALIKE, Vocabulary};
