//! `locum run`: how it ends, what its child is given, and what signals and terminals make of the two.

use crate::support::locum::{TOOL_KEY, finish, stderr, stdout, told};
use crate::support::{Home, Terminal, Upstream};
use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

/// The ways to run a command, in which it ends, is stopped and talks as it would alone.
const WAYS: [&[&str]; 2] = [&[], CONFINED];
const CONFINED: &[&str] = if cfg!(target_os = "linux") { &["--confine=require"] } else { &[] };

/// What `locum run -- …` exits with.
#[test]
fn run_ends_as_its_child_does() {
    let home = Home::with("", "");
    let script = home.path().join("no-program");
    std::fs::write(&script, "text").unwrap();
    let script = script.to_string_lossy().into_owned();
    let cases = [
        (&["true"][..], 0),
        (&["false"], 1),
        (&["sh", "-c", "exit 77"], 77),
        (&["sh", "-c", "kill -TERM $$"], 128 + 15),
        (&["sh", "-c", "kill -KILL $$"], 128 + 9),
        (&["locum-test-no-such-program"], 127),
        (&[&script], 126),
        (&["/"], 126),
    ];
    for (options, (child, code)) in WAYS.into_iter().flat_map(|options| cases.map(|case| (options, case))) {
        let output = finish(home.locum(&[&["run"], options, &["--"]].concat()).args(child));
        assert_eq!(output.status.code(), Some(code), "{options:?} {child:?}: {}", told(&output));
    }
    let broken = Home::bare("[proxy]\nlisten = 5\n");
    let output = broken.run(&["true"]);
    assert_eq!(output.status.code(), Some(125), "{}", told(&output));
    let output = finish(&mut home.locum(&["run", "--no-such-option", "--", "true"]));
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
}

/// The summary says why, so that nobody has to look for it; of several refusals the last.
#[test]
fn run_tells_at_its_end_why_it_refused() {
    let upstream = Upstream::start();
    let home = Home::bound(&[&upstream]);
    let (url, elsewhere) = (upstream.url("/"), format!("https://10.0.0.1:{}/", upstream.port()));
    let script = format!(
        "curl -q -s --noproxy '' -o /dev/null -H 'x: <<openai_key>>' {url}; curl -q -s --noproxy '' -k -o /dev/null {elsewhere}; \
         curl -q -s --noproxy '' -o /dev/null -H 'x: <<nobody_key>>' {url}"
    );
    let output = home.run(&["sh", "-c", &script]);
    let summary = stderr(&output).lines().rfind(|line| line.starts_with("locum: ")).unwrap_or_default().to_owned();
    let (counts, why) = summary.split_once("; last refusal: ").unwrap_or_else(|| panic!("{}", told(&output)));
    assert_eq!(counts, "locum: 0 substitutions, 3 refusals, 0 scrubs");
    assert!(why.contains("<<nobody_key>>") && why.contains("; audit: ") && !why.contains("10.0.0.1"), "{summary}");
    let output = home.run(&["sh", "-c", &format!("curl -q -s --noproxy '' -k -o /dev/null {elsewhere}")]);
    assert!(stderr(&output).contains("10.0.0.1, which is not public; audit: "), "{}", told(&output));
    let output = home.run(&["true"]);
    assert!(!stderr(&output).contains("last refusal"), "{}", told(&output));
    // what an agent wrote does nothing to a terminal
    let output =
        home.run(&["curl", "-q", "-s", "--noproxy", "", "-o", "/dev/null", "-H", "x: <<openai_key>>\u{9b}31m", &url]);
    assert!(!stderr(&output).contains('\u{9b}'), "{}", told(&output));
}

#[test]
fn a_child_of_run_holds_placeholders_and_no_key() {
    let home =
        Home::with("", "[key.tool]\nhosts = [\"api.tool.example\"]\n").set("LOCUM_MASTER_PASSWORD", "open sesame");
    let output = home.run(&["env", "-0"]);
    assert!(output.status.success(), "{}", told(&output));
    let env = stdout(&output);
    let vars: std::collections::HashMap<&str, &str> = env.split('\0').filter_map(|v| v.split_once('=')).collect();
    assert_eq!((vars["TOOL_API_KEY"], vars["OPENAI_API_KEY"]), ("<<tool_key>>", "<<openai_key>>"));
    for secret in [TOOL_KEY, crate::support::locum::OPENAI_KEY, "open sesame"] {
        assert!(!env.contains(secret), "{env}");
    }
    for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"] {
        assert!(vars[name].starts_with("http://") && vars[name].contains("@127.0.0.1:"), "{}", vars[name]);
    }
    // nothing of it is left behind
    assert!(!std::path::Path::new(vars["SSL_CERT_FILE"]).exists(), "{}", vars["SSL_CERT_FILE"]);
}

/// Wherever a key stands in the environment. What is no key of ours is named, and stays.
#[test]
fn no_copy_of_a_key_reaches_a_child_of_run() {
    use base64::Engine as _;
    let basic =
        |key: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("user:{key}")));
    let url = |key: &str| format!("https://user:{key}@api.tool.example/?key={key}");
    let hex: String = TOOL_KEY.bytes().map(|b| format!("{b:02x}")).collect();
    let other = "wJalrXUtnFEMIK7MDENGbPxRfiCYzq1f83aC0De9";
    let home = Home::with("", "[key.tool]\nhosts = [\"api.tool.example\"]\n")
        .set("COPY", TOOL_KEY)
        .set("AUTH", &format!("Bearer {TOOL_KEY}"))
        .set("URL", &url(TOOL_KEY))
        .set("BASIC", &basic(TOOL_KEY))
        .set("IN_HEX", &hex)
        .set("JAVA_TOOL_OPTIONS", &format!("-Dkey={TOOL_KEY}"))
        .set("ACME_API_KEY", other)
        .set("LOCUM_WEBHOOK_SECRET", "the webhook's own secret");
    let output = home.run(&["env", "-0"]);
    assert!(output.status.success(), "{}", told(&output));
    let env = stdout(&output);
    let vars: std::collections::HashMap<&str, &str> = env.split('\0').filter_map(|v| v.split_once('=')).collect();
    let placeholder = "<<tool_key>>";
    for (name, value) in [
        ("COPY", placeholder.to_owned()),
        ("AUTH", format!("Bearer {placeholder}")),
        ("URL", url(placeholder)),
        ("BASIC", basic(placeholder)),
        ("ACME_API_KEY", other.to_owned()),
    ] {
        assert_eq!(vars[name], value, "{name}");
    }
    assert!(vars["JAVA_TOOL_OPTIONS"].starts_with("-Dkey=<<tool_key>> -D"), "{}", vars["JAVA_TOOL_OPTIONS"]);
    assert!(!vars.contains_key("IN_HEX") && !vars.contains_key("LOCUM_WEBHOOK_SECRET"));
    assert!(!env.contains(TOOL_KEY), "{env}");
    let said = stderr(&output);
    assert!(said.contains("withheld, since a key is encoded there: IN_HEX\n"), "{said}");
    assert!(said.contains("given what looks like a secret: ACME_API_KEY\n"), "{said}");
    assert!(!said.contains(TOOL_KEY) && !said.contains(other), "{said}");
}

/// The files that a child is given hold the user's settings too, passwords among them.
#[test]
fn the_folder_of_a_child_of_run_is_closed_to_others() {
    let home = Home::with("", "");
    let child = r#"stat -c %a "$(dirname "$SSL_CERT_FILE")""#;
    let script = format!("umask 000; exec \"$0\" --config \"$1\" --state \"$2\" run -- sh -c '{child}'");
    let mut command = home.command("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_locum")]).arg(home.config()).arg(home.state());
    let output = finish(&mut command);
    assert_eq!(stdout(&output), "700\n", "{}", told(&output));
}

/// `run` with signals as they are by default, whatever who runs the tests ignores, once its child has said `ready`.
fn ready(home: &Home, options: &[&str], script: &str) -> std::process::Child {
    let mut command = home.command("env");
    command.args(["--default-signal", env!("CARGO_BIN_EXE_locum"), "--config"]).arg(home.config());
    command.arg("--state").arg(home.state()).arg("run").args(options).args(["--", "bash", "-c", script]);
    command.env("TMPDIR", home.path());
    let mut run = command.stdout(Stdio::piped()).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(run.stdout.as_mut().unwrap(), &mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");
    run
}

/// All that is still said, by whoever has the pipe.
fn rest(run: &mut std::process::Child) -> String {
    let mut rest = String::new();
    std::io::Read::read_to_string(run.stdout.as_mut().unwrap(), &mut rest).unwrap();
    rest
}

fn send(run: &std::process::Child, signal: Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(run.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn run_hands_signals_on_to_its_child() {
    let home = Home::with("", "");
    let all = [
        (Signal::INT, 2),
        (Signal::QUIT, 3),
        (Signal::TERM, 15),
        (Signal::HUP, 1),
        (Signal::USR1, 10),
        (Signal::USR2, 12),
    ];
    for (options, (signal, number)) in WAYS.into_iter().flat_map(|options| all.map(|case| (options, case))) {
        let script =
            format!("tail -f /dev/null >/dev/null & trap 'kill $!; echo got it; exit 40' {number}; echo ready; wait");
        let mut run = ready(&home, options, &script);
        send(&run, signal);
        let rest = rest(&mut run);
        let status = run.wait().unwrap();
        assert_eq!(
            (rest.as_str(), status.code(), status.signal()),
            ("got it\n", Some(40), None),
            "{options:?} {signal:?}"
        );
    }
}

/// In a terminal the child is in the foreground too: Ctrl-C reaches it by itself, and is not sent again.
#[test]
fn what_the_terminal_sends_reaches_the_child_once() {
    let home = Home::with("", "");
    std::fs::write(
        home.path().join("child.sh"),
        "trap 'echo interrupted' INT; trap 'echo told to quit' QUIT; trap 'echo over; exit 5' TERM\n\
         echo \"it is there.\"; while :; do read -r line; done\n",
    )
    .unwrap();
    for options in WAYS {
        let (config, state) = (home.config(), home.state());
        // the shell's line is `run` itself, which tells its pid before it is that
        let mut terminal = Terminal::line(
            &home,
            &format!(
                "echo \"run is $$.\"; exec '{}' --config '{}' --state '{}' run --quiet {} -- bash child.sh",
                env!("CARGO_BIN_EXE_locum"),
                config.display(),
                state.display(),
                options.join(" "),
            ),
        );
        let shown = terminal.await_shown("it is there.\n");
        let run = shown.split("run is ").nth(1).unwrap().split('.').next().unwrap().parse().unwrap();
        terminal.press("\u{3}");
        terminal.await_shown("interrupted");
        terminal.press("\u{1c}");
        terminal.await_shown("told to quit");
        // whatever `run` hands on it does in turn, so that this comes last
        rustix::process::kill_process(rustix::process::Pid::from_raw(run).unwrap(), Signal::TERM).unwrap();
        let (status, shown) = terminal.ended();
        assert_eq!(status.code(), Some(5), "{options:?}: {shown}");
        assert_eq!((shown.matches("interrupted").count(), shown.matches("told to quit").count()), (1, 1), "{shown}");
    }
}

/// Ctrl-Z stops the command and `run` with it, and the shell has the terminal until `fg` gives it back.
#[test]
fn a_command_is_stopped_and_goes_on_as_jobs_do() {
    let home = Home::with("", "");
    std::fs::write(home.path().join("child.sh"), "echo up; while read -r line; do echo \"got $line\"; done\n").unwrap();
    for options in WAYS {
        let mut terminal = Terminal::bash(&home);
        terminal.await_prompt();
        let (config, state) = (home.config(), home.state());
        let options = options.join(" ");
        let files = format!("--config '{}' --state '{}'", config.display(), state.display());
        terminal.press(&format!("locum {files} run --quiet {options} -- bash child.sh\n"));
        terminal.await_shown("up\n");
        terminal.press("one\n");
        terminal.await_shown("got one");
        terminal.press("\u{1a}");
        terminal.await_prompt();
        terminal.press("echo the shell has $((40 + 2))\n");
        terminal.await_shown("the shell has 42");
        terminal.await_prompt();
        terminal.press("fg\n");
        terminal.press("two\n");
        terminal.await_shown("got two");
        terminal.press("\u{4}");
        terminal.await_prompt();
        terminal.press("exit\n");
        let (_, shown) = terminal.ended();
        assert!(shown.contains("Stopped"), "{options}: {shown}");
    }
}

/// A shell within takes the terminal for itself; what comes after the command has it again.
#[test]
fn an_interactive_shell_has_the_terminal_and_gives_it_back() {
    let home = Home::with("", "");
    for options in WAYS {
        let (config, state) = (home.config(), home.state());
        let mut terminal = Terminal::line(
            &home,
            &format!(
                "'{}' --config '{}' --state '{}' run --quiet {} -- env PS1='inner> ' TERM=dumb bash --norc -i; read -r line; echo \"then $line\"",
                env!("CARGO_BIN_EXE_locum"),
                config.display(),
                state.display(),
                options.join(" "),
            ),
        );
        terminal.await_shown("inner> ");
        terminal.press("cat\n");
        // shown by it, or by the terminal once that is its
        terminal.press("mew\n");
        terminal.await_shown("mew\n");
        terminal.press("\u{1a}");
        terminal.await_shown("Stopped");
        terminal.press("kill %1; echo $((6 * 7)) of them\n");
        let shown = terminal.await_shown("42 of them");
        assert!(!shown.contains("no job control"), "{options:?}: {shown}");
        terminal.press("exit\n");
        terminal.press("exit\n");
        terminal.press("typed\n");
        let (status, shown) = terminal.ended();
        assert!(status.success() && shown.contains("then "), "{options:?}: {shown}");
    }
}

/// A full-screen program's picture would be broken by them; what is grave is shown even in quiet, and afterwards.
#[test]
fn warnings_wait_until_the_terminal_is_free() {
    let home = Home::with("", "[anomaly]\nerrors = 2\n[key.tool]\nhosts = [\"api.tool.example\"]\n");
    // refused again and again, which is unusual
    std::fs::write(
        home.path().join("child.sh"),
        "for i in 1 2 3 4 5 6 7 8; do curl -so answer -H 'x: <<no_such_key>>' http://api.invalid/; done; echo done\n",
    )
    .unwrap();
    // what is said once, before the command has the screen
    assert!(stderr(&home.run(&["true"])).starts_with("locum: not confined: "));
    for quiet in ["", "--quiet"] {
        let (status, shown) = Terminal::locum(&home, &format!("run {quiet} -- bash child.sh")).ended();
        assert_eq!(status.code(), Some(0), "{shown}");
        let (before, after) = shown.split_once("done\n").unwrap();
        assert_eq!(before, "", "{shown}");
        assert!(after.contains("unusual: agent local was refused"), "{shown}");
        assert_eq!(after.contains("8 refusals"), quiet.is_empty(), "{shown}");
    }
}

/// `nohup locum run …`, or a job in the background of a script.
#[test]
fn what_was_ignored_before_run_is_ignored_by_its_child() {
    let home = Home::with("", "");
    let mut command = home.command("env");
    command.args(["--default-signal", "--ignore-signal=HUP,INT", env!("CARGO_BIN_EXE_locum"), "--config"]);
    command.arg(home.config()).arg("--state").arg(home.state()).args([
        "run",
        "--",
        "grep",
        "SigIgn",
        "/proc/self/status",
    ]);
    let output = finish(&mut command);
    // the lowest bit is signal 1; what the C library ignores for itself is higher up
    assert!(stdout(&output).trim_end().ends_with("03"), "{}", told(&output));
}

/// As `docker exec` and the like start it: the group that it is in has no number there.
#[cfg(target_os = "linux")]
#[test]
fn a_run_whose_process_group_is_outside_of_its_namespace_works() {
    let home = Home::with("", "");
    let locum = home.locum(&["run", "--quiet", "--", "echo", "ok"]);
    let mut inside = home.command("unshare");
    inside.args(["-Urpf", "--mount-proc", "--"]).arg(locum.get_program()).args(locum.get_args());
    let output = finish(&mut inside);
    assert_eq!(stdout(&output), "ok\n", "{}", told(&output));
}

/// No handler sees SIGKILL: the system tells the child, and the next `run` tidies up.
#[test]
fn a_run_that_is_killed_leaves_neither_child_nor_folder() {
    let home = Home::with("", "");
    let of_user = home.path().join(format!("locum-{}", rustix::process::geteuid().as_raw()));
    let left = |folder: &std::path::Path, prefix: &str| {
        let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        entries.filter(|name| name.starts_with(prefix)).collect::<Vec<_>>()
    };
    let folders = || left(&of_user, "locum-run-");
    let script = "tail -f /dev/null >/dev/null & trap 'kill $!; echo got it; exit' TERM; echo ready; wait";
    let mut other = ready(&home, &[], "echo ready; read -r line");
    let in_use = folders();
    let mut run = ready(&home, &[], script);
    send(&run, Signal::KILL);
    // as the threads of `run` die one inherits the child from the other, and the system tells it each time
    let told = rest(&mut run);
    assert!(told.starts_with("got it\n") && told.replace("got it\n", "").is_empty(), "{told}");
    run.wait().unwrap();
    assert_eq!(folders().len(), 2);
    let mut next = ready(&home, &[], "echo ready");
    assert!(next.wait().unwrap().success());
    assert_eq!(folders(), in_use);
    drop(other.stdin.take());
    other.wait().unwrap();
    assert!(!of_user.exists() && left(home.path(), "locum-ca-").is_empty());
}

#[test]
fn run_passes_standard_streams_through() {
    let home = Home::with("", "");
    for options in WAYS {
        let words = [&["run", "--quiet"], options, &["--", "sh", "-c", "cat; echo aside >&2"]].concat();
        let mut command = home.locum(&words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, b"in and out").unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("in and out", "aside\n"), "{options:?}");
    }
}

/// A job that nobody watches fails by what was refused in it.
#[test]
fn a_strict_run_fails_by_a_refusal() {
    let upstream = Upstream::start();
    let home = Home::bound(&[&upstream]);
    let ask =
        |key: &str| format!("curl -q -s --noproxy '' -o /dev/null -H 'x-api-key: <<{key}>>' {}", upstream.url("/"));
    let strict = |script: &str| {
        let output = finish(&mut home.locum(&["run", "--strict", "--", "sh", "-c", script]));
        (output.status.code(), stderr(&output))
    };
    let (code, said) = strict(&ask("nobody_key"));
    assert!(code == Some(3) && said.contains("1 refusal"), "{said}");
    // the command's own failure says more
    assert_eq!(strict(&format!("{}; exit 7", ask("nobody_key"))).0, Some(7));
    let (code, said) = strict(&ask("tool_key"));
    assert!(code == Some(0) && said.contains("1 substitution, 0 refusals"), "{said}");
    assert_eq!(home.run(&["sh", "-c", &ask("nobody_key")]).status.code(), Some(0), "one that is not strict");
}
