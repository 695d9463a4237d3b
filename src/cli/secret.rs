//! Reads a secret from a person or a pipe: never from an argument, never shown.

use super::term::{CliError, LastLine};
use crate::app;
use crate::memory::{Plaintext, wipe};
use crate::name::KeyName;
use crate::secrets::{MAX_VALUE, SecretSource, SourceError};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, Read, Write};
use std::sync::{Mutex, PoisonError};

/// Linux keeps this much of a line that is typed or pasted, and drops the rest without a word.
const TERMINAL_LINE: usize = 4095;

/// The most that is read where several values are given at once, in bytes.
const MAX_TEXT: usize = 1024 * 1024;

/// What to do where no value can be typed.
pub const BY_STDIN: &str = "give the value on standard input, with --stdin";

/// From standard input to its end, without the line feed that `echo` adds.
pub fn from_stdin() -> anyhow::Result<Plaintext> {
    let _typed = held();
    checked(read_to_end(&mut io::stdin().lock())?)
}

/// The terminal's last line, for a question and its answer.
fn held() -> LastLine {
    let mut line = LastLine::hold();
    line.clear();
    line
}

/// A text that holds several, such as lines `NAME=VALUE`, to its end.
pub fn text_of(input: &mut impl Read) -> anyhow::Result<Plaintext> {
    read_up_to(MAX_TEXT, input).map(|(buffer, len)| {
        let mut text = Plaintext::new(buffer);
        text.truncate(len);
        text
    })
}

/// From the terminal, without echo; `None` where nothing was typed.
pub fn prompt_or_nothing(question: &str, otherwise: &str) -> anyhow::Result<Option<Plaintext>> {
    let asked = typed(question, otherwise)?;
    if asked.expose().is_empty() { Ok(None) } else { checked(asked).map(Some) }
}

/// From the terminal, without echo. `otherwise` is how the value can be given where that is no way.
pub fn prompt(question: &str, otherwise: &str) -> anyhow::Result<Plaintext> {
    checked(typed(question, otherwise)?)
}

fn typed(question: &str, otherwise: &str) -> anyhow::Result<Plaintext> {
    let asked = ask(question).map_err(|_| CliError::failed("there is no terminal to ask on", otherwise))?;
    if asked.expose().len() >= TERMINAL_LINE {
        let what = format!("a terminal's line ends at {TERMINAL_LINE} bytes, and the value may go on");
        return Err(CliError::failed(what, otherwise));
    }
    Ok(asked)
}

/// Asks a question, and gives what is answered; `None` for Enter alone.
///
/// # Errors
/// When nobody is there to answer any more.
pub fn ask_person(question: &str) -> anyhow::Result<Option<String>> {
    print!("{question}");
    let asked = held();
    io::stdout().flush()?;
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    drop(asked);
    if read? == 0 {
        println!();
        return Err(CliError::failed("nobody answers any more", "what was done so far stays; run the same again"));
    }
    Ok(Some(line.trim().to_owned()).filter(|said| !said.is_empty()))
}

pub fn checked(secret: Plaintext) -> anyhow::Result<Plaintext> {
    check(&secret).map(|()| secret)
}

/// Whether it can be a key.
pub fn check(secret: &Plaintext) -> anyhow::Result<()> {
    if KeyName::is_placeholder(secret.expose()) {
        return Err(CliError::failed("what is given is a placeholder, and no key", "give the key itself"));
    }
    if secret.expose().is_empty() {
        return Err(CliError::failed("nothing was given", "give the value, and no empty line"));
    }
    if secret.expose().iter().any(|b| *b < 0x20 || *b == 0x7f) {
        let next = "a key is one line without control characters";
        return Err(CliError::failed("the value holds a control character", next));
    }
    Ok(())
}

/// Says what a value has about it that keys don't have: it is kept as it was given.
pub fn warn_of_oddities(key: &KeyName, value: &Plaintext) {
    for complaint in app::oddities(key, value.expose()) {
        eprintln!("locum: warning: {}\n  next: {}", complaint.what, complaint.next);
    }
}

fn read_to_end(input: &mut impl Read) -> anyhow::Result<Plaintext> {
    read_up_to(MAX_VALUE, input).map(|(buffer, len)| trimmed(buffer, len))
}

/// The buffer has its full size from the start: one that grows leaves copies behind.
fn read_up_to(most: usize, input: &mut impl Read) -> anyhow::Result<(Vec<u8>, usize)> {
    let mut buffer = vec![0; most + 2];
    let mut len = 0;
    loop {
        match input.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => {
                wipe(&mut buffer);
                return Err(e.into());
            }
        }
        if len == buffer.len() {
            wipe(&mut buffer);
            return Err(CliError::failed(format!("what is given is over {most} bytes"), "a key is one line of text"));
        }
    }
    Ok((buffer, len))
}

fn trimmed(buffer: Vec<u8>, len: usize) -> Plaintext {
    let text = &buffer[..len];
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let len = text.strip_suffix(b"\r").unwrap_or(text).len();
    let mut secret = Plaintext::new(buffer);
    secret.truncate(len);
    secret
}

/// Puts the terminal back as it was, however the question ends.
struct EchoOff<'t> {
    terminal: &'t File,
    before: Termios,
}

impl<'t> EchoOff<'t> {
    fn on(terminal: &'t File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for EchoOff<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

fn ask(question: &str) -> io::Result<Plaintext> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    let _asked = held();
    // before it asks: what is given at once would be shown, and the change would drop what came before it
    let silence = EchoOff::on(&terminal)?;
    write!(&terminal, "{question}: ")?;
    let mut buffer = vec![0; MAX_VALUE + 2];
    let mut len = 0;
    // the terminal gives a line at a time
    while len < buffer.len() {
        let n = (&mut &terminal).read(&mut buffer[len..])?;
        len += n;
        if n == 0 || buffer[..len].ends_with(b"\n") {
            break;
        }
    }
    drop(silence);
    Ok(trimmed(buffer, len))
}

/// Asks a person for the vault's password, once the other places for it have none, and never twice: a command asks the vault
/// for several things, and each would ask again for a password that was wrong.
#[derive(Default)]
pub struct MasterPrompt(Mutex<Option<MasterAnswer>>);

/// The answer that was given to the question for the master password.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MasterAnswer {
    Password,
    Nothing,
}

impl SecretSource for MasterPrompt {
    fn describe(&self) -> String {
        "prompt".into()
    }

    fn load(&self) -> Result<Option<Plaintext>, SourceError> {
        let mut answer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *answer {
            Some(MasterAnswer::Nothing) => return Ok(None),
            // the vault keeps one that was right
            Some(MasterAnswer::Password) => {
                return Err(SourceError::new("the master password was wrong", "run the command again"));
            }
            None => {}
        }
        let given = ask("master password of the vault").ok().filter(|secret| !secret.expose().is_empty());
        *answer = Some(if given.is_some() { MasterAnswer::Password } else { MasterAnswer::Nothing });
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_feed_is_no_part_of_a_key() {
        for (given, read) in [("abc", "abc"), ("abc\n", "abc"), ("abc\r\n", "abc"), (" a b ", " a b ")] {
            let secret = checked(read_to_end(&mut given.as_bytes()).unwrap()).unwrap();
            assert_eq!(secret.expose(), read.as_bytes());
        }
        for bad in ["", "\n", "a\nb", "a\n\n", "a\0"] {
            assert!(read_to_end(&mut bad.as_bytes()).and_then(checked).is_err(), "{bad:?}");
        }
        assert!(read_to_end(&mut io::repeat(b'a')).is_err());
    }
}
