use super::*;
use std::sync::Arc;

const EXAMPLE: &str = include_str!("../../../config/locum.toml");

fn env(variables: &[(&str, &str)]) -> ConfigEnvironment {
    variables.iter().map(|(n, v)| (OsString::from(n), OsString::from(v))).collect()
}

/// Settings of a text, as if it stood in `/etc/locum.toml`.
fn settings(text: &str, variables: &[(&str, &str)]) -> (Settings, Vec<String>) {
    let (mut mistakes, path) = (Vec::new(), Path::new("/etc/locum.toml"));
    let env = env(&[&[("HOME", "/home/u")], variables].concat());
    let written = ConfigDocument::read(path, text, &mut mistakes);
    let state = state_path(&CliPaths::default(), &env, &mut mistakes);
    let settings = build(written, Some(path.into()), state, &env, &mut mistakes);
    (settings, mistakes.iter().map(ToString::to_string).collect())
}

fn mistakes(text: &str) -> Vec<String> {
    settings(text, &[]).1
}

/// The example with its commented tables in force.
fn uncommented() -> String {
    let in_force = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest.to_owned(),
        _ => line.to_owned(),
    };
    EXAMPLE.lines().map(in_force).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_is_the_defaults() {
    let (example, wrong) = settings(EXAMPLE, &[]);
    assert_eq!(wrong, [""; 0]);
    let (default, _) = settings("", &[]);
    assert_eq!(format!("{example:#?}"), format!("{default:#?}"));
}

#[test]
fn the_example_has_every_setting() {
    assert_eq!(mistakes(&uncommented()), [""; 0]);
    let mut written = ConfigDocument::read(Path::new("f"), &uncommented(), &mut Vec::new());
    for section in super::super::schema::SECTIONS {
        let tables = written.all(section.name);
        let table = tables.first().unwrap_or_else(|| panic!("[{}]", section.name));
        for known in section.settings {
            assert!(table.values.contains_key(known.name), "{} in [{}]", known.name, section.name);
        }
    }
}

#[test]
fn three_mistakes_are_three_messages() {
    let text = "[proxy]\nlisten = \"localhost\"\nintercpt = \"all\"\n\n[key.tool]\nwhere = [\"heder\"]\n";
    let wrong = mistakes(text);
    let starts = [
        "/etc/locum.toml:3:1: unknown setting 'intercpt'",
        "/etc/locum.toml:2:10: listen: ",
        "/etc/locum.toml:5:6: the key 'tool' has no hosts",
        "/etc/locum.toml:6:10: where: 'heder' is no place",
    ];
    assert_eq!(wrong.len(), starts.len(), "{wrong:#?}");
    for start in starts {
        assert!(wrong.iter().any(|w| w.starts_with(start)), "{start}: {wrong:#?}");
    }
}

#[test]
fn every_value_is_read_or_named() {
    for (text, said) in [
        ("[proxy]\nlisten = \"localhost:80\"", "listen: "),
        ("[proxy]\nintercept = \"bund\"", "did you mean 'bound'?"),
        ("[proxy]\negress = \"x\"", "such as \"open\" or \"listed\""),
        ("[proxy]\nallow = [\"*.com\"]", "public suffix"),
        ("[proxy]\nconnect_ports = [0]", "0 is not within 1 and 65535"),
        ("[proxy]\nconnect_ports = [80, 70000]", "70000 is not within"),
        ("[proxy]\nuids = [-1]", "-1 is not within"),
        ("[proxy]\nprivate_addresses = [\"10.0.0.0/33\"]", "is no address"),
        ("[proxy]\nupstream_proxy = \"socks://me:hunter2@p\"", "no http://, https:// or socks5h:// URL of a proxy"),
        ("[ca]\nsource = \"vualt\"", "there is no such source"),
        ("[audit]\ndurability = \"sync\"", "did you mean 'fsync'?"),
        ("[audit]\nmax_file = \"1kB\"", "is not within 100kB and 4GB"),
        ("[audit]\nmax_file = \"large\"", "'large' is no size"),
        ("[audit]\nkeep_for = \"long\"", "'long' is no time to keep"),
        ("[audit]\nkeep_size = \"10\"", "such as \"10GB\""),
        ("[anomaly]\nrate_per_minute = 0", "0 is not within 1"),
        ("[anomaly]\nerrors = -5", "-5 is not within 1"),
        ("[anomaly]\nlarge_response = \"10 parsec\"", "is no size"),
        ("[anomaly]\naction = \"refus\"", "did you mean 'refuse'?"),
        ("[anomaly]\nwebhook = \"http://hooks.example/hunter2\"", "beyond it takes https://"),
        ("[anomaly]\nwebhook = \"https://me:hunter2@hooks.example/\"", "leave the user out"),
        ("[key.my-tool]\nhosts = [\"a.example\"]", "try 'my_tool'"),
        ("[key.tool_key]\nhosts = [\"a.example\"]", "try 'tool'"),
        ("[key.opnai]\nsource = \"auto\"", "did you mean [key.openai]"),
        ("[key.t]\nhosts = []", "without a host goes nowhere"),
        ("[key.openai]\nwhere = []", "without a place goes nowhere"),
        ("[key.t]\nhosts = [\"http://a.example\"]", "unencrypted beyond this machine"),
        ("[key.t]\nhosts = [\"a.example/v1\"]", "put it into `paths`"),
        ("[key.openai]\nmethods = [\"get\"]", "write 'GET'"),
        ("[key.openai]\nmethods = [\"TRACE\"]", "is refused"),
        ("[key.openai]\npaths = [\"/a/../b\"]", "two ways"),
        ("[key.openai]\nmax_uses = 0", "0 is not within 1"),
        ("[key.openai]\nlifetime = \"1h\"", "it is for a source that is exec or file, and not 'auto'"),
        ("[key.openai]\nsource = \"file:x\"\nlifetime = \"soon\"", "'soon' is no time to wait"),
        ("[key.openai]\nsource = \"env:A B\"", "the name of a variable"),
        ("[key.openai]\nsource = 'exec:[\"op\"]'", "absolute program"),
        ("[key.openai]\nplaceholder = \"sk-0\"", "16 at least"),
        ("[key.openai]\nplaceholder = \"sk-<<openai_key>>000\"", "letters, digits"),
        ("[key.openai]\nplaceholder = \"0000000000000000\"", "different characters"),
        ("[key.openai]\ninject = \"Authorization: Bearer x\"", "holds '<<openai_key>>' once"),
        ("[key.openai]\ninject = \"Authorization: <<openai_key>> <<brave_key>>\"", "no other placeholder"),
        ("[key.openai]\ninject = \"X-Other: <<openai_key>>\"", "not among the places"),
        ("[key.openai]\ninject = \"Host: <<openai_key>>\"", "frames or routes"),
        ("[key.openai]\ninject = \"<<openai_key>>\"", "no header line"),
        ("[agent.a]\nkeys = [\"opnai\"]", "did you mean 'openai'?"),
        ("[agent.a]\nrate = \"60/fortnight\"", "is no rate"),
        ("[agent.A]\nrate = \"60/min\"", "is no agent name"),
    ] {
        let wrong = mistakes(text);
        assert_eq!(wrong.len(), 1, "{text}: {wrong:#?}");
        assert!(wrong[0].contains(said) && wrong[0].contains("\n  "), "{text}: {}", wrong[0]);
        assert!(!wrong[0].contains("hunter2"), "{}", wrong[0]);
    }
}

#[test]
fn two_keys_are_not_added_in_one_header_to_the_same_requests() {
    let key = |name: &str, rest: &str| {
        format!("[key.{name}]\nhosts = [\"a.example\"]\ninject = \"X-Key: <<{name}_key>>\"\n{rest}")
    };
    let agents = "[agent.x]\nkeys = [\"one\"]\n[agent.y]\nkeys = [\"two\"]\n";
    for (text, compete) in [
        (key("one", "") + &key("two", ""), true),
        (key("one", "paths = [\"/v1/**\"]\n") + &key("two", ""), true),
        (key("one", "paths = [\"/v1/*\"]\n") + &key("two", "paths = [\"/*/models\"]\n"), true),
        (key("one", "paths = [\"/v1/*\"]\n") + &key("two", "paths = [\"/v2/*\"]\n"), false),
        (key("one", "methods = [\"GET\"]\n") + &key("two", "methods = [\"POST\"]\n"), false),
        (key("one", "") + &key("two", "").replace("X-Key", "Y-Key"), false),
        (key("one", "") + &key("two", "").replace("a.example", "a.example:8443"), false),
        (key("one", "") + &key("two", "").replace("a.example", "b.example"), false),
        (key("one", "") + &key("two", "") + agents, false),
        (key("one", "") + &key("two", "") + agents + "[agent.z]\n", true),
    ] {
        let wrong = mistakes(&text);
        assert_eq!(wrong.len(), usize::from(compete), "{text}: {wrong:#?}");
        assert!(wrong.iter().all(|told| told.contains("'one' is added to the same requests")), "{wrong:#?}");
    }
}

#[test]
fn a_source_that_is_a_key_is_not_repeated() {
    let wrong = mistakes("[key.openai]\nsource = \"sk-proj-abcdef\"\n[key.brave]\nsource = \"env:sk-abcdef\"");
    assert_eq!(wrong.len(), 2);
    assert!(!wrong.concat().contains("abcdef"), "{wrong:#?}");
}

#[test]
fn look_alikes_are_told_apart() {
    let table = |name, text| format!("[key.{name}]\nplaceholder = \"{text}\"\n");
    for (a, b, count) in [
        ("sk-test-0123456789", "sk-test-9876543210", 0),
        ("sk-test-0123456789", "sk-test-0123456789", 1),
        ("sk-test-0123456789", "sk-test-0123456789-longer", 1),
    ] {
        let wrong = mistakes(&(table("openai", a) + &table("brave", b)));
        assert_eq!(wrong.len(), count, "{a} and {b}: {wrong:#?}");
    }
}

#[test]
fn a_catalog_key_inherits_what_its_table_leaves_out() {
    let (s, wrong) = settings("[key.brave]\nmethods = [\"GET\"]\nsource = \"file:brave.key\"", &[]);
    assert_eq!(wrong, [""; 0]);
    let brave = s.keys.iter().find(|k| k.name.as_str() == "brave").unwrap();
    assert_eq!(brave.rule.hosts[0].to_string(), "api.search.brave.com");
    assert_eq!(brave.rule.places[0].to_string(), "header:x-subscription-token");
    assert_eq!(brave.rule.methods, ["GET"]);
    assert_eq!(brave.source.to_string(), "file:/etc/brave.key");
    assert_eq!((brave.env[0].as_str(), brave.secret_from(b"BSAxyz")), ("BRAVE_API_KEY", 3));
    assert!(brave.at.is_some() && s.keys.iter().filter(|k| k.at.is_none()).count() > 20);
}

#[test]
fn a_key_of_ones_own_has_header_and_body() {
    let (s, wrong) = settings("[key.tool]\nhosts = [\"api.tool.example\", \"http://127.0.0.1:80\"]", &[]);
    assert_eq!(wrong, [""; 0]);
    let tool = s.keys.iter().find(|k| k.name.as_str() == "tool").unwrap();
    assert_eq!(tool.rule.places, [crate::place::Place::Header, crate::place::Place::Body]);
    assert_eq!((tool.env[0].as_str(), tool.rule.max_uses), ("TOOL_API_KEY", 4));
}

#[test]
fn paths_begin_where_they_are_written() {
    let text = "[ca]\nsource = \"file:ca.pem\"\nexport = \"~/ca.crt\"\n[audit]\ndir = \"log\"";
    let (s, wrong) = settings(text, &[("LOCUM_PROXY__UPSTREAM_CA", "a.pem,/b.pem")]);
    assert_eq!(wrong, [""; 0]);
    assert_eq!(s.ca.source, CaSource::File("/etc/ca.pem".into()));
    assert_eq!(s.ca.export.unwrap(), Path::new("/home/u/ca.crt"));
    assert_eq!(s.proxy.upstream_ca, [Path::new("a.pem"), Path::new("/b.pem")]);
    assert_eq!(s.audit.dir, Path::new("/home/u/.local/state/locum/log"));
}

#[test]
fn a_variable_outranks_the_file() {
    let text = "[proxy]\nlisten = \"127.0.0.1:1\"\nbraces = true";
    let (s, wrong) = settings(text, &[("LOCUM_PROXY__LISTEN", "127.0.0.1:2"), ("LOCUM_CONFIG", "/x")]);
    assert_eq!(wrong, [""; 0]);
    assert_eq!((s.proxy.listen.port(), s.proxy.braces), (2, true));
    let (_, wrong) = settings("", &[("LOCUM_PROXY__LISTEN", "x"), ("LOCUM_CA__SUORCE", "memory")]);
    assert!(wrong[0].starts_with("$LOCUM_CA__SUORCE: ") && wrong[1].starts_with("$LOCUM_PROXY__LISTEN: "), "{wrong:?}");
}

#[test]
fn places_follow_the_command_line_then_variables_then_xdg() {
    let found = |given: Option<&str>, variables: &[(&str, &str)]| {
        let given = CliPaths { config: given.map(PathBuf::from), state: None };
        config_path(&given, &env(variables)).map(|(p, named)| (p.display().to_string(), named))
    };
    let all = [("HOME", "/h"), ("XDG_CONFIG_HOME", "/x"), ("LOCUM_CONFIG", "/l")];
    assert_eq!(found(Some("/g"), &all), Some(("/g".into(), true)));
    assert_eq!(found(None, &all), Some(("/l".into(), true)));
    assert_eq!(found(None, &all[..2]), Some(("/x/locum/locum.toml".into(), false)));
    assert_eq!(found(None, &[("HOME", "/h"), ("XDG_CONFIG_HOME", "rel")]).unwrap().0, "/h/.config/locum/locum.toml");
    assert_eq!(found(None, &[]), None);
    let mut wrong = Vec::new();
    let state = |v: &[(&str, &str)], wrong: &mut Vec<Mistake>| state_path(&CliPaths::default(), &env(v), wrong);
    assert_eq!(state(&[("HOME", "/h")], &mut wrong), Path::new("/h/.local/state/locum"));
    assert_eq!(state(&[("XDG_STATE_HOME", "/s")], &mut wrong), Path::new("/s/locum"));
    assert!(wrong.is_empty());
    state(&[], &mut wrong);
    assert!(wrong[0].to_string().contains("--state DIR"));
}

#[cfg(unix)]
#[test]
fn files_that_others_could_write_are_refused_with_the_way_out() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (file, state) = (dir.path().join("locum.toml"), dir.path().join("state"));
    std::fs::write(&file, "[proxy]\nbraces = true\n").unwrap();
    std::fs::create_dir(&state).unwrap();
    let given = CliPaths { config: Some(file.clone()), state: Some(state.clone()) };
    for (file_mode, state_mode, said) in [
        (0o644, 0o700, ""),
        (0o666, 0o700, "chmod go-w "),
        (0o664, 0o700, "chmod go-w "),
        (0o600, 0o750, "chmod go-rwx "),
    ] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(file_mode)).unwrap();
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(state_mode)).unwrap();
        match Settings::load(&given, &ConfigEnvironment::default()) {
            Ok(s) => assert!(said.is_empty() && s.proxy.braces, "{file_mode:o}"),
            Err(e) => assert!(!said.is_empty() && e.to_string().contains(said), "{file_mode:o}: {e}"),
        }
    }
}

#[test]
fn a_named_file_has_to_be_there_and_a_default_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.toml");
    let given = CliPaths { config: Some(missing.clone()), state: None };
    let home = env(&[("HOME", dir.path().to_str().unwrap())]);
    let e = Settings::load(&given, &home).unwrap_err();
    assert_eq!(e.0[0].at, ConfigLocation::File(Arc::from(missing.as_path())));
    assert_eq!(Settings::load(&CliPaths::default(), &home).unwrap().file, None);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(
        section in "(proxy|ca|vault|audit|anomaly|key\\.[a-z_]{1,3}|agent\\.a)",
        n in 0usize..13,
        value in "\\PC{0,40}",
    ) {
        let base = section.split('.').next().unwrap_or("");
        let known = super::super::schema::section(base).unwrap().settings;
        let name = known[n % known.len()].name;
        for value in [format!("{value:?}"), format!("[{value:?}]"), value] {
            settings(&format!("[{section}]\n{name} = {value}\n"), &[]);
        }
    }
}
