//! How a file of settings is written, by its name and how it begins.

use super::line_reader::{self, LineDialect};
use super::scalar::ConfigScalar;
use super::{json_reader, netrc_reader, toml_reader, yaml_reader};
use std::path::Path;

/// The syntaxes that values are read from by their path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSyntax {
    /// With comments and trailing commas, or without.
    Json,
    Toml,
    Yaml,
    Netrc,
    /// Line by line.
    Lines(LineDialect),
}

impl FileSyntax {
    /// That of this file.
    pub fn of(file: &Path, text: &str) -> Self {
        let name = file.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let begins = |mark: &str| text.trim_start().starts_with(mark);
        match name.rsplit('.').next().unwrap_or_default() {
            "json" | "jsonc" | "json5" | "code-workspace" | "dockercfg" => Self::Json,
            "toml" => Self::Toml,
            "yaml" | "yml" => Self::Yaml,
            "netrc" | "_netrc" | "authinfo" => Self::Netrc,
            "ini" | "cfg" | "conf" | "cnf" | "properties" | "npmrc" | "pypirc" | "gitconfig" | "credentials" => {
                Self::Lines(LineDialect::Ini)
            }
            _ if begins("{") && json_reader::read(text).is_ok() => Self::Json,
            _ if begins("---") || text.lines().any(|line| line.starts_with("apiVersion:")) => Self::Yaml,
            _ if begins("[") => Self::Lines(LineDialect::Ini),
            _ => Self::Lines(LineDialect::Shell),
        }
    }

    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Toml => "TOML",
            Self::Yaml => "YAML",
            Self::Netrc => "netrc",
            Self::Lines(_) => "text",
        }
    }

    /// All its values.
    ///
    /// # Errors
    /// When the text is not written so, in the parser's words.
    pub fn read(self, text: &str) -> Result<Vec<ConfigScalar>, String> {
        match self {
            Self::Json => json_reader::read(text),
            Self::Toml => toml_reader::read(text),
            Self::Yaml => yaml_reader::read(text),
            Self::Netrc => Ok(netrc_reader::read(text)),
            Self::Lines(dialect) => Ok(line_reader::read(text, dialect)),
        }
    }
}
