//! The values of a YAML file, document by document. An alias has its value where its anchor stands.

use super::scalar::{ConfigScalar, MAX_DEPTH, MAX_VALUES, ScalarForm, is_option};
use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// What is open at a place of the file.
enum OpenNode {
    /// A mapping, and the name whose value comes next.
    Mapping(Option<String>),
    /// A list, what number comes next, and the option before it.
    List(usize, Option<String>),
}

/// Its scalars, in their order.
///
/// # Errors
/// When it is no YAML, in the parser's words.
pub fn read(text: &str) -> Result<Vec<ConfigScalar>, String> {
    let offsets: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let byte = |chars: usize| offsets.get(chars).copied().unwrap_or(text.len());
    let mut reader = YamlReader { open: Vec::new(), documents: 0, found: Vec::new() };
    for event in Parser::new_from_str(text) {
        let (event, span): (Event<'_>, Span) = event.map_err(|e| e.to_string())?;
        let at = byte(span.start.index())..byte(span.end.index());
        reader.take(event, at, text);
    }
    Ok(reader.found)
}

struct YamlReader {
    open: Vec<OpenNode>,
    documents: usize,
    found: Vec<ConfigScalar>,
}

impl YamlReader {
    fn take(&mut self, event: Event<'_>, at: std::ops::Range<usize>, text: &str) {
        match event {
            Event::DocumentStart(_) => self.documents += 1,
            Event::MappingStart(..) => self.open.push(OpenNode::Mapping(None)),
            Event::SequenceStart(..) => self.open.push(OpenNode::List(0, None)),
            Event::MappingEnd | Event::SequenceEnd => {
                self.open.pop();
                self.value_is_over(None);
            }
            Event::Alias(_) => {
                if !self.is_name("*") {
                    self.value_is_over(None);
                }
            }
            Event::Scalar(value, style, ..) => {
                if self.is_name(&value) {
                    return;
                }
                if self.open.len() <= MAX_DEPTH && self.found.len() < MAX_VALUES {
                    self.found.push(ConfigScalar {
                        path: self.path(),
                        at: inside(text, at, style),
                        value: value.to_string(),
                        form: ScalarForm::Text,
                    });
                }
                self.value_is_over(Some(&value));
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
    }

    /// Whether a mapping waits for a name, which this then is.
    fn is_name(&mut self, name: &str) -> bool {
        match self.open.last_mut() {
            Some(OpenNode::Mapping(waiting @ None)) => {
                *waiting = Some(name.to_owned());
                true
            }
            _ => false,
        }
    }

    fn value_is_over(&mut self, value: Option<&str>) {
        match self.open.last_mut() {
            Some(OpenNode::Mapping(name)) => *name = None,
            Some(OpenNode::List(number, option)) => {
                *number += 1;
                *option = value.filter(|value| is_option(value)).map(str::to_owned);
            }
            None => {}
        }
    }

    fn path(&self) -> Vec<String> {
        let step = |node: &OpenNode| match node {
            OpenNode::Mapping(name) => name.clone().unwrap_or_default(),
            OpenNode::List(number, option) => option.clone().unwrap_or_else(|| format!("[{number}]")),
        };
        // what stands in one document says nothing of another
        let document = (self.documents > 1).then(|| format!("#{}", self.documents));
        document.into_iter().chain(self.open.iter().map(step)).collect()
    }
}

/// Without quotes.
fn inside(text: &str, at: std::ops::Range<usize>, style: ScalarStyle) -> std::ops::Range<usize> {
    let is_quoted = matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted);
    let raw = text.get(at.clone()).unwrap_or_default();
    if is_quoted && raw.len() >= 2 { at.start + 1..at.end - 1 } else { at }
}
