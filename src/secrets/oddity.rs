//! What a value has about it that keys don't have: marks of the file, the editor or the page that it was copied from.

use std::fmt;

/// A mark on a value that would be sent along with the key, and is probably not meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueOddity {
    /// U+FEFF at its beginning, as Windows' editors write it.
    ByteOrderMark,
    /// Spaces at its beginning or end.
    Blanks,
    /// A blank that looks like another or like nothing, as pages have them: U+00A0, U+200B and their kin.
    UnseenBlank,
    /// A pair of quotes around it.
    Quotes,
    /// The word of an authentication scheme (RFC 9110, section 11.4) before it.
    Scheme(&'static str),
    /// A header's name before it.
    HeaderName(&'static str),
    /// A variable's name before it, as in a line of `.env`.
    Assignment,
}

const SCHEMES: [&str; 4] = ["Bearer", "Basic", "Token", "ApiKey"];
const HEADERS: [&str; 3] = ["Authorization", "X-API-Key", "Api-Key"];
const QUOTES: [(char, char); 6] = [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('‘', '’'), ('«', '»')];
const BYTE_ORDER_MARK: char = '\u{feff}';

impl ValueOddity {
    /// All that is odd about a value, from the outside in. What is no UTF-8 has nothing that is known.
    pub fn all_of(value: &[u8]) -> Vec<Self> {
        let Ok(text) = std::str::from_utf8(value) else { return Vec::new() };
        let mut all = Vec::new();
        let text = match text.strip_prefix(BYTE_ORDER_MARK) {
            Some(rest) => {
                all.push(Self::ByteOrderMark);
                rest
            }
            None => text,
        };
        if text.starts_with(' ') || text.ends_with(' ') {
            all.push(Self::Blanks);
        }
        if text.contains(is_unseen) {
            all.push(Self::UnseenBlank);
        }
        let blank = |c: char| c == ' ' || is_unseen(c);
        let mut text = text.trim_matches(blank);
        if let Some(inside) = QUOTES.iter().find_map(|(open, close)| text.strip_prefix(*open)?.strip_suffix(*close)) {
            all.push(Self::Quotes);
            text = inside.trim_matches(blank);
        }
        let behind = |word: &str| {
            let front = text.get(..word.len()).filter(|front| front.eq_ignore_ascii_case(word))?;
            text.strip_prefix(front)
        };
        all.extend(
            HEADERS
                .into_iter()
                .find(|name| behind(name).is_some_and(|rest| rest.starts_with(':')))
                .map(Self::HeaderName),
        );
        all.extend(
            SCHEMES
                .into_iter()
                .find(|scheme| behind(scheme).is_some_and(|rest| rest.starts_with(blank)))
                .map(Self::Scheme),
        );
        if is_assignment(text) {
            all.push(Self::Assignment);
        }
        all
    }

    /// What to do about it, in one line.
    pub fn next(self) -> &'static str {
        match self {
            Self::ByteOrderMark => "save the file as UTF-8 without a byte order mark",
            Self::Blanks => "store the key alone: a blank is sent with it",
            Self::UnseenBlank => "copy the key anew, from where it was shown as plain text",
            Self::Quotes => "take the quotes off: they are sent with the key",
            Self::Scheme(_) => "store the key alone: the agent writes that word before its placeholder",
            Self::HeaderName(_) => "store the key alone: the agent writes the header, with the placeholder in it",
            Self::Assignment => {
                "store what stands behind '=' alone; 'locum key migrate FILE' takes keys out of such files"
            }
        }
    }
}

/// As it follows "the value of key 'tool'".
impl fmt::Display for ValueOddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByteOrderMark => f.write_str("begins with a byte order mark"),
            Self::Blanks => f.write_str("begins or ends with a blank"),
            Self::UnseenBlank => f.write_str("has a no-break space or another blank that can't be seen"),
            Self::Quotes => f.write_str("stands in quotes"),
            Self::Scheme(word) => write!(f, "has '{word}' in front"),
            Self::HeaderName(name) => write!(f, "has '{name}:' in front"),
            Self::Assignment => f.write_str("is a line NAME=VALUE"),
        }
    }
}

/// Blanks beyond ASCII's, and what has no width; a second byte order mark too.
fn is_unseen(c: char) -> bool {
    !c.is_ascii() && c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | BYTE_ORDER_MARK | '\u{ad}')
}

/// An underscore is asked for, since base64 may end in `=` but has none.
fn is_assignment(text: &str) -> bool {
    let text = text.strip_prefix("export ").unwrap_or(text);
    let Some((name, value)) = text.split_once('=') else { return false };
    let named = name.contains('_') && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    named && !matches!(value, "" | "=")
}

#[cfg(test)]
mod tests {
    use super::ValueOddity::{self, *};

    #[test]
    fn each_mark_is_told_and_a_key_has_none() {
        for (value, odd) in [
            ("\u{feff}sk-1", vec![ByteOrderMark]),
            ("sk-1 ", vec![Blanks]),
            ("  sk-1", vec![Blanks]),
            ("sk-1\u{a0}", vec![UnseenBlank]),
            ("sk\u{200b}-1", vec![UnseenBlank]),
            ("\"sk-1\"", vec![Quotes]),
            ("‘sk-1’", vec![Quotes]),
            ("Bearer sk-1", vec![Scheme("Bearer")]),
            ("bearer\u{a0}sk-1", vec![UnseenBlank, Scheme("Bearer")]),
            ("Authorization: Bearer sk-1", vec![HeaderName("Authorization")]),
            ("x-api-key:sk-1", vec![HeaderName("X-API-Key")]),
            ("OPENAI_API_KEY=sk-1", vec![Assignment]),
            ("export OPENAI_API_KEY=sk-1", vec![Assignment]),
            ("\u{feff}\"Bearer sk-1\" ", vec![ByteOrderMark, Blanks, Quotes, Scheme("Bearer")]),
        ] {
            assert_eq!(ValueOddity::all_of(value.as_bytes()), odd, "{value:?}");
        }
        for value in
            ["sk-1", "Bearer", "Bearersk-1", "tokens", "A_B=", "AB_C==", "a b", "schlüssel", "\"sk-1", "'", "", "a:b=c"]
        {
            assert_eq!(ValueOddity::all_of(value.as_bytes()), [], "{value:?}");
        }
        assert_eq!(ValueOddity::all_of(b"\xff\xfe sk-1 "), []);
    }
}
