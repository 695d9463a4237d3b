//! Keys that a program prints, such as a password manager's command. Which program, the config says.

use crate::memory::Plaintext;
use crate::secrets::source::{Freshness, SecretSource, SourceError};
use crate::secrets::value::{self, MAX_VALUE};
use std::io::{self, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a program may take: long enough for a person to touch a token or give a fingerprint.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// How long its answer is used before it is run again, where the config says nothing else.
const GOOD_FOR: Duration = Duration::from_secs(300);

/// A program that prints the value.
pub struct ExecSource {
    words: Vec<String>,
    time_limit: Duration,
}

impl ExecSource {
    /// `words` are an absolute program and its arguments.
    pub fn new(words: Vec<String>) -> Self {
        Self { words, time_limit: TIME_LIMIT }
    }

    fn program(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    fn failed(&self, what: impl std::fmt::Display) -> SourceError {
        SourceError::new(
            format!("{} {what}", self.describe()),
            "run it by hand with 'env -i'; what it needs from the environment, pass it: [\"/usr/bin/env\", \"HOME=…\", …]",
        )
    }

    /// With nothing of ours: no variables, no terminal, no folder, and in a group that can be ended as a whole.
    fn start(&self) -> io::Result<Child> {
        let mut command = Command::new(self.program());
        command.args(self.words.get(1..).unwrap_or_default()).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command.current_dir("/"), 0);
        command.spawn()
    }
}

impl SecretSource for ExecSource {
    /// Without the arguments: they may say more than a table should show.
    fn describe(&self) -> String {
        format!("program {}", self.program())
    }

    fn load(&self) -> Result<Option<Plaintext>, SourceError> {
        let deadline = Instant::now() + self.time_limit;
        let child = self.start().map_err(|e| self.failed(format_args!("can't be started: {e}")))?;
        let mut running = ChildGuard(child);
        let printed = running.printed(deadline);
        let (Some(printed), Some(status)) = (printed, running.ended(deadline)) else {
            return Err(self.failed(format_args!("took longer than {} s", self.time_limit.as_secs_f32())));
        };
        // One that printed too much was cut off, so how it ended says nothing.
        let Some(raw) = printed.map_err(|e| self.failed(format_args!("can't be read: {e}")))? else {
            return Err(value::too_long(&self.describe()));
        };
        if !status.success() {
            return Err(self.failed(format_args!("failed ({status})")));
        }
        value::clean(raw, &self.describe())
    }

    fn freshness(&self) -> Freshness {
        Freshness { stamp: 0, lifetime: Some(GOOD_FOR) }
    }
}

/// A child that is ended, with all that it started, when nobody waits for it any more.
struct ChildGuard(Child);

impl ChildGuard {
    /// All that the child printed, `None` inside for too much; `None` outside when the time is over.
    fn printed(&mut self, deadline: Instant) -> Option<io::Result<Option<Plaintext>>> {
        let stdout = self.0.stdout.take()?;
        let (sender, receiver) = channel();
        std::thread::spawn(move || sender.send(read_whole(stdout)));
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(printed) => Some(printed),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(io::Error::other("its reader broke off"))),
        }
    }

    /// A child that has closed its output is about to end; the few looks cost less than another thread.
    fn ended(&mut self, deadline: Instant) -> Option<ExitStatus> {
        let mut pause = Duration::from_micros(200);
        loop {
            if let Ok(Some(status)) = self.0.try_wait() {
                return Some(status);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        // Once it is waited for, its number may belong to another process.
        if let Ok(Some(_)) = self.0.try_wait() {
            return;
        }
        #[cfg(unix)]
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `None` where it is longer than any value. The buffer never grows, so that the secret is in it alone.
fn read_whole(mut from: ChildStdout) -> io::Result<Option<Plaintext>> {
    let mut raw = Plaintext::new(vec![0; MAX_VALUE + 3]);
    let mut len = 0;
    loop {
        match from.read(raw.bytes_mut().get_mut(len..).unwrap_or_default()) {
            Ok(0) if len == MAX_VALUE + 3 => return Ok(None),
            Ok(0) => break,
            Ok(n) => len += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    raw.truncate(len);
    Ok(Some(raw))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn sh(script: &str) -> ExecSource {
        ExecSource::new(vec!["/bin/sh".into(), "-c".into(), script.into()])
    }

    fn load(source: &ExecSource) -> Result<Option<String>, String> {
        source.load().map(|v| v.map(|v| String::from_utf8_lossy(v.expose()).into_owned())).map_err(|e| e.what)
    }

    #[test]
    fn what_it_prints_is_the_value() {
        for (script, value) in [
            ("echo sk-1", Ok(Some("sk-1"))),
            ("printf sk-1; echo sk-2 >&2", Ok(Some("sk-1"))),
            ("true", Ok(None)),
            ("head -c 65536 /dev/zero | tr '\\0' a | wc -c", Ok(Some("65536"))),
            ("cat; echo read nothing", Ok(Some("read nothing"))),
            ("echo sk-1; exit 3", Err("program /bin/sh failed (exit status: 3)")),
            ("echo sk-1; kill -9 $$", Err("program /bin/sh failed (signal: 9 (SIGKILL))")),
        ] {
            let expected = value.map(|v| v.map(str::to_owned)).map_err(str::to_owned);
            assert_eq!(load(&sh(script)), expected, "{script}");
        }
    }

    #[test]
    fn it_gets_nothing_of_ours() {
        let env = ExecSource::new(vec!["/usr/bin/env".into()]);
        assert_eq!(load(&env), Ok(None));
        assert_eq!(load(&sh("pwd")), Ok(Some("/".into())));
    }

    #[test]
    fn too_much_and_too_late_are_errors_and_end_it() {
        let e = load(&sh("while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done")).unwrap_err();
        assert!(e.contains("longer than 65536"), "{e}");
        for script in ["sleep 1000 & sleep 1000", "sleep 1000 >/dev/null & exec >&-; sleep 1000"] {
            let slow = ExecSource { time_limit: Duration::from_millis(50), ..sh(script) };
            assert_eq!(load(&slow), Err("program /bin/sh took longer than 0.05 s".into()));
        }
        assert!(load(&ExecSource::new(vec!["/no/such".into()])).unwrap_err().contains("can't be started"));
    }
}
