//! The vault's error: why it can't be opened or written.

/// The largest vault: some ten thousand keys.
pub(super) const MAX_FILE: usize = 4 * 1024 * 1024;
/// The longest record of a generation that was seen.
pub(super) const MAX_RECORD: usize = 96;

/// An error of a vault's bytes, read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// It has not the first bytes of one.
    #[error("is no vault")]
    NoVault,
    /// A version or a function that this one doesn't know.
    #[error("was written by a newer locum")]
    Newer,
    /// It ends before it should.
    #[error("is cut short")]
    Truncated,
    /// A byte of it is another.
    #[error("was altered or damaged")]
    Altered,
    /// Its parameters make guessing cheap.
    #[error("asks for a weaker protection of the password than any locum writes; somebody changed it")]
    Weakened,
    /// Its parameters take hours or gigabytes.
    #[error("asks for more time or memory to open it than any locum writes; somebody changed it")]
    Overdone,
    /// Another password, or another machine.
    #[error("does not open with this password")]
    WrongKey,
    /// It is an older copy, by the count of its writes.
    #[error("is older than one that was seen here: generation {found} of {seen}, so an old copy was put in its place")]
    RolledBack {
        /// How often it was written.
        found: u64,
        /// How often the newest was that is known of.
        seen: u64,
    },
    /// What it would be older than isn't known.
    #[error(
        "is of generation {found}, and which was seen here last isn't known: the record of it is gone, or the vault is new here"
    )]
    Unrecorded {
        /// How often it was written.
        found: u64,
    },
    /// What was seen of it can't be trusted.
    #[error("has beside it a record of another vault's generations, or one that was changed")]
    ForeignRecord,
    /// No more fits in.
    #[error("is full: it holds {} MiB at most", MAX_FILE / 1024 / 1024)]
    Full,
    /// No random numbers, and so no salt and no nonce.
    #[error("can't be written: the system gives no random numbers")]
    Random,
}
