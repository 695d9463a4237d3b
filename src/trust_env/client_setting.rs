//! One setting in a file of the user's by which a client takes another proxy, or trusts others, than its variables say.

use std::fmt;
use std::path::{Path, PathBuf};

/// What a setting is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientSettingKind {
    /// Which proxy is taken.
    Proxy,
    /// What goes without one.
    Bypass,
    /// Which certificates are trusted, and no others.
    Trust,
    /// The same for one cluster of Kubernetes.
    ClusterTrust,
    /// That any certificate is.
    NoVerification,
}

/// One setting in a file of the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSetting {
    /// Whose it is.
    pub client: &'static str,
    /// Where it stands.
    pub file: PathBuf,
    /// The line that it stands in, from 1; 0 where only the client knows.
    pub line: usize,
    /// Its name there.
    pub name: String,
    /// What it is about.
    pub kind: ClientSettingKind,
    /// The variable of ours that counts before it.
    pub overruled_by: Option<&'static str>,
    /// It stands in a block of a shell, so it may not always count.
    pub in_block: bool,
    /// What it says, which is for nobody to see.
    pub value: String,
}

impl fmt::Display for ClientSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 { write!(f, ":{}", self.line) } else { Ok(()) }
    }
}

impl ClientSetting {
    pub(super) fn new(
        client: &'static str,
        file: &Path,
        line: usize,
        name: impl Into<String>,
        kind: ClientSettingKind,
        value: impl Into<String>,
    ) -> Self {
        let (name, value) = (name.into(), value.into());
        Self { client, file: file.into(), line, name, kind, overruled_by: None, in_block: false, value }
    }
}
