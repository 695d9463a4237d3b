//! The passwords of a `.netrc`: `machine HOST login NAME password VALUE`, over as many lines as one likes.

use super::scalar::{ConfigScalar, ScalarForm};

/// Its values, by the machine and their word.
pub fn read(text: &str) -> Vec<ConfigScalar> {
    let (mut found, mut machine) = (Vec::new(), String::from("default"));
    let mut words = words(text).into_iter();
    while let Some((_, word)) = words.next() {
        match word {
            "machine" => machine = words.next().map(|(_, host)| host.to_owned()).unwrap_or_default(),
            "default" => machine = "default".into(),
            "login" | "account" | "password" => {
                let Some((at, value)) = words.next() else { break };
                let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
                let at = if inner.is_some() { at + 1 } else { at };
                let value = inner.unwrap_or(value).to_owned();
                let path = vec![machine.clone(), word.to_owned()];
                found.push(ConfigScalar { path, at: at..at + value.len(), value, form: ScalarForm::Text });
            }
            _ => {}
        }
    }
    found
}

/// Its words with where they begin, without comments and the macros that end with an empty line.
fn words(text: &str) -> Vec<(usize, &str)> {
    let (mut words, mut start, mut is_macro) = (Vec::new(), 0, false);
    for line in text.split_inclusive('\n') {
        let begun = line.trim_start();
        is_macro = !begun.is_empty() && (is_macro || begun.starts_with("macdef"));
        let mut rest = if is_macro { "" } else { line };
        let mut at = start;
        while let Some(skip) = rest.find(|c: char| !c.is_whitespace()) {
            let word = rest.get(skip..).unwrap_or_default();
            // Python's reader takes a word that begins so for a comment, curl's a line
            if word.starts_with('#') && words_are_done(line, rest) {
                break;
            }
            let len = word.find(char::is_whitespace).unwrap_or(word.len());
            words.push((at + skip, word.get(..len).unwrap_or_default()));
            rest = word.get(len..).unwrap_or_default();
            at += skip + len;
        }
        start += line.len();
    }
    words
}

/// Whether the next word isn't the value of the one before it.
fn words_are_done(line: &str, rest: &str) -> bool {
    let before = line.strip_suffix(rest).unwrap_or_default().split_whitespace().next_back();
    !before.is_some_and(|word| ["login", "account", "password", "machine"].contains(&word))
}
