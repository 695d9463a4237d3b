//! `locum check`: every mistake in the config and in what it names, at once; changes nothing.

use super::child_env;
use super::context::CliContext;
use super::key_strength::guessable;
use super::progress::{ASKING_THE_STORES, ProgressLine};
use super::term::in_words;
use crate::app::{self, AppError, KeyLookup, ListenerTls, MIN_TOKEN, RENEW, ValueComplaint};
use crate::ca::{Authorities, Authority, CaError};
use crate::config::catalog::Catalog;
use crate::config::keys::KeySetting;
use crate::config::settings::{CaSource, ConfigEnvironment};
use crate::config::{ConfigLocation, Mistake, Settings};
use crate::disk;
use crate::memory::Plaintext;
use crate::memory::own_variables::PROXY_TOKEN;
use crate::name::{AgentName, Host};
use crate::place::Place;
use crate::policy::egress;
use crate::policy::rule::{HostPattern, Scrubbing};
use crate::secrets::{FileSource, SecretBackends, SecretSource as _, SourceSpec, ValueOddity};
use crate::upstream::tls;
use serde::Serialize;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

const SAME_USER: &str = "an agent that runs as your own user is kept from accidents and leaks, not from intent: it could edit this config. \
                         'locum run --confine', another user or a container keeps it from both";

const BRACES_ON: &str = "<<NAME_key>> and {{NAME_key}}";
const BRACES_OFF: &str = "<<NAME_key>> alone; {{NAME_key}} too with braces = true under [proxy]";

#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// What is right as far as it goes, but probably not meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct CheckWarning {
    #[serde(flatten)]
    at: Option<ConfigLocation>,
    what: String,
    hint: String,
}

/// A key whose value was found, or that has a table in the file.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct KeyLine {
    name: String,
    source: String,
    found: bool,
}

#[derive(Debug, Serialize)]
struct CheckReport {
    ok: bool,
    config: Option<PathBuf>,
    state: PathBuf,
    /// Whether `{{NAME_key}}` is a placeholder too.
    braces: bool,
    keys: Vec<KeyLine>,
    mistakes: Vec<Mistake>,
    warnings: Vec<CheckWarning>,
    note: &'static str,
}

/// Prints what it finds. Asks every source for its value, so a key's program is run and a store may ask to be unlocked.
pub fn run(args: &CheckArgs, context: &CliContext) -> anyhow::Result<ExitCode> {
    let (settings, mistakes) = Settings::read(context.paths(), &ConfigEnvironment::of_process());
    let backends = app::backends(&settings, context.take_secrets(&settings)?);
    let line = (!args.json).then(|| ProgressLine::of(ASKING_THE_STORES));
    let mut report = report(settings, mistakes, &backends);
    drop(line);
    let hint = "a container may need its limit of locked memory, or its seccomp profile, raised".to_owned();
    let weak = |what: String| CheckWarning { at: None, what, hint: hint.clone() };
    report.warnings.extend(context.weaknesses().into_iter().map(weak));
    let text = if args.json { serde_json::to_string_pretty(&report)? + "\n" } else { in_words(&report.to_string()) };
    print!("{text}");
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report(settings: Settings, mistakes: Vec<Mistake>, backends: &SecretBackends) -> CheckReport {
    let mut report = CheckReport {
        ok: false,
        config: settings.file.clone(),
        state: settings.state.clone(),
        braces: settings.proxy.braces,
        keys: Vec::new(),
        mistakes,
        warnings: Vec::new(),
        note: SAME_USER,
    };
    report.files(&settings);
    for variable in child_env::holding_placeholders(&settings) {
        report.warn(None, child_env::no_key_there(&variable), child_env::PUT_A_KEY_THERE);
    }
    report.replaced_providers(&settings.catalog);
    if !settings.proxy.braces {
        for (variable, key) in child_env::holding_braces(&settings) {
            let what = format!("{variable} holds {{{{{key}_key}}}}, which is no placeholder while braces is off");
            report.warn(None, what, format!("set braces = true under [proxy], or write {} there", key.placeholder()));
        }
    }
    report.preflight(&settings, backends);
    report.ca(&settings, backends);
    report.transparent(&settings, backends);
    if let Ok(Some(tls)) = ListenerTls::of(&settings)
        && let Some(what) = tls.ending(SystemTime::now())
    {
        report.warn(None, what, RENEW);
    }
    report.hostless(&settings, backends);
    for (key, due) in app::overdue(&settings.keys, &settings.state, SystemTime::now()) {
        report.warn(key.at.as_ref(), due.what, due.next);
    }
    for key in &settings.keys {
        report.value(key, backends);
        report.warnings.extend(binding_warnings(key, &settings));
    }
    let is_found = |key: &&KeySetting| report.keys.iter().any(|found| found.found && found.name == key.name.as_str());
    let hosts = settings.keys.iter().filter(is_found).flat_map(|key| &key.rule.hosts);
    if let Some((what, next)) = child_env::bypassed(hosts, &child_env::now) {
        report.warn(None, what, next);
    }
    if !report.keys.iter().any(|k| k.found) {
        let hint = "set OPENAI_API_KEY or the like, or store one with `locum key set NAME`";
        report.warnings.push(CheckWarning { at: None, what: "no key has a value".into(), hint: hint.into() });
    }
    report.ok = report.mistakes.is_empty();
    report
}

impl CheckReport {
    /// The files that settings name, beyond those of keys.
    fn files(&mut self, settings: &Settings) {
        for path in settings.proxy.upstream_ca.iter().chain(&settings.proxy.upstream_proxy_ca) {
            if let Err(e) = tls::roots(std::slice::from_ref(path), None) {
                self.mistaken(path, &e.why, "upstream_ca and upstream_proxy_ca hold PEM certificates");
            }
        }
        if let Some(path) = &settings.anomaly.webhook_secret_file {
            match FileSource::new(path).load() {
                Ok(Some(secret)) => self.odd(path, &secret),
                Ok(None) => self.mistaken(path, nothing_in(path), "it is what the webhook's receiver checks"),
                Err(e) => self.mistaken(path, &e.what, &e.next),
            }
        }
        for agent in &settings.agents {
            let Some(path) = &agent.token_file else { continue };
            match FileSource::new(path).load() {
                Ok(Some(token)) if token.expose().trim_ascii().len() < MIN_TOKEN => {
                    let what = format!("the token has under {MIN_TOKEN} characters, so it could be guessed");
                    self.mistaken(path, &what, "`locum agent add` makes one");
                }
                Ok(Some(token)) => self.odd(path, &token),
                Ok(None) => self.mistaken(path, nothing_in(path), "`locum agent add` makes one"),
                Err(e) => self.mistaken(path, &e.what, &e.next),
            }
        }
    }

    /// Entries of the catalog that a file of the user's own has taken the place of.
    fn replaced_providers(&mut self, catalog: &Catalog) {
        for own in catalog.providers().iter().filter(|p| p.at.is_some() && Catalog::is_embedded(&p.name)) {
            let what = format!("the provider '{}' takes the place of locum's own as a whole", own.name);
            self.warn(own.at.as_ref(), what, "give it another name if both are meant");
        }
    }

    /// What else a service would not start with. Files of tokens were told of one by one.
    fn preflight(&mut self, settings: &Settings, backends: &SecretBackends) {
        for e in app::preflight(settings, backends) {
            let at = match (&e, e.path().or(settings.file.as_deref())) {
                (AppError::Token { .. }, _) => continue,
                (AppError::ShortToken { .. } | AppError::Variable(_), _) => {
                    ConfigLocation::Variable(PROXY_TOKEN.into())
                }
                (_, Some(path)) => ConfigLocation::File(path.into()),
                // the only other place where an address could be set
                (_, None) => ConfigLocation::Variable("LOCUM_PROXY__LISTEN".into()),
            };
            let said = e.to_string();
            let mistake = Mistake::new(at, e.path().map_or(&*said, |path| without_place(&said, path)), e.next());
            // a folder that is open to others may have been told of with the settings
            if e.path().is_none() || !self.mistakes.iter().any(|known| known.at == mistake.at) {
                self.mistakes.push(mistake);
            }
        }
    }

    /// Whether the CA that is kept fits. One that is not made yet will.
    fn ca(&mut self, settings: &Settings, backends: &SecretBackends) {
        let ca: Authorities = match &settings.ca.source {
            CaSource::File(path) => match Authority::from_file(path) {
                Ok(ca) => ca.into(),
                Err(e) => {
                    let (what, exposed) = (e.to_string(), matches!(e, CaError::Exposed { .. }));
                    let fits = "[ca] source is a PEM file with certificate and key".to_owned();
                    return self.mistaken(path, &what, &if exposed { AppError::from(e).next() } else { fits });
                }
            },
            _ => match app::look_for_ca(settings, backends) {
                Ok(Some(ca)) => ca,
                Ok(None) => return,
                Err(e) => return self.warn(None, e.to_string(), e.next()),
            },
        };
        if let Some((what, hint)) = app::ca_misfit(settings, &app::active(settings, backends), &ca) {
            self.warn(None, what, hint);
        }
    }

    /// Whether anybody's redirected connection would be taken in.
    fn transparent(&mut self, settings: &Settings, backends: &SecretBackends) {
        let proxy = &settings.proxy;
        if proxy.transparent.is_none() {
            return;
        }
        if proxy.uids.is_empty() {
            let what = "nobody's connections are taken in by the transparent listener: uids is empty";
            self.warn(None, what, "list the agent's user in uids under [proxy]");
        }
        let needs_token = app::rules(settings, backends).is_ok_and(|ruleset| ruleset.agents.need_token());
        let known = |name: &AgentName| {
            app::named_agents(settings).is_ok_and(|agents| agents.iter().any(|agent| agent.name == *name))
        };
        let next = "name an agent that has a token in transparent_agent under [proxy]";
        match &proxy.transparent_agent {
            None if needs_token => self.warn(None, "agents have tokens, and what is redirected is no agent's", next),
            Some(name) if needs_token && *name != AgentName::local() && !known(name) => {
                self.warn(None, format!("what is redirected is agent {name}'s, and there is no such agent"), next);
            }
            _ => {}
        }
    }

    fn mistaken(&mut self, path: &Path, what: &str, hint: &str) {
        self.mistakes.push(Mistake::new(ConfigLocation::File(path.into()), without_place(what, path), hint));
    }

    /// A secret of locum's own, which no agent is to write anything before.
    fn odd(&mut self, path: &Path, secret: &Plaintext) {
        for odd in ValueOddity::all_of(secret.expose()) {
            self.warn(Some(&ConfigLocation::File(path.into())), format!("what it holds {odd}"), odd.next());
        }
    }

    fn warn(&mut self, at: Option<&ConfigLocation>, what: impl Into<String>, hint: impl Into<String>) {
        let warning = CheckWarning { at: at.cloned(), what: what.into(), hint: hint.into() };
        // A store that is out of reach is out of reach for every key of the catalog.
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Asks the key's source. What a key of the catalog lacks is nobody's mistake while no table names it.
    fn value(&mut self, key: &KeySetting, backends: &SecretBackends) {
        if key.missing_host().is_some() {
            return;
        }
        let lookup = KeyLookup::of(key, backends);
        if matches!((&lookup.value, &key.at), (Ok(None), None)) {
            return;
        }
        for ValueComplaint { what, next } in lookup.complaints(key) {
            match &key.at {
                Some(at) if lookup.value.is_err() => self.mistakes.push(Mistake::new(at.clone(), what, next)),
                at => self.warn(at.as_ref(), what, next),
            }
        }
        let found = matches!(lookup.value, Ok(Some(_)));
        if let SourceSpec::File(path) = &key.source
            && found
            && readable_by_all(path)
        {
            let what = format!("every user of this machine can read the key '{}' in {}", key.name, path.display());
            self.warn(key.at.as_ref(), what, format!("chmod o-r {}", disk::shell_quoted(path)));
        }
        if found || key.at.is_some() {
            self.keys.push(KeyLine { name: key.name.to_string(), source: lookup.source, found });
        }
        if let Ok(Some(value)) = lookup.value {
            self.suits(key, value);
        }
    }

    /// Values that can go nowhere yet. That of a key with a table is a mistake of that table.
    fn hostless(&mut self, settings: &Settings, backends: &SecretBackends) {
        for key in app::hostless(settings, backends).into_iter().filter(|key| key.at.is_none()) {
            let Some(tenant) = key.missing_host() else { continue };
            let what = format!("key '{}' has a value and no host, so nobody can use it", key.name);
            self.warn(None, what, format!("say which is yours: locum key set {} --host {tenant}", key.name));
        }
    }

    /// What only the value shows.
    fn suits(&mut self, key: &KeySetting, value: Plaintext) {
        let at = key.at.as_ref();
        let holds = |text: &str| value.expose().windows(text.len()).any(|w| w == text.as_bytes());
        if holds(&key.rule.name.placeholder()) {
            let what = format!("key '{}' has its own placeholder for a value", key.name);
            self.warn(at, what, format!("put the key itself there, or store it with `locum key set {}`", key.name));
        } else if key.rule.placeholder.as_deref().is_some_and(holds) {
            let what = format!("the placeholder of key '{}' is a part of its value", key.name);
            self.warn(at, what, "choose one that gives nothing of the key away");
        }
        match (key.rule.scrub, guessable(value.expose(), key.secret_from(value.expose()))) {
            (Scrubbing::Auto, Some(why)) => {
                let what = format!("key '{}' is not hidden in responses: {why}", key.name);
                self.warn(at, what, "take a longer key if the provider gives one");
            }
            (Scrubbing::Always, Some(why)) => {
                let what = format!("key '{}' is hidden in responses, and guesses can be tested: {why}", key.name);
                self.warn(at, what, "take a longer key if the provider gives one, and leave scrub = true out");
            }
            _ => {}
        }
    }
}

fn nothing_in(path: &Path) -> &'static str {
    if path.exists() { "is empty" } else { "there is no such file" }
}

fn readable_by_all(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    path.metadata().is_ok_and(|meta| meta.mode() & 0o004 != 0)
}

/// What a binding allows and its writer may not have thought of; those of the catalog are thought through.
fn binding_warnings(key: &KeySetting, settings: &Settings) -> Vec<CheckWarning> {
    let Some(at) = &key.at else { return Vec::new() };
    let mut out = Vec::new();
    let mut warn = |what: String, hint: &str| out.push(CheckWarning { at: Some(at.clone()), what, hint: hint.into() });
    if key.rule.places.contains(&Place::BodyAny) {
        warn(
            format!(
                "key '{}' goes anywhere in a body (body:any), into text that mentions its placeholder too",
                key.name
            ),
            "name the field: body:/json/pointer or body:FIELD",
        );
    }
    let in_text = key.rule.places.iter().any(|p| p.in_body() || *p == Place::Ws);
    for host in &key.rule.hosts {
        // on whatever port: a host that was given a key can show it on any other as well
        if let Some(unread) = settings.proxy.passthrough.iter().find(|unread| unread.shares_a_host(host)) {
            let what = format!(
                "key '{}' is bound to {host}, and connections to {unread} are passed through unread: no key is put in \
                 there, and none is taken out",
                key.name
            );
            warn(what, "take the host out of `passthrough`, or out of the binding");
        }
        if let Some((what, hint)) = strange_host(key, host) {
            warn(what, &hint);
        }
        let Some(name) = host.exact() else { continue };
        let port = host.binding_port();
        if in_text && is_model(name, &settings.catalog) {
            let what = format!("key '{}' goes into bodies at {host}, where a language model reads them", key.name);
            warn(what, "leave body and ws out of `where`");
        }
        let proxy = &settings.proxy;
        if proxy.deny.iter().any(|p| p.lists(name, port)) {
            let what = format!("key '{}' is bound to {host}, which is denied", key.name);
            warn(what, "take the host out of `deny`, or out of the binding");
        }
        if let Host::Ip(ip) = name
            && !egress::is_public(*ip)
            && !proxy.private_addresses.iter().any(|a| a.covers(SocketAddr::new(*ip, port)))
        {
            let what = format!("key '{}' is bound to {host}, which is not public and so is not dialled", key.name);
            warn(what, "add the address to `private_addresses` under [proxy]");
        }
    }
    out
}

/// What is to be said of a host that is none of the provider's, as far as it is known what they look like.
pub(super) fn strange_host(key: &KeySetting, host: &HostPattern) -> Option<(String, String)> {
    let provider = key.provider.as_ref()?;
    let tenant = provider.tenants.first()?;
    if provider.tenants.iter().any(|t| t.is_shared_by(host)) {
        let what = format!("key '{}' is bound to {host}, where strangers have hosts too", key.name);
        return Some((what, format!("name yours, which looks like {tenant}")));
    }
    let name = host.exact().filter(|name| !provider.names(name))?;
    let what = format!("key '{}' is bound to {name}, and hosts of {} look like {tenant}", key.name, provider.title);
    Some((what, "make sure that it is yours, or a gateway that you trust with the key".into()))
}

/// What an error says, without the path that it begins with: the place is told already.
fn without_place<'e>(said: &'e str, path: &Path) -> &'e str {
    said.strip_prefix(&format!("{}: ", path.display())).unwrap_or(said)
}

/// Whether the catalog says that a host hands what it is sent to a language model.
fn is_model(host: &Host, catalog: &Catalog) -> bool {
    catalog.providers().iter().any(|p| p.model && p.names(host))
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.config.as_ref().map_or("none, so every default".into(), |c| c.display().to_string());
        writeln!(f, "config  {config}")?;
        writeln!(f, "state   {}", self.state.display())?;
        writeln!(f, "syntax  {}", if self.braces { BRACES_ON } else { BRACES_OFF })?;
        for key in &self.keys {
            writeln!(f, "key     {} from {}{}", key.name, key.source, if key.found { "" } else { " (no value)" })?;
        }
        for mistake in &self.mistakes {
            writeln!(f, "\n{mistake}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "\n{warning}")?;
        }
        let count = |n: usize, what| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        writeln!(f, "\n{}, {}", count(self.mistakes.len(), "mistake"), count(self.warnings.len(), "warning"))?;
        writeln!(f, "note: {}", self.note)
    }
}

impl fmt::Display for CheckWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut at = String::new();
        if let Some(spot) = &self.at {
            write!(at, "{spot}: ")?;
        }
        write!(f, "{at}warning: {}\n  {}", self.what, self.hint)
    }
}

#[cfg(test)]
mod tests;
