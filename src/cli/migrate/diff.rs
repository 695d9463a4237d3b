//! What would be changed in a file, as a unified diff with all values masked.

use super::scanned_file::ScannedFile;
use crate::config::key_scan::{FoundValue, ValueWriting, replaced};
use crate::config::settings::Settings;
use crate::secrets::masked as mask;
use std::fmt::Write as _;
use std::ops::Range;

/// The changed lines alone: those around them may hold what nobody has to see.
pub fn masked(document: &ScannedFile, settings: &Settings) -> String {
    let placed = document.placed(settings);
    if placed.is_empty() {
        return String::new();
    }
    let hidden: Vec<(Range<usize>, String)> =
        document.scan.values.iter().map(|value| (value.at.clone(), hidden(document, value))).collect();
    let with_placed = |(at, mask): &(Range<usize>, String)| match placed.iter().find(|(place, _)| place == at) {
        Some((at, placed)) => placed.edits(at),
        None => vec![(at.clone(), mask.clone())],
    };
    let before = replaced(&document.text, &hidden);
    let after = replaced(&document.text, &hidden.iter().flat_map(with_placed).collect::<Vec<_>>());
    let named = document.named.display();
    format!("--- {named}\n+++ {named}\n{}", hunks(&before, &after))
}

/// A marker as it is, and else as many lines as the value has, so that the lines keep their numbers.
fn hidden(document: &ScannedFile, found: &FoundValue) -> String {
    let raw = document.text.get(found.at.clone()).unwrap_or_default();
    match found.writing {
        ValueWriting::Marker(_) => raw.to_owned(),
        _ => format!("{}{}", mask(found.value.as_bytes()), "\n".repeat(raw.matches('\n').count())),
    }
}

/// Both texts have the same lines, some of them changed.
fn hunks(before: &str, after: &str) -> String {
    let pairs: Vec<(&str, &str)> = before.lines().zip(after.lines()).collect();
    let (mut text, mut at) = (String::new(), 0);
    while let Some(skip) = pairs.get(at..).and_then(|rest| rest.iter().position(|(old, new)| old != new)) {
        let start = at + skip;
        let changed: Vec<_> = pairs.iter().skip(start).take_while(|(old, new)| old != new).collect();
        at = start + changed.len();
        let span = if changed.len() == 1 { String::new() } else { format!(",{}", changed.len()) };
        let _ = writeln!(text, "@@ -{0}{span} +{0}{span} @@", start + 1);
        for (old, _) in &changed {
            let _ = writeln!(text, "-{old}");
        }
        for (_, new) in &changed {
            let _ = writeln!(text, "+{new}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::hunks;

    #[test]
    fn changed_lines_are_told_with_their_numbers() {
        assert_eq!(hunks("a\nb\nc\nd\ne", "a\nB\nC\nd\nE"), "@@ -2,2 +2,2 @@\n-b\n-c\n+B\n+C\n@@ -5 +5 @@\n-e\n+E\n");
        assert_eq!(hunks("a", "a"), "");
    }
}
