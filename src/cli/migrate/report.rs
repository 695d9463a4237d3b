//! What was moved, what stays and what is left to do, for a person.

use super::key_move::KeyMove;
use super::scanned_file::ScannedFile;
use super::traces;
use crate::cli::table;
use crate::config::key_scan::{FoundValue, StayReason, ValueVerdict};
use crate::config::settings::Settings;
use crate::secrets::masked;

/// A row for each place that has a placeholder now.
pub fn placed(documents: &[ScannedFile], settings: &Settings) {
    let mut rows = vec![["PLACE", "NAME", "NOW"].map(str::to_owned)];
    for document in documents {
        for (of, value) in document.moved() {
            let Some(setting) = settings.keys.get(of) else { continue };
            rows.push([document.place(value), shown(&value.path), setting.rule.shown_placeholder()]);
        }
    }
    if rows.len() > 1 {
        print!("{}", table::shown(&rows));
    }
}

/// A row for each value that may be a key and stays, with what to do about it. How many there are.
pub fn staying(documents: &[ScannedFile]) -> usize {
    for (document, why) in documents.iter().filter_map(|d| Some((d, d.scan.unreadable.as_ref()?))) {
        println!("note: {}: {why}", document.named.display());
    }
    let stays: Vec<(&ScannedFile, &FoundValue, &StayReason)> = documents
        .iter()
        .flat_map(|document| document.scan.values.iter().map(move |value| (document, value)))
        .filter_map(|(document, value)| match &value.verdict {
            ValueVerdict::Stays(why) => Some((document, value, why)),
            _ => None,
        })
        .collect();
    let mut rows = vec![["STAYS", "NAME", "VALUE", "WHY", "NEXT"].map(str::to_owned)];
    for (document, value, why) in &stays {
        let masked = masked(value.value.as_bytes());
        rows.push([document.place(value), shown(&value.path), masked, why.to_string(), why.next()]);
    }
    if rows.len() > 1 {
        print!("{}", table::shown(&rows));
    }
    stays.len()
}

/// What else has the old text.
pub fn traces(documents: &[ScannedFile]) {
    for document in documents.iter().filter(|document| document.moved().next().is_some()) {
        for told in traces::of(document) {
            println!("note: {told}");
        }
    }
}

/// The one line that is to be typed next.
pub fn next<'a>(moved: impl Iterator<Item = &'a KeyMove<'a>>) {
    let names: Vec<&str> = moved.map(|key| key.setting.name.as_str()).collect();
    if !names.is_empty() {
        println!("next: 'locum key rotate {}' makes all old copies worthless", names.join(" "));
    }
}

/// A name from a file, as a terminal may have it.
fn shown(path: &str) -> String {
    path.escape_debug().to_string()
}
