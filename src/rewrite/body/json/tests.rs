//! JSON by its tokens: against serde_json's parser, over any cuts.

use super::parser::MAX_SPACE;
use super::path::PointerPath;
use super::tokens::{JsonTokenizer, MAX_DEPTH};
use super::*;
use crate::rewrite::body::location::Match;
use proptest::prelude::*;

/// Whether the placeholder in a text is a whole value.
fn whole(texts: JsonTexts, text: &str, last: bool) -> Option<bool> {
    let start = text.find("<<").unwrap();
    let mut parser = JsonParser::new(texts, std::iter::empty());
    parser.advance(&text.as_bytes()[..start]);
    match parser.locate(text.as_bytes(), &(start..start + 9), last) {
        Match::Incomplete => None,
        Match::Location(location) => Some(location.whole),
    }
}

#[test]
fn a_whole_value_is_known_by_what_stands_around_it() {
    for (text, is_whole) in [
        (r#"{"a":"<<x_key>>"}"#, Some(true)),
        (r#"["<<x_key>>"]"#, Some(true)),
        (r#"["a" , "<<x_key>>" , 1]"#, Some(true)),
        (r#"{"a":["<<x_key>>"}"#, Some(false)),
        (r#"{"a":"<<x_key>>"]"#, Some(false)),
        (r#"["<<x_key>>":"#, Some(false)),
        (r#"["<<x_key>>" he said"#, Some(false)),
        (r#"["a" "<<x_key>>"]"#, Some(false)),
        (r#"{"<<x_key>>":1}"#, Some(false)),
        (r#"{"<<x_key>>","a"}"#, Some(false)),
        (r#"{"a":"use <<x_key>>"}"#, Some(false)),
        (r#"{"a":"<<x_key>> now"}"#, Some(false)),
        (r#"{"a":"say \"<<x_key>>\" now"}"#, Some(false)),
        (r#"{"a":"\\"<<x_key>>""#, Some(false)),
        (r#"{"a":"<<x_key>>"#, None),
        (r#"{"a":"<<x_key>>""#, None),
        (r#"{"a":"<<x_key>>"  "#, None),
        (r#""<<x_key>>""#, None),
    ] {
        assert_eq!(whole(JsonTexts::Any, text, false), is_whole, "{text}");
        if is_whole.is_none() {
            assert_eq!(whole(JsonTexts::Any, text, true), Some(!text.starts_with('{')), "{text}, and nothing more");
        }
    }
    let far = format!("[\"<<x_key>>\"{}", " ".repeat(MAX_SPACE));
    assert_eq!(whole(JsonTexts::Any, &far, false), Some(false));
}

#[test]
fn a_string_alone_is_a_value_where_the_type_says_so() {
    for (text, one, many, any, lines) in [
        ("\"<<x_key>>\"", false, false, true, true),
        ("\"<<x_key>>\" ", false, false, true, true),
        ("\"<<x_key>>\" 1", false, false, false, false),
        ("\"<<x_key>>\" [1]", false, false, false, false),
        ("\"<<x_key>>\"\n[1]", false, false, false, true),
        ("\"<<x_key>>\"\nhe said", false, false, false, false),
        ("1\n\"<<x_key>>\"", false, false, false, true),
        ("[1] \"<<x_key>>\"", false, false, false, false),
        ("[1]\n\"<<x_key>>\"", false, false, false, true),
        ("[1]\n[\"<<x_key>>\"]", false, true, true, true),
        ("[1][\"<<x_key>>\"]", false, true, true, true),
        ("[\"<<x_key>>\"]", true, true, true, true),
    ] {
        let wanted = [(JsonTexts::One, one), (JsonTexts::Many, many), (JsonTexts::Any, any), (JsonTexts::Lines, lines)];
        for (texts, is_whole) in wanted {
            assert_eq!(whole(texts, text, true), Some(is_whole), "{texts:?}: {text}");
        }
    }
}

/// The pointer at each `*` string, as the parser tells it when the text comes in pieces of `cut` bytes.
fn pointers(pointers: &[&str], text: &str, cut: usize) -> Vec<String> {
    let mut tokens = JsonTokenizer::new(JsonTexts::Any, PointerPath::new(pointers.iter().copied()));
    let mut told = Vec::new();
    let mut pieces = text.split('*').peekable();
    while let Some(piece) = pieces.next() {
        piece.as_bytes().chunks(cut).for_each(|c| tokens.advance(c));
        if pieces.peek().is_some() {
            let pointer = tokens.pointer().filter(|_| tokens.in_fresh_value());
            told.push(pointer.unwrap_or("-").to_string());
            tokens.advance(b"*");
        }
    }
    told
}

#[test]
fn pointers_are_told_while_it_streams() {
    for (wanted, text, told) in [
        (vec!["/a"], r#"{"a":"*"}"#, "/a"),
        (vec!["/a"], r#"{"a":"x*"}"#, "-"),
        (vec!["/a"], r#"{"b":"*","a":"*"}"#, "- /a"),
        (vec!["/a"], r#"{"b":{"a":"*"},"a":"*"}"#, "- /a"),
        (vec!["/a/b"], r#"{"a":{"c":1,"b":"*"},"b":"*"}"#, "/a/b -"),
        (vec!["/0", "/2"], r#"["*",["*"],"*"]"#, "/0 - /2"),
        (vec!["/a/1/b"], r#"{"a":[{"b":"*"},{"b":"*"}]}"#, "- /a/1/b"),
        (vec!["/a~1b", "/m~0n", "/"], r#"{"a/b":"*","m~n":"*","":"*"}"#, "/a~1b /m~0n /"),
        (vec!["/é"], r#"{"\u00e9":"*","é":"*"}"#, "/é /é"),
        (vec!["/a"], r#"{"a":["*"],"b":{},"a":"*"}"#, "- /a"),
        (vec!["/a"], r#"{"a":1}{"a":"*"} {"b":[1,2.5e+3,true,null,[]],"a":"*"}"#, "/a /a"),
        (vec!["/a"], r#"{"\"a":"*","a":"*"}"#, "- /a"),
        (vec!["/a"], r#"{"b":"\\","a":"*"}"#, "/a"),
        (vec!["/a"], r#"{"b":"\"","a":"*"}"#, "/a"),
        (vec!["/a"], r#"{"aaaaaaaaaaaaaaaaaaaaaa":"*","a":"*"}"#, "- /a"),
        (vec!["/a"], r#"{"b":1,,"a":"*"}"#, "-"),
        (vec!["/a"], r#"{"b":1],"a":"*"}"#, "-"),
        (vec!["/a"], r#"{b:1,"a":"*"}"#, "-"),
        (vec!["/a"], r#""*""#, "-"),
    ] {
        for cut in [1, 2, 3, 1000] {
            assert_eq!(pointers(&wanted, text, cut).join(" "), told, "{text} in pieces of {cut}");
        }
    }
}

#[test]
fn depth_and_names_are_bounded() {
    let deep = |n: usize| format!("{}{}{{\"a\":\"*\"}}", "[".repeat(n), "]".repeat(n));
    assert_eq!(pointers(&["/a"], &deep(MAX_DEPTH), 7), ["/a"]);
    assert_eq!(pointers(&["/a"], &deep(MAX_DEPTH + 1), 7), ["-"]);

    let mut tokens = JsonTokenizer::new(JsonTexts::Any, PointerPath::new(["/abc"].into_iter()));
    tokens.advance(b"{\"");
    (0..1000).for_each(|_| tokens.advance(&[b'x'; 1000]));
    assert!(tokens.name_len() <= 19, "{}", tokens.name_len());
}

/// All pointers of string values in a document, in the order of the text.
fn walk(value: &serde_json::Value, path: &str, out: &mut Vec<String>) {
    match value {
        serde_json::Value::String(_) => out.push(path.to_string()),
        serde_json::Value::Array(all) => {
            all.iter().enumerate().for_each(|(i, v)| walk(v, &format!("{path}/{i}"), out));
        }
        serde_json::Value::Object(all) => {
            for (name, v) in all {
                walk(v, &format!("{path}/{}", name.replace('~', "~0").replace('/', "~1")), out);
            }
        }
        _ => {}
    }
}

fn documents() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::String("*".into())),
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<f32>().prop_map(|n| serde_json::json!(n)),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::btree_map("[^*]{0,4}", inner, 0..4).prop_map(|m| m.into_iter().collect()),
        ]
    })
}

/// Whether all of `text` is JSON, read in pieces of `cut` bytes.
fn is_json(texts: JsonTexts, text: &[u8], cut: usize) -> bool {
    let mut parser = JsonParser::new(texts, ["/a"].into_iter());
    text.chunks(cut).for_each(|piece| parser.advance(piece));
    parser.is_whole()
}

/// What serde_json says; `None` where it keeps to limits that JSON has not.
fn serde_says(text: &[u8]) -> Option<Vec<serde_json::Value>> {
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    match serde_json::Deserializer::from_slice(text).into_iter().collect::<Result<Vec<_>, _>>() {
        Ok(values) => Some(values),
        Err(e) if ["number out of range", "recursion limit"].iter().any(|limit| e.to_string().contains(limit)) => None,
        Err(_) => Some(Vec::new()),
    }
}

fn assert_agreement(text: &[u8], cut: usize) {
    let Some(values) = serde_says(text) else { return };
    let compound = |value: &serde_json::Value| value.is_array() || value.is_object();
    let compounds = !values.is_empty() && values.iter().all(compound);
    let said = text.escape_ascii();
    assert_eq!(is_json(JsonTexts::One, text, cut), compounds && values.len() == 1, "one: {said}");
    assert_eq!(is_json(JsonTexts::Many, text, cut), compounds, "many: {said}");
    assert_eq!(is_json(JsonTexts::Any, text, cut), compounds || values.len() == 1, "any: {said}");
    assert!(!is_json(JsonTexts::Lines, text, cut) || !values.is_empty(), "lines: {said}");
}

#[test]
fn valid_is_what_the_grammar_says() {
    for (text, valid) in [
        (&b"[0,-0,1,-12,0.5,-1.25,1e5,1E+5,0e-7,12.5e00]"[..], true),
        (b"[true,false,null,\"\",{},[],[[]],{\"\":{}}]", true),
        (b"[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uD83D\\uDE00\\ud7ff\\ue000\"]", true),
        (b"[\"\x7f\xc2\x80\xe2\x82\xac\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf\"]", true),
        (b"{\"a\":1,\"a\":2}", true),
        (b"\xef\xbb\xbf {\"a\":1} \r\n\t", true),
        (b"", false),
        (b" ", false),
        (b"\xef\xbb\xbf", false),
        (b"\xef\xbb[1]", false),
        (b" \xef\xbb\xbf[1]", false),
        (b"\xef\xbb\xbf\xef\xbb\xbf[1]", false),
        (b"[00]", false),
        (b"[-]", false),
        (b"[+1]", false),
        (b"[.5]", false),
        (b"[1.]", false),
        (b"[1e]", false),
        (b"[1e+]", false),
        (b"[0x1]", false),
        (b"[1_0]", false),
        (b"[truex]", false),
        (b"[tru]", false),
        (b"[NaN]", false),
        (b"[True]", false),
        (b"[1 2]", false),
        (b"[1,]", false),
        (b"[,1]", false),
        (b"{\"a\"}", false),
        (b"{\"a\":}", false),
        (b"{\"a\":1,}", false),
        (b"{1:1}", false),
        (b"{a:1}", false),
        (b"{'a':1}", false),
        (b"[1}", false),
        (b"[1]]", false),
        (b"[1", false),
        (b"[\"a", false),
        (b"[\"\n\"]", false),
        (b"[\"\0\"]", false),
        (b"[\"\\a\"]", false),
        (b"[\"\\u12\"]", false),
        (b"[\"\\u12x4\"]", false),
        (b"[\"\\ud800\"]", false),
        (b"[\"\\ud800x\"]", false),
        (b"[\"\\ud800\\n\"]", false),
        (b"[\"\\ud800\\u0041\"]", false),
        (b"[\"\\udc00\"]", false),
        (b"[\"\xff\"]", false),
        (b"[\"\xc2\"]", false),
        (b"[\"\xc0\xaf\"]", false),
        (b"[\"\xed\xa0\x80\"]", false),
        (b"[\"\xe0\x80\x80\"]", false),
        (b"[\"\xf4\x90\x80\x80\"]", false),
        (b"[1]\0", false),
        (b"[1]\x0c", false),
        (b"[1]//", false),
        (b"[/**/1]", false),
        (b"[1] he said", false),
    ] {
        for cut in [1, 2, 3, 1000] {
            assert_eq!(is_json(JsonTexts::One, text, cut), valid, "{} in pieces of {cut}", text.escape_ascii());
            assert_agreement(text, cut);
        }
    }
}

/// A document and what becomes of it when a few bytes are taken out, put in, changed or doubled.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => proptest::sample::select(b"\"\\{}[]:,. \n\t-+0123456789eEtrufalsn/u'\0\x1f\x7f\x80\xbf\xc2\xe2\xed\xf0\xff".to_vec()),
        1 => any::<u8>(),
    ];
    let text = proptest::collection::vec(documents(), 0..3).prop_flat_map(|all| {
        let texts: Vec<String> = all.iter().map(ToString::to_string).collect();
        proptest::sample::select(vec!["", " ", "\n"])
            .prop_map(move |between| texts.join(between).replace('*', "\\ud83d\\ude00\u{20ac}\\n"))
    });
    let edits = proptest::collection::vec((0..4u8, any::<proptest::sample::Index>(), byte), 0..4);
    (text, edits).prop_map(|(text, edits)| {
        let mut text = text.into_bytes();
        for (kind, at, byte) in edits {
            let at = at.index(text.len() + 1);
            match (kind, text.get(at).copied()) {
                (0, Some(_)) => drop(text.remove(at)),
                (1, Some(_)) => text[at] = byte,
                (2, Some(there)) => text.insert(at, there),
                _ => text.insert(at, byte),
            }
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_string_is_at_the_pointer_that_a_parser_gives_it(document in documents(), cut in 1..20usize) {
        let mut want = Vec::new();
        walk(&document, "", &mut want);
        let all: Vec<&str> = want.iter().map(String::as_str).filter(|p| !p.is_empty()).collect();
        let told = pointers(&all, &document.to_string(), cut);
        let told: Vec<String> = told.into_iter().map(|p| if p == "-" { String::new() } else { p }).collect();
        prop_assert_eq!(told, want);
    }

    #[test]
    fn valid_is_what_a_parser_says(text in mutated(), cut in 1..20usize) {
        assert_agreement(&text, cut);
    }

    #[test]
    fn what_is_no_document_is_told_as_a_parser_tells_it(text in "[\\[\\]{}\":,0-2tnrue.\\\\ \n-]{0,12}", cut in 1..5usize) {
        assert_agreement(text.as_bytes(), cut);
    }

    #[test]
    fn the_first_fault_is_the_end_however_it_is_cut(text in mutated(), cut in 1..20usize) {
        // what a prefix is doesn't depend on how it came
        for end in 0..=text.len() {
            let (mut uncut, mut pieces) = [(); 2].map(|()| JsonParser::new(JsonTexts::Lines, std::iter::empty())).into();
            uncut.advance(&text[..end]);
            text[..end].chunks(cut).for_each(|piece| pieces.advance(piece));
            prop_assert_eq!((uncut.is_lost(), uncut.is_whole()), (pieces.is_lost(), pieces.is_whole()));
        }
    }
}
