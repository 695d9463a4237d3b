//! One client, run to its end or to the end of its time, and all that it has started with it.

use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeSet;
use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::process::Child;
use tokio::sync::watch;

/// The most that is read of what a client says, in bytes.
const MOST_SAID: u64 = 64 * 1024;

/// How an attempt ended.
#[derive(Debug)]
pub enum AttemptEnd {
    /// Its request came to the upstream.
    Reached,
    /// It ended by itself.
    Ended {
        code: Option<i32>,
        /// What it said on standard error.
        said: String,
    },
    /// Its time was over.
    TooLong,
}

/// Runs a client in a group of its own, until `host` is among the hosts that the upstream was asked for, or it has ended, or its
/// time is over.
///
/// # Errors
/// When it can't be started.
pub async fn attempt(
    mut command: Command,
    host: &str,
    mut asked: watch::Receiver<BTreeSet<String>>,
    patience: Duration,
) -> io::Result<AttemptEnd> {
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = tokio::process::Command::from(command).spawn()?;
    let end = tokio::select! {
        Ok(_) = asked.wait_for(|hosts| hosts.contains(host)) => AttemptEnd::Reached,
        ended = ended(&mut child) => return ended,
        () = tokio::time::sleep(patience) => AttemptEnd::TooLong,
    };
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    // it was not waited for, so the number is still its own
    let _ = group.map(|group| kill_process_group(group, Signal::KILL));
    child.wait().await?;
    Ok(end)
}

async fn ended(child: &mut Child) -> io::Result<AttemptEnd> {
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(MOST_SAID).read_to_end(&mut said).await?;
    }
    let code = child.wait().await?.code();
    Ok(AttemptEnd::Ended { code, said: String::from_utf8_lossy(&said).into_owned() })
}
