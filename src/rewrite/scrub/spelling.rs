//! The spellings that a character may have in an answer: as itself, as a JSON escape, percent-encoded. Which characters make up a
//! key is not known here.
//!
//! - JSON: `\u0061` in either case and the short escapes (`\/`, `\"`, `\n`), with one to three backslashes, as JSON in a
//!   JSON string has them;
//! - percent-encoding: `%2F`, `%2f`, and once more encoded, `%252F`.

/// One spelled character, and the length of its spelling in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpelledCharacter {
    /// The character that is meant.
    pub value: u8,
    /// The length of its spelling, in bytes.
    pub len: usize,
}

/// The longest spelling: three backslashes and `u002f`.
pub(super) const LONGEST: usize = 8;
/// Backslashes that one escape may begin with.
const NESTED: usize = 3;

/// Calls `f` with each way in which the text at `at` can be read as one character, itself first.
pub(super) fn readings(text: &[u8], at: usize, f: &mut impl FnMut(SpelledCharacter)) {
    let Some(&value) = text.get(at) else { return };
    f(SpelledCharacter { value, len: 1 });
    match value {
        b'%' => percent_readings(text, at, f),
        b'\\' => {
            for depth in 1..=backslashes(text, at).min(NESTED) {
                if let Some(SpelledCharacter { value, len }) = text.get(at + depth..).and_then(json_escape) {
                    f(SpelledCharacter { value, len: depth + len });
                }
            }
        }
        _ => {}
    }
}

fn percent_readings(text: &[u8], at: usize, f: &mut impl FnMut(SpelledCharacter)) {
    let Some(value) = hex_byte(text, at + 1) else { return };
    f(SpelledCharacter { value, len: 3 });
    if value == b'%'
        && let Some(value) = hex_byte(text, at + 3)
    {
        f(SpelledCharacter { value, len: 5 });
    }
}

/// The longest reading of the text at `at`: where several are possible, the one with the fewest characters.
pub(super) fn longest(text: &[u8], at: usize) -> Option<SpelledCharacter> {
    let mut longest: Option<SpelledCharacter> = None;
    readings(text, at, &mut |unit| longest = longest.filter(|l| l.len > unit.len).or(Some(unit)));
    longest
}

fn backslashes(text: &[u8], at: usize) -> usize {
    text.iter().skip(at).take(NESTED).take_while(|b| **b == b'\\').count()
}

/// What follows the backslash of an escape (RFC 8259, section 7). Beyond ASCII a letter is not one byte of a key.
fn json_escape(rest: &[u8]) -> Option<SpelledCharacter> {
    let value = match rest.first()? {
        b'u' => {
            let value = (hex_byte(rest, 1)? == 0).then(|| hex_byte(rest, 3)).flatten()?;
            return value.is_ascii().then_some(SpelledCharacter { value, len: 5 });
        }
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        c @ (b'"' | b'\'' | b'\\' | b'/') => *c,
        _ => return None,
    };
    Some(SpelledCharacter { value, len: 1 })
}

fn hex_byte(text: &[u8], at: usize) -> Option<u8> {
    Some(nibble(*text.get(at)?)? << 4 | nibble(*text.get(at + 1)?)?)
}

/// The value of a hexadecimal digit of either case.
pub(super) fn nibble(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        b'A'..=b'F' => Some(c - b'A' + 10),
        _ => None,
    }
}

/// Where the escape begins that the text breaks off in; the text's length if it doesn't.
pub(super) fn unfinished(text: &[u8]) -> usize {
    let len = text.len();
    for from in len.saturating_sub(LONGEST)..len {
        let rest = text.get(from..).unwrap_or_default();
        if begins_percent(rest) || begins_json(rest) {
            return from;
        }
    }
    len
}

fn begins_percent(rest: &[u8]) -> bool {
    let Some(rest) = rest.strip_prefix(b"%") else { return false };
    let twice = rest.strip_prefix(b"25").is_some_and(|digits| digits.len() < 2);
    (rest.len() < 2 || twice) && rest.iter().all(u8::is_ascii_hexdigit)
}

fn begins_json(rest: &[u8]) -> bool {
    let depth = backslashes(rest, 0);
    let Some(rest) = rest.get(depth..).filter(|_| depth > 0) else { return false };
    match rest.strip_prefix(b"u") {
        Some(digits) => digits.len() < 4 && digits.iter().all(u8::is_ascii_hexdigit),
        None => rest.is_empty(),
    }
}

/// How many characters of base64 or hex a line has before its end can be one that only folds it.
const FOLDED_FROM: usize = 40;
/// How far back that is looked for, in bytes: some of the characters may be escaped.
pub(super) const FOLDED_WITHIN: usize = FOLDED_FROM + 8;

/// The length of a line end at `at` that folds base64 or hex: raw or escaped, behind forty of its characters.
pub(super) fn fold(text: &[u8], at: usize) -> Option<usize> {
    let first = newline(text, at)?;
    if !is_long_line(text, at) {
        return None;
    }
    let second = newline(text, at + first.len).filter(|next| first.value == b'\r' && next.value == b'\n');
    Some(first.len + second.map_or(0, |next| next.len))
}

/// Where the fold begins that ends at `end`.
pub(super) fn fold_before(text: &[u8], end: usize) -> Option<usize> {
    (end.saturating_sub(2 * LONGEST)..end).find(|at| fold(text, *at) == Some(end - at))
}

fn newline(text: &[u8], at: usize) -> Option<SpelledCharacter> {
    longest(text, at).filter(|unit| matches!(unit.value, b'\n' | b'\r'))
}

/// A quick look at a few characters before a line end: most lines have a space among them, or are short.
pub(super) fn may_be_long_line(text: &[u8], end: usize) -> bool {
    const LOOKED_AT: [usize; 6] = [1, 8, 16, 24, 32, FOLDED_FROM];
    let fits =
        |back: usize| end.checked_sub(back).and_then(|at| text.get(at)).is_some_and(|c| is_folded(*c) || is_sign(*c));
    LOOKED_AT.into_iter().all(fits)
}

fn is_folded(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'-' | b'_')
}

fn is_sign(c: u8) -> bool {
    matches!(c, b'\\' | b'%')
}

fn is_long_line(text: &[u8], end: usize) -> bool {
    let (mut characters, mut at) = (0, end);
    while characters < FOLDED_FROM && end - at < FOLDED_WITHIN {
        let Some(&c) = at.checked_sub(1).and_then(|at| text.get(at)) else { return false };
        match c {
            c if is_folded(c) => characters += 1,
            c if is_sign(c) => {}
            _ => return false,
        }
        at -= 1;
    }
    characters >= FOLDED_FROM
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_read() {
        for (text, value, len) in [
            ("a", b'a', 1),
            ("%61b", b'a', 3),
            ("%2561", b'a', 5),
            ("%2f", b'/', 3),
            ("%252F", b'/', 5),
            ("%25", b'%', 3),
            ("%2", b'%', 1),
            (r"\u0061", b'a', 6),
            (r"\\u002F", b'/', 7),
            (r"\\\u002F", b'/', 8),
            (r"\/", b'/', 2),
            (r"\n", b'\n', 2),
            (r"\b", 8, 2),
            (r"\f", 12, 2),
            (r"\t", b'\t', 2),
            (r"\\n", b'\n', 3),
            (r"\\\\", b'\\', 4),
            (r"\u1061", b'\\', 1),
            (r"\u00e9", b'\\', 1),
            (r"\x", b'\\', 1),
        ] {
            assert_eq!(longest(text.as_bytes(), 0), Some(SpelledCharacter { value, len }), "{text}");
        }
        assert_eq!(longest(b"", 0), None);
    }

    #[test]
    fn an_escape_that_breaks_off_is_known_by_its_beginning() {
        for (text, from) in [
            ("ab%", 2),
            ("ab%4", 2),
            ("ab%25", 2),
            ("ab%254", 2),
            ("ab%41", 5),
            ("ab\\", 2),
            ("ab\\\\", 2),
            ("ab\\u", 2),
            ("ab\\\\\\u004", 2),
            ("ab\\u0041", 8),
            ("ab\\n", 4),
            ("ab", 2),
            ("", 0),
        ] {
            assert_eq!(unfinished(text.as_bytes()), from, "{text}");
        }
    }

    #[test]
    fn only_long_lines_of_base64_or_hex_are_folded() {
        let line = "QUJD".repeat(10);
        for (end, len) in [
            ("\n", 1),
            ("\r\n", 2),
            ("\r", 1),
            ("\\n", 2),
            ("\\r\\n", 4),
            ("%0D%0A", 6),
            ("\\\\n", 3),
            ("\\\\\\u000d\\\\\\u000a", 16),
        ] {
            let text = format!("{line}{end}QUJD");
            assert_eq!(fold(text.as_bytes(), 40), Some(len), "{end:?}");
            assert_eq!(fold_before(text.as_bytes(), 40 + len), Some(40), "{end:?}");
            assert_eq!(fold(&text.as_bytes()[1..], 39), None, "{end:?}");
            assert_eq!(fold(format!(" {}", &text[1..]).as_bytes(), 40), None, "{end:?}");
            // a line may have a few of its characters escaped
            let escaped = |signs: usize| format!("{}{}{end}", &line[..20], "%".repeat(signs) + &line[20..]);
            assert_eq!(fold(escaped(8).as_bytes(), 48), Some(len), "{end:?}");
            assert_eq!(fold(escaped(9).as_bytes(), 49), None, "{end:?}");
        }
        // two line ends are two lines, but for CR and LF
        for (ends, len) in [("\n\n", 1), ("\r\r", 1), ("\n\r", 1), ("\r\n\n", 2)] {
            assert_eq!(fold(format!("{line}{ends}QUJD").as_bytes(), 40), Some(len), "{ends:?}");
        }
    }
}
