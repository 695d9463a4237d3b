//! Asks the proxy that this process's environment leads to about the agent's own placeholders and refusals: as any agent may,
//! without a look at locum's files.

use crate::memory::own_variables::PROXY_TOKEN;
use crate::name::{OWN_HOST, Origin, Scheme};
use crate::policy::agent;
use crate::policy::agent_placeholders::AgentPlaceholders;
use crate::system::processes::environments_above;
use crate::upstream::link::Link;
use crate::upstream::protocol::AlpnOffer;
use crate::upstream::tls::{self, Tls};
use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use url::Url;

/// The variables that clients find a proxy by; `run` and `env` set all of them.
const PROXY_VARIABLES: [&str; 6] = ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
/// How long the proxy may take to answer: it asks nobody for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer, in bytes: some thousand keys.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// The longest id of an exchange, in bytes.
const MAX_ID: usize = 64;

/// The proxy, and what the agent proves itself by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyClient {
    authority: String,
    /// What its certificate has to be of, where it speaks TLS.
    tls: Option<Origin>,
    credentials: Option<HeaderValue>,
}

/// A question that has no answer, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// No variable names a proxy.
    #[error(
        "no HTTPS_PROXY is set, so there is no locum to ask; start this by 'locum run -- …', or set it to locum's address"
    )]
    NoProxy,
    /// It names one that can't be asked.
    #[error("the proxy in {variable} can't be asked: it has to be http:// or https://[agent:token@]host:port")]
    Unreadable {
        /// Which of the variables.
        variable: &'static str,
    },
    /// Nobody answers there, or not in time.
    #[error("the proxy at {0} does not answer: {1}")]
    Silent(String, String),
    /// The token is missing or wrong.
    #[error(
        "the proxy at {0} wants the agent's token: put it into HTTPS_PROXY (http://agent:TOKEN@…) or LOCUM_PROXY_TOKEN"
    )]
    Unauthenticated(String),
    /// The agent has asked for as much as it may.
    #[error("the agent may ask for no more now; ask again in a minute")]
    Throttled,
    /// Another proxy is there, or it says no.
    #[error("the proxy at {0} answers {1}; is it locum?")]
    NotLocum(String, StatusCode),
    /// It has the status that it should, and is something else.
    #[error("what the proxy at {0} answers is not locum's: {1}")]
    Strange(String, String),
}

/// What an agent was told of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnRefusal {
    /// The status of the answer.
    pub status: u16,
    /// The kind of refusal, as a URN.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// Why.
    pub detail: String,
    /// What an operator types to learn more.
    pub hint: String,
    /// The exchange that was refused.
    pub exchange: String,
}

impl ProxyClient {
    /// The proxy that this process's variables name; where they name none, those of the nearest ancestor that do: many MCP
    /// clients give the servers that they start hardly a variable.
    ///
    /// # Errors
    /// There is none, or one that can't be asked.
    pub fn of_process() -> Result<Self, AskError> {
        let own = Self::of_environment(|name| std::env::var(name).ok());
        let above = || environments_above().map(|all| Self::of_environment(|name| all.get(name).cloned()));
        match own {
            Err(AskError::NoProxy) => above().find(|found| *found != Err(AskError::NoProxy)).unwrap_or(own),
            found => found,
        }
    }

    /// The proxy that these variables name.
    fn of_environment(now: impl Fn(&str) -> Option<String>) -> Result<Self, AskError> {
        let set = |name: &&'static str| Some((*name, now(name).filter(|value| !value.trim().is_empty())?));
        let (variable, value) = PROXY_VARIABLES.iter().find_map(set).ok_or(AskError::NoProxy)?;
        let unreadable = || AskError::Unreadable { variable };
        let value = value.trim();
        let url = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
        let url =
            Url::parse(&url).ok().filter(|url| matches!(url.scheme(), "http" | "https")).ok_or_else(unreadable)?;
        let host = url.host_str().ok_or_else(unreadable)?;
        let authority = format!("{host}:{}", url.port_or_known_default().ok_or_else(unreadable)?);
        let tls = (url.scheme() == "https").then(|| Origin::parse(Scheme::Https, &authority)).transpose();
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let credentials = match (url.username(), url.password(), now(PROXY_TOKEN)) {
            ("", None, None) => None,
            ("", None, Some(token)) => Some(HeaderValue::try_from(format!("Bearer {}", token.trim()))),
            (user, password, _) => Some(agent::basic(&decoded(user), &decoded(password.unwrap_or_default()))),
        };
        let tls = tls.map_err(|_| unreadable())?;
        Ok(Self { authority, tls, credentials: credentials.transpose().map_err(|_| unreadable())? })
    }

    /// The placeholders of the agent that asks.
    ///
    /// # Errors
    /// There is no answer, or none of locum's.
    pub async fn placeholders(&self) -> Result<AgentPlaceholders, AskError> {
        match self.get("/placeholders").await? {
            (StatusCode::OK, body) => self.read(&body),
            (status, _) => Err(AskError::NotLocum(self.authority.clone(), status)),
        }
    }

    /// What the agent was told of an exchange of its own; `None` where nothing is known of it.
    ///
    /// # Errors
    /// There is no answer, or none of locum's.
    pub async fn refusal(&self, exchange: &str) -> Result<Option<OwnRefusal>, AskError> {
        let is_id = (1..=MAX_ID).contains(&exchange.len()) && exchange.bytes().all(|b| b.is_ascii_alphanumeric());
        if !is_id {
            return Ok(None);
        }
        match self.get(&format!("/refusals/{exchange}")).await? {
            (StatusCode::OK, body) => self.read(&body).map(Some),
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, _) => Err(AskError::NotLocum(self.authority.clone(), status)),
        }
    }

    fn read<'b, T: Deserialize<'b>>(&self, body: &'b [u8]) -> Result<T, AskError> {
        serde_json::from_slice(body).map_err(|e| AskError::Strange(self.authority.clone(), e.to_string()))
    }

    async fn get(&self, path: &str) -> Result<(StatusCode, Bytes), AskError> {
        let silent = |why: String| AskError::Silent(self.authority.clone(), why);
        let answer = tokio::time::timeout(PATIENCE, self.exchange(path)).await;
        let (status, body) = answer.map_err(|_| silent("time is up".into()))?.map_err(|e| silent(e.to_string()))?;
        match status {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(AskError::Unauthenticated(self.authority.clone())),
            StatusCode::TOO_MANY_REQUESTS => Err(AskError::Throttled),
            _ => Ok((status, body)),
        }
    }

    /// Over TLS it is verified by what this machine trusts, and what the variables of `env` add to that.
    async fn connect(&self) -> Result<Link, Box<dyn std::error::Error + Send + Sync>> {
        let tcp = TcpStream::connect(&self.authority).await?;
        let Some(origin) = &self.tls else { return Ok(Link::Left(tcp)) };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = Tls::new(tls::roots(&[], None)?, provider)?;
        let connected = tls.connect(origin, tcp, AlpnOffer::Http1).await;
        Ok(Link::Right(Box::new(connected.map_err(|failed| failed.error)?)))
    }

    async fn exchange(&self, path: &str) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(self.connect().await?)).await?;
        let connection = tokio::spawn(connection);
        let mut request = Request::get(format!("http://{OWN_HOST}{path}")).header(HOST, OWN_HOST);
        if let Some(credentials) = &self.credentials {
            request = request.header(PROXY_AUTHORIZATION, credentials);
        }
        let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await?.to_bytes();
        connection.abort();
        Ok((status, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<ProxyClient, AskError> {
        ProxyClient::of_environment(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn the_proxy_and_the_token_are_those_that_clients_are_given() {
        for (pairs, authority, credentials) in [
            (&[("HTTPS_PROXY", "http://a:t%40k@127.0.0.1:1")][..], "127.0.0.1:1", Some("Basic YTp0QGs=")),
            (&[("HTTP_PROXY", "http://[::1]:1"), ("LOCUM_PROXY_TOKEN", "t0k\n")], "[::1]:1", Some("Bearer t0k")),
            (&[("https_proxy", " "), ("HTTPS_PROXY", "locum:8787")], "locum:8787", None),
            (&[("all_proxy", "http://locum/"), ("LOCUM_PROXY_TOKEN", "x")], "locum:80", Some("Bearer x")),
        ] {
            let client = of(pairs).unwrap();
            let said = client.credentials.as_ref().map(|value| value.to_str().unwrap());
            assert_eq!((client.authority.as_str(), said), (authority, credentials), "{pairs:?}");
        }
        assert_eq!(of(&[]).unwrap_err(), AskError::NoProxy);
        let over_tls = of(&[("HTTPS_PROXY", "https://locum:1")]).unwrap();
        assert_eq!(over_tls.tls.map(|origin| origin.to_string()).as_deref(), Some("https://locum:1"));
        for odd in ["socks5://127.0.0.1:1", "http://", "http:// x"] {
            assert!(matches!(of(&[("HTTPS_PROXY", odd)]), Err(AskError::Unreadable { .. })), "{odd}");
        }
    }
}
