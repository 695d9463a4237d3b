//! Mistakes in what the user wrote: where each is, what is wrong, and what to do next.

use serde::Serialize;
use serde::ser::SerializeStruct as _;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The place in a file or the environment where something is written, so that a mistake in it can be found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigLocation {
    /// A file as a whole: it can't be read, or its mode is wrong.
    File(Arc<Path>),
    /// A place in a file.
    Line {
        /// The config file.
        file: Arc<Path>,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// An environment variable.
    Variable(Arc<str>),
    /// An option of the command line.
    Option(Arc<str>),
}

impl fmt::Display for ConfigLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigLocation::File(file) => write!(f, "{}", file.display()),
            ConfigLocation::Line { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            ConfigLocation::Variable(name) => write!(f, "${name}"),
            ConfigLocation::Option(option) => f.write_str(option),
        }
    }
}

/// Flat, so that every row of a list has the same members.
impl Serialize for ConfigLocation {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (file, line, column, variable) = match self {
            ConfigLocation::File(file) => (Some(file), None, None, None),
            ConfigLocation::Line { file, line, column } => (Some(file), Some(line), Some(column), None),
            ConfigLocation::Variable(name) => (None, None, None, Some(name)),
            // of the command that is run: whoever gave it sees it
            ConfigLocation::Option(_) => (None, None, None, None),
        };
        let mut out = serializer.serialize_struct("ConfigLocation", 4)?;
        out.serialize_field("file", &file.map(|f| f.display().to_string()))?;
        out.serialize_field("line", &line)?;
        out.serialize_field("column", &column)?;
        out.serialize_field("variable", &variable.map(|v| &**v))?;
        out.end()
    }
}

/// One thing that is wrong with what the user wrote: what, and what to do next. It never repeats a value that could be
/// a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// The place to look at.
    #[serde(flatten)]
    pub at: ConfigLocation,
    /// What is wrong, without a value that could be a key.
    pub what: String,
    /// What to do next; may be empty.
    pub hint: String,
}

impl Mistake {
    /// Pairs what is wrong with what to do next.
    pub fn new(at: ConfigLocation, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { at, what: what.into(), hint: hint.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\n  {}", self.hint) }
    }
}

/// Everything that is wrong, in the order in which it is written; never empty.
#[derive(Debug, Clone, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

/// The known name that was probably meant.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_ascii_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|k| (strsim::jaro_winkler(&written, k), k))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_the_one_meant() {
        let known = ["listen", "intercept", "passthrough", "connect_ports", "private_addresses"];
        for (written, meant) in [
            ("listne", Some("listen")),
            ("Listen", Some("listen")),
            ("connect-ports", Some("connect_ports")),
            ("port", None),
            ("private_adresses", Some("private_addresses")),
            ("", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }

    #[test]
    fn a_mistake_says_where_what_and_what_next() {
        let file: Arc<Path> = Path::new("locum.toml").into();
        let m =
            Mistake::new(ConfigLocation::Line { file, line: 3, column: 7 }, "unknown setting 'x'", "did you mean 'y'?");
        assert_eq!(m.to_string(), "locum.toml:3:7: unknown setting 'x'\n  did you mean 'y'?");
        let json = serde_json::to_value(&m).unwrap();
        assert_eq!((json["file"].as_str(), json["line"].as_u64()), (Some("locum.toml"), Some(3)));
    }
}
