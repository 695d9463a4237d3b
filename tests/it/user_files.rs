//! Files that a user names: a pipe in their place holds up nobody, and who owns one says whether it counts.

use crate::support::Home;
use crate::support::locum::{finish, stderr, stdout, told};
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, chown};

/// Whoever runs as another user, such as an agent.
const STRANGER: u32 = 65534;

#[test]
fn no_command_waits_for_a_pipe_in_place_of_a_file() {
    let plain = fs::read_to_string(Home::with("", "").config()).expect("the config");
    let listed = "upstream_ca = [\"upstreams.pem\"";
    let settings = [
        (plain.clone() + "[catalog]\nfiles = [\"pipe\"]\n", "check", "pipe: can't be read: it is no regular file"),
        (plain.replace(listed, &format!("{listed}, \"pipe\"")), "check", "pipe: it is no regular file"),
        (plain.replace("\"memory\"", "\"file:pipe\""), "check", "pipe: it is no regular file\n"),
        (plain.clone() + "[vault]\npassword_file = \"pipe\"\n", "vault init", "pipe is no regular file"),
        (plain.clone() + "[agent.one]\ntoken_file = \"pipe\"\n", "check", "pipe is no regular file"),
        (plain.replace("ca.pem", "pipe"), "env", "pipe: it is no regular file"),
    ];
    let commands = [
        ("--config pipe check", "pipe: can't be read: it is no regular file"),
        ("key migrate pipe", "pipe: it is no file of settings"),
        ("audit verify --anchor pipe", "'pipe' can't be used: it is no regular file"),
        ("explain POST https://api.openai.com/ --body @pipe", "pipe: it is no regular file"),
        ("prompt --write pipe", "pipe is no file of text"),
    ];
    let commands = commands.map(|(command, says)| (plain.clone(), command, says));
    for (config, command, says) in settings.into_iter().chain(commands) {
        let home = Home::with("", "");
        assert!(finish(home.command("mkfifo").arg("pipe")).status.success());
        home.write_config(&config);
        let mut locum = home.command(env!("CARGO_BIN_EXE_locum"));
        if !command.starts_with("--config") {
            locum.arg("--config").arg(home.config());
        }
        let output = finish(locum.arg("--state").arg(home.state()).args(command.split(' ')));
        let said = stdout(&output) + &stderr(&output);
        assert!(!output.status.success() && said.contains(says), "{command}: {}", told(&output));
    }
}

/// Who owns a config says where keys go, whatever its mode.
#[test]
fn a_config_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give a file away");
        return;
    }
    let home = Home::with("", "[catalog]\nfiles = [\"own.toml\"]\n");
    let own = home.path().join("own.toml");
    fs::write(&own, "[own]\nhosts = [\"api.own.example\"]\nenv = [\"OWN_API_KEY\"]\n").expect("a file");
    let check = || finish(&mut home.locum(&["check"]));
    let fine = check();
    assert!(fine.status.success(), "{}", told(&fine));
    for path in [&home.config(), &own] {
        chown(path, Some(STRANGER), None).expect("another owner");
        let output = check();
        let said = stdout(&output) + &stderr(&output);
        let what =
            format!("{}: belongs to another user (uid {STRANGER}), who could send your keys away", path.display());
        let next = format!("run: chown 0 {}", path.display());
        assert!(!output.status.success() && said.contains(&what) && said.contains(&next), "{}", told(&output));
        // no key leaves by it either
        let run = home.run(&["true"]);
        assert!(run.status.code() == Some(125) && stderr(&run).contains(&what), "{}", told(&run));
        chown(path, Some(0), None).expect("the owner");
    }
    // for that user it is their own
    let open = home.path().join("theirs");
    fs::create_dir(&open).expect("a folder");
    chown(&open, Some(STRANGER), None).expect("another owner");
    fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    for path in [home.path(), &home.config()] {
        chown(path, Some(STRANGER), None).expect("another owner");
    }
    let mut theirs = home.command("setpriv");
    theirs.args(["--reuid", "65534", "--clear-groups", "--", env!("CARGO_BIN_EXE_locum"), "--config"]);
    let output = finish(theirs.arg(home.config()).arg("--state").arg(open.join("state")).arg("check"));
    assert!(output.status.success(), "{}", told(&output));
    // and where it is mounted read-only, as a container has it, nobody here could have written it
    let locum = home.locum(&["check"]);
    let mut mounted = home.command("unshare");
    mounted.args(["--mount", "sh", "-c"]);
    mounted.arg("mount --bind locum.toml locum.toml && mount -o remount,bind,ro locum.toml && exec \"$@\"");
    let output = finish(mounted.arg("sh").arg(locum.get_program()).args(locum.get_args()));
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn who_looks_into_the_state_of_another_user_is_told_whose_it_is() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let home = Home::with("", "");
    fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    fs::DirBuilder::new().mode(0o700).create(home.state()).expect("a folder");
    for args in [&["status"][..], &["agent", "list"]] {
        let locum = home.locum(args);
        let mut stranger = home.command("setpriv");
        stranger.args(["--reuid", "65534", "--clear-groups", "--"]).arg(locum.get_program()).args(locum.get_args());
        let output = finish(&mut stranger);
        let said = stdout(&output) + &stderr(&output);
        let what = format!("{} belongs to another user (uid 0)", home.state().display());
        assert!(
            output.status.code() == Some(1)
                && said.contains(&what)
                && said.contains("next: run it as that user, or name a folder of your own with --state DIR")
                && !said.contains("mend or remove"),
            "{}",
            told(&output)
        );
    }
}
