//! A key's value as it is written in each place, so that it can't break out of it. It never looks for anything in a value.

use crate::name::KeyName;
use crate::place::Place;
use bytes::Bytes;
use memchr::memmem;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

/// A key's value that can't be written where its placeholder stood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value of key '{key}' can't go into {place}: {why}")]
pub struct UnwritableValue {
    /// The key.
    pub key: KeyName,
    /// The place of the placeholder, or of the first one where several share a header or a target.
    pub place: Place,
    /// The reason.
    pub why: UnwritableReason,
}

/// The reason why a value can't be written in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnwritableReason {
    /// A control character would end a header or its quotes.
    #[error("it holds a control character, such as a line break")]
    Control,
    /// JSON (RFC 8259, section 8.1) and text messages (RFC 6455, section 5.6) are UTF-8.
    #[error("it is not UTF-8, as JSON and text messages have to be")]
    NotUtf8,
    /// A `:` would end the user name of Basic credentials (RFC 7617, section 2).
    #[error("it holds a ':', which would end the user name")]
    Colon,
    /// The boundary would end the multipart field (RFC 2046, section 5.1.1).
    #[error("it holds the boundary between the fields of this body")]
    Boundary,
    /// A dot segment would move the path (RFC 3986, section 5.2.4).
    #[error("it would be read as '.' or '..', a step in the path")]
    Dots,
    /// The `http` library refuses so long a target or header.
    #[error("the result would be longer than a request's target can be")]
    Long,
    /// The key has no value.
    #[error("there is none")]
    Missing,
    /// Something else stands where the placeholder was.
    #[error("the request has changed since the placeholder was found")]
    Moved,
}

/// The escaping that a place asks for, so that a value can't break out of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EscapeStyle<'a> {
    /// As it is.
    Plain,
    /// Where all is UTF-8.
    Text,
    /// Inside a JSON string (RFC 8259, section 7).
    Json,
    /// Percent-encoded but for the unreserved characters (RFC 3986, section 2.3).
    Percent,
    /// In a header of a part.
    Line,
    /// In the content of a part.
    Field { boundary: &'a [u8] },
}

impl EscapeStyle<'_> {
    /// Writes a value so that it can't break out of its place.
    ///
    /// # Errors
    /// The reason why it can't be written there.
    pub fn write(self, value: &[u8]) -> Result<Bytes, UnwritableReason> {
        let written = match self {
            EscapeStyle::Plain => value.to_vec(),
            EscapeStyle::Text if std::str::from_utf8(value).is_err() => return Err(UnwritableReason::NotUtf8),
            EscapeStyle::Text => value.to_vec(),
            EscapeStyle::Json => json(value)?,
            EscapeStyle::Percent => percent(value),
            EscapeStyle::Line if value.contains(&b'"') => return Err(UnwritableReason::Control),
            EscapeStyle::Line => header(value)?,
            EscapeStyle::Field { boundary } if memmem::find(value, boundary).is_some() => {
                return Err(UnwritableReason::Boundary);
            }
            EscapeStyle::Field { .. } => value.to_vec(),
        };
        Ok(Bytes::from(written))
    }
}

/// All but RFC 3986's unreserved characters, which no reader of a URL or a form takes for anything else.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// In a header's value: as it is.
pub(crate) fn header(value: &[u8]) -> Result<Vec<u8>, UnwritableReason> {
    if value.iter().any(u8::is_ascii_control) { Err(UnwritableReason::Control) } else { Ok(value.to_vec()) }
}

/// In a URL or a form.
pub(crate) fn percent(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() * 3);
    percent_encoding::percent_encode(value, RESERVED).for_each(|part| out.extend_from_slice(part.as_bytes()));
    out
}

/// Inside a JSON string.
pub(crate) fn json(value: &[u8]) -> Result<Vec<u8>, UnwritableReason> {
    let text = std::str::from_utf8(value).map_err(|_| UnwritableReason::NotUtf8)?;
    // Room for the worst case: a vector that grows would leave copies of the value behind.
    let mut out = Vec::with_capacity(text.len() * 6);
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..=0x1f | 0x7f => {
                let digit = |d: u8| char::from_digit(u32::from(d), 16).map_or(b'0', |c| c as u8);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 0xf)]);
            }
            _ => out.push(byte),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_value_stays_in_its_place() {
        assert_eq!(header(b"a b:c\xff"), Ok(b"a b:c\xff".to_vec()));
        for bad in ["a\r\nb", "a\nb", "a\0b", "a\x7fb", "a\tb"] {
            assert_eq!(header(bad.as_bytes()), Err(UnwritableReason::Control));
        }
        assert_eq!(percent(b"a b/?#&=+%~-._\xff\""), b"a%20b%2F%3F%23%26%3D%2B%25~-._%FF%22");
        assert_eq!(json("a\"b\\c\n\u{7f}é".as_bytes()), Ok("a\\\"b\\\\c\\u000a\\u007fé".as_bytes().to_vec()));
        assert_eq!(json(b"\xff"), Err(UnwritableReason::NotUtf8));
    }

    #[test]
    fn values_are_escaped_for_their_place() {
        let write = |escape: EscapeStyle, value: &str| escape.write(value.as_bytes()).map(|b| b.to_vec());
        assert_eq!(write(EscapeStyle::Plain, "a\"\n"), Ok(b"a\"\n".to_vec()));
        assert_eq!(write(EscapeStyle::Json, "a\""), Ok(b"a\\\"".to_vec()));
        assert_eq!(write(EscapeStyle::Percent, "a&"), Ok(b"a%26".to_vec()));
        assert_eq!(write(EscapeStyle::Line, "a\"b"), Err(UnwritableReason::Control));
        assert_eq!(write(EscapeStyle::Line, "a\r\nb"), Err(UnwritableReason::Control));
        let field = EscapeStyle::Field { boundary: b"--b" };
        assert_eq!(write(field, "a\r\nb"), Ok(b"a\r\nb".to_vec()));
        assert_eq!(write(field, "a\r\n--b--"), Err(UnwritableReason::Boundary));
    }

    proptest! {
        #[test]
        fn a_json_reader_gets_the_value_back(value: String) {
            let quoted = [b"\"", json(value.as_bytes()).unwrap().as_slice(), b"\""].concat();
            prop_assert_eq!(serde_json::from_slice::<String>(&quoted).unwrap(), value);
        }

        #[test]
        fn a_form_reader_gets_the_value_back(value: Vec<u8>) {
            let written = percent(&value);
            prop_assert_eq!(percent_encoding::percent_decode(&written).collect::<Vec<_>>(), value);
        }
    }
}
