//! Look-alikes: placeholders in the shape of a key, for programs that check it. This is the one rule on what they may be.

use crate::name::KeyName;

/// The shortest look-alike, in bytes: a shorter one could turn up by chance.
pub(super) const MIN_LOOKALIKE: usize = 16;
/// The longest look-alike, in bytes: the bound on what a body may hold back.
const MAX_LOOKALIKE: usize = 256;
/// So few different characters make a ruler, padding or a row of zeros, which turn up by design.
const MIN_DIFFERENT: usize = 4;

/// A text that can't be a look-alike, or look-alikes that can't be told apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookalikeError {
    /// It could turn up by chance.
    #[error("it has {} characters; {MIN_LOOKALIKE} at least, {MAX_LOOKALIKE} at most", .0.len())]
    Short(String),
    /// A body that streams would hold back too much.
    #[error("it has {} characters; {MIN_LOOKALIKE} at least, {MAX_LOOKALIKE} at most", .0.len())]
    Long(String),
    /// Some encoding would have to change it.
    #[error("it may have letters, digits and - _ . ~ : + / =")]
    Character(String, char),
    /// Rulers and padding look so.
    #[error("it has less than {MIN_DIFFERENT} different characters, as rulers and padding do")]
    Uniform(String),
    /// Two keys have it.
    #[error("placeholder '{0}' belongs to two keys, {1} and {2}")]
    Shared(String, KeyName, KeyName),
    /// The search can't be built.
    #[error("{0} placeholders are more than can be searched for")]
    TooMany(usize),
}

/// Checks a look-alike: long and odd enough not to turn up by chance, and the same in every encoding that doesn't have to
/// change it.
///
/// # Errors
/// The first rule that the text breaks: its length, its characters, how many of them differ.
pub fn check_lookalike(text: &str) -> Result<(), LookalikeError> {
    if text.len() < MIN_LOOKALIKE {
        return Err(LookalikeError::Short(text.into()));
    }
    if text.len() > MAX_LOOKALIKE {
        return Err(LookalikeError::Long(text.into()));
    }
    if let Some(c) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "-_.~:+/=".contains(*c))) {
        return Err(LookalikeError::Character(text.into(), c));
    }
    let mut different: Vec<u8> = text.bytes().collect();
    different.sort_unstable();
    different.dedup();
    if different.len() < MIN_DIFFERENT { Err(LookalikeError::Uniform(text.into())) } else { Ok(()) }
}

/// Each look-alike once, with its key; the longest first, so that one that begins like another is not cut short.
pub(super) fn accept(
    lookalikes: impl IntoIterator<Item = (String, KeyName)>,
) -> Result<Vec<(Box<str>, KeyName)>, LookalikeError> {
    let mut accepted: Vec<(Box<str>, KeyName)> = Vec::new();
    for (text, key) in lookalikes {
        check_lookalike(&text)?;
        match accepted.iter().find(|(other, _)| **other == *text) {
            Some((_, owner)) if *owner == key => {}
            Some((_, owner)) => return Err(LookalikeError::Shared(text, owner.clone(), key)),
            None => accepted.push((text.into(), key)),
        }
    }
    accepted.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
    Ok(accepted)
}
