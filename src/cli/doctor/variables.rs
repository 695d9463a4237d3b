//! Variables of proxies and certificates that the user has set: those that lead nowhere, or past locum.

use super::finding::{DoctorArea, DoctorFinding};
use super::listening::listens;
use super::subject::DoctorSubject;
use crate::name::Host;
use crate::trust_env;
use crate::upstream::proxy::UpstreamProxy;
use std::path::PathBuf;

const AREA: DoctorArea = DoctorArea::Variables;

/// What the user's variables say, and the way out that the config has.
pub fn find(subject: &DoctorSubject) -> Vec<DoctorFinding> {
    let mut found = way_out(subject);
    found.extend(missing_files(subject));
    found.extend(bypassed(subject));
    if found.is_empty() {
        found.push(DoctorFinding::ok(AREA, "none leads past locum"));
    }
    found
}

/// The proxy that all goes out through.
fn way_out(subject: &DoctorSubject) -> Vec<DoctorFinding> {
    let (named, proxy) = match &subject.settings.proxy.upstream_proxy {
        Some(proxy) => ("[proxy] upstream_proxy", proxy.clone()),
        None => match trust_env::own_proxy(subject.was).map(|url| url.parse::<UpstreamProxy>()) {
            None => return Vec::new(),
            Some(Ok(proxy)) => ("HTTPS_PROXY", proxy),
            Some(Err(e)) => {
                let what = format!("your HTTPS_PROXY can't be gone through: {e}");
                return vec![DoctorFinding::fault(AREA, what, "unset it, or set [proxy] upstream_proxy")];
            }
        },
    };
    let host = match &proxy.host {
        Host::Ip(ip) => ip.to_string(),
        name => name.to_string(),
    };
    vec![if listens(&host, proxy.port) {
        DoctorFinding::ok(AREA, format!("all goes out through {host}, port {}, as {named} says", proxy.port))
    } else {
        let what =
            format!("{named} leads to {host}, port {}, where nothing answers: no upstream can be reached", proxy.port);
        DoctorFinding::fault(AREA, what, format!("start that proxy, or take {named} out"))
    }]
}

/// Files of certificates that aren't there, each once.
fn missing_files(subject: &DoctorSubject) -> Vec<DoctorFinding> {
    let mut by_file: Vec<(PathBuf, Vec<&str>)> = Vec::new();
    for (name, path) in trust_env::missing_ca_files(subject.was) {
        match by_file.iter_mut().find(|(known, _)| *known == path) {
            Some((_, names)) => names.push(name),
            None => by_file.push((path, vec![name])),
        }
    }
    let finding = |(path, names): (PathBuf, Vec<&str>)| {
        let names = names.join(", ");
        let what = format!("{names}: {} isn't there, so what it held is trusted by nobody", path.display());
        DoctorFinding::warning(AREA, what, format!("unset {names}, or put the certificates there"))
    };
    by_file.into_iter().map(finding).collect()
}

/// Hosts of keys that NO_PROXY sends past the proxy, by the entry that does.
fn bypassed(subject: &DoctorSubject) -> Vec<DoctorFinding> {
    let mut by_entry: Vec<(String, Vec<String>)> = Vec::new();
    for (host, entry) in trust_env::bypassed(subject.bound_hosts(), subject.was) {
        match by_entry.iter_mut().find(|(known, _)| *known == entry) {
            Some((_, hosts)) => hosts.push(host),
            None => by_entry.push((entry, vec![host])),
        }
    }
    let finding = |(entry, hosts): (String, Vec<String>)| {
        let what = format!(
            "NO_PROXY ('{entry}') leads clients past the proxy to {}, where no key is put in",
            hosts.join(", ")
        );
        DoctorFinding::fault(AREA, what, format!("take '{entry}' out of NO_PROXY"))
    };
    by_entry.into_iter().map(finding).collect()
}
