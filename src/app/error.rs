//! The errors of a proxy that is set up or controlled, each with what to do about it.

use crate::audit::AuditError;
use crate::ca::CaError;
use crate::config::Mistakes;
use crate::config::settings::CaSource;
use crate::config::tokens::TokensError;
use crate::control::ControlError;
use crate::memory::UnsealError;
use crate::name::{AgentName, KeyName};
use crate::rewrite::LookalikeError;
use crate::secrets::SourceError;
use crate::upstream::tls;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The error of a proxy that can't be set up, or can't do what it is told.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "what a field is, the text of its variant says")]
pub enum AppError {
    /// The config has mistakes.
    #[error("{}", mistaken(.0))]
    Config(#[from] Mistakes),
    /// The port is taken, or the address is none of this machine.
    #[error("can't listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    /// The CA can't be read, made or kept.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// A store that may have the CA can't be asked.
    #[error("the CA may be in a store that can't be asked, so none is made in another: {0}")]
    Unasked(SourceError),
    /// The CA is not ours to rotate.
    #[error("{}", not_ours(.0))]
    NotOurs(CaSource),
    /// No store works.
    #[error("no store of this machine can keep a CA")]
    NoStore,
    /// The audit can't be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// What is trusted upstream can't be read.
    #[error(transparent)]
    Roots(#[from] tls::RootsError),
    /// A look-alike of a key would be mistaken for something else.
    #[error(transparent)]
    Lookalike(#[from] LookalikeError),
    /// The TLS library refuses its settings.
    #[error("TLS can't be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The file with an agent's token can't be used.
    #[error("the token of agent {agent} in {path} can't be used: {why}")]
    Token { agent: String, path: PathBuf, why: String },
    /// The certificate of the proxy's own port can't be used, or its key.
    #[error("{path} can't be used for TLS on the proxy's own port: {why}")]
    ListenerTls { path: PathBuf, why: String },
    /// The file with the webhook's secret can't be used.
    #[error("the webhook's secret in {path} can't be used: {why}")]
    WebhookSecret { path: PathBuf, why: String },
    /// The state folder is not fit.
    #[error("{path}: {why}")]
    State { path: PathBuf, why: String },
    /// The file of tokens can't be read or written.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// A listener beyond loopback would let anybody in.
    #[error("beyond loopback anyone could spend your keys: listening on {address} takes agents")]
    Open { address: SocketAddr },
    /// The token in a variable can't be sealed.
    #[error("LOCUM_PROXY_TOKEN can't be used: {0}")]
    Variable(#[from] UnsealError),
    /// The token in a variable could be guessed.
    #[error("LOCUM_PROXY_TOKEN has under {minimum} characters, so it could be guessed")]
    ShortToken { minimum: usize },
    /// A token was to be limited to a key that there is not.
    #[error("there is no key '{0}'")]
    NoSuchKey(KeyName),
    /// An agent's time is over, and a new token would count for longer than anybody has said.
    #[error("the token of agent '{0}' has expired, and a new one needs an end of its own")]
    EndUnsaid(AgentName),
    /// No token was made for this agent; it may have one in a file.
    #[error("no token was made for {agent}")]
    NoToken { agent: AgentName, in_file: bool },
    /// The CA's certificates can't be written where they are exported to.
    #[error("{path}: {source}")]
    Export { path: PathBuf, source: io::Error },
    /// The control socket can't be opened.
    #[error("{path} can't be opened, so signals alone control this service: {source}")]
    ControlSocket { path: PathBuf, source: io::Error },
    /// Another service that runs has the control socket.
    #[error("{path} belongs to another service that runs{}, so signals alone control this one", process(.pid))]
    ControlTaken { path: PathBuf, pid: Option<i32> },
    /// The system has no randomness.
    #[error("no randomness from the system")]
    Random,
    /// The system gives no thread.
    #[error("no thread can be started: {0}")]
    Thread(io::Error),
}

impl AppError {
    /// The file or folder that the error is about, where it is about one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::State { path, .. }
            | Self::Export { path, .. }
            | Self::Token { path, .. }
            | Self::ListenerTls { path, .. } => Some(path),
            Self::Audit(AuditError::Io { path, .. } | AuditError::Open { path, .. }) => Some(path),
            _ => None,
        }
    }

    /// One line for the operator: what to do next.
    pub fn next(&self) -> String {
        match self {
            AppError::Config(_) => "'locum check' tells when it is right".into(),
            AppError::Listen { source, address } if source.kind() == io::ErrorKind::AddrInUse => format!(
                "another program has port {}: stop it, or choose a port with [proxy] listen or LOCUM_PROXY__LISTEN",
                address.port()
            ),
            AppError::Listen { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "this user may not listen there: choose a port from 1024 on with [proxy] listen or LOCUM_PROXY__LISTEN"
                    .into()
            }
            AppError::Listen { .. } => "set [proxy] listen to an address of this machine".into(),
            AppError::Ca(CaError::Exposed { path }) => format!("run: chmod 600 {path}"),
            AppError::Ca(_) => "see [ca] source in the config, and 'locum ca --help'".into(),
            AppError::Unasked(e) => format!("{}; or keep it elsewhere, by [ca] source", e.next),
            AppError::NotOurs(CaSource::File(path)) => {
                format!("put another CA into {} and start the service again", path.display())
            }
            AppError::NotOurs(_) => "start the service again: it makes a new one".into(),
            AppError::NoStore => {
                "'locum vault init' makes one; a service without any makes a new CA at each start".into()
            }
            AppError::Audit(e) => e.hint(),
            AppError::Roots(_) => "see [proxy] upstream_ca and upstream_proxy_ca in the config".into(),
            AppError::Lookalike(_) => "see `placeholder` in the config".into(),
            AppError::Tls(_) | AppError::Variable(_) | AppError::Random | AppError::Thread(_) => {
                "this machine is not fit for it".into()
            }
            AppError::Tokens(TokensError::OfAnother { .. }) => {
                "run it as that user, or name a folder of your own with --state DIR".into()
            }
            AppError::Tokens(TokensError::Unfit { .. }) => {
                "mend or remove the file; without it the tokens are gone: 'locum agent add' makes new ones".into()
            }
            AppError::Open { .. } => "make an agent with 'locum agent add NAME', or set LOCUM_PROXY_TOKEN".into(),
            AppError::ShortToken { .. } => "set a longer one ('openssl rand -hex 32' makes one), or unset it".into(),
            AppError::State { .. } => "choose another folder with --state or XDG_STATE_HOME".into(),
            AppError::ListenerTls { .. } => "see [proxy] tls_cert and tls_key in the config, files of PEM".into(),
            AppError::WebhookSecret { .. } => "see [anomaly] webhook_secret_file in the config".into(),
            AppError::Token { .. } => "see [agent.*] token_file in the config".into(),
            AppError::NoSuchKey(_) => "'locum check' lists those there are".into(),
            AppError::EndUnsaid(_) => "say until when it counts: --expires 30d, or --expires never".into(),
            AppError::NoToken { in_file: true, .. } => {
                "its token is in the file that the config names: remove the token_file line, then 'locum reload'".into()
            }
            AppError::NoToken { .. } => "'locum agent list' shows those that have one".into(),
            AppError::Export { .. } => "see [ca] export in the config".into(),
            AppError::ControlSocket { .. } => {
                "see that the state folder can hold a socket: a short path, on a disk".into()
            }
            AppError::ControlTaken { .. } => "to control this one there too, give it a state folder of its own".into(),
        }
    }
}

impl From<&AppError> for ControlError {
    fn from(error: &AppError) -> Self {
        Self { what: error.to_string(), next: error.next() }
    }
}

/// The process that holds a socket, where the system tells it.
fn process(pid: &Option<i32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

fn mistaken(mistakes: &Mistakes) -> String {
    let n = mistakes.0.len();
    format!("the config has {n} mistake{}:\n{mistakes}", if n == 1 { "" } else { "s" })
}

/// Why a CA can't be rotated.
fn not_ours(source: &CaSource) -> &'static str {
    match source {
        CaSource::File(_) => "the CA is a file of your own ([ca] source), which is yours to change",
        _ => {
            "the CA is in the memory of the service that uses it ([ca] source = \"memory\"), so there is nothing to rotate"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_next_depends_on_why_a_port_can_not_be_had() {
        let address = "127.0.0.1:80".parse().unwrap();
        for (kind, said) in [
            (io::ErrorKind::PermissionDenied, "choose a port from 1024 on"),
            (io::ErrorKind::AddrInUse, "another program has port 80"),
            (io::ErrorKind::AddrNotAvailable, "an address of this machine"),
        ] {
            let next = AppError::Listen { address, source: kind.into() }.next();
            assert!(next.contains(said), "{kind}: {next}");
        }
    }
}
