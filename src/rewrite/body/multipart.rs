//! The parser of multipart forms (RFC 7578): in which field a placeholder stands, and whether it is all of it.
//! Parts that are files, or coded, are no fields, and nothing stands before the first part.

use super::escape::EscapeStyle;
use super::location::{Location, Match};
use memchr::memmem;
use std::ops::Range;

/// A part whose headers are longer than this is no field.
const MAX_HEADERS: usize = 8 * 1024;

/// A streaming parser of multipart forms, which keeps the headers of the part at hand and no more.
#[derive(Debug)]
pub(crate) struct MultipartParser {
    delimiter: Delimiter,
    state: MultipartState,
}

#[derive(Debug)]
enum MultipartState {
    /// Before the first delimiter: so much has gone by.
    Preamble(usize),
    /// A delimiter has gone by; what follows says whether it is one, and `within` is where we are if not.
    Delimiter { next: Vec<u8>, within: Box<MultipartState> },
    /// From the line break that ends the delimiter on.
    Headers(Vec<u8>),
    Content {
        field: Option<Vec<u8>>,
        /// Nothing of it has gone by.
        fresh: bool,
    },
    /// Behind the last delimiter; `empty` but for a line break.
    Epilogue { empty: bool },
    /// It was no such form after all.
    Lost,
}

impl MultipartParser {
    /// Nothing has gone by yet; `boundary` is as the `Content-Type` has it.
    pub fn new(boundary: &str) -> Self {
        Self { delimiter: Delimiter::new(boundary), state: MultipartState::Preamble(0) }
    }

    /// Whether it was no such form after all.
    pub fn is_lost(&self) -> bool {
        matches!(self.state, MultipartState::Lost)
    }

    /// Whether all that has gone by is such a form, to its last delimiter.
    pub fn is_whole(&self) -> bool {
        matches!(self.state, MultipartState::Epilogue { empty: true })
    }

    /// These bytes have gone by.
    pub fn advance(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = match &mut self.state {
                MultipartState::Lost => return,
                MultipartState::Epilogue { empty } => {
                    *empty &= rest.iter().all(|b| super::json::is_space(*b));
                    return;
                }
                MultipartState::Preamble(_) | MultipartState::Content { .. } => self.content(rest),
                MultipartState::Delimiter { .. } => self.after_delimiter(rest),
                MultipartState::Headers(_) => self.headers(rest),
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    fn content(&mut self, rest: &[u8]) -> usize {
        let found = self.delimiter.find(rest);
        match &mut self.state {
            MultipartState::Content { fresh, .. } => *fresh = false,
            MultipartState::Preamble(passed) => {
                *passed += found.unwrap_or(rest.len());
                // the line break that it may begin with is part of the delimiter
                if *passed > self.delimiter.text.len() {
                    self.state = MultipartState::Lost;
                    return rest.len();
                }
            }
            _ => {}
        }
        let Some(end) = found else { return rest.len() };
        let within = Box::new(std::mem::replace(&mut self.state, MultipartState::Lost));
        self.state = MultipartState::Delimiter { next: Vec::with_capacity(2), within };
        end
    }

    fn after_delimiter(&mut self, rest: &[u8]) -> usize {
        let MultipartState::Delimiter { next, within } = &mut self.state else { return 0 };
        next.extend(rest.first());
        self.state = match next.as_slice() {
            b"-" | b"\r" => return 1,
            b"--" => MultipartState::Epilogue { empty: true },
            b"\r\n" => MultipartState::Headers(b"\r\n".to_vec()),
            _ => {
                // A longer line that only begins like one; it may hold the beginning of another.
                let state = std::mem::replace(&mut **within, MultipartState::Lost);
                let next = std::mem::take(next);
                self.state = state;
                let _ = self.delimiter.find(&next);
                return 1;
            }
        };
        1
    }

    fn headers(&mut self, rest: &[u8]) -> usize {
        let MultipartState::Headers(headers) = &mut self.state else { return 0 };
        let mut taken = 0;
        for byte in rest {
            headers.push(*byte);
            taken += 1;
            if headers.ends_with(b"\r\n\r\n") {
                let field = field_name(headers);
                self.state = MultipartState::Content { field, fresh: true };
                return taken;
            }
            if headers.len() > MAX_HEADERS {
                self.state = MultipartState::Content { field: None, fresh: false };
                return taken;
            }
        }
        taken
    }

    /// Where the placeholder at `at` stands, all bytes before which have gone by; `last` says that nothing follows `hay`.
    pub fn locate(&self, hay: &[u8], at: &Range<usize>, last: bool) -> Match<'_> {
        let (field, whole, escape) = match &self.state {
            MultipartState::Content { field: Some(field), fresh: true } => match self.delimiter.follows(hay, at.end) {
                None if !last => return Match::Incomplete,
                follows => (Some(field.as_slice().into()), follows == Some(true), self.delimiter.escape()),
            },
            MultipartState::Content { field, .. } => (field.as_deref().map(Into::into), false, self.delimiter.escape()),
            MultipartState::Headers(_) | MultipartState::Delimiter { .. } => (None, false, EscapeStyle::Line),
            MultipartState::Preamble(_) | MultipartState::Epilogue { .. } | MultipartState::Lost => {
                (None, false, self.delimiter.escape())
            }
        };
        Match::Location(Location { whole, field, pointer: None, escape })
    }
}

/// Looks for the line that ends a part, over any cuts.
#[derive(Debug)]
struct Delimiter {
    /// `\r\n--boundary`. A `\r` stands at its beginning alone, so a mismatch never has to look back.
    text: Vec<u8>,
    finder: memmem::Finder<'static>,
    /// How much of it has gone by.
    matched: usize,
}

impl Delimiter {
    fn new(boundary: &str) -> Self {
        let text = [b"\r\n--", boundary.as_bytes()].concat();
        let finder = memmem::Finder::new(&text).into_owned();
        // The first one needs no line break before it.
        Self { text, finder, matched: 2 }
    }

    /// Where the next one ends.
    fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while self.matched > 0 {
            let byte = bytes.get(at)?;
            at += 1;
            self.step(*byte);
            if self.matched == self.text.len() {
                self.matched = 0;
                return Some(at);
            }
        }
        let rest = bytes.get(at..)?;
        if let Some(i) = self.finder.find(rest) {
            return Some(at + i + self.text.len());
        }
        let tail = rest.len().saturating_sub(self.text.len() - 1);
        let start = memchr::memrchr(b'\r', rest.get(tail..)?)?;
        rest.get(tail + start..)?.iter().for_each(|b| self.step(*b));
        None
    }

    fn step(&mut self, byte: u8) {
        self.matched = match self.text.get(self.matched) {
            Some(wanted) if *wanted == byte => self.matched + 1,
            _ => usize::from(byte == b'\r'),
        };
    }

    /// Whether one stands at `at`; `None` where the bytes end before that is known.
    fn follows(&self, hay: &[u8], at: usize) -> Option<bool> {
        let rest = hay.get(at..)?;
        let common = rest.len().min(self.text.len());
        if rest[..common] != self.text[..common] {
            return Some(false);
        }
        match rest.get(self.text.len()..)? {
            [] | [b'-'] | [b'\r'] => None,
            [a, b, ..] => Some(matches!((a, b), (b'-', b'-') | (b'\r', b'\n'))),
            [_] => Some(false),
        }
    }

    fn escape(&self) -> EscapeStyle<'_> {
        EscapeStyle::Field { boundary: &self.text[2..] }
    }
}

/// The field's name, if these headers are those of a plain field.
fn field_name(headers: &[u8]) -> Option<Vec<u8>> {
    let mut name = None;
    for line in std::str::from_utf8(headers).ok()?.split("\r\n").filter(|line| !line.is_empty()) {
        let (header, value) = line.split_once(':')?;
        if !header.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        if header.eq_ignore_ascii_case("content-disposition") {
            if name.is_some() {
                return None;
            }
            name = Some(disposition(value)?);
        }
        let plain = ["7bit", "8bit", "binary"];
        if header.eq_ignore_ascii_case("content-transfer-encoding")
            && !plain.iter().any(|p| value.trim().eq_ignore_ascii_case(p))
        {
            return None;
        }
    }
    name
}

/// The name in `form-data; name="…"`, where there is no file name.
fn disposition(value: &str) -> Option<Vec<u8>> {
    let (kind, mut rest) = value.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return None;
    }
    let mut name = None;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return name;
        }
        let (parameter, after) = rest.split_once('=')?;
        let (value, after) = parameter_value(after.trim_start())?;
        match parameter.trim().to_ascii_lowercase().as_str() {
            "name" if name.is_none() => name = Some(value),
            "name" | "filename" | "filename*" | "name*" => return None,
            _ => {}
        }
        let after = after.trim_start();
        rest = if after.is_empty() { after } else { after.strip_prefix(';')? };
    }
}

/// A token or a quoted string, and what follows it.
fn parameter_value(text: &str) -> Option<(Vec<u8>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ' ', '\t']).unwrap_or(text.len());
        let (token, rest) = text.split_at_checked(end)?;
        return Some((token.as_bytes().to_vec(), rest));
    };
    let mut value = Vec::new();
    let mut bytes = quoted.bytes().enumerate();
    while let Some((i, byte)) = bytes.next() {
        match byte {
            b'"' => return Some((value, quoted.get(i + 1..)?)),
            b'\\' => value.extend(bytes.next().map(|(_, b)| b)),
            _ => value.push(byte),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `field`, `field!` where it is whole, for each `*` in a body that comes in pieces of `cut` bytes.
    fn told(body: &str, cut: usize) -> String {
        let mut parser = MultipartParser::new("b-1");
        let mut told = Vec::new();
        let mut done = 0;
        for (start, _) in body.match_indices('*') {
            body.as_bytes()[done..start].chunks(cut).for_each(|c| parser.advance(c));
            told.push(match parser.locate(body.as_bytes(), &(start..start + 1), true) {
                Match::Incomplete => "more".into(),
                Match::Location(location) => {
                    let field = location.field.map_or("-".into(), |f| String::from_utf8_lossy(&f).into_owned());
                    format!("{field}{}", if location.whole { "!" } else { "" })
                }
            });
            done = start;
        }
        told.join(" ")
    }

    fn part(headers: &str, content: &str) -> String {
        format!("--b-1\r\n{headers}\r\n\r\n{content}\r\n")
    }

    #[test]
    fn fields_are_told_apart() {
        let field = |content: &str| part("Content-Disposition: form-data; name=\"a\"", content);
        let end = "--b-1--\r\n";
        for (body, fields) in [
            (field("*") + end, "a!"),
            (field("x") + &field("*") + end, "a!"),
            (field("") + &field("*") + end, "a!"),
            ("preamble *\r\n".to_string() + &field("*") + end + "*", "- - -"),
            ("\r\n\r\n".to_string() + &field("*") + end, "-"),
            ("--b-12\r\n".to_string() + &field("*") + end, "-"),
            (part("he said\r\nContent-Disposition: form-data; name=a", "*") + end, "-"),
            (part("he said: x\r\nContent-Disposition: form-data; name=a", "*") + end, "-"),
            ("\r\n".to_string() + &field("*") + end, "a!"),
            (field(" *") + end, "a"),
            (field("*\r\n") + end, "a"),
            (field("* ") + end, "a"),
            (field("*\r\n--b-12"), "a"),
            (field("x\r\n--b-12\r\n\r\n*") + end, "a"),
            (field("x\r\n--b-\r\r\n--b-1x*") + &field("*") + end, "a a!"),
            (field("*").trim_end().to_string(), "a"),
            (part("content-disposition:form-data;name=a", "*") + end, "a!"),
            (part("Content-Disposition: form-data; name=\"q\\\"uote\"", "*") + end, "q\"uote!"),
            (part("Content-Disposition: form-data; name=\"a\"; filename=\"f.txt\"", "*") + end, "-"),
            (part("Content-Disposition: form-data; filename*=utf-8''f; name=\"a\"", "*") + end, "- -"),
            (part("Content-Disposition: attachment; name=\"a\"", "*") + end, "-"),
            (part("Content-Disposition: form-data; name=\"a", "*") + end, "-"),
            (part("Content-Type: text/plain", "*") + end, "-"),
            (part("Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64", "*") + end, "-"),
            (part("Content-Disposition: form-data; name=\"*\"", "x") + end, "-"),
            (part(&format!("X: {}\r\nContent-Disposition: form-data; name=a", "x".repeat(9000)), "*") + end, "-"),
        ] {
            for cut in [1, 2, 3, 7, 10_000] {
                assert_eq!(told(&body, cut), fields, "{body} in pieces of {cut}");
            }
        }
    }

    #[test]
    fn the_end_of_a_field_is_waited_for() {
        let delimiter = Delimiter::new("b");
        for (after, follows) in [
            ("", None),
            ("\r", None),
            ("\r\n--b", None),
            ("\r\n--b\r", None),
            ("\r\n--b-", None),
            ("\r\n--b\r\n", Some(true)),
            ("\r\n--b--", Some(true)),
            ("\r\n--b-x", Some(false)),
            ("\r\n--bx", Some(false)),
            ("x", Some(false)),
            ("\r\nx", Some(false)),
        ] {
            assert_eq!(delimiter.follows(after.as_bytes(), 0), follows, "{after:?}");
        }
    }

    proptest! {
        #[test]
        fn delimiters_are_found_over_any_cut(text in "[\r\n\\-bx]{0,60}", cut in 1..9usize) {
            let mut delimiter = Delimiter::new("b");
            delimiter.matched = 0;
            let mut found = Vec::new();
            for (i, chunk) in text.as_bytes().chunks(cut).enumerate() {
                let mut at = 0;
                while let Some(end) = delimiter.find(&chunk[at..]) {
                    at += end;
                    found.push(i * cut + at);
                }
            }
            let want: Vec<usize> = text.match_indices("\r\n--b").map(|(i, m)| i + m.len()).collect();
            prop_assert_eq!(found, want);
        }
    }
}
