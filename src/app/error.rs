//! The errors of a proxy that is set up or controlled, each with what to do about it.

use crate::audit::AuditError;
use crate::ca::CaError;
use crate::config::Mistakes;
use crate::config::settings::CaSource;
use crate::config::tokens::TokensError;
use crate::control::ControlError;
use crate::memory::Unsealable;
use crate::name::{AgentName, KeyName};
use crate::rewrite::LookalikeError;
use crate::secrets::SourceError;
use crate::upstream::tls;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The error of a proxy that can't be set up, or can't do what it is told.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("{}", mistaken(.0))]
    Config(#[from] Mistakes),
    #[error("can't listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error("the CA may be in a store that can't be asked, so none is made in another: {0}")]
    Unasked(SourceError),
    #[error("{}", not_ours(.0))]
    NotOurs(CaSource),
    #[error("no store of this machine can keep a CA")]
    NoStore,
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(transparent)]
    Roots(#[from] tls::RootsError),
    #[error(transparent)]
    Lookalike(#[from] LookalikeError),
    #[error("TLS can't be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the token of agent {agent} in {path} can't be used: {why}")]
    Token { agent: String, path: PathBuf, why: String },
    #[error("the webhook's secret in {path} can't be used: {why}")]
    WebhookSecret { path: PathBuf, why: String },
    #[error("{path}: {why}")]
    State { path: PathBuf, why: String },
    #[error(transparent)]
    Tokens(#[from] TokensError),
    #[error("beyond loopback anyone could spend your keys: listening on {address} takes agents")]
    Open { address: SocketAddr },
    #[error("LOCUM_PROXY_TOKEN can't be used: {0}")]
    Variable(#[from] Unsealable),
    #[error("LOCUM_PROXY_TOKEN has under {minimum} characters, so it could be guessed")]
    ShortToken { minimum: usize },
    #[error("there is no key '{0}'")]
    NoSuchKey(KeyName),
    #[error("no token was made for {agent}")]
    NoToken { agent: AgentName, in_file: bool },
    #[error("{path}: {source}")]
    Export { path: PathBuf, source: io::Error },
    #[error("{path} can't be opened, so signals alone control this service: {source}")]
    ControlSocket { path: PathBuf, source: io::Error },
    #[error("{path} belongs to another service that runs{}, so signals alone control this one", process(.pid))]
    ControlTaken { path: PathBuf, pid: Option<i32> },
    #[error("no randomness from the system")]
    Random,
    #[error("no thread can be started: {0}")]
    Thread(io::Error),
}

impl AppError {
    /// One line for the operator: what to do next.
    pub fn next(&self) -> String {
        match self {
            AppError::Config(_) => "'locum check' tells when it is right".into(),
            AppError::Listen { source, address } if source.kind() == io::ErrorKind::AddrInUse => format!(
                "another program has port {}: stop it, or choose a port with [proxy] listen or LOCUM_PROXY__LISTEN",
                address.port()
            ),
            AppError::Listen { .. } => "set [proxy] listen to an address of this machine".into(),
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
            AppError::Roots(_) => "see [proxy] upstream_ca in the config".into(),
            AppError::Lookalike(_) => "see `placeholder` in the config".into(),
            AppError::Tls(_) | AppError::Variable(_) | AppError::Random | AppError::Thread(_) => {
                "this machine is not fit for it".into()
            }
            AppError::Tokens(_) => {
                "mend or remove the file; without it the tokens are gone: 'locum agent add' makes new ones".into()
            }
            AppError::Open { .. } => "make an agent with 'locum agent add NAME', or set LOCUM_PROXY_TOKEN".into(),
            AppError::ShortToken { .. } => "set a longer one ('openssl rand -hex 32' makes one), or unset it".into(),
            AppError::State { .. } => "choose another folder with --state or XDG_STATE_HOME".into(),
            AppError::WebhookSecret { .. } => "see [anomaly] webhook_secret_file in the config".into(),
            AppError::Token { .. } => "see [agent.*] token_file in the config".into(),
            AppError::NoSuchKey(_) => "'locum check' lists those there are".into(),
            AppError::NoToken { in_file: true, .. } => {
                "its token is in the file that the config names: remove the token_file line, then SIGHUP".into()
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
