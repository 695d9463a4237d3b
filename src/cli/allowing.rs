//! The command that would allow what was refused last, for a person to judge: an agent that was talked into it asks as well.

use crate::config::ConfigLocation;
use crate::config::keys::KeySetting;
use crate::config::settings::Settings;
use crate::policy::rule::HostPattern;
use crate::proxy::LastRefusal;

/// What to do if the placeholder that was refused is to go to the host that was asked for; nothing where no command is
/// enough, or nothing was refused but the host.
pub fn line(refusal: &LastRefusal, settings: &Settings, is_active: impl Fn(&KeySetting) -> bool) -> Option<String> {
    let host: HostPattern = refusal.host.parse().ok()?;
    let name = refusal.key.as_ref()?;
    let Some(key) = settings.keys.iter().find(|key| key.name == *name) else {
        let variable = format!("{}_API_KEY", name.as_str().to_ascii_uppercase());
        return Some(format!("if {host} is to have it: locum run --key {name}={variable}@{host} -- …"));
    };
    let is_bound = host.origin().is_some_and(|origin| key.rule.covers(&origin));
    match (&key.at, is_bound) {
        (_, true) if is_active(key) => None,
        (_, true) => {
            let variable = key.env.first().map(|v| format!("set {v}, or ")).unwrap_or_default();
            Some(format!("'{name}' has no value yet: {variable}locum key set {name}"))
        }
        (Some(ConfigLocation::Option(_)), false) => {
            let hosts = hosts(key).collect::<Vec<_>>().join(",");
            let variable = key.variables().into_iter().next().unwrap_or_default();
            Some(format!("if {host} is to have it, too: locum run --key '{name}={variable}@{hosts},{host}' -- …"))
        }
        (_, false) if !is_active(key) => None,
        (_, false) => {
            let hosts: String = hosts(key).map(|host| format!(" --host {}", quoted(&host))).collect();
            Some(format!("if {host} is to have it, too: locum key set {name} --keep{hosts} --host {host}"))
        }
    }
}

fn hosts(key: &KeySetting) -> impl Iterator<Item = String> {
    key.rule.hosts.iter().map(ToString::to_string)
}

/// A shell takes a star for file names.
fn quoted(host: &str) -> String {
    if host.contains('*') { format!("'{host}'") } else { host.to_owned() }
}
