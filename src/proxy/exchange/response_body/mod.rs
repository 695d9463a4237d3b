//! A response on its way back: keys bound to the host that answers are taken out of its head and body.

pub(super) mod answer;
mod body;
pub(super) mod head;
mod hold;
mod portions;
pub(super) mod rewrite;
mod stream;
mod whole;

pub(super) use body::ResponseBody;
