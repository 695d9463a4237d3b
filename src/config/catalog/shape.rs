//! The shape of a provider's keys: a regular expression that a whole key matches, compiled when it is first asked for, since
//! most commands ask for none of them.

use regex::{Regex, RegexBuilder};
use std::sync::OnceLock;

/// What a whole key looks like.
#[derive(Debug)]
pub struct Shape {
    pattern: String,
    compiled: OnceLock<Result<Regex, regex::Error>>,
}

impl Shape {
    /// Of a pattern without anchors: it stands for the whole key.
    pub fn new(pattern: String) -> Self {
        Self { pattern, compiled: OnceLock::new() }
    }

    /// The pattern as it is written.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The pattern, anchored at both ends.
    ///
    /// # Errors
    /// When it is no regular expression.
    pub fn regex(&self) -> Result<&Regex, &regex::Error> {
        // keys are ASCII
        let compile = |pattern: &str| RegexBuilder::new(pattern).unicode(false).build();
        // alone first: `a)(b` would be one only within the parentheses
        let whole = || compile(&self.pattern).and_then(|_| compile(&format!(r"\A(?:{})\z", self.pattern)));
        self.compiled.get_or_init(whole).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_that_of_the_whole_key() {
        let shape = Shape::new(r"sk-[a-z]{4}|pk-\d+".into());
        let regex = shape.regex().unwrap();
        for (value, is) in [
            ("sk-abcd", true),
            ("pk-1", true),
            ("sk-abcde", false),
            ("xpk-1", false),
            ("pk-1\n", false),
            ("pk-\u{664}", false),
        ] {
            assert_eq!(regex.is_match(value), is, "{value:?}");
        }
        for wrong in ["[a-z", "a)(b", "[^a]"] {
            assert!(Shape::new(wrong.into()).regex().is_err(), "{wrong}");
        }
    }
}
