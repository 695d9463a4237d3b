use super::*;

fn mistakes(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    ConfigDocument::read(Path::new("f"), text, &mut all);
    all.iter().map(|m| format!("{} | {}", m.to_string().lines().next().unwrap_or(""), m.hint)).collect()
}

#[test]
fn each_mistake_has_its_line_and_the_nearest_name() {
    for (text, expected) in [
        ("[proxy]\nlistne = \"x\"", "f:2:1: unknown setting 'listne' in [proxy] | did you mean 'listen'?"),
        ("[proxi]\nlisten = \"x\"", "f:1:2: unknown table 'proxi' | did you mean [proxy]?"),
        ("listen = \"x\"", "f:1:1: 'listen' stands outside its table | it belongs under [proxy]"),
        (
            "[proxy]\nlisten = 8787",
            "f:2:10: 'listen' is a text in quotes, and this is a number | such as \"127.0.0.1:8787\"",
        ),
        ("[proxy]\nbraces = \"yes\"", "f:2:10: 'braces' is true or false, and this is a text | such as false"),
        (
            "[proxy]\nallow = [\n  \"a\",\n  3 ]",
            "f:4:3: 'allow' is a list of texts, and this is a number \
             | such as [\"docs.example\", \"*.tool.example\"]",
        ),
        (
            "[key.x]\nvalue = \"v\"",
            "f:2:1: unknown setting 'value' in [key] \
             | keys are never in this file: `locum key set NAME` stores one, or set `source`",
        ),
        (
            "[key]\nsource = \"auto\"",
            "f:2:1: 'source' stands in [key], which holds one table per name \
             | write it as [key.NAME], then its settings",
        ),
        ("proxy = 3", "f:1:1: 'proxy' is a table | write it as [proxy]"),
        ("[audit]\nlisten = \"x\"", "f:2:1: unknown setting 'listen' in [audit] | it belongs under [proxy]"),
    ] {
        assert_eq!(mistakes(text), [expected], "{text}");
    }
}

#[test]
fn a_fault_of_syntax_hides_nothing_on_other_lines() {
    let all = mistakes("[proxy]\nlisten = \nbracse = true\nallow = \"x\"\n[ca]\nsource = \"a\" \"b\"\n");
    let lines: Vec<&str> = all.iter().map(|m| m.split(':').nth(1).unwrap_or("")).collect();
    for line in ["2", "3", "4", "6"] {
        assert_eq!(lines.iter().filter(|l| **l == line).count(), 1, "line {line}: {all:#?}");
    }
}

#[test]
fn what_the_text_breaks_off_in_is_a_mistake() {
    for text in ["nonsense", "[proxy", "[proxy]\nlisten", "[proxy]\nlisten = ", "[proxy]\nlisten = \"x"] {
        let line = text.lines().count();
        let wrong = mistakes(text);
        assert!(
            wrong.iter().any(|m| m.starts_with(&format!("f:{line}:")) && m.contains("not TOML")),
            "{text}: {wrong:?}"
        );
    }
}

#[test]
fn an_open_bracket_is_one_mistake() {
    let wrong = mistakes("[proxy]\nx = 1\ndeny = [\"a\", \"b\"\n[ca]\nsource = \"memory\"\nexport = 3\n");
    let lines: Vec<&str> = wrong.iter().map(|m| m.split(" | ").next().unwrap_or("")).collect();
    assert_eq!(lines, ["f:3:8: not TOML: this bracket is never closed", "f:2:1: unknown setting 'x' in [proxy]"]);
}

#[test]
fn variables_set_single_settings() {
    let at = |v: &str| ConfigLocation::Variable(v.into());
    for (variable, text, section, setting, value) in [
        ("LOCUM_PROXY__LISTEN", "[::1]:1", "proxy", "listen", SettingValue::Text("[::1]:1".into())),
        ("LOCUM_PROXY__BRACES", "true", "proxy", "braces", SettingValue::Flag(true)),
        (
            "LOCUM_PROXY__UIDS",
            "1, 2",
            "proxy",
            "uids",
            SettingValue::Numbers(vec![(1, at("LOCUM_PROXY__UIDS")), (2, at("LOCUM_PROXY__UIDS"))]),
        ),
        (
            "LOCUM_PROXY__ALLOW",
            r#"["a"]"#,
            "proxy",
            "allow",
            SettingValue::Texts(vec![("a".into(), at("LOCUM_PROXY__ALLOW"))]),
        ),
        ("LOCUM_PROXY__DENY", "", "proxy", "deny", SettingValue::Texts(vec![])),
    ] {
        let mut written = ConfigDocument::default();
        written.set(variable, text).unwrap();
        assert_eq!(written.tables[section][0].values[setting].0, value, "{variable}");
    }
    for (variable, text, said) in [
        ("LOCUM_PROXY__LISTNE", "x", "did you mean LOCUM_PROXY__LISTEN?"),
        ("LOCUM_KEY__OPENAI__SOURCE", "x", "write them into the file"),
        ("LOCUM_PROXY__BRACES", "yes", "such as false"),
        ("LOCUM_PROXY__UIDS", "1,x", "such as [1001]"),
        ("LOCUM_FOO__BAR", "x", "LOCUM_SECTION__SETTING"),
    ] {
        let mistake = ConfigDocument::default().set(variable, text).unwrap_err();
        assert!(mistake.to_string().contains(said), "{mistake}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[\\[\\]a-z_=.\"'\n 0-9{},#\\\\é-]{0,120}") {
        mistakes(&text);
    }

    #[test]
    fn each_byte_has_a_line(text in "[a\né]{0,40}", byte in 0usize..100) {
        let source = SourceText::new(Path::new("f"), &text);
        let (line, column) = source.position(byte);
        proptest::prop_assert!(line >= 1 && column >= 1 && line <= text.matches('\n').count() + 1);
    }
}
