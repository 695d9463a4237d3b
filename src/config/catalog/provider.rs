//! One provider: what the catalog says of it, read from a table and checked against the rules that hold for all of them.

use super::shape::Shape;
use super::tenant::TenantHost;
use super::test_call::TestCall;
use crate::config::mistake::ConfigLocation;
use crate::config::reader::TableReader;
use crate::name::{Host, KeyName};
use crate::place::Place;
use crate::policy::rule::HostPattern;
use regex::Regex;
use url::Url;

/// Variables that say nothing of whose key they hold: anything may be in them.
const UNTELLING: [&str; 16] = [
    "ACCESS_KEY",
    "ACCESS_TOKEN",
    "API_KEY",
    "API_SECRET",
    "API_TOKEN",
    "APIKEY",
    "AUTH_TOKEN",
    "BEARER_TOKEN",
    "CLIENT_SECRET",
    "KEY",
    "PASSWORD",
    "PRIVATE_KEY",
    "SECRET",
    "SECRET_KEY",
    "TOKEN",
    "USER",
];

/// A provider that locum knows: its hosts, the places of its key, and its usual variables.
#[derive(Debug)]
pub struct Provider {
    /// The key's name.
    pub name: KeyName,
    /// As people write it.
    pub title: String,
    /// Whether the host hands what it is sent to a language model.
    pub model: bool,
    /// The hosts that its key may go to; none where each customer has one of their own.
    pub hosts: Vec<HostPattern>,
    /// What the hosts of its customers look like, the usual one first.
    pub tenants: Vec<TenantHost>,
    /// The places of a request that its key may go to.
    pub places: Vec<Place>,
    /// The variables that its own tools read, in the order in which they are tried.
    pub env: Vec<String>,
    /// What its keys begin with: public, and so not counted as secret.
    pub prefixes: Vec<String>,
    /// The page on which a key is revoked.
    pub revoke: Option<String>,
    /// The page that shows what a key was used for, where there is one.
    pub usage: Option<String>,
    /// The cheapest request that shows whether a key is good, where one is known.
    pub test: Option<TestCall>,
    /// The public document that this was checked against.
    pub doc: Option<String>,
    /// Where it is written, in a file of the user's own.
    pub at: Option<ConfigLocation>,
    pub(super) shape: Option<Shape>,
}

impl Provider {
    /// What a whole key of it looks like, where the provider's keys can be told from other text. Compiled when it is first
    /// asked for.
    pub fn shape(&self) -> Option<&Regex> {
        self.shape.as_ref().and_then(|shape| shape.regex().ok())
    }

    /// The regular expression of [`Self::shape`] as it is written, without anchors.
    pub fn shape_pattern(&self) -> Option<&str> {
        self.shape.as_ref().map(Shape::pattern)
    }

    /// What the user has to say before a key of it can go anywhere: the host of their own, as it looks.
    pub fn missing_host(&self) -> Option<&TenantHost> {
        self.tenants.first().filter(|_| self.hosts.is_empty())
    }

    /// Whether a host is one of its own, or looks like one of its customers'.
    pub fn names(&self, host: &Host) -> bool {
        self.hosts.iter().any(|known| known.exact() == Some(host)) || self.tenants.iter().any(|t| t.covers(host))
    }
}

/// Takes a provider's settings out. `is_own` says whether a user wrote them: those of the program are known to be right.
pub(super) fn provider(r: &mut TableReader<'_>, name: KeyName, is_own: bool) -> Provider {
    let says_hosts = r.at("hosts").or(r.at("tenant")).is_some();
    let hosts =
        r.filled::<HostPattern>("hosts", "leave it out where each customer has a host of their own, and say `tenant`");
    for (host, at) in hosts.iter().flatten() {
        if host.is_cleartext() && !host.exact().is_some_and(Host::is_loopback_name) {
            let what = format!("hosts: '{host}' would carry the key unencrypted beyond this machine");
            r.wrong(at.clone(), what, "write it without http://".into());
        }
    }
    let hosts: Vec<HostPattern> = hosts.into_iter().flatten().map(|(host, _)| host).collect();
    let tenants: Vec<TenantHost> = r.list("tenant").unwrap_or_default();
    if !says_hosts {
        let what = format!("the provider '{name}' has neither hosts nor the look of its customers'");
        r.wrong(
            r.table_at(),
            what,
            "add, say, hosts = [\"api.tool.example\"], or tenant = [\"NAME.tool.example\"]".into(),
        );
    }
    let model = r.flag("model").unwrap_or(false);
    let places = places(r, model);
    let env =
        r.list_with("env", variable).unwrap_or_else(|| vec![format!("{}_API_KEY", name.as_str().to_ascii_uppercase())]);
    let test_at = r.at("test");
    let test = r.texts("test").and_then(|lines| {
        TestCall::read(&name, &lines)
            .and_then(|test| fitting(test, &name, &hosts, &tenants, &places))
            .map_err(|why| r.wrong(test_at.unwrap_or_else(|| r.table_at()), format!("test: {why}"), String::new()))
            .ok()
    });
    let shape = r.with("shape", |text| {
        let shape = Shape::new(text.to_owned());
        // compiling those that are known to be right would take longer than all the rest
        if is_own {
            shape.regex().map(drop).map_err(one_line)?
        }
        Ok::<_, String>(shape)
    });
    Provider {
        title: r.with("title", |text| Ok::<_, String>(text.to_owned())).unwrap_or_else(|| name.to_string()),
        prefixes: r.list_with("prefixes", prefix).unwrap_or_default(),
        revoke: r.with("revoke", page),
        usage: r.with("usage", page),
        doc: r.with("doc", page),
        at: is_own.then(|| r.table_at()),
        name,
        model,
        hosts,
        tenants,
        places,
        env,
        test,
        shape,
    }
}

fn places(r: &mut TableReader<'_>, model: bool) -> Vec<Place> {
    let Some(places) = r.filled::<Place>("where", "a key without a place goes nowhere") else {
        return if model { vec![Place::Header] } else { vec![Place::Header, Place::Body] };
    };
    for (place, at) in &places {
        if model && (place.in_body() || *place == Place::Ws) {
            let what = format!("where: a language model would read a key in '{place}'");
            r.wrong(at.clone(), what, "take it out, or model = true".into());
        }
    }
    places.into_iter().map(|(place, _)| place).collect()
}

/// The call, where the key may go to where it goes in it.
fn fitting(
    test: TestCall,
    key: &KeyName,
    hosts: &[HostPattern],
    tenants: &[TenantHost],
    places: &[Place],
) -> Result<TestCall, String> {
    let host = test.host.parse::<Host>().ok();
    let is_bound = hosts.iter().any(|h| h.exact().is_some() && h.exact() == host.as_ref())
        || tenants.iter().any(|t| t.to_string() == test.host);
    if !is_bound {
        return Err(format!("'{}' is none of the provider's hosts", test.host));
    }
    let place = test.place(key)?;
    match places.iter().any(|p| p.covers(&place)) {
        true => Ok(test),
        false => Err(format!("'{place}' is not among the places in `where`")),
    }
}

fn variable(text: &str) -> Result<String, String> {
    let shown = text.escape_debug();
    let is_name = !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if text.is_empty() || !is_name {
        return Err(format!("'{shown}' is no variable's name"));
    }
    if UNTELLING.contains(&text) || !text.contains('_') {
        return Err(format!("'{shown}' doesn't say whose key it holds"));
    }
    Ok(text.to_owned())
}

fn prefix(text: &str) -> Result<String, String> {
    match text.len() >= 2 && text.bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err(format!("'{}' is no beginning of keys: two visible characters at least", text.escape_debug())),
    }
}

fn page(text: &str) -> Result<String, String> {
    match Url::parse(text) {
        Ok(url) if url.scheme() == "https" => Ok(text.to_owned()),
        _ => Err(format!("'{}' is no https:// address", text.escape_debug())),
    }
}

fn one_line(e: &regex::Error) -> String {
    let text = e.to_string();
    // the last line says what, those before it show where
    text.lines().last().unwrap_or_default().trim().to_owned()
}
