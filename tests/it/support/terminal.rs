//! A command on a terminal of its own, and a person who answers what it asks.

use super::{HANGS, Home};
use std::io::{Read as _, Write as _};
use std::process::Stdio;

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
        // a question ends in ": ", when the terminal shows nothing any more
        while !String::from_utf8_lossy(&text[from..]).split_once(question).is_some_and(|(_, rest)| rest.contains(": "))
        {
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
