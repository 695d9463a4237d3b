//! Files and sockets: what a confined command finds, and what it may change.

use super::setting::{Outside, User};
use crate::support::locum::{stderr, stdout, told};

fn said(user: &User, options: &[&str], script: &str) -> String {
    let options = [&["--confine=require", "--quiet"], options].concat();
    let output = user.confined(&options, &["sh", "-c", script]);
    assert!(output.status.success(), "{}", told(&output));
    stdout(&output)
}

#[test]
fn what_is_locums_is_not_there() {
    let user = User::new();
    let keyrings = user.home.path().join(".local/share/keyrings");
    std::fs::create_dir_all(&keyrings).unwrap();
    std::fs::write(keyrings.join("login.keyring"), "text").unwrap();
    user.own(&user.home.path().join(".local"));
    let state = user.home.state();
    let script =
        format!("cat {}; ls -A {} {}; ls ways.py", user.home.config().display(), state.display(), keyrings.display());
    let shown = said(&user, &[], &script);
    let folder = |path: &std::path::Path| format!("{}:\n", path.display());
    let mut folders = [folder(&state), folder(&keyrings)];
    folders.sort();
    assert_eq!(shown, format!("{}\n{}ways.py\n", folders[0], folders[1]), "{shown}");
}

#[test]
fn files_are_hidden_and_sockets_allowed_as_the_user_says() {
    let user = User::with("", "[confine]\nhide = [\"notes\"]\n");
    for folder in ["notes", "drafts"] {
        std::fs::create_dir(user.home.path().join(folder)).unwrap();
        std::fs::write(user.home.path().join(folder).join("page"), "text").unwrap();
        user.own(&user.home.path().join(folder));
    }
    assert_eq!(said(&user, &[], "ls notes drafts"), "drafts:\npage\n\nnotes:\n");
    assert_eq!(said(&user, &["--hide", "drafts"], "ls notes drafts"), "drafts:\n\nnotes:\n");
    let outside = Outside::of(&user);
    let path = outside.at("path");
    let options = ["--confine=require", "--quiet", "--allow-socket", &path];
    assert_eq!(user.way(&options, "path", &path), "open");
    assert!(user.way(&options[..2], "path", &path).starts_with("shut"));
    let output = user.confined(&["--confine", "--hide", "no-such-file"], &["true"]);
    assert!(
        output.status.code() == Some(2) && stderr(&output).contains("no-such-file is not there"),
        "{}",
        told(&output)
    );
    let output = user.confined(&["--confine", "--hide", "."], &["true"]);
    assert!(stderr(&output).contains("the working folder is in"), "{}", told(&output));
    let output = user.confined(&["--read-only"], &["true"]);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("--confine"), "{}", told(&output));
}

#[test]
fn a_read_only_command_writes_where_it_works_and_nowhere_else() {
    let user = User::new();
    let folder = |name: &str| {
        let path = user.home.path().join(name);
        std::fs::create_dir(&path).unwrap();
        user.own(&path);
        path.to_string_lossy().into_owned()
    };
    let (work, cache, temporary) = (folder("work"), folder("cache"), folder("temporary"));
    folder("other");
    let script = format!(
        "cd {work} && for f in here ../cache/f ../other/f ../temporary/f /dev/null; do \
         if (echo text > $f) 2>/dev/null; then echo may; else echo may not; fi; done"
    );
    let run = |options: &[&str]| {
        let mut command = user.locum_run(&[&["--confine=require", "--quiet"], options].concat());
        command.current_dir(&work).env("TMPDIR", &temporary);
        let output = crate::support::locum::finish(command.args(["sh", "-c", &script]));
        assert!(output.status.success(), "{}", told(&output));
        stdout(&output).replace('\n', ",")
    };
    assert_eq!(run(&[]), "may,may,may,may,may,");
    assert_eq!(run(&["--read-only"]), "may,may not,may not,may,may,");
    assert_eq!(run(&["--read-only", "--allow-write", &cache]), "may,may,may not,may,may,");
}

/// Bundles and folders of roots hold locum's CA inside, and are as they were outside, before and after.
#[test]
fn roots_are_as_they_were_outside() {
    let user = User::new();
    let script = "grep -c BEGIN /etc/ssl/certs/ca-certificates.crt; ls /etc/ssl/certs | wc -l; cat /etc/resolv.conf";
    let outside = || stdout(&crate::support::locum::finish(user.command("sh").args(["-c", script])));
    let before = outside();
    let inside = said(&user, &[], script);
    assert_eq!(outside(), before);
    let numbers = |text: &str| -> Vec<usize> { text.lines().filter_map(|line| line.parse().ok()).collect() };
    let ([bundle, folder], [inner_bundle, inner_folder]) =
        (<[usize; 2]>::try_from(numbers(&before)).unwrap(), <[usize; 2]>::try_from(numbers(&inside)).unwrap());
    assert!(inner_bundle > bundle && inner_folder > folder, "{before}{inside}");
    assert!(inside.ends_with("nameserver 127.0.0.1\noptions edns0\n"), "{inside}");
}

/// `locum run` of a user whose config is where it usually is, or would be.
fn at_home(user: &User, script: &str) -> std::process::Output {
    let mut command = user.command(&user.home.path().join("locum").to_string_lossy());
    command.args(["run", "--confine=require", "--quiet", "--", "sh", "-c", script]);
    crate::support::locum::finish(&mut command)
}

/// A cover is on a place: the folders above it are neither moved nor mounted elsewhere without it.
#[test]
fn what_is_hidden_is_not_brought_to_light_by_moving_it() {
    let user = User::new();
    let config = user.home.path().join(".config/locum");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("locum.toml"), "# of the user\n[key.tool]\nhosts = [\"api.tool.example\"]\n").unwrap();
    user.own(&user.home.path().join(".config"));
    let look = "cat .config/locum/locum.toml seen/.config/locum/locum.toml seen/locum/locum.toml 2>/dev/null";
    let script = format!(
        "mkdir sub seen; {look}; mv .config other 2>/dev/null && cat other/locum/locum.toml; \
         unshare -Urm sh -c 'mount --bind . seen; {look}; umount .config/locum; umount -l .config/locum; {look}; \
         mount --bind sub seen; mv .config sub/ && {look}' 2>/dev/null; \
         mv .config/locum .config/elsewhere 2>/dev/null; echo done"
    );
    let output = at_home(&user, &script);
    assert_eq!(stdout(&output), "done\n", "{}", told(&output));
    assert!(config.join("locum.toml").is_file());
}

/// The next `locum run` obeys no config that the command has written.
#[test]
fn a_config_that_is_not_there_is_not_planted() {
    let user = User::new();
    let script = "mkdir -p .config/locum; echo evil > .config/locum/locum.toml; mv .config away; mkdir -p .config/locum; \
                  echo evil > .config/locum/locum.toml; true";
    let output = at_home(&user, script);
    assert!(output.status.success(), "{}", told(&output));
    assert!(user.home.path().join(".config/locum").is_dir() && !user.home.path().join("away").exists());
    assert!(!user.home.path().join(".config/locum/locum.toml").exists());
}

/// Dotfiles are often links to where they are kept.
#[test]
fn a_config_behind_a_link_is_hidden_and_the_link_stays() {
    let user = User::new();
    let (kept, config) = (user.home.path().join("dotfiles"), user.home.path().join(".config/locum"));
    std::fs::create_dir_all(&kept).unwrap();
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(kept.join("locum.toml"), "# of the user\n").unwrap();
    std::os::unix::fs::symlink("../../dotfiles/locum.toml", config.join("locum.toml")).unwrap();
    user.own(&user.home.path().join(".config"));
    user.own(&kept);
    let output = at_home(&user, "cat dotfiles/locum.toml; echo evil >> dotfiles/locum.toml; mv dotfiles d; true");
    assert_eq!(stdout(&output), "", "{}", told(&output));
    assert_eq!(std::fs::read_to_string(config.join("locum.toml")).unwrap(), "# of the user\n");
}

/// By a folder as standard input its files are reached, whatever covers them.
#[test]
fn a_stream_that_leads_outside_is_refused() {
    let user = User::new();
    let connection = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for stream in [std::fs::File::open(user.home.path()).unwrap().into(), std::os::fd::OwnedFd::from(connection)] {
        let mut command = user.locum_run(&["--confine"]);
        // not by `finish`, which would be asked for what standard input is
        let output = command.args(["echo", "started"]).stdin(stream).output().unwrap();
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(125), ""), "{}", told(&output));
        assert!(stderr(&output).contains("standard input is a folder or a connection"), "{}", told(&output));
    }
}

/// A socket is not always where it was first bound, and what is not there yet may come.
#[test]
fn sockets_under_other_names_and_later_ones_are_hidden() {
    let user = User::new();
    let folder = user.home.path().join(".ssh");
    std::fs::create_dir(&folder).unwrap();
    let bound = std::os::unix::net::UnixListener::bind(folder.join("bound")).unwrap();
    std::fs::rename(folder.join("bound"), folder.join("renamed")).unwrap();
    user.own(&folder);
    let path = folder.join("renamed").to_string_lossy().into_owned();
    let connect =
        format!("{} -c \"import socket,sys; socket.socket(socket.AF_UNIX).connect('{path}')\"", super::setting::PYTHON);
    let outside = crate::support::locum::finish(user.command("sh").args(["-c", &connect]));
    assert!(outside.status.success(), "{}", told(&outside));
    let output = user.confined(&["--confine=require", "--quiet"], &["sh", "-c", &connect]);
    assert!(!output.status.success(), "{}", told(&output));
    drop(bound);
    let uid = said(&user, &[], "id -u").trim().to_owned();
    assert_eq!(said(&user, &[], &format!("mount | grep -c ' /tmp/tmux-{uid} '")), "1\n");
}

/// Kernel's settings, control groups and shared memory are others' as well.
#[test]
fn nothing_of_the_kernel_that_others_share_is_changed() {
    let user = User::new();
    let script = "touch /sys/fs/cgroup/x 2>&1 | grep -c Read-only; ls -A /dev/shm | wc -l; echo a > /dev/shm/a && cat /dev/shm/a";
    assert_eq!(said(&user, &[], script), "1\n0\na\n");
    let home = crate::support::Home::with("", "");
    let mut root = home.locum(&["run", "--confine=require", "--quiet", "--", "sh", "-c"]);
    let output =
        crate::support::locum::finish(root.arg("cat /proc/sys/kernel/core_pattern > /proc/sys/kernel/core_pattern"));
    assert!(!output.status.success(), "{}", told(&output));
}

/// What leads the programs of one run is in a folder that another could write to.
#[test]
fn the_folders_of_other_runs_are_not_there() {
    let user = User::new();
    let locum = user.home.path().join("locum").to_string_lossy().into_owned();
    let (config, state) = (user.home.config(), user.home.state());
    let (config, state) = (config.to_string_lossy().into_owned(), state.to_string_lossy().into_owned());
    let run = [locum.as_str(), "--config", &config, "--state", &state, "run", "--quiet"];
    let script = "ls \"$(dirname \"$(dirname \"$SSL_CERT_FILE\")\")\" | wc -l";
    for (options, seen) in [(&[][..], "2\n"), (&["--confine=require"], "1\n")] {
        let inner = [&run[..], options, &["--", "sh", "-c", script]].concat();
        let mut outer = user.command(&locum);
        outer.args(&run[1..]).arg("--").args(inner).env("TMPDIR", user.home.path());
        let output = crate::support::locum::finish(&mut outer);
        assert_eq!(stdout(&output), seen, "{options:?}: {}", told(&output));
    }
}
