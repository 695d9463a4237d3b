//! Finds keys in a file of settings, by the path and the name that lead to a value, the host it is sent to, and what it looks
//! like; and values that may be keys and can't be moved. Reading and writing files is not its business.
//!
//! Each format is read with the places of its values, so that one can be replaced and all else stays byte for byte.

mod file_syntax;
mod json_reader;
mod leftovers;
mod line_reader;
mod names;
mod neighbours;
mod netrc_reader;
mod owner;
mod parts;
mod plausible;
mod scalar;
mod stay_reason;
mod toml_reader;
mod yaml_reader;

pub use scalar::ValueWriting;
pub use stay_reason::StayReason;

use super::keys::KeySetting;
use file_syntax::FileSyntax;
use line_reader::LineDialect;
use names::{NameHint, hint, is_public, words};
use neighbours::Neighbours;
use owner::{KeyClaim, KeyOwners};
use parts::{ValueCoding, ValuePart};
use plausible::{is_example, is_nothing, is_random, is_reference};
use scalar::{ConfigScalar, ScalarForm};
use std::ops::Range;
use std::path::Path;
use url::Url;

/// What nanofolks writes in place of a key that it keeps in the keyring.
const KEYRING_MARKER: &str = "__KEYRING__";
/// As Windows' editors write it at the beginning of a file.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// What was found in a file.
#[derive(Debug, Default)]
pub struct KeyScan {
    /// In the order of the text, and apart.
    pub values: Vec<FoundValue>,
    /// Why it can't be read as what its name says.
    pub unreadable: Option<String>,
}

/// A value that is a key, or may be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundValue {
    /// Its bytes in the text.
    pub at: Range<usize>,
    /// From 1.
    pub line: usize,
    /// The names that lead to it, for a person.
    pub path: String,
    /// As it is meant, without quotes and escapes.
    pub value: String,
    /// How it is written, and so has to be written anew.
    pub writing: ValueWriting,
    /// It is in a bare word, which gets quotes: how far before it and behind it.
    pub quotes: Option<(usize, usize)>,
    /// What it is.
    pub verdict: ValueVerdict,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueVerdict {
    /// The key with this number.
    Key(usize),
    /// The key with this number is in the keyring of the machine, where another program put it.
    InKeyring {
        /// The key's number.
        of: usize,
        /// The name that it has there.
        user: String,
    },
    /// It may be a secret, and stays.
    Stays(StayReason),
}

/// All that is found in the text of `file`.
pub fn find(file: &Path, text: &str, keys: &[KeySetting]) -> KeyScan {
    let owners = KeyOwners::new(keys);
    let ahead = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let body = text.get(ahead..).unwrap_or_default();
    let syntax = FileSyntax::of(file, body);
    let (mut scalars, unreadable) = match syntax.read(body) {
        Ok(scalars) => (scalars, None),
        Err(e) => {
            let lines = FileSyntax::Lines(LineDialect::Shell).read(body).unwrap_or_default();
            (lines, Some(format!("it can't be read as {}: {e}", syntax.name())))
        }
    };
    for scalar in &mut scalars {
        scalar.at = scalar.at.start + ahead..scalar.at.end + ahead;
    }
    let search = ValueSearch {
        text,
        owners: &owners,
        neighbours: Neighbours::new(&scalars),
        is_flat: matches!(syntax, FileSyntax::Lines(_)),
        is_readable: unreadable.is_none(),
        lines: memchr::memchr_iter(b'\n', text.as_bytes()).collect(),
    };
    let mut values: Vec<FoundValue> = scalars.iter().flat_map(|scalar| search.in_scalar(scalar)).collect();
    let mut places: Vec<Range<usize>> = scalars.iter().map(|scalar| scalar.at.clone()).collect();
    places.sort_by_key(|at| at.start);
    for (at, name) in leftovers::find(text, &places, &owners) {
        let value = text.get(at.clone()).unwrap_or_default().to_owned();
        values.push(search.found(at, name, value, ValueWriting::Plain, ValueVerdict::Stays(StayReason::NoValue)));
    }
    values.sort_by_key(|value| (value.at.start, value.at.end));
    values.dedup_by(|next, kept| next.at.start < kept.at.end);
    KeyScan { values, unreadable }
}

/// A value of a file of settings, whatever it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingValue {
    /// The names that lead to it.
    pub path: Vec<String>,
    /// The line that it stands in, from 1.
    pub line: usize,
    /// What a program gets to see.
    pub value: String,
}

/// All values of a file, read by its name and how it begins; none where it is not written so.
pub fn values(file: &Path, text: &str) -> Vec<SettingValue> {
    let ends: Vec<usize> = memchr::memchr_iter(b'\n', text.as_bytes()).collect();
    let scalars = FileSyntax::of(file, text).read(text).unwrap_or_default();
    let line = |at: usize| ends.partition_point(|end| *end < at) + 1;
    scalars.into_iter().map(|s| SettingValue { line: line(s.at.start), path: s.path, value: s.value }).collect()
}

/// What a search for keys among the values of one file goes by.
struct ValueSearch<'s> {
    text: &'s str,
    owners: &'s KeyOwners<'s>,
    neighbours: Neighbours<'s>,
    /// One pair says nothing of the next.
    is_flat: bool,
    is_readable: bool,
    /// Where its lines end.
    lines: Vec<usize>,
}

impl ValueSearch<'_> {
    fn found(
        &self,
        at: Range<usize>,
        path: String,
        value: String,
        writing: ValueWriting,
        verdict: ValueVerdict,
    ) -> FoundValue {
        let line = self.lines.partition_point(|end| *end < at.start) + 1;
        FoundValue { at, line, path, value, writing, quotes: None, verdict }
    }

    fn in_scalar(&self, scalar: &ConfigScalar) -> Vec<FoundValue> {
        let mut path = scalar.path.clone();
        if let (Some(name), Some(leaf)) = (self.neighbours.given_name(&path), path.last_mut()) {
            *leaf = name;
        }
        // settings of a program in one variable: NANOFOLKS_PROVIDERS__OPENAI__API_KEY
        if let Some(leaf) = path.pop() {
            path.extend(leaf.split("__").filter(|step| !step.is_empty()).map(str::to_owned));
        }
        if scalar.value == KEYRING_MARKER {
            return self.marker(scalar, &path).into_iter().collect();
        }
        let leaf = path.last().map_or("", String::as_str);
        let is_of_docker = leaf == "auth" && path.iter().any(|step| step == "auths") || leaf == "_auth";
        let coding = match leaf {
            _ if is_of_docker => ValueCoding::Basic,
            "_password" => ValueCoding::Base64,
            _ if self.neighbours.is_in_secret_data(&path) => ValueCoding::Base64,
            _ => ValueCoding::Text,
        };
        let is_whole = self.owners.of_variable(leaf).is_some();
        let parts = parts::parts(&scalar.value, coding, is_whole);
        let mut found: Vec<FoundValue> =
            parts.into_iter().filter_map(|part| self.in_part(scalar, &path, part)).collect();
        // the quotes around a word are put there for one
        for other in found.iter_mut().filter(|value| matches!(value.verdict, ValueVerdict::Key(_))).skip(1) {
            if other.quotes.is_some() {
                other.verdict = ValueVerdict::Stays(StayReason::Escaped);
            }
        }
        found
    }

    /// A key that another program has put into the keyring, and whose name there is the mapping around it.
    fn marker(&self, scalar: &ConfigScalar, path: &[String]) -> Option<FoundValue> {
        let user = path.iter().rev().nth(1)?.clone();
        let KeyClaim::One(of) = self.owners.of(path, "", &[], &[]) else { return None };
        let writing = ValueWriting::Marker(KEYRING_MARKER.into());
        // the key of one under the name of another: whoever wrote it may have meant to send one to the other's host
        let names = self.owners.named(&[of]);
        let verdict = match names.first() {
            Some(name) if *name == words(&user).join("_") => ValueVerdict::InKeyring { of, user },
            _ => ValueVerdict::Stays(StayReason::Several([vec![user], names].concat())),
        };
        Some(self.found(scalar.at.clone(), path.join("."), String::new(), writing, verdict))
    }

    fn in_part(&self, scalar: &ConfigScalar, path: &[String], part: ValuePart) -> Option<FoundValue> {
        let value = part.text.as_str();
        if is_nothing(value) || is_reference(value) || is_example(value) {
            return None;
        }
        let path: Vec<String> = path.iter().cloned().chain(part.names.iter().cloned()).collect();
        let claim = if part.among_words {
            match self.owners.by_looks(value).as_slice() {
                [] => return None,
                [one] => KeyClaim::One(*one),
                several => KeyClaim::Several(several.to_vec()),
            }
        } else {
            let urls = self.urls(&path, &part);
            let names = if self.is_flat { Vec::new() } else { self.neighbours.names(&path) };
            self.owners.of(&path, value, &urls, &names)
        };
        let (at, writing) = match self.place(scalar, &part) {
            Some((at, writing)) => (at, Some(writing)),
            None => (scalar.at.clone(), None),
        };
        let verdict = match claim {
            KeyClaim::One(of) => match self.owners.without_host(of) {
                Some((name, host)) => {
                    let told = self.urls(&path, &part).first().and_then(|url| url.host_str().map(str::to_owned));
                    ValueVerdict::Stays(StayReason::NoHost { name, host: told.unwrap_or(host) })
                }
                None => self.movable(of, scalar, &part, writing.is_some()),
            },
            KeyClaim::Several(of) => ValueVerdict::Stays(StayReason::Several(self.owners.named(&of))),
            KeyClaim::Nobody => ValueVerdict::Stays(self.suspicion(&path, value, &part)?),
        };
        let quotes =
            (scalar.form == ScalarForm::ShellWord).then(|| (at.start - scalar.at.start, scalar.at.end - at.end));
        let found = self.found(at, path.join("."), part.text.clone(), writing.unwrap_or(ValueWriting::Plain), verdict);
        Some(FoundValue { quotes, ..found })
    }

    /// Where the part is sent, the nearest first.
    fn urls(&self, path: &[String], part: &ValuePart) -> Vec<Url> {
        let own = part.url.clone();
        let beside = if self.is_flat && path.len() < 2 { Vec::new() } else { self.neighbours.urls(path) };
        own.into_iter().chain(beside).collect()
    }

    fn movable(&self, of: usize, scalar: &ConfigScalar, part: &ValuePart, is_placed: bool) -> ValueVerdict {
        let value = part.text.as_str();
        match () {
            () if part.in_command => ValueVerdict::Stays(StayReason::NoValue),
            () if !self.is_readable => ValueVerdict::Stays(StayReason::Unreadable),
            () if scalar.form == ScalarForm::Number => ValueVerdict::Stays(StayReason::Number),
            () if !is_placed => ValueVerdict::Stays(StayReason::Escaped),
            () if value.contains(|c: char| c.is_whitespace() || c.is_control()) => {
                ValueVerdict::Stays(StayReason::Blanks)
            }
            () => ValueVerdict::Key(of),
        }
    }

    /// Where the part stands in the text, and how it is written there.
    fn place(&self, scalar: &ConfigScalar, part: &ValuePart) -> Option<(Range<usize>, ValueWriting)> {
        let raw = self.text.get(scalar.at.clone())?;
        let (at, writing) = match &part.encoded {
            Some((before, after)) => {
                let writing = ValueWriting::Base64 { before: before.clone(), after: after.clone() };
                let text = writing.write(&part.text);
                let at = raw.find(&text)?;
                (at..at + text.len(), writing)
            }
            None => scalar::locate(raw, &part.text)?,
        };
        Some((scalar.at.start + at.start..scalar.at.start + at.end, writing))
    }

    /// Why a value that is no key of ours may be a secret, if it may.
    fn suspicion(&self, path: &[String], value: &str, part: &ValuePart) -> Option<StayReason> {
        let leaf = path.iter().rev().find(|step| !step.starts_with('[')).map(|step| words(step)).unwrap_or_default();
        if is_public(&leaf) {
            return None;
        }
        let is_block = value.contains("PRIVATE KEY-----");
        let said = hint(&leaf).map(|(said, _)| said);
        let is_told = match said {
            Some(NameHint::Vague) | None => is_random(value) || is_block,
            Some(_) => !value.contains("://"),
        };
        if !is_told {
            return None;
        }
        let url = self.urls(path, part).into_iter().next();
        let scheme = part.url.as_ref().map(|url| url.scheme().to_owned());
        Some(match said {
            _ if is_block => StayReason::PrivateKey,
            Some(NameHint::PrivateKey) => StayReason::PrivateKey,
            Some(NameHint::Signs) => StayReason::Signs,
            _ if scheme.as_ref().is_some_and(|scheme| !["http", "https"].contains(&scheme.as_str())) => {
                StayReason::NotHttp(scheme.unwrap_or_default())
            }
            _ => StayReason::NobodysKey {
                name: proposed(path),
                host: url.and_then(|url| url.host_str().map(str::to_owned)),
            },
        })
    }
}

/// A name for a key that is reached by `path`: its own words before what it is, else those above.
fn proposed(path: &[String]) -> String {
    let own = path.iter().rev().filter(|step| !names::is_neutral(step)).map(|step| {
        let words = words(step);
        let count = hint(&words).map_or(0, |(_, count)| count);
        words.get(..words.len() - count).unwrap_or_default().join("_")
    });
    let is_name = |name: &String| name.starts_with(|c: char| c.is_ascii_lowercase()) && name != "x" && name.is_ascii();
    own.into_iter().find(is_name).map_or_else(|| "tool".into(), |name| name.chars().take(60).collect())
}

/// The text with each of `parts` replaced. They are in order and apart.
pub fn replaced(text: &str, parts: &[(Range<usize>, String)]) -> String {
    let mut out = String::with_capacity(text.len() + parts.iter().map(|(_, new)| new.len()).sum::<usize>());
    let mut done = 0;
    for (at, new) in parts {
        out.push_str(text.get(done..at.start).unwrap_or_default());
        out.push_str(new);
        done = at.end;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests;
