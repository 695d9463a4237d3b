//! Words for our commands that people bring along from other tools.

use std::ffi::OsString;

/// A word, and the command that it is here.
const OTHER_WORDS: [(&str, [&str; 2]); 8] = [
    ("rotate", ["key", "rotate"]),
    ("list-keys", ["key", "list"]),
    ("set-key", ["key", "set"]),
    ("add-key", ["key", "set"]),
    ("remove-key", ["key", "remove"]),
    ("migrate", ["key", "migrate"]),
    ("migrate-to-keyring", ["key", "migrate"]),
    ("import-keys", ["key", "import"]),
];
/// Options before a command that take a value.
const WITH_VALUE: [&str; 2] = ["--config", "--state"];

/// The arguments with the command by our own name.
pub(super) fn read(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let mut at = 1;
    while let Some(option) = arguments.get(at).and_then(|word| word.to_str()).filter(|word| word.starts_with('-')) {
        at += if WITH_VALUE.contains(&option) { 2 } else { 1 };
    }
    let ours = OTHER_WORDS.iter().find(|(word, _)| arguments.get(at).is_some_and(|argument| argument == word));
    if let Some((_, ours)) = ours {
        arguments.splice(at..=at, ours.map(OsString::from));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, command_line};
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn other_words_are_the_commands_that_they_mean() {
        for (line, ours) in [
            ("locum list-keys --json", "locum key list --json"),
            ("locum --config rotate rotate --all", "locum --config rotate key rotate --all"),
            ("locum --state=x remove-key a", "locum --state=x key remove a"),
            ("locum run -- rotate", "locum run -- rotate"),
            ("locum --help", "locum --help"),
            ("locum", "locum"),
        ] {
            assert_eq!(read(line.split(' ').map(OsString::from)).join(" ".as_ref()), OsString::from(ours));
        }
    }

    #[test]
    fn each_is_a_command_of_ours_and_no_name_of_one() {
        for (word, [above, below]) in OTHER_WORDS {
            let line = command_line();
            let ours = line.find_subcommand(above).and_then(|above| above.find_subcommand(below));
            assert!(ours.is_some() && Cli::command().find_subcommand(word).is_none(), "{word}");
        }
    }
}
