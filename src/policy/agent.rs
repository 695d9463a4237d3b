//! Who an agent is, how it proves it, and what it may do at all.

use super::rule::HostPattern;
use crate::name::{AgentName, KeyName};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use http::{HeaderValue, Method};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;
use zeroize::Zeroizing;

/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 512;

/// What the operator said of one agent. `None` and empty lists mean no limit.
#[derive(Debug, Clone)]
pub struct Agent {
    pub name: AgentName,
    pub keys: Option<HashSet<KeyName>>,
    pub hosts: Vec<HostPattern>,
    pub methods: Vec<Method>,
    pub expires: Option<SystemTime>,
}

impl Agent {
    /// The one agent of a proxy without tokens.
    pub fn local() -> Self {
        Self { name: AgentName::local(), keys: None, hosts: Vec::new(), methods: Vec::new(), expires: None }
    }

    pub fn may_use(&self, key: &KeyName) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.contains(key))
    }
}

/// What is kept of a token: its SHA-256. Tokens are 256 random bits, so a slow hash would guard nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    pub fn of(token: &[u8]) -> Self {
        let mut out = [0; 32];
        out.copy_from_slice(digest(&SHA256, token).as_ref());
        Self(out)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// Why a client is not let in. It is told only how to authenticate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("no Proxy-Authorization")]
    Missing,
    #[error("the Proxy-Authorization is neither Basic nor Bearer, or malformed")]
    Malformed,
    #[error("the token is not known")]
    Unknown,
    #[error("the token of agent {0} has expired")]
    Expired(AgentName),
}

/// All agents and their tokens.
#[derive(Debug, Clone, Default)]
pub struct Agents {
    tokens: Vec<(TokenHash, Arc<Agent>)>,
    anonymous: Option<Arc<Agent>>,
}

impl Agents {
    /// Without tokens everyone who can reach the listener is `local`.
    pub fn open() -> Self {
        Self { tokens: Vec::new(), anonymous: Some(Arc::new(Agent::local())) }
    }

    pub fn with_tokens(tokens: Vec<(TokenHash, Arc<Agent>)>) -> Self {
        Self { tokens, anonymous: None }
    }

    pub fn need_token(&self) -> bool {
        self.anonymous.is_none()
    }

    /// The agent behind a `Proxy-Authorization` (RFC 9110, section 11.7.2): Bearer (RFC 6750), or Basic (RFC 7617)
    /// with the token as password or as user, so that it fits into `http://agent:token@proxy`.
    pub fn authenticate(&self, header: Option<&[u8]>, now: SystemTime) -> Result<Arc<Agent>, AuthError> {
        if let Some(agent) = &self.anonymous {
            return Ok(agent.clone());
        }
        let header = header.ok_or(AuthError::Missing)?;
        let candidates = tokens(header).ok_or(AuthError::Malformed)?;
        let agent = candidates.iter().find_map(|token| self.find(token)).ok_or(AuthError::Unknown)?;
        match agent.expires {
            Some(end) if end <= now => Err(AuthError::Expired(agent.name.clone())),
            _ => Ok(agent),
        }
    }

    /// Every stored hash is compared in constant time, and all of them, so that time tells nothing of which is near.
    fn find(&self, token: &[u8]) -> Option<Arc<Agent>> {
        if token.is_empty() {
            return None;
        }
        let hash = TokenHash::of(token);
        let mut found = None;
        for (known, agent) in &self.tokens {
            if verify_slices_are_equal(&known.0, &hash.0).is_ok() {
                found = Some(agent.clone());
            }
        }
        found
    }
}

type Token = Zeroizing<Vec<u8>>;

fn tokens(header: &[u8]) -> Option<Vec<Token>> {
    let text = std::str::from_utf8(header).ok()?;
    let (scheme, rest) = text.split_once(' ')?;
    let rest = rest.trim();
    if rest.is_empty() || rest.len() > 2 * MAX_TOKEN {
        return None;
    }
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(vec![Zeroizing::new(rest.as_bytes().to_vec())]);
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = Zeroizing::new(base64::engine::general_purpose::STANDARD.decode(rest).ok()?);
    let colon = pair.iter().position(|b| *b == b':')?;
    let (user, password) = (&pair[..colon], &pair[colon + 1..]);
    Some([password, user].into_iter().map(|t| Zeroizing::new(t.to_vec())).collect())
}

/// `http://agent:TOKEN@…` as a header, for tests and for `run`.
pub fn basic(agent: &str, token: &str) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    let pair = Zeroizing::new(format!("{agent}:{token}"));
    let mut value =
        HeaderValue::from_str(&format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(&*pair)))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_token_counts_in_each_form_that_clients_send() {
        let now = SystemTime::now();
        let mut late = Agent::local();
        late.name = "late".parse().unwrap();
        late.expires = Some(now - Duration::from_secs(1));
        let mut bot = Agent::local();
        bot.name = "bot".parse().unwrap();
        let agents = Agents::with_tokens(vec![
            (TokenHash::of(b"t0ken"), Arc::new(bot)),
            (TokenHash::of(b"old"), Arc::new(late)),
        ]);
        let b64 = |s: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(s));
        for (header, outcome) in [
            (Some(b64("bot:t0ken")), Ok("bot")),
            (Some(b64("t0ken:")), Ok("bot")),
            (Some(b64("anything:t0ken")), Ok("bot")),
            (Some("Bearer t0ken".into()), Ok("bot")),
            (Some("bearer  t0ken".into()), Ok("bot")),
            (None, Err(AuthError::Missing)),
            (Some("Bearer".into()), Err(AuthError::Malformed)),
            (Some("Digest x".into()), Err(AuthError::Malformed)),
            (Some("Basic !!".into()), Err(AuthError::Malformed)),
            (Some(b64("no colon")), Err(AuthError::Malformed)),
            (Some(b64(":")), Err(AuthError::Unknown)),
            (Some(b64("bot:t0ke")), Err(AuthError::Unknown)),
            (Some("Bearer t0ken2".into()), Err(AuthError::Unknown)),
            (Some("Bearer old".into()), Err(AuthError::Expired("late".parse().unwrap()))),
        ] {
            let got = agents.authenticate(header.as_ref().map(|h| h.as_bytes()), now);
            assert_eq!(got.map(|a| a.name.to_string()), outcome.map(String::from), "{header:?}");
        }
    }
}
