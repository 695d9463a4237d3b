//! What would keep a service from starting, tried as the service tries it and with nothing changed.

use super::agents::StartupTokens;
use super::keys::active;
use super::listener_tls::ListenerTls;
use super::{AppError, machine, rules};
use crate::audit;
use crate::config::Settings;
use crate::disk;
use crate::proxy::health;
use crate::secrets::SecretBackends;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

/// All that would keep a service with these settings from starting, beside what its files of secrets and the CA would. A
/// service that runs with them is no reason.
pub fn preflight(settings: &Settings, backends: &SecretBackends) -> Vec<AppError> {
    let state = &settings.state;
    let unfit = |e: io::Error| AppError::State { path: state.clone(), why: format!("it can't be written to: {e}") };
    let mut found = Vec::new();
    found.extend(disk::writable(state).map_err(unfit).err());
    found.extend(
        audit::preflight(&settings.audit.dir)
            .map_err(AppError::from)
            .err()
            .filter(|_| found.is_empty() || !settings.audit.dir.starts_with(state)),
    );
    found.extend(settings.ca.export.as_deref().and_then(|path| exportable(path).err()));
    found.extend(ListenerTls::of(settings).err());
    match StartupTokens::at_start(Vec::new(), &backends.environment) {
        Err(e) => found.push(e),
        Ok(tokens) => match rules::ruleset(settings, &active(settings, backends), &tokens) {
            Err(e) => found.push(e),
            Ok(ruleset) => {
                let permitted = machine::permit_listening(settings.proxy.listen, &ruleset.agents);
                found.extend(permitted.and_then(|()| free(settings.proxy.listen)).err());
            }
        },
    }
    found
}

/// Where a file is replaced, its folder has to be there and to be written to.
fn exportable(path: &Path) -> Result<(), AppError> {
    let fail = |source| AppError::Export { path: path.into(), source };
    let folder = disk::folder(path);
    folder.metadata().and_then(|_| disk::writable(folder)).map_err(fail)
}

/// Whether the address is one of this machine, and its port free or a locum's. It isn't taken for that, or a service that
/// starts meanwhile would find it taken.
fn free(address: SocketAddr) -> Result<(), AppError> {
    let fail = |source| AppError::Listen { address, source };
    TcpListener::bind((address.ip(), 0)).map_err(fail)?;
    let is_free = address.port() == 0
        || match health::ask(address) {
            Ok(is_ours) => is_ours,
            Err(e) => e.kind() == io::ErrorKind::ConnectionRefused,
        };
    if is_free { Ok(()) } else { Err(fail(io::ErrorKind::AddrInUse.into())) }
}
