//! Makes, lists and revokes the proxy tokens by which agents prove who they are. A service that runs takes over what
//! changes in their file.

use super::AppError;
use crate::config::settings::Settings;
use crate::config::tokens::{self, StoredToken, StoredTokens};
use crate::control::{AgentToken, IssuedToken, TokenOrigin, TokenRequest};
use crate::name::AgentName;
use crate::policy::agent::TokenHash;
use base64::Engine as _;
use std::time::SystemTime;
use zeroize::Zeroizing;

/// Bytes of a token: 256 random bits.
const TOKEN_BYTES: usize = 32;

/// The tokens that there are.
pub struct TokenList {
    /// One for each agent that has one, in no order.
    pub tokens: Vec<AgentToken>,
    /// Whether any was ever made: then one is needed, though none may be left.
    pub ever_made: bool,
}

/// Makes a token for an agent, in place of the one that it has. It gives no more than that did, unless more is asked for.
///
/// # Errors
/// When a key is none of the config, when the agent's time is over and no other is said, and when the file of tokens can't be
/// written.
pub fn issue_token(settings: &Settings, request: TokenRequest) -> Result<IssuedToken, AppError> {
    let TokenRequest { agent, keys, expires } = request;
    let is_known = |key: &&_| settings.keys.iter().any(|known| known.name == **key);
    if let Some(unknown) = keys.iter().flatten().find(|key| !is_known(key)) {
        return Err(AppError::NoSuchKey(unknown.clone()));
    }
    let mut bytes = Zeroizing::new([0_u8; TOKEN_BYTES]);
    aws_lc_rs::rand::fill(&mut *bytes).map_err(|_| AppError::Random)?;
    let token = Zeroizing::new(format!("locum_{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(*bytes)));
    let hash = TokenHash::of(token.as_bytes());
    let made = SystemTime::now();
    tokens::change(&settings.state, |tokens| {
        let before = tokens.kept.iter().find(|kept| kept.name == agent);
        let replaced = before.is_some();
        let (keys_before, end_before) = before.map_or((None, None), |kept| (kept.keys.clone(), kept.expires));
        let keys = keys.or(keys_before);
        let expires = match expires {
            None if end_before.is_some_and(|end| end <= made) => return Err(AppError::EndUnsaid(agent)),
            None => end_before,
            Some(said) => said.moment(),
        };
        tokens.kept.retain(|kept| kept.name != agent);
        tokens.kept.push(StoredToken { name: agent, hash, keys: keys.clone(), made, expires });
        Ok(IssuedToken { token, replaced, keys, expires })
    })?
}

/// The agents that have a token: one that was made, or one in a file that the config names.
///
/// # Errors
/// When the file of tokens can't be read.
pub fn list_tokens(settings: &Settings) -> Result<TokenList, AppError> {
    let (kept, now) = (StoredTokens::load(&settings.state)?, SystemTime::now());
    let ever_made = kept.is_some();
    let issued = kept.unwrap_or_default().kept.into_iter().map(|k| AgentToken {
        agent: k.name,
        keys: k.keys,
        made: Some(k.made),
        expires: k.expires,
        expired: k.expires.is_some_and(|end| end <= now),
        origin: TokenOrigin::Issued,
    });
    let in_files = settings.agents.iter().filter(|a| a.token_file.is_some()).map(|a| AgentToken {
        agent: a.name.clone(),
        keys: a.keys.clone(),
        made: None,
        expires: None,
        expired: false,
        origin: TokenOrigin::File,
    });
    Ok(TokenList { tokens: issued.chain(in_files).collect(), ever_made })
}

/// Takes the token away that was made for an agent. Gives how many tokens are left.
///
/// # Errors
/// When none was made for it, and when the file of tokens can't be written.
pub fn revoke_token(settings: &Settings, agent: &AgentName) -> Result<usize, AppError> {
    let (known, left) = tokens::change(&settings.state, |tokens| {
        let before = tokens.kept.len();
        tokens.kept.retain(|k| k.name != *agent);
        (tokens.kept.len() < before, tokens.kept.len())
    })?;
    if known {
        return Ok(left);
    }
    let in_file = settings.agents.iter().any(|a| a.name == *agent && a.token_file.is_some());
    Err(AppError::NoToken { agent: agent.clone(), in_file })
}
