//! `check` finds whatever keeps `serve` from starting, in the same words, and `explain` whatever the proxy would not dial.

use crate::support::Home;
use crate::support::locum::{finish, stderr, stdout, told};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

/// `locum`, bound by the modes of files as any user is.
fn unprivileged(home: &Home, args: &[&str]) -> Command {
    let mut command = home.locum(args);
    if rustix::process::geteuid().is_root() {
        let all: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        command = home.command("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all", env!("CARGO_BIN_EXE_locum")]).args(all);
    }
    command
}

fn both(home: &Home) -> [Output; 2] {
    [finish(&mut unprivileged(home, &["check"])), finish(&mut unprivileged(home, &["serve"]))]
}

fn refused_by_both(home: &Home, said: &str) {
    let [check, serve] = both(home);
    assert_eq!((check.status.code(), serve.status.code()), (Some(1), Some(1)), "{}\n{}", told(&check), told(&serve));
    assert!(stderr(&serve).contains(said), "{said}: {}", told(&serve));
    assert!(stdout(&check).contains(said), "{said}: {}", told(&check));
    let (_, next) = stderr(&serve).split_once("  next: ").map(|(a, b)| (a.to_owned(), b.trim().to_owned())).unwrap();
    assert!(stdout(&check).contains(next.lines().next().unwrap()), "{next}: {}", told(&check));
}

fn with_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_keeps_a_service_from_starting_is_found_by_check() {
    let memory = "[ca]\nsource = \"memory\"\n";
    let open = format!("[proxy]\nlisten = \"0.0.0.0:0\"\n{memory}");
    refused_by_both(&Home::bare(&open), "beyond loopback anyone could spend your keys");
    let by_variable = Home::bare(memory).set("LOCUM_PROXY__LISTEN", "0.0.0.0:0");
    refused_by_both(&by_variable, "beyond loopback anyone could spend your keys");
    refused_by_both(&Home::bare(memory).set("LOCUM_PROXY_TOKEN", "short"), "LOCUM_PROXY_TOKEN has under 16 characters");
    let elsewhere = format!("[proxy]\nlisten = \"192.0.2.1:0\"\n{memory}");
    let token = "0123456789abcdef0123456789abcdef";
    refused_by_both(&Home::bare(&elsewhere).set("LOCUM_PROXY_TOKEN", token), "can't listen on 192.0.2.1:0");

    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    // what is no locum answers nothing that one would
    std::thread::spawn(move || other.incoming().for_each(drop));
    let taken = format!("[proxy]\nlisten = \"{address}\"\n{memory}");
    refused_by_both(&Home::bare(&taken), &format!("can't listen on {address}"));
}

#[test]
fn folders_that_can_not_be_written_to_are_found_by_check() {
    let config = "[proxy]\nlisten = \"127.0.0.1:0\"\n[ca]\nsource = \"memory\"\n";
    let home = Home::bare(config);
    with_mode(home.path(), 0o555);
    refused_by_both(&home, &home.state().display().to_string());
    with_mode(home.path(), 0o700);
    assert!(!home.state().exists(), "nothing is made");

    let home = Home::bare(config);
    std::fs::create_dir_all(home.audit_dir()).unwrap();
    with_mode(&home.state(), 0o700);
    for (mode, said) in [(0o500, "the audit can't begin a file in"), (0o755, "is open to others (mode 755)")] {
        with_mode(&home.audit_dir(), mode);
        refused_by_both(&home, said);
    }
    with_mode(&home.audit_dir(), 0o700);

    let home = Home::bare(&format!("{config}export = \"none/ca.pem\"\n"));
    refused_by_both(&home, "none/ca.pem: ");
    let home = Home::bare(&format!("{config}[key.tool]\nhosts = [\"api.tool.example\"]\nsource = \"file:key\"\n"));
    std::fs::write(home.path().join("key"), "tk-5f0c2d9be1-q8Zt2LwXvR-WXYZ\n").unwrap();
    with_mode(&home.path().join("key"), 0o644);
    let check = finish(&mut home.locum(&["check"]));
    assert!(stdout(&check).contains("every user of this machine can read the key 'tool'"), "{}", told(&check));
    with_mode(&home.path().join("key"), 0o600);
    let check = finish(&mut home.locum(&["check"]));
    assert!(!stdout(&check).contains("every user") && check.status.success(), "{}", told(&check));
}

/// The port of a service that runs is its own.
#[test]
fn check_is_content_beside_the_service_that_it_is_about() {
    let serve = Home::bare("[proxy]\nlisten = \"127.0.0.1:0\"\n[ca]\nsource = \"memory\"\n").serve();
    let mut check = serve.home.locum(&["check"]);
    let check = finish(check.env("LOCUM_PROXY__LISTEN", serve.address.to_string()));
    assert!(check.status.success(), "{}", told(&check));
}

#[test]
fn an_address_that_is_not_dialled_is_refused_by_explain_too() {
    let home = Home::bare("[proxy]\nlisten = \"127.0.0.1:0\"\n[ca]\nsource = \"memory\"\nexport = \"ca.pem\"\n");
    let serve = home.serve();
    for url in ["https://169.254.169.254/x", "https://[::1]/", "http://10.0.0.1/", "https://127.0.0.1/"] {
        let sent = serve.curl(&["-k", "-o", "answer", "-w", "%{http_code} %{http_connect}", url]);
        assert!(stdout(&sent).contains("403"), "{url}: {}", told(&sent));
        let explain = finish(&mut serve.home.locum(&["explain", "GET", url]));
        assert!(stdout(&explain).contains("which is not public"), "{url}: {}", told(&explain));
        assert_eq!(explain.status.code(), Some(3), "{url}: {}", told(&explain));
    }
    // a key that would go unencrypted goes to loopback alone, and what is behind a proxy is not known to be that
    let home = Home::bare(
        "[proxy]\nprivate_addresses = [\"127.0.0.1\"]\nupstream_proxy = \"http://10.0.0.9:3128\"\n\
         [key.tool]\nhosts = [\"http://127.0.0.1\"]\n",
    );
    let explain = finish(&mut home.locum(&["explain", "GET", "http://127.0.0.1/", "-H", "x-key: <<tool_key>>"]));
    assert!(stdout(&explain).contains("asked through the upstream proxy"), "{}", told(&explain));
    assert_eq!(explain.status.code(), Some(3), "{}", told(&explain));
}
