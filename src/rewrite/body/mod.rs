//! A request's body in pieces, its placeholders replaced on the way. Content codings are taken off before and put on after it.

pub(crate) mod content_type;
pub(crate) mod escape;
pub(crate) mod form;
pub(crate) mod format;
pub(crate) mod grpc;
pub(crate) mod json;
pub(crate) mod ledger;
pub(crate) mod location;
pub(crate) mod multipart;
mod rewriter;
mod stream;

#[cfg(test)]
mod tests;

pub use rewriter::BodyRewriter;
