//! The check of a key's value, whatever source it came from.

use super::source::SourceError;
use crate::memory::Plaintext;

/// The longest value, in bytes.
pub const MAX_VALUE: usize = 64 * 1024;

/// Takes the line end off that editors and `echo` leave; `None` where nothing remains. `place` is for the error.
pub(super) fn clean(mut value: Plaintext, place: &str) -> Result<Option<Plaintext>, SourceError> {
    let bytes = value.expose();
    let bytes = bytes.strip_suffix(b"\n").map_or(bytes, |line| line.strip_suffix(b"\r").unwrap_or(line));
    let len = bytes.len();
    if len > MAX_VALUE {
        return Err(too_long(place));
    }
    // It would end a header or a JSON string early.
    if let Some(at) = bytes.iter().position(u8::is_ascii_control) {
        let what = format!("the value in {place} has a control character at byte {}", at + 1);
        return Err(SourceError::new(what, remedy(bytes, at)));
    }
    value.truncate(len);
    Ok((len > 0).then_some(value))
}

/// What most likely brought the control character that is at this byte, and what to do about it.
fn remedy(bytes: &[u8], at: usize) -> &'static str {
    match bytes.get(at) {
        Some(0) => "it looks like UTF-16, as PowerShell's '>' writes it: save it as UTF-8 (Out-File -Encoding ascii)",
        Some(b'\r') => "it has line ends as Windows writes them (CRLF): \"tr -d '\\r'\" takes them off",
        _ => "store the key alone: one line, nothing before or after it",
    }
}

/// The error of a value over [`MAX_VALUE`].
pub(super) fn too_long(place: &str) -> SourceError {
    SourceError::new(format!("the value in {place} is longer than {MAX_VALUE} bytes"), "store the key alone there")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cleaned(bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
        clean(Plaintext::new(bytes.to_vec()), "here").map(|v| v.map(|v| v.expose().to_vec())).map_err(|e| e.what)
    }

    #[test]
    fn one_line_end_goes_and_nothing_else() {
        for (raw, value) in [
            ("sk-1", Some("sk-1")),
            ("sk-1\n", Some("sk-1")),
            ("sk-1\r\n", Some("sk-1")),
            (" sk 1 ", Some(" sk 1 ")),
            ("schlüssel", Some("schlüssel")),
            ("", None),
            ("\n", None),
            ("\r\n", None),
        ] {
            assert_eq!(cleaned(raw.as_bytes()), Ok(value.map(|v| v.as_bytes().to_vec())), "{raw:?}");
        }
    }

    #[test]
    fn control_characters_are_refused_with_their_place_only() {
        for (raw, at) in [("sk\n\n", 3), ("sk\r", 3), ("a\tb", 2), ("\0", 1), ("ab\x7f", 3), ("k1\nk2\n", 3)] {
            let e = cleaned(raw.as_bytes()).unwrap_err();
            assert_eq!(e, format!("the value in here has a control character at byte {at}"), "{raw:?}");
        }
    }

    #[test]
    fn what_brings_control_characters_is_told_by_kind() {
        for (raw, said) in [("sk\r", "CRLF"), ("sk\r\n\r\n", "CRLF"), ("s\0k\0", "UTF-16"), ("sk\n\n", "one line")] {
            let e = clean(Plaintext::new(raw.as_bytes().to_vec()), "here").err().unwrap();
            assert!(e.next.contains(said), "{raw:?}: {e:?}");
        }
    }

    #[test]
    fn the_longest_value_fits_and_one_byte_more_does_not() {
        assert!(cleaned(&vec![b'a'; MAX_VALUE]).is_ok());
        assert!(cleaned(&vec![b'a'; MAX_VALUE + 1]).is_err());
    }

    proptest! {
        #[test]
        fn a_value_can_never_end_a_line(bytes: Vec<u8>) {
            if let Ok(Some(v)) = cleaned(&bytes) {
                prop_assert!(!v.is_empty() && !v.iter().any(u8::is_ascii_control));
                prop_assert!(bytes.starts_with(&v));
            }
        }
    }
}
