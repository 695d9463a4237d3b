//! The real binary: a home of its own for each test, the service in it, and commands beside the service.

use super::authority;
use super::client::{Client, Http};
use super::{HANGS, Upstream};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tempfile::TempDir;

/// What the tests' keys are worth: shaped like no real one, and long enough to be scrubbed.
pub const TOOL_KEY: &str = "tk-5f0c2d9be1a84763-real";
pub const OPENAI_KEY: &str = "sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4z";

/// A user's folders, with nothing in them but a config.
pub struct Home {
    dir: TempDir,
    variables: Vec<(String, String)>,
}

impl Home {
    /// A config in which `<<tool_key>>` is bound to the first upstream, in any header and as a whole value in a body;
    /// the other upstreams may be reached.
    pub fn bound(upstreams: &[&Upstream]) -> Self {
        let ports: Vec<String> = upstreams.iter().map(|u| u.port().to_string()).collect();
        let bound = upstreams.first().map(|u| format!("hosts = [\"{}\"]", u.authority()));
        let key = bound.map_or_else(String::new, |hosts| format!("[key.tool]\n{hosts}\n"));
        Self::with(&format!("connect_ports = [{}]\n", ports.join(", ")), &key)
    }

    /// `proxy` are lines of the table `[proxy]` besides those that every test needs, `rest` other tables.
    pub fn with(proxy: &str, rest: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("locum-it-").tempdir().expect("a folder");
        std::fs::write(dir.path().join("upstreams.pem"), &authority::TRUSTED.pem).expect("a file");
        let config = format!(
            "[proxy]\nlisten = \"127.0.0.1:0\"\nprivate_addresses = [\"127.0.0.0/8\", \"::1\"]\n\
             upstream_ca = [\"upstreams.pem\"]\n{proxy}\n\
             [ca]\nsource = \"memory\"\nexport = \"ca.pem\"\n{rest}"
        );
        let home = Self { dir, variables: Vec::new() };
        home.write_config(&config);
        home.set("TOOL_API_KEY", TOOL_KEY).set("OPENAI_API_KEY", OPENAI_KEY)
    }

    /// One with just this as its config.
    pub fn bare(config: &str) -> Self {
        let home = Self {
            dir: tempfile::Builder::new().prefix("locum-it-").tempdir().expect("a folder"),
            variables: Vec::new(),
        };
        home.write_config(config);
        home
    }

    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn write_config(&self, text: &str) {
        std::fs::write(self.config(), text).expect("the config");
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("locum.toml")
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn audit_dir(&self) -> PathBuf {
        self.state().join("audit")
    }

    /// A command in this home, which sees nothing else of who runs the tests.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.path()).stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path()).env("LANG", "C.UTF-8");
        command.envs(self.variables.iter().map(|(n, v)| (n, v)));
        command
    }

    /// `locum` with these arguments, the config and the state of this home.
    pub fn locum(&self, args: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_locum"));
        command.arg("--config").arg(self.config()).arg("--state").arg(self.state()).args(args);
        command
    }

    /// `locum run -- …` to its end; confined where that is what is tried of all clients.
    pub fn run(&self, child: &[&str]) -> Output {
        let confined = confinement().map(|mode| format!("--confine={mode}"));
        let mut run = self.locum(&["run"]);
        finish(run.args(confined).arg("--").args(child))
    }

    pub fn serve(self) -> Serve {
        Serve::start(self)
    }

    /// Every record of the audit, file by file, once the chain was found whole.
    pub fn audit(&self) -> Vec<Value> {
        self.verify();
        self.records()
    }

    /// Every record, whole or not.
    pub fn records(&self) -> Vec<Value> {
        let Ok(entries) = std::fs::read_dir(self.audit_dir()) else { return Vec::new() };
        let mut files: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
        files.retain(|f| f.extension().is_some_and(|e| e == "jsonl"));
        files.sort();
        let text: String = files.iter().map(|f| std::fs::read_to_string(f).expect("a file of the audit")).collect();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    pub fn verify(&self) {
        let owner = std::fs::metadata(self.config()).expect("the config").uid();
        let own = rustix::process::geteuid().as_raw();
        let audit = self.locum(&["audit", "verify"]);
        let mut verify = if owner == own { audit } else { as_user(owner, &audit, self) };
        let output = finish(&mut verify);
        assert!(output.status.success(), "{}", told(&output));
    }
}

/// How clients are to be confined, where that is what is tried of all of them.
pub fn confinement() -> Option<String> {
    std::env::var("LOCUM_TEST_CONFINE").ok()
}

/// The command as this user, who has to be able to reach the program.
fn as_user(uid: u32, command: &Command, home: &Home) -> Command {
    let program = home.path().join("locum-of-its-owner");
    if !program.exists() {
        std::fs::copy(command.get_program(), &program).expect("a copy");
    }
    let mut other = home.command("setpriv");
    other.arg(format!("--reuid={uid}")).args(["--clear-groups", "--"]).arg(program).args(command.get_args());
    other
}

/// Records of one kind.
pub fn of<'r>(records: &'r [Value], event: &str) -> Vec<&'r Value> {
    records.iter().filter(|r| r["event"] == event).collect()
}

/// Runs to the end; a program that hangs fails the test.
pub fn finish(command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a program that starts");
    let read = |mut from: Box<dyn std::io::Read + Send>| {
        std::thread::spawn(move || {
            let mut out = Vec::new();
            let _ = from.read_to_end(&mut out);
            out
        })
    };
    let stdout = read(Box::new(child.stdout.take().expect("a pipe")));
    let stderr = read(Box::new(child.stderr.take().expect("a pipe")));
    let status = await_exit(&mut child);
    Output { status, stdout: stdout.join().expect("stdout"), stderr: stderr.join().expect("stderr") }
}

/// Waits for the end of a child, and kills it when it hangs.
fn await_exit(child: &mut Child) -> ExitStatus {
    let pid = i32::try_from(child.id()).expect("a process id");
    let over = Arc::new((Mutex::new(false), Condvar::new()));
    let watched = over.clone();
    let watchdog = std::thread::spawn(move || {
        let (done, changed) = &*watched;
        let (guard, waited) =
            changed.wait_timeout_while(done.lock().expect("a flag"), HANGS * 3, |done| !*done).expect("a flag");
        drop(guard);
        if waited.timed_out() {
            signal(pid, rustix::process::Signal::KILL);
        }
        waited.timed_out()
    });
    let status = child.wait().expect("a status");
    *over.0.lock().expect("a flag") = true;
    over.1.notify_all();
    assert!(!watchdog.join().expect("the watchdog"), "it hung, and was killed");
    status
}

fn signal(pid: i32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
    let _ = rustix::process::kill_process(pid, signal);
}

/// All that a command said, for a message.
pub fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\nstdout: {}\nstderr: {}", output.status, text(&output.stdout), text(&output.stderr))
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A test that fails while it holds them tells more when the others go on.
fn lines_of(lines: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `locum serve`, listening.
pub struct Serve {
    pub home: Home,
    pub address: SocketAddr,
    /// The certificate that its clients trust.
    pub ca: String,
    child: Child,
    said: Arc<(Mutex<Vec<String>>, Condvar)>,
}

impl Serve {
    fn start(home: Home) -> Self {
        let mut command = home.locum(&["serve"]);
        Self::of(home, &mut command)
    }

    /// Starts `command`, which runs the service of `home` in some way.
    pub fn of(home: Home, command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("locum starts");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let said: Arc<(Mutex<Vec<String>>, Condvar)> = Arc::default();
        let heard = said.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                lines_of(&heard.0).push(line);
                heard.1.notify_all();
            }
            lines_of(&heard.0).push("(it has ended)".into());
            heard.1.notify_all();
        });
        let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut serve = Self { home, address: unspecified, ca: String::new(), child, said };
        let line = serve.await_said(|line| line.contains("locum listens on http") || line == "(it has ended)");
        let address = line.split("://").nth(1).unwrap_or_else(|| panic!("it doesn't listen: {}", serve.said()));
        serve.address = address.trim().parse().expect("an address");
        serve.ca = std::fs::read_to_string(serve.home.path().join("ca.pem")).unwrap_or_default();
        serve
    }

    /// Everything said so far on standard error.
    pub fn said(&self) -> String {
        lines_of(&self.said.0).join("\n")
    }

    /// The first line of which `wanted` is true, once there is one.
    pub fn await_said(&self, wanted: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + HANGS;
        let mut lines = lines_of(&self.said.0);
        loop {
            if let Some(line) = lines.iter().find(|line| wanted(line)) {
                return line.clone();
            }
            let left = until.checked_duration_since(Instant::now());
            let left = left.unwrap_or_else(|| panic!("it never said so: {}", lines.join("\n")));
            lines = self.said.1.wait_timeout(lines, left).expect("the lines").0;
        }
    }

    pub fn proxy_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A connection through it to `upstream`.
    pub async fn client(&self, upstream: &Upstream, http: Http) -> Client {
        Client::open(self.address, &self.ca, &upstream.authority(), http).await
    }

    /// `curl` through it, with its CA and nothing of the user's.
    pub fn curl(&self, args: &[&str]) -> Output {
        let mut command = self.home.command("curl");
        command.args(["-q", "--silent", "--show-error", "--max-time", "60", "--proxy", &self.proxy_url(), "--cacert"]);
        finish(command.arg(self.home.path().join("ca.pem")).args(args))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A figure of `/proc/PID/status`, in KiB.
    pub fn memory(&self, figure: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a process");
        let line = status.lines().find(|l| l.starts_with(figure)).expect("a figure");
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("a status").is_none()
    }

    pub fn signal(&self, number: rustix::process::Signal) {
        signal(i32::try_from(self.pid()).expect("a process id"), number);
    }

    /// Kills it as the system would, with no time to say goodbye.
    pub fn kill(mut self) -> Home {
        self.child.kill().expect("a kill");
        self.into_home()
    }

    /// As [`Self::stop`], while clients of this runtime go on: a connection that nobody drives holds up the drain.
    pub async fn drained(self) -> Home {
        tokio::task::spawn_blocking(|| self.stop()).await.expect("a good end")
    }

    /// Drains it, and has it end well.
    pub fn stop(self) -> Home {
        self.signal(rustix::process::Signal::TERM);
        self.stopped()
    }

    /// Has it end well, once it was told to stop.
    pub fn stopped(mut self) -> Home {
        let status = await_exit(&mut self.child);
        assert!(status.success(), "{status}: {}", self.said());
        self.into_home()
    }

    fn into_home(mut self) -> Home {
        let _ = self.child.wait();
        std::mem::replace(&mut self.home, Home::bare(""))
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("locum said:\n{}", self.said());
        }
    }
}
