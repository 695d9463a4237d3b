//! The texts of a TOML file.

use super::scalar::{ConfigScalar, MAX_DEPTH, MAX_VALUES, ScalarForm, is_option};
use toml_edit::{Array, Document, Item, TableLike, Value};

/// Its texts, table by table.
///
/// # Errors
/// When it is no TOML, in the parser's words.
pub fn read(text: &str) -> Result<Vec<ConfigScalar>, String> {
    let document = Document::parse(text).map_err(|e| e.message().to_owned())?;
    let mut found = Vec::new();
    of_table(text, document.as_table(), &mut Vec::new(), &mut found);
    Ok(found)
}

fn of_table(text: &str, table: &dyn TableLike, path: &mut Vec<String>, found: &mut Vec<ConfigScalar>) {
    for (name, item) in table.iter() {
        path.push(name.to_owned());
        match item {
            Item::Value(value) => of_value(text, value, path, found),
            Item::Table(table) => of_table(text, table, path, found),
            Item::ArrayOfTables(tables) => {
                for (at, table) in tables.iter().enumerate() {
                    path.push(format!("[{at}]"));
                    of_table(text, table, path, found);
                    path.pop();
                }
            }
            Item::None => {}
        }
        path.pop();
    }
}

fn of_value(text: &str, value: &Value, path: &mut Vec<String>, found: &mut Vec<ConfigScalar>) {
    if path.len() > MAX_DEPTH || found.len() >= MAX_VALUES {
        return;
    }
    match value {
        Value::String(string) => {
            let Some(span) = string.span() else { return };
            let raw = text.get(span.clone()).unwrap_or_default();
            // one quote or three, of either kind
            let quotes = if raw.len() >= 6 && (raw.starts_with("\"\"\"") || raw.starts_with("'''")) { 3 } else { 1 };
            found.push(ConfigScalar {
                path: path.clone(),
                at: span.start + quotes..span.end.saturating_sub(quotes),
                value: string.value().clone(),
                form: ScalarForm::Text,
            });
        }
        Value::Array(array) => of_array(text, array, path, found),
        Value::InlineTable(table) => of_table(text, table, path, found),
        _ => {}
    }
}

fn of_array(text: &str, array: &Array, path: &mut Vec<String>, found: &mut Vec<ConfigScalar>) {
    let mut option: Option<String> = None;
    for (at, element) in array.iter().enumerate() {
        path.push(option.take().unwrap_or_else(|| format!("[{at}]")));
        of_value(text, element, path, found);
        path.pop();
        option = element.as_str().filter(|text| is_option(text)).map(str::to_owned);
    }
}
