//! Keys beside all values of a file: in comments, in names, in commands.

use super::names::{NameHint, hint, is_public, words};
use super::owner::KeyOwners;
use super::plausible::{is_example, is_nothing, is_random, is_reference};
use std::ops::Range;

/// Shorter ones are words of a sentence.
const MIN_LENGTH: usize = 8;
/// What stands in a URL before its password, in bytes at most.
const LONGEST_URL: usize = 512;

/// What may be a key outside of `values`, which are in order and apart; with the name before it.
pub fn find(text: &str, values: &[Range<usize>], owners: &KeyOwners<'_>) -> Vec<(Range<usize>, String)> {
    let mut found = Vec::new();
    let mut from = 0;
    for value in values.iter().cloned().chain(std::iter::once(text.len()..text.len())) {
        let gap = text.get(from..value.start.max(from)).unwrap_or_default();
        for (at, name) in in_gap(gap, owners) {
            found.push((from + at.start..from + at.end, name));
        }
        from = from.max(value.end);
    }
    found
}

fn in_gap(gap: &str, owners: &KeyOwners<'_>) -> Vec<(Range<usize>, String)> {
    let of_key = |c: char| c.is_ascii_alphanumeric() || "-_.~+/!|*".contains(c);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(skip) = gap.get(at..).and_then(|rest| rest.find(of_key)) {
        let start = at + skip;
        let rest = gap.get(start..).unwrap_or_default();
        let len = rest.find(|c| !of_key(c)).unwrap_or(rest.len());
        let padding = rest.get(len..).unwrap_or_default();
        let padding = padding.len() - padding.trim_start_matches('=').len();
        // what base64 ends in belongs to it, and one before a value doesn't
        let is_padded = padding > 0 && !rest.get(len + padding..).is_some_and(|rest| rest.starts_with(of_key));
        let end = start + len + if is_padded { padding } else { 0 };
        at = start + len;
        let token = gap.get(start..end).unwrap_or_default();
        let name = name_before(gap.get(..start).unwrap_or_default());
        if is_suspect(token, name, owners) || is_password_of_url(gap, start..end) {
            found.push((start..end, name.to_owned()));
        }
    }
    found
}

fn is_suspect(token: &str, name: &str, owners: &KeyOwners<'_>) -> bool {
    if token.len() < MIN_LENGTH || is_nothing(token) || is_reference(token) || is_example(token) {
        return false;
    }
    let name_words = words(name);
    let is_telling = hint(&name_words).is_some_and(|(hint, _)| hint != NameHint::Vague) && !is_public(&name_words);
    let has_digit = token.bytes().any(|b| b.is_ascii_digit());
    !owners.by_looks(token).is_empty()
        || (owners.of_variable(name).is_some() || is_telling) && has_digit && !token.contains("://")
        || is_telling && is_random(token)
}

/// Whether it stands as in `https://user:token@host`.
fn is_password_of_url(gap: &str, token: Range<usize>) -> bool {
    if !gap.get(token.end..).is_some_and(|rest| rest.starts_with('@')) {
        return false;
    }
    let from = (token.start.saturating_sub(LONGEST_URL)..=token.start).find(|at| gap.is_char_boundary(*at));
    let before = gap.get(from.unwrap_or_default()..token.start).unwrap_or_default();
    let word = before.rsplit([' ', '"', '\'', '\n']).next().unwrap_or_default();
    let user = word.split_once("://").and_then(|(_, rest)| rest.strip_suffix(':'));
    user.is_some_and(|user| !user.contains(['/', '@'])) && !is_reference(&gap[token])
}

/// The name of the pair whose value begins behind `before`.
fn name_before(before: &str) -> &str {
    let before = before.trim_end_matches(['"', '\'', ' ', '\t']);
    let Some(before) = before.strip_suffix(['=', ':']) else { return "" };
    let before = before.trim_end_matches(['"', '\'', ' ', '\t']);
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let start =
        before.rfind(|c| !is_name(c)).map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    before.get(start..).unwrap_or_default()
}
