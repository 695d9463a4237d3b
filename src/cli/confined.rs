//! `run --confine`: what a command is kept from, decided by the options, the config and what is there, and the helper that
//! keeps it from it.

use super::run_dir;
use super::term::{CliError, WRONG_USAGE};
use crate::app::App;
use crate::config::keys::KeySetting;
use crate::config::settings::{CaSource, Settings};
use crate::confine::launch::{ConfineError, StartedHelper, helper_of};
use crate::confine::plan::TrustCovers;
use crate::confine::{ConfineLevel, ConfinePlan, trust, ways_out};
use crate::policy::egress::AddressRule;
use crate::policy::rule::HostPattern;
use crate::secrets::SourceSpec;
use crate::trust_env::TrustFiles;
use rustix::fs::FileType;
use rustix::net::{AddressFamily, sockopt};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `--confine` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ConfineMode {
    /// By the strictest means that this system has
    Auto,
    /// By namespaces, or not at all
    Require,
}

/// The options of `run` about it.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Confinement")]
pub struct ConfineArgs {
    /// Let the command reach nothing but the proxy, by the strictest means that this system has; with =require, fail where that
    /// isn't the strictest of all
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "auto", hide_possible_values = true)]
    confine: Option<ConfineMode>,
    /// Let it write to the working folder and the one for temporary files only
    #[arg(long, requires = "confine")]
    read_only: bool,
    /// A folder that it may write to all the same; may be given again
    #[arg(long, value_name = "PATH", requires = "read_only")]
    allow_write: Vec<PathBuf>,
    /// A socket that it may use, though that leads past the proxy; may be given again
    #[arg(long, value_name = "PATH", requires = "confine")]
    allow_socket: Vec<PathBuf>,
    /// A file or folder that it is not to find; may be given again
    #[arg(long, value_name = "PATH", requires = "confine")]
    hide: Vec<PathBuf>,
}

impl ConfineArgs {
    /// Whether the command is to be confined.
    pub fn is_wanted(&self) -> bool {
        self.confine.is_some()
    }

    /// What the helper is to do, but for the level. `config` is where the config file is, or would be; `now` is what a variable
    /// says.
    ///
    /// # Errors
    /// The working folder is one that is to be hidden, or can't be told.
    pub fn plan(
        &self,
        app: &App,
        config: Option<&Path>,
        files: &TrustFiles,
        run_dir: &Path,
        now: &dyn Fn(&str) -> Option<String>,
    ) -> anyhow::Result<ConfinePlan> {
        let settings = app.settings();
        let directory = std::env::current_dir()
            .map_err(|e| CliError::failed(format!("the working folder can't be told: {e}"), "change to another"))?;
        refuse_ways_out_as_streams()?;
        let own = own(settings, config);
        let links = ways_out::links(own.iter());
        let mut hidden = self.named(&self.hide, &settings.confine.hide)?;
        hidden.extend(own);
        hidden.extend(ways_out::hidden(now, &directory));
        hidden.extend(run_dir::common());
        hidden.retain(|path| !path.starts_with(run_dir));
        let mut allowed = self.named(&self.allow_socket, &settings.confine.allow_socket)?;
        allowed.push(run_dir.to_path_buf());
        let (hidden, shown) = ways_out::settled(hidden, &allowed);
        if let Some(folder) = hidden.iter().find(|hidden| directory.starts_with(hidden)) {
            let what = format!("the working folder is in {}, which is hidden from the command", folder.display());
            return Err(CliError::failed(what, "start it from another folder"));
        }
        let resolv_conf = run_dir.join("resolv.conf");
        std::fs::write(&resolv_conf, "nameserver 127.0.0.1\noptions edns0\n")?;
        let services = settings.proxy.private_addresses.iter().filter_map(AddressRule::loopback_service);
        let services: BTreeSet<SocketAddr> =
            services.filter(|service| ![app.address().port(), 53].contains(&service.port())).collect();
        let bound = app.active_keys().iter().flat_map(|key| &key.rule.hosts).map(HostPattern::binding_port);
        let ports: BTreeSet<u16> = settings.proxy.connect_ports.iter().copied().chain(bound).collect();
        Ok(ConfinePlan {
            level: ConfineLevel::Namespaces,
            proxy_port: app.address().port(),
            services: services.into_iter().collect(),
            ports: ports.into_iter().collect(),
            only_writable: self.only_writable(settings, &directory)?,
            directory,
            hidden,
            links,
            shown,
            resolv_conf,
            trust: TrustCovers {
                bundle: files.bundle.clone(),
                java: files.trust_store.clone(),
                hashed: trust::hashed(&app.ca().bundle()),
            },
        })
    }

    fn named(&self, given: &[PathBuf], configured: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
        let mut all = Vec::new();
        for path in given {
            if !path.exists() {
                let what = format!("{} is not there", path.display());
                let next = "name a path that is".into();
                return Err(CliError { what, next, code: WRONG_USAGE }.into());
            }
            all.push(std::fs::canonicalize(path)?);
        }
        all.extend_from_slice(configured);
        Ok(all)
    }

    fn only_writable(&self, settings: &Settings, directory: &Path) -> anyhow::Result<Option<Vec<PathBuf>>> {
        if !self.read_only {
            return Ok(None);
        }
        let mut writable = self.named(&self.allow_write, &settings.confine.allow_write)?;
        writable.extend([directory.to_path_buf(), std::env::temp_dir(), "/dev".into()]);
        Ok(Some(writable))
    }

    /// Puts the walls up: by the strictest level that the system has. `dress` gives the helper's command line what the command is
    /// to have. Called where a runtime is.
    ///
    /// # Errors
    /// No level can be had, or not the one that is required.
    pub fn wall_in(
        &self,
        plan: ConfinePlan,
        program: &[OsString],
        dress: impl Fn(&mut Command),
    ) -> anyhow::Result<WalledIn> {
        let levels: &[ConfineLevel] = match self.confine {
            Some(ConfineMode::Require) => &[ConfineLevel::Namespaces],
            _ => &[ConfineLevel::Namespaces, ConfineLevel::Filter],
        };
        let mut refused: Vec<String> = Vec::new();
        for level in levels {
            let (mut command, end) = helper_of(program)?;
            dress(&mut command);
            let mut command = tokio::process::Command::from(command);
            match end.start(&ConfinePlan { level: *level, ..plan.clone() }, || command.spawn()) {
                Ok(helper) => return Ok(WalledIn { level: *level, refused: refused.pop(), helper }),
                Err(ConfineError::Refused { step, error }) => refused.push(format!("{step}: {error}")),
                Err(e) => return Err(e.into()),
            }
        }
        let what = format!("the command can't be confined here ({})", refused.join("; "));
        let next = match self.confine {
            Some(ConfineMode::Require) => "see 'locum doctor --confine'; --confine alone takes the next best there is",
            _ => "see 'locum doctor --confine', or run locum in a container beside the command's",
        };
        Err(CliError::failed(what, next))
    }
}

/// A command behind walls, which is not started yet.
pub struct WalledIn {
    level: ConfineLevel,
    /// Why it is not a stricter one.
    refused: Option<String>,
    /// The process that becomes the command, or waits for it.
    pub helper: StartedHelper<tokio::process::Child>,
}

impl WalledIn {
    /// The level that stands, and what it leaves open.
    pub fn told(&self) -> String {
        let only_ports = self.helper.listeners.as_ref().and_then(|listeners| listeners.only_ports.as_deref());
        match (self.level, only_ports) {
            (ConfineLevel::Namespaces, None) => "confined: it reaches nothing but through the proxy".into(),
            (ConfineLevel::Namespaces, Some(ports)) => {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                format!("confined: it reaches nothing but through the proxy, on port {}", ports.join(", "))
            }
            (ConfineLevel::Filter, _) => format!(
                "confined by Landlock and a filter of system calls, since namespaces can't be had ({}): it still reaches sockets \
                 of this machine by their path, and other hosts on the proxy's port\n  next: see 'locum doctor --confine'",
                self.refused.as_deref().unwrap_or_default()
            ),
        }
    }
}

/// Whatever is locum's, or holds a key or a password of it. A config that is not there yet is not to come from the command: its
/// folder is made, to be hidden.
fn own(settings: &Settings, config: Option<&Path>) -> Vec<PathBuf> {
    let mut own = vec![settings.state.clone(), settings.audit.dir.clone()];
    for file in settings.file.iter().map(PathBuf::as_path).chain(config) {
        own.push(file.to_path_buf());
        // a folder of our own, and not one that a project keeps other things in
        if let Some(folder) = file.parent().filter(|folder| folder.ends_with("locum")) {
            // where it can't be made by us it can't by the command either
            let _ = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            own.push(folder.to_path_buf());
        }
    }
    own.extend(settings.proxy.tls_key.clone());
    own.extend(settings.vault.password_file.clone());
    own.extend(settings.anomaly.webhook_secret_file.clone());
    own.extend(settings.agents.iter().filter_map(|agent| agent.token_file.clone()));
    own.extend(settings.keys.iter().filter_map(file_of));
    if let CaSource::File(path) = &settings.ca.source {
        own.push(path.clone());
    }
    own
}

/// A folder or a connection that the command is given as one of its three streams would lead it outside.
fn refuse_ways_out_as_streams() -> anyhow::Result<()> {
    let streams = [
        ("standard input", std::io::stdin().as_fd().try_clone_to_owned()),
        ("standard output", std::io::stdout().as_fd().try_clone_to_owned()),
        ("standard error", std::io::stderr().as_fd().try_clone_to_owned()),
    ];
    for (name, stream) in streams {
        let Ok(stream) = stream else { continue };
        let kind = rustix::fs::fstat(&stream).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let is_unix = || sockopt::socket_domain(&stream).is_ok_and(|domain| domain == AddressFamily::UNIX);
        let listens = || sockopt::socket_acceptconn(&stream).unwrap_or(true);
        let leads_out = match kind {
            Ok(FileType::Directory) => true,
            Ok(FileType::Socket) => !is_unix() || listens(),
            _ => false,
        };
        if leads_out {
            let what = format!("{name} is a folder or a connection, by which the command could get past its walls");
            return Err(CliError::failed(what, "give it a file, a pipe or a terminal"));
        }
    }
    Ok(())
}

fn file_of(key: &KeySetting) -> Option<PathBuf> {
    match &key.source {
        SourceSpec::File(path) => Some(path.clone()),
        _ => None,
    }
}
