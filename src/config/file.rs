//! The configuration exactly as written, checked against the table of known settings; what a value means is read in
//! `settings`.

use super::mistake::{ConfigLocation, Mistake, nearest};
use super::schema::{PROVIDER, SECTIONS, SectionSchema, SettingKind, SettingSchema, section};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// A value of the kind that its setting has, each part with the spot where it is written.
#[derive(Debug, Clone, PartialEq)]
pub enum SettingValue {
    Text(String),
    Flag(bool),
    Number(i64),
    Texts(Vec<(String, ConfigLocation)>),
    Numbers(Vec<(i64, ConfigLocation)>),
}

/// One table: its known settings, all of the right kind.
#[derive(Debug, Clone)]
pub struct ConfigTable {
    /// None where it is nowhere written.
    pub section: Option<&'static SectionSchema>,
    /// `openai` in `[key.openai]`; empty where the section is one table.
    pub name: String,
    pub at: ConfigLocation,
    pub values: BTreeMap<&'static str, (SettingValue, ConfigLocation)>,
}

/// A table that is nowhere written.
impl Default for ConfigTable {
    fn default() -> Self {
        Self { section: None, name: String::new(), at: ConfigLocation::Variable("".into()), values: BTreeMap::new() }
    }
}

/// All tables of a file, and the settings that the environment adds.
#[derive(Debug, Default)]
pub struct ConfigDocument {
    tables: BTreeMap<&'static str, Vec<ConfigTable>>,
}

impl ConfigDocument {
    /// Reads a file, and goes on after each mistake.
    pub fn read(path: &Path, text: &str, mistakes: &mut Vec<Mistake>) -> Self {
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut walk = DocumentVisitor::new(path, text, mistakes);
        walk.syntax(document.get_ref(), errors);
        let mut written = Self::default();
        for (name, value) in document.get_ref() {
            walk.section(name, value, &mut written);
        }
        written
    }

    /// Reads a file of providers, each of which is a table, and goes on after each mistake.
    pub fn providers(path: &Path, text: &str, mistakes: &mut Vec<Mistake>) -> Vec<ConfigTable> {
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut walk = DocumentVisitor::new(path, text, mistakes);
        walk.syntax(document.get_ref(), errors);
        document.get_ref().iter().filter_map(|(name, value)| walk.provider(name, value)).collect()
    }

    /// Takes the tables of a section out.
    pub fn all(&mut self, section: &str) -> Vec<ConfigTable> {
        self.tables.remove(section).unwrap_or_default()
    }

    /// Sets one setting from `LOCUM_SECTION__SETTING`, over what the file says.
    pub fn set(&mut self, variable: &str, text: &str) -> Result<(), Mistake> {
        let at = ConfigLocation::Variable(variable.into());
        let (section, setting) =
            variable_target(variable).map_err(|(what, hint)| Mistake::new(at.clone(), what, hint))?;
        let Some(value) = from_text(setting.kind, text, &at) else {
            let hint = format!("such as {}", setting.example);
            return Err(Mistake::new(at, format!("'{}' is {}", setting.name, setting.kind.name()), hint));
        };
        let tables = self.tables.entry(section.name).or_default();
        if tables.is_empty() {
            tables.push(ConfigTable { section: Some(section), at: at.clone(), ..ConfigTable::default() });
        }
        if let Some(table) = tables.first_mut() {
            table.values.insert(setting.name, (value, at));
        }
        Ok(())
    }
}

/// `LOCUM_PROXY__LISTEN` is `listen` in `[proxy]`; else what is wrong with it, and what was probably meant.
fn variable_target(variable: &str) -> Result<(&'static SectionSchema, &'static SettingSchema), (String, String)> {
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
fn from_text(kind: SettingKind, text: &str, at: &ConfigLocation) -> Option<SettingValue> {
    let text = text.trim();
    let items = || text.split(',').map(str::trim).filter(|t| !t.is_empty());
    let list = text.starts_with('[').then(|| DeValue::parse(text).ok()).flatten();
    if let Some(list) = list {
        return typed(kind, list.get_ref(), &|_| at.clone()).ok();
    }
    Some(match kind {
        SettingKind::Text | SettingKind::TextOrFlag => SettingValue::Text(text.into()),
        SettingKind::Flag => SettingValue::Flag(text.parse().ok()?),
        SettingKind::Number => SettingValue::Number(text.parse().ok()?),
        SettingKind::Texts => SettingValue::Texts(items().map(|t| (t.into(), at.clone())).collect()),
        SettingKind::Numbers => {
            SettingValue::Numbers(items().map(|t| Some((t.parse().ok()?, at.clone()))).collect::<Option<_>>()?)
        }
    })
}

/// A value, or a part of one with its span, that has another kind than its setting.
struct TypeMismatch {
    part: Option<Range<usize>>,
    is: &'static str,
}

fn typed(
    kind: SettingKind,
    value: &DeValue<'_>,
    at: &dyn Fn(Range<usize>) -> ConfigLocation,
) -> Result<SettingValue, TypeMismatch> {
    let misfit = TypeMismatch { part: None, is: article(value) };
    match (kind, value) {
        (SettingKind::Text | SettingKind::TextOrFlag, DeValue::String(s)) => Ok(SettingValue::Text(s.to_string())),
        (SettingKind::TextOrFlag, DeValue::Boolean(b)) => Ok(SettingValue::Text(b.to_string())),
        (SettingKind::Flag, DeValue::Boolean(b)) => Ok(SettingValue::Flag(*b)),
        (SettingKind::Number, DeValue::Integer(_)) => number(value).map(SettingValue::Number).ok_or(misfit),
        (SettingKind::Texts, DeValue::Array(a)) => {
            each(a, at, |v| v.as_str().map(str::to_owned)).map(SettingValue::Texts)
        }
        (SettingKind::Numbers, DeValue::Array(a)) => each(a, at, number).map(SettingValue::Numbers),
        _ => Err(misfit),
    }
}

fn number(value: &DeValue<'_>) -> Option<i64> {
    value.as_integer().and_then(|i| i64::from_str_radix(i.as_str(), i.radix()).ok())
}

fn each<T>(
    array: &DeArray<'_>,
    at: &dyn Fn(Range<usize>) -> ConfigLocation,
    read: impl Fn(&DeValue<'_>) -> Option<T>,
) -> Result<Vec<(T, ConfigLocation)>, TypeMismatch> {
    let one = |item: &Spanned<DeValue<'_>>| {
        let misfit = TypeMismatch { part: Some(item.span()), is: article(item.get_ref()) };
        read(item.get_ref()).map(|t| (t, at(item.span()))).ok_or(misfit)
    };
    array.iter().map(one).collect()
}

/// The text of a config file, for places in it.
struct SourceText<'t> {
    path: Arc<Path>,
    text: &'t str,
    /// Where each line begins, but for the first.
    lines: Vec<usize>,
}

impl<'t> SourceText<'t> {
    fn new(path: &Path, text: &'t str) -> Self {
        Self { path: path.into(), text, lines: text.match_indices('\n').map(|(at, _)| at + 1).collect() }
    }

    /// Line and column of a byte, both from 1.
    fn position(&self, byte: usize) -> (usize, usize) {
        let byte = byte.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= byte);
        let start = line.checked_sub(1).and_then(|line| self.lines.get(line)).copied().unwrap_or(0);
        let column = self.text.get(start..byte).map_or(0, |l| l.chars().count());
        (line + 1, column + 1)
    }

    fn at(&self, span: Range<usize>) -> ConfigLocation {
        let (line, column) = self.position(span.start);
        ConfigLocation::Line { file: self.path.clone(), line, column }
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

/// Visits every table and setting of a TOML document, and notes mistakes.
struct DocumentVisitor<'t, 'm> {
    source: SourceText<'t>,
    /// Lines with a fault of syntax: what else seems wrong there mostly follows from it.
    broken: BTreeSet<usize>,
    /// Where the text can no longer be told apart.
    readable: usize,
    mistakes: &'m mut Vec<Mistake>,
}

type SpannedKey<'i> = Spanned<std::borrow::Cow<'i, str>>;

impl<'t, 'm> DocumentVisitor<'t, 'm> {
    fn new(path: &Path, text: &'t str, mistakes: &'m mut Vec<Mistake>) -> Self {
        Self { source: SourceText::new(path, text), broken: BTreeSet::new(), readable: usize::MAX, mistakes }
    }

    fn wrong(&mut self, span: Range<usize>, what: String, hint: String) {
        let (line, column) = self.source.position(span.start);
        if span.start < self.readable && !self.broken.contains(&line) {
            let at = ConfigLocation::Line { file: self.source.path.clone(), line, column };
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

    fn section(&mut self, name: &SpannedKey<'_>, value: &Spanned<DeValue<'_>>, written: &mut ConfigDocument) {
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
        section: &'static SectionSchema,
        name: &SpannedKey<'_>,
        value: &Spanned<DeValue<'_>>,
        written: &mut ConfigDocument,
    ) {
        let Some(table) = value.get_ref().as_table() else {
            // `[key]` with settings in it: the name was forgotten.
            let what = format!("'{}' stands in [{}], which holds one table per name", shown(name), section.name);
            return self.wrong(name.span(), what, format!("write it as [{}.NAME], then its settings", section.name));
        };
        let table = self.table(section, name.get_ref().to_string(), name.span(), table);
        written.tables.entry(section.name).or_default().push(table);
    }

    fn provider(&mut self, name: &SpannedKey<'_>, value: &Spanned<DeValue<'_>>) -> Option<ConfigTable> {
        let Some(table) = value.get_ref().as_table() else {
            let what = format!("'{}' stands in no provider's table", shown(name));
            self.wrong(name.span(), what, "write the provider's name above it, as in [tool]".into());
            return None;
        };
        Some(self.table(&PROVIDER, name.get_ref().to_string(), name.span(), table))
    }

    fn table(
        &mut self,
        section: &'static SectionSchema,
        name: String,
        span: Range<usize>,
        table: &DeTable<'_>,
    ) -> ConfigTable {
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
        ConfigTable { section: Some(section), name, at, values }
    }

    fn unknown_section(&mut self, name: &SpannedKey<'_>, value: &Spanned<DeValue<'_>>) {
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

    fn unknown_setting(&mut self, section: &SectionSchema, name: &SpannedKey<'_>) {
        let written = name.get_ref();
        let elsewhere = SECTIONS.iter().find(|s| s.setting(written).is_some());
        let hint = if section.named && ["value", "key", "secret", "token", "api_key"].contains(&&**written) {
            "keys are never in this file: `locum key set NAME` stores one, or set `source`".into()
        } else if let Some(meant) = nearest(written, section.settings.iter().map(|k| k.name)) {
            format!("did you mean '{meant}'?")
        } else if let Some(home) = elsewhere.filter(|_| section.name != PROVIDER.name) {
            format!("it belongs under [{}]", home.name)
        } else {
            format!("the settings are {}", names(section.settings.iter().map(|k| k.name)))
        };
        let table = if section.name == PROVIDER.name { "a provider".into() } else { format!("[{}]", section.name) };
        self.wrong(name.span(), format!("unknown setting '{}' in {table}", shown(name)), hint);
    }
}

/// A name as it may be shown: without control characters, and cut where it is longer than any name.
fn shown(name: &SpannedKey<'_>) -> String {
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
