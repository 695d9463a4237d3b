//! Starts the helper of a confined command, and takes over what it opened inside.

use super::channel::{Channel, HelperMessage, HelperOrder, Received};
use super::helper::HELPER;
use super::network::NamespaceListeners;
use super::plan::{ConfineLevel, ConfinePlan};
use std::ffi::OsStr;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Command;

/// Why a command can't be confined so.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// What this system does not permit, or has not.
    #[error("{step}: {error}")]
    Refused {
        /// What was to be done.
        step: String,
        /// The system's reason.
        error: String,
    },
    /// The helper could not be started, or is gone.
    #[error("the helper: {0}")]
    Helper(#[from] io::Error),
}

/// A command behind walls that stand, not started yet.
pub struct ConfinedCommand {
    channel: Channel,
}

/// The helper's process, to be waited for in place of the command's: it ends as that does.
pub struct StartedHelper<P> {
    /// As it was spawned.
    pub process: P,
    /// The command, once the walls stand.
    pub command: ConfinedCommand,
    /// What listens inside; `None` where the command is in the network that everybody is in.
    pub listeners: Option<NamespaceListeners>,
}

/// The command line of the helper that starts `program`: with the environment, and everything else, that the command is to
/// have.
///
/// # Errors
/// No socket for it, or this program can't be found again.
pub fn helper_of(program: &[impl AsRef<OsStr>]) -> io::Result<(Command, HelperEnd)> {
    let (ours, theirs) = Channel::pair()?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(HELPER).arg(theirs.descriptor().to_string()).args(program);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::arg0(&mut command, "locum");
    inherit(&mut command, &theirs);
    Ok((command, HelperEnd { ours, theirs }))
}

/// Both ends, until the helper has its own.
pub struct HelperEnd {
    ours: Channel,
    theirs: Channel,
}

impl HelperEnd {
    /// Tells the helper, which `spawn` starts, what to do, and waits for the walls to stand.
    ///
    /// # Errors
    /// What this system does not permit.
    pub fn start<P>(
        self,
        plan: &ConfinePlan,
        spawn: impl FnOnce() -> io::Result<P>,
    ) -> Result<StartedHelper<P>, ConfineError> {
        let process = spawn()?;
        let Self { ours, theirs } = self;
        drop(theirs);
        let mut file = tempfile::tempfile()?;
        file.write_all(&serde_json::to_vec(plan).map_err(io::Error::from)?)?;
        file.rewind()?;
        ours.send(&HelperOrder::Plan, &[file.as_fd()])?;
        let Received { message, descriptors, .. } = received(&ours)?;
        let only_ports = match message {
            HelperMessage::Ready { only_ports } => only_ports,
            HelperMessage::Failed { step, error } => return Err(ConfineError::Refused { step, error }),
            _ => return Err(io::Error::from(io::ErrorKind::InvalidData).into()),
        };
        let listeners = match plan.level {
            ConfineLevel::Namespaces => Some(listeners(descriptors, only_ports)?),
            ConfineLevel::Filter => None,
        };
        Ok(StartedHelper { process, command: ConfinedCommand { channel: ours }, listeners })
    }
}

fn received(channel: &Channel) -> io::Result<Received<HelperMessage>> {
    channel.receive()?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn listeners(descriptors: Vec<OwnedFd>, only_ports: Option<Vec<u16>>) -> io::Result<NamespaceListeners> {
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().ok_or(io::ErrorKind::InvalidData);
    let (dns_udp, dns_tcp, proxy) = (next()?.into(), next()?.into(), next()?.into());
    Ok(NamespaceListeners { dns_udp, dns_tcp, proxy, intake: descriptors.map(Into::into).collect(), only_ports })
}

impl ConfinedCommand {
    /// Has the command started. Its pid as this process sees it; `None` where the helper's own process became it.
    ///
    /// # Errors
    /// Why it can't be, as of `execve`.
    pub fn go(&self) -> io::Result<Option<u32>> {
        self.channel.send(&HelperOrder::Go, &[])?;
        let mut pid = None;
        // the other end is closed by the exec
        while let Some(said) = self.channel.receive()? {
            match said.message {
                HelperMessage::Started => pid = said.pid,
                HelperMessage::NotStarted { errno } => return Err(io::Error::from_raw_os_error(errno)),
                HelperMessage::Failed { step, error } => return Err(io::Error::other(format!("{step}: {error}"))),
                HelperMessage::Ready { .. } => {}
            }
        }
        Ok(pid)
    }
}

/// Whether this system gives a level: its walls are put up around nothing, and taken down. The ports that are taken in, where
/// that is not all.
///
/// # Errors
/// What the system does not permit, or has not.
pub fn probe(level: ConfineLevel) -> Result<Option<Vec<u16>>, ConfineError> {
    const PORT: u16 = 443;
    let (mut command, end) = helper_of(&["true"])?;
    let plan = ConfinePlan { proxy_port: PORT, ports: vec![PORT], directory: "/".into(), ..ConfinePlan::bare(level) };
    let StartedHelper { mut process, command, listeners } = end.start(&plan, || command.spawn())?;
    // without an order the helper ends
    drop(command);
    process.wait()?;
    Ok(listeners.and_then(|listeners| listeners.only_ports))
}

/// Lets the child keep its end through exec.
#[allow(unsafe_code, reason = "a system call between fork and exec")]
fn inherit(command: &mut Command, end: &Channel) {
    use std::os::unix::process::CommandExt as _;
    let descriptor = end.descriptor();
    // SAFETY: fcntl is async-signal-safe, and touches nothing but a flag of one descriptor of the child.
    unsafe {
        command.pre_exec(move || match libc::fcntl(descriptor, libc::F_SETFD, 0) {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
}
