//! The limits beyond which something is unusual, as `[anomaly]` sets them.

/// The limits that the operator can set; others are fixed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnomalyLimits {
    /// Uses of one key in a minute.
    pub rate_per_minute: u64,
    /// Failed exchanges with one key in a minute.
    pub errors: u64,
    /// Bytes of one response to a request with a key.
    pub large_response: u64,
}

impl Default for AnomalyLimits {
    fn default() -> Self {
        AnomalyLimits { rate_per_minute: 60, errors: 5, large_response: 10_000_000 }
    }
}
