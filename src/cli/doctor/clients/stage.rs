//! What clients are tried against: a proxy as `run` has it, whose way out leads to an upstream on this machine whatever is asked
//! for.

use super::super::subject::DoctorSubject;
use super::probes::JAVA;
use crate::app::{App, LaunchOptions, RunningProxy};
use crate::audit::read::filter::Filter;
use crate::audit::read::lines::member;
use crate::audit::read::query::Merge;
use crate::cli::child_env::{self, TakenEnvironment};
use crate::cli::local_upstream::{LocalUpstream, ReceivedRequest};
use crate::cli::run;
use crate::cli::run_dir::RunDir;
use crate::cli::term::CliError;
use crate::config::Settings;
use crate::config::settings::{CliPaths, ConfigEnvironment};
use crate::memory::SealedEnvironment;
use crate::policy::Agent;
use crate::policy::agent::TokenHash;
use crate::trust_env::{self, EnvironmentChanges, PastProxy, ProxyAccess, TrustFiles};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// What clients are tried against.
pub struct ClientStage {
    dir: RunDir,
    running: RunningProxy,
    /// What changes for a client, as it does under `run`.
    pub changes: EnvironmentChanges,
    /// The hosts that the upstream was asked for.
    pub asked: watch::Receiver<BTreeSet<String>>,
}

/// What the proxy has recorded of a client that did not reach the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRefusal {
    /// In the words of records.
    pub error: String,
    /// In full.
    pub reason: String,
}

impl ClientStage {
    /// Sets it up, on the current runtime.
    pub async fn set(subject: &DoctorSubject<'_>, taken: &TakenEnvironment) -> anyhow::Result<Self> {
        let dir = RunDir::beside_others()?;
        let (add, asked) = watch::channel(BTreeSet::new());
        let note = move |request: ReceivedRequest| {
            add.send_if_modified(|hosts| hosts.insert(request.host));
        };
        let upstream = LocalUpstream::start(note).await?;
        let at = |name: &str| dir.path().join(name);
        fs::write(at("upstream-ca.pem"), &upstream.ca_pem)?;
        let config = format!(
            "[proxy]\nupstream_proxy = \"http://{}\"\nupstream_ca = [\"upstream-ca.pem\"]\n[ca]\nsource = \"memory\"\n",
            upstream.address
        );
        fs::write(at("locum.toml"), config)?;
        let given = CliPaths { config: Some(at("locum.toml")), state: Some(at("state")) };
        let token = run::token()?;
        let agent = Arc::new(Agent::local());
        let app = App::build(LaunchOptions {
            settings: Settings::load(&given, &ConfigEnvironment::default())?,
            environment: Arc::new(SealedEnvironment::default()),
            listen: Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)),
            tokens: vec![(TokenHash::of(token.as_bytes()), agent.clone())],
            descendants: true,
        })
        .map_err(CliError::from)?;
        let files = TrustFiles::write(dir.path(), &app.ca().bundle(), dir.shared(), subject.was)?;
        let address = app.address();
        let access = ProxyAccess {
            address,
            tls_host: None,
            agent: agent.name.as_str(),
            token: Some(&token),
            past: PastProxy::UsersAndLoopback,
        };
        let changes = trust_env::changes(&access, &files, &[], &trust_env::outranking_settings(), subject.was);
        let running = app.spawn().map_err(CliError::from)?;
        let stage = Self { dir, running, changes: child_env::with_copies(changes, taken), asked };
        fs::create_dir(stage.work())?;
        fs::write(stage.work().join("Probe.java"), JAVA)?;
        Ok(stage)
    }

    /// A folder for clients to write into.
    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// What was recorded of each host whose client was refused, the last of each.
    ///
    /// # Errors
    /// When the record can't be read.
    pub fn refusals(self) -> anyhow::Result<BTreeMap<String, ClientRefusal>> {
        let Self { dir, running, .. } = self;
        running.stop()?;
        let mut refusals = BTreeMap::new();
        Merge::new(&dir.path().join("state/audit"), Filter::default())?.run(|record| {
            let read = |name: &str| member(record, name).map(|v| v.text().into_owned()).unwrap_or_default();
            if read("event") == "refusal" {
                refusals.insert(read("host"), ClientRefusal { error: read("error"), reason: read("reason") });
            }
            Ok(())
        })?;
        Ok(refusals)
    }
}
