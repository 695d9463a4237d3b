//! The command line, as a user and a script have it: exit codes, texts, and what other programs make of what it prints.

use crate::support::locum::{TOOL_KEY, finish, stderr, stdout, told};
use crate::support::terminal::on_terminal;
use crate::support::{Home, Serve, Terminal, Upstream};
use rustix::process::Signal;
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn help_names_every_command_and_wrong_usage_is_told() {
    let home = Home::bare("");
    let output = finish(&mut home.locum(&["--help"]));
    assert!(output.status.success());
    for command in ["demo", "run", "serve", "env", "check", "ca", "audit", "completions", "man"] {
        let listed =
            stdout(&output).lines().any(|l| l.trim_start().starts_with(&format!("{command} ")) || l.trim() == command);
        assert!(listed, "{command} is missing: {}", stdout(&output));
        let own = finish(&mut home.locum(&[command, "--help"]));
        assert!(own.status.success() && stdout(&own).contains("Usage:"), "{command}: {}", told(&own));
    }
    let output = finish(&mut home.locum(&["--version"]));
    assert_eq!(stdout(&output), format!("locum {}\n", env!("CARGO_PKG_VERSION")));
    for wrong in [&["no-such-command"][..], &["run"], &["serve", "--no-such"], &["completions", "no-such-shell"], &[]] {
        let output = finish(&mut home.locum(wrong));
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", told(&output));
    }
}

/// What each shell makes of `locum env`, by asking it.
#[test]
fn env_is_what_a_shell_can_evaluate() {
    let awkward = "it's \"$HOME\" `x` \\ \u{e9}";
    let home = Home::with("", "[key.tool]\nhosts = [\"api.tool.example\"]\n").set("PHP_INI_SCAN_DIR", awkward);
    let serve = home.serve();
    let home = &serve.home;
    let locum = format!(
        "'{}' --config '{}' --state '{}'",
        env!("CARGO_BIN_EXE_locum"),
        home.config().display(),
        home.state().display()
    );
    for (shell, script) in [
        ("bash", format!("eval \"$({locum} env --shell bash)\"; env -0")),
        ("dash", format!("eval \"$({locum} env --shell sh)\"; env -0")),
        ("zsh", format!("eval \"$({locum} env --shell zsh)\"; env -0")),
        ("fish", format!("{locum} env --shell fish | source; env -0")),
    ] {
        let mut command = home.command(shell);
        if shell == "zsh" {
            command.arg("-f");
        }
        let output = finish(command.args(["-c", &script]));
        assert!(output.status.success(), "{shell}: {}", told(&output));
        let env = stdout(&output);
        let vars: std::collections::HashMap<&str, &str> = env.split('\0').filter_map(|v| v.split_once('=')).collect();
        assert_eq!(vars.get("HTTPS_PROXY"), Some(&serve.proxy_url().as_str()), "{shell}: {}", told(&output));
        assert_eq!(vars["TOOL_API_KEY"], "<<tool_key>>", "{shell}");
        assert!(vars["PHP_INI_SCAN_DIR"].starts_with(awkward), "{shell}: {}", vars["PHP_INI_SCAN_DIR"]);
        let bundle = std::fs::read_to_string(vars["SSL_CERT_FILE"]).unwrap();
        assert!(bundle.contains("-----BEGIN CERTIFICATE-----"), "{shell}");
    }
}

/// A shell that has been set up is put back as it was, but for keys; what it holds meanwhile is no key to anybody.
#[test]
fn a_shell_that_env_has_set_up_is_put_back_and_its_placeholders_are_no_keys() {
    let home = Home::with("", "").set("HTTPS_PROXY", "http://proxy.example:1").set("NO_PROXY", "it's.example");
    let home = home.set("NODE_OPTIONS", "--no-warnings").set("GIT_CONFIG_COUNT", "0");
    let serve = home.serve();
    let locum = |serve: &Serve| {
        let (config, state) = (serve.home.config(), serve.home.state());
        format!("'{}' --config '{}' --state '{}'", env!("CARGO_BIN_EXE_locum"), config.display(), state.display())
    };
    let script = format!(
        "env | grep -v _API_KEY >before; eval \"$({0} env)\"; env >once; \
         eval \"$({0} env)\"; env >twice; cmp once twice; {0} check; echo $OPENAI_API_KEY; \
         eval \"$({0} env --unset)\"; env | grep -v _API_KEY >after; cmp before after; echo \"<$OPENAI_API_KEY>\"",
        locum(&serve)
    );
    let output = finish(serve.home.command("dash").args(["-c", &script]));
    let said = stdout(&output);
    assert!(said.contains("OPENAI_API_KEY holds a placeholder, which is no key"), "{}", told(&output));
    assert!(said.ends_with("<<openai_key>>\n<>\n"), "{}", told(&output));

    // a service of that shell has none
    let serve = serve.stop().set("OPENAI_API_KEY", "<<openai_key>>").serve();
    let said = serve.said();
    assert!(said.contains("OPENAI_API_KEY holds a placeholder, which is no key"), "{said}");
    serve.await_said(|line| line.trim_start().starts_with("keys: ") && !line.contains("openai"));
    // and where none runs there is nothing to set up
    let home = serve.stop();
    let output = finish(&mut home.locum(&["env"]));
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""), "{}", told(&output));
    let output = finish(&mut home.locum(&["env", "--unset"]));
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
}

/// A shell without a token would get 407 for everything.
#[test]
fn env_gives_a_token_or_a_word() {
    let serve = Home::with("", "").set("LOCUM_PROXY_TOKEN", "a-token-of-this-test-0123456789abcdef").serve();
    let output = finish(&mut serve.home.locum(&["env", "--shell", "json"]));
    let set: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    let with_token = format!("http://local:a-token-of-this-test-0123456789abcdef@{}", serve.address);
    assert_eq!(set["HTTPS_PROXY"], with_token, "{}", told(&output));
    let output = finish(serve.home.locum(&["env"]).env_remove("LOCUM_PROXY_TOKEN"));
    assert!(output.status.success(), "{}", told(&output));
    assert!(stderr(&output).contains("the service answers nobody without a token"), "{}", told(&output));
}

#[test]
fn completions_are_what_their_shells_accept() {
    let home = Home::bare("");
    let locum = env!("CARGO_BIN_EXE_locum");
    let bash = format!(
        "source <({locum} completions bash); complete -p locum >/dev/null && \
         COMP_WORDS=(locum ser) COMP_CWORD=1 && _clap_complete_locum locum ser locum && echo \"${{COMPREPLY[*]}}\""
    );
    for (shell, args, said) in [
        ("bash", ["-c", bash.as_str()], "serve"),
        (
            "zsh",
            [
                "-c",
                &format!("autoload -U compinit; compinit -u; source <({locum} completions zsh); echo $_comps[locum]"),
            ],
            "_locum",
        ),
        ("fish", ["-c", &format!("{locum} completions fish | source; complete -C 'locum ser'")], "serve"),
    ] {
        let output = finish(home.command(shell).args(args));
        assert!(output.status.success() && stdout(&output).contains(said), "{shell}: {}", told(&output));
    }
}

/// Names come from the config, the catalog and the state, and nobody is asked for a password.
#[test]
fn completions_know_the_names_of_keys_agents_and_hosts() {
    let config = "[key.zebra]\nhosts = [\"api.zebra.example\"]\n[agent.painter]\ntoken_file = \"token\"\n";
    let home = Home::bare(config).set("ANTHROPIC_API_KEY", TOOL_KEY);
    let added = finish(&mut home.locum(&["agent", "add", "researcher"]));
    assert!(added.status.success(), "{}", told(&added));
    let stored =
        crate::support::stores::locum(&home, &["key", "set", "tavily", "--stdin", "--store", "machine"], TOOL_KEY);
    assert!(stored.status.success(), "{}", told(&stored));
    let locum = env!("CARGO_BIN_EXE_locum");
    let completed = |line: &str| {
        let line = format!("locum --config {} --state {} {line}", home.config().display(), home.state().display());
        let script = format!(
            "source <({locum} completions bash); read -ra COMP_WORDS <<<'{line}x'; COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             word=${{COMP_WORDS[COMP_CWORD]%x}}; _clap_complete_locum locum \"$word\" - && printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let output = finish(home.command("bash").args(["-c", &script]));
        assert!(output.status.success() && stderr(&output).is_empty(), "{line}: {}", told(&output));
        stdout(&output).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(completed("key rotate "), ["tavily", "zebra"], "what a store has, and what has a table");
    assert_eq!(completed("key rotate z"), ["zebra"]);
    assert_eq!(completed("key remove t"), ["tavily"]);
    assert_eq!(completed("key set openr"), ["openrouter"]);
    assert_eq!(completed("audit query --key a"), ["anthropic"], "a variable is set");
    assert_eq!(completed("agent add painter --keys zebra,ta"), ["zebra,tavily"]);
    assert_eq!(completed("agent revoke "), ["painter", "researcher"]);
    assert_eq!(completed("run --agent p"), ["painter"]);
    assert_eq!(completed("key set tool --host api.openai"), ["api.openai.com"]);
    assert_eq!(completed("key set tool --host api.zeb"), ["api.zebra.example"]);
    assert_eq!(completed("key set tool --where que"), ["query", "query:NAME"]);
    assert_eq!(completed("key set tool --store v"), ["vault"]);
    assert_eq!(completed("sta"), ["status"]);
    assert_eq!(completed("key rotate --st"), ["--stdin", "--state"]);
    // a config with a mistake, or none, is no reason to say nothing
    home.write_config(&format!("{config}nonsense = 1\n"));
    assert_eq!(completed("key rotate z"), ["zebra"]);

    // as it is typed
    let mut bash = Terminal::bash(&home);
    bash.await_prompt();
    bash.press(&format!("export LOCUM_CONFIG={}; source <(locum completions bash)\n", home.config().display()));
    bash.await_prompt();
    bash.press("locum key rotate ze\t");
    bash.await_shown("locum key rotate zebra ");
    bash.press("\u{15}exit\n");
    bash.ended();
}

/// Other programs have completions of this kind too, and a variable for them.
#[test]
fn a_variable_of_other_programs_is_no_question_to_locum() {
    let home = Home::bare("").set("COMPLETE", "1");
    let output = finish(&mut home.locum(&["key", "list"]));
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn each_command_has_a_man_page() {
    let home = Home::bare("");
    let folder = home.path().join("man1");
    let output = finish(&mut home.locum(&["man", "--dir", "man1"]));
    assert!(output.status.success(), "{}", told(&output));
    let mut names: Vec<String> =
        std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(names.len() > 30 && stdout(&output).starts_with(&format!("{} pages", names.len())), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("help")), "{names:?}");
    let mut shown = home.command("man");
    shown.env("MANROFFOPT", "-ww").env("MAN_KEEP_STDERR", "1").env("MANWIDTH", "100").arg("--local-file");
    let shown = finish(shown.args(names.iter().map(|name| folder.join(name))));
    assert!(shown.status.success() && stderr(&shown).is_empty(), "{}", told(&shown));
    // each page that is named is there
    for name in &names {
        let page = std::fs::read_to_string(folder.join(name)).unwrap().replace("\\-", "-");
        for (named, _) in
            page.split_whitespace().filter_map(|word| word.split_once("(1)")).filter(|(named, _)| !named.is_empty())
        {
            assert!(names.contains(&format!("{named}.1")), "{name}: {named}");
        }
    }
    let page = finish(&mut home.locum(&["man", "key", "rotate"]));
    assert!(page.status.success(), "{}", told(&page));
    assert_eq!(page.stdout, std::fs::read(folder.join("locum-key-rotate.1")).unwrap());
    std::fs::write(home.path().join("rotate.1"), &page.stdout).unwrap();
    let text = stdout(&finish(home.command("man").args(["--local-file", "rotate.1"])));
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in ["locum-key-rotate - Give keys new values", "--stdin", "--config", "EXAMPLES", "SEE ALSO"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let wrong = finish(&mut home.locum(&["man", "key", "rotat"]));
    assert!(wrong.status.code() == Some(2) && stderr(&wrong).contains("did you mean 'rotate'"), "{}", told(&wrong));
}

#[test]
fn the_man_page_is_one() {
    let home = Home::bare("");
    let page = finish(&mut home.locum(&["man"]));
    assert!(page.status.success());
    let path = home.path().join("locum.1");
    std::fs::write(&path, &page.stdout).unwrap();
    let output =
        finish(home.command("man").env("MANROFFOPT", "-ww").env("MAN_KEEP_STDERR", "1").arg("--local-file").arg(&path));
    assert!(output.status.success(), "{}", told(&output));
    let text = stdout(&output);
    for words in ["NAME", "SYNOPSIS", "locum", "serve"] {
        assert!(text.contains(words), "{text}");
    }
    // each command is on it, and none is said to have a page of its own
    for words in ["LOCUM KEY SET", "LOCUM AUDIT QUERY", "--since", "EXAMPLES", "locum run -- claude"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("locum-key(1)") && !text.contains("locum\\-key"), "{text}");
}

#[test]
fn the_ca_shows_its_certificate_and_never_its_key() {
    let home = Home::bare("");
    let shown = finish(&mut home.locum(&["ca", "show"]));
    assert!(shown.status.success(), "{}", told(&shown));
    let json = finish(&mut home.locum(&["ca", "show", "--json"]));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let fingerprint = json["fingerprint_sha256"].as_str().unwrap();
    assert!(stdout(&shown).contains(fingerprint));

    let exported = finish(&mut home.locum(&["ca", "export"]));
    let pem = stdout(&exported);
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----") && !pem.contains("PRIVATE"), "{pem}");
    let file = home.path().join("exported.pem");
    let to_file = finish(home.locum(&["ca", "export", "--out"]).arg(&file));
    assert!(to_file.status.success(), "{}", told(&to_file));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), pem);
    let openssl = finish(home.command("openssl").args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(&file));
    assert!(stdout(&openssl).trim().ends_with(fingerprint), "{}", told(&openssl));
    // what is kept on the disk holds no key that could be read
    let mut found = Vec::new();
    files(&home.state(), &mut found);
    for path in found {
        let bytes = std::fs::read(&path).unwrap();
        assert!(memchr::memmem::find(&bytes, b"PRIVATE KEY").is_none(), "{}", path.display());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
    }
}

fn files(dir: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn the_audit_is_read_as_it_is_written() {
    let upstream = Upstream::start();
    let serve = Home::bound(&[&upstream]).serve();
    for version in ["--http1.1", "--http2"] {
        let output = serve.curl(&[version, "-f", "-H", "Authorization: Bearer <<tool_key>>", &upstream.url("/a/path")]);
        assert!(output.status.success(), "{}", told(&output));
    }
    // while it runs
    let tail = finish(&mut serve.home.locum(&["audit", "tail", "-n", "3"]));
    assert!(stdout(&tail).contains("substitution") && stdout(&tail).contains("/a/path"), "{}", told(&tail));
    let home = serve.stop();
    let json = finish(&mut home.locum(&["audit", "tail", "-n", "100", "--json"]));
    let lines: Vec<serde_json::Value> = stdout(&json).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines, home.audit());
    let events: Vec<&str> = lines.iter().map(|l| l["event"].as_str().unwrap()).collect();
    // its end is signed too
    assert_eq!((events.first(), &events[events.len() - 2..]), (Some(&"start"), &["stop", "admin"][..]));
    assert!(!stdout(&json).contains(TOOL_KEY));
}

#[test]
fn the_demo_shows_a_key_come_and_go() {
    let home = Home::bare("");
    let output = finish(&mut home.locum(&["demo"]));
    assert!(output.status.success(), "{}", told(&output));
    let text = stdout(&output);
    for words in ["HTTP/1.1", "HTTP/2", "agent sent", "upstream received", "came back", "audit", "<<demo_key>>"] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn a_healthcheck_tells_a_service_that_answers_from_one_that_does_not() {
    let serve = Home::with("", "").serve();
    let check = |serve: &Serve| {
        let mut command = serve.home.locum(&["serve", "--healthcheck"]);
        finish(command.env("LOCUM_PROXY__LISTEN", serve.address.to_string()))
    };
    assert!(check(&serve).status.success());
    let address = serve.address.to_string();
    let home = serve.stop();
    let output = finish(home.locum(&["serve", "--healthcheck"]).env("LOCUM_PROXY__LISTEN", address));
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
}

/// Reload, wipe and reload again, while requests go on.
#[tokio::test]
async fn signals_reload_and_wipe() {
    use crate::support::Http;
    use crate::support::client::none;
    let upstream = Upstream::start();
    let home = Home::with("", "");
    let unbound = std::fs::read_to_string(home.config()).unwrap();
    let bound = format!("{unbound}[key.tool]\nhosts = [\"{}\"]\nsource = \"file:tool.key\"\n", upstream.authority());
    home.write_config(&bound);
    let file = home.path().join("tool.key");
    std::fs::write(&file, TOOL_KEY).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let serve = home.serve();
    let mut client = serve.client(&upstream, Http::One).await;
    let mut status = async || {
        let request = client.request("GET", "/").header("authorization", "Bearer <<tool_key>>");
        client.ask(request.body(none()).unwrap()).await.status.as_u16()
    };
    assert_eq!(status().await, 200);
    serve.signal(Signal::USR2);
    serve.await_said(|line| line.contains("wiped"));
    assert_eq!(status().await, 503);
    serve.signal(Signal::HUP);
    serve.await_said(|line| line == "locum: reloaded");
    assert_eq!(status().await, 200);
    // a config that is wrong changes nothing
    serve.home.write_config(&format!("{bound}nonsense"));
    serve.signal(Signal::HUP);
    serve.await_said(|line| line.starts_with("locum: not reloaded"));
    assert_eq!(status().await, 200);
    assert_eq!(upstream.seen().len(), 3);
}

#[tokio::test]
async fn a_service_is_told_to_wipe_and_to_reload() {
    use crate::support::Http;
    use crate::support::client::none;
    let upstream = Upstream::start();
    let home = Home::bound(&[&upstream]);
    let config = std::fs::read_to_string(home.config()).unwrap();
    let bound = config.replace("[key.tool]\n", "[key.tool]\nsource = \"file:tool.key\"\n");
    home.write_config(&bound);
    let file = home.path().join("tool.key");
    std::fs::write(&file, TOOL_KEY).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let told_to = |home: &Home, command: &str| {
        let output = finish(&mut home.locum(&[command]));
        (output.status.code(), format!("{}{}", stdout(&output), stderr(&output)))
    };
    let (code, said) = told_to(&home, "wipe");
    assert!(code == Some(1) && said.contains("no service answers at") && said.contains("locum serve"), "{said}");

    let serve = home.serve();
    let mut client = serve.client(&upstream, Http::One).await;
    let mut status = async || {
        let request = client.request("GET", "/").header("x-api-key", "<<tool_key>>");
        client.ask(request.body(none()).unwrap()).await.status.as_u16()
    };
    assert_eq!(status().await, 200);
    if rustix::process::geteuid().is_root() {
        let locum = serve.home.locum(&["wipe"]);
        let mut stranger = serve.home.command("setpriv");
        stranger.args(["--reuid", "65534", "--clear-groups", "--"]).arg(locum.get_program()).args(locum.get_args());
        let output = finish(&mut stranger);
        assert!(
            output.status.code() == Some(1) && stderr(&output).contains("only the user that runs it"),
            "{}",
            told(&output)
        );
        assert_eq!(status().await, 200);
    }
    // keys can be wiped however wrong the config is, which changes nothing else
    serve.home.write_config(&format!("{bound}nonsense"));
    let (code, said) = told_to(&serve.home, "wipe");
    assert!(code == Some(0) && said.contains("until `locum reload`"), "{said}");
    assert_eq!(status().await, 503);
    let (code, said) = told_to(&serve.home, "reload");
    assert!(code == Some(1) && said.contains("locum.toml"), "{said}");
    assert_eq!(status().await, 503);
    serve.home.write_config(&bound);
    assert_eq!(told_to(&serve.home, "reload").0, Some(0));
    assert_eq!(status().await, 200);
}

/// People come from other tools, and type what they know.
#[test]
fn words_of_other_tools_are_understood() {
    let home = Home::bare("");
    let own = finish(&mut home.locum(&["key", "list"]));
    let theirs = finish(&mut home.locum(&["list-keys"]));
    assert_eq!((theirs.status.code(), stdout(&theirs)), (Some(0), stdout(&own)));
    for (words, usage) in [
        (["rotate", "--help"], "locum key rotate"),
        (["remove-key", "--help"], "locum key remove"),
        (["migrate-to-keyring", "--help"], "locum key migrate"),
    ] {
        let output = finish(&mut home.locum(&words));
        assert!(stdout(&output).contains(usage), "{}", told(&output));
    }
    let output = finish(&mut home.locum(&["serv"]));
    assert!(output.status.code() == Some(2) && stderr(&output).contains("'serve'"), "{}", told(&output));
}

/// Where a folder can be written and not read, what is written there can't be pressed to the disk; it is there.
#[test]
fn a_file_is_written_into_a_folder_that_can_not_be_read() {
    let home = Home::bare("");
    let folder = home.path().join("write-only");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o300)).unwrap();
    let locum = env!("CARGO_BIN_EXE_locum");
    // root is bound by it too without its capabilities
    let mut command = home.command(if rustix::process::geteuid().is_root() { "setpriv" } else { locum });
    if rustix::process::geteuid().is_root() {
        command.args(["--bounding-set=-all", "--inh-caps=-all", locum]);
    }
    command.arg("--config").arg(home.config()).arg("--state").arg(home.state()).args([
        "ca",
        "export",
        "--out",
        "write-only/ca.pem",
    ]);
    let output = finish(&mut command);
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let pem = std::fs::read_to_string(folder.join("ca.pem")).unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
}

/// `locum … | head` ends as well as the command does.
#[test]
fn a_reader_who_leaves_is_no_reason_to_panic() {
    let home = Home::bare("");
    for arguments in [&["demo"][..], &["check"], &["--help"], &["audit", "query"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let errors = writer.try_clone().unwrap();
        let mut command = home.locum(arguments);
        let status = command.stdout(writer).stderr(errors).status().unwrap();
        assert!(status.code().is_some_and(|code| code != 101), "{arguments:?}: {status}");
    }
}

/// What is read by programs is all there, or the command has failed.
#[test]
fn an_output_that_is_not_all_there_is_told() {
    let home = Home::bare("");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = home.locum(&["demo"]).stdout(full).stderr(std::process::Stdio::piped()).output().unwrap();
    assert!(!output.status.success() && output.status.code() != Some(101), "{}", output.status);
    assert!(stderr(&output).contains("not all could be written to standard output"), "{}", stderr(&output));
}

/// On a terminal a table is never broken by its edge, and errors have colours unless nobody wants them.
#[test]
fn what_is_shown_on_a_terminal_suits_it() {
    let keys = "[key.tool]\nhosts = [\"api.tool.example\", \"*.somewhere.else.tool.example:8443\"]\n";
    for columns in [60, 80, 120] {
        let home = Home::bare(keys).set("COLUMNS", &columns.to_string()).set("TOOL_API_KEY", TOOL_KEY);
        let added = finish(&mut home.locum(&["agent", "add", "researcher", "--keys", "tool", "--expires", "30d"]));
        assert!(added.status.success(), "{}", told(&added));
        for args in [&["key", "list"][..], &["agent", "list"], &["audit", "stats"]] {
            let (shown, code) = on_terminal(&home, args, &[]);
            assert_eq!(code, Some(0), "{args:?}: {shown}");
            let long = shown.lines().find(|line| line.chars().count() > columns);
            assert_eq!(long, None, "{args:?} in {columns}: {shown}");
        }
        let listed = stdout(&finish(&mut home.locum(&["key", "list"])));
        assert!(listed.starts_with("KEY   PLACEHOLDER"), "in a pipe columns are as wide as they need: {listed}");
    }
    for (name, value, coloured) in [("NO_COLOR", "1", false), ("NO_COLOR", "", true), ("TERM", "dumb", false)] {
        let home = Home::bare("").set("TERM", "xterm").set(name, value);
        let vault = finish(home.locum(&["vault", "init"]).env("LOCUM_MASTER_PASSWORD", "correct horse battery"));
        assert!(vault.status.success(), "{}", told(&vault));
        for (args, said) in [
            (&["audit", "verify", "--signed-by", "none"][..], "is no public key"),
            (&["run", "--", "true"], "is used for the key that signs the audit"),
        ] {
            let (shown, _) = on_terminal(&home, args, &[]);
            assert!(shown.contains(said), "{shown}");
            assert_eq!(shown.contains('\u{1b}'), coloured, "{name}={value}: {shown}");
        }
    }
}

#[test]
fn help_says_what_an_option_takes() {
    let home = Home::bare("");
    let help = |args: &[&str]| stdout(&finish(&mut home.locum(args)));
    assert!(
        help(&["audit", "query", "--help"]).contains("substitution, unsent"),
        "{}",
        help(&["audit", "query", "--help"])
    );
    assert!(help(&["key", "set", "--help"]).contains("Examples:\n  locum key set openai"));
    let wrong = finish(&mut home.locum(&["audit", "query", "--event", "Exchange"]));
    assert!(wrong.status.code() == Some(2) && stderr(&wrong).contains("exchange"), "{}", told(&wrong));
    let export = finish(&mut home.locum(&["ca", "export", "--out", "none/ca.pem"]));
    assert!(stderr(&export).contains("name a file in a folder that is there"), "{}", told(&export));
    let agent = Home::bare("[agent.worker]\ntoken_file = \"token\"\n");
    let check = finish(&mut agent.locum(&["check"]));
    assert!(stdout(&check).contains("token: there is no such file"), "{}", told(&check));
}
