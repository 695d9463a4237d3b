//! Fields of a body by which a server takes another method or path, found as the body goes by.
//!
//! Looked for in what servers read such fields from: forms, multipart, and the names at the top of JSON (Laravel). The
//! search asks less than a parser would, and so finds a field however a parser may be brought to see it.

use super::overrides::{OverrideLimits, name_of, value_of};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use std::mem;

/// What is kept of a name that is not read to its end, each byte of which may be written as six.
const MAX_NAME: usize = 256;
/// The same of a value: methods are short.
const MAX_VALUE: usize = 64;
/// A part's head that is longer is not searched but refused.
const MAX_DISPOSITION: usize = 4096;
const DISPOSITION: &[u8] = b"content-disposition";

/// The search through one body.
#[derive(Debug)]
pub struct BodyOverrideScan {
    limits: OverrideLimits,
    readings: Vec<BodyReading>,
}

/// One way in which a server may read the body.
#[derive(Debug)]
enum BodyReading {
    Form(FormFields),
    Multipart(MultipartFields),
    Json(JsonFields),
}

impl BodyOverrideScan {
    /// `None` where there is nothing to find.
    ///
    /// # Errors
    /// Says why a form can't be searched.
    pub fn new(limits: &OverrideLimits, headers: &HeaderMap) -> Result<Option<Self>, String> {
        if !limits.any() {
            return Ok(None);
        }
        let types = headers.get_all(CONTENT_TYPE).iter();
        let readings: Vec<BodyReading> = types.filter_map(BodyReading::of).collect();
        let is_form = readings.iter().any(|reading| !matches!(reading, BodyReading::Json(_)));
        if is_form && headers.get_all(CONTENT_ENCODING).iter().any(|coding| coding != "identity") {
            return Err("a coded form can't be searched for what stands for another method; send it uncoded".into());
        }
        Ok((!readings.is_empty()).then(|| Self { limits: limits.clone(), readings }))
    }

    /// Searches the next piece, before it goes on: what was found, as the agent wrote it.
    pub fn push(&mut self, piece: &[u8]) -> Option<String> {
        self.readings.iter_mut().find_map(|reading| match reading {
            BodyReading::Form(form) => form.push(piece, &self.limits),
            BodyReading::Multipart(multipart) => multipart.push(piece, &self.limits),
            BodyReading::Json(json) => json.push(piece, &self.limits),
        })
    }
}

impl BodyReading {
    fn of(content_type: &HeaderValue) -> Option<Self> {
        let text = String::from_utf8_lossy(content_type.as_bytes()).to_ascii_lowercase();
        if text.contains("urlencoded") {
            return Some(Self::Form(FormFields::default()));
        }
        if text.contains("multipart/") {
            return Some(Self::Multipart(MultipartFields::default()));
        }
        (text.contains("/json") || text.contains("+json")).then(|| Self::Json(JsonFields::default()))
    }
}

fn told(name: &[u8]) -> String {
    format!("the body's {}", String::from_utf8_lossy(name))
}

/// `name=value&name=value`
#[derive(Debug, Default)]
struct FormFields {
    name: Vec<u8>,
    value: Vec<u8>,
    in_value: bool,
}

impl FormFields {
    fn push(&mut self, piece: &[u8], limits: &OverrideLimits) -> Option<String> {
        for byte in piece {
            match byte {
                b'&' | b';' => {
                    if self.is_forbidden(limits) {
                        return Some(told(&self.name));
                    }
                    *self = Self::default();
                }
                b'=' if !self.in_value => self.in_value = true,
                byte if self.in_value => keep(&mut self.value, *byte, MAX_VALUE),
                byte => {
                    keep(&mut self.name, *byte, MAX_NAME);
                    // PHP takes spaces off, however many
                    if matches!(&self.name[..], b"+" | b" " | b"%20") {
                        self.name.clear();
                    }
                }
            }
        }
        // a value that may go on is judged as it is: it could be over
        self.is_forbidden(limits).then(|| told(&self.name))
    }

    fn is_forbidden(&self, limits: &OverrideLimits) -> bool {
        self.in_value && limits.forbid(&name_of(&self.name), &value_of(&self.value))
    }
}

fn keep(kept: &mut Vec<u8>, byte: u8, most: usize) {
    if kept.len() < most {
        kept.push(byte);
    }
}

/// Lines, some of which are the heads of parts.
#[derive(Debug, Default)]
struct MultipartFields {
    line: Vec<u8>,
    kind: PartLine,
    /// The head of this part so far, should it go on in the next line.
    disposition: Vec<u8>,
    /// The part has this name, and its value decides.
    name: Option<String>,
    after_return: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum PartLine {
    #[default]
    Begun,
    Disposition,
    Value,
    Other,
}

impl MultipartFields {
    fn push(&mut self, piece: &[u8], limits: &OverrideLimits) -> Option<String> {
        for byte in piece {
            let after_return = mem::replace(&mut self.after_return, *byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\r' | b'\n' => {
                    if let Some(found) = self.end_line(limits) {
                        return Some(found);
                    }
                }
                byte => self.take(byte.to_ascii_lowercase()),
            }
            if self.line.len() > MAX_DISPOSITION {
                return Some("the head of a part, which is over 4 KiB,".into());
            }
        }
        self.value_is_forbidden(limits)
    }

    fn take(&mut self, byte: u8) {
        match self.kind {
            PartLine::Other => {}
            PartLine::Value => keep(&mut self.line, byte, MAX_VALUE),
            PartLine::Disposition => self.line.push(byte),
            PartLine::Begun if self.line.is_empty() && matches!(byte, b' ' | b'\t') => {
                // a line that is folded goes on; elsewhere a space before the name is none to lenient parsers
                if !self.disposition.is_empty() {
                    (self.line, self.kind) = (mem::take(&mut self.disposition), PartLine::Disposition);
                    self.line.push(b' ');
                }
            }
            PartLine::Begun => {
                self.line.push(byte);
                if !DISPOSITION.starts_with(&self.line) {
                    self.kind = PartLine::Other;
                } else if self.line.len() == DISPOSITION.len() {
                    self.kind = PartLine::Disposition;
                }
            }
        }
    }

    fn end_line(&mut self, limits: &OverrideLimits) -> Option<String> {
        let (line, kind) = (mem::take(&mut self.line), mem::take(&mut self.kind));
        match kind {
            PartLine::Disposition => {
                let names = names(&line);
                if let Some(name) = names.iter().find(|name| limits.forbid(name, b"")) {
                    return Some(told(name.as_bytes()));
                }
                self.name = names.into_iter().next();
                self.disposition = line;
            }
            PartLine::Begun if line.is_empty() => {
                // the part's head is over, and its value begins
                self.disposition.clear();
                self.kind = if self.name.is_some() { PartLine::Value } else { PartLine::Begun };
            }
            PartLine::Value => {
                self.line = line;
                self.kind = kind;
                let found = self.value_is_forbidden(limits);
                (self.line, self.kind, self.name) = (Vec::new(), PartLine::Begun, None);
                return found;
            }
            PartLine::Begun | PartLine::Other => self.disposition.clear(),
        }
        None
    }

    fn value_is_forbidden(&self, limits: &OverrideLimits) -> Option<String> {
        let name = self.name.as_deref().filter(|_| self.kind == PartLine::Value)?;
        limits.forbid(name, &self.line).then(|| told(name.as_bytes()))
    }
}

/// Each name that the head of a part may give it.
fn names(disposition: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in disposition.windows(4).enumerate().filter(|(_, window)| window == b"name") {
        let begins = at.checked_sub(1).is_none_or(|before| !disposition[before].is_ascii_alphanumeric());
        if begins {
            found.extend(parameter(disposition.get(at + 4..).unwrap_or_default()));
        }
    }
    found
}

/// The value behind a parameter's name: a word, a text in quotes, or RFC 8187's `utf-8''text`.
fn parameter(rest: &[u8]) -> Option<String> {
    let equals = rest.iter().position(|byte| *byte == b'=')?;
    let marks = rest[..equals].trim_ascii();
    if !marks.iter().all(|byte| *byte == b'*' || byte.is_ascii_digit()) {
        return None;
    }
    let value = rest[equals + 1..].trim_ascii_start();
    let text = match value.split_first() {
        Some((quote @ (b'"' | b'\''), text)) => quoted(*quote, text),
        _ => value.iter().copied().take_while(|byte| !matches!(byte, b';' | b' ' | b'\t')).collect(),
    };
    let text = match marks.is_empty() {
        true => text,
        false => text.rsplit(|byte| *byte == b'\'').next().unwrap_or_default().to_vec(),
    };
    Some(name_of(&text))
}

fn quoted(quote: u8, text: &[u8]) -> Vec<u8> {
    let (mut out, mut bytes) = (Vec::new(), text.iter().copied());
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => out.extend(bytes.next()),
            byte if byte == quote => break,
            byte => out.push(byte),
        }
    }
    out
}

/// The names at the top of an object.
#[derive(Debug, Default)]
struct JsonFields {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The last string at the top, as it is written.
    string: Vec<u8>,
}

impl JsonFields {
    fn push(&mut self, piece: &[u8], limits: &OverrideLimits) -> Option<String> {
        for byte in piece {
            if self.in_string {
                self.take(*byte);
                continue;
            }
            match byte {
                b'"' => {
                    self.in_string = true;
                    self.string.clear();
                }
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                b':' if self.depth == 1 => {
                    let name = self.name();
                    if limits.forbid(&name, b"") {
                        return Some(told(name.as_bytes()));
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn take(&mut self, byte: u8) {
        if !self.escaped && byte == b'"' {
            self.in_string = false;
            return;
        }
        self.escaped = !self.escaped && byte == b'\\';
        keep(&mut self.string, byte, MAX_NAME);
    }

    fn name(&self) -> String {
        let text = [b"\"", &self.string[..], b"\""].concat();
        serde_json::from_slice(&text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
