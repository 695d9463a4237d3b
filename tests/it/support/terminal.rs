//! A command on a terminal of its own: what is typed into it, and all that is shown on it.

use super::{HANGS, Home};
use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdout, ExitStatus, Stdio};

/// A command that runs in a terminal, as its session's leader and in its foreground.
pub struct Terminal {
    script: Child,
    screen: ChildStdout,
    shown: Vec<u8>,
    /// That a shell has shown and that were awaited.
    prompts: usize,
}

/// Of the shell.
const PROMPT: &str = "(newcomer) ";

impl Terminal {
    /// `locum` with these arguments, as a shell splits them.
    pub fn locum(home: &Home, arguments: &str) -> Self {
        let locum = env!("CARGO_BIN_EXE_locum");
        let (config, state) = (home.config(), home.state());
        let line = format!("exec '{locum}' --config '{}' --state '{}' {arguments}", config.display(), state.display());
        Self::of(home, &line)
    }

    /// A shell that finds `locum` by its name, in a home without anything else.
    pub fn shell(home: &Home) -> Self {
        let folder = std::path::Path::new(env!("CARGO_BIN_EXE_locum")).parent().expect("a folder");
        Self::of(home, &format!("PATH='{}':$PATH PS1='{PROMPT}' exec sh -i", folder.display()))
    }

    /// A bash with the keys of its line editor, that finds `locum` by its name.
    pub fn bash(home: &Home) -> Self {
        let folder = std::path::Path::new(env!("CARGO_BIN_EXE_locum")).parent().expect("a folder");
        Self::of(home, &format!("PATH='{}':$PATH PS1='{PROMPT}' TERM=dumb exec bash --norc -i", folder.display()))
    }

    /// A line of `sh`.
    pub fn line(home: &Home, line: &str) -> Self {
        Self::of(home, line)
    }

    fn of(home: &Home, line: &str) -> Self {
        // signals that who runs the tests ignores can't be caught by any program below
        let mut command = home.command("env");
        command.args(["--default-signal", "script", "--quiet", "--return", "--command", line, "/dev/null"]);
        let mut script = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a terminal");
        let screen = script.stdout.take().expect("a pipe");
        Self { script, screen, shown: Vec::new(), prompts: 0 }
    }

    /// All that was shown so far, once the shell has asked for one line more.
    pub fn await_prompt(&mut self) -> String {
        self.prompts += 1;
        let prompts = self.prompts;
        self.await_that(|shown| shown.matches(PROMPT).count() >= prompts, PROMPT)
    }

    /// All that was shown so far, once `text` was.
    pub fn await_shown(&mut self, text: &str) -> String {
        self.await_that(|shown| shown.contains(text), text)
    }

    fn await_that(&mut self, is_there: impl Fn(&str) -> bool, what: &str) -> String {
        let mut some = [0; 1024];
        while !is_there(&self.so_far()) {
            let n = self.screen.read(&mut some).expect("a screen");
            assert!(n > 0, "it ended without {what:?}: {}", self.so_far());
            self.shown.extend_from_slice(&some[..n]);
        }
        self.so_far()
    }

    pub fn press(&mut self, keys: &str) {
        let keyboard = self.script.stdin.as_mut().expect("a pipe");
        keyboard.write_all(keys.as_bytes()).and_then(|()| keyboard.flush()).expect("a keyboard");
    }

    /// How the command ended, and all that was shown.
    pub fn ended(mut self) -> (ExitStatus, String) {
        self.screen.read_to_end(&mut self.shown).expect("a screen");
        (self.script.wait().expect("a status"), self.so_far())
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.shown).replace("\r\n", "\n")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

/// Runs `locum` there to its end. `answers` are parts of questions, in the order in which they are to come, with what is
/// typed then; gives all that it showed, and its exit code.
pub fn on_terminal(home: &Home, args: &[&str], answers: &[(&str, &str)]) -> (String, Option<i32>) {
    let locum = home.locum(args);
    let words: Vec<_> = std::iter::once(locum.get_program()).chain(locum.get_args()).collect();
    let line = words.iter().map(|word| format!("'{}'", word.to_string_lossy())).collect::<Vec<_>>().join(" ");
    // one that asks for something else would wait for ever
    let mut command = home.command("timeout");
    command.arg((HANGS * 3).as_secs().to_string()).args([
        "script",
        "--quiet",
        "--return",
        "--command",
        &line,
        "/dev/null",
    ]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("script, of bsdutils");
    let (mut typed, mut shown) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    let mut read = |text: &mut Vec<u8>| {
        let n = shown.read(&mut buffer).unwrap_or(0);
        text.extend_from_slice(&buffer[..n]);
        n > 0
    };
    let mut from = 0;
    for (question, answer) in answers {
        // a question ends in ": " or "] ", when the terminal shows nothing any more
        let is_asked = |(_, rest): (&str, &str)| rest.contains(": ") || rest.contains("] ");
        while !String::from_utf8_lossy(&text[from..]).split_once(question).is_some_and(is_asked) {
            if !read(&mut text) {
                break;
            }
        }
        from = text.len();
        let _ = writeln!(typed, "{answer}");
    }
    while read(&mut text) {}
    drop(typed);
    let status = child.wait().expect("a status");
    (String::from_utf8_lossy(&text).replace('\r', ""), status.code())
}
