//! Files of the user's in which a client is told of another proxy or other certificates. Where a variable that `run` and `env`
//! set counts first, it matters to what is started without them alone.

use super::finding::{DoctorArea, DoctorFinding};
use super::listening::dead_address;
use super::subject::DoctorSubject;
use crate::trust_env::{self, ClientSetting, ClientSettingKind as Kind};
use std::path::PathBuf;

const AREA: DoctorArea = DoctorArea::Settings;

/// Each such setting; of several of one name in one file the first.
pub fn find(subject: &DoctorSubject) -> Vec<DoctorFinding> {
    let folder = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let mut settings = trust_env::client_settings(subject.was, &folder);
    let mut known: Vec<(PathBuf, String)> = Vec::new();
    settings.retain(|setting| {
        let place = (setting.file.clone(), setting.name.clone());
        let is_new = !known.contains(&place);
        known.push(place);
        is_new
    });
    let mut found: Vec<DoctorFinding> = settings.iter().filter_map(|setting| finding(setting, subject)).collect();
    if found.is_empty() {
        found.push(DoctorFinding::ok(AREA, "no file of settings outranks locum's variables"));
    }
    found
}

fn finding(setting: &ClientSetting, subject: &DoctorSubject) -> Option<DoctorFinding> {
    let ClientSetting { client, name, .. } = setting;
    let what = what(setting, subject)?;
    if let Some(variable) = setting.overruled_by {
        let next = format!(
            "{variable} counts first under 'locum run' and 'locum env'; for what is started without them, take it out there"
        );
        return Some(DoctorFinding::warning(AREA, what, next));
    }
    let next = match setting.kind {
        _ if *client == "the shell" => {
            format!("take the line out, or have it keep what is set: {name}=\"${{{name}:-…}}\"")
        }
        Kind::NoVerification => {
            format!("take it out: locum's certificates are verified without it, and {client} should")
        }
        Kind::ClusterTrust => {
            "take it out there and name its file in [proxy] upstream_ca, or name the cluster in [proxy] passthrough"
                .into()
        }
        Kind::Trust => "take it out there, and name its file in [proxy] upstream_ca where a host needs it".into(),
        Kind::Proxy => "take it out there; if it has to be gone through, name it in [proxy] upstream_proxy".into(),
        Kind::Bypass => "take those hosts out there".into(),
    };
    let is_grave = !matches!(setting.kind, Kind::NoVerification | Kind::ClusterTrust) && !setting.in_block;
    Some(if is_grave { DoctorFinding::fault(AREA, what, next) } else { DoctorFinding::warning(AREA, what, next) })
}

/// What it says, without its value, which may hold a password. Nothing where it leads no key's host past the proxy.
fn what(setting: &ClientSetting, subject: &DoctorSubject) -> Option<String> {
    let ClientSetting { client, name, .. } = setting;
    let said = match setting.kind {
        Kind::Proxy => match dead_address(&setting.value) {
            Some(address) => format!("leads {client} to {address}, where nothing answers"),
            None => format!("leads {client} to a proxy of its own"),
        },
        Kind::Bypass => {
            let no_proxy = |variable: &str| (variable == "NO_PROXY").then(|| setting.value.clone());
            let hosts = trust_env::bypassed(subject.bound_hosts(), &no_proxy);
            let hosts: Vec<String> = hosts.into_iter().map(|(host, _)| host).collect();
            if hosts.is_empty() {
                return None;
            }
            format!("leads {client} past the proxy to {}", hosts.join(", "))
        }
        Kind::Trust => format!("has {client} trust that and no other CA"),
        Kind::ClusterTrust => format!("has {client} trust its cluster's CA and no other"),
        Kind::NoVerification => format!("has {client} take any certificate"),
    };
    Some(format!("{setting}: {name} {said}"))
}
