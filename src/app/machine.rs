//! The resources of the machine that a proxy takes: a state folder, a port, descriptors, randomness.

use super::AppError;
use crate::policy::Agents;
use crate::proxy::Limits;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Descriptors for files, programs and what else is open besides connections.
const OTHER_DESCRIPTORS: usize = 64;
/// Where there are hardly more, connections are let come to what there is.
const LEAST_FOR_CONNECTIONS: usize = 64;

/// What there is room for, by the descriptors that this process may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct DescriptorRoom {
    /// For connections of clients,
    clients: usize,
    /// for what is under way to upstreams,
    under_way: usize,
    /// for connections to upstreams that idle,
    pub idle: usize,
    /// and for names that are looked up.
    pub lookups: usize,
}

impl DescriptorRoom {
    /// Half is for clients, so that neither side can take what the other needs. Of the other half most is for what is
    /// under way; an eighth of all is for connections that are kept, and a little for lookups, of four descriptors each.
    pub fn of(descriptors: usize) -> Self {
        let room = descriptors.saturating_sub(OTHER_DESCRIPTORS).max(LEAST_FOR_CONNECTIONS);
        let (clients, idle, lookups) = (room / 2, room / 8, room / 64);
        Self { clients, under_way: room - clients - idle - 4 * lookups, idle, lookups }
    }

    /// These limits, or what there is room for where that is less.
    pub fn fitting(self, limits: Limits) -> Limits {
        let (connections, under_way) = (limits.connections.min(self.clients), limits.under_way.min(self.under_way));
        Limits { connections, under_way, ..limits }
    }
}

/// Makes the state folder with mode 0700, where it is not there: what is kept there is for nobody else.
///
/// # Errors
/// When it can't be made, or others can look into it.
pub fn make_state_dir(dir: &Path) -> Result<(), AppError> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let fail = |why: String| AppError::State { path: dir.into(), why };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| fail(e.to_string()))?;
    let mode = std::fs::metadata(dir).map_err(|e| fail(e.to_string()))?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(fail(format!("others can look into it; run: chmod 700 {}", dir.display())))
}

/// Whether these agents may be listened for there: beyond loopback only those with tokens.
pub(super) fn permit_listening(address: SocketAddr, agents: &Agents) -> Result<(), AppError> {
    if address.ip().is_loopback() || agents.need_token() { Ok(()) } else { Err(AppError::Open { address }) }
}

/// Listens on a TCP address.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Gives 64 random bits.
///
/// # Errors
/// When the system has none.
pub fn random() -> Result<u64, AppError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AppError::Random)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Allows this process as many descriptors as it may have, and says how many: each connection is one, and its upstream another.
pub(super) fn raise_descriptor_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // where it is refused, the limit stays and accept says when it is reached
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let allowed = getrlimit(Resource::Nofile).current;
    allowed.and_then(|allowed| usize::try_from(allowed).ok()).unwrap_or(usize::MAX)
}
