//! What the helper is to do: decided outside, where the user's files and settings are known.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// How a command is to be confined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfinePlan {
    /// By what.
    pub level: ConfineLevel,
    /// Where clients are told the proxy is.
    pub proxy_port: u16,
    /// The ports that are taken in where the kernel can't take in all.
    pub ports: Vec<u16>,
    /// Services of this machine that are found at the same address inside.
    pub services: Vec<SocketAddr>,
    /// The command's working folder.
    pub directory: PathBuf,
    /// Folders, files and sockets that are not there for the command.
    pub hidden: Vec<PathBuf>,
    /// Links that lead to what is hidden, and that the user could put elsewhere.
    pub links: Vec<PathBuf>,
    /// What is there all the same, though it is in a folder that is hidden.
    pub shown: Vec<PathBuf>,
    /// Who is asked for names: the file that says so.
    pub resolv_conf: PathBuf,
    /// Certificates that stand where the system's are.
    pub trust: TrustCovers,
    /// The folders that may be written to, where nothing else may.
    pub only_writable: Option<Vec<PathBuf>>,
}

impl ConfinePlan {
    /// One that hides nothing and covers nothing.
    pub fn bare(level: ConfineLevel) -> Self {
        let (proxy_port, ports, services, directory, hidden, links) = Default::default();
        let (shown, resolv_conf, trust, only_writable) = Default::default();
        Self { level, proxy_port, ports, services, directory, hidden, links, shown, resolv_conf, trust, only_writable }
    }
}

/// What keeps a command from going past the proxy, from the strictest to the one that most systems have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConfineLevel {
    /// Namespaces of users, network, mounts and processes: nothing is there but the proxy.
    Namespaces,
    /// Landlock and a filter of system calls: TCP to the proxy's port alone.
    Filter,
}

/// Files with locum's CA, and where they are put.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustCovers {
    /// PEM: the system's roots and ours.
    pub bundle: PathBuf,
    /// The same for Java.
    pub java: PathBuf,
    /// Our certificates alone, each under the name by which OpenSSL finds it in a folder.
    pub hashed: Vec<(String, String)>,
}
