//! What git's settings say of proxies and certificates, asked of git itself: it alone knows which files it reads here.

use super::client_setting::{ClientSetting, ClientSettingKind};
use std::path::Path;
use std::process::{Command, Stdio};

/// `http.https://host/.proxy`, `remote.origin.proxy` and the like, which outrank `http.proxy`, as git knows them in this folder;
/// none where there is no git.
pub fn outranking_settings() -> Vec<String> {
    let said = asked(Path::new("."), &["--name-only"], r"^(http|remote)\..+\.proxy$");
    let mut names: Vec<String> = said.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

/// All that it says of proxies and certificates in a file that is not of our making.
pub(super) fn user_settings(folder: &Path) -> Vec<ClientSetting> {
    let said = asked(folder, &["--show-origin"], r"^(http\.(.*\.)?(proxy|sslcainfo|sslverify)|remote\..+\.proxy)$");
    let parts: Vec<&str> = said.split('\0').collect();
    let setting = |pair: &[&str]| {
        let [origin, said] = pair else { return None };
        // by the command line is by variables, such as ours
        let file = Path::new(origin.strip_prefix("file:")?);
        let (name, value) = said.split_once('\n').unwrap_or((said, ""));
        let (kind, variable) = match name.rsplit('.').next()? {
            "proxy" => (ClientSettingKind::Proxy, Some("GIT_CONFIG_COUNT")),
            "sslcainfo" => (ClientSettingKind::Trust, Some("GIT_SSL_CAINFO")),
            "sslverify" if ["false", "no", "off", "0"].contains(&value) => (ClientSettingKind::NoVerification, None),
            _ => return None,
        };
        let of_git = ClientSetting::new("git", file, 0, name, kind, value);
        Some(ClientSetting { overruled_by: variable, ..of_git })
    };
    parts.chunks(2).filter_map(setting).collect()
}

fn asked(folder: &Path, options: &[&str], names: &str) -> String {
    let mut git = Command::new("git");
    git.args(["config", "--null"]).args(options).args(["--get-regexp", names]).current_dir(folder);
    let said = git.stdin(Stdio::null()).stderr(Stdio::null()).output();
    said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}
