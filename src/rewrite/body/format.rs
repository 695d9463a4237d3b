//! What a body is, and how a key's value is written at a spot in it. What the body says counts before its `Content-Type`.

use super::escape::{self, Misfit};
use super::json::Texts;
use super::{form, json, multipart};
use crate::place::Place;
use crate::rewrite::finder::Spelling;
use bytes::Bytes;
use http::HeaderValue;
use memchr::memmem;
use std::borrow::Cow;
use std::ops::Range;

/// What the `Content-Type` says, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Declared {
    Json,
    /// JSON texts, a line each.
    JsonLines,
    Form,
    Multipart {
        boundary: String,
    },
    Grpc,
    /// Text that people write, be it in a format that programs read.
    Text,
    /// Nothing, or nothing that is known.
    Other,
}

impl Declared {
    pub fn new(content_type: Option<&HeaderValue>) -> Self {
        let Some(text) = content_type.and_then(|v| v.to_str().ok()) else { return Self::Other };
        let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
        let essence = essence.trim().to_ascii_lowercase();
        let (top, sub) = essence.split_once('/').unwrap_or((&essence, ""));
        let sub = sub.strip_prefix("x-").unwrap_or(sub);
        match (top, sub) {
            ("application", "www-form-urlencoded") => Self::Form,
            ("multipart", "form-data") => {
                boundary(parameters).map_or(Self::Text, |boundary| Self::Multipart { boundary })
            }
            ("text" | "message" | "multipart", _) => Self::Text,
            ("application", "ndjson" | "jsonl" | "jsonlines" | "json-lines" | "json-stream" | "stream+json") => {
                Self::JsonLines
            }
            ("application", _) if ["grpc", "grpc-web"].contains(&sub.split('+').next().unwrap_or(sub)) => Self::Grpc,
            _ => match sub.rsplit('+').next() {
                Some("json") => Self::Json,
                Some(
                    "markdown" | "csv" | "xml" | "yaml" | "toml" | "rtf" | "tex" | "latex" | "sql" | "sh"
                    | "javascript" | "ecmascript" | "typescript",
                ) => Self::Text,
                _ => Self::Other,
            },
        }
    }

    /// Whether it says that the body is no JSON. What is one all the same has to be so as a whole.
    pub fn denies_json(&self) -> bool {
        matches!(self, Self::Form | Self::Multipart { .. } | Self::Text)
    }

    /// What makes up a body of this type if it is JSON: a string that stands alone may be a quotation, unless the type says more.
    fn texts(&self) -> Texts {
        match self {
            Self::Json => Texts::Any,
            Self::JsonLines => Texts::Lines,
            Self::Grpc | Self::Other => Texts::Many,
            Self::Form | Self::Multipart { .. } | Self::Text => Texts::One,
        }
    }
}

/// RFC 2046 allows seventy characters; a quote can't be one of them, so none is escaped.
fn boundary(parameters: &str) -> Option<String> {
    let mut parts = parameters.split(';');
    let value = parts.find_map(|p| {
        let (name, value) = p.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then_some(value.trim())
    })?;
    let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b);
    ((1..=70).contains(&value.len()) && value.bytes().all(legal)).then(|| value.to_string())
}

/// What a body is read as.
#[derive(Debug)]
pub(crate) enum BodyFormat {
    Json(Box<json::Walker>),
    Form(form::Walker),
    Multipart(Box<multipart::Walker>),
    Plain,
}

impl BodyFormat {
    /// What its type says, as long as it doesn't begin like JSON.
    pub fn declared<'p>(declared: &Declared, places: impl Iterator<Item = &'p Place>) -> Self {
        match declared {
            Declared::Form => Self::Form(form::Walker::new(places.filter_map(|p| match p {
                Place::BodyField(name) => Some(name.as_str()),
                _ => None,
            }))),
            Declared::Multipart { boundary } => Self::Multipart(Box::new(multipart::Walker::new(boundary))),
            Declared::Json | Declared::JsonLines | Declared::Grpc | Declared::Text | Declared::Other => Self::Plain,
        }
    }

    pub fn json<'p>(declared: &Declared, places: impl Iterator<Item = &'p Place>) -> Self {
        let pointers = places.filter_map(|p| match p {
            Place::BodyPointer(pointer) => Some(pointer.as_str()),
            _ => None,
        });
        Self::Json(Box::new(json::Walker::new(declared.texts(), pointers)))
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
            BodyFormat::Json(walker) => walker.is_whole(),
            BodyFormat::Form(walker) => walker.is_whole(),
            BodyFormat::Multipart(walker) => walker.is_whole(),
            BodyFormat::Plain => true,
        }
    }

    /// Whether what is still to come can't change that.
    pub fn is_settled(&self) -> bool {
        match self {
            BodyFormat::Json(walker) => walker.is_lost(),
            BodyFormat::Form(walker) => walker.is_lost(),
            BodyFormat::Multipart(walker) => walker.is_lost(),
            BodyFormat::Plain => true,
        }
    }

    pub(in crate::rewrite) fn spelling(&self) -> Spelling {
        match self {
            BodyFormat::Json(_) => Spelling::Json,
            BodyFormat::Form(_) => Spelling::Form,
            BodyFormat::Multipart(_) | BodyFormat::Plain => Spelling::Raw,
        }
    }

    /// These bytes have gone by.
    pub fn advance(&mut self, bytes: &[u8]) {
        match self {
            BodyFormat::Json(walker) => walker.advance(bytes),
            BodyFormat::Form(walker) => walker.advance(bytes),
            BodyFormat::Multipart(walker) => walker.advance(bytes),
            BodyFormat::Plain => {}
        }
    }

    /// What there is to say of a placeholder, all bytes before which have gone by.
    pub fn sight(&self, hay: &[u8], at: &Range<usize>, last: bool) -> Match<'_> {
        match self {
            BodyFormat::Json(walker) => walker.sight(hay, at, last),
            BodyFormat::Form(walker) => walker.sight(hay, at, last),
            BodyFormat::Multipart(walker) => walker.sight(hay, at, last),
            BodyFormat::Plain => Match::Location(Location::plain()),
        }
    }
}

#[derive(Debug)]
pub(crate) enum Match<'a> {
    Location(Location<'a>),
    /// The bytes end before it can be told.
    More,
}

/// Where in a body a placeholder stands.
#[derive(Debug)]
pub(crate) struct Location<'a> {
    /// It is all of a value.
    pub whole: bool,
    /// The name of the form's field that it is in.
    pub field: Option<Cow<'a, [u8]>>,
    /// The JSON pointer of the value that it begins, if a binding names it.
    pub pointer: Option<&'a str>,
    pub dress: EscapeStyle<'a>,
}

impl Location<'_> {
    /// Whether the place `ws` is here: a whole value of JSON, or any text that doesn't begin like it.
    pub fn in_message(&self) -> bool {
        self.whole || matches!(self.dress, EscapeStyle::Plain)
    }

    pub fn plain() -> Self {
        Self { whole: false, field: None, pointer: None, dress: EscapeStyle::Plain }
    }
}

/// How a value is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EscapeStyle<'a> {
    Plain,
    /// Where all is UTF-8.
    Text,
    Json,
    Percent,
    /// In a header of a part.
    Line,
    /// In the content of a part.
    Field {
        boundary: &'a [u8],
    },
}

impl EscapeStyle<'_> {
    pub fn put_on(self, value: &[u8]) -> Result<Bytes, Misfit> {
        let written = match self {
            EscapeStyle::Plain => value.to_vec(),
            EscapeStyle::Text if std::str::from_utf8(value).is_err() => return Err(Misfit::NotUtf8),
            EscapeStyle::Text => value.to_vec(),
            EscapeStyle::Json => escape::json(value)?,
            EscapeStyle::Percent => escape::percent(value),
            EscapeStyle::Line if value.contains(&b'"') => return Err(Misfit::Control),
            EscapeStyle::Line => escape::header(value)?,
            EscapeStyle::Field { boundary } if memmem::find(value, boundary).is_some() => return Err(Misfit::Boundary),
            EscapeStyle::Field { .. } => value.to_vec(),
        };
        Ok(Bytes::from(written))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_read() {
        let multipart = |b: &str| Declared::Multipart { boundary: b.into() };
        for (text, declared) in [
            ("application/x-www-form-urlencoded", Declared::Form),
            ("Application/X-WWW-Form-URLEncoded ; charset=utf-8", Declared::Form),
            ("multipart/form-data; boundary=abc", multipart("abc")),
            ("multipart/form-data; charset=utf-8; Boundary=\"a b=c\"", multipart("a b=c")),
            ("multipart/form-data", Declared::Text),
            ("multipart/form-data; boundary=", Declared::Text),
            ("multipart/form-data; boundary=a<b", Declared::Text),
            ("multipart/mixed; boundary=a", Declared::Text),
            ("application/grpc", Declared::Grpc),
            ("application/grpc+proto", Declared::Grpc),
            ("application/grpc-web+proto", Declared::Grpc),
            ("application/grpc-web-text", Declared::Other),
            ("application/grpcs", Declared::Other),
            ("application/json", Declared::Json),
            ("Application/JSON;charset=utf-8", Declared::Json),
            ("application/vnd.mine.v1+json", Declared::Json),
            ("application/ld+json; profile=\"x\"", Declared::Json),
            ("application/x-ndjson", Declared::JsonLines),
            ("application/jsonl", Declared::JsonLines),
            ("application/stream+json", Declared::JsonLines),
            ("text/plain", Declared::Text),
            ("text/json", Declared::Text),
            ("message/rfc822", Declared::Text),
            ("application/x-markdown", Declared::Text),
            ("application/csv", Declared::Text),
            ("image/svg+xml", Declared::Text),
            ("application/xml", Declared::Text),
            ("application/javascript", Declared::Text),
            ("application/octet-stream", Declared::Other),
            ("application/x-of-mine", Declared::Other),
            ("text", Declared::Text),
            ("", Declared::Other),
        ] {
            assert_eq!(Declared::new(Some(&HeaderValue::from_static(text))), declared, "{text}");
        }
    }

    #[test]
    fn values_are_dressed_for_their_spot() {
        let put_on = |dress: EscapeStyle, value: &str| dress.put_on(value.as_bytes()).map(|b| b.to_vec());
        assert_eq!(put_on(EscapeStyle::Plain, "a\"\n"), Ok(b"a\"\n".to_vec()));
        assert_eq!(put_on(EscapeStyle::Json, "a\""), Ok(b"a\\\"".to_vec()));
        assert_eq!(put_on(EscapeStyle::Percent, "a&"), Ok(b"a%26".to_vec()));
        assert_eq!(put_on(EscapeStyle::Line, "a\"b"), Err(Misfit::Control));
        assert_eq!(put_on(EscapeStyle::Line, "a\r\nb"), Err(Misfit::Control));
        let field = EscapeStyle::Field { boundary: b"--b" };
        assert_eq!(put_on(field, "a\r\nb"), Ok(b"a\r\nb".to_vec()));
        assert_eq!(put_on(field, "a\r\n--b--"), Err(Misfit::Boundary));
    }
}
