//! The tokens that `agent add` made: which agent each stands for, kept as hashes in the state folder.

use crate::disk::{self, Rights};
use crate::name::{AgentName, KeyName};
use crate::policy::agent::TokenHash;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// More than any folder of agents comes to.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// One agent that has a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredToken {
    pub name: AgentName,
    pub hash: TokenHash,
    /// Narrower than its table in the config, where there is a list.
    pub keys: Option<Vec<KeyName>>,
    /// When `agent add` made it.
    pub made: SystemTime,
    /// From then on it counts for nobody.
    pub expires: Option<SystemTime>,
}

/// The file, as read.
#[derive(Debug, Default)]
pub struct StoredTokens {
    pub kept: Vec<StoredToken>,
}

/// An error of the file of tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    #[error("{}: {why}", path.display())]
    Unfit { path: PathBuf, why: String },
    #[error("{} belongs to another user (uid {owner})", folder.display())]
    OfAnother { folder: PathBuf, owner: u32 },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredTokenRow {
    name: String,
    token_sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keys: Option<Vec<String>>,
    /// Seconds since 1970.
    made: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
}

/// Where the file is.
pub fn path(state: &Path) -> PathBuf {
    state.join("agents.json")
}

impl StoredTokens {
    /// `None` where there is no file: no token was ever made.
    ///
    /// # Errors
    /// When the file can't be read or is not what [`change`] writes. A service doesn't start then, and one that runs goes on
    /// with the tokens that it has.
    pub fn load(state: &Path) -> Result<Option<Self>, TokensError> {
        let path = path(state);
        let fail = |why: String| TokensError::Unfit { path: path.clone(), why };
        let file = match disk::open_regular(&path) {
            Ok(file) => file,
            Err(e) if matches!(e.kind(), NotFound | NotADirectory) => return Ok(None),
            Err(e) => return Err(unopened(&path, &e)),
        };
        let mut text = String::new();
        file.take(MAX_FILE).read_to_string(&mut text).map_err(|e| fail(e.to_string()))?;
        let rows: Vec<StoredTokenRow> = serde_json::from_str(&text)
            .map_err(|e| fail(format!("it is not as 'locum agent add' writes it (line {})", e.line())))?;
        let kept = rows.into_iter().map(kept).collect::<Result<Vec<_>, _>>().map_err(fail)?;
        Ok(Some(Self { kept }))
    }

    fn save(&self, state: &Path) -> io::Result<()> {
        let rows: Vec<StoredTokenRow> = self.kept.iter().map(row).collect();
        let text = serde_json::to_string_pretty(&rows)? + "\n";
        disk::replace(&path(state), text.as_bytes(), Rights::Private)
    }
}

/// Reads, changes and writes as one step, alone: two who add at once both find their agent. Writes only what differs, since
/// an empty file says more than none: that there were tokens, and that nobody has one now.
///
/// # Errors
/// When the file can't be read or written.
pub fn change<T>(state: &Path, change: impl FnOnce(&mut StoredTokens) -> T) -> Result<T, TokensError> {
    let fail = |e: io::Error| unopened(&path(state), &e);
    let _turn = disk::turn(&state.join("agents.lock")).map_err(fail)?;
    let mut tokens = StoredTokens::load(state)?.unwrap_or_default();
    let before = tokens.kept.clone();
    let out = change(&mut tokens);
    if tokens.kept != before {
        tokens.save(state).map_err(fail)?;
    }
    Ok(out)
}

/// Why a file of the state folder can't be had: to whom that belongs says more than the system does.
fn unopened(path: &Path, e: &io::Error) -> TokensError {
    use std::os::unix::fs::MetadataExt as _;
    let folder = disk::folder(path);
    let owner = fs::metadata(folder).map(|folder| folder.uid()).ok();
    match owner.filter(|owner| *owner != rustix::process::geteuid().as_raw()) {
        Some(owner) if e.kind() == io::ErrorKind::PermissionDenied => {
            TokensError::OfAnother { folder: folder.into(), owner }
        }
        _ => TokensError::Unfit { path: path.into(), why: e.to_string() },
    }
}

fn kept(row: StoredTokenRow) -> Result<StoredToken, String> {
    let name = row.name.parse().map_err(|e: crate::name::NameError| e.to_string())?;
    let hash = TokenHash::from_hex(&row.token_sha256).ok_or("a token's hash is malformed")?;
    let keys = row.keys.map(|keys| keys.iter().map(|k| k.parse()).collect::<Result<Vec<KeyName>, _>>());
    let keys = keys.transpose().map_err(|e| e.to_string())?;
    let time = |seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or("a time is out of range");
    Ok(StoredToken { name, hash, keys, made: time(row.made)?, expires: row.expires.map(time).transpose()? })
}

fn row(kept: &StoredToken) -> StoredTokenRow {
    let seconds = |t: SystemTime| t.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    StoredTokenRow {
        name: kept.name.to_string(),
        token_sha256: kept.hash.to_hex(),
        keys: kept.keys.as_ref().map(|keys| keys.iter().map(KeyName::to_string).collect()),
        made: seconds(kept.made),
        expires: kept.expires.map(seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str) -> StoredToken {
        let made = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        StoredToken {
            name: name.parse().unwrap(),
            hash: TokenHash::of(name.as_bytes()),
            keys: Some(vec!["openai".parse().unwrap()]),
            made,
            expires: Some(made + Duration::from_secs(60)),
        }
    }

    #[test]
    fn those_who_add_at_once_all_find_their_agent() {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..8).map(|i| format!("agent-{i}")).collect();
        std::thread::scope(|s| {
            for name in &names {
                s.spawn(|| change(dir.path(), |t| t.kept.push(one(name))).unwrap());
            }
        });
        let mut kept = StoredTokens::load(dir.path()).unwrap().unwrap().kept;
        kept.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(kept, names.iter().map(|n| one(n)).collect::<Vec<_>>());
    }

    #[test]
    fn a_file_that_is_not_ours_counts_for_nobody() {
        let dir = tempfile::tempdir().unwrap();
        assert!(StoredTokens::load(dir.path()).unwrap().is_none());
        for text in [
            "",
            "{}",
            "[{\"name\":\"A\",\"token_sha256\":\"\",\"made\":0}]",
            "[{\"name\":\"a\",\"token_sha256\":\"00\",\"made\":0}]",
        ] {
            std::fs::write(path(dir.path()), text).unwrap();
            assert!(StoredTokens::load(dir.path()).is_err(), "{text}");
        }
    }
}
