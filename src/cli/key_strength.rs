//! How much of a key a stranger would have to guess, in words.

use crate::rewrite::scrub::strength::{ENOUGH, Strength};

/// Why a key is not searched for in answers, where it could be guessed.
pub fn guessable(value: &[u8], secret_from: usize) -> Option<String> {
    let bits = Strength::of(value, secret_from).total();
    (bits < ENOUGH).then(|| {
        format!(
            "a stranger has to guess {bits:.0} bits of it, and with fewer than {ENOUGH:.0} a search would test guesses"
        )
    })
}
