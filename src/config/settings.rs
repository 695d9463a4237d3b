//! File and environment become typed settings, or all mistakes at once; it reads the config file and no other.

use super::audit::{self, AnomalySettings, AuditSettings};
use super::catalog::Catalog;
use super::confine::{self, ConfineSettings};
use super::file::{ConfigDocument, ConfigTable};
use super::keys::{self, AgentSetting, KeySetting};
use super::limits;
use super::mistake::{ConfigLocation, Mistake, Mistakes};
use super::reader::TableReader;
use super::user_file::{read, too_open};
use crate::name::AgentName;
use crate::policy::egress::{AddressRule, EgressMode};
use crate::policy::rule::HostPattern;
use crate::proxy::Limits;
use crate::upstream::bypass::BypassRule;
use crate::upstream::proxy::UpstreamProxy;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// All that the user decided, or left at its default.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The config file, where there is one.
    pub file: Option<PathBuf>,
    /// Where the CA, the audit and the vault are.
    pub state: PathBuf,
    /// `[proxy]`.
    pub proxy: ProxySettings,
    /// `[ca]`.
    pub ca: CaSettings,
    /// The providers known by name, those of `[catalog] files` among them.
    pub catalog: Catalog,
    /// Those of the file and all of the catalog, sorted by name.
    pub keys: Vec<KeySetting>,
    /// Those of the file, sorted by name.
    pub agents: Vec<AgentSetting>,
    /// `[vault]`.
    pub vault: VaultSettings,
    /// `[audit]`.
    pub audit: AuditSettings,
    /// `[anomaly]`.
    pub anomaly: AnomalySettings,
    /// `[confine]`.
    pub confine: ConfineSettings,
    /// `[limits]`.
    pub limits: Limits,
}

/// `[proxy]`.
#[derive(Debug, Clone)]
pub struct ProxySettings {
    /// The address that clients connect to.
    pub listen: SocketAddr,
    /// The hosts whose TLS is opened.
    pub intercept: Intercept,
    /// Hosts whose TLS is never opened.
    pub passthrough: Vec<HostPattern>,
    /// Whether any host may be reached, or those that are listed.
    pub egress: EgressMode,
    /// Hosts that may be reached though no key is bound to them, where hosts are listed.
    pub allow: Vec<HostPattern>,
    /// Hosts that may not be reached.
    pub deny: Vec<HostPattern>,
    /// Ports that may be reached, besides those of bindings.
    pub connect_ports: Vec<u16>,
    /// Addresses that may be dialled though they are not public.
    pub private_addresses: Vec<AddressRule>,
    /// Whether keys may go over `http://` to other hosts than this machine.
    pub cleartext: bool,
    /// Whether `{{NAME_key}}` is a placeholder too.
    pub braces: bool,
    /// Local users besides our own who need no token where there are no agents.
    pub uids: Vec<u32>,
    /// The address that connections are redirected to.
    pub transparent: Option<SocketAddr>,
    /// The agent that these are of, where agents have tokens.
    pub transparent_agent: Option<AgentName>,
    /// The certificate that the listener shows, with those above it: it speaks TLS then.
    pub tls_cert: Option<PathBuf>,
    /// The key of that; there where the certificate is.
    pub tls_key: Option<PathBuf>,
    /// Files of roots that upstreams are trusted by besides the system's.
    pub upstream_ca: Vec<PathBuf>,
    /// The proxy that upstreams are reached through.
    pub upstream_proxy: Option<UpstreamProxy>,
    /// Files of roots that this proxy alone is trusted by, besides those of upstreams.
    pub upstream_proxy_ca: Vec<PathBuf>,
    /// The hosts that are reached without it.
    pub upstream_proxy_bypass: Vec<BypassRule>,
}

impl Default for ProxySettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8787),
            intercept: Intercept::All,
            passthrough: Vec::new(),
            egress: EgressMode::Open,
            allow: Vec::new(),
            deny: Vec::new(),
            connect_ports: vec![80, 443],
            private_addresses: Vec::new(),
            cleartext: false,
            braces: false,
            uids: Vec::new(),
            transparent: None,
            transparent_agent: None,
            tls_cert: None,
            tls_key: None,
            upstream_ca: Vec::new(),
            upstream_proxy: None,
            upstream_proxy_ca: Vec::new(),
            upstream_proxy_bypass: Vec::new(),
        }
    }
}

/// The hosts whose TLS is intercepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intercept {
    /// Every host but those in `passthrough`.
    All,
    /// Only that of hosts that some key is bound to; the rest is tunnelled unread.
    Bound,
}

/// `[ca]`.
#[derive(Debug, Clone)]
pub struct CaSettings {
    /// The place that the CA is kept in.
    pub source: CaSource,
    /// A file that its certificates are written to before the service is ready.
    pub export: Option<PathBuf>,
}

/// `[ca] source`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaSource {
    /// Keyring, vault, or a file bound to this machine.
    Auto,
    /// The memory of one process, made anew at each start.
    Memory,
    /// A file of PEM that the user keeps.
    File(PathBuf),
}

/// `[vault]`.
#[derive(Debug, Clone, Default)]
pub struct VaultSettings {
    /// Holds the master password, where no person is there to give it.
    pub password_file: Option<PathBuf>,
}

/// Paths that the command line names.
#[derive(Debug, Clone, Default)]
pub struct CliPaths {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--state`.
    pub state: Option<PathBuf>,
}

/// The variables that settings are read from. Those that hold keys stay out of it.
#[derive(Debug, Clone, Default)]
pub struct ConfigEnvironment {
    settings: BTreeMap<String, OsString>,
    paths: BTreeMap<String, PathBuf>,
    /// Whether `LOCUM_PROXY_TOKEN` makes an agent; to be set where the variable was taken away before.
    pub proxy_token: bool,
}

impl ConfigEnvironment {
    /// Of this process, as it was started.
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// A variable that names a folder or file; empty counts as missing.
    fn path(&self, name: &str) -> Option<&Path> {
        self.paths.get(name).map(PathBuf::as_path).filter(|p| !p.as_os_str().is_empty())
    }

    /// A base folder of the XDG specification, which says to ignore relative ones.
    fn base(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let set = self.path(variable).filter(|p| p.is_absolute()).map(Path::to_path_buf);
        set.or_else(|| self.path("HOME").map(|home| home.join(below_home)))
    }
}

impl FromIterator<(OsString, OsString)> for ConfigEnvironment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        let mut out = Self::default();
        for (name, value) in variables {
            match name.to_str() {
                Some(n @ ("HOME" | "LOCUM_CONFIG" | "XDG_CONFIG_HOME" | "XDG_STATE_HOME")) => {
                    out.paths.insert(n.into(), value.into());
                }
                Some("LOCUM_PROXY_TOKEN") => out.proxy_token = !value.is_empty(),
                Some(n) if n.strip_prefix("LOCUM_").is_some_and(|rest| rest.contains("__")) => {
                    out.settings.insert(n.into(), value);
                }
                _ => {}
            }
        }
        out
    }
}

impl Settings {
    /// Reads the file and the environment.
    ///
    /// # Errors
    /// Everything that is wrong in them, in the order in which it is written.
    pub fn load(given: &CliPaths, env: &ConfigEnvironment) -> Result<Self, Mistakes> {
        let (settings, mistakes) = Self::read(given, env);
        if mistakes.is_empty() { Ok(settings) } else { Err(Mistakes(mistakes)) }
    }

    /// What [`Self::load`] would give if the config file were at `path` and said `text`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn trial(path: &Path, text: &str, given: &CliPaths, env: &ConfigEnvironment) -> Result<Self, Mistakes> {
        let (settings, mistakes) = Self::of(Some((path.into(), text.into())), given, env, Vec::new());
        if mistakes.is_empty() { Ok(settings) } else { Err(Mistakes(mistakes)) }
    }

    /// The settings as far as they can be read, and what is wrong with the rest, for which a default stands in.
    pub fn read(given: &CliPaths, env: &ConfigEnvironment) -> (Self, Vec<Mistake>) {
        let mut mistakes = Vec::new();
        let file = config_path(given, env);
        let file =
            file.and_then(|(path, named)| read(&path, named, ANOTHER_CONFIG, &mut mistakes).map(|text| (path, text)));
        Self::of(file, given, env, mistakes)
    }

    fn of(
        file: Option<(PathBuf, String)>,
        given: &CliPaths,
        env: &ConfigEnvironment,
        mut mistakes: Vec<Mistake>,
    ) -> (Self, Vec<Mistake>) {
        let written = match &file {
            Some((path, text)) => ConfigDocument::read(path, text, &mut mistakes),
            None => ConfigDocument::default(),
        };
        let state = state_path(given, env, &mut mistakes);
        let settings = build(written, file.map(|(path, _)| path), state, env, &mut mistakes);
        mistakes.sort_by(|a, b| a.at.cmp(&b.at));
        (settings, mistakes)
    }
}

/// Where the config would be, and whether the user named it, so that it has to be there.
pub fn config_path(given: &CliPaths, env: &ConfigEnvironment) -> Option<(PathBuf, bool)> {
    let named = given.config.as_deref().or_else(|| env.path("LOCUM_CONFIG"));
    match named {
        Some(path) => Some((path.to_path_buf(), true)),
        None => env.base("XDG_CONFIG_HOME", ".config").map(|d| (d.join("locum").join("locum.toml"), false)),
    }
}

/// The folder of the state; one that others may look into is a mistake.
pub(super) fn state_path(given: &CliPaths, env: &ConfigEnvironment, mistakes: &mut Vec<Mistake>) -> PathBuf {
    let path = given.state.clone().or_else(|| env.base("XDG_STATE_HOME", ".local/state").map(|d| d.join("locum")));
    let Some(path) = path else {
        let at = ConfigLocation::Variable("HOME".into());
        mistakes.push(Mistake::new(at, "not set, so there is no folder for state", "name one with --state DIR"));
        return PathBuf::new();
    };
    if let Ok(meta) = path.metadata() {
        if !meta.is_dir() {
            let at = ConfigLocation::File(path.as_path().into());
            mistakes.push(Mistake::new(at, "is no folder, so no state can be kept in it", "name one with --state DIR"));
        }
        too_open(&path, &meta, 0o077, "go-rwx", "is open to others, and keeps the CA and the audit", mistakes);
    }
    path
}

const ANOTHER_CONFIG: &str = "name another with --config FILE";

/// Typed settings from what was written; where a part is wrong, its default stands in so that the rest is read too.
fn build(
    mut written: ConfigDocument,
    file: Option<PathBuf>,
    state: PathBuf,
    env: &ConfigEnvironment,
    mistakes: &mut Vec<Mistake>,
) -> Settings {
    for (variable, value) in &env.settings {
        let set = match value.to_str() {
            Some(text) => written.set(variable, text),
            None => {
                Err(Mistake::new(ConfigLocation::Variable(variable.as_str().into()), "is not UTF-8", "set it anew"))
            }
        };
        mistakes.extend(set.err());
    }
    let home = env.path("HOME");
    let tables = written.all("proxy");
    let proxy = TableReader::read(tables, home, mistakes, proxy);
    let ca = TableReader::read(written.all("ca"), home, mistakes, ca);
    let vault = TableReader::read(written.all("vault"), home, mistakes, |r| VaultSettings {
        password_file: r.path("password_file"),
    });
    let audit = TableReader::read(written.all("audit"), home, mistakes, |r| audit::audit(r, &state));
    let anomaly = TableReader::read(written.all("anomaly"), home, mistakes, audit::anomaly);
    let confine = TableReader::read(written.all("confine"), home, mistakes, confine::confine);
    let limits = TableReader::read(written.all("limits"), home, mistakes, limits::limits);
    let catalog = catalog(written.all("catalog"), home, mistakes);
    let keys = keys::keys(written.all("key"), &catalog, proxy.cleartext, home, mistakes);
    let agents = keys::agents(written.all("agent"), &keys, home, mistakes);
    keys::tell_injected_apart(&keys, &agents, mistakes);
    Settings { file, state, proxy, ca, catalog, keys, agents, vault, audit, anomaly, confine, limits }
}

/// The binary's own providers, and over them those of the files that `[catalog]` names. Who writes these says where keys go, as
/// with the config.
fn catalog(tables: Vec<ConfigTable>, home: Option<&Path>, mistakes: &mut Vec<Mistake>) -> Catalog {
    let files = TableReader::read(tables, home, mistakes, |r| r.paths("files")).unwrap_or_default();
    let mut catalog = Catalog::default();
    for path in &files {
        if let Some(text) = read(path, true, "name another in `files` under [catalog], or take it out there", mistakes)
        {
            catalog.add(path, &text, home, mistakes);
        }
    }
    catalog.tell_variables_apart(mistakes);
    catalog
}

const NO_PROXY_URL: &str = "no http://, https:// or socks5h:// URL of a proxy";

fn proxy(r: &mut TableReader<'_>) -> ProxySettings {
    let default = ProxySettings::default();
    let intercept = [("all", Intercept::All), ("bound", Intercept::Bound)];
    let egress = [("open", EgressMode::Open), ("listed", EgressMode::Listed)];
    let certificate = (r.at("tls_cert"), r.path("tls_cert"));
    let key = (r.at("tls_key"), r.path("tls_key"));
    if let ((Some(at), Some(_)), (_, None)) | ((_, None), (Some(at), Some(_))) = (&certificate, &key) {
        let what = "tls_cert and tls_key go together, and one is missing".into();
        r.wrong(at.clone(), what, "set both, or neither".into());
    }
    ProxySettings {
        listen: r.parsed("listen").unwrap_or(default.listen),
        intercept: r.choice("intercept", &intercept).unwrap_or(default.intercept),
        passthrough: r.list("passthrough").unwrap_or_default(),
        egress: r.choice("egress", &egress).unwrap_or(default.egress),
        allow: r.list("allow").unwrap_or_default(),
        deny: r.list("deny").unwrap_or_default(),
        connect_ports: r.numbers("connect_ports", 1..=u16::MAX).unwrap_or(default.connect_ports),
        private_addresses: r.list("private_addresses").unwrap_or_default(),
        cleartext: r.flag("cleartext").unwrap_or(default.cleartext),
        braces: r.flag("braces").unwrap_or(default.braces),
        uids: r.numbers("uids", 0..=u32::MAX).unwrap_or_default(),
        transparent: r.with("transparent", redirectable),
        transparent_agent: r.parsed("transparent_agent"),
        tls_cert: certificate.1,
        tls_key: key.1,
        upstream_ca: r.paths("upstream_ca").unwrap_or_default(),
        // Its text may hold a password, so no message repeats it.
        upstream_proxy: r.with("upstream_proxy", |t| t.parse().map_err(|_| NO_PROXY_URL)),
        upstream_proxy_ca: r.paths("upstream_proxy_ca").unwrap_or_default(),
        upstream_proxy_bypass: r.list("upstream_proxy_bypass").unwrap_or_default(),
    }
}

/// An address that this machine's firewall can redirect its users' connections to, by nothing but the port.
fn redirectable(text: &str) -> Result<SocketAddr, &'static str> {
    let local = |address: &SocketAddr| address.ip().is_loopback() || address.ip().is_unspecified();
    let address = text.parse().ok().filter(local);
    address.ok_or("connections are redirected to loopback, so it is 127.0.0.1, [::1] or [::] with a port")
}

fn ca(r: &mut TableReader<'_>) -> CaSettings {
    let at = r.at("source");
    let source = r.with("source", |text| match text.split_once(':') {
        None if text == "auto" => Ok(CaSource::Auto),
        None if text == "memory" => Ok(CaSource::Memory),
        Some(("file", path)) if !path.is_empty() => Ok(CaSource::File(path.into())),
        _ => Err("there is no such source"),
    });
    let source = match source {
        Some(CaSource::File(path)) => CaSource::File(r.resolve(&path, at.as_ref())),
        Some(other) => other,
        None => CaSource::Auto,
    };
    CaSettings { source, export: r.path("export") }
}

#[cfg(test)]
mod tests;
