//! Words for our commands that people bring along from other tools.

use std::ffi::OsString;

/// A word, and the command that it is here.
const OTHER_WORDS: [(&str, &[&str]); 9] = [
    ("rotate", &["key", "rotate"]),
    ("list-keys", &["key", "list"]),
    ("set-key", &["key", "set"]),
    ("add-key", &["key", "set"]),
    ("remove-key", &["key", "remove"]),
    ("migrate", &["key", "migrate"]),
    ("migrate-to-keyring", &["key", "migrate"]),
    ("import-keys", &["key", "import"]),
    ("context", &["prompt"]),
];
/// A group of commands elsewhere, which stand at the top here.
const GROUP: &str = "security";
/// What names a key elsewhere; here its name stands by itself.
const KEY_OPTION: &str = "--provider";
/// Options before a command that take a value.
const WITH_VALUE: [&str; 2] = ["--config", "--state"];

/// The arguments with the command by our own name.
pub(super) fn read(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let mut at = 1;
    while let Some(option) = arguments.get(at).and_then(|word| word.to_str()).filter(|word| word.starts_with('-')) {
        at += if WITH_VALUE.contains(&option) { 2 } else { 1 };
    }
    if arguments.get(at).is_some_and(|word| word == GROUP) && arguments.len() > at + 1 {
        arguments.remove(at);
    }
    let ours = OTHER_WORDS.iter().find(|(word, _)| arguments.get(at).is_some_and(|argument| argument == word));
    if let Some((_, ours)) = ours {
        arguments.splice(at..=at, ours.iter().map(OsString::from));
    }
    if arguments.get(at).is_some_and(|word| word == "key") {
        arguments = arguments.drain(..).filter_map(without_key_option).collect();
    }
    arguments
}

/// The word without what says that it names a key.
fn without_key_option(word: OsString) -> Option<OsString> {
    match word.to_str().and_then(|word| word.strip_prefix(KEY_OPTION)) {
        Some("") => None,
        Some(rest) => Some(rest.strip_prefix('=').map_or_else(|| word.clone(), OsString::from)),
        None => Some(word),
    }
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
            ("locum security list-keys", "locum key list"),
            ("locum rotate --provider anthropic", "locum key rotate anthropic"),
            ("locum key set --provider=anthropic --stdin", "locum key set anthropic --stdin"),
            ("locum key set --providers a", "locum key set --providers a"),
            ("locum context --format json", "locum prompt --format json"),
            ("locum security", "locum security"),
            ("locum run -- rotate", "locum run -- rotate"),
            ("locum run -- x --provider y", "locum run -- x --provider y"),
            ("locum --help", "locum --help"),
            ("locum", "locum"),
        ] {
            assert_eq!(read(line.split(' ').map(OsString::from)).join(" ".as_ref()), OsString::from(ours));
        }
    }

    #[test]
    fn each_is_a_command_of_ours_and_no_name_of_one() {
        for (word, ours) in OTHER_WORDS {
            let line = command_line();
            let ours = ours.iter().try_fold(&line, |above, below| above.find_subcommand(below));
            assert!(ours.is_some() && Cli::command().find_subcommand(word).is_none(), "{word}");
        }
    }

    /// Whatever letter is left out of a command or an option, the error names what was meant.
    #[test]
    fn a_slip_in_any_word_gets_what_was_meant() {
        let mut waiting = vec![(vec!["locum".to_owned()], command_line())];
        while let Some((above, command)) = waiting.pop() {
            let siblings: Vec<&str> = command.get_subcommands().map(|below| below.get_name()).collect();
            for below in command.get_subcommands() {
                let words = [above.as_slice(), &[below.get_name().to_owned()]].concat();
                for slip in slips(below.get_name()).filter(|slip| !siblings.contains(&slip.as_str())) {
                    let said = error([above.as_slice(), &[slip]].concat());
                    assert!(said.contains(&format!("'{}'", below.get_name())), "{words:?}: {said}");
                }
                waiting.push((words, below.clone()));
            }
            let long = |argument: &clap::Arg| argument.get_long().map(str::to_owned);
            let options: Vec<String> = command.get_arguments().filter_map(long).collect();
            for option in &options {
                for slip in slips(option).filter(|slip| !options.contains(slip)) {
                    let said = error([above.as_slice(), &[format!("--{slip}")]].concat());
                    assert!(said.contains(&format!("'--{option}")), "{above:?} --{slip}: {said}");
                }
            }
        }
    }

    /// The word with two letters in each other's place, and without one within it.
    fn slips(word: &str) -> impl Iterator<Item = String> {
        let letters: Vec<char> = word.chars().collect();
        let many = letters.len() > 3;
        (1..letters.len().saturating_sub(1)).filter(move |_| many).flat_map(move |at| {
            let (mut swapped, mut short) = (letters.clone(), letters.clone());
            swapped.swap(at, at + 1);
            short.remove(at);
            let same = swapped == letters;
            [(!same).then_some(swapped), Some(short)].into_iter().flatten().map(String::from_iter)
        })
    }

    fn error(words: Vec<String>) -> String {
        match command_line().try_get_matches_from(read(words.iter().map(OsString::from))) {
            Ok(_) => format!("{words:?} is no mistake"),
            Err(e) => e.to_string(),
        }
    }
}
