//! Takes the settings of one table out as types; what can't be read becomes a mistake with its place and an example.

use super::file::{ConfigTable, SettingValue};
use super::mistake::{ConfigLocation, Mistake, nearest};
use super::schema::SettingSchema;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A reader of one table's settings: each is taken out as a type, or is a mistake.
pub struct TableReader<'a> {
    table: ConfigTable,
    home: Option<&'a Path>,
    mistakes: &'a mut Vec<Mistake>,
}

impl<'a> TableReader<'a> {
    /// Reads the one table among `tables`, or an empty one; `read` has to take each setting that is known there.
    pub fn read<T>(
        tables: Vec<ConfigTable>,
        home: Option<&'a Path>,
        mistakes: &'a mut Vec<Mistake>,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let table = tables.into_iter().next().unwrap_or_default();
        let mut reader = TableReader { table, home, mistakes };
        let out = read(&mut reader);
        // A setting that is accepted and then not looked at would be a silent lie.
        debug_assert!(reader.table.values.is_empty(), "unread: {:?}", reader.table.values.keys());
        out
    }

    /// The place of the table.
    pub fn table_at(&self) -> ConfigLocation {
        self.table.at.clone()
    }

    /// Where a setting that has not been taken yet is written.
    pub fn at(&self, name: &str) -> Option<ConfigLocation> {
        self.table.values.get(name).map(|(_, at)| at.clone())
    }

    /// Notes a mistake.
    pub fn wrong(&mut self, at: ConfigLocation, what: String, hint: String) {
        self.mistakes.push(Mistake::new(at, what, hint));
    }

    fn unreadable(&mut self, at: ConfigLocation, name: &str, why: impl Display) {
        let hint = self.known(name).map(|k| format!("such as {}", k.example)).unwrap_or_default();
        self.wrong(at, format!("{name}: {why}"), hint);
    }

    fn known(&self, name: &str) -> Option<&'static SettingSchema> {
        self.table.section.and_then(|s| s.setting(name))
    }

    fn take(&mut self, name: &str) -> Option<(SettingValue, ConfigLocation)> {
        debug_assert!(self.table.section.is_none() || self.known(name).is_some(), "'{name}' is in no table");
        self.table.values.remove(name)
    }

    /// A text; an empty one is as good as none.
    fn text(&mut self, name: &str) -> Option<(String, ConfigLocation)> {
        match self.take(name)? {
            (SettingValue::Text(text), at) if !text.is_empty() => Some((text, at)),
            _ => None,
        }
    }

    /// A text as `read` takes it.
    pub fn with<T, E: Display>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let (text, at) = self.text(name)?;
        read(&text).map_err(|why| self.unreadable(at, name, why)).ok()
    }

    /// A text that is parsed.
    pub fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        self.with(name, str::parse)
    }

    /// One of some words, as the value that it means.
    pub fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        self.with(name, |text| {
            let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
            found.ok_or_else(|| {
                let written = text.escape_debug();
                match nearest(text, choices.iter().map(|(word, _)| *word)) {
                    Some(meant) => format!("'{written}' is unknown; did you mean '{meant}'?"),
                    None => format!("'{written}' is unknown"),
                }
            })
        })
    }

    /// `true` or `false`.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            (SettingValue::Flag(flag), _) => Some(flag),
            _ => None,
        }
    }

    /// A number within `range`.
    pub fn number<T: TryFrom<i64> + PartialOrd + Display>(
        &mut self,
        name: &str,
        range: RangeInclusive<T>,
    ) -> Option<T> {
        let Some((SettingValue::Number(number), at)) = self.take(name) else { return None };
        self.within(name, number, at, &range)
    }

    /// Those of a list that are within `range`.
    pub fn numbers<T: TryFrom<i64> + PartialOrd + Display>(
        &mut self,
        name: &str,
        range: RangeInclusive<T>,
    ) -> Option<Vec<T>> {
        let Some((SettingValue::Numbers(numbers), _)) = self.take(name) else { return None };
        Some(numbers.into_iter().filter_map(|(n, at)| self.within(name, n, at, &range)).collect())
    }

    fn within<T: TryFrom<i64> + PartialOrd + Display>(
        &mut self,
        name: &str,
        number: i64,
        at: ConfigLocation,
        range: &RangeInclusive<T>,
    ) -> Option<T> {
        let fits = T::try_from(number).ok().filter(|n| range.contains(n));
        if fits.is_none() {
            self.unreadable(at, name, format!("{number} is not within {} and {}", range.start(), range.end()));
        }
        fits
    }

    /// The parts of a list that can be read, each with its place.
    fn listed<T, E: Display>(
        &mut self,
        name: &str,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<(T, ConfigLocation)>> {
        let Some((SettingValue::Texts(texts), _)) = self.take(name) else { return None };
        let mut out = Vec::with_capacity(texts.len());
        for (text, at) in texts {
            match read(&text) {
                Ok(value) => out.push((value, at)),
                Err(why) => self.unreadable(at, name, why),
            }
        }
        Some(out)
    }

    /// Those of a list that `read` takes.
    pub fn list_with<T, E: Display>(&mut self, name: &str, read: impl Fn(&str) -> Result<T, E>) -> Option<Vec<T>> {
        self.listed(name, read).map(|list| list.into_iter().map(|(value, _)| value).collect())
    }

    /// Those of a list that can be parsed.
    pub fn list<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<Vec<T>> {
        self.list_with(name, str::parse)
    }

    /// The texts of a list as they are.
    pub fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        self.list_with(name, |text| Ok::<_, String>(text.to_owned()))
    }

    /// A list that must not be empty; `why` says why.
    pub fn filled<T: FromStr<Err: Display>>(&mut self, name: &str, why: &str) -> Option<Vec<(T, ConfigLocation)>> {
        if let Some((SettingValue::Texts(texts), at)) = self.table.values.get(name)
            && texts.is_empty()
        {
            let at = at.clone();
            self.table.values.remove(name);
            self.unreadable(at, name, why);
            return None;
        }
        self.listed(name, str::parse)
    }

    /// A path as it is meant.
    pub fn path(&mut self, name: &str) -> Option<PathBuf> {
        let (text, at) = self.text(name)?;
        Some(self.resolve(Path::new(&text), Some(&at)))
    }

    /// Paths as they are meant.
    pub fn paths(&mut self, name: &str) -> Option<Vec<PathBuf>> {
        let paths = self.listed(name, str::parse::<PathBuf>)?;
        Some(paths.into_iter().map(|(path, at)| self.resolve(&path, Some(&at))).collect())
    }

    /// A path as it is meant: `~` is the home folder, and a relative one begins at the folder of its file.
    pub fn resolve(&self, path: &Path, at: Option<&ConfigLocation>) -> PathBuf {
        if let (Ok(below), Some(home)) = (path.strip_prefix("~"), self.home) {
            return home.join(below);
        }
        match at {
            Some(ConfigLocation::Line { file, .. }) => {
                file.parent().map_or_else(|| path.to_path_buf(), |dir| dir.join(path))
            }
            _ => path.to_path_buf(),
        }
    }
}
