//! A key's value as it is written in each place, so that it can't break out of it. It never looks for anything in a value.

use crate::name::KeyName;
use crate::place::Place;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

/// Why a key's value can't be written where a placeholder stood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value of key '{key}' can't go into {place}: {why}")]
pub struct Unfit {
    pub key: KeyName,
    pub place: Place,
    pub why: Misfit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("it holds a control character, such as a line break")]
    Control,
    #[error("it is not UTF-8, as JSON and text messages have to be")]
    NotUtf8,
    #[error("it holds a ':', which would end the user name")]
    Colon,
    #[error("it holds the boundary between the fields of this body")]
    Boundary,
    #[error("it would be read as '.' or '..', a step in the path")]
    Dots,
    #[error("the result would be longer than a request's target can be")]
    Long,
    #[error("there is none")]
    Missing,
    #[error("the request has changed since the placeholder was found")]
    Moved,
}

/// All but RFC 3986's unreserved characters, which no reader of a URL or a form takes for anything else.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// In a header's value: as it is.
pub(crate) fn header(value: &[u8]) -> Result<Vec<u8>, Misfit> {
    if value.iter().any(u8::is_ascii_control) { Err(Misfit::Control) } else { Ok(value.to_vec()) }
}

/// In a URL or a form.
pub(crate) fn percent(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() * 3);
    percent_encoding::percent_encode(value, RESERVED).for_each(|part| out.extend_from_slice(part.as_bytes()));
    out
}

/// Inside a JSON string.
pub(crate) fn json(value: &[u8]) -> Result<Vec<u8>, Misfit> {
    let text = std::str::from_utf8(value).map_err(|_| Misfit::NotUtf8)?;
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
            assert_eq!(header(bad.as_bytes()), Err(Misfit::Control));
        }
        assert_eq!(percent(b"a b/?#&=+%~-._\xff\""), b"a%20b%2F%3F%23%26%3D%2B%25~-._%FF%22");
        assert_eq!(json("a\"b\\c\n\u{7f}é".as_bytes()), Ok("a\\\"b\\\\c\\u000a\\u007fé".as_bytes().to_vec()));
        assert_eq!(json(b"\xff"), Err(Misfit::NotUtf8));
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
