//! The pairs of files that are read line by line: `.env`, profiles of shells (POSIX, fish, PowerShell), INI and what is
//! like it, and whatever else has names with `=` or `:` before values. No library gives places in these.

use super::scalar::{ConfigScalar, MAX_VALUES, ScalarForm};
use std::ops::Range;

/// Who reads the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineDialect {
    /// A shell, or what reads its assignments.
    Shell,
    /// Values go to the end of the line, and quotes may be a part of them.
    Ini,
}

/// Its values, by section and name.
pub fn read(text: &str, dialect: LineDialect) -> Vec<ConfigScalar> {
    let mut reader = LineReader { text, dialect, section: None, found: Vec::new() };
    let mut at = 0;
    while at < text.len() && reader.found.len() < MAX_VALUES {
        let end = reader.line(at).max(at);
        at = text.get(end..).and_then(|rest| rest.find('\n')).map_or(text.len(), |line| end + line + 1);
    }
    reader.found
}

struct LineReader<'t> {
    text: &'t str,
    dialect: LineDialect,
    section: Option<String>,
    found: Vec<ConfigScalar>,
}

/// A value as it was read, and where what follows it begins.
struct ReadValue {
    at: Range<usize>,
    value: String,
    is_quoted: bool,
    end: usize,
}

impl<'t> LineReader<'t> {
    /// Reads the line that begins at `start`, and gives where it stopped.
    fn line(&mut self, start: usize) -> usize {
        let mut at = self.blanks(start);
        let rest = self.rest_of_line(at);
        if rest.starts_with(['#', ';']) || rest.starts_with("//") && !rest.contains(":_") || rest.starts_with("alias ")
        {
            return at;
        }
        if let Some(section) = section(rest) {
            self.dialect = LineDialect::Ini;
            self.section = Some(section.to_owned());
            return at;
        }
        if let Some((host, name_at)) = registry(rest) {
            let Some((name, value_at, _)) = self.pair(at + name_at) else { return at };
            let read = self.to_end_of_line(value_at);
            return self.push(vec![host, name], read, ScalarForm::Text);
        }
        // what opens a mapping or a list in a file that isn't read as one
        let opened = rest.len() - rest.trim_start_matches([' ', '\t', '{', '[', '(', ',', '-']).len();
        at += opened;
        let rest = self.rest_of_line(at);
        if let Some((name, value_at)) = by_command(rest) {
            let (name, read) = (name.to_owned(), self.word(at + value_at));
            let form = if read.is_quoted { ScalarForm::Text } else { ScalarForm::ShellWord };
            return self.push(vec![name], read, form);
        }
        at += keyword(rest);
        self.pairs(at)
    }

    /// All pairs from here to the end of the line.
    fn pairs(&mut self, mut at: usize) -> usize {
        while let Some((name, value_at, is_close)) = self.pair(at) {
            let word_alone = is_close && self.dialect == LineDialect::Shell;
            let scheme = self.rest_of_line(value_at).split([' ', '\t']).next().unwrap_or_default();
            let has_more =
                SCHEMES.iter().any(|s| s.eq_ignore_ascii_case(scheme)) || scheme.len() > 1 && scheme.ends_with(':');
            let read = match self.text.as_bytes().get(value_at) {
                Some(b'"' | b'\'' | b'$') => self.word(value_at),
                _ if word_alone && !has_more => self.word(value_at),
                _ => self.to_end_of_line(value_at),
            };
            let form =
                if word_alone && !read.is_quoted && !has_more { ScalarForm::ShellWord } else { ScalarForm::Text };
            let path = self.section.iter().cloned().chain([name]).collect();
            at = self.push(path, read, form);
            let skipped = self.rest_of_line(at).len()
                - self.rest_of_line(at).trim_start_matches([' ', '\t', ';', '&', ',']).len();
            if skipped == 0 {
                break;
            }
            at += skipped;
            at += keyword(self.rest_of_line(at));
        }
        at
    }

    fn push(&mut self, path: Vec<String>, read: ReadValue, form: ScalarForm) -> usize {
        if !read.value.is_empty() {
            self.found.push(ConfigScalar { path, at: read.at, value: read.value, form });
        }
        read.end
    }

    /// The name at `at`, where its value begins, and whether nothing is between it and its `=`.
    fn pair(&self, at: usize) -> Option<(String, usize, bool)> {
        let rest = self.rest_of_line(at);
        let quote = rest.chars().next().filter(|c| ['"', '\''].contains(c));
        let bare = rest.get(usize::from(quote.is_some())..)?;
        let len = bare.find(|c: char| !c.is_ascii_alphanumeric() && !"_.-$:/".contains(c)).unwrap_or(bare.len());
        // a colon within is of `$env:NAME`, one at the end parts it from its value
        let name = bare.get(..len)?;
        let name =
            if name.starts_with("$env:") || name.starts_with("$Env:") { name } else { name.split(':').next()? };
        let after = usize::from(quote.is_some()) + name.len();
        let closed = match quote {
            Some(quote) => rest.get(after..)?.strip_prefix(quote)?,
            None => rest.get(after..)?,
        };
        let signs = closed.trim_start_matches([' ', '\t']);
        let value = [":=", "=>", "=", ":"].iter().find_map(|sign| signs.strip_prefix(sign))?;
        let value = value.trim_start_matches([' ', '\t']);
        let is_close = signs.len() == closed.len() && closed.len() == value.len() + 1 && closed.starts_with('=');
        let name = name.trim_start_matches("$env:").trim_start_matches("$Env:").trim_start_matches('$');
        (!name.is_empty()).then(|| (name.to_owned(), at + rest.len() - value.len(), is_close))
    }

    /// A word of a shell: quoted in one of its ways, or bare.
    fn word(&self, at: usize) -> ReadValue {
        let rest = self.text.get(at..).unwrap_or_default();
        let opening = if rest.starts_with("$'") { 2 } else { usize::from(rest.starts_with(['"', '\''])) };
        if opening == 0 {
            let line = self.rest_of_line(at);
            let len = line.find([' ', '\t', ';', '&', '|', ')', ',']).unwrap_or(line.len());
            let raw = line.get(..len).unwrap_or_default();
            // quotes amidst a word are none of its value
            let value = raw.replace(['"', '\'', '\\'], "");
            return ReadValue { at: at..at + len, value, is_quoted: false, end: at + len };
        }
        let is_raw = rest.starts_with('\'');
        let quote = rest.as_bytes().get(opening - 1).copied().unwrap_or_default();
        let Some(len) = closing(rest.get(opening..).unwrap_or_default(), quote, is_raw) else {
            return self.to_end_of_line(at);
        };
        let inner = at + opening..at + opening + len;
        let raw = self.text.get(inner.clone()).unwrap_or_default();
        let value = if is_raw { raw.to_owned() } else { unescaped(raw) };
        let end = inner.end + 1;
        let goes_on =
            self.rest_of_line(end).chars().next().is_some_and(|c| c.is_alphanumeric() || "'\"$-_".contains(c));
        if goes_on {
            let line = self.rest_of_line(end);
            let more = line.find([' ', '\t', ';']).unwrap_or(line.len());
            let value = value + &line.get(..more).unwrap_or_default().replace(['"', '\''], "");
            return ReadValue { at: at..end + more, value, is_quoted: true, end: end + more };
        }
        ReadValue { at: inner, value, is_quoted: true, end }
    }

    /// What stands there without a comment behind it.
    fn to_end_of_line(&self, at: usize) -> ReadValue {
        let line = self.rest_of_line(at);
        let cut = [" #", "\t#", " ;", "\t;"].iter().filter_map(|mark| line.find(mark)).min().unwrap_or(line.len());
        let value = line.get(..cut).unwrap_or_default().trim_end().trim_end_matches([',', ';']);
        ReadValue { at: at..at + value.len(), value: value.to_owned(), is_quoted: false, end: at + value.len() }
    }

    fn rest_of_line(&self, at: usize) -> &'t str {
        self.text.get(at..).unwrap_or_default().lines().next().unwrap_or_default()
    }

    fn blanks(&self, at: usize) -> usize {
        let line = self.rest_of_line(at);
        at + line.len() - line.trim_start_matches([' ', '\t']).len()
    }
}

/// Words of schemes (RFC 9110, section 11.4) behind which the key stands.
pub const SCHEMES: [&str; 6] = ["Bearer", "Basic", "Token", "ApiKey", "Bot", "Authorization:"];

fn section(line: &str) -> Option<&str> {
    let name = line.trim_end().strip_prefix('[')?.strip_suffix(']')?;
    (!name.contains(['=', ','])).then(|| name.trim_matches('['))
}

/// The host of a line of `.npmrc`, and where the name behind it begins.
fn registry(line: &str) -> Option<(String, usize)> {
    let (host, _) = line.strip_prefix("//")?.split_once(":_")?;
    Some((host.trim_end_matches('/').to_owned(), 2 + host.len() + 1))
}

/// How long the words before an assignment are.
fn keyword(line: &str) -> usize {
    const WORDS: [&str; 7] = ["export ", "declare -x ", "typeset -x ", "readonly ", "local ", "set ", "env "];
    WORDS
        .iter()
        .filter(|word| line.starts_with(*word))
        .map(|word| {
            let rest = line.get(word.len()..).unwrap_or_default();
            line.len() - rest.trim_start().len()
        })
        .max()
        .unwrap_or(0)
}

/// The name that a command gives as a word before the value, and where the value begins: `set -gx NAME VALUE` of fish,
/// `setenv` and `setx`.
fn by_command(line: &str) -> Option<(&str, usize)> {
    let mut rest =
        line.split_once([' ', '\t']).filter(|(word, _)| ["set", "setenv", "setx"].contains(word))?.1.trim_start();
    let is_set = line.starts_with("set ");
    let mut has_option = false;
    while rest.starts_with('-') {
        rest = rest.split_once([' ', '\t'])?.1.trim_start();
        has_option = true;
    }
    let (name, value) = rest.split_once([' ', '\t'])?;
    let value = value.trim_start();
    (has_option == is_set && !name.contains('=') && !value.starts_with('=')).then(|| (name, line.len() - value.len()))
}

/// How far it is to the quote that ends a text.
fn closing(text: &str, quote: u8, is_raw: bool) -> Option<usize> {
    let mut is_escaped = false;
    for (at, b) in text.bytes().enumerate() {
        match b {
            _ if is_escaped => is_escaped = false,
            b'\\' if !is_raw => is_escaped = true,
            b if b == quote => return Some(at),
            _ => {}
        }
    }
    None
}

fn unescaped(raw: &str) -> String {
    let (mut value, mut is_escaped) = (String::with_capacity(raw.len()), false);
    for c in raw.chars() {
        match c {
            '\\' if !is_escaped => is_escaped = true,
            c => {
                value.push(c);
                is_escaped = false;
            }
        }
    }
    value
}
