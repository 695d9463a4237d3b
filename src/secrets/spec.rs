//! The notation of a key's source in a config, parsed and written. Asking the source is the other files' work.

use crate::name::KeyName;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// `source = "…"` of a key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SourceSpec {
    /// The environment, then the keyring, the vault and the machine's store: the first that has a value.
    #[default]
    Auto,
    /// A variable.
    Env(String),
    /// A file that holds the value alone.
    File(PathBuf),
    /// The keyring of the user's session.
    Keyring,
    /// The encrypted file for a master password.
    Vault,
    /// The encrypted file that is bound to this machine.
    Machine,
    /// An absolute program and its arguments; what it prints is the value.
    Exec(Vec<String>),
}

/// A text that names no source; the message says what would be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SpecError(String);

impl SourceSpec {
    /// Every variable that may hold the key: those of the catalog, else `NAME_API_KEY`.
    pub fn variables(&self, name: &KeyName, catalog: &[String]) -> Vec<String> {
        match self {
            SourceSpec::Env(variable) => vec![variable.clone()],
            SourceSpec::Auto if catalog.is_empty() => vec![format!("{}_API_KEY", name.as_str().to_ascii_uppercase())],
            SourceSpec::Auto => catalog.to_vec(),
            _ => Vec::new(),
        }
    }
}

impl FromStr for SourceSpec {
    type Err = SpecError;

    fn from_str(s: &str) -> Result<Self, SpecError> {
        match s.split_once(':') {
            None => parse_word(s),
            Some(("env", name)) => parse_env(name),
            Some(("file", "")) => Err(SpecError("'file:' needs a path, as in file:/run/secrets/tool".into())),
            Some(("file", path)) => Ok(SourceSpec::File(path.into())),
            Some(("exec", list)) => parse_exec(list),
            Some(_) => Err(unknown(s)),
        }
    }
}

fn parse_word(s: &str) -> Result<SourceSpec, SpecError> {
    Ok(match s {
        "auto" => SourceSpec::Auto,
        "keyring" => SourceSpec::Keyring,
        "vault" => SourceSpec::Vault,
        "machine" => SourceSpec::Machine,
        _ => return Err(unknown(s)),
    })
}

/// What follows the colon may be a key that somebody pasted, so it isn't repeated.
fn unknown(s: &str) -> SpecError {
    let word: String = s.split(':').next().unwrap_or_default().chars().take(16).collect();
    SpecError(format!(
        "'{}' is no source; there are auto, env:NAME, file:PATH, keyring, vault, machine and exec:[\"/program\", …]",
        if s.contains(':') { word.escape_debug().to_string() } else { "this".into() }
    ))
}

fn parse_env(name: &str) -> Result<SourceSpec, SpecError> {
    let valid = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    if name.is_empty() || !name.as_bytes().iter().all(valid) || name.as_bytes().first().is_some_and(u8::is_ascii_digit)
    {
        return Err(SpecError("'env:' needs the name of a variable, as in env:TOOL_API_KEY".into()));
    }
    Ok(SourceSpec::Env(name.into()))
}

fn parse_exec(list: &str) -> Result<SourceSpec, SpecError> {
    let bad = |why: &str| SpecError(format!("'exec:' {why}; write it as exec:[\"/usr/bin/op\", \"read\", \"op://…\"]"));
    let words: Vec<String> = serde_json::from_str(list).map_err(|_| bad("needs a list of strings"))?;
    match words.first() {
        None => Err(bad("needs a program")),
        Some(program) if !std::path::Path::new(program).is_absolute() => Err(bad("needs an absolute program")),
        Some(_) if words.iter().any(|w| w.contains('\0')) => Err(bad("can't pass NUL bytes")),
        Some(_) => Ok(SourceSpec::Exec(words)),
    }
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceSpec::Auto => f.write_str("auto"),
            SourceSpec::Env(name) => write!(f, "env:{name}"),
            SourceSpec::File(path) => write!(f, "file:{}", path.display()),
            SourceSpec::Keyring => f.write_str("keyring"),
            SourceSpec::Vault => f.write_str("vault"),
            SourceSpec::Machine => f.write_str("machine"),
            SourceSpec::Exec(words) => write!(f, "exec:{}", serde_json::json!(words)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sources_are_read_as_the_contract_writes_them() {
        for (written, read) in [
            ("auto", SourceSpec::Auto),
            ("env:TOOL_API_KEY", SourceSpec::Env("TOOL_API_KEY".into())),
            ("file:/run/secrets/tool", SourceSpec::File("/run/secrets/tool".into())),
            ("file:C:\\keys\\tool", SourceSpec::File("C:\\keys\\tool".into())),
            ("keyring", SourceSpec::Keyring),
            ("vault", SourceSpec::Vault),
            ("machine", SourceSpec::Machine),
            (
                r#"exec:["/usr/bin/op", "read", "op://a/b"]"#,
                SourceSpec::Exec(vec!["/usr/bin/op".into(), "read".into(), "op://a/b".into()]),
            ),
        ] {
            assert_eq!(written.parse(), Ok(read), "{written}");
        }
    }

    #[test]
    fn a_refused_source_says_what_is_accepted() {
        for (written, said) in [
            ("", "exec:[\"/program\""),
            ("Keyring", "keyring, vault"),
            ("vaults:x", "'vaults' is no source"),
            ("env:", "env:TOOL_API_KEY"),
            ("env:A=B", "env:TOOL_API_KEY"),
            ("env:9A", "env:TOOL_API_KEY"),
            ("file:", "needs a path"),
            ("exec:", "list of strings"),
            ("exec:[]", "needs a program"),
            (r#"exec:["op"]"#, "absolute program"),
            (r#"exec:["/op", 1]"#, "list of strings"),
            ("exec:[\"/op\", \"\\u0000\"]", "NUL"),
        ] {
            let e = written.parse::<SourceSpec>().unwrap_err().to_string();
            assert!(e.contains(said), "{written}: {e}");
        }
    }

    #[test]
    fn a_key_pasted_as_a_source_is_not_repeated() {
        for written in ["sk-proj-0123456789abcdef", "x:sk-proj-0123456789abcdef"] {
            let e = written.parse::<SourceSpec>().unwrap_err().to_string();
            assert!(!e.contains("sk-proj"), "{e}");
        }
    }

    #[test]
    fn auto_looks_at_the_catalogs_variables_or_its_own() {
        let name: KeyName = "my_tool".parse().unwrap();
        let catalog = ["A".to_owned(), "B".to_owned()];
        assert_eq!(SourceSpec::Auto.variables(&name, &catalog), ["A", "B"]);
        assert_eq!(SourceSpec::Auto.variables(&name, &[]), ["MY_TOOL_API_KEY"]);
        assert_eq!(SourceSpec::Env("X".into()).variables(&name, &catalog), ["X"]);
        assert_eq!(SourceSpec::Vault.variables(&name, &catalog), [""; 0]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(words in proptest::collection::vec("[^\\x00]*", 0..4), path in "[^\\x00]+") {
            let mut program = vec!["/bin/x".to_owned()];
            program.extend(words);
            for spec in [SourceSpec::Exec(program), SourceSpec::File(path.into())] {
                prop_assert_eq!(spec.to_string().parse(), Ok(spec));
            }
        }

        #[test]
        fn no_text_breaks_the_parser(s in "(exec:|env:|file:|)\\PC*") {
            let _ = s.parse::<SourceSpec>();
        }
    }
}
