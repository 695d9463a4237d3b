//! Finds keys in a text of settings, be it `.env`, JSON, TOML or YAML: values behind a known name, and those that begin as
//! only one provider's keys do. Reading and writing files is not its business.
//!
//! All four write a pair as name, `=` or `:`, value. Only a value of plain characters counts, so that another one of plain
//! characters can take its place within the same quotes in any of them.

use std::ops::Range;

/// A value that looks as if it were a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundKey {
    /// Which of the wanted ones it is of.
    pub of: usize,
    pub at: Range<usize>,
    /// From 1.
    pub line: usize,
    pub quoted: bool,
    /// Of no effect as it stands, though it may be a key all the same.
    pub in_comment: bool,
}

/// The pattern of one key's values: what stands before them, and what they begin with.
#[derive(Debug, Clone, Default)]
pub struct KeyPattern {
    /// Names that stand before the value, in any case.
    pub names: Vec<String>,
    /// What it begins with.
    pub prefixes: Vec<String>,
}

/// A shorter beginning turns up by chance.
const MIN_PREFIX: usize = 4;
/// A value that is known by its beginning alone has this many bytes at least.
const MIN_BY_PREFIX: usize = 20;

/// All values that are found, in the order of the text.
pub fn find(text: &str, wanted: &[KeyPattern]) -> Vec<FoundKey> {
    let mut found = by_name(text, wanted);
    for spot in by_prefix(text, wanted) {
        if !found.iter().any(|f| f.at.start < spot.at.end && spot.at.start < f.at.end) {
            found.push(spot);
        }
    }
    found.sort_by_key(|spot| spot.at.start);
    // a value may look like a pair itself; it is taken as a whole
    found.dedup_by(|next, kept| next.at.start < kept.at.end);
    found
}

fn by_name(text: &str, wanted: &[KeyPattern]) -> Vec<FoundKey> {
    let lower = text.to_ascii_lowercase();
    let mut found: Vec<FoundKey> = Vec::new();
    for (of, wanted) in wanted.iter().enumerate() {
        for name in wanted.names.iter().filter(|name| !name.is_empty()) {
            let name = name.to_ascii_lowercase();
            for at in memchr::memmem::find_iter(lower.as_bytes(), name.as_bytes()) {
                if let Some((at, quoted)) = value_behind(text.as_bytes(), at..at + name.len())
                    && !found.iter().any(|f| f.at == at)
                {
                    found.push(spot(text, of, at, quoted));
                }
            }
        }
    }
    found
}

/// The value of the pair that begins with the name at `name`, if a whole name is there and a plain value.
fn value_behind(text: &[u8], name: Range<usize>) -> Option<(Range<usize>, bool)> {
    let before = name.start.checked_sub(1).and_then(|at| text.get(at)).copied();
    if before.is_some_and(|b| is_of_name(b) || b == b'$') {
        return None;
    }
    let mut at = name.end;
    let open = before.filter(|b| is_quote(*b));
    let named_in_quotes = open.is_some() && text.get(at).copied() == open;
    if let Some(quote) = open.filter(|_| !named_in_quotes) {
        // around the pair as a whole, as in a list of a compose file
        let value = plain(text, at + 1)?;
        let whole = text.get(at) == Some(&b'=') && text.get(value.end) == Some(&quote);
        return whole.then_some((value, true));
    }
    at = skip(text, at + usize::from(named_in_quotes), b" \t");
    let sign = *text.get(at).filter(|b| b"=:".contains(b))?;
    // JSON may go on in the next line
    at = skip(text, at + 1, if named_in_quotes { b" \t\r\n" } else { b" \t" });
    let quote = text.get(at).copied().filter(|b| is_quote(*b));
    let start = at + usize::from(quote.is_some());
    let value = plain(text, start)?;
    match quote {
        Some(quote) => (text.get(value.end) == Some(&quote)).then_some((value, true)),
        None if sign == b':' && is_of_yaml(text.get(value.clone())?) => None,
        // in JSON no text could take its place
        None if sign == b':' && named_in_quotes && is_number(text.get(value.clone())?) => None,
        None => ends_a_value(text.get(value.end)).then_some((value, false)),
    }
}

/// Whether YAML or JSON take it for something else than a text: a tag, an alias, the head of a block, nothing at all.
fn is_of_yaml(value: &[u8]) -> bool {
    value.first().is_some_and(|first| b"!*&|>@".contains(first))
        || [&b"~"[..], b"null", b"true", b"false"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

fn is_number(value: &[u8]) -> bool {
    value.iter().all(|b| b"0123456789+-.eE".contains(b))
}

fn by_prefix(text: &str, wanted: &[KeyPattern]) -> Vec<FoundKey> {
    let prefixes = wanted.iter().enumerate().flat_map(|(of, w)| w.prefixes.iter().map(move |p| (of, p.as_str())));
    let prefixes: Vec<(usize, &str)> = prefixes.filter(|(_, prefix)| prefix.len() >= MIN_PREFIX).collect();
    let bytes = text.as_bytes();
    let mut found: Vec<FoundKey> = Vec::new();
    for at in prefixes.iter().flat_map(|(_, prefix)| memchr::memmem::find_iter(bytes, prefix.as_bytes())) {
        let begins = at.checked_sub(1).and_then(|before| bytes.get(before));
        if begins.is_some_and(|b| !is_quote(*b) && !b" \t\r\n=:".contains(b)) {
            continue;
        }
        let Some(value) = plain(bytes, at).filter(|value| value.len() >= MIN_BY_PREFIX) else { continue };
        let quoted = bytes.get(value.end).is_some_and(|b| is_quote(*b));
        let whole = quoted || ends_a_value(bytes.get(value.end));
        if let Some(of) = only_one(text.get(value.clone()).unwrap_or_default(), &prefixes).filter(|_| whole)
            && !found.iter().any(|f| f.at == value)
        {
            found.push(spot(text, of, value, quoted));
        }
    }
    found
}

/// Whose key has the longest of the beginnings that `value` has, where that is one's alone.
fn only_one(value: &str, prefixes: &[(usize, &str)]) -> Option<usize> {
    let fitting = prefixes.iter().filter(|(_, prefix)| value.starts_with(prefix));
    let longest = fitting.clone().map(|(_, prefix)| prefix.len()).max()?;
    let mut of = fitting.filter(|(_, prefix)| prefix.len() == longest).map(|(of, _)| *of);
    let first = of.next()?;
    of.all(|other| other == first).then_some(first)
}

fn spot(text: &str, of: usize, at: Range<usize>, quoted: bool) -> FoundKey {
    let before = text.get(..at.start).unwrap_or_default();
    let begun = before.rsplit('\n').next().unwrap_or_default().trim_start();
    let in_comment = ["#", "//", ";"].iter().any(|mark| begun.starts_with(mark));
    FoundKey { of, at, line: before.matches('\n').count() + 1, quoted, in_comment }
}

/// What a key is made of. Nothing that any of the formats would read as more than itself is, nor a placeholder's `<`.
fn plain(text: &[u8], start: usize) -> Option<Range<usize>> {
    let of_key = |b: &&u8| b.is_ascii_alphanumeric() || b"-_.~+/=:@|!*".contains(b);
    let len = text.get(start..)?.iter().take_while(of_key).count();
    (len > 0).then_some(start..start + len)
}

fn ends_a_value(next: Option<&u8>) -> bool {
    next.is_none_or(|b| b" \t\r\n,}];".contains(b))
}

fn is_of_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"_-.".contains(&b)
}

fn is_quote(b: u8) -> bool {
    b == b'"' || b == b'\''
}

fn skip(text: &[u8], from: usize, over: &[u8]) -> usize {
    from + text.get(from..).unwrap_or_default().iter().take_while(|b| over.contains(b)).count()
}

/// The text with each of `parts` replaced. They are in order and apart.
pub fn replaced(text: &str, parts: &[(Range<usize>, String)]) -> String {
    let mut out = String::with_capacity(text.len() + parts.iter().map(|(_, new)| new.len()).sum::<usize>());
    let mut done = 0;
    for (at, new) in parts {
        out.push_str(text.get(done..at.start).unwrap_or_default());
        out.push_str(new);
        done = at.end;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wanted() -> Vec<KeyPattern> {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        vec![
            KeyPattern { names: texts(&["OPENAI_API_KEY"]), prefixes: texts(&["sk-", "sk-proj-"]) },
            KeyPattern { names: texts(&["ANTHROPIC_API_KEY"]), prefixes: texts(&["sk-ant-"]) },
            KeyPattern { names: texts(&["TOOL_API_KEY"]), prefixes: texts(&["both-"]) },
            KeyPattern { names: texts(&["OTHER_API_KEY"]), prefixes: texts(&["both-"]) },
        ]
    }

    /// Each value that is found, with the name of whose it is; `#` where it is in a comment.
    fn found(text: &str) -> Vec<String> {
        let told = |s: FoundKey| {
            let mark = if s.in_comment { "#" } else { "" };
            format!("{mark}{}={}", wanted()[s.of].names[0].split('_').next().unwrap(), &text[s.at])
        };
        find(text, &wanted()).into_iter().map(told).collect()
    }

    #[test]
    fn pairs_are_found_in_every_format() {
        for (text, values) in [
            ("OPENAI_API_KEY=abc", &["OPENAI=abc"][..]),
            ("export OPENAI_API_KEY='abc'\r\nTOOL_API_KEY = \"d/e+f==\"", &["OPENAI=abc", "TOOL=d/e+f=="]),
            ("a:\n  openai_api_key: abc # mine", &["OPENAI=abc"]),
            ("a: {OPENAI_API_KEY: abc, x: y}", &["OPENAI=abc"]),
            (r#"{"env":{"OPENAI_API_KEY":"abc","TOOL_API_KEY": "def"}}"#, &["OPENAI=abc", "TOOL=def"]),
            ("{\"OPENAI_API_KEY\":\n  \"abc\"}", &["OPENAI=abc"]),
            ("OPENAI_API_KEY:\n  nested: x", &[]),
            ("# OPENAI_API_KEY=old", &["#OPENAI=old"]),
            ("MY_OPENAI_API_KEY=abc\nOPENAI_API_KEY_FILE=/x\n$OPENAI_API_KEY=x", &[]),
            ("OPENAI_API_KEY=\nTOOL_API_KEY=\"\"", &[]),
            ("OPENAI_API_KEY=<<openai_key>>\nTOOL_API_KEY=${X}\nOTHER_API_KEY=\"a\\nb\"", &[]),
            ("OPENAI_API_KEY=\"<<openai_key>>\"", &[]),
            ("OPENAI_API_KEY=\"abc", &[]),
            ("OPENAI_API_KEY=TOOL_API_KEY=abc", &["OPENAI=TOOL_API_KEY=abc"]),
            ("OPENAI_API_KEY: !secret openai\nTOOL_API_KEY: *shared\nOTHER_API_KEY: &anchor abc", &[]),
            ("TOOL_API_KEY: |\n  abc\nOTHER_API_KEY: |-\n  abc\nOPENAI_API_KEY: >\n  abc", &[]),
            ("OPENAI_API_KEY: |\n  sk-proj-0123456789012345", &["OPENAI=sk-proj-0123456789012345"]),
            ("TOOL_API_KEY: ~\n{\"OPENAI_API_KEY\": null, \"OTHER_API_KEY\": false}", &[]),
            ("TOOL_API_KEY: \"!abc\"\nOTHER_API_KEY=*abc", &["TOOL=!abc", "OTHER=*abc"]),
            ("- \"TOOL_API_KEY=abc\"\n- 'OTHER_API_KEY=d=e'", &["TOOL=abc", "OTHER=d=e"]),
            ("[\"-e\", \"TOOL_API_KEY=abc\", \"OTHER_API_KEY=abc'\", \"OPENAI_API_KEY\"]", &["TOOL=abc"]),
            ("\"TOOL_API_KEY is abc\" \"OTHER_API_KEY: abc\" \"OPENAI_API_KEY=<<openai_key>>\"", &[]),
            ("{\"TOOL_API_KEY\": 12345, \"OTHER_API_KEY\": \"12345\"}", &["OTHER=12345"]),
        ] {
            assert_eq!(found(text), values, "{text}");
        }
    }

    #[test]
    fn a_beginning_tells_whose_a_key_is_where_it_is_ones_alone() {
        for (text, values) in [
            ("{\"apiKey\": \"sk-ant-0123456789012345\"}", &["ANTHROPIC=sk-ant-0123456789012345"][..]),
            ("auth: 'Bearer sk-ant-0123456789012345'", &["ANTHROPIC=sk-ant-0123456789012345"]),
            ("auth: Bearer sk-proj-0123456789012345", &["OPENAI=sk-proj-0123456789012345"]),
            ("x = \"both-0123456789012345678\"", &[]),
            ("x = \"sk-0123456789012345678\"", &[]),
            ("x = \"sk-ant-short\"", &[]),
            ("x = \"task-sk-ant-0123456789012345\"", &[]),
            ("OPENAI_API_KEY=sk-ant-0123456789012345", &["OPENAI=sk-ant-0123456789012345"]),
        ] {
            assert_eq!(found(text), values, "{text}");
        }
    }

    #[test]
    fn lines_are_counted_and_quotes_seen() {
        let spots = find("\nOPENAI_API_KEY=a\n\nTOOL_API_KEY='b'", &wanted());
        let told: Vec<_> = spots.iter().map(|s| (s.line, s.quoted)).collect();
        assert_eq!(told, [(2, false), (4, true)]);
    }

    proptest! {
        /// Whatever the text: spots are within it, apart, in order; and once they are replaced nothing is found.
        #[test]
        fn what_is_replaced_is_found_no_more(parts in proptest::collection::vec(
            "OPENAI_API_KEY|tool_api_key|[=: \"'\n]{1,2}|sk-ant-[a-z0-9]{5,20}|[a-z<>#{},é]{1,6}", 0..40)) {
            let text = parts.concat();
            let spots = find(&text, &wanted());
            prop_assert!(spots.windows(2).all(|pair| pair[0].at.end <= pair[1].at.start));
            let new: Vec<_> = spots.iter().map(|s| (s.at.clone(), "<<x_key>>".to_owned())).collect();
            let after = replaced(&text, &new);
            prop_assert_eq!(find(&after, &wanted()), []);
        }
    }
}
