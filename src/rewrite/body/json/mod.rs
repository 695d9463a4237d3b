//! JSON bodies (RFC 8259): a parser that knows where in the text it is, and builds no document.

mod lexemes;
mod parser;
mod path;
mod tokens;

#[cfg(test)]
mod tests;

pub(crate) use lexemes::is_space;
pub(crate) use parser::JsonParser;
pub(crate) use tokens::JsonTexts;
