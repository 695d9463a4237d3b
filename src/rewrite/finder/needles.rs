//! The needles that are searched for in place of whole placeholders: how those begin, and how the escapes of their letters do.

use super::lookalike::MIN_LOOKALIKE;
use crate::name::KeyName;
use std::collections::BTreeSet;

/// So many beginnings can be searched for at once with vector instructions, without getting slower with each.
pub(super) const OPENERS: usize = 32;

/// What to search for in place of whole look-alikes: as much of them as makes few enough. Many begin alike, since they imitate
/// the keys of few providers; the more letters, the fewer hits in vain.
pub(super) fn beginnings(lookalikes: &[(Box<str>, KeyName)]) -> BTreeSet<&[u8]> {
    let cut = |letters: usize| -> BTreeSet<&[u8]> {
        lookalikes.iter().map(|(text, _)| text.as_bytes()).map(|t| t.get(..letters).unwrap_or(t)).collect()
    };
    (4..=MIN_LOOKALIKE).rev().map(cut).find(|texts| texts.len() <= OPENERS).unwrap_or_else(|| cut(MIN_LOOKALIKE))
}

/// What all JSON escapes of these letters begin with.
pub(super) fn json_escape(letters: &[u8]) -> Vec<u8> {
    if letters.contains(&b'/') {
        return b"\\".to_vec(); // it has the short escape `\/` as well
    }
    let mut needle = b"\\u00".to_vec();
    needle.extend(shared_nibble(letters));
    needle
}

/// What all percent-encodings of these letters begin with.
pub(super) fn percent_escape(letters: &[u8]) -> Vec<u8> {
    let mut needle = b"%".to_vec();
    needle.extend(shared_nibble(letters));
    needle
}

/// The first hex digit of the letters, where they have but one: a longer needle is found less often in vain.
fn shared_nibble(letters: &[u8]) -> Option<u8> {
    let (first, rest) = letters.split_first()?;
    rest.iter().all(|l| l >> 4 == first >> 4).then_some(b'0' + (first >> 4))
}
