//! `locum key providers`: the catalog as a table, or as it is for programs.

use super::table;
use crate::config::catalog::{Provider, TestCall};
use crate::config::settings::Settings;
use std::process::ExitCode;

/// Prints the providers that are known, those of the user's own files among them.
pub fn list(settings: &Settings, json: bool) -> anyhow::Result<ExitCode> {
    let providers = settings.catalog.providers();
    if json {
        let rows: Vec<_> = providers.iter().map(|p| row(p)).collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![["NAME", "HOSTS", "VARIABLE", "REVOKE AT"].map(str::to_owned)];
    rows.extend(providers.iter().map(|p| {
        let variable = p.env.first().cloned().unwrap_or_default();
        [p.name.to_string(), hosts(p).join(", "), variable, p.revoke.clone().unwrap_or_default()]
    }));
    print!("{}", table::shown(&rows));
    Ok(ExitCode::SUCCESS)
}

/// Its hosts, or what those of its customers look like.
fn hosts(p: &Provider) -> Vec<String> {
    p.hosts.iter().map(ToString::to_string).chain(p.tenants.iter().map(ToString::to_string)).collect()
}

fn row(p: &Provider) -> serde_json::Value {
    serde_json::json!({
        "name": p.name.as_str(), "title": p.title, "model": p.model, "hosts": p.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "tenant": p.tenants.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "where": p.places.iter().map(ToString::to_string).collect::<Vec<_>>(), "env": p.env,
        "shape": p.shape_pattern(), "revoke": p.revoke, "usage": p.usage, "test": p.test.as_ref().map(TestCall::lines),
        "doc": p.doc, "file": p.at,
    })
}
