//! Changes of the environment as the text that a shell evaluates, or as JSON.

use super::names::EnvironmentChanges;
use std::fmt::Write as _;

/// The shell whose syntax changes of the environment are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    /// sh, bash, zsh, dash, ksh
    #[value(aliases = ["bash", "zsh", "dash", "ksh"])]
    Sh,
    /// fish
    Fish,
    /// PowerShell
    #[value(alias = "pwsh")]
    Powershell,
    /// One object; null where a variable is taken away
    Json,
}

impl Shell {
    /// The shell that `$SHELL` names; sh where it names none that differs.
    pub fn of_path(path: &str) -> Self {
        match path.rsplit(['/', '\\']).next().unwrap_or_default().trim_end_matches(".exe") {
            "fish" => Shell::Fish,
            "pwsh" | "powershell" => Shell::Powershell,
            _ => Shell::Sh,
        }
    }

    /// The changes, one on a line.
    pub fn write(self, changes: &EnvironmentChanges) -> String {
        let mut out = String::new();
        if self == Shell::Json {
            out = serde_json::to_string_pretty(changes).unwrap_or_default();
            out.push('\n');
            return out;
        }
        for (name, value) in changes {
            let line = match (self, value) {
                (Shell::Fish, Some(v)) => format!("set -gx {name} '{}'", v.replace('\\', r"\\").replace('\'', r"\'")),
                (Shell::Fish, None) => format!("set -e {name}"),
                (Shell::Powershell, Some(v)) => format!("$env:{name} = '{}'", v.replace('\'', "''")),
                (Shell::Powershell, None) => format!("Remove-Item Env:{name} -ErrorAction SilentlyContinue"),
                (_, Some(v)) => format!("export {name}='{}'", v.replace('\'', r"'\''")),
                (_, None) => format!("unset {name}"),
            };
            let _ = writeln!(out, "{line}");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(value: &str) -> EnvironmentChanges {
        EnvironmentChanges::from([("A".to_owned(), Some(value.to_owned())), ("B".to_owned(), None)])
    }

    #[test]
    fn each_shell_reads_back_what_was_meant() {
        let value = r"it's \ a $HOME `x`";
        for (shell, text) in [
            (Shell::Sh, "export A='it'\\''s \\ a $HOME `x`'\nunset B\n"),
            (Shell::Fish, "set -gx A 'it\\'s \\\\ a $HOME `x`'\nset -e B\n"),
            (Shell::Powershell, "$env:A = 'it''s \\ a $HOME `x`'\nRemove-Item Env:B -ErrorAction SilentlyContinue\n"),
            (Shell::Json, "{\n  \"A\": \"it's \\\\ a $HOME `x`\",\n  \"B\": null\n}\n"),
        ] {
            assert_eq!(shell.write(&changes(value)), text);
        }
    }

    #[cfg(unix)]
    #[test]
    fn sh_itself_agrees() {
        for value in ["", "plain", "it's", "a\nb", r"\'", "$(exit 3)", "a\"b`c`", "é ü"] {
            let script = format!("{}printf %s \"$A\"", Shell::Sh.write(&changes(value)));
            let out = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&out.stdout), value);
        }
    }

    #[test]
    fn the_shell_is_known_by_its_path() {
        for (path, shell) in [
            ("/bin/bash", Shell::Sh),
            ("/usr/bin/fish", Shell::Fish),
            (r"C:\Program Files\PowerShell\7\pwsh.exe", Shell::Powershell),
            ("", Shell::Sh),
        ] {
            assert_eq!(Shell::of_path(path), shell, "{path}");
        }
    }
}
