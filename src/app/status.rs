//! The status of a running service: what is at hand at once, and what the audit and the stores say when they are asked.

use super::agents::named_agents;
use super::build::App;
use super::keys::made_stores;
use crate::ca::Authorities;
use crate::control::{
    AgentsStatus, AuditStatus, CaStatus, CountsStatus, KeysStatus, NextCaStatus, ServicePhase, ServiceStatus,
};
use crate::proxy::Shared;
use crate::secrets::SecretBackends;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How long a store or the audit's disk may take: one that hangs is told of, and not waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// The status as it is now. It borrows nothing, since a store may hang.
pub(super) fn status(
    app: &App,
    since: SystemTime,
    phase: ServicePhase,
) -> impl Future<Output = ServiceStatus> + Send + 'static {
    let (shared, backends) = (app.shared.clone(), app.backends.clone());
    let counts = app.counts();
    let names: Vec<_> = app.active_keys.iter().map(|key| key.name.clone()).collect();
    let status = ServiceStatus {
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        since,
        phase,
        listen: app.address(),
        config: app.settings.file.clone(),
        state: app.settings.state.clone(),
        counts: CountsStatus { substitutions: counts.substitutions, refusals: counts.refusals, scrubs: counts.scrubs },
        agents: AgentsStatus {
            // where their file can't be read, those of the config are what counts
            named: named_agents(&app.settings).map_or(app.settings.agents.len(), |agents| agents.len()),
            token_needed: shared.ruleset.load().agents.need_token(),
        },
        keys: KeysStatus { count: names.len(), names },
        stores: None,
        ca: ca_status(app.ca(), app),
        audit: AuditStatus { file: None, writable: false, error: None },
    };
    async move {
        let (stores, audit) = tokio::join!(stores(backends), audit(shared));
        ServiceStatus { stores, audit, ..status }
    }
}

fn ca_status(ca: &Authorities, app: &App) -> CaStatus {
    CaStatus {
        kept_in: app.ca_kept_in.clone(),
        fingerprint_sha256: ca.current.fingerprint(),
        expires: ca.current.not_after(),
        next: ca
            .next
            .as_ref()
            .map(|next| NextCaStatus { fingerprint_sha256: next.authority.fingerprint(), signs_from: next.signs_from }),
        misfit: app.ca_misfit().map(|(what, _)| what),
    }
}

async fn stores(backends: SecretBackends) -> Option<Vec<String>> {
    let there = move || made_stores(&backends).filter(|store| store.is_there()).map(|store| store.describe()).collect();
    let asked = tokio::task::spawn_blocking(there);
    timeout(PATIENCE, asked).await.ok()?.ok()
}

/// Has all that is queued written, and says whether that worked.
async fn audit(shared: Arc<Shared>) -> AuditStatus {
    let runtime = Handle::current();
    let asked = tokio::task::spawn_blocking(move || {
        let error = runtime.block_on(shared.recorder.flush()).err().map(|e| e.to_string());
        AuditStatus { file: shared.recorder.path(), writable: error.is_none(), error }
    });
    let late = || format!("its disk has not answered within {} s", PATIENCE.as_secs());
    match timeout(PATIENCE, asked).await {
        Ok(Ok(status)) => status,
        _ => AuditStatus { file: None, writable: false, error: Some(late()) },
    }
}
