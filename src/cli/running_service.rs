//! The service that runs with these settings, as a command beside it finds it: by its control socket, else at the address that
//! the config gives.

use super::serve;
use super::term::CliError;
use crate::config::settings::Settings;
use serde_json::Value;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long one may take to start, as in `locum serve & eval "$(locum env)"`.
const STARTS: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(50);
/// How long it may take to do what it is told: sources of keys may be slow.
const OBEYS: Duration = Duration::from_secs(60);
/// The control socket, in the folder for state.
const SOCKET: &str = "control.sock";

/// What has to be known of it to use it.
pub struct RunningService {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether it refuses who has no token; not known where it has no socket.
    pub needs_token: bool,
}

impl RunningService {
    /// Waits until one answers, as long as one may take to start.
    ///
    /// # Errors
    /// When none does.
    pub fn find(settings: &Settings) -> anyhow::Result<Self> {
        let until = Instant::now() + STARTS;
        loop {
            if let Some(service) = Self::by_socket(&settings.state) {
                return Ok(service);
            }
            match serve::healthcheck(settings.proxy.listen) {
                Ok(_) => return Ok(Self { listen: settings.proxy.listen, needs_token: false }),
                Err(e) if Instant::now() > until => return Err(e),
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }

    fn by_socket(state: &Path) -> Option<Self> {
        let status = ask(state, "status", STARTS).ok()?;
        let listen = status["listen"].as_str()?.parse().ok()?;
        Some(Self { listen, needs_token: status["agents"]["token_needed"].as_bool()? })
    }
}

/// Has the service of this state folder do what `command` says.
///
/// # Errors
/// When none runs, or it can't.
pub fn obey(state: &Path, command: &str) -> anyhow::Result<()> {
    let answer = ask(state, command, OBEYS).map_err(|e| {
        let what = format!("no service answers at {}: {e}", state.join(SOCKET).display());
        let next = match e.kind() {
            io::ErrorKind::PermissionDenied => "only the user that runs it, and root, may tell it what to do",
            _ => "start one with `locum serve`, or name the --state that it has",
        };
        CliError::failed(what, next)
    })?;
    match answer["error"].as_str() {
        Some(error) => Err(CliError::failed(error, answer["hint"].as_str().unwrap_or_default())),
        None => Ok(()),
    }
}

/// What the service of this state folder says of itself; nothing where none answers.
pub fn status(state: &Path) -> Option<Value> {
    ask(state, "status", STARTS).ok().filter(|status| status["error"].is_null())
}

/// Whether the control socket there is that of a service which was killed.
pub fn is_dead(state: &Path) -> bool {
    UnixStream::connect(state.join(SOCKET)).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
}

fn ask(state: &Path, command: &str, patience: Duration) -> io::Result<Value> {
    let mut socket = UnixStream::connect(state.join(SOCKET))?;
    socket.set_read_timeout(Some(patience))?;
    socket.write_all(format!("{}\n", serde_json::json!({ "command": command })).as_bytes())?;
    let mut line = String::new();
    BufReader::new(socket).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}
