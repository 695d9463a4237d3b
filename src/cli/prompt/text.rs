//! The words in which a model is told of its placeholders. Short: they are read with each turn.

use crate::place::Place;
use crate::policy::agent_placeholders::{AgentPlaceholder, AgentPlaceholders};

const NONE: &str = "No API key is at hand here.";
const WHAT: &str = "You hold no API keys. You hold placeholders: write one where the key belongs, exactly as it stands here. A \
                    proxy (locum) puts the key in on the way out, and takes it out of what comes back.";
const NEVER: &str = "Never ask anybody for the value of a key, and don't search for it: no request needs it from you.";
const SAFE: &str =
    "In a prompt, a message or a file a placeholder is plain text: it is safe to write, and is not replaced there.";
const REFUSED: &str = "A refusal is an answer with the header `locum-refused` and a JSON body: `detail` says why, `hint` what the \
                       user can type to see more. 403: that placeholder may not go there, so don't try other hosts or places, \
                       but tell the user. 503: the key can't be had now.";

/// Plain text.
pub fn plain(own: &AgentPlaceholders) -> String {
    let line = |placeholder: &AgentPlaceholder| format!("- {}: {}\n", placeholder.placeholder, whither(placeholder));
    written(own, "", line).replace('`', "")
}

/// Markdown, with a heading of the second level.
pub fn markdown(own: &AgentPlaceholders) -> String {
    let line = |placeholder: &AgentPlaceholder| format!("- `{}`: {}\n", placeholder.placeholder, whither(placeholder));
    written(own, "## API keys\n\n", line)
}

fn written(own: &AgentPlaceholders, heading: &str, line: impl Fn(&AgentPlaceholder) -> String) -> String {
    if own.placeholders.is_empty() {
        return format!("{heading}{NONE} {NEVER}\n");
    }
    let lines: String = own.placeholders.iter().map(line).collect();
    format!("{heading}{WHAT}\n\n{lines}\n{NEVER} {SAFE}\n\n{REFUSED}\n")
}

/// Where a key may go, in words.
fn whither(placeholder: &AgentPlaceholder) -> String {
    let AgentPlaceholder { hosts, places, methods, paths, .. } = placeholder;
    let places: Vec<String> = places.iter().map(|place| in_words(place)).collect();
    let mut text = format!("to {}, in {}", hosts.join(", "), places.join(" or "));
    if !methods.is_empty() {
        text.push_str(&format!("; only {}", methods.join(", ")));
    }
    if !paths.is_empty() {
        text.push_str(&format!("; only paths {}", paths.join(", ")));
    }
    text
}

/// A place of `where`. One that is not known here stays as it is written.
fn in_words(place: &str) -> String {
    match place.parse() {
        Ok(Place::Header) => "a header".into(),
        Ok(Place::HeaderNamed(name)) => format!("the header {name}"),
        Ok(Place::Basic) => "Basic credentials".into(),
        Ok(Place::Query) => "a query parameter".into(),
        Ok(Place::QueryNamed(name)) => format!("the query parameter {name}"),
        Ok(Place::Path) => "the path".into(),
        Ok(Place::Body) => "a body, as a whole value".into(),
        Ok(Place::BodyPointer(pointer)) => format!("a JSON body at {pointer}"),
        Ok(Place::BodyField(name)) => format!("the form field {name}"),
        Ok(Place::BodyAny) => "any part of a body".into(),
        Ok(Place::Ws) => "text messages of a WebSocket".into(),
        Err(_) => place.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_words_and_every_limit_is_told() {
        let own: AgentPlaceholders = serde_json::from_str(
            r#"{"agent":"a","placeholders":[{"name":"x","placeholder":"<<x_key>>","hosts":["a.example","*.b.example:8443"],
            "where":["header","header:x-api-key","basic","query","query:key","path","body","body:/a/b","body:f","body:any","ws","new"],
            "methods":["GET"],"paths":["/v1/**"]}]}"#,
        )
        .unwrap();
        let (plain, markdown) = (plain(&own), markdown(&own));
        let line = "to a.example, *.b.example:8443, in a header or the header x-api-key or Basic credentials or a query \
                    parameter or the query parameter key or the path or a body, as a whole value or a JSON body at /a/b or the \
                    form field f or any part of a body or text messages of a WebSocket or new; only GET; only paths /v1/**\n";
        assert!(plain.contains(&format!("- <<x_key>>: {line}")) && !plain.contains('`'), "{plain}");
        assert!(
            markdown.starts_with("## API keys\n\n") && markdown.contains(&format!("- `<<x_key>>`: {line}")),
            "{markdown}"
        );
        // it is paid for with each turn
        assert!(plain.len() - line.len() < 1000, "{}", plain.len());
    }
}
