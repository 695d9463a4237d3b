//! The vault's error: why it can't be opened or written.

/// The largest vault: some ten thousand keys.
pub(super) const MAX_FILE: usize = 4 * 1024 * 1024;

/// An error of a vault's bytes, read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    #[error("is no vault")]
    NoVault,
    #[error("was written by a newer locum")]
    Newer,
    #[error("is cut short")]
    Truncated,
    #[error("was altered or damaged")]
    Altered,
    #[error("asks for a weaker protection of the password than any locum writes; somebody changed it")]
    Weakened,
    #[error("asks for more time or memory to open it than any locum writes; somebody changed it")]
    Overdone,
    #[error("does not open with this password")]
    WrongKey,
    #[error("is full: it holds {} MiB at most", MAX_FILE / 1024 / 1024)]
    Full,
    #[error("can't be written: the system gives no random numbers")]
    Random,
}
