//! A value of a file of settings: where it stands, by which path it is reached, and how it is written there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// A value as a reader found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigScalar {
    /// The names on the way to it; `[2]` for one of a list.
    pub path: Vec<String>,
    /// Its bytes in the text, without quotes.
    pub at: Range<usize>,
    /// What a program gets to see.
    pub value: String,
    pub form: ScalarForm,
}

/// How deep a value may be, and how many there may be: no file of settings has more. What is beyond is still found by its looks.
pub const MAX_DEPTH: usize = 64;
/// See [`MAX_DEPTH`].
pub const MAX_VALUES: usize = 5_000;

/// What a value is to its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScalarForm {
    /// A text, in which a placeholder can stand as it is.
    Text,
    /// A word of a shell without quotes, which would take `<<` for a redirection.
    ShellWord,
    /// No text could take its place.
    Number,
}

/// How a value is written where it stands: enough to write it again, and nothing of the value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueWriting {
    /// As it is.
    Plain,
    /// `/` as `\/`, as PHP writes JSON.
    EscapedSlashes,
    /// What double quotes leave alive in a shell stands behind a backslash.
    Backslashes,
    /// In base64, with what stands around it there: the user of Basic (RFC 7617), a line feed.
    Base64 {
        /// What comes before the value.
        before: String,
        /// And behind.
        after: String,
    },
    /// The word of a program that keeps the key in the keyring.
    Marker(String),
}

impl ValueWriting {
    /// The text that stands for `value`.
    pub fn write(&self, value: &str) -> String {
        match self {
            Self::Plain => value.to_owned(),
            Self::EscapedSlashes => value.replace('/', r"\/"),
            Self::Backslashes => {
                let escaped = |c: char| if r#""\$`"#.contains(c) { format!("\\{c}") } else { c.to_string() };
                value.chars().map(escaped).collect()
            }
            Self::Base64 { before, after } => STANDARD.encode(format!("{before}{value}{after}")),
            Self::Marker(word) => word.clone(),
        }
    }

    /// The text in which the key's name stands instead: its marker gives way, all else is kept.
    pub fn write_placeholder(&self, placeholder: &str) -> String {
        match self {
            Self::Marker(_) => placeholder.to_owned(),
            other => other.write(placeholder),
        }
    }
}

/// Whether a word of a list is an option whose value is the next one: `--api-key`.
pub fn is_option(word: &str) -> bool {
    word.len() > 1 && word.starts_with('-') && !word.contains(['=', ' ', ':'])
}

/// Where in `raw` this value is written, and how, if it is there just once.
pub fn locate(raw: &str, value: &str) -> Option<(Range<usize>, ValueWriting)> {
    [ValueWriting::Plain, ValueWriting::EscapedSlashes, ValueWriting::Backslashes].into_iter().find_map(|writing| {
        let text = writing.write(value);
        let at = raw.find(&text).filter(|_| !text.is_empty())?;
        raw.get(at + 1..)?.find(&text).is_none().then_some((at..at + text.len(), writing))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_as_it_is_written_and_written_so_again() {
        for (raw, value, text) in [
            ("abc", "abc", "abc"),
            (r"Bearer a\/b", "a/b", r"a\/b"),
            (r"a\$b", "a$b", r"a\$b"),
            ("\n  abc\n", "abc", "abc"),
        ] {
            let (at, writing) = locate(raw, value).expect(raw);
            assert_eq!((&raw[at], writing.write(value).as_str()), (text, text));
        }
        assert_eq!(locate("ab ab", "ab"), None);
        assert_eq!(locate(r"\u0061b", "ab"), None);
        assert_eq!(locate("x", ""), None);
        let basic = ValueWriting::Base64 { before: "me:".into(), after: String::new() };
        assert_eq!(basic.write("<<x_key>>"), "bWU6PDx4X2tleT4+");
    }
}
