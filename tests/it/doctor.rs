//! `locum doctor` on machines with planted faults: each is named with its mend, and `--fix` mends what is locum's own.

use crate::support::locum::{finish, stderr, stdout, told};
use crate::support::{HANGS, Home, authority, clients};
use serde_json::Value;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

const CONFIG: &str = "[proxy]\nlisten = \"127.0.0.1:0\"\n[ca]\nsource = \"memory\"\n";

fn write(home: &Home, file: &str, text: &str) -> PathBuf {
    let path = home.path().join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn with_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A program on the PATH of this home, which has no others.
fn program(home: &Home, name: &str, script: &str) {
    with_mode(&write(home, &format!("bin/{name}"), &format!("#!/bin/sh\n{script}\n")), 0o755);
}

/// Where this machine has it.
fn path_of(name: &str) -> String {
    let path = std::env::var_os("PATH").unwrap();
    let there = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    there.unwrap_or_else(|| panic!("{name} is missing")).display().to_string()
}

/// One of the machine's own.
fn installed(home: &Home, name: &str) {
    program(home, name, &format!("exec {} \"$@\"", path_of(name)));
}

/// A command of this home with its own programs and its own folder for what is passing.
fn bounded(home: &Home, args: &[&str]) -> Command {
    let mut command = home.locum(args);
    fs::create_dir_all(home.path().join("bin")).unwrap();
    fs::create_dir_all(home.path().join("tmp")).unwrap();
    command.env("PATH", home.path().join("bin")).env("TMPDIR", home.path().join("tmp"));
    command
}

/// What `doctor --json` finds, and whether it succeeds.
struct Found(Vec<Value>, bool);

impl Found {
    fn of(mut command: Command) -> Self {
        let output = finish(&mut command);
        let found = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", told(&output)));
        Self(found, output.status.success())
    }

    fn on(home: &Home) -> Self {
        Self::of(bounded(home, &["doctor", "--json"]))
    }

    /// The finding that says this, with its severity and what to do.
    fn that_says(&self, words: &str) -> (&str, &str) {
        let says = |found: &&Value| found["what"].as_str().unwrap().contains(words);
        let found = self.0.iter().find(says).unwrap_or_else(|| panic!("{words}: {:#?}", self.0));
        (found["severity"].as_str().unwrap(), found["next"].as_str().unwrap())
    }

    fn names(&self, words: &str, severity: &str, next: &str) {
        let (has, says) = self.that_says(words);
        assert!(has == severity && says.contains(next), "{words}: {has}: {says}");
    }

    /// All that is wrong in an area.
    fn wrong(&self, area: &str) -> Vec<&Value> {
        self.0.iter().filter(|found| found["area"] == area && found["severity"] != "ok").collect()
    }
}

#[test]
fn a_machine_without_faults_is_fine() {
    let home = Home::bare(CONFIG);
    let found = Found::on(&home);
    let areas = ["config", "files", "stores", "memory", "ca", "clock", "address", "variables", "clients", "container"];
    for area in areas {
        assert!(found.0.iter().any(|found| found["area"] == area), "{area}: {:#?}", found.0);
        assert!(found.wrong(area).is_empty(), "{:#?}", found.wrong(area));
    }
    assert!(found.1, "{:#?}", found.0);
    found.names("not here: curl, wget,", "ok", "");
    let output = finish(&mut bounded(&home, &["doctor"]));
    let screen = stdout(&output);
    assert!(screen.contains("✓ files        config, state and files of secrets are closed"), "{}", told(&output));
    assert!(screen.contains("\n0 faults, ") && output.status.success(), "{}", told(&output));
    assert!(
        !home.state().exists() && fs::read_dir(home.path().join("tmp")).unwrap().next().is_none(),
        "nothing is left"
    );
    // beside a service, whose files are all as they should be
    home.write_config(&format!("{CONFIG}export = \"ca.pem\"\n"));
    let serve = home.serve();
    let env = finish(&mut serve.home.locum(&["env"]));
    assert!(env.status.success(), "{}", told(&env));
    let found = Found::on(&serve.home);
    assert!(found.1 && found.wrong("files").is_empty() && found.wrong("address").is_empty(), "{:#?}", found.0);
    found.names(&format!("a service runs on {}", serve.address), "ok", "");
}

#[test]
fn settings_that_outrank_are_named_with_what_counts_before_them() {
    let home = Home::bare(&format!("{CONFIG}[key.tool]\nhosts = [\"api.tool.example\"]\n"))
        .set("TOOL_API_KEY", "tk-5f0c2d9be1a84763");
    installed(&home, "git");
    // nothing listens at a port that was just given back
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    write(&home, ".npmrc", "cafile=/none.pem\nnoproxy=tool.example\n");
    write(
        &home,
        ".config/pip/pip.conf",
        "[global]\nproxy = http://user:hunter2@proxy.example:3128\ncert = /none.pem\n",
    );
    write(&home, ".gitconfig", "[http]\nproxy = http://proxy.example:3128\nsslCAInfo = /none.pem\n");
    write(&home, ".yarnrc", "https-proxy \"http://proxy.example:3128\"\ncafile \"/none.pem\"\n");
    write(&home, ".curlrc", "proxy = http://proxy.example:3128\ncacert = /none.pem\ninsecure\n");
    write(&home, ".wgetrc", "https_proxy = http://proxy.example:3128\n");
    let cluster = "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority: /none.pem\n    proxy-url: http://proxy.example:1\n";
    write(&home, ".kube/config", cluster);
    write(&home, ".zshenv", &format!("export HTTPS_PROXY=http://{dead}\n"));
    write(&home, ".bashrc", "if true; then\n  export https_proxy=http://proxy.example:3128\nfi\n");
    let found = Found::on(&home);
    assert!(!found.1);
    for (says, severity, next) in [
        (".npmrc:1: cafile has npm trust", "warning", "NPM_CONFIG_CAFILE counts first"),
        (".npmrc:2: noproxy leads npm past the proxy to api.tool.example", "fault", "take those hosts out"),
        ("pip.conf:2: proxy leads pip to", "warning", "PIP_PROXY counts first"),
        ("pip.conf:3: cert has pip trust", "warning", "PIP_CERT counts first"),
        (".gitconfig: http.proxy leads git to", "warning", "GIT_CONFIG_COUNT counts first"),
        (".gitconfig: http.sslcainfo has git trust", "warning", "GIT_SSL_CAINFO counts first"),
        (".yarnrc:1: https-proxy leads yarn to", "warning", "YARN_HTTPS_PROXY counts first"),
        (".yarnrc:2: cafile has yarn trust", "fault", "[proxy] upstream_ca"),
        (".curlrc:1: proxy leads curl to", "warning", "CURL_HOME counts first"),
        (".curlrc:2: cacert has curl trust", "warning", "CURL_HOME counts first"),
        (".curlrc:3: insecure has curl take any certificate", "warning", "take it out"),
        (".wgetrc:1: httpsproxy leads wget to", "warning", "WGETRC counts first"),
        (".kube/config:5: proxy-url leads kubectl to", "fault", "[proxy] upstream_proxy"),
        (".kube/config:4: certificate-authority has kubectl trust its cluster's CA", "warning", "passthrough"),
        (
            &format!(".zshenv:1: HTTPS_PROXY leads the shell to {dead}, where nothing answers"),
            "fault",
            "${HTTPS_PROXY:-",
        ),
        (".bashrc:2: https_proxy leads the shell to", "warning", "take the line out"),
    ] {
        found.names(says, severity, next);
    }
    let all = format!("{:#?}", found.0);
    assert!(!all.contains("hunter2"), "no password is shown: {all}");
    // what outranks nothing under `run` keeps no client from it
    found.names("through the proxy, and trusting it: git", "ok", "");
    let before = fs::read_to_string(home.path().join(".npmrc")).unwrap();
    assert!(!Found::of(bounded(&home, &["doctor", "--json", "--fix"])).1, "the user's own is the user's to mend");
    assert_eq!(fs::read_to_string(home.path().join(".npmrc")).unwrap(), before);
}

#[test]
fn variables_that_lead_nowhere_or_past_are_named() {
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let keys = "[key.tool]\nhosts = [\"api.tool.example\", \"eu.tool.example\"]\n";
    let home = Home::bare(&format!("{CONFIG}{keys}"))
        .set("TOOL_API_KEY", "tk-5f0c2d9be1a84763")
        .set("NO_PROXY", "x.example,.tool.example")
        .set("SSL_CERT_FILE", "/none/ca.pem")
        .set("REQUESTS_CA_BUNDLE", "/none/ca.pem")
        .set("HTTPS_PROXY", &format!("http://user:hunter2@{dead}"))
        .set("KUBERNETES_SERVICE_HOST", "10.0.0.1");
    let found = Found::on(&home);
    assert!(!found.1 && !format!("{:?}", found.0).contains("hunter2"));
    let past = "NO_PROXY ('.tool.example') leads clients past the proxy to api.tool.example, eu.tool.example";
    found.names(past, "fault", "take '.tool.example' out of NO_PROXY");
    found.names("SSL_CERT_FILE, REQUESTS_CA_BUNDLE: /none/ca.pem isn't there", "warning", "unset SSL_CERT_FILE");
    let port = dead.port();
    found.names(
        &format!("HTTPS_PROXY leads to 127.0.0.1, port {port}, where nothing answers"),
        "fault",
        "start that proxy",
    );
    found.names("in a pod of Kubernetes", "ok", "examples/sidecar.toml");
    let socks4 = Found::on(&Home::bare(CONFIG).set("HTTPS_PROXY", "socks4://p:1"));
    socks4.names("your HTTPS_PROXY can't be gone through", "fault", "upstream_proxy");
}

#[test]
fn what_is_locums_own_is_mended() {
    let home = Home::bare(&format!("{CONFIG}[key.tool]\nhosts = [\"api.tool.example\"]\nsource = \"file:key\"\n"));
    let key = write(&home, "key", "tk-5f0c2d9be1a84763\n");
    let draft = write(&home, "state/.key-ages.json.x1Y2z3.new", "{");
    let being_written = write(&home, "state/.key-ages.json.a1B2c3.new", "{");
    let env = write(&home, "state/env/wgetrc", "");
    let lock = write(&home, "tmp/locum-run-left/in-use", "");
    File::options()
        .write(true)
        .open(&draft)
        .unwrap()
        .set_modified(SystemTime::now() - Duration::from_secs(86_400))
        .unwrap();
    drop(UnixListener::bind(home.state().join("control.sock")).unwrap());
    for (path, bits) in [(&home.config(), 0o666), (&home.state(), 0o755), (&key, 0o644), (&env, 0o640)] {
        with_mode(path, bits);
    }
    with_mode(&being_written, 0o600);
    let found = Found::on(&home);
    assert!(!found.1);
    let (config, state) = (home.config().display().to_string(), home.state().display().to_string());
    found.names(&format!("{config} is writable by others"), "fault", &format!("chmod go-w {config}"));
    found.names(&format!("{state} is open to others"), "fault", &format!("chmod go-rwx {state}"));
    found.names("can read the key 'tool'", "warning", &format!("chmod o-r {}", key.display()));
    found.names("open to others (mode", "warning", "chmod -R go-rwx");
    found.names("control.sock: the service that made it was killed", "warning", "--fix");
    found.names("1 file left by a process that was killed", "warning", "--fix");
    found.names("1 folder of 'locum run' left", "warning", "--fix");

    let mended = Found::of(bounded(&home, &["doctor", "--json", "--fix"]));
    assert!(mended.1, "{:#?}", mended.0);
    let done: Vec<&str> =
        mended.0.iter().filter(|found| found["fixed"] == true).map(|found| found["what"].as_str().unwrap()).collect();
    assert!(done.contains(&&*format!("mended: chmod go-w {config}")), "{done:#?}");
    assert!(done.contains(&&*format!("mended: rm {state}/control.sock")), "{done:#?}");
    assert_eq!((mode(&home.config()), mode(&home.state()), mode(&env)), (0o644, 0o700, 0o600));
    assert!(!draft.exists() && !lock.exists() && !home.state().join("control.sock").exists());
    assert!(being_written.exists(), "a process may be about to finish it");
    assert_eq!(mode(&key), 0o644, "that file is the user's");
    let after = Found::on(&home);
    assert_eq!(after.wrong("files").len(), 1, "{:#?}", after.wrong("files"));
    assert!(after.1);
}

#[test]
fn a_port_that_another_program_has_is_named() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    std::thread::spawn(move || other.incoming().for_each(drop));
    let home = Home::bare(&format!("[proxy]\nlisten = \"{address}\"\nlistne = 1\n[ca]\nsource = \"memory\"\n"));
    let found = Found::on(&home);
    assert!(!found.1);
    found.names(&format!("can't listen on {address}"), "fault", "choose a port");
    found.names("locum.toml:3:1: unknown setting", "fault", "listen");
}

/// A CA with its key, in a file that is good between two days from now.
fn ca(home: &Home, from: i64, to: i64) {
    let file = home.path().join("own-ca.pem");
    fs::write(&file, authority::ca_for_days(from, to)).unwrap();
    with_mode(&file, 0o600);
}

#[test]
fn a_clock_that_is_wrong_is_named() {
    let home = Home::bare("[proxy]\nlisten = \"127.0.0.1:0\"\n[ca]\nsource = \"file:own-ca.pem\"\n");
    ca(&home, 30, 60);
    let found = Found::on(&home);
    assert!(!found.1);
    found.names("which this machine's clock says is to come", "fault", "set the clock");
    ca(&home, -60, -30);
    Found::on(&home).names("the CA has ended on", "fault", "put another into");
    ca(&home, -60, 3);
    let found = Found::on(&home);
    found.names("the CA ends on", "warning", "put another into");
    assert!(found.1);
    // an audit from what this clock takes for tomorrow
    let audit = write(&home, "state/audit/20261121T192653.123456Z-4711.jsonl", "");
    File::options()
        .write(true)
        .open(&audit)
        .unwrap()
        .set_modified(SystemTime::now() + Duration::from_secs(86_400))
        .unwrap();
    Found::on(&home).names("and the audit was last written at", "warning", "timedatectl set-ntp true");
}

#[test]
fn stores_that_can_not_be_used_are_named() {
    let config = "[proxy]\nlisten = \"127.0.0.1:0\"\n[ca]\nsource = \"memory\"\n";
    let home = Home::bare(config);
    let mut init = bounded(&home, &["vault", "init"]);
    let output = finish(init.env("LOCUM_MASTER_PASSWORD", "correct horse battery staple"));
    assert!(output.status.success(), "{}", told(&output));
    let found = Found::on(&home);
    assert!(!found.1);
    found.names("is locked", "fault", "LOCUM_MASTER_PASSWORD");
    let mut open = bounded(&home, &["doctor", "--json"]);
    open.env("LOCUM_MASTER_PASSWORD", "correct horse battery staple");
    assert!(Found::of(open).wrong("stores").is_empty());
    let home = Home::bare(config).set("DBUS_SESSION_BUS_ADDRESS", "unix:path=/none");
    let found = Found::on(&home);
    found.names("keyring (Secret Service)", "warning", "vault init");
    assert!(found.1, "another store works");
}

#[test]
fn memory_that_can_not_be_locked_is_named() {
    let home = Home::bare(CONFIG);
    let locum = bounded(&home, &["doctor", "--json"]);
    let script = "ulimit -l 0; exec setpriv --bounding-set=-all --inh-caps=-all \"$0\" \"$@\"";
    let script = if rustix::process::geteuid().is_root() { script } else { "ulimit -l 0; exec \"$0\" \"$@\"" };
    let mut limited = home.command("sh");
    limited.args(["-c", script]).arg(locum.get_program()).args(locum.get_args()).env("TMPDIR", home.path().join("tmp"));
    let found = Found::of(limited);
    found.names("the key may be swapped to disk", "warning", "ulimit -l 64");
}

#[test]
fn namespaces_that_can_not_be_made_are_named() {
    let home = Home::bare(CONFIG);
    let locum = bounded(&home, &["doctor", "--json"]);
    let script = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"";
    let mut nested = home.command("unshare");
    nested.args(["--user", "--map-root-user", "sh", "-c", script]).arg(locum.get_program()).args(locum.get_args());
    let found = Found::of({
        nested.env("TMPDIR", home.path().join("tmp"));
        nested
    });
    found.names("user namespaces can't be had", "warning", "sysctl -w user.max_user_namespaces=");
}

#[test]
fn clients_are_tried() {
    let home = Home::bare(CONFIG);
    for name in ["curl", "wget", "git", "node"] {
        installed(&home, name);
    }
    program(&home, "python3", &format!("exec {} \"$@\"", clients::python()));
    write(&home, ".curlrc", "proxy = http://127.0.0.1:1\n");
    let found = Found::of(bounded(&home, &["doctor", "--json", "--patience", "120"]));
    let all = "curl, wget, git, python-urllib, python-requests, python-httpx, node-fetch, node-https";
    found.names(&format!("through the proxy, and trusting it: {all}"), "ok", "");
    found.names("not here: npm, pip,", "ok", "");
    assert!(found.wrong("clients").is_empty() && found.1, "{:#?}", found.0);
}

#[test]
fn clients_that_fail_are_told_apart() {
    let home = Home::bare(CONFIG);
    let (curl, other) = (path_of("curl"), write(&home, "other.pem", &authority::TRUSTED.pem));
    // the ones of these names do what they say, as far as the proxy sees; where there is no network no name server is asked
    let past = "unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY";
    let alone = format!("exec {} --user --map-root-user --net", path_of("unshare"));
    program(&home, "curl", &format!("{past}\n{alone} {curl} \"$@\""));
    program(&home, "wget", &format!("exec {curl} -sS --cacert {} \"$5\"", other.display()));
    program(&home, "git", "echo 'no such option' >&2; exit 2");
    program(&home, "gh", "echo 'pyenv: gh: command not found' >&2; exit 127");
    let found = Found::of(bounded(&home, &["doctor", "--json", "--patience", "120"]));
    assert!(!found.1);
    found.names(
        "curl went past the proxy: curl: (6) Could not resolve host: curl.doctor.invalid",
        "fault",
        "'settings'",
    );
    found.names("wget refused the CA: the client's TLS handshake failed", "fault", "WGETRC");
    found.names("git could not be tried: no such option", "warning", "'git' works without locum");
    assert_eq!(found.wrong("clients").len(), 3, "{:#?}", found.0);
}

#[test]
fn a_client_that_hangs_is_ended_with_all_that_it_started() {
    let home = Home::bare(CONFIG);
    let (tail, pid) = (path_of("tail"), home.path().join("pid"));
    program(&home, "bun", &format!("{tail} -f /dev/null & echo $! >{}; wait", pid.display()));
    let found = Found::of(bounded(&home, &["doctor", "--json", "--patience", "1"]));
    found.names("bun did not come to the proxy within 1 s", "warning", "--patience");
    assert!(found.1);
    let stat = format!("/proc/{}/stat", fs::read_to_string(&pid).unwrap().trim());
    let until = Instant::now() + HANGS;
    while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < until, "it still runs");
        std::thread::yield_now();
    }
    let output = finish(&mut bounded(&home, &["doctor", "--patience", "0"]));
    assert!(output.status.code() == Some(2) && stderr(&output).contains("--patience"), "{}", told(&output));
}
