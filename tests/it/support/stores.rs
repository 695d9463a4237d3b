//! Commands on the stores of keys with what they are given and say, and a keyring for them.

use super::locum::{finish, stderr, stdout};
use super::{HANGS, Home};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Output, Stdio};
use std::time::Instant;

pub const KEY: &str = "tk-5f0c2d9be1-q8Zt2LwXvR-WXYZ";

/// Runs `locum` with this input, to its end.
pub fn locum(home: &Home, args: &[&str], input: &str) -> Output {
    let mut command = home.locum(args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("locum");
    // one that needs no input may be gone already
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("its end")
}

/// What it said, with what differs from run to run taken out.
pub fn transcript(home: &Home, args: &[&str], input: &str) -> String {
    let output = locum(home, args, input);
    let text = format!("{}{}[{}]\n", stdout(&output), stderr(&output), output.status.code().unwrap_or(-1));
    text.lines()
        .filter(|line| !line.starts_with("note: keyring"))
        .map(|line| format!("{line}\n"))
        .collect::<String>()
        .replace(&home.path().display().to_string(), "~")
}

/// One whose vault is to have this password.
pub fn with_vault(password: &str) -> Home {
    Home::bare("[key.tool]\nhosts = [\"api.tool.example\"]\n").set("LOCUM_MASTER_PASSWORD", password)
}

/// A D-Bus session of this test's own, with a keyring in it.
pub struct SecretService {
    bus: Child,
    pub keyring: Child,
    pub address: String,
}

impl SecretService {
    /// `unlocked` has a collection to put things into; one that is not would ask a person.
    pub fn start(home: &Home, unlocked: bool) -> Self {
        let runtime = home.path().join("run");
        std::fs::create_dir(&runtime).expect("a folder");
        std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o700)).expect("a mode");
        let mut bus = home.command("dbus-daemon");
        let bus = bus.args(["--session", "--nofork", "--print-address"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut bus = bus.spawn().expect("dbus-daemon");
        let address = first_line(&mut bus);
        let mut keyring = home.command("gnome-keyring-daemon");
        keyring.args(["--foreground", "--components=secrets"]);
        if unlocked {
            keyring.arg("--unlock");
        }
        keyring.env("DBUS_SESSION_BUS_ADDRESS", &address).env("XDG_RUNTIME_DIR", &runtime);
        keyring.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut keyring = keyring.spawn().expect("gnome-keyring-daemon");
        let password = keyring.stdin.take().expect("a pipe").write_all(b"a password of the tests");
        assert!(password.is_ok() || !unlocked);
        let service = Self { bus, keyring, address };
        let until = Instant::now() + HANGS;
        while !service.is_there(home) {
            assert!(Instant::now() < until, "gnome-keyring-daemon doesn't serve");
        }
        service
    }

    fn is_there(&self, home: &Home) -> bool {
        let mut ask = home.command("dbus-send");
        ask.env("DBUS_SESSION_BUS_ADDRESS", &self.address).args(["--session", "--print-reply"]);
        ask.args(["--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.NameHasOwner"]);
        stdout(&finish(ask.arg("string:org.freedesktop.secrets"))).contains("boolean true")
    }
}

impl Drop for SecretService {
    fn drop(&mut self) {
        for child in [&mut self.keyring, &mut self.bus] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
    line.trim().to_owned()
}
