//! Where in a JSON text a placeholder stands: whether it is a whole string value, and at which pointer. It builds no document.

use super::finder::Behind;
use super::kind::{Dress, Sight, Spot};
use std::collections::HashMap;
use std::ops::Range;

/// Deeper than this, nothing is at a pointer.
const MAX_DEPTH: usize = 512;
/// So much space after a string is waited for, to see whether a colon makes it a name.
const MAX_SPACE: usize = 4096;

/// JSON, or JSON texts one after the other (NDJSON).
#[derive(Debug)]
pub(super) struct Walker {
    /// Only where a binding names a pointer: the rest needs no more than what stands around the placeholder.
    tokens: Option<Tokens>,
}

impl Walker {
    pub fn new<'p>(pointers: impl Iterator<Item = &'p str>) -> Self {
        let tree = Tree::new(pointers);
        Self { tokens: (tree.nodes.len() > 1).then(|| Tokens::new(tree)) }
    }

    pub fn advance(&mut self, bytes: &[u8]) {
        if let Some(tokens) = &mut self.tokens {
            tokens.advance(bytes);
        }
    }

    pub fn sight(&self, hay: &[u8], at: &Range<usize>, behind: &Behind, last: bool) -> Sight<'_> {
        let Some(whole) = whole_value(hay, at, behind, last) else { return Sight::More };
        Sight::Spot(Spot {
            whole,
            field: None,
            pointer: self.tokens.as_ref().and_then(Tokens::pointer),
            lost: self.tokens.as_ref().is_some_and(|t| t.state == State::Lost),
            dress: Dress::Json,
        })
    }
}

/// Whether a placeholder is all of a string, and the string no name. `None` where the bytes end before that is known.
///
/// In a valid text a `"` before a placeholder opens a string, since nothing but structure can follow one that closes it.
fn whole_value(hay: &[u8], at: &Range<usize>, behind: &Behind, last: bool) -> Option<bool> {
    if behind.byte(hay, at.start, 1) != Some(b'"') || behind.escaped(hay, at.start, 1) {
        return Some(false);
    }
    match hay.get(at.end) {
        Some(b'"') => {}
        None if !last => return None,
        _ => return Some(false),
    }
    let after = hay.get(at.end + 1..).unwrap_or_default();
    match after.iter().take(MAX_SPACE).find(|b| !is_space(**b)) {
        Some(b) => Some(*b != b':'),
        None if after.len() >= MAX_SPACE => Some(false),
        None => last.then_some(true),
    }
}

pub(super) fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r')
}

/// The pointers as a tree, so that one walk serves them all.
#[derive(Debug)]
struct Tree {
    nodes: Vec<Node>,
    /// The longest name in any of them, escaped in the most verbose way.
    longest: usize,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<String, usize>,
    /// The pointer that ends here.
    pointer: Option<String>,
}

impl Tree {
    const ROOT: usize = 0;

    fn new<'p>(pointers: impl Iterator<Item = &'p str>) -> Self {
        let mut tree = Self { nodes: vec![Node::default()], longest: 0 };
        for pointer in pointers {
            let mut at = Self::ROOT;
            for token in pointer.split('/').skip(1) {
                let name = token.replace("~1", "/").replace("~0", "~");
                tree.longest = tree.longest.max(name.len() * 6);
                at = tree.child_or_new(at, name);
            }
            tree.nodes[at].pointer = Some(pointer.to_string());
        }
        tree
    }

    fn child_or_new(&mut self, at: usize, name: String) -> usize {
        let new = self.nodes.len();
        let child = *self.nodes[at].children.entry(name).or_insert(new);
        if child == new {
            self.nodes.push(Node::default());
        }
        child
    }

    fn child(&self, at: Option<usize>, name: &str) -> Option<usize> {
        self.nodes.get(at?)?.children.get(name).copied()
    }

    fn element(&self, at: Option<usize>, index: u64) -> Option<usize> {
        at.and_then(|at| self.child(Some(at), &index.to_string()))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    /// A value, or the end of an array that has none.
    FirstValue,
    Name,
    /// A name, or the end of an object that has none.
    FirstName,
    Colon,
    /// A comma, or the end of what is open.
    Next,
    /// In a number, `true`, `false` or `null`.
    Literal,
    InName {
        escaped: bool,
    },
    InString {
        escaped: bool,
        /// Nothing but the opening quote has gone by.
        fresh: bool,
    },
    /// It was no JSON after all, or too deep: nothing is at a pointer any more.
    Lost,
}

#[derive(Debug)]
struct Frame {
    /// The index of the element at hand; `None` in an object.
    index: Option<u64>,
    node: Option<usize>,
}

/// Reads tokens as far as to know the pointer of each value; strings are skipped by their quotes.
#[derive(Debug)]
struct Tokens {
    tree: Tree,
    state: State,
    stack: Vec<Frame>,
    /// The name being read, escapes and all; cut where it is longer than any that matters.
    name: Vec<u8>,
    /// Where in the tree the value at hand is.
    here: Option<usize>,
}

impl Tokens {
    fn new(tree: Tree) -> Self {
        Self { tree, state: State::Value, stack: Vec::new(), name: Vec::new(), here: Some(Tree::ROOT) }
    }

    /// The pointer of the string value that is just about to begin.
    fn pointer(&self) -> Option<&str> {
        match self.state {
            State::InString { fresh: true, .. } => self.tree.nodes.get(self.here?)?.pointer.as_deref(),
            _ => None,
        }
    }

    fn advance(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let rest = &bytes[at..];
            at += match self.state {
                State::Lost => return,
                State::InString { escaped, .. } => self.string(rest, escaped),
                State::InName { escaped } => self.name(rest, escaped),
                State::Literal if matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'+' | b'-' | b'.') => 1,
                State::Literal => {
                    self.close_value();
                    0
                }
                _ if is_space(byte) => 1,
                _ => {
                    self.structure(byte);
                    1
                }
            };
        }
    }

    fn string(&mut self, rest: &[u8], escaped: bool) -> usize {
        let mut at = usize::from(escaped);
        while let Some(stop) = memchr::memchr2(b'"', b'\\', rest.get(at..).unwrap_or_default()) {
            at += stop + 1;
            if rest[at - 1] == b'"' {
                self.close_value();
                return at;
            }
            at += 1;
        }
        // Beyond the end where a backslash was the last byte: what it escapes is still to come.
        self.state = State::InString { escaped: at > rest.len(), fresh: false };
        rest.len()
    }

    fn name(&mut self, rest: &[u8], escaped: bool) -> usize {
        let stop = if escaped { 0 } else { memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len()) };
        let taken = (stop + 1).min(rest.len());
        let room = (self.tree.longest + 1).saturating_sub(self.name.len());
        self.name.extend(rest.iter().take(taken.min(room)));
        match rest.get(stop) {
            Some(b'"') if !escaped => self.close_name(),
            Some(b'\\') if !escaped => self.state = State::InName { escaped: true },
            _ => self.state = State::InName { escaped: false },
        }
        taken
    }

    fn close_name(&mut self) {
        self.state = State::Colon;
        let parent = self.stack.last().and_then(|frame| frame.node);
        // `name` ends with its closing quote, unless it was cut.
        self.here = match parent.and_then(|_| serde_json::from_slice::<String>(&[b"\"", &self.name[..]].concat()).ok())
        {
            Some(name) => self.tree.child(parent, &name),
            None => None,
        };
        self.name.clear();
    }

    fn structure(&mut self, byte: u8) {
        use State::*;
        self.state = match (self.state, byte) {
            (Value | FirstValue, b'"') => InString { escaped: false, fresh: true },
            (Value | FirstValue, b'{') => self.open(None),
            (Value | FirstValue, b'[') => self.open(Some(0)),
            (Value | FirstValue, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => Literal,
            (FirstName | Name, b'"') => InName { escaped: false },
            (Colon, b':') => Value,
            (Next, b',') => self.comma(),
            (FirstValue | Next, b']') => self.close(true),
            (FirstName | Next, b'}') => self.close(false),
            _ => Lost,
        };
    }

    fn open(&mut self, index: Option<u64>) -> State {
        if self.stack.len() == MAX_DEPTH {
            return State::Lost;
        }
        let node = self.here.take();
        self.stack.push(Frame { index, node });
        match index {
            None => State::FirstName,
            Some(first) => {
                self.here = self.tree.element(node, first);
                State::FirstValue
            }
        }
    }

    fn comma(&mut self) -> State {
        let Some(frame) = self.stack.last_mut() else { return State::Lost };
        let Some(index) = &mut frame.index else { return State::Name };
        *index += 1;
        self.here = self.tree.element(frame.node, *index);
        State::Value
    }

    fn close(&mut self, array: bool) -> State {
        match self.stack.pop() {
            Some(frame) if frame.index.is_some() == array => {
                self.close_value();
                self.state
            }
            _ => State::Lost,
        }
    }

    fn close_value(&mut self) {
        if self.stack.is_empty() {
            self.here = Some(Tree::ROOT);
            self.state = State::Value;
        } else {
            self.state = State::Next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(text: &str) -> Option<bool> {
        let start = text.find("<<").unwrap();
        whole_value(text.as_bytes(), &(start..start + 9), &Behind::default(), false)
    }

    #[test]
    fn a_whole_value_is_known_by_what_stands_around_it() {
        for (text, is_whole) in [
            (r#"{"a":"<<x_key>>"}"#, Some(true)),
            (r#"["<<x_key>>"]"#, Some(true)),
            (r#"["a" , "<<x_key>>" , 1]"#, Some(true)),
            (r#"{"<<x_key>>":1}"#, Some(false)),
            ("{\"<<x_key>>\" \t\r\n:1}", Some(false)),
            (r#"{"a":"use <<x_key>>"}"#, Some(false)),
            (r#"{"a":"<<x_key>> now"}"#, Some(false)),
            (r#"{"a":"say \"<<x_key>>\" now"}"#, Some(false)),
            (r#"{"a":"\\"<<x_key>>""#, None),
            (r#"{"a":"<<x_key>>"#, None),
            (r#"{"a":"<<x_key>>""#, None),
            (r#"{"a":"<<x_key>>"  "#, None),
        ] {
            assert_eq!(whole(text), is_whole, "{text}");
        }
        let far = format!("[\"<<x_key>>\"{}", " ".repeat(MAX_SPACE));
        assert_eq!(whole(&far), Some(false));
    }

    /// The pointer at each `*` string, as the walker tells it when the text comes in pieces of `cut` bytes.
    fn pointers(pointers: &[&str], text: &str, cut: usize) -> Vec<String> {
        let mut tokens = Tokens::new(Tree::new(pointers.iter().copied()));
        let mut told = Vec::new();
        let mut pieces = text.split('*').peekable();
        while let Some(piece) = pieces.next() {
            piece.as_bytes().chunks(cut).for_each(|c| tokens.advance(c));
            if pieces.peek().is_some() {
                told.push(tokens.pointer().unwrap_or("-").to_string());
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

        let mut tokens = Tokens::new(Tree::new(["/abc"].into_iter()));
        tokens.advance(b"{\"");
        (0..1000).for_each(|_| tokens.advance(&[b'x'; 1000]));
        assert!(tokens.name.len() <= 19, "{}", tokens.name.len());
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

    proptest! {
        #[test]
        fn every_string_is_at_the_pointer_that_a_parser_gives_it(document in documents(), cut in 1..20usize) {
            let mut want = Vec::new();
            walk(&document, "", &mut want);
            let all: Vec<&str> = want.iter().map(String::as_str).filter(|p| !p.is_empty()).collect();
            let told = pointers(&all, &document.to_string(), cut);
            let told: Vec<String> = told.into_iter().map(|p| if p == "-" { String::new() } else { p }).collect();
            prop_assert_eq!(told, want);
        }
    }
}
