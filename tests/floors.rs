//! The walls of the house: rooms import only from floors below their own, files of a room don't import each other in circles,
//! and no folder holds more than can be overlooked. Read from the sources: `use` and paths that begin with `crate`, `super`,
//! `self` or a child, followed through re-exports to the file that has the name; tests within a file don't count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of each floor, from the ground up.
const FLOORS: [&[&str]; 8] = [
    &["name", "place", "io", "system", "held_map"],
    &["record", "memory", "disk", "control"],
    &["policy", "rewrite", "chain", "anomaly", "metrics"],
    &["secrets", "ca", "upstream", "audit"],
    &["proxy"],
    &["config", "telemetry"],
    &["app", "confine", "trust_env"],
    &["cli"],
];
/// Files in one folder of the proxy, at most.
const FILES: usize = 10;

/// `crate::room::file`, without `crate`.
type Module = Vec<String>;

/// A file's code, and what it brings into its scope.
struct Source {
    code: String,
    /// Each name that a `use` brings, and the path that it stands for.
    names: BTreeMap<String, Module>,
    paths: Vec<Module>,
}

struct House(BTreeMap<Module, Source>);

impl House {
    /// `files` are a module each, with its text.
    fn new(files: impl IntoIterator<Item = (Module, String)>) -> Self {
        House(files.into_iter().map(|(module, text)| (module, Source::read(&text))).collect())
    }

    fn of_this_crate() -> Self {
        let src = src();
        let mut files = Vec::new();
        sources(&src, &mut files);
        let module = |file: &PathBuf| {
            let mut module =
                words(file.strip_prefix(&src).expect("below src").with_extension("").to_str().expect("a name"), "/");
            module.pop_if(|last| last == "mod");
            module
        };
        let files = files.iter().map(|file| (module(file), fs::read_to_string(file).expect("a file")));
        let is_of_a_room = |module: &Module| !["main", "lib"].contains(&module[0].as_str());
        Self::new(files.filter(|(module, _)| is_of_a_room(module) && !module.iter().any(|part| part == "tests")))
    }

    /// The module that has what a path in `from` names, as far as it is one of these.
    fn resolve(&self, from: &Module, path: &[String], depth: usize) -> Option<Module> {
        let (mut at, mut rest) = match path.first()?.as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (from.clone(), &path[1..]),
            "super" => {
                let up = path.iter().take_while(|part| *part == "super").count();
                (from[..from.len().checked_sub(up)?].to_vec(), &path[up..])
            }
            first => match self.0.get(from)?.names.get(first) {
                Some(target) if depth < 8 && target.as_slice() != path => {
                    return self.resolve(from, &[target, &path[1..]].concat(), depth + 1);
                }
                _ => (from.clone(), path),
            },
        };
        let start = at.len();
        while let Some(part) = rest.first() {
            let inner = [&at[..], std::slice::from_ref(part)].concat();
            if !self.0.contains_key(&inner) {
                break;
            }
            (at, rest) = (inner, &rest[1..]);
        }
        if ["crate", "self", "super"].contains(&path[0].as_str()) || at.len() > start {
            let exported = rest.first().and_then(|name| self.0.get(&at)?.names.get(name)).filter(|_| depth < 8);
            let followed = exported.and_then(|target| self.resolve(&at, &[target, &rest[1..]].concat(), depth + 1));
            return followed.or_else(|| self.0.contains_key(&at).then_some(at));
        }
        None
    }

    fn imports(&self, from: &Module) -> BTreeSet<Module> {
        let paths = self.0[from].paths.iter();
        paths.filter_map(|path| self.resolve(from, path, 0)).filter(|other| other != from).collect()
    }

    /// Files that import each other, be it by way of others.
    fn circles(&self) -> Vec<BTreeSet<Module>> {
        let direct: BTreeMap<&Module, BTreeSet<Module>> = self.0.keys().map(|m| (m, self.imports(m))).collect();
        let reach = |from: &Module| {
            let (mut seen, mut left) = (BTreeSet::new(), vec![from.clone()]);
            while let Some(next) = left.pop() {
                left.extend(direct[&next].iter().filter(|other| seen.insert((*other).clone())).cloned());
            }
            seen
        };
        let reached: BTreeMap<&Module, BTreeSet<Module>> = self.0.keys().map(|m| (m, reach(m))).collect();
        let circle = |from: &&Module| reached[*from].iter().filter(|m| reached[m].contains(*from)).cloned().collect();
        let circles: BTreeSet<BTreeSet<Module>> =
            self.0.keys().filter(|m| reached[m].contains(*m)).map(|m| circle(&m)).collect();
        circles.into_iter().collect()
    }
}

impl Source {
    fn read(text: &str) -> Self {
        let code = without_tests_and_comments(text);
        let (mut names, mut paths, mut rest) = (BTreeMap::new(), Vec::new(), String::new());
        for (i, statement) in code.split(';').enumerate() {
            let start = statement.rfind('\n').map_or(0, |at| at + 1);
            match use_of(&statement[start.min(statement.len())..]).or_else(|| use_of(statement.trim_start())) {
                Some(tree) => {
                    for (path, name) in expand(tree) {
                        names.insert(name, path.clone());
                        paths.push(path);
                    }
                }
                None => {
                    rest.push_str(if i == 0 { "" } else { ";" });
                    rest.push_str(statement);
                }
            }
        }
        paths.extend(inline(&rest));
        Self { code, names, paths }
    }
}

/// The tree of a `use`, if that is what a statement is.
fn use_of(statement: &str) -> Option<&str> {
    let at = statement.find("use ")?;
    let before = statement[..at].trim();
    (before.is_empty() || before.starts_with("pub") && !before.contains('{')).then(|| statement[at + 4..].trim())
}

/// Each path of a `use` tree, and the name that it brings.
fn expand(tree: &str) -> Vec<(Module, String)> {
    let Some(open) = tree.find('{') else {
        let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias)));
        let mut path = words(path.trim(), "::");
        path.pop_if(|last| last == "self");
        let name = alias.map_or_else(|| path.last().cloned().unwrap_or_default(), |alias| alias.trim().to_owned());
        return vec![(path, name)];
    };
    let (prefix, inner) = (&tree[..open], &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())]);
    let mut depth = 0;
    let parts = inner.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    let parts = parts.map(str::trim).filter(|part| !part.is_empty());
    parts.flat_map(|part| expand(&format!("{prefix}{part}"))).collect()
}

/// Paths in code, of two names at least.
fn inline(code: &str) -> Vec<Module> {
    let is_of_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let paths = code.split(|c| !is_of_path(c)).map(|path| path.trim_matches(':'));
    let begins = |path: &&str| path.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    paths.filter(|path| path.contains("::")).filter(begins).map(|path| words(path, "::")).collect()
}

fn without_tests_and_comments(text: &str) -> String {
    let mut lines = text.lines().peekable();
    let mut code = String::new();
    while let Some(line) = lines.next() {
        let inner = lines.peek().is_some_and(|next| next.contains("mod ") && next.ends_with('{'));
        if line.trim_start().starts_with("#[cfg(") && line.contains("test") && inner {
            break;
        }
        code.push_str(line.split("//").next().unwrap_or_default());
        code.push('\n');
    }
    code
}

fn words(path: &str, between: &str) -> Vec<String> {
    path.split(between).map(str::to_owned).collect()
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => sources(&path, found),
            false if path.extension().is_some_and(|e| e == "rs") => found.push(path),
            false => {}
        }
    }
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// `crate::` in front of any name, however it is written.
fn rooms_named(house: &House, module: &Module) -> BTreeSet<String> {
    let source = &house.0[module];
    let named = source.paths.iter().filter(|path| path[0] == "crate" && path.len() > 1).map(|path| path[1].clone());
    let known = |room: &String| source.code.contains("crate::") && *room != module[0];
    named.filter(known).collect()
}

#[test]
fn nothing_imports_from_its_own_floor_or_above() {
    let house = House::of_this_crate();
    let mut wrong = Vec::new();
    for module in house.0.keys() {
        let Some(own) = floor(&module[0]) else {
            wrong.push(format!("{} is on no floor", module[0]));
            continue;
        };
        let up =
            rooms_named(&house, module).into_iter().filter(|other| floor(other).is_none_or(|theirs| theirs >= own));
        wrong.extend(up.map(|other| format!("{}: crate::{other} is not below {}", module.join("/"), module[0])));
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn each_floor_has_only_rooms_that_exist() {
    let missing: Vec<&&str> = FLOORS
        .iter()
        .flat_map(|rooms| rooms.iter())
        .filter(|room| !src().join(room).is_dir() && !src().join(format!("{room}.rs")).is_file())
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let circles = House::of_this_crate().circles();
    let told: Vec<String> =
        circles.iter().map(|files| files.iter().map(|m| m.join("::")).collect::<Vec<_>>().join(", ")).collect();
    assert!(told.is_empty(), "\n{}", told.join("\n"));
}

#[test]
fn no_folder_of_the_proxy_has_more_files_than_can_be_overlooked() {
    let mut files = Vec::new();
    sources(&src().join("proxy"), &mut files);
    let mut folders: BTreeMap<&Path, usize> = BTreeMap::new();
    files.iter().filter_map(|file| file.parent()).for_each(|folder| *folders.entry(folder).or_default() += 1);
    let crowded: Vec<_> = folders.iter().filter(|(_, count)| **count > FILES).collect();
    assert!(crowded.is_empty(), "{crowded:?}");
}

#[test]
fn circles_are_found_however_a_file_imports() {
    let circles = |files: &[(&str, &str)]| {
        let files = files.iter().map(|(module, text)| (words(module, "::"), (*text).to_owned()));
        House::new(files).circles().iter().map(BTreeSet::len).collect::<Vec<_>>()
    };
    let none: [usize; 0] = [];
    assert_eq!(circles(&[("a", "use b::X;"), ("a::b", "use std::fmt;")]), none);
    assert_eq!(circles(&[("a", "use b::X;\nfn f() {}"), ("a::b", "use super::f;")]), [2]);
    assert_eq!(circles(&[("a", "fn f() { b::x() }"), ("a::b", "use crate::{a::{f, g}, c};")]), [2]);
    assert_eq!(
        circles(&[
            ("a", ""),
            ("a::b", "use super::c::X;"),
            ("a::c", "fn f() -> super::d::Y {}"),
            ("a::d", "use crate::a::b::Z;")
        ]),
        [3]
    );
    // a name that is only passed on is its maker's
    let passed_on = [("a", "mod b;\nmod c;\npub use b::X;"), ("a::b", "pub struct X;"), ("a::c", "use super::X;")];
    assert_eq!(circles(&passed_on), none);
    assert_eq!(circles(&[("a", "pub use b::X;"), ("a::b", "use super::c::Y;"), ("a::c", "use super::X;")]), [2]);
    // tests may look wherever they like
    let tested =
        [("a", "use b::X;"), ("a::b", "pub struct X;\n#[cfg(test)]\nmod tests {\n    use super::super::f;\n}")];
    assert_eq!(circles(&tested), none);
    assert_eq!(circles(&[("a", "// as crate::a::b does\nuse b::X;"), ("a::b", "pub struct X; // for super::f")]), none);
}

#[test]
fn imports_are_found_in_every_form() {
    for (text, rooms) in [
        ("use crate::name::Host;", vec!["name"]),
        ("use crate::{memory, record::{Event, Record}, ca};", vec!["ca", "memory", "record"]),
        ("fn f() -> crate::proxy::Config { super::y }", vec!["proxy"]),
        ("use mycrate::name;", vec![]),
    ] {
        let house = House::new([(words("here", "::"), text.to_owned())]);
        assert_eq!(Vec::from_iter(rooms_named(&house, &words("here", "::"))), rooms, "{text}");
    }
}

#[test]
fn what_the_guides_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for guide in ["CONTRIBUTING.md", "README.md", "SECURITY.md"] {
        let text = fs::read_to_string(root.join(guide)).expect("a guide");
        let named: Vec<&str> = text.split('`').skip(1).step_by(2).filter(|name| is_of_the_tree(name)).collect();
        let missing: Vec<_> = named.iter().filter(|name| !root.join(name).exists()).collect();
        assert!(missing.is_empty(), "{guide}: {missing:?}");
        assert!(guide != "CONTRIBUTING.md" || named.len() > 20, "{named:?}");
    }
}

/// Whether a name in code quotes is that of a file or folder here.
fn is_of_the_tree(name: &str) -> bool {
    let folders = ["src/", "config/", "tests/", "fuzz/", "benches/", "examples/", ".ci/"];
    folders.iter().any(|folder| name.starts_with(folder)) && !name.contains([' ', '*'])
}
