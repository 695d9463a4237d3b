//! File and environment become typed settings, or all mistakes at once; it reads the config file and no other.

use super::audit::{self, AnomalySettings, AuditSettings};
use super::file::Written;
use super::keys::{self, AgentSetting, KeySetting};
use super::reader::Reader;
use super::{At, Mistake, Mistakes};
use crate::disk;
use crate::policy::rule::HostPattern;
use crate::upstream::dial::{AddressRule, UpstreamProxy};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The largest config file that is read.
const MAX_FILE: u64 = 1024 * 1024;

/// All that the user decided, or left at its default.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The config file, where there is one.
    pub file: Option<PathBuf>,
    /// Where the CA, the audit and the vault are.
    pub state: PathBuf,
    pub proxy: ProxySettings,
    pub ca: CaSettings,
    /// Those of the file and all of the catalog, sorted by name.
    pub keys: Vec<KeySetting>,
    pub agents: Vec<AgentSetting>,
    pub vault: VaultSettings,
    pub audit: AuditSettings,
    pub anomaly: AnomalySettings,
}

#[derive(Debug, Clone)]
pub struct ProxySettings {
    pub listen: SocketAddr,
    pub intercept: Intercept,
    pub passthrough: Vec<HostPattern>,
    pub egress: Egress,
    pub allow: Vec<HostPattern>,
    pub deny: Vec<HostPattern>,
    pub connect_ports: Vec<u16>,
    pub private_addresses: Vec<AddressRule>,
    pub cleartext: bool,
    pub braces: bool,
    pub uids: Vec<u32>,
    pub upstream_ca: Vec<PathBuf>,
    pub upstream_proxy: Option<UpstreamProxy>,
}

impl Default for ProxySettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8787),
            intercept: Intercept::All,
            passthrough: Vec::new(),
            egress: Egress::Open,
            allow: Vec::new(),
            deny: Vec::new(),
            connect_ports: vec![80, 443],
            private_addresses: Vec::new(),
            cleartext: false,
            braces: false,
            uids: Vec::new(),
            upstream_ca: Vec::new(),
            upstream_proxy: None,
        }
    }
}

/// Whose TLS is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intercept {
    All,
    /// Only that of hosts that some key is bound to; the rest is tunnelled unread.
    Bound,
}

/// Which hosts may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Egress {
    Open,
    /// Bound hosts and those in `allow`.
    Listed,
}

#[derive(Debug, Clone)]
pub struct CaSettings {
    pub source: CaSource,
    pub export: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaSource {
    /// Keyring, vault, or a file bound to this machine.
    Auto,
    Memory,
    File(PathBuf),
}

#[derive(Debug, Clone, Default)]
pub struct VaultSettings {
    /// Holds the master password, where no person is there to give it.
    pub password_file: Option<PathBuf>,
}

/// What the command line says about places.
#[derive(Debug, Clone, Default)]
pub struct Given {
    pub config: Option<PathBuf>,
    pub state: Option<PathBuf>,
}

/// What settings read of the environment. Variables that hold keys stay out of it.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    settings: BTreeMap<String, OsString>,
    paths: BTreeMap<String, PathBuf>,
    /// Whether `LOCUM_PROXY_TOKEN` makes an agent; to be set where the variable was taken away before.
    pub proxy_token: bool,
}

impl Environment {
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

impl FromIterator<(OsString, OsString)> for Environment {
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
    pub fn load(given: &Given, env: &Environment) -> Result<Self, Mistakes> {
        let (settings, mistakes) = Self::read(given, env);
        if mistakes.is_empty() { Ok(settings) } else { Err(Mistakes(mistakes)) }
    }

    /// What [`Self::load`] would give if the config file were at `path` and said `text`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn trial(path: &Path, text: &str, given: &Given, env: &Environment) -> Result<Self, Mistakes> {
        let (settings, mistakes) = Self::of(Some((path.into(), text.into())), given, env, Vec::new());
        if mistakes.is_empty() { Ok(settings) } else { Err(Mistakes(mistakes)) }
    }

    /// The settings as far as they can be read, and what is wrong with the rest, for which a default stands in.
    pub fn read(given: &Given, env: &Environment) -> (Self, Vec<Mistake>) {
        let mut mistakes = Vec::new();
        let file = config_path(given, env);
        let file = file.and_then(|(path, named)| read(&path, named, &mut mistakes).map(|text| (path, text)));
        Self::of(file, given, env, mistakes)
    }

    fn of(
        file: Option<(PathBuf, String)>,
        given: &Given,
        env: &Environment,
        mut mistakes: Vec<Mistake>,
    ) -> (Self, Vec<Mistake>) {
        let written = match &file {
            Some((path, text)) => Written::read(path, text, &mut mistakes),
            None => Written::default(),
        };
        let state = state_path(given, env, &mut mistakes);
        let settings = build(written, file.map(|(path, _)| path), state, env, &mut mistakes);
        mistakes.sort_by(|a, b| a.at.cmp(&b.at));
        (settings, mistakes)
    }
}

/// Where the config would be, and whether the user named it, so that it has to be there.
pub fn config_path(given: &Given, env: &Environment) -> Option<(PathBuf, bool)> {
    let named = given.config.as_deref().or_else(|| env.path("LOCUM_CONFIG"));
    match named {
        Some(path) => Some((path.to_path_buf(), true)),
        None => env.base("XDG_CONFIG_HOME", ".config").map(|d| (d.join("locum").join("locum.toml"), false)),
    }
}

pub(super) fn state_path(given: &Given, env: &Environment, mistakes: &mut Vec<Mistake>) -> PathBuf {
    let path = given.state.clone().or_else(|| env.base("XDG_STATE_HOME", ".local/state").map(|d| d.join("locum")));
    let Some(path) = path else {
        let at = At::Variable("HOME".into());
        mistakes.push(Mistake::new(at, "not set, so there is no folder for state", "name one with --state DIR"));
        return PathBuf::new();
    };
    if let Ok(meta) = path.metadata() {
        too_open(&path, &meta, 0o077, "go-rwx", "is open to others, and keeps the CA and the audit", mistakes);
    }
    path
}

/// The text of the file; none where there is none to read, which is a mistake only if the user named it.
fn read(path: &Path, named: bool, mistakes: &mut Vec<Mistake>) -> Option<String> {
    let at = || At::File(path.into());
    let mut read = || -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        too_open(
            path,
            &file.metadata()?,
            0o022,
            "go-w",
            "is writable by others, who could send your keys away",
            mistakes,
        );
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = match read() {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound && !named => return None,
        Err(e) => {
            mistakes.push(Mistake::new(at(), format!("can't be read: {e}"), "name another with --config FILE"));
            return None;
        }
    };
    if bytes.len() as u64 > MAX_FILE {
        mistakes.push(Mistake::new(
            at(),
            "is larger than 1 MiB",
            "a config has a few hundred lines; is it the right file?",
        ));
        return None;
    }
    String::from_utf8(bytes).map_err(|_| mistakes.push(Mistake::new(at(), "is not UTF-8", "save it as UTF-8"))).ok()
}

#[cfg(unix)]
fn too_open(path: &Path, meta: &std::fs::Metadata, bits: u32, take: &str, what: &str, mistakes: &mut Vec<Mistake>) {
    use std::os::unix::fs::MetadataExt;
    if meta.mode() & bits != 0 {
        mistakes.push(Mistake::new(
            At::File(path.into()),
            what,
            format!("run: chmod {take} {}", disk::shell_quoted(path)),
        ));
    }
}

/// Elsewhere permissions aren't modes, and the folders of a user are closed to others as they are made.
#[cfg(not(unix))]
fn too_open(_: &Path, _: &std::fs::Metadata, _: u32, _: &str, _: &str, _: &mut Vec<Mistake>) {}

/// Typed settings from what was written; where a part is wrong, its default stands in so that the rest is read too.
fn build(
    mut written: Written,
    file: Option<PathBuf>,
    state: PathBuf,
    env: &Environment,
    mistakes: &mut Vec<Mistake>,
) -> Settings {
    for (variable, value) in &env.settings {
        let set = match value.to_str() {
            Some(text) => written.set(variable, text),
            None => Err(Mistake::new(At::Variable(variable.as_str().into()), "is not UTF-8", "set it anew")),
        };
        mistakes.extend(set.err());
    }
    let home = env.path("HOME");
    let tables = written.all("proxy");
    let proxy = Reader::read(tables, home, mistakes, proxy);
    let ca = Reader::read(written.all("ca"), home, mistakes, ca);
    let vault = Reader::read(written.all("vault"), home, mistakes, |r| VaultSettings {
        password_file: r.path("password_file"),
    });
    let audit = Reader::read(written.all("audit"), home, mistakes, |r| audit::audit(r, &state));
    let anomaly = Reader::read(written.all("anomaly"), home, mistakes, audit::anomaly);
    let keys = keys::keys(written.all("key"), proxy.cleartext, home, mistakes);
    let agents = keys::agents(written.all("agent"), &keys, home, mistakes);
    Settings { file, state, proxy, ca, keys, agents, vault, audit, anomaly }
}

fn proxy(r: &mut Reader<'_>) -> ProxySettings {
    let default = ProxySettings::default();
    let intercept = [("all", Intercept::All), ("bound", Intercept::Bound)];
    let egress = [("open", Egress::Open), ("listed", Egress::Listed)];
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
        upstream_ca: r.paths("upstream_ca").unwrap_or_default(),
        // Its text may hold a password, so no message repeats it.
        upstream_proxy: r.with("upstream_proxy", |t| t.parse().map_err(|_| "no http:// URL of a proxy")),
    }
}

fn ca(r: &mut Reader<'_>) -> CaSettings {
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
mod tests {
    use super::*;
    use std::sync::Arc;

    const EXAMPLE: &str = include_str!("../../config/locum.toml");

    fn env(variables: &[(&str, &str)]) -> Environment {
        variables.iter().map(|(n, v)| (OsString::from(n), OsString::from(v))).collect()
    }

    /// Settings of a text, as if it stood in `/etc/locum.toml`.
    fn settings(text: &str, variables: &[(&str, &str)]) -> (Settings, Vec<String>) {
        let (mut mistakes, path) = (Vec::new(), Path::new("/etc/locum.toml"));
        let env = env(&[&[("HOME", "/home/u")], variables].concat());
        let written = Written::read(path, text, &mut mistakes);
        let state = state_path(&Given::default(), &env, &mut mistakes);
        let settings = build(written, Some(path.into()), state, &env, &mut mistakes);
        (settings, mistakes.iter().map(ToString::to_string).collect())
    }

    fn mistakes(text: &str) -> Vec<String> {
        settings(text, &[]).1
    }

    /// The example with its commented tables in force.
    fn uncommented() -> String {
        let in_force = |line: &str| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => rest.to_owned(),
            _ => line.to_owned(),
        };
        EXAMPLE.lines().map(in_force).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_example_is_the_defaults() {
        let (example, wrong) = settings(EXAMPLE, &[]);
        assert_eq!(wrong, [""; 0]);
        let (default, _) = settings("", &[]);
        assert_eq!(format!("{example:#?}"), format!("{default:#?}"));
    }

    #[test]
    fn the_example_has_every_setting() {
        assert_eq!(mistakes(&uncommented()), [""; 0]);
        let mut written = Written::read(Path::new("f"), &uncommented(), &mut Vec::new());
        for section in super::super::file::SECTIONS {
            let tables = written.all(section.name);
            let table = tables.first().unwrap_or_else(|| panic!("[{}]", section.name));
            for known in section.settings {
                assert!(table.values.contains_key(known.name), "{} in [{}]", known.name, section.name);
            }
        }
    }

    #[test]
    fn three_mistakes_are_three_messages() {
        let text = "[proxy]\nlisten = \"localhost\"\nintercpt = \"all\"\n\n[key.tool]\nwhere = [\"heder\"]\n";
        let wrong = mistakes(text);
        let starts = [
            "/etc/locum.toml:3:1: unknown setting 'intercpt'",
            "/etc/locum.toml:2:10: listen: ",
            "/etc/locum.toml:5:6: the key 'tool' has no hosts",
            "/etc/locum.toml:6:10: where: 'heder' is no place",
        ];
        assert_eq!(wrong.len(), starts.len(), "{wrong:#?}");
        for start in starts {
            assert!(wrong.iter().any(|w| w.starts_with(start)), "{start}: {wrong:#?}");
        }
    }

    #[test]
    fn every_value_is_read_or_named() {
        for (text, said) in [
            ("[proxy]\nlisten = \"localhost:80\"", "listen: "),
            ("[proxy]\nintercept = \"bund\"", "did you mean 'bound'?"),
            ("[proxy]\negress = \"x\"", "such as \"open\" or \"listed\""),
            ("[proxy]\nallow = [\"*.com\"]", "public suffix"),
            ("[proxy]\nconnect_ports = [0]", "0 is not within 1 and 65535"),
            ("[proxy]\nconnect_ports = [80, 70000]", "70000 is not within"),
            ("[proxy]\nuids = [-1]", "-1 is not within"),
            ("[proxy]\nprivate_addresses = [\"10.0.0.0/33\"]", "is no address"),
            ("[proxy]\nupstream_proxy = \"socks://me:hunter2@p\"", "no http:// URL of a proxy"),
            ("[ca]\nsource = \"vualt\"", "there is no such source"),
            ("[audit]\ndurability = \"sync\"", "did you mean 'fsync'?"),
            ("[audit]\nmax_file = \"1kB\"", "is not within 100kB and 4GB"),
            ("[audit]\nmax_file = \"large\"", "'large' is no size"),
            ("[audit]\nkeep_for = \"long\"", "'long' is no time to keep"),
            ("[audit]\nkeep_size = \"10\"", "such as \"10GB\""),
            ("[anomaly]\nrate_per_minute = 0", "0 is not within 1"),
            ("[anomaly]\nerrors = -5", "-5 is not within 1"),
            ("[anomaly]\nlarge_response = \"10 parsec\"", "is no size"),
            ("[anomaly]\naction = \"refus\"", "did you mean 'refuse'?"),
            ("[anomaly]\nwebhook = \"http://hooks.example/hunter2\"", "beyond it takes https://"),
            ("[anomaly]\nwebhook = \"https://me:hunter2@hooks.example/\"", "leave the user out"),
            ("[key.my-tool]\nhosts = [\"a.example\"]", "try 'my_tool'"),
            ("[key.tool_key]\nhosts = [\"a.example\"]", "try 'tool'"),
            ("[key.opnai]\nsource = \"auto\"", "did you mean [key.openai]"),
            ("[key.t]\nhosts = []", "without a host goes nowhere"),
            ("[key.openai]\nwhere = []", "without a place goes nowhere"),
            ("[key.t]\nhosts = [\"http://a.example\"]", "unencrypted beyond this machine"),
            ("[key.t]\nhosts = [\"a.example/v1\"]", "put it into `paths`"),
            ("[key.openai]\nmethods = [\"get\"]", "write 'GET'"),
            ("[key.openai]\nmethods = [\"TRACE\"]", "is refused"),
            ("[key.openai]\npaths = [\"/a/../b\"]", "two ways"),
            ("[key.openai]\nmax_uses = 0", "0 is not within 1"),
            ("[key.openai]\nsource = \"env:A B\"", "the name of a variable"),
            ("[key.openai]\nsource = 'exec:[\"op\"]'", "absolute program"),
            ("[key.openai]\nplaceholder = \"sk-0\"", "16 at least"),
            ("[key.openai]\nplaceholder = \"sk-<<openai_key>>000\"", "letters, digits"),
            ("[key.openai]\nplaceholder = \"0000000000000000\"", "different characters"),
            ("[key.openai]\ninject = \"Authorization: Bearer x\"", "holds '<<openai_key>>' once"),
            ("[key.openai]\ninject = \"Authorization: <<openai_key>> <<brave_key>>\"", "no other placeholder"),
            ("[key.openai]\ninject = \"X-Other: <<openai_key>>\"", "not among the places"),
            ("[key.openai]\ninject = \"Host: <<openai_key>>\"", "frames or routes"),
            ("[key.openai]\ninject = \"<<openai_key>>\"", "no header line"),
            ("[agent.a]\nkeys = [\"opnai\"]", "did you mean 'openai'?"),
            ("[agent.a]\nrate = \"60/fortnight\"", "is no rate"),
            ("[agent.A]\nrate = \"60/min\"", "is no agent name"),
        ] {
            let wrong = mistakes(text);
            assert_eq!(wrong.len(), 1, "{text}: {wrong:#?}");
            assert!(wrong[0].contains(said) && wrong[0].contains("\n  "), "{text}: {}", wrong[0]);
            assert!(!wrong[0].contains("hunter2"), "{}", wrong[0]);
        }
    }

    #[test]
    fn a_source_that_is_a_key_is_not_repeated() {
        let wrong = mistakes("[key.openai]\nsource = \"sk-proj-abcdef\"\n[key.brave]\nsource = \"env:sk-abcdef\"");
        assert_eq!(wrong.len(), 2);
        assert!(!wrong.concat().contains("abcdef"), "{wrong:#?}");
    }

    #[test]
    fn look_alikes_are_told_apart() {
        let table = |name, text| format!("[key.{name}]\nplaceholder = \"{text}\"\n");
        for (a, b, count) in [
            ("sk-test-0123456789", "sk-test-9876543210", 0),
            ("sk-test-0123456789", "sk-test-0123456789", 1),
            ("sk-test-0123456789", "sk-test-0123456789-longer", 1),
        ] {
            let wrong = mistakes(&(table("openai", a) + &table("brave", b)));
            assert_eq!(wrong.len(), count, "{a} and {b}: {wrong:#?}");
        }
    }

    #[test]
    fn a_catalog_key_inherits_what_its_table_leaves_out() {
        let (s, wrong) = settings("[key.brave]\nmethods = [\"GET\"]\nsource = \"file:brave.key\"", &[]);
        assert_eq!(wrong, [""; 0]);
        let brave = s.keys.iter().find(|k| k.name.as_str() == "brave").unwrap();
        assert_eq!(brave.rule.hosts[0].to_string(), "api.search.brave.com");
        assert_eq!(brave.rule.places[0].to_string(), "header:x-subscription-token");
        assert_eq!(brave.rule.methods, ["GET"]);
        assert_eq!(brave.source.to_string(), "file:/etc/brave.key");
        assert_eq!((brave.env[0].as_str(), brave.secret_from(b"BSAxyz")), ("BRAVE_API_KEY", 3));
        assert!(brave.at.is_some() && s.keys.iter().filter(|k| k.at.is_none()).count() > 20);
    }

    #[test]
    fn a_key_of_ones_own_has_header_and_body() {
        let (s, wrong) = settings("[key.tool]\nhosts = [\"api.tool.example\", \"http://127.0.0.1:80\"]", &[]);
        assert_eq!(wrong, [""; 0]);
        let tool = s.keys.iter().find(|k| k.name.as_str() == "tool").unwrap();
        assert_eq!(tool.rule.places, [crate::place::Place::Header, crate::place::Place::Body]);
        assert_eq!((tool.env[0].as_str(), tool.rule.max_uses), ("TOOL_API_KEY", 4));
    }

    #[test]
    fn paths_begin_where_they_are_written() {
        let text = "[ca]\nsource = \"file:ca.pem\"\nexport = \"~/ca.crt\"\n[audit]\ndir = \"log\"";
        let (s, wrong) = settings(text, &[("LOCUM_PROXY__UPSTREAM_CA", "a.pem,/b.pem")]);
        assert_eq!(wrong, [""; 0]);
        assert_eq!(s.ca.source, CaSource::File("/etc/ca.pem".into()));
        assert_eq!(s.ca.export.unwrap(), Path::new("/home/u/ca.crt"));
        assert_eq!(s.proxy.upstream_ca, [Path::new("a.pem"), Path::new("/b.pem")]);
        assert_eq!(s.audit.dir, Path::new("/home/u/.local/state/locum/log"));
    }

    #[test]
    fn a_variable_outranks_the_file() {
        let text = "[proxy]\nlisten = \"127.0.0.1:1\"\nbraces = true";
        let (s, wrong) = settings(text, &[("LOCUM_PROXY__LISTEN", "127.0.0.1:2"), ("LOCUM_CONFIG", "/x")]);
        assert_eq!(wrong, [""; 0]);
        assert_eq!((s.proxy.listen.port(), s.proxy.braces), (2, true));
        let (_, wrong) = settings("", &[("LOCUM_PROXY__LISTEN", "x"), ("LOCUM_CA__SUORCE", "memory")]);
        assert!(
            wrong[0].starts_with("$LOCUM_CA__SUORCE: ") && wrong[1].starts_with("$LOCUM_PROXY__LISTEN: "),
            "{wrong:?}"
        );
    }

    #[test]
    fn places_follow_the_command_line_then_variables_then_xdg() {
        let found = |given: Option<&str>, variables: &[(&str, &str)]| {
            let given = Given { config: given.map(PathBuf::from), state: None };
            config_path(&given, &env(variables)).map(|(p, named)| (p.display().to_string(), named))
        };
        let all = [("HOME", "/h"), ("XDG_CONFIG_HOME", "/x"), ("LOCUM_CONFIG", "/l")];
        assert_eq!(found(Some("/g"), &all), Some(("/g".into(), true)));
        assert_eq!(found(None, &all), Some(("/l".into(), true)));
        assert_eq!(found(None, &all[..2]), Some(("/x/locum/locum.toml".into(), false)));
        assert_eq!(
            found(None, &[("HOME", "/h"), ("XDG_CONFIG_HOME", "rel")]).unwrap().0,
            "/h/.config/locum/locum.toml"
        );
        assert_eq!(found(None, &[]), None);
        let mut wrong = Vec::new();
        let state = |v: &[(&str, &str)], wrong: &mut Vec<Mistake>| state_path(&Given::default(), &env(v), wrong);
        assert_eq!(state(&[("HOME", "/h")], &mut wrong), Path::new("/h/.local/state/locum"));
        assert_eq!(state(&[("XDG_STATE_HOME", "/s")], &mut wrong), Path::new("/s/locum"));
        assert!(wrong.is_empty());
        state(&[], &mut wrong);
        assert!(wrong[0].to_string().contains("--state DIR"));
    }

    #[cfg(unix)]
    #[test]
    fn files_that_others_could_write_are_refused_with_the_way_out() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (file, state) = (dir.path().join("locum.toml"), dir.path().join("state"));
        std::fs::write(&file, "[proxy]\nbraces = true\n").unwrap();
        std::fs::create_dir(&state).unwrap();
        let given = Given { config: Some(file.clone()), state: Some(state.clone()) };
        for (file_mode, state_mode, said) in [
            (0o644, 0o700, ""),
            (0o666, 0o700, "chmod go-w "),
            (0o664, 0o700, "chmod go-w "),
            (0o600, 0o750, "chmod go-rwx "),
        ] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(file_mode)).unwrap();
            std::fs::set_permissions(&state, std::fs::Permissions::from_mode(state_mode)).unwrap();
            match Settings::load(&given, &Environment::default()) {
                Ok(s) => assert!(said.is_empty() && s.proxy.braces, "{file_mode:o}"),
                Err(e) => assert!(!said.is_empty() && e.to_string().contains(said), "{file_mode:o}: {e}"),
            }
        }
    }

    #[test]
    fn a_named_file_has_to_be_there_and_a_default_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("none.toml");
        let given = Given { config: Some(missing.clone()), state: None };
        let home = env(&[("HOME", dir.path().to_str().unwrap())]);
        let e = Settings::load(&given, &home).unwrap_err();
        assert_eq!(e.0[0].at, At::File(Arc::from(missing.as_path())));
        assert_eq!(Settings::load(&Given::default(), &home).unwrap().file, None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(
            section in "(proxy|ca|vault|audit|anomaly|key\\.[a-z_]{1,3}|agent\\.a)",
            n in 0usize..13,
            value in "\\PC{0,40}",
        ) {
            let base = section.split('.').next().unwrap_or("");
            let known = super::super::file::section(base).unwrap().settings;
            let name = known[n % known.len()].name;
            for value in [format!("{value:?}"), format!("[{value:?}]"), value] {
                settings(&format!("[{section}]\n{name} = {value}\n"), &[]);
            }
        }
    }
}
