//! From nothing to the first substitution: a machine with only the binary, and what is typed on it.

use crate::support::authority::TRUSTED;
use crate::support::exit::Exit;
use crate::support::locum::{OPENAI_KEY, TOOL_KEY, finish, stderr, told};
use crate::support::{Home, Terminal, Upstream};

/// A user of a company whose proxy leads to the upstream, and who has no config. The CA of that company is trusted.
pub fn newcomer(exit: &Exit) -> Home {
    let home = Home::bare("");
    std::fs::remove_file(home.config()).expect("no config");
    let trusted = home.path().join("company.pem");
    std::fs::write(&trusted, &TRUSTED.pem).expect("a file");
    home.set("HTTPS_PROXY", &format!("http://{}", exit.address)).set("SSL_CERT_FILE", &trusted.to_string_lossy())
}

pub fn exit(upstream: &Upstream) -> Exit {
    Exit::to([("api.openai.com:443", upstream.address), ("api.tool.example:443", upstream.address)])
}

/// Types lines at a shell, and gives all that was shown.
fn typed(home: &Home, lines: &[&str]) -> String {
    let mut shell = Terminal::shell(home);
    for line in lines {
        shell.await_prompt();
        shell.press(&format!("{line}\n"));
    }
    shell.await_prompt();
    shell.press("exit\n");
    shell.ended().1
}

#[test]
fn a_key_in_a_variable_is_used_by_the_first_command() {
    let upstream = Upstream::start();
    let exit = exit(&upstream);
    let home = newcomer(&exit).set("OPENAI_API_KEY", OPENAI_KEY);
    let shown = typed(
        &home,
        &[r#"locum run -- curl -sS https://api.openai.com/v1/models -H "Authorization: Bearer <<openai_key>>""#],
    );
    assert!(shown.contains("locum: 1 substitution, 0 refusals"), "{shown}");
    assert_eq!(upstream.only().header("authorization"), Some(format!("Bearer {OPENAI_KEY}")));
    assert!(!shown.contains(OPENAI_KEY), "{shown}");
}

#[test]
fn a_key_of_ones_own_is_used_by_the_second_at_most() {
    let upstream = Upstream::start();
    let exit = exit(&upstream);
    let home = newcomer(&exit);
    let shown = typed(
        &home,
        &[
            &format!("export TOOL_API_KEY={TOOL_KEY}"),
            r#"locum run --key tool=TOOL_API_KEY@api.tool.example -- curl -sS https://api.tool.example/ -H "X-Api-Key: $TOOL_API_KEY""#,
            r#"locum run --key tool@api.tool.example -- sh -c 'curl -sS https://api.tool.example/ -H "X-Api-Key: $TOOL_API_KEY"'"#,
        ],
    );
    let seen = upstream.seen();
    assert_eq!(seen.len(), 2, "{shown}");
    assert_eq!(seen[1].header("x-api-key").as_deref(), Some(TOOL_KEY), "{shown}");
    // the first has the shell put the key itself in, which is no use of locum's
    assert!(shown.contains("locum: 0 substitutions") && shown.contains("locum: 1 substitution, 0 refusals"), "{shown}");
    assert!(!home.config().exists(), "nothing is written");
}

/// What the summary names is what makes it work.
#[test]
fn a_refusal_names_the_command_that_would_allow_it() {
    let upstream = Upstream::start();
    let exit = exit(&upstream);
    let home = newcomer(&exit).set("TOOL_API_KEY", TOOL_KEY);
    let config = home.path().join(".config/locum/locum.toml");
    let ask = ["curl", "-sS", "-o", "/dev/null", "https://api.tool.example/", "-H", "X-Api-Key: <<tool_key>>"];
    let plain = |args: &[&str]| finish(home.command(env!("CARGO_BIN_EXE_locum")).args(args));
    let locum = |args: &[&str], ask: &[&str]| plain(&[&["run"], args, &["--"], ask].concat());
    let next = |output: &std::process::Output| {
        let said = stderr(output);
        let (_, line) = said.rsplit_once("\n  next: ").unwrap_or_else(|| panic!("{}", told(output)));
        line.trim_end().to_owned()
    };
    let unknown = locum(&[], &ask);
    assert_eq!(
        next(&unknown),
        "if api.tool.example is to have it: locum run --key tool=TOOL_API_KEY@api.tool.example -- …"
    );
    let elsewhere = locum(&["--key", "tool=TOOL_API_KEY@api.other.example"], &ask);
    assert_eq!(
        next(&elsewhere),
        "if api.tool.example is to have it, too: locum run --key 'tool=TOOL_API_KEY@api.other.example,api.tool.example' -- …"
    );
    let allowed = locum(&["--key", "tool=TOOL_API_KEY@api.other.example,api.tool.example"], &ask);
    assert!(stderr(&allowed).contains("locum: 1 substitution, 0 refusals"), "{}", told(&allowed));

    // of a key with a table it is the table that is changed
    std::fs::create_dir_all(config.parent().expect("a folder")).expect("a folder");
    std::fs::write(&config, "[key.tool]\nhosts = [\"*.other.example\"]\nwhere = [\"header\"]\n").expect("a config");
    let bound = locum(&[], &ask);
    let line = next(&bound);
    assert_eq!(
        line,
        "if api.tool.example is to have it, too: locum key set tool --keep --host '*.other.example' --host api.tool.example"
    );
    let words = "key set tool --keep --host *.other.example --host api.tool.example".split(' ').collect::<Vec<_>>();
    let kept = plain(&words);
    assert!(kept.status.success(), "{}", told(&kept));
    let written = std::fs::read_to_string(&config).expect("a config");
    assert_eq!(written, "[key.tool]\nhosts = [\"*.other.example\", \"api.tool.example\"]\nwhere = [\"header\"]\n");
    let allowed = locum(&[], &ask);
    assert!(stderr(&allowed).contains("locum: 1 substitution, 0 refusals"), "{}", told(&allowed));

    // a place is no host
    let elsewhere =
        locum(&[], &["curl", "-sS", "-o", "/dev/null", "https://api.tool.example/?key=%3C%3Ctool_key%3E%3E"]);
    assert!(
        !stderr(&elsewhere).contains("\n  next: ") && stderr(&elsewhere).contains("1 refusal"),
        "{}",
        told(&elsewhere)
    );
    // a key that has no value yet
    let ask =
        ["curl", "-sS", "-o", "/dev/null", "https://api.openai.com/", "-H", "Authorization: Bearer <<openai_key>>"];
    assert_eq!(next(&locum(&[], &ask)), "'openai' has no value yet: set OPENAI_API_KEY, or locum key set openai");
}

#[test]
fn an_option_that_binds_nothing_is_told() {
    let home = Home::bare("").set("TOOL_API_KEY", TOOL_KEY);
    for (option, code, says) in [
        ("tool", 2, "it says nothing of 'tool'"),
        ("tool=tk-5f0c2d9be1a84763-real@api.tool.example", 2, "the name of a variable, and never a key"),
        ("tool=TOOL_API_KEY", 125, "--key tool: it says no host"),
        ("tool=NO_SUCH_VARIABLE@api.tool.example", 4, "NO_SUCH_VARIABLE is not set"),
        ("openai=TOOL_API_KEY@*.com", 2, "*.com"),
    ] {
        let output = finish(&mut home.locum(&["run", "--key", option, "--", "true"]));
        assert_eq!(output.status.code(), Some(code), "{option}: {}", told(&output));
        assert!(stderr(&output).contains(says), "{option}: {}", told(&output));
    }
}
