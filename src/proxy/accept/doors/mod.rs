//! The doors that clients come in by: a request to a proxy, or a connection that was led here on its way elsewhere. Behind
//! each, the same policy and the same records.

pub(super) mod first_bytes;
pub(super) mod first_head;
pub(super) mod http;
pub mod redirected;
