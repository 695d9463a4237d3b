//! The configuration exactly as written, checked against the table of known settings; what a value means is read in
//! `settings`.

use super::{At, Mistake, nearest};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// How a setting is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Flag,
    /// A text, or `true` or `false`, which are read as such texts.
    TextOrFlag,
    Number,
    Texts,
    Numbers,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Text => "a text in quotes",
            Kind::Flag => "true or false",
            Kind::TextOrFlag => "a text in quotes, true or false",
            Kind::Number => "a whole number",
            Kind::Texts => "a list of texts",
            Kind::Numbers => "a list of whole numbers",
        }
    }
}

/// A setting that locum knows: its name, how it is written, and an example that is right.
pub struct Known {
    pub name: &'static str,
    pub kind: Kind,
    pub example: &'static str,
}

const fn known(name: &'static str, kind: Kind, example: &'static str) -> Known {
    Known { name, kind, example }
}

/// A table of the file. A section `named` holds one table per key or agent, and only the file can set those.
pub struct Section {
    pub name: &'static str,
    pub named: bool,
    pub settings: &'static [Known],
}

impl Section {
    pub fn setting(&self, name: &str) -> Option<&'static Known> {
        self.settings.iter().find(|k| k.name == name)
    }
}

const SOURCES: &str = r#""auto", "env:NAME", "file:PATH", "keyring", "vault", "machine" or 'exec:["/usr/bin/op"]'"#;

pub const SECTIONS: &[Section] = &[
    Section {
        name: "proxy",
        named: false,
        settings: &[
            known("listen", Kind::Text, r#""127.0.0.1:8787""#),
            known("intercept", Kind::Text, r#""all" or "bound""#),
            known("passthrough", Kind::Texts, r#"["*.bank.example"]"#),
            known("egress", Kind::Text, r#""open" or "listed""#),
            known("allow", Kind::Texts, r#"["docs.example", "*.tool.example"]"#),
            known("deny", Kind::Texts, r#"["telemetry.example"]"#),
            known("connect_ports", Kind::Numbers, "[80, 443]"),
            known("private_addresses", Kind::Texts, r#"["127.0.0.1:11434", "10.0.0.0/8"]"#),
            known("cleartext", Kind::Flag, "false"),
            known("braces", Kind::Flag, "false"),
            known("uids", Kind::Numbers, "[1001]"),
            known("upstream_ca", Kind::Texts, r#"["/etc/ssl/company.pem"]"#),
            known("upstream_proxy", Kind::Text, r#""http://proxy.example:3128""#),
        ],
    },
    Section {
        name: "ca",
        named: false,
        settings: &[
            known("source", Kind::Text, r#""auto", "memory" or "file:PATH""#),
            known("export", Kind::Text, r#""/shared/locum-ca.pem""#),
        ],
    },
    Section {
        name: "key",
        named: true,
        settings: &[
            known("source", Kind::Text, SOURCES),
            known("hosts", Kind::Texts, r#"["api.tool.example", "*.tool.example:8443"]"#),
            known("methods", Kind::Texts, r#"["GET", "POST"]"#),
            known("paths", Kind::Texts, r#"["/v1/**"]"#),
            known("where", Kind::Texts, r#"["header:authorization", "body:/api_key"]"#),
            known("placeholder", Kind::Text, r#""tool-00000000000000000000""#),
            known("inject", Kind::Text, r#""Authorization: Bearer <<tool_key>>""#),
            known("max_uses", Kind::Number, "4"),
            known("scrub", Kind::TextOrFlag, r#""auto""#),
        ],
    },
    Section {
        name: "agent",
        named: true,
        settings: &[
            known("token_file", Kind::Text, r#""/run/secrets/researcher""#),
            known("keys", Kind::Texts, r#"["openai", "brave"]"#),
            known("hosts", Kind::Texts, r#"["api.tool.example"]"#),
            known("methods", Kind::Texts, r#"["GET", "POST"]"#),
            known("rate", Kind::Text, r#""60/min""#),
            known("concurrent", Kind::Number, "8"),
        ],
    },
    Section {
        name: "vault",
        named: false,
        settings: &[known("password_file", Kind::Text, r#""/run/secrets/locum-master""#)],
    },
    Section {
        name: "audit",
        named: false,
        settings: &[
            known("dir", Kind::Text, r#""audit""#),
            known("durability", Kind::Text, r#""write" or "fsync""#),
            known("exchanges", Kind::Flag, "true"),
            known("max_file", Kind::Text, r#""64MB""#),
            known("keep_for", Kind::Text, r#""90d" or "1 year""#),
            known("keep_size", Kind::Text, r#""10GB""#),
        ],
    },
    Section {
        name: "anomaly",
        named: false,
        settings: &[
            known("rate_per_minute", Kind::Number, "60"),
            known("errors", Kind::Number, "5"),
            known("large_response", Kind::Text, r#""10MB""#),
            known("action", Kind::Text, r#""alert" or "refuse""#),
            known("webhook", Kind::Text, r#""https://alerts.example/locum""#),
            known("webhook_secret_file", Kind::Text, r#""/run/secrets/webhook""#),
        ],
    },
];

pub fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|s| s.name == name)
}

/// A value of the kind that its setting has, each part with the spot where it is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(String),
    Flag(bool),
    Number(i64),
    Texts(Vec<(String, At)>),
    Numbers(Vec<(i64, At)>),
}

/// One table: its known settings, all of the right kind.
#[derive(Debug, Clone)]
pub struct Table {
    pub section: &'static str,
    /// `openai` in `[key.openai]`; empty where the section is one table.
    pub name: String,
    pub at: At,
    pub values: BTreeMap<&'static str, (Value, At)>,
}

/// A table that is nowhere written.
impl Default for Table {
    fn default() -> Self {
        Self { section: "", name: String::new(), at: At::Variable("".into()), values: BTreeMap::new() }
    }
}

/// All tables of a file, and the settings that the environment adds.
#[derive(Debug, Default)]
pub struct Written {
    tables: BTreeMap<&'static str, Vec<Table>>,
}

impl Written {
    /// Reads a file, and goes on after each mistake.
    pub fn read(path: &Path, text: &str, mistakes: &mut Vec<Mistake>) -> Self {
        let source = Source { path: path.into(), text };
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut walk = Walk { broken: BTreeSet::new(), readable: usize::MAX, source, mistakes };
        walk.syntax(document.get_ref(), errors);
        let mut written = Self::default();
        for (name, value) in document.get_ref() {
            walk.section(name, value, &mut written);
        }
        written
    }

    /// Takes the tables of a section out.
    pub fn all(&mut self, section: &str) -> Vec<Table> {
        self.tables.remove(section).unwrap_or_default()
    }

    /// Sets one setting from `LOCUM_SECTION__SETTING`, over what the file says.
    pub fn set(&mut self, variable: &str, text: &str) -> Result<(), Mistake> {
        let at = At::Variable(variable.into());
        let (section, setting) =
            variable_target(variable).map_err(|(what, hint)| Mistake::new(at.clone(), what, hint))?;
        let Some(value) = from_text(setting.kind, text, &at) else {
            let hint = format!("such as {}", setting.example);
            return Err(Mistake::new(at, format!("'{}' is {}", setting.name, setting.kind.name()), hint));
        };
        let tables = self.tables.entry(section.name).or_default();
        if tables.is_empty() {
            tables.push(Table { section: section.name, at: at.clone(), ..Table::default() });
        }
        if let Some(table) = tables.first_mut() {
            table.values.insert(setting.name, (value, at));
        }
        Ok(())
    }
}

/// `LOCUM_PROXY__LISTEN` is `listen` in `[proxy]`; else what is wrong with it, and what was probably meant.
fn variable_target(variable: &str) -> Result<(&'static Section, &'static Known), (String, String)> {
    let written = variable.strip_prefix("LOCUM_").unwrap_or(variable).to_ascii_lowercase();
    let (table, name) = written.split_once("__").unwrap_or((&written, ""));
    if let Some(section) = section(table).filter(|s| s.named) {
        let what = format!("tables of [{}.NAME] can't be set by a variable", section.name);
        return Err((what, format!("write them into the file, or unset ${variable}")));
    }
    if let Some(section) = section(table)
        && let Some(setting) = section.setting(name)
    {
        return Ok((section, setting));
    }
    let all: Vec<String> = SECTIONS
        .iter()
        .filter(|s| !s.named)
        .flat_map(|s| s.settings.iter().map(move |k| format!("{}__{}", s.name, k.name)))
        .collect();
    let hint = match nearest(&written, all.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean LOCUM_{}?", meant.to_ascii_uppercase()),
        None => "unset it; the names are LOCUM_SECTION__SETTING, as in LOCUM_PROXY__LISTEN".into(),
    };
    Err(("no such setting".into(), hint))
}

/// A setting's text in a variable: plain, or for a list separated by commas or written as in TOML.
fn from_text(kind: Kind, text: &str, at: &At) -> Option<Value> {
    let text = text.trim();
    let items = || text.split(',').map(str::trim).filter(|t| !t.is_empty());
    let list = text.starts_with('[').then(|| DeValue::parse(text).ok()).flatten();
    if let Some(list) = list {
        return typed(kind, list.get_ref(), &|_| at.clone()).ok();
    }
    Some(match kind {
        Kind::Text | Kind::TextOrFlag => Value::Text(text.into()),
        Kind::Flag => Value::Flag(text.parse().ok()?),
        Kind::Number => Value::Number(text.parse().ok()?),
        Kind::Texts => Value::Texts(items().map(|t| (t.into(), at.clone())).collect()),
        Kind::Numbers => Value::Numbers(items().map(|t| Some((t.parse().ok()?, at.clone()))).collect::<Option<_>>()?),
    })
}

/// A value, or a part of one with its span, that has another kind than its setting.
struct Misfit {
    part: Option<Range<usize>>,
    is: &'static str,
}

fn typed(kind: Kind, value: &DeValue<'_>, at: &dyn Fn(Range<usize>) -> At) -> Result<Value, Misfit> {
    let misfit = Misfit { part: None, is: article(value) };
    match (kind, value) {
        (Kind::Text | Kind::TextOrFlag, DeValue::String(s)) => Ok(Value::Text(s.to_string())),
        (Kind::TextOrFlag, DeValue::Boolean(b)) => Ok(Value::Text(b.to_string())),
        (Kind::Flag, DeValue::Boolean(b)) => Ok(Value::Flag(*b)),
        (Kind::Number, DeValue::Integer(_)) => number(value).map(Value::Number).ok_or(misfit),
        (Kind::Texts, DeValue::Array(a)) => each(a, at, |v| v.as_str().map(str::to_owned)).map(Value::Texts),
        (Kind::Numbers, DeValue::Array(a)) => each(a, at, number).map(Value::Numbers),
        _ => Err(misfit),
    }
}

fn number(value: &DeValue<'_>) -> Option<i64> {
    value.as_integer().and_then(|i| i64::from_str_radix(i.as_str(), i.radix()).ok())
}

fn each<T>(
    array: &DeArray<'_>,
    at: &dyn Fn(Range<usize>) -> At,
    read: impl Fn(&DeValue<'_>) -> Option<T>,
) -> Result<Vec<(T, At)>, Misfit> {
    let one = |item: &Spanned<DeValue<'_>>| {
        let misfit = Misfit { part: Some(item.span()), is: article(item.get_ref()) };
        read(item.get_ref()).map(|t| (t, at(item.span()))).ok_or(misfit)
    };
    array.iter().map(one).collect()
}

struct Source<'t> {
    path: Arc<Path>,
    text: &'t str,
}

impl Source<'_> {
    /// Line and column of a byte, both from 1.
    fn position(&self, byte: usize) -> (usize, usize) {
        let before = self.text.get(..byte).unwrap_or(self.text);
        let start = before.rfind('\n').map_or(0, |n| n + 1);
        let column = before.get(start..).map_or(0, |l| l.chars().count());
        (before.matches('\n').count() + 1, column + 1)
    }

    fn at(&self, span: Range<usize>) -> At {
        let (line, column) = self.position(span.start);
        At::Line { file: self.path.clone(), line, column }
    }
}

/// Where a list or inline table begins that swallows the text up to `end`, because it is never closed.
fn unclosed(table: &DeTable<'_>, text: &str, end: usize) -> Option<usize> {
    let swallows = |value: &Spanned<DeValue<'_>>| {
        let span = value.span();
        let opens = text.get(span.start..).is_some_and(|t| t.starts_with(['[', '{']));
        (opens && span.start < end && span.end >= end).then_some(span.start)
    };
    let below = |value: &Spanned<DeValue<'_>>| value.get_ref().as_table().and_then(|t| unclosed(t, text, end));
    table.iter().filter_map(|(_, value)| swallows(value).or_else(|| below(value))).min()
}

struct Walk<'t, 'm> {
    source: Source<'t>,
    /// Lines with a fault of syntax: what else seems wrong there mostly follows from it.
    broken: BTreeSet<usize>,
    /// Where the text can no longer be told apart.
    readable: usize,
    mistakes: &'m mut Vec<Mistake>,
}

type Key<'i> = Spanned<std::borrow::Cow<'i, str>>;

impl Walk<'_, '_> {
    fn wrong(&mut self, span: Range<usize>, what: String, hint: String) {
        let (line, column) = self.source.position(span.start);
        if span.start < self.readable && !self.broken.contains(&line) {
            let at = At::Line { file: self.source.path.clone(), line, column };
            self.mistakes.push(Mistake::new(at, what, hint));
        }
    }

    /// Faults of syntax, one for a line: those behind the first on it, or in what an open bracket swallows, are mostly
    /// its consequences.
    fn syntax(&mut self, document: &DeTable<'_>, mut errors: Vec<toml::de::Error>) {
        let start = |e: &toml::de::Error| e.span().map_or(0, |s| s.start);
        errors.sort_by_key(start);
        let end = errors.iter().find(|e| e.message().starts_with("unclosed")).map(start);
        if let Some(open) = end.and_then(|end| unclosed(document, self.source.text, end)) {
            self.wrong(open..open, "not TOML: this bracket is never closed".into(), "close it where it ends".into());
            self.broken.insert(self.source.position(open).0);
            self.readable = open;
        }
        for error in errors {
            let what = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            let at = start(&error);
            self.wrong(at..at, format!("not TOML: {what}"), "texts stand in quotes, lists in [ ]; see toml.io".into());
            self.broken.insert(self.source.position(at).0);
        }
    }

    fn section(&mut self, name: &Key<'_>, value: &Spanned<DeValue<'_>>, written: &mut Written) {
        let Some(section) = section(name.get_ref()) else { return self.unknown_section(name, value) };
        let Some(table) = value.get_ref().as_table() else {
            let form = if section.named { ".NAME" } else { "" };
            let what = format!("'{}' is a table", section.name);
            return self.wrong(name.span(), what, format!("write it as [{}{form}]", section.name));
        };
        if section.named {
            for (name, value) in table {
                self.named(section, name, value, written);
            }
            return;
        }
        let table = self.table(section, String::new(), name.span(), table);
        written.tables.entry(section.name).or_default().push(table);
    }

    fn named(
        &mut self,
        section: &'static Section,
        name: &Key<'_>,
        value: &Spanned<DeValue<'_>>,
        written: &mut Written,
    ) {
        let Some(table) = value.get_ref().as_table() else {
            // `[key]` with settings in it: the name was forgotten.
            let what = format!("'{}' stands in [{}], which holds one table per name", shown(name), section.name);
            return self.wrong(name.span(), what, format!("write it as [{}.NAME], then its settings", section.name));
        };
        let table = self.table(section, name.get_ref().to_string(), name.span(), table);
        written.tables.entry(section.name).or_default().push(table);
    }

    fn table(&mut self, section: &'static Section, name: String, span: Range<usize>, table: &DeTable<'_>) -> Table {
        let at = self.source.at(span);
        let mut values = BTreeMap::new();
        for (key, value) in table {
            let Some(setting) = section.setting(key.get_ref()) else {
                self.unknown_setting(section, key);
                continue;
            };
            match typed(setting.kind, value.get_ref(), &|s| self.source.at(s)) {
                Ok(read) => drop(values.insert(setting.name, (read, self.source.at(value.span())))),
                Err(misfit) => self.wrong(
                    misfit.part.unwrap_or_else(|| value.span()),
                    format!("'{}' is {}, and this is {}", setting.name, setting.kind.name(), misfit.is),
                    format!("such as {}", setting.example),
                ),
            }
        }
        Table { section: section.name, name, at, values }
    }

    fn unknown_section(&mut self, name: &Key<'_>, value: &Spanned<DeValue<'_>>) {
        let written = name.get_ref();
        // A setting outside its table is the commoner slip.
        let home = SECTIONS.iter().find(|s| !s.named && s.setting(written).is_some());
        if let Some(home) = home.filter(|_| !value.get_ref().is_table()) {
            let what = format!("'{}' stands outside its table", shown(name));
            return self.wrong(name.span(), what, format!("it belongs under [{}]", home.name));
        }
        let hint = match nearest(written, SECTIONS.iter().map(|s| s.name)) {
            Some(meant) => format!("did you mean [{meant}]?"),
            None => format!("the tables are {}", names(SECTIONS.iter().map(|s| s.name))),
        };
        self.wrong(name.span(), format!("unknown table '{}'", shown(name)), hint);
    }

    fn unknown_setting(&mut self, section: &Section, name: &Key<'_>) {
        let written = name.get_ref();
        let elsewhere = SECTIONS.iter().find(|s| s.setting(written).is_some());
        let hint = if section.name == "key" && ["value", "key", "secret", "token", "api_key"].contains(&&**written) {
            "keys are never in this file: `locum key set NAME` stores one, or set `source`".into()
        } else if let Some(meant) = nearest(written, section.settings.iter().map(|k| k.name)) {
            format!("did you mean '{meant}'?")
        } else if let Some(home) = elsewhere {
            format!("it belongs under [{}]", home.name)
        } else {
            format!("the settings are {}", names(section.settings.iter().map(|k| k.name)))
        };
        self.wrong(name.span(), format!("unknown setting '{}' in [{}]", shown(name), section.name), hint);
    }
}

/// A name as it may be shown: without control characters, and cut where it is longer than any name.
fn shown(name: &Key<'_>) -> String {
    name.get_ref().chars().take(32).flat_map(char::escape_debug).collect()
}

fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
