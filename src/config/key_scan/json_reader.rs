//! The values of a JSON file, with comments and trailing commas where it has them.

use super::scalar::{ConfigScalar, MAX_DEPTH, MAX_VALUES, ScalarForm, is_option};
use jsonc_parser::ast::{StringLit, Value};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

/// Its texts and numbers, in their order.
///
/// # Errors
/// When it is no JSON, in the parser's words.
pub fn read(text: &str) -> Result<Vec<ConfigScalar>, String> {
    let parsed = parse_to_ast(text, &CollectOptions::default(), &ParseOptions::default()).map_err(|e| e.to_string())?;
    let mut found = Vec::new();
    if let Some(value) = &parsed.value {
        collect(value, &mut Vec::new(), &mut found);
    }
    Ok(found)
}

fn collect(value: &Value<'_>, path: &mut Vec<String>, found: &mut Vec<ConfigScalar>) {
    if path.len() > MAX_DEPTH || found.len() >= MAX_VALUES {
        return;
    }
    match value {
        Value::StringLit(text) => found.push(ConfigScalar {
            path: path.clone(),
            at: text.range.start + 1..text.range.end.saturating_sub(1),
            value: text.value.to_string(),
            form: ScalarForm::Text,
        }),
        Value::NumberLit(number) => found.push(ConfigScalar {
            path: path.clone(),
            at: number.range.start..number.range.end,
            value: number.value.to_owned(),
            form: ScalarForm::Number,
        }),
        Value::Object(object) => {
            for property in &object.properties {
                path.push(property.name.as_str().to_owned());
                collect(&property.value, path, found);
                path.pop();
            }
        }
        Value::Array(array) => {
            let mut option = None;
            for (at, element) in array.elements.iter().enumerate() {
                path.push(option.take().unwrap_or_else(|| format!("[{at}]")));
                collect(element, path, found);
                path.pop();
                option = element.as_string_lit().and_then(named_by);
            }
        }
        Value::BooleanLit(_) | Value::NullKeyword(_) => {}
    }
}

/// The option that a list of arguments gives its next one to.
fn named_by(text: &StringLit<'_>) -> Option<String> {
    is_option(&text.value).then(|| text.value.to_string())
}
