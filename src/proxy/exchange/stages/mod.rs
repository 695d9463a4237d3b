//! The stages of an exchange, each a type that only the one before it can make: a step that is left out, or comes in the wrong
//! order, doesn't compile.
//!
//! ```text
//! Asked -judge-> Judged -open-> Opened -rewrite-> Rewritten -record-> Recorded -send-> Sent -answer-> Response
//! ```
//!
//! What is asked of locum itself is answered at once ([`as_locum`]).
//!
//! [`Rewritten`](rewritten::Rewritten) has the final head, with Host and length set, and a held body as it leaves: whatever
//! needs both, such as a signature, goes between `rewrite` and `record`.

mod as_locum;
pub(super) mod asked;
mod judged;
mod opened;
mod recorded;
mod rewritten;
mod sent;
