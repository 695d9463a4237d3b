//! locum's own certificate authority: a root, the intermediate that signs for it, and a certificate per host that is
//! answered for.

mod authority;
mod constraints;
mod error;
pub(crate) mod keystore;
mod leaf;
mod rotation;

pub use authority::Authority;
pub use constraints::{Scope, Subtree};
pub use error::CaError;
pub use leaf::Leaves;
pub use rotation::{Authorities, NextAuthority};
