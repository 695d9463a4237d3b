//! Near misses: what stands in a head where a placeholder was meant, and is none. It goes on as it is, and is told; nothing is
//! ever replaced by what is found here.

use super::head::basic;
use crate::name::{KeyName, MAX_NAME};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Uri};
use std::fmt;

/// A placeholder that was meant, and is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearMiss {
    /// The key that was meant.
    pub key: KeyName,
    /// As it stood there.
    pub written: String,
    /// What is wrong with it.
    pub kind: NearMissKind,
}

/// What keeps a text from being a placeholder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NearMissKind {
    /// `{{NAME_key}}`, which is none while `[proxy] braces` is off.
    Braces,
    /// It is encoded in a way that nobody decodes there: `&lt;&lt;`, `%3C%3C` in a header.
    Encoded,
    /// Its brackets or its name are another's: `<NAME_key>`, `<<NAME>>`, `<<NAME_KEY>>`, `<< NAME_key >>`.
    Misspelt,
}

impl fmt::Display for NearMiss {
    /// What is the matter and what to do, behind the name of who got it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (written, placeholder) = (&self.written, self.key.placeholder());
        match self.kind {
            NearMissKind::Braces => write!(
                f,
                "{written}, which is no placeholder while braces is off; write {placeholder}, or set braces = true under [proxy]"
            ),
            NearMissKind::Encoded => {
                write!(f, "{written}, which is no placeholder, since nobody decodes it there; write {placeholder}")
            }
            NearMissKind::Misspelt => write!(f, "{written}, which is no placeholder; write {placeholder}"),
        }
    }
}

/// The first near miss of one of these keys in a head. For heads in which none of them has a placeholder.
pub fn find<'k>(uri: &Uri, headers: &HeaderMap, keys: impl Iterator<Item = &'k KeyName> + Clone) -> Option<NearMiss> {
    let target = uri.path_and_query().and_then(|target| in_text(target.as_str().as_bytes(), true, keys.clone()));
    let in_value = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        let credentials = if name == AUTHORIZATION { basic(value.as_bytes()) } else { None };
        let text = credentials.as_ref().map_or(value.as_bytes(), |(_, credentials)| credentials);
        in_text(text, false, keys.clone())
    };
    target.or_else(|| headers.iter().find_map(in_value))
}

/// The first in a text, in which percent-encoding `is_read` or not.
fn in_text<'k>(text: &[u8], is_read: bool, keys: impl Iterator<Item = &'k KeyName> + Clone) -> Option<NearMiss> {
    let mut from = 0;
    loop {
        let rest = text.get(from..)?;
        let at = from + rest.iter().position(|b| matches!(b, b'<' | b'{' | b'&' | b'%'))?;
        let found = Shape::at(text, at).and_then(|shape| Some((shape.key(keys.clone())?, shape)));
        let Some((key, shape)) = found else {
            from = at + 1;
            continue;
        };
        let is_unread = shape.is_encoded && (!is_read || text[at] == b'&');
        if let Some(kind) = shape.kind(key, is_unread) {
            let written = String::from_utf8_lossy(&text[at..shape.end]).into_owned();
            return Some(NearMiss { key: key.clone(), written, kind });
        }
        from = shape.end;
    }
}

/// A name in brackets of some sort.
struct Shape<'t> {
    open: u8,
    /// There are two opening brackets and two closing ones.
    is_doubled: bool,
    is_encoded: bool,
    has_blanks: bool,
    name: &'t str,
    /// It ends before this position.
    end: usize,
}

/// How brackets are written; the case of a percent-encoding doesn't matter.
const BRACKETS: [(u8, &[&str], &[&str]); 2] =
    [(b'<', &["<", "&lt;", "%3c"], &[">", "&gt;", "%3e"]), (b'{', &["{", "%7b"], &["}", "%7d"])];
/// Blanks within brackets, at most on each side.
const MAX_BLANKS: usize = 4;

impl<'t> Shape<'t> {
    fn at(text: &'t [u8], start: usize) -> Option<Self> {
        let (open, opening, closing) =
            BRACKETS.iter().find(|(_, opening, _)| bracket(text, start, opening).is_some())?;
        let (mut at, mut count, mut is_encoded) = (start, 0, false);
        while let Some(len) = bracket(text, at, opening).filter(|_| count < 2) {
            (at, count, is_encoded) = (at + len, count + 1, is_encoded || len > 1);
        }
        let (name_start, before) = blanks(text, at);
        let letter = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        let len = text.get(name_start..)?.iter().take(MAX_NAME + "_api_key".len()).take_while(letter).count();
        let name = std::str::from_utf8(&text[name_start..name_start + len]).ok().filter(|name| !name.is_empty())?;
        let (mut end, after) = blanks(text, name_start + len);
        let mut closed = 0;
        while let Some(len) = bracket(text, end, closing).filter(|_| closed < 2) {
            (end, closed) = (end + len, closed + 1);
        }
        let is_doubled = count == 2 && closed == 2;
        (closed > 0).then_some(Self { open: *open, is_doubled, is_encoded, has_blanks: before + after > 0, name, end })
    }

    /// What keeps it from being a placeholder of `key`, if anything does.
    fn kind(&self, key: &KeyName, is_unread: bool) -> Option<NearMissKind> {
        let is_plain = self.is_doubled && !self.has_blanks && self.name.strip_suffix("_key") == Some(key.as_str());
        match (self.open, is_plain, is_unread) {
            (b'{', true, _) => Some(NearMissKind::Braces),
            (_, _, true) => Some(NearMissKind::Encoded),
            (_, true, false) => None,
            (_, false, false) => Some(NearMissKind::Misspelt),
        }
    }

    /// The key that is meant. Between single brackets a name alone is no placeholder that anybody meant: so tags look.
    fn key<'k>(&self, mut keys: impl Iterator<Item = &'k KeyName>) -> Option<&'k KeyName> {
        let name = self.name.to_ascii_lowercase().replace('-', "_");
        let stem = name.strip_suffix("_key");
        let bare = self.is_doubled.then_some(name.as_str());
        let stems = [stem, stem.and_then(|stem| stem.strip_suffix("_api")), bare];
        keys.find(|key| stems.contains(&Some(key.as_str())))
    }
}

/// The length of the bracket at a position, in one of these forms.
fn bracket(text: &[u8], at: usize, forms: &[&str]) -> Option<usize> {
    let is_there =
        |form: &&&str| text.get(at..at + form.len()).is_some_and(|there| there.eq_ignore_ascii_case(form.as_bytes()));
    forms.iter().find(is_there).map(|form| form.len())
}

/// Where the blanks that begin at a position end, and how many there are.
fn blanks(text: &[u8], at: usize) -> (usize, usize) {
    let count = text.get(at..).unwrap_or_default().iter().take(MAX_BLANKS).take_while(|b| **b == b' ').count();
    (at + count, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use http::Request;

    /// `kind:written` of what is found for the keys openai and tool.
    fn found(target: &str, header: &str) -> String {
        let keys: [KeyName; 2] = ["openai", "tool"].map(|name| name.parse().unwrap());
        let (parts, ()) = Request::builder().uri(target).header("authorization", header).body(()).unwrap().into_parts();
        let miss = find(&parts.uri, &parts.headers, keys.iter());
        miss.map_or(String::new(), |miss| format!("{:?}:{}:{}", miss.kind, miss.key, miss.written))
    }

    #[test]
    fn what_was_meant_is_found_and_what_is_wrong_with_it() {
        let basic = |pair: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
        for (header, outcome) in [
            ("Bearer {{openai_key}}", "Braces:openai:{{openai_key}}"),
            ("Bearer {{ openai_key }}", "Misspelt:openai:{{ openai_key }}"),
            ("Bearer {openai_key}", "Misspelt:openai:{openai_key}"),
            ("Bearer <<openai>>", "Misspelt:openai:<<openai>>"),
            ("Bearer <<OPENAI_KEY>>", "Misspelt:openai:<<OPENAI_KEY>>"),
            ("Bearer <<OPENAI_API_KEY>>", "Misspelt:openai:<<OPENAI_API_KEY>>"),
            ("Bearer <openai_key>", "Misspelt:openai:<openai_key>"),
            ("Bearer <<openai-key>>", "Misspelt:openai:<<openai-key>>"),
            ("Bearer << openai_key >>", "Misspelt:openai:<< openai_key >>"),
            ("Bearer <<openai_key>", "Misspelt:openai:<<openai_key>"),
            ("&lt;&lt;openai_key&gt;&gt;", "Encoded:openai:&lt;&lt;openai_key&gt;&gt;"),
            ("%3C%3copenai_key%3E%3e", "Encoded:openai:%3C%3copenai_key%3E%3e"),
            (&basic("me:{{tool_key}}"), "Braces:tool:{{tool_key}}"),
            ("<<nobody>> <<tool>>", "Misspelt:tool:<<tool>>"),
            ("<<<tool_key>>>", ""),
            // others that only look so
            ("Bearer <openai>", ""),
            ("Bearer {openai}", ""),
            ("Bearer <<nobody_key>>", ""),
            ("Bearer <<openai_keys>>", ""),
            ("Bearer <<openai_key", ""),
            ("Bearer openai_key", ""),
            ("<<openai tool>>", ""),
            ("{\"openai\": \"tool\"}", ""),
            ("<", ""),
            ("%", ""),
            ("&lt;&l", ""),
        ] {
            assert_eq!(found("/", header), outcome, "{header}");
        }
        let long = format!("<<{}tool_key>>", "a".repeat(70_000));
        assert_eq!(found("/", &long), "");
        for (target, outcome) in [
            ("/?key={{tool_key}}", "Braces:tool:{{tool_key}}"),
            ("/?key=%7B%7Btool_key%7D%7D", "Braces:tool:%7B%7Btool_key%7D%7D"),
            ("/?key=%3C%3Ctool_key%3E%3E", ""),
            ("/?key=%3C%3Ctool%3E%3E", "Misspelt:tool:%3C%3Ctool%3E%3E"),
            ("/&lt;&lt;tool_key&gt;&gt;", "Encoded:tool:&lt;&lt;tool_key&gt;&gt;"),
        ] {
            assert_eq!(found(target, ""), outcome, "{target}");
        }
    }

    #[test]
    fn a_text_of_openers_alone_takes_no_time_to_speak_of() {
        for opener in ["<", "{", "&lt;", "%3c", "<< ", "<<a"] {
            assert_eq!(found("/", &opener.repeat(20_000)), "");
        }
    }
}
