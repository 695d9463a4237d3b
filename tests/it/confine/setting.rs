//! An ordinary user's home, an upstream that is reached by a name of the real world, and listeners that a confined command is
//! not to reach.

use crate::support::exit::Exit;
use crate::support::locum::{finish, stdout, told};
use crate::support::{Home, Upstream};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};

/// Nobody's on the machines that tests run on.
const USER: u32 = 4711;
/// The one that every user may run; others are in somebody's folder.
pub const PYTHON: &str = "/usr/bin/python3";

/// A file of `tests/clients/confine`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/confine").join(name)
}

/// An ordinary user with a key for `api.tool.example`.
pub struct User {
    pub home: Home,
    pub upstream: Upstream,
    _exit: Exit,
}

impl User {
    pub fn new() -> Self {
        Self::with("", "")
    }

    /// `proxy` are further lines of `[proxy]`, `rest` other tables.
    pub fn with(proxy: &str, rest: &str) -> Self {
        let upstream = Upstream::start();
        let exit = Exit::to([("api.tool.example:443", upstream.address)]);
        let proxy =
            format!("upstream_proxy = \"http://{}\"\nupstream_proxy_bypass = [\"127.0.0.1\"]\n{proxy}", exit.address);
        let home = Home::with(&proxy, &format!("[key.tool]\nhosts = [\"api.tool.example\"]\n{rest}"));
        let config = std::fs::read_to_string(home.config()).unwrap();
        // what this machine's loopback has is listed where a test wants it to be
        home.write_config(&config.replace("private_addresses = [\"127.0.0.0/8\", \"::1\"]\n", ""));
        for name in ["ways.py", "outside.py", "without.py"] {
            std::fs::copy(script(name), home.path().join(name)).unwrap();
        }
        std::fs::hard_link(env!("CARGO_BIN_EXE_locum"), home.path().join("locum"))
            .or_else(|_| std::fs::copy(env!("CARGO_BIN_EXE_locum"), home.path().join("locum")).map(drop))
            .unwrap();
        let user = Self { home, upstream, _exit: exit };
        user.own(user.home.path());
        user
    }

    /// Makes a file or folder, and what is in it, the user's; a file with several names is not this test's alone.
    pub fn own(&self, path: &Path) {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let metadata = std::fs::symlink_metadata(path).unwrap();
        if metadata.is_dir() || metadata.nlink() == 1 {
            std::os::unix::fs::lchown(path, Some(USER), Some(USER)).unwrap();
        }
        if metadata.is_dir() {
            std::fs::read_dir(path).unwrap().for_each(|entry| self.own(&entry.unwrap().path()));
        }
    }

    /// A program as this user.
    pub fn command(&self, program: &str) -> Command {
        if !rustix::process::geteuid().is_root() {
            return self.home.command(program);
        }
        let mut command = self.home.command("setpriv");
        command.arg(format!("--reuid={USER}")).arg(format!("--regid={USER}")).args(["--clear-groups", "--", program]);
        command
    }

    /// `locum run` with these options, as this user; the command and its arguments are still to be given.
    pub fn locum_run(&self, options: &[&str]) -> Command {
        let mut command = self.command(&self.home.path().join("locum").to_string_lossy());
        command.arg("--config").arg(self.home.config()).arg("--state").arg(self.home.state());
        command.arg("run").args(options).arg("--");
        command
    }

    /// A command to its end, confined by these options.
    pub fn confined(&self, options: &[&str], command: &[&str]) -> Output {
        finish(self.locum_run(options).args(command))
    }

    /// A command of `--confine=require`, without any variable but PATH.
    pub fn bare(&self, script: &str) -> Output {
        let path = format!("PATH={}", std::env::var("PATH").unwrap());
        self.confined(&["--confine=require"], &["env", "-i", &path, "sh", "-c", script])
    }

    /// What `ways.py` says: `open`, or why not. Unconfined without options.
    pub fn way(&self, options: &[&str], way: &str, target: &str) -> String {
        let ways = self.home.path().join("ways.py").to_string_lossy().into_owned();
        let words = [PYTHON, &ways, way, target];
        let mut command = match options {
            [] => self.command(words[0]),
            options => self.locum_run(options),
        };
        let words = if options.is_empty() { &words[1..] } else { &words };
        let output = finish(command.args(words));
        let said = stdout(&output).trim_end().to_owned();
        assert!(said == "open" || said.starts_with("shut"), "{way}: {}", told(&output));
        said
    }
}

/// The listeners of `outside.py`, which the user runs as well.
pub struct Outside {
    at: Value,
    child: Child,
    _stdin: ChildStdin,
}

impl Outside {
    pub fn of(user: &User) -> Self {
        let mut command = user.command(PYTHON);
        command.arg(user.home.path().join("outside.py")).arg(user.home.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let stdin = child.stdin.take().unwrap();
        Self { at: serde_json::from_str(&line).unwrap(), child, _stdin: stdin }
    }

    /// Where it listens in this way, as text.
    pub fn at(&self, way: &str) -> String {
        let at = &self.at[way];
        at.as_str().map_or_else(|| at.to_string(), str::to_owned)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that makes who runs it root, for whoever may run it; `None` where the tests can't make one.
pub fn setuid_program(user: &User) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let path = user.home.path().join("setuid-id");
    std::fs::copy("/usr/bin/id", &path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4755)).unwrap();
    Some(path.to_string_lossy().into_owned())
}

/// An address of this machine that is not loopback's, where it has one.
pub fn other_address() -> Option<String> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // nothing is sent: it is only asked which address would be
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip().to_string()).filter(|address| address != "127.0.0.1")
}
