//! The location of a placeholder in a body, as the parser of the body's format sees it.

use super::escape::EscapeStyle;
use std::borrow::Cow;

/// A parser's answer on where a placeholder stands.
#[derive(Debug)]
pub(crate) enum Match<'a> {
    /// It stands here.
    Location(Location<'a>),
    /// The bytes end before it can be told.
    Incomplete,
}

/// The location of a placeholder in a body.
#[derive(Debug)]
pub(crate) struct Location<'a> {
    /// It is all of a value.
    pub whole: bool,
    /// The name of the form's field that it is in.
    pub field: Option<Cow<'a, [u8]>>,
    /// The JSON pointer of the value that it begins, if a binding names it.
    pub pointer: Option<&'a str>,
    /// How a value is written there.
    pub escape: EscapeStyle<'a>,
}

impl Location<'_> {
    /// Whether the place `ws` is here: a whole value of JSON, or any text that doesn't begin like it.
    pub fn in_message(&self) -> bool {
        self.whole || matches!(self.escape, EscapeStyle::Plain)
    }

    /// A place in text or bytes of which nothing is known.
    pub fn plain() -> Self {
        Self { whole: false, field: None, pointer: None, escape: EscapeStyle::Plain }
    }
}
