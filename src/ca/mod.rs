//! locum's own certificate authority: a root, the intermediate that signs for it, and a certificate per host that is answered for.

pub mod authority;
pub mod constraints;
mod error;
pub mod keystore;
pub mod leaf;
pub mod rotation;

pub use authority::Authority;
pub use constraints::{Scope, Subtree};
pub use error::CaError;
pub use leaf::Leaves;
pub use rotation::{Authorities, NextAuthority};
