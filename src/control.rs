//! The control interface of a running service: the commands that an operator may give it, and their typed replies. Signals,
//! the control socket and whatever else drives a service hold it as a [`Control`]; who may give commands, each of them
//! checks itself.

use crate::name::{AgentName, KeyName};
use crate::system::operator::Operator;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::SystemTime;
use zeroize::Zeroizing;

/// The reply to a command. The command is on its way before this is first polled, so whoever needs no reply drops it.
pub type ControlFuture<T> = Pin<Box<dyn Future<Output = Result<T, ControlError>> + Send>>;

/// The handle by which a running service is controlled.
pub trait Control: Send + Sync {
    /// The same in the name of this operator, whom the audit tells of.
    fn by(&self, operator: Operator) -> Box<dyn Control>;

    /// The state of the service, as it is now.
    fn status(&self) -> ControlFuture<ServiceStatus>;

    /// Reads the config again and takes it over, whole or not at all. It replies once that is done; a reload that is asked
    /// for meanwhile takes its place, and both are answered then.
    fn reload(&self) -> ControlFuture<()>;

    /// Drops all keys from memory; nothing is replaced until the next reload.
    fn wipe(&self) -> ControlFuture<()>;

    /// Accepts no more connections and lets exchanges end; given again, it cuts them. It replies when that has begun.
    fn stop(&self) -> ControlFuture<()>;

    /// The agents that have a proxy token.
    fn list_tokens(&self) -> ControlFuture<Vec<AgentToken>>;

    /// Makes a proxy token, in place of the one that the agent has. It counts once this has replied.
    fn issue_token(&self, request: TokenRequest) -> ControlFuture<IssuedToken>;

    /// Revokes the token that was made for an agent, and ends what is under way with it.
    fn revoke_token(&self, agent: AgentName) -> ControlFuture<()>;
}

/// The failure of a command: what, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct ControlError {
    /// One line, without a full stop.
    pub what: String,
    /// One line for the operator.
    pub next: String,
}

/// The state of a running service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceStatus {
    /// The version of the program.
    pub version: &'static str,
    /// The id of the process.
    pub pid: u32,
    /// When it began to serve.
    #[serde(serialize_with = "rfc3339")]
    pub since: SystemTime,
    /// How far in its life it is.
    pub phase: ServicePhase,
    /// The address of the proxy's listener.
    pub listen: SocketAddr,
    /// The config file, where there is one.
    pub config: Option<PathBuf>,
    /// The state folder.
    pub state: PathBuf,
    /// Counts since the start, the same as the audit has.
    pub counts: CountsStatus,
    /// Whoever may use the proxy.
    pub agents: AgentsStatus,
    /// The keys that a request could use now.
    pub keys: KeysStatus,
    /// The stores of this machine that are there, in the order in which they are asked; `None` where they don't say in time.
    pub stores: Option<Vec<String>>,
    /// The certificate authority.
    pub ca: CaStatus,
    /// The audit log.
    pub audit: AuditStatus,
}

/// The phases of a service's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServicePhase {
    /// It accepts connections.
    Serving,
    /// It accepts none, and waits for those that are open.
    Draining,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CountsStatus {
    /// Placeholders that were replaced.
    pub substitutions: u64,
    /// Requests that locum answered itself.
    pub refusals: u64,
    /// Keys that were hidden in responses.
    pub scrubs: u64,
}

/// Whoever may use the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AgentsStatus {
    /// Agents with a name: of the config, and those that a token was made for.
    pub named: usize,
    /// Whether nobody may ask without a token.
    pub token_needed: bool,
}

/// The keys that a request could use now, by their names alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeysStatus {
    /// How many there are.
    pub count: usize,
    /// Their names, as in `[key.NAME]`.
    pub names: Vec<KeyName>,
}

/// The certificate authority that signs, and the one that is to follow it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaStatus {
    /// Where its key is kept, in words; `None` where that is in memory alone.
    pub kept_in: Option<String>,
    /// SHA-256 of its certificate, in hex.
    pub fingerprint_sha256: String,
    /// The end of its certificate.
    #[serde(serialize_with = "rfc3339")]
    pub expires: SystemTime,
    /// The one that is to sign next, while a rotation is under way.
    pub next: Option<NextCaStatus>,
    /// Why it doesn't fit the config, where it doesn't.
    pub misfit: Option<String>,
}

/// A certificate authority that is to sign later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NextCaStatus {
    /// SHA-256 of its certificate, in hex.
    pub fingerprint_sha256: String,
    /// When it begins to sign.
    #[serde(serialize_with = "rfc3339")]
    pub signs_from: SystemTime,
}

/// The audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditStatus {
    /// The file that is written to.
    pub file: Option<PathBuf>,
    /// Whether it can be written to; where it can't, no key is used.
    pub writable: bool,
    /// Why it can't.
    pub error: Option<String>,
}

/// An agent's proxy token, without the token itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentToken {
    /// The agent that it belongs to.
    pub agent: AgentName,
    /// The keys that it is good for; `None` where that is all that the agent may use.
    pub keys: Option<Vec<KeyName>>,
    /// When it was made, where that is known.
    #[serde(serialize_with = "rfc3339_if_any")]
    pub made: Option<SystemTime>,
    /// Until when it counts; `None` for ever.
    #[serde(serialize_with = "rfc3339_if_any")]
    pub expires: Option<SystemTime>,
    /// Whether that time is over, so that it counts no longer.
    pub expired: bool,
    /// How it came to be.
    pub origin: TokenOrigin,
}

/// The ways in which an agent comes to its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenOrigin {
    /// Made by `locum agent add`, or over the control interface.
    Issued,
    /// In the file that `token_file` in the config names.
    File,
}

impl TokenOrigin {
    /// As `locum agent list` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            TokenOrigin::Issued => "agent add",
            TokenOrigin::File => "token_file",
        }
    }
}

impl Serialize for TokenOrigin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The token that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// The agent that it is for.
    pub agent: AgentName,
    /// The only keys that it is good for; `None` for those of the token that it replaces, and without one for all that the
    /// agent may use.
    pub keys: Option<Vec<KeyName>>,
    /// Until when it counts; `None` for as long as the token that it replaces, and without one for ever.
    pub expires: Option<TokenExpiry>,
}

/// The end of a token, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenExpiry {
    /// It counts for ever.
    Never,
    /// It counts until then.
    At(SystemTime),
}

impl TokenExpiry {
    /// The moment of the end, where there is one.
    pub fn moment(self) -> Option<SystemTime> {
        match self {
            TokenExpiry::Never => None,
            TokenExpiry::At(end) => Some(end),
        }
    }
}

/// A token that was just made. It is kept as a hash, so this is the only time it is seen.
#[derive(Clone)]
pub struct IssuedToken {
    /// The token itself.
    pub token: Zeroizing<String>,
    /// Whether one that the agent had before no longer counts.
    pub replaced: bool,
    /// The keys that it is good for; `None` for all that the agent may use.
    pub keys: Option<Vec<KeyName>>,
    /// Until when it counts; `None` for ever.
    pub expires: Option<SystemTime>,
}

fn rfc3339<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    rfc3339_if_any(&Some(*at), serializer)
}

/// As in RFC 3339, UTC, to the second; a time that no calendar has is null.
fn rfc3339_if_any<S: Serializer>(at: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    let second = |at: SystemTime| Timestamp::try_from(at).ok()?.round(jiff::Unit::Second).ok();
    at.and_then(second).map(|at| at.to_string()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn times_are_as_in_rfc_3339_and_keys_of_a_token_may_be_all() {
        let token = AgentToken {
            agent: "researcher".parse().unwrap(),
            keys: None,
            made: Some(UNIX_EPOCH + Duration::from_millis(1_800_000_000_200)),
            expires: None,
            expired: false,
            origin: TokenOrigin::Issued,
        };
        assert_eq!(
            serde_json::to_string(&token).unwrap(),
            r#"{"agent":"researcher","keys":null,"made":"2027-01-15T08:00:00Z","expires":null,"expired":false,"origin":"agent add"}"#
        );
    }
}
