//! Posts a few bytes to a URL that the operator named, and tells the answer's status. Nothing that an agent asked for.

use super::dial::{AllowedPeer, Dialer};
use super::head_injection::CarriesKey;
use super::outbound::Outbound;
use super::pool::Pool;
use super::protocol::ProtocolPreference;
use crate::name::{Host, Origin, Scheme};
use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// From the dial to the end of the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is read of an answer, so that its connection can be used again.
const MAX_ANSWER: usize = 64 * 1024;

/// `https://host[:port]/path`, or `http://` on this machine.
#[derive(Clone, PartialEq, Eq)]
pub struct PostUrl {
    origin: Origin,
    target: Uri,
}

/// A text that is no such URL. The message doesn't repeat the text: the path of many webhooks is as good as a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PostUrlError {
    #[error("no https:// URL")]
    Url,
    #[error("http:// is for this machine only; beyond it takes https://")]
    Cleartext,
    #[error("a URL with a user in it; leave the user out")]
    User,
}

impl FromStr for PostUrl {
    type Err = PostUrlError;

    fn from_str(text: &str) -> Result<Self, PostUrlError> {
        let url = url::Url::parse(text).map_err(|_| PostUrlError::Url)?;
        let scheme = match url.scheme() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return Err(PostUrlError::Url),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(PostUrlError::User);
        }
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let origin = Origin::parse(scheme, authority).map_err(|_| PostUrlError::Url)?;
        let here = match &origin.host {
            Host::Ip(ip) => ip.is_loopback(),
            name => name.is_loopback_name(),
        };
        if scheme == Scheme::Http && !here {
            return Err(PostUrlError::Cleartext);
        }
        let target =
            url[url::Position::BeforePath..url::Position::AfterQuery].parse().map_err(|_| PostUrlError::Url)?;
        Ok(Self { origin, target })
    }
}

impl PostUrl {
    /// For this machine only, whatever DNS says of its name: the path is a secret as a rule.
    fn is_cleartext(&self) -> bool {
        self.origin.scheme == Scheme::Http
    }

    /// The way to it: an upstream proxy leads to no service of this machine.
    fn way(&self, outbound: Outbound) -> Outbound {
        let Outbound { dialer, tls } = outbound;
        let dialer = if self.is_cleartext() { Dialer { proxy: None, ..dialer } } else { dialer };
        Outbound { dialer, tls }
    }
}

impl fmt::Display for PostUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/…", self.origin)
    }
}

impl fmt::Debug for PostUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A client for one URL, on a connection of its own. Its clones share that.
#[derive(Clone)]
pub struct Poster {
    url: PostUrl,
    pool: Arc<Pool<Full<Bytes>>>,
}

impl Poster {
    /// `outbound` as the operator's own requests go out: what agents may not reach is no limit for it.
    pub fn new(url: PostUrl, outbound: Outbound) -> Self {
        let pool = Pool::new(url.way(outbound), 1);
        Self { url, pool }
    }

    /// Posts in another way from now on.
    pub fn reach_by(&self, outbound: Outbound) {
        self.pool.reach_by(self.url.way(outbound));
        self.pool.close(|_| true);
    }

    /// Posts `body`, and gives the status of the answer.
    ///
    /// # Errors
    /// Why there was no answer within ten seconds, in words.
    pub async fn post(&self, headers: HeaderMap, body: Vec<u8>) -> Result<u16, String> {
        match tokio::time::timeout(PATIENCE, self.send(headers, body)).await {
            Ok(status) => status,
            Err(_) => Err(format!("it did not answer within {} s", PATIENCE.as_secs())),
        }
    }

    async fn send(&self, headers: HeaderMap, body: Vec<u8>) -> Result<u16, String> {
        let PostUrl { origin, target } = &self.url;
        let mut request = Request::post(target.clone()).body(Full::from(body)).map_err(|e| e.to_string())?;
        *request.headers_mut() = headers;
        if self.url.is_cleartext() {
            request.extensions_mut().insert(CarriesKey {
                peer: AllowedPeer::Loopback,
                in_target: false,
                may_go: Arc::new(|| true),
                may_have_left: Arc::default(),
            });
        }
        let host = HeaderValue::try_from(origin.authority()).map_err(|e| e.to_string())?;
        request.headers_mut().insert(HOST, host);
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("locum"));
        let (response, mut lease) =
            self.pool.send(origin, request, ProtocolPreference::Http1, None).await.map_err(|e| e.error.to_string())?;
        let status = response.status().as_u16();
        // an answer that is cut or too long says what it says all the same
        if Limited::new(response.into_body(), MAX_ANSWER).collect().await.is_ok() {
            lease.finish();
        }
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_encrypted_or_of_this_machine_and_its_path_is_never_shown() {
        for (text, want) in [
            ("https://hooks.example/services/T0/s3cret?x=1", Ok("https://hooks.example/…")),
            ("https://10.0.0.5:8443/", Ok("https://10.0.0.5:8443/…")),
            ("https://[::1]:9/x", Ok("https://[::1]:9/…")),
            ("http://127.0.0.1:9093/alerts", Ok("http://127.0.0.1:9093/…")),
            ("http://localhost/alerts", Ok("http://localhost/…")),
            ("http://hooks.example/", Err(PostUrlError::Cleartext)),
            ("https://me:s3cret@hooks.example/", Err(PostUrlError::User)),
            ("ftp://hooks.example/", Err(PostUrlError::Url)),
            ("hooks.example/s3cret", Err(PostUrlError::Url)),
            ("https://", Err(PostUrlError::Url)),
        ] {
            let got = text.parse::<PostUrl>();
            assert_eq!(got.map(|url| url.to_string()), want.map(str::to_owned), "{text}");
        }
    }
}
