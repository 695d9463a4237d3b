//! The control socket: a Unix socket in the state folder, by which the user that runs a service commands it. It sees to who
//! is there, to lines and to time; what a line means, the protocol does.

use super::{AppError, control_protocol};
use crate::control::{Control, ControlError};
use crate::disk;
use crate::system::operator::Operator;
use rustix::fs::{Mode, chmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with, sockopt,
};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Bytes of a command's line, with its end. The longest that means something names some hundred keys.
const MAX_LINE: u64 = 64 * 1024;
/// Connections at once: each is a program of the operator's, which asks and goes.
const MAX_CONNECTIONS: usize = 8;
/// How long a peer may take to write a line, or to read its answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long answers may take to get out once the service has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;
/// How long to wait when the system has no descriptor left.
const RESPITE: Duration = Duration::from_millis(50);
/// How often at most a stranger is told of in the log, who could fill it otherwise.
const TOLD_AGAIN: Duration = Duration::from_secs(10);

/// The control socket of this process, bound and not served yet. Dropped, it is removed.
#[derive(Debug)]
pub struct ControlSocket {
    listener: OwnedFd,
    file: SocketFile,
}

/// The socket's file. Dropped, it is removed, unless another has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    id: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.id) {
            // what stays is found to be dead by the next one
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl ControlSocket {
    /// Opens `control.sock` in the state folder, with mode 0600. One that a process left which has died is replaced.
    ///
    /// # Errors
    /// When another service that runs has it, and when the folder can hold no socket, or only under a shorter path
    /// (`sun_path` of unix(7) has 108 bytes).
    pub fn open(state: &Path) -> Result<Self, AppError> {
        let path = state.join("control.sock");
        let fail = |source: io::Error| AppError::ControlSocket { path: path.clone(), source };
        let address = SocketAddrUnix::new(&path).map_err(|e| fail(e.into()))?;
        // of two that begin at once, the second finds the first alive
        let _turn = disk::turn(&state.join("control.lock")).map_err(fail)?;
        if let Some(pid) = living(&address).map_err(|e| fail(e.into()))? {
            return Err(AppError::ControlTaken { path, pid });
        }
        remove_dead(&path).map_err(fail)?;
        let listener = stream_socket().map_err(|e| fail(e.into()))?;
        bind(&listener, &address).map_err(|e| fail(e.into()))?;
        let found = std::fs::symlink_metadata(&path).map_err(fail)?;
        let file = SocketFile { path: path.clone(), id: (found.dev(), found.ino()) };
        // nobody can connect before it listens
        chmod(&path, Mode::RUSR | Mode::WUSR).map_err(|e| fail(e.into()))?;
        listen(&listener, BACKLOG).map_err(|e| fail(e.into()))?;
        Ok(Self { listener, file })
    }

    /// Answers commands until the service has ended, which is when `stopping` has no sender any more. Once that is true, the
    /// file is removed and nobody new is let in, so that the next service can open its own while this one drains.
    ///
    /// # Errors
    /// When it is awaited outside of a runtime that does IO.
    pub async fn serve(self, control: Arc<dyn Control>, mut stopping: watch::Receiver<bool>) -> io::Result<()> {
        let Self { listener, file } = self;
        let listener = UnixListener::from_std(listener.into())?;
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        let mut strangers = Strangers::default();
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(_) => {
                        tokio::time::sleep(RESPITE).await;
                        continue;
                    }
                },
                () = stopped(&mut stopping) => break,
            };
            while connections.try_join_next().is_some() {}
            if let Err(e) = strangers.check(&stream) {
                turn_away(stream, &e);
                continue;
            }
            match places.clone().try_acquire_owned() {
                Ok(place) => {
                    let (control, stopping) = (control.by(operator(&stream)), stopping.clone());
                    connections.spawn(async move {
                        serve_peer(stream, &*control, stopping).await;
                        drop(place);
                    });
                }
                Err(_) => turn_away(stream, &busy()),
            }
        }
        drop((listener, file));
        // a peer that is still there may say once more that it is to stop
        ended(&mut stopping).await;
        let _ = timeout(LAST_ANSWERS, async { while connections.join_next().await.is_some() {} }).await;
        Ok(())
    }
}

/// Resolves when the service stops.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Resolves when the service has ended.
async fn ended(stopping: &mut watch::Receiver<bool>) {
    while stopping.changed().await.is_ok() {}
}

fn stream_socket() -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// Whether a process listens there, and which, where the system tells it. The question does not wait: one that has no place
/// left for it is alive too.
fn living(address: &SocketAddrUnix) -> rustix::io::Result<Option<Option<i32>>> {
    let probe = stream_socket()?;
    match connect(&probe, address) {
        Ok(()) => Ok(Some(sockopt::socket_peercred(&probe).ok().map(|peer| peer.pid.as_raw_nonzero().get()))),
        Err(Errno::AGAIN) => Ok(Some(None)),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Removes what is at the path, where that is a socket; nobody listens there any more.
fn remove_dead(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there, and no socket")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Peers of other users. The file's mode keeps them out; this holds where somebody has changed that, or hands an open
/// descriptor on.
#[derive(Default)]
struct Strangers {
    told: Option<Instant>,
}

impl Strangers {
    /// Only the user that runs the service may command it, and root.
    fn check(&mut self, stream: &UnixStream) -> Result<(), ControlError> {
        let own = rustix::process::geteuid().as_raw();
        let peer = stream.peer_cred().map(|peer| peer.uid());
        if peer.as_ref().is_ok_and(|uid| *uid == own || *uid == 0) {
            return Ok(());
        }
        let who = peer.map_or_else(|_| "of an unknown user".into(), |uid| format!("of uid {uid}"));
        if self.told.is_none_or(|at| at.elapsed() >= TOLD_AGAIN) {
            self.told = Some(Instant::now());
            tracing::warn!(
                "a program {who} tried to control this service, and was refused; see the mode of control.sock"
            );
        }
        Err(ControlError {
            what: format!("only uid {own} may control this service, and root; this is a program {who}"),
            next: "run it as the user that runs the service".into(),
        })
    }
}

/// Whoever is at the other end.
fn operator(stream: &UnixStream) -> Operator {
    let Ok(peer) = stream.peer_cred() else { return Operator::default() };
    Operator::of(peer.uid(), peer.pid().and_then(|pid| u32::try_from(pid).ok()))
}

fn busy() -> ControlError {
    let what = format!("{MAX_CONNECTIONS} programs control this service already");
    ControlError { what, next: "end one of them, or wait".into() }
}

/// Says why, as far as the socket takes it at once.
fn turn_away(stream: UnixStream, why: &ControlError) {
    let _ = stream.try_write(&control_protocol::error_line(why));
}

/// One line after the other, each obeyed and answered before the next is read, until the service has ended.
async fn serve_peer(mut stream: UnixStream, control: &dyn Control, mut stopping: watch::Receiver<bool>) {
    let (input, mut output) = stream.split();
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut input).take(MAX_LINE);
        let read = tokio::select! {
            read = timeout(PATIENCE, bounded.read_until(b'\n', &mut line)) => read,
            () = ended(&mut stopping) => return,
        };
        let (answer, goes_on) = match read {
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(_)) if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") => {
                (control_protocol::error_line(&too_long()), false)
            }
            // the last line needs no end
            Ok(Ok(_)) => (control_protocol::answer_to(&line, control).await, true),
            Err(_) => (control_protocol::error_line(&too_slow()), false),
        };
        if !matches!(timeout(PATIENCE, output.write_all(&answer)).await, Ok(Ok(()))) || !goes_on {
            return;
        }
    }
}

fn too_long() -> ControlError {
    let what = format!("the line is over {} KiB", MAX_LINE / 1024);
    ControlError { what, next: "write one command a line".into() }
}

fn too_slow() -> ControlError {
    let what = format!("no command came within {} s", PATIENCE.as_secs());
    ControlError { what, next: "connect again, and write a line that ends".into() }
}
