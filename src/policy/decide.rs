//! The one place that makes permits.

use crate::name::KeyName;

/// Proof that a request was judged and may have these keys.
#[derive(Debug)]
pub struct Permit {
    keys: Vec<KeyName>,
}

impl Permit {
    /// The keys that this exchange uses or could use: their values are needed before a byte leaves.
    pub fn keys(&self) -> &[KeyName] {
        &self.keys
    }
}
