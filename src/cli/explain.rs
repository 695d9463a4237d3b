//! `locum explain`: asks the very rules that decide, and says which one does; or looks up why an exchange was refused.

use super::context::CliContext;
use super::lookup;
use super::progress::ProgressLine;
use super::term::{self, CliError};
use crate::app;
use crate::audit::read::filter::{Filter, RecordQuery};
use crate::audit::read::lines::member;
use crate::audit::read::query::Merge;
use crate::config::settings::Settings;
use crate::disk;
use crate::name::{AgentName, KeyName, Origin, Scheme};
use crate::place::Place;
use crate::policy::Denial;
use crate::policy::body_overrides::BodyOverrideScan;
use crate::policy::decide::{Mention, Permit, Question};
use crate::rewrite::body::BodyRewriter;
use crate::rewrite::{BodyFault, BodyKey, head, near_miss};
use crate::upstream::DialError;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// The request's method
    #[arg(required_unless_present = "exchange")]
    method: Option<Method>,
    /// The request's URL, placeholders as the agent writes them
    #[arg(required_unless_present = "exchange")]
    url: Option<String>,
    /// Who asks [default: one that may use every key]
    #[arg(long, value_name = "NAME")]
    agent: Option<AgentName>,
    /// A header as "Name: value"; may be given again
    #[arg(long, short = 'H', value_name = "LINE")]
    header: Vec<String>,
    /// The body, or @FILE
    #[arg(long, value_name = "TEXT")]
    body: Option<String>,
    /// Why this exchange was refused: the id that the refusal told
    #[arg(long, value_name = "ID", conflicts_with_all = ["method", "url", "agent", "header", "body"])]
    exchange: Option<String>,
}

/// Explains a request that is not sent, or an exchange that was.
pub fn run(args: ExplainArgs, context: &CliContext) -> anyhow::Result<ExitCode> {
    let settings = context.settings()?;
    match (&args.exchange, &args.method, &args.url) {
        (Some(id), ..) => exchange(id, &settings.audit.dir),
        (None, Some(method), Some(url)) => request(&args, method, url, &settings, context),
        _ => Err(wrong("there is neither a request nor an exchange to explain", "locum explain GET https://…")),
    }
}

fn wrong(what: impl Into<String>, next: &str) -> anyhow::Error {
    CliError { what: what.into(), next: next.into(), code: term::WRONG_USAGE }.into()
}

/// All that the audit has of one exchange.
fn exchange(id: &str, dir: &Path) -> anyhow::Result<ExitCode> {
    let mut found = 0;
    let wanted = RecordQuery { exchanges: vec![id.to_owned()], ..RecordQuery::default() };
    let mut merge = Merge::new(dir, Filter::new(&wanted))?;
    let line = ProgressLine::reading("", &merge.progress());
    merge.run(|line| {
        found += 1;
        let read = |name: &str| member(line, name).map(|v| v.text().into_owned()).filter(|t| !t.is_empty());
        let text = |name: &str| read(name).unwrap_or_default();
        println!("{}  {}  {}", text("timestamp"), text("event"), text("operation"));
        let url = format!("{} {}://{}:{}{}", text("method"), text("scheme"), text("host"), text("port"), text("path"));
        println!("  agent {}: {}", text("agent"), url.trim());
        for (label, name) in [
            ("status", "status"),
            ("placeholder", "key_ref"),
            ("where", "where"),
            ("error", "error"),
            ("why", "reason"),
        ] {
            if let Some(value) = read(name) {
                println!("  {label:<11} {value}");
            }
        }
        Ok(())
    })?;
    drop(line);
    merge.damage().map_err(|e| CliError::from(app::AppError::from(e)))?;
    if found > 0 {
        return Ok(ExitCode::SUCCESS);
    }
    Err(CliError::failed(
        format!("the audit in {} has no exchange '{}'", dir.display(), id.escape_debug()),
        "the id is in the refusal, as `exchange`; one of many may only be counted: locum audit query --event refusal",
    ))
}

fn request(
    args: &ExplainArgs,
    method: &Method,
    url: &str,
    settings: &Settings,
    context: &CliContext,
) -> anyhow::Result<ExitCode> {
    // as the proxy does with what clients type
    let url = url.replace('<', "%3C").replace('>', "%3E");
    let uri: Uri =
        url.parse().map_err(|e| wrong(format!("'{url}' is no URL: {e}"), "write it whole, as https://host/path"))?;
    let scheme = match uri.scheme_str() {
        Some("https") => Scheme::Https,
        Some("http") => Scheme::Http,
        _ => {
            return Err(wrong(
                format!("'{url}' is neither https:// nor http://"),
                "write it whole, as https://host/path",
            ));
        }
    };
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    let origin = Origin::parse(scheme, authority).map_err(|e| wrong(e.to_string(), ""))?;
    let sent = headers(&args.header)?;
    let agent = lookup::agent_named(args.agent.as_ref(), settings)?;
    let environment = context.take_secrets(settings)?;
    let live = app::rules(settings, &app::backends(settings, environment)).map_err(CliError::from)?;

    println!("{method} {origin}");
    let target: Uri = uri.path_and_query().map_or("/", |p| p.as_str()).parse()?;
    let question = Question {
        agent: &agent,
        origin: &origin,
        method,
        path: target.path(),
        query: target.query().unwrap_or_default(),
        headers: &sent,
        has_body: args.body.is_some(),
    };
    let mut headers = sent.clone();
    headers.extend(live.rules.injected(question).into_iter().cloned().map(|inject| (inject.name, inject.value)));
    let question = Question { headers: &headers, ..question };
    let hits = head::find(&live.vocabulary, &target, &headers);
    let mentions =
        || hits.iter().map(|h| Mention { written: &h.written, key: h.key.as_ref(), place: h.place.as_ref() });
    let admitted = live.rules.admit(&agent, &origin.host, origin.port);
    match admitted.and_then(|()| live.rules.decide(question, mentions())) {
        Ok(permit) => {
            let secret = permit.on_loopback_only() && (!permit.uses().is_empty() || !permit.body().is_empty());
            if let Err(e) = app::judge_unasked(settings, &origin, secret) {
                undialled(&e);
                return Ok(ExitCode::from(term::REFUSED));
            }
            permitted(args, &permit, &live, (&target, &headers), settings.limits.held_body)
        }
        Err(denial) => {
            denied(&denial);
            Ok(ExitCode::from(term::REFUSED))
        }
    }
}

fn permitted(
    args: &ExplainArgs,
    permit: &Permit,
    live: &crate::proxy::Ruleset,
    (target, headers): (&Uri, &HeaderMap),
    held_body: u64,
) -> anyhow::Result<ExitCode> {
    replaced(permit.uses().iter().map(|u| (&u.key, &u.place, u.count)));
    if permit.uses().is_empty()
        && let Some(miss) = near_miss::find(target, headers, permit.scrub().iter().map(|rule| &rule.name))
    {
        println!("  unread    {miss}");
    }
    if let Some(body) = &args.body {
        let body = read_body(body)?;
        let held = body.len() as u64 <= held_body;
        let rewritten = || body_of(&body, permit, live, headers, held).map_err(|e| e.to_string());
        if let Err(fault) = evades(&body, permit, headers).and_then(|()| rewritten()) {
            println!("  refused   {fault}");
            return Ok(ExitCode::from(term::REFUSED));
        }
    }
    if permit.on_loopback_only() && (!permit.uses().is_empty() || !permit.body().is_empty()) {
        println!("  provided  that the address of the host is loopback: the key goes there unencrypted");
    }
    match permit.scrub().iter().map(|r| r.name.as_str()).collect::<Vec<_>>().join(", ") {
        names if names.is_empty() => println!("  answer    passes unread: no key is bound to this host"),
        names => println!("  answer    is scrubbed of: {names}"),
    }
    if permit.uses().is_empty() && args.body.is_none() {
        println!("  sent      as it is: it holds no placeholder");
    }
    Ok(ExitCode::SUCCESS)
}

/// Where methods or paths are limited, no field of the body may stand for another.
fn evades(body: &[u8], permit: &Permit, headers: &HeaderMap) -> Result<(), String> {
    match BodyOverrideScan::new(permit.limits(), headers)?.and_then(|mut watch| watch.push(body)) {
        Some(by) => Err(format!("{by} may stand for another method or path than the request's")),
        None => Ok(()),
    }
}

/// The body through the engine that a request goes through, with stand-ins for the keys' values.
fn body_of(
    body: &[u8],
    permit: &Permit,
    live: &crate::proxy::Ruleset,
    headers: &HeaderMap,
    held: bool,
) -> Result<(), BodyFault> {
    let keys = permit.body().iter().map(|grant| BodyKey {
        key: grant.rule.name.clone(),
        value: Some(Arc::new(crate::memory::Plaintext::new(b"0".to_vec()))),
        places: grant.rule.body_places().cloned().collect(),
        max_uses: grant.uses_left,
    });
    let mut engine = BodyRewriter::new(live.vocabulary.clone(), headers.get("content-type"), keys.collect());
    let (body, mut out) = (Bytes::copy_from_slice(body), Vec::new());
    let pushed = if held { engine.push_whole(body, &mut out) } else { engine.push(body, &mut out) };
    let done = pushed.and_then(|()| engine.finish(&mut out));
    replaced(engine.uses().iter().map(|u| (&u.key, &u.place, u.count)));
    if engine.kept() > 0 {
        println!("  kept      {} in the body, as text: no whole value, or no binding covers its place", engine.kept());
    }
    done
}

fn replaced<'u>(uses: impl Iterator<Item = (&'u KeyName, &'u Place, u64)>) {
    for (key, place, count) in uses {
        println!("  replaced  {} in {place}, {count}x: [key.{key}] allows it", key.placeholder());
    }
}

fn denied(denial: &Denial) {
    println!("  refused   {denial}");
    if let Some(key) = denial.key() {
        println!("  change    [key.{key}] in the config, if this is meant to be allowed");
    }
}

fn undialled(error: &DialError) {
    println!("  refused   {error}");
    match error {
        DialError::Address { address, .. } => {
            println!("  change    \"{address}\" in private_addresses under [proxy], if this is meant to be allowed");
        }
        _ => println!("  change    the binding to https, if the host speaks it"),
    }
}

fn read_body(body: &str) -> anyhow::Result<Vec<u8>> {
    match body.strip_prefix('@') {
        Some(path) => {
            let named = Path::new(path);
            disk::read_bytes(named).map_err(|e| CliError::failed(format!("{path}: {e}"), "name a file after '@'"))
        }
        None => Ok(body.as_bytes().to_vec()),
    }
}

fn headers(lines: &[String]) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let bad = || wrong(format!("'{}' is no header line", line.escape_debug()), "write it as \"Name: value\"");
        let (name, value) = line.split_once(':').ok_or_else(bad)?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| bad())?;
        headers.append(name, HeaderValue::from_str(value.trim()).map_err(|_| bad())?);
    }
    Ok(headers)
}
