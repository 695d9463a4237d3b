//! Examples in the help of commands: what people type first.

use clap::Command;

/// A command by its words, and what it is typed like. Each line is parsed in a test.
const EXAMPLES: &[(&[&str], &[&str])] = &[
    (&["configure"], &["locum configure", "locum configure openai my_tool", "locum configure --yes"]),
    (
        &["run"],
        &[
            "locum run -- claude",
            "locum run --confine -- claude",
            "locum run --key tool=TOOL_API_KEY@api.tool.example -- python agent.py",
            "locum run --agent researcher -- python agent.py",
            "locum run --strict -- make test",
        ],
    ),
    (&["status"], &["locum status", "locum status --json"]),
    (&["env"], &["eval \"$(locum env)\"", "eval \"$(locum env --unset)\"", "locum env --shell json"]),
    (&["check"], &["locum check --json"]),
    (&["doctor"], &["locum doctor", "locum doctor --fix", "locum doctor --json"]),
    (&["ca", "export"], &["locum ca export --out locum-ca.pem"]),
    (&["ca", "rotate"], &["locum ca rotate --grace 7d"]),
    (
        &["key", "set"],
        &[
            "locum key set openai",
            "locum key set azure_openai --host my.openai.azure.com",
            "locum key set tool --host api.tool.example --where header:x-api-key",
            "locum key set tool --keep --host api.tool.example --host eu.tool.example",
        ],
    ),
    (
        &["key", "rotate"],
        &[
            "locum key rotate openai",
            "locum key rotate tool --stdin < new.key",
            "locum key rotate --all",
            "locum key rotate --all --from new.env",
        ],
    ),
    (&["key", "migrate"], &["locum key migrate --dry-run .env mcp.json", "locum key migrate --undo .env"]),
    (&["key", "import"], &["locum key import --from env"]),
    (&["agent", "add"], &["locum agent add researcher --keys openai,brave --expires 30d > token"]),
    (&["explain"], &["locum explain GET https://api.openai.com/v1/models -H 'Authorization: Bearer <<openai_key>>'"]),
    (&["prompt"], &["locum prompt", "locum prompt --agent researcher --write AGENTS.md"]),
    (&["audit", "tail"], &["locum audit tail --follow"]),
    (&["audit", "query"], &["locum audit query --failed --since 2h", "locum audit query --key openai --json"]),
    (&["audit", "export"], &["locum audit export --since yesterday > audit.csv"]),
    (&["audit", "verify"], &["locum audit verify --anchor heads.txt"]),
    (&["completions"], &["locum completions bash > ~/.local/share/bash-completion/completions/locum"]),
    (&["man"], &["locum man | man -l -", "locum man key rotate | man -l -", "locum man --dir ~/.local/share/man/man1"]),
];

/// Those of the command with these words.
pub(super) fn of(words: &[String]) -> Option<&'static [&'static str]> {
    EXAMPLES.iter().find(|(command, _)| *command == words).map(|(_, lines)| *lines)
}

/// Adds them to the commands below this one, which stay in their order.
pub(super) fn add(command: Command) -> Command {
    below(command, &[])
}

fn below(command: Command, above: &[String]) -> Command {
    command.mut_subcommands(|command| {
        let words = [above, &[command.get_name().to_owned()]].concat();
        let command = match of(&words) {
            Some(lines) => command.after_help(format!("Examples:\n  {}", lines.join("\n  "))),
            None => command,
        };
        below(command, &words)
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, command_line, other_words};
    use super::*;
    use clap::Parser as _;

    /// The words of a line, as far as a shell would hand them on.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quote = None;
        for c in line.chars() {
            match c {
                '\'' | '"' if quote.is_none() => quote = Some(c),
                c if quote == Some(c) => quote = None,
                ' ' if quote.is_none() => words.push(String::new()),
                c => words.last_mut().unwrap().push(c),
            }
        }
        words.retain(|word| !word.is_empty());
        words.into_iter().take_while(|word| !matches!(word.as_str(), ">" | "<" | "|" | "&" | "#" | "…")).collect()
    }

    #[test]
    fn every_example_can_be_typed() {
        for (command, lines) in EXAMPLES {
            for line in lines.iter().filter(|line| line.starts_with("locum ")) {
                let words = words(line);
                assert_eq!(words[1..=command.len()], **command, "{line}");
                assert!(Cli::try_parse_from(&words).is_ok(), "{line}");
            }
        }
    }

    #[test]
    fn every_command_and_argument_has_help() {
        let mut waiting = vec![command_line()];
        while let Some(command) = waiting.pop() {
            let name = command.get_name().to_owned();
            assert!(command.get_about().is_some(), "{name}");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{name}: {}", argument.get_id());
            }
            waiting.extend(command.get_subcommands().cloned());
        }
    }

    /// Long words aside, such as a hash, nothing is wider than the terminal.
    #[test]
    fn help_fits_terminals_of_any_width() {
        for width in [60, 80, 120] {
            let mut waiting = vec![command_line()];
            while let Some(command) = waiting.pop() {
                let mut shown = command.clone().term_width(width);
                let help = shown.render_long_help().to_string();
                let written = help.split("Examples:").next().unwrap_or_default();
                // a line of usage is never broken
                let long = written.lines().find(|line| line.chars().count() > width && !line.starts_with("Usage:"));
                assert_eq!(long, None, "{width}: {}", command.get_name());
                waiting.extend(command.get_subcommands().cloned());
            }
        }
    }

    /// What documents tell people to type.
    const DOCUMENTS: [&str; 7] = [
        include_str!("../../README.md"),
        include_str!("../../SECURITY.md"),
        include_str!("../../CHANGELOG.md"),
        include_str!("../../examples/incident.md"),
        include_str!("../../examples/from_other_guides.md"),
        include_str!("../../examples/own-tool.toml"),
        include_str!("../../config/locum.toml"),
    ];

    /// Every `locum …` of a text: in quotes of code, and lines of a block of it.
    fn commands(text: &str) -> Vec<String> {
        let (mut found, mut is_block) = (Vec::new(), false);
        for line in text.lines() {
            if line.starts_with("```") {
                is_block = line.starts_with("```sh");
            } else if is_block {
                found.extend(line.starts_with("locum ").then(|| line.to_owned()));
                found.extend(line.split("$(").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())));
            } else {
                found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
            }
        }
        found.retain(|command| command.starts_with("locum ") && command != "locum was stopped");
        found
    }

    #[test]
    fn every_command_of_the_documents_can_be_typed() {
        use clap::error::ErrorKind as Kind;
        let mut count = 0;
        for command in DOCUMENTS.iter().flat_map(|text| commands(text)) {
            let words = other_words::read(words(&command.replace("NAME", "tool")).into_iter().map(Into::into));
            // of one that is only named the rest may be missing
            let is_known = Cli::try_parse_from(&words).map_or_else(
                |e| {
                    matches!(
                        e.kind(),
                        Kind::DisplayVersion
                            | Kind::MissingRequiredArgument
                            | Kind::DisplayHelpOnMissingArgumentOrSubcommand
                    ) || e.kind() == Kind::InvalidValue && command.ends_with("--anchor")
                },
                |_| true,
            );
            assert!(is_known, "{command}");
            count += 1;
        }
        assert!(count > 40, "{count}");
    }
}
