//! A request's body on its way out: passed as it is, held and rewritten whole, or rewritten while it streams.

mod body;
pub(super) mod came;
mod held;
mod limited;
mod passing;
pub(super) mod plan;
mod rewriting;

pub use body::RequestBody;
