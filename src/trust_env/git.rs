//! The names of git's settings that outrank `http.proxy`: those of one host or of one remote.

use std::process::{Command, Stdio};

/// `http.https://host/.proxy`, `remote.origin.proxy` and the like, as git knows them in this folder; none where there is no git.
pub fn outranking_settings() -> Vec<String> {
    let mut git = Command::new("git");
    git.args(["config", "--null", "--name-only", "--get-regexp", r"^(http|remote)\..+\.proxy$"]);
    let said = git.stdin(Stdio::null()).stderr(Stdio::null()).output();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let mut names: Vec<String> = said.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}
