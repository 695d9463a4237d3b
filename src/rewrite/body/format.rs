//! The format of a body, with the parser that locates placeholders in it. What the body says counts before its `Content-Type`.

use super::content_type::DeclaredType;
use super::form::FormParser;
use super::json::JsonParser;
use super::location::{Location, Match};
use super::multipart::MultipartParser;
use crate::place::Place;
use crate::rewrite::finder::Spelling;
use std::ops::Range;

/// The format that a body is read as, with its parser.
#[derive(Debug)]
pub(crate) enum BodyFormat {
    /// JSON texts (RFC 8259).
    Json(Box<JsonParser>),
    /// A form.
    Form(FormParser),
    /// A form of several parts (RFC 7578).
    Multipart(Box<MultipartParser>),
    /// Text or bytes of which nothing is known.
    Plain,
}

impl BodyFormat {
    /// What its type says, as long as it doesn't begin like JSON.
    pub fn declared<'p>(declared: &DeclaredType, places: impl Iterator<Item = &'p Place>) -> Self {
        match declared {
            DeclaredType::Form => Self::Form(FormParser::new(places.filter_map(|p| match p {
                Place::BodyField(name) => Some(name.as_str()),
                _ => None,
            }))),
            DeclaredType::Multipart { boundary } => Self::Multipart(Box::new(MultipartParser::new(boundary))),
            DeclaredType::Json
            | DeclaredType::JsonLines
            | DeclaredType::Grpc
            | DeclaredType::Text
            | DeclaredType::Other => Self::Plain,
        }
    }

    /// JSON, as far as its type lets it be that.
    pub fn json<'p>(declared: &DeclaredType, places: impl Iterator<Item = &'p Place>) -> Self {
        let pointers = places.filter_map(|p| match p {
            Place::BodyPointer(pointer) => Some(pointer.as_str()),
            _ => None,
        });
        Self::Json(Box::new(JsonParser::new(declared.texts(), pointers)))
    }

    /// Whether this place can be in such a body at all, whose values are a place or mere text.
    pub fn has(&self, place: &Place, values: bool) -> bool {
        match place {
            Place::Body => values && !matches!(self, BodyFormat::Plain),
            Place::BodyPointer(_) => values && matches!(self, BodyFormat::Json(_)),
            Place::BodyField(_) => values && matches!(self, BodyFormat::Form(_) | BodyFormat::Multipart(_)),
            Place::BodyAny => true,
            Place::Ws => matches!(self, BodyFormat::Plain) || values && matches!(self, BodyFormat::Json(_)),
            _ => false,
        }
    }

    /// Whether all that has gone by is of this kind, to the letter, and may end here.
    pub fn is_whole(&self) -> bool {
        match self {
            BodyFormat::Json(parser) => parser.is_whole(),
            BodyFormat::Form(parser) => parser.is_whole(),
            BodyFormat::Multipart(parser) => parser.is_whole(),
            BodyFormat::Plain => true,
        }
    }

    /// Whether what is still to come can't change that.
    pub fn is_settled(&self) -> bool {
        match self {
            BodyFormat::Json(parser) => parser.is_lost(),
            BodyFormat::Form(parser) => parser.is_lost(),
            BodyFormat::Multipart(parser) => parser.is_lost(),
            BodyFormat::Plain => true,
        }
    }

    /// The way in which letters are written in it.
    pub fn spelling(&self) -> Spelling {
        match self {
            BodyFormat::Json(_) => Spelling::Json,
            BodyFormat::Form(_) => Spelling::Form,
            BodyFormat::Multipart(_) | BodyFormat::Plain => Spelling::Raw,
        }
    }

    /// These bytes have gone by.
    pub fn advance(&mut self, bytes: &[u8]) {
        match self {
            BodyFormat::Json(parser) => parser.advance(bytes),
            BodyFormat::Form(parser) => parser.advance(bytes),
            BodyFormat::Multipart(parser) => parser.advance(bytes),
            BodyFormat::Plain => {}
        }
    }

    /// What there is to say of a placeholder, all bytes before which have gone by.
    pub fn locate(&self, hay: &[u8], at: &Range<usize>, last: bool) -> Match<'_> {
        match self {
            BodyFormat::Json(parser) => parser.locate(hay, at, last),
            BodyFormat::Form(parser) => parser.locate(hay, at, last),
            BodyFormat::Multipart(parser) => parser.locate(hay, at, last),
            BodyFormat::Plain => Match::Location(Location::plain()),
        }
    }
}
