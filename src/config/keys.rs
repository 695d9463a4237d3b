//! The tables `[key.NAME]` and `[agent.NAME]`: what they say, over what the catalog says; values of keys are elsewhere.

use super::catalog::{Catalog, Provider, TenantHost};
use super::file::ConfigTable;
use super::mistake::{ConfigLocation, Mistake, nearest};
use super::reader::TableReader;
use super::units::{RetentionAge, Timeout};
use crate::name::{AgentName, KeyName};
use crate::place::Place;
use crate::policy;
use crate::policy::rule::{HostPattern, Inject, KeyRule, PathGlob, Scrubbing};
use crate::rewrite::check_lookalike;
use crate::secrets::SourceSpec;
use http::Method;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

const DEFAULT_MAX_USES: u32 = 4;
/// More than this in one request is no use but a mistake.
const MOST_USES: u32 = 1000;

/// A key that may be used once its value is found.
#[derive(Debug, Clone)]
pub struct KeySetting {
    /// As placeholders have it.
    pub name: KeyName,
    /// Where its value comes from.
    pub source: SourceSpec,
    /// The variables that `auto` tries, in this order.
    pub env: Vec<String>,
    /// What the catalog says of it.
    pub provider: Option<Arc<Provider>>,
    /// Where it may go.
    pub rule: KeyRule,
    /// How long a value counts once its program or file was asked; none leaves it to the source.
    pub lifetime: Option<Duration>,
    /// After how long a new value is due.
    pub rotate_after: Option<Duration>,
    /// Where its table stands; none for a catalog key without one, which is silently inactive while it has no value.
    pub at: Option<ConfigLocation>,
}

impl KeySetting {
    /// Every variable that may hold the value, or that its programs read: in a child they hold the placeholder.
    pub fn variables(&self) -> Vec<String> {
        let mut all = self.source.variables(&self.name, &self.env);
        all.extend(self.env.iter().filter(|v| !all.contains(v)).cloned().collect::<Vec<_>>());
        all
    }

    /// What its values are known to begin with: not counted as secret.
    pub fn prefixes(&self) -> &[String] {
        self.provider.as_ref().map_or(&[], |provider| &provider.prefixes)
    }

    /// The page on which it is revoked, where the catalog knows one.
    pub fn revoke_url(&self) -> Option<&str> {
        self.provider.as_ref().and_then(|provider| provider.revoke.as_deref())
    }

    /// What the user has to say before it can go anywhere: the host of their own, as the catalog knows it to look.
    pub fn missing_host(&self) -> Option<&TenantHost> {
        self.provider.as_ref().and_then(|provider| provider.missing_host()).filter(|_| self.rule.hosts.is_empty())
    }

    /// How many bytes of a value are its well-known prefix.
    pub fn secret_from(&self, value: &[u8]) -> usize {
        self.prefixes().iter().filter(|p| value.starts_with(p.as_bytes())).map(String::len).max().unwrap_or(0)
    }
}

/// `[agent.NAME]`.
#[derive(Debug, Clone)]
pub struct AgentSetting {
    /// As records have it.
    pub name: AgentName,
    /// Else the token was made by `agent add`.
    pub token_file: Option<PathBuf>,
    /// All keys, where there is no list.
    pub keys: Option<Vec<KeyName>>,
    /// Any host and any method, where a list is empty.
    pub hosts: Vec<HostPattern>,
    /// The hosts that it may reach; any, where none is named.
    pub methods: Vec<Method>,
    /// Requests that may begin in a time.
    pub rate: Option<Rate>,
    /// Requests under way at once.
    pub concurrent: Option<u32>,
    /// How many of its requests may be under way; any number, where none is named.
    pub at: ConfigLocation,
}

/// So many requests in so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub count: u32,
    /// So many requests.
    pub per: Duration,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let bad = || format!("'{}' is no rate", s.escape_debug());
        let (count, unit) = s.split_once('/').ok_or_else(bad)?;
        let seconds = match unit.trim() {
            "s" | "sec" | "second" => 1,
            "m" | "min" | "minute" => 60,
            "h" | "hour" => 3600,
            "d" | "day" => 86_400,
            _ => return Err(bad()),
        };
        let count = count.trim().parse().ok().filter(|c| *c > 0).ok_or_else(bad)?;
        Ok(Self { count, per: Duration::from_secs(seconds) })
    }
}

/// The keys of the file over those of the catalog, sorted by name.
pub fn keys(
    tables: Vec<ConfigTable>,
    catalog: &Catalog,
    cleartext: bool,
    home: Option<&Path>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<KeySetting> {
    let mut lookalikes = Vec::new();
    let mut keys: Vec<KeySetting> = Vec::new();
    for table in tables {
        let name = match table.name.parse::<KeyName>() {
            Ok(name) => name,
            Err(e) => {
                mistakes.push(Mistake::new(table.at, e.to_string(), "rename the table, and the placeholders with it"));
                continue;
            }
        };
        keys.extend(TableReader::read(vec![table], home, mistakes, |r| {
            let at = r.at("placeholder");
            let key = key(r, name, catalog, cleartext);
            lookalikes.extend(at.zip(key.rule.placeholder.clone()).map(|(at, p)| (key.name.clone(), p, at)));
            Some(key)
        }));
    }
    tell_apart(&lookalikes, mistakes);
    for provider in catalog.providers() {
        if !keys.iter().any(|k| k.name == provider.name) {
            keys.push(of_catalog(provider));
        }
    }
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    keys
}

/// A catalog key as it is without a table of its own.
fn of_catalog(provider: &Arc<Provider>) -> KeySetting {
    KeySetting {
        name: provider.name.clone(),
        source: SourceSpec::Auto,
        env: provider.env.clone(),
        provider: Some(provider.clone()),
        rule: KeyRule {
            name: provider.name.clone(),
            hosts: provider.hosts.clone(),
            methods: Vec::new(),
            paths: Vec::new(),
            places: provider.places.clone(),
            max_uses: DEFAULT_MAX_USES,
            placeholder: None,
            inject: None,
            scrub: Scrubbing::Auto,
        },
        lifetime: None,
        rotate_after: None,
        at: None,
    }
}

/// A key of the user's own before its table is read: any header, whole values in a body, and no host.
pub(super) fn of_user(name: KeyName) -> KeySetting {
    let env = vec![format!("{}_API_KEY", name.as_str().to_ascii_uppercase())];
    let rule = KeyRule {
        name: name.clone(),
        hosts: Vec::new(),
        methods: Vec::new(),
        paths: Vec::new(),
        places: vec![Place::Header, Place::Body],
        max_uses: DEFAULT_MAX_USES,
        placeholder: None,
        inject: None,
        scrub: Scrubbing::Auto,
    };
    KeySetting {
        name,
        source: SourceSpec::Auto,
        env,
        provider: None,
        rule,
        lifetime: None,
        rotate_after: None,
        at: None,
    }
}

fn key(r: &mut TableReader<'_>, name: KeyName, catalog: &Catalog, cleartext: bool) -> KeySetting {
    let mut key = catalog.provider(name.as_str()).map_or_else(|| of_user(name), of_catalog);
    key.at = Some(r.table_at());
    let source_at = r.at("source");
    if let Some(source) = r.parsed::<SourceSpec>("source") {
        key.source = match source {
            SourceSpec::File(path) => SourceSpec::File(r.resolve(&path, source_at.as_ref())),
            other => other,
        };
    }
    if let Some(hosts) = hosts(r, &key, catalog, cleartext) {
        key.rule.hosts = hosts;
    }
    if let Some(methods) = r.list_with("methods", method) {
        key.rule.methods = methods;
    }
    if let Some(paths) = r.list::<PathGlob>("paths") {
        key.rule.paths = paths;
    }
    if let Some(places) = r.filled::<Place>("where", "a key without a place goes nowhere") {
        key.rule.places = places.into_iter().map(|(place, _)| place).collect();
    }
    if let Some(uses) = r.number("max_uses", 1..=MOST_USES) {
        key.rule.max_uses = uses;
    }
    let scrubbing = [("auto", Scrubbing::Auto), ("true", Scrubbing::Always), ("false", Scrubbing::Never)];
    if let Some(scrub) = r.choice("scrub", &scrubbing) {
        key.rule.scrub = scrub;
    }
    key.lifetime = lifetime(r, &key.source);
    key.rotate_after = r.with("rotate_after", age).flatten();
    key.rule.placeholder = r.with("placeholder", |text| check_lookalike(text).map(|()| text.to_owned()));
    let inject = r.with("inject", |text| inject(text, &key.rule));
    key.rule.inject = inject;
    key
}

/// An age; none where the text is empty.
fn age(text: &str) -> Result<Option<Duration>, String> {
    if text.is_empty() { Ok(None) } else { text.parse::<RetentionAge>().map(|age| Some(age.0)) }
}

/// How long a value counts, of a program or a file: all other sources say themselves when theirs has changed.
fn lifetime(r: &mut TableReader<'_>, source: &SourceSpec) -> Option<Duration> {
    let at = r.at("lifetime");
    let lifetime = r.with("lifetime", |text| match text {
        "" => Ok(None),
        text => text.parse::<Timeout>().map(|time| Some(time.0)),
    })??;
    match source {
        SourceSpec::Exec(_) | SourceSpec::File(_) => Some(lifetime),
        _ => {
            let hint = "leave it out: a variable never changes, and a store tells when it does".to_owned();
            r.wrong(at?, format!("lifetime: it is for a source that is exec or file, and not '{source}'"), hint);
            None
        }
    }
}

/// The hosts that the table names; none where it leaves them to the catalog.
fn hosts(r: &mut TableReader<'_>, key: &KeySetting, catalog: &Catalog, cleartext: bool) -> Option<Vec<HostPattern>> {
    if let (None, Some(tenant)) = (r.at("hosts"), key.missing_host()) {
        let what = format!("the key '{}' has no hosts: each customer of its provider has one of their own", key.name);
        r.wrong(r.table_at(), what, format!("add yours, which looks like hosts = [\"{tenant}\"]"));
        return None;
    }
    if r.at("hosts").is_none() && key.rule.hosts.is_empty() {
        let hint = match nearest(key.name.as_str(), catalog.providers().iter().map(|p| p.name.as_str())) {
            Some(meant) => {
                format!("did you mean [key.{meant}], which the catalog knows? else add hosts = [\"api.tool.example\"]")
            }
            None => "add, say, hosts = [\"api.tool.example\"]".into(),
        };
        r.wrong(r.table_at(), format!("the key '{}' has no hosts, and the catalog doesn't know it", key.name), hint);
        return None;
    }
    let hosts = r.filled::<HostPattern>("hosts", "a key without a host goes nowhere")?;
    for (host, at) in &hosts {
        if host.is_cleartext() && !cleartext && !host.exact().is_some_and(|h| h.is_loopback_name()) {
            let what = format!("hosts: '{host}' would carry the key unencrypted beyond this machine");
            r.wrong(at.clone(), what, "write it without http://, or set cleartext = true under [proxy]".into());
        }
    }
    Some(hosts.into_iter().map(|(host, _)| host).collect())
}

fn method(text: &str) -> Result<Method, String> {
    let upper = text.to_ascii_uppercase();
    match Method::from_bytes(text.as_bytes()) {
        Err(_) => Err(format!("'{}' is no method", text.escape_debug())),
        Ok(_) if upper != text => Err(format!("methods are told apart by case: write '{upper}'")),
        Ok(Method::CONNECT) => Err("CONNECT opens a tunnel and never carries a key".into()),
        Ok(Method::TRACE) => Err("TRACE sends the key back and is refused".into()),
        Ok(method) => Ok(method),
    }
}

/// A header line with one placeholder, that of its own key, in a place that the key may go to.
fn inject(text: &str, rule: &KeyRule) -> Result<Inject, String> {
    let inject: Inject = text.parse().map_err(|e| format!("{e}"))?;
    let value = inject.value.to_str().unwrap_or_default();
    let default = rule.name.placeholder();
    let own =
        value.matches(&default).count() + rule.placeholder.as_ref().map_or(0, |p| value.matches(p.as_str()).count());
    if own != 1 || value.matches("<<").count() != value.matches(&default).count() {
        return Err(format!("it holds '{default}' once, and no other placeholder"));
    }
    let place: Place = format!("header:{}", inject.name).parse().map_err(|e| format!("{e}"))?;
    if !rule.places.iter().any(|p| p.covers(&place)) {
        return Err(format!("'{place}' is not among the places in `where`, so every request would be refused"));
    }
    Ok(inject)
}

/// Each look-alike means one key, wherever it is found.
fn tell_apart(lookalikes: &[(KeyName, String, ConfigLocation)], mistakes: &mut Vec<Mistake>) {
    for (i, (name, text, at)) in lookalikes.iter().enumerate() {
        for (other, longer, _) in lookalikes.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, l)| l) {
            // Of two equal ones the second in the file is told.
            if longer.contains(text.as_str()) && (longer != text || other < name) {
                let what = format!("the placeholder of '{name}' is found in that of '{other}'");
                mistakes.push(Mistake::new(at.clone(), what, "make them differ from their first characters on"));
            }
        }
    }
}

/// Notes keys that would be added in one header to the same requests of one agent: it would be chance which of them goes.
pub fn tell_injected_apart(keys: &[KeySetting], agents: &[AgentSetting], mistakes: &mut Vec<Mistake>) {
    for (i, key) in keys.iter().enumerate() {
        for other in &keys[..i] {
            let may = |agent: &AgentSetting, key: &KeySetting| {
                agent.keys.as_ref().is_none_or(|listed| listed.contains(&key.name))
            };
            let by_one = agents.is_empty() || agents.iter().any(|agent| may(agent, key) && may(agent, other));
            if let (true, true, Some(at)) = (by_one, policy::compete(&key.rule, &other.rule), &key.at) {
                let what = format!("inject: '{}' is added to the same requests, in the same header", other.name);
                let hint =
                    "tell them apart by `hosts`, `methods` or `paths`, or give them to different agents by `keys`";
                mistakes.push(Mistake::new(at.clone(), what, hint));
            }
        }
    }
}

/// The agents of the file, in its order.
pub fn agents(
    tables: Vec<ConfigTable>,
    keys: &[KeySetting],
    home: Option<&Path>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<AgentSetting> {
    let mut agents = Vec::new();
    for table in tables {
        match table.name.parse::<AgentName>() {
            Ok(name) => agents.push(TableReader::read(vec![table], home, mistakes, |r| agent(r, name, keys))),
            Err(e) => mistakes.push(Mistake::new(table.at, e.to_string(), "rename the table")),
        }
    }
    agents
}

fn agent(r: &mut TableReader<'_>, name: AgentName, keys: &[KeySetting]) -> AgentSetting {
    let known = |text: &str| {
        let name = || keys.iter().map(|k| &k.name).find(|n| n.as_str() == text).cloned();
        name().ok_or_else(|| match nearest(text, keys.iter().map(|k| k.name.as_str())) {
            Some(meant) => format!("there is no key '{}'; did you mean '{meant}'?", text.escape_debug()),
            None => format!("there is no key '{}': it needs a table [key.NAME]", text.escape_debug()),
        })
    };
    AgentSetting {
        name,
        token_file: r.path("token_file"),
        keys: r.list_with("keys", known),
        hosts: r.list("hosts").unwrap_or_default(),
        methods: r.list_with("methods", method).unwrap_or_default(),
        rate: r.parsed("rate"),
        concurrent: r.number("concurrent", 1..=100_000),
        at: r.table_at(),
    }
}
