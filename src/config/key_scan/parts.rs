//! The parts of a value that can be a key: behind a word such as `Bearer`, in a URL, in a pair within it, in base64.

use super::json_reader;
use super::line_reader::SCHEMES;
use super::names::hint;
use super::names::words as words_of;
use super::plausible::is_random;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;

/// Who gets hold of such a URL may post there.
const WEBHOOKS: [&str; 5] =
    ["hooks.slack.com", "discord.com", "discordapp.com", "hooks.zapier.com", "outlook.office.com"];
/// How deep values are looked for in values.
const DEEPEST: usize = 4;

/// A part of a value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ValuePart {
    /// The names within the value that lead to it.
    pub names: Vec<String>,
    pub text: String,
    /// Where a URL around it goes.
    pub url: Option<Url>,
    /// What stands around it in base64, where it does.
    pub encoded: Option<(String, String)>,
    /// It stands among other words, and is no more than what it looks like.
    pub among_words: bool,
    /// It is a bare word of a command, where a shell would read a placeholder as something else.
    pub in_command: bool,
}

/// What the place of a value says of how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueCoding {
    Text,
    /// The base64 of it, as in the `data` of a Secret of Kubernetes.
    Base64,
    /// The base64 of `user:password`, as in the files of Docker.
    Basic,
}

/// The parts of `value`, with their names within it. `is_whole` keeps pairs together, where the name before it means one key.
pub fn parts(value: &str, coding: ValueCoding, is_whole: bool) -> Vec<ValuePart> {
    let mut found = Vec::new();
    match coding {
        ValueCoding::Text => split(value, is_whole, &ValuePart::default(), 0, &mut found),
        ValueCoding::Basic => basic(value.trim(), &ValuePart::default(), &mut found),
        ValueCoding::Base64 => encoded(value.trim(), is_whole, &mut found),
    }
    found
}

fn split(value: &str, is_whole: bool, around: &ValuePart, depth: usize, found: &mut Vec<ValuePart>) {
    let text = value.trim();
    if text.is_empty() || depth > DEEPEST {
        return;
    }
    let with = |name: &str| {
        let names = around.names.iter().cloned().chain([name.to_owned()]).collect();
        ValuePart { names, ..around.clone() }
    };
    if let Some((name, default)) = reference_with_default(text) {
        return split(default, is_whole, &with(name), depth + 1, found);
    }
    if let Some((scheme, rest)) = behind_scheme(text) {
        if scheme == "Basic" {
            return basic(rest, around, found);
        }
        return split(rest, true, around, depth + 1, found);
    }
    if let Some(url) = text.contains("://").then(|| Url::parse(text).ok()).flatten() {
        return of_url(text, &url, around, found);
    }
    if !is_whole {
        if text.starts_with(['{', '['])
            && let Ok(scalars) = json_reader::read(text)
        {
            for scalar in scalars {
                let names = around.names.iter().cloned().chain(scalar.path).collect();
                split(&scalar.value, false, &ValuePart { names, ..around.clone() }, depth + 1, found);
            }
            return;
        }
        if let Some((name, rest)) = pair(text) {
            return split(rest, false, &with(name), depth + 1, found);
        }
        if text.contains([' ', ';', '\n']) {
            return among_words(text, around, depth, found);
        }
    }
    found.push(ValuePart { text: text.to_owned(), ..around.clone() });
}

/// `${NAME:-default}` has a value of its own.
fn reference_with_default(text: &str) -> Option<(&str, &str)> {
    let (name, default) = text.strip_prefix("${")?.strip_suffix('}')?.split_once(":-")?;
    (!default.is_empty()).then_some((name, default))
}

fn behind_scheme(text: &str) -> Option<(&'static str, &str)> {
    let (word, rest) = text.split_once([' ', '\t'])?;
    let scheme = SCHEMES.into_iter().find(|scheme| scheme.eq_ignore_ascii_case(word))?;
    let rest = rest.trim();
    let rest = rest.strip_prefix("token=").unwrap_or(rest).trim_matches('"');
    (!rest.is_empty()).then_some((scheme, rest))
}

/// A header's line or an assignment. What base64 ends in is none.
fn pair(text: &str) -> Option<(&str, &str)> {
    let is_name = |name: &str| {
        let bare = name.trim_start_matches('-');
        bare.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && bare.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
    };
    if let Some((name, rest)) = text.split_once('=')
        && is_name(name)
        && !rest.is_empty()
        && !rest.starts_with('=')
    {
        return Some((name, rest.trim_matches(['"', '\''])));
    }
    let (name, rest) = text.split_once(':')?;
    (is_name(name) && hint(&words_of(name)).is_some() && !rest.is_empty()).then(|| (name, rest.trim()))
}

fn of_url(text: &str, url: &Url, around: &ValuePart, found: &mut Vec<ValuePart>) {
    let part = |name: &str, text: &str| ValuePart {
        names: around.names.iter().cloned().chain([name.to_owned()]).collect(),
        text: text.to_owned(),
        url: Some(url.clone()),
        ..around.clone()
    };
    let authority =
        text.split_once("://").map_or("", |(_, rest)| rest).split(['/', '?', '#']).next().unwrap_or_default();
    if let Some((user, _)) = authority.rsplit_once('@') {
        match user.split_once(':') {
            Some((user, password)) if !["", "x-oauth-basic", "x"].contains(&password) => {
                found.push(ValuePart { among_words: true, ..part("user", user) });
                found.push(part("password", password));
            }
            Some((user, _)) => found.push(part("token", user)),
            None if is_random(user) => found.push(part("token", user)),
            None => found.push(ValuePart { among_words: true, ..part("user", user) }),
        }
    }
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let query = query.split('#').next().unwrap_or_default();
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        found.push(part(name, value));
    }
    let is_secret = url.host_str().is_some_and(|host| WEBHOOKS.contains(&host));
    let steps = path.split_once("://").map_or("", |(_, rest)| rest).split('/').skip(1);
    for step in steps.filter(|step| !step.is_empty()) {
        let step = if is_secret && is_random(step) {
            part("token", step)
        } else {
            ValuePart { among_words: true, ..part("path", step) }
        };
        found.push(step);
    }
}

/// The words that are pairs, URLs or behind an option, and the rest for their looks.
fn among_words(text: &str, around: &ValuePart, depth: usize, found: &mut Vec<ValuePart>) {
    let (mut option, mut has_pairs): (Option<&str>, bool) = (None, false);
    let is_command = text.contains([' ', '\n']);
    for whole in text.split([' ', '\t', '\n', '\r', ';']) {
        let word = whole.trim_matches(['"', '\'', ',', '`']);
        let is_bare = is_command && whole.len() == word.len();
        let is_scheme = SCHEMES.iter().any(|scheme| scheme.eq_ignore_ascii_case(word));
        if is_scheme {
            option = Some("authorization");
        } else if let Some(name) = option.take().filter(|_| !word.starts_with('-')) {
            has_pairs = true;
            let names = around.names.iter().cloned().chain([name.to_owned()]).collect();
            split(word, true, &ValuePart { names, in_command: is_bare, ..around.clone() }, depth + 1, found);
        } else if pair(word).is_some() || word.contains("://") {
            has_pairs = true;
            let in_command = is_bare && word.contains('=');
            split(word, false, &ValuePart { in_command, ..around.clone() }, depth + 1, found);
        } else {
            found.push(ValuePart { text: word.to_owned(), among_words: true, in_command: is_bare, ..around.clone() });
            let is_telling = word.starts_with("--") && hint(&words_of(word)).is_some();
            option = is_telling.then_some(word);
        }
    }
    if !has_pairs {
        // a phrase may be a password as a whole
        found.push(ValuePart { text: text.to_owned(), ..around.clone() });
    }
}

/// The password of `user:password`, or the user where the password says nothing.
fn basic(raw: &str, around: &ValuePart, found: &mut Vec<ValuePart>) {
    let decoded = STANDARD.decode(raw).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let Some((user, password)) = decoded.as_deref().and_then(|text| text.split_once(':')) else {
        return found.push(ValuePart { text: raw.to_owned(), ..around.clone() });
    };
    let (text, encoded) = if ["", "x", "x-oauth-basic"].contains(&password) {
        (user, (String::new(), format!(":{password}")))
    } else {
        (password, (format!("{user}:"), String::new()))
    };
    let names = around.names.iter().cloned().chain(["password".to_owned()]).collect();
    found.push(ValuePart { names, text: text.to_owned(), encoded: Some(encoded), ..around.clone() });
}

/// What stands in base64, with the line feed that `echo` adds.
fn encoded(raw: &str, is_whole: bool, found: &mut Vec<ValuePart>) {
    let Some(text) = STANDARD.decode(raw).ok().and_then(|bytes| String::from_utf8(bytes).ok()) else {
        return found.push(ValuePart { text: raw.to_owned(), ..ValuePart::default() });
    };
    let mut inner = Vec::new();
    split(&text, is_whole, &ValuePart::default(), 0, &mut inner);
    for part in inner {
        let around = text.find(&part.text).map(|at| {
            let behind = text.get(at + part.text.len()..).unwrap_or_default();
            (text.get(..at).unwrap_or_default().to_owned(), behind.to_owned())
        });
        // of a longer text the rest may be as secret
        let encoded = around.filter(|(before, behind)| before.is_empty() && behind.trim().is_empty());
        found.push(ValuePart { encoded, ..part });
    }
}
