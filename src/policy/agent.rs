//! Agents: their tokens, their rights and their rate.

use super::rule::HostPattern;
use crate::name::{AgentName, KeyName};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use http::{HeaderValue, Method};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use zeroize::Zeroizing;

/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 512;

/// An agent and its rights. `None` and empty lists mean no limit.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Its name, for records.
    pub name: AgentName,
    /// The keys that it may use.
    pub keys: Option<HashSet<KeyName>>,
    /// The hosts that it may reach.
    pub hosts: Vec<HostPattern>,
    /// The methods that it may use.
    pub methods: Vec<Method>,
    /// When its token ends.
    pub expires: Option<SystemTime>,
    /// How much it may ask.
    pub limits: AgentLimits,
    /// How much it has asked, once that was looked up.
    pub meter: OnceLock<Arc<AgentMeter>>,
}

/// Rate and concurrency limits of an agent. `None` means as much as it likes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AgentLimits {
    /// So many requests in so much time; that many may also come at once.
    pub rate: Option<(u32, Duration)>,
    /// Requests under way at the same time.
    pub concurrent: Option<u32>,
}

/// The meter of what an agent has asked lately, and has under way. Time comes from outside.
#[derive(Debug, Default)]
pub struct AgentMeter {
    bucket: Mutex<Option<TokenBucket>>,
    under_way: AtomicU32,
}

#[derive(Debug, Clone, Copy)]
struct TokenBucket {
    tokens: f64,
    at: Instant,
}

/// One request under way; dropped when it has ended.
#[derive(Debug)]
pub struct ConcurrencyPermit(Arc<AgentMeter>);

impl Drop for ConcurrencyPermit {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request that has to wait, since its agent is at a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttled {
    /// The rate is spent; a request is let in again after so long.
    Rate(Duration),
    /// As many requests as may be are under way.
    Concurrent,
}

impl AgentMeter {
    /// Counts a request in.
    ///
    /// # Errors
    /// The limit that it is at.
    pub fn enter(self: &Arc<Self>, limits: AgentLimits, now: Instant) -> Result<ConcurrencyPermit, Throttled> {
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        let permit = ConcurrencyPermit(self.clone());
        if limits.concurrent.is_some_and(|most| before >= most) {
            return Err(Throttled::Concurrent);
        }
        if let Some((count, per)) = limits.rate {
            self.draw(f64::from(count), per.as_secs_f64(), now).map_err(Throttled::Rate)?;
        }
        Ok(permit)
    }

    /// A token bucket: `count` tokens at most, filled up anew in `per` seconds.
    fn draw(&self, count: f64, per: f64, now: Instant) -> Result<(), Duration> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let last = bucket.unwrap_or(TokenBucket { tokens: count, at: now });
        let elapsed = now.saturating_duration_since(last.at).as_secs_f64();
        let tokens = (last.tokens + elapsed * count / per).min(count);
        if tokens < 1.0 {
            *bucket = Some(TokenBucket { tokens, at: now });
            return Err(Duration::from_secs_f64((1.0 - tokens) * per / count));
        }
        *bucket = Some(TokenBucket { tokens: tokens - 1.0, at: now });
        Ok(())
    }
}

impl Agent {
    /// The one agent of a proxy without tokens.
    pub fn local() -> Self {
        Self {
            name: AgentName::local(),
            keys: None,
            hosts: Vec::new(),
            methods: Vec::new(),
            expires: None,
            limits: AgentLimits::default(),
            meter: OnceLock::new(),
        }
    }

    fn still_valid(&self, now: SystemTime) -> Result<(), AuthError> {
        match self.expires {
            Some(end) if end <= now => Err(AuthError::Expired(self.name.clone())),
            _ => Ok(()),
        }
    }

    /// Whether a key is among its own.
    pub fn may_use(&self, key: &KeyName) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.contains(key))
    }
}

/// The SHA-256 of a proxy token, which is all that is kept of one. Tokens are 256 random bits, so a slow hash would guard nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash as it is kept: 64 digits of hex.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let mut out = [0; 32];
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in out.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(out))
    }

    /// The hash as it is kept: 64 digits of hex.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The hash of a token as the client sends it.
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

/// A failed proxy authentication. The client is told only how to authenticate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is no header.
    #[error("no Proxy-Authorization")]
    Missing,
    /// The header can't be read (RFC 9110, section 11.4).
    #[error("the Proxy-Authorization is neither Basic nor Bearer, or malformed")]
    Malformed,
    /// No agent has this token.
    #[error("the token is not known")]
    Unknown,
    /// The agent's time is over.
    #[error("the token of agent {0} has expired")]
    Expired(AgentName),
}

/// All agents and their tokens.
#[derive(Debug, Clone, Default)]
pub struct Agents {
    tokens: TokenTable,
    anonymous: Option<Arc<Agent>>,
}

/// The agents by their tokens: found in one look, however many there are.
#[derive(Debug, Clone, Default)]
struct TokenTable {
    /// By a hash under a random key of this process, so that nobody outside can choose tokens that are near each other.
    slots: HashMap<u64, Vec<(TokenHash, Arc<Agent>)>, foldhash::fast::RandomState>,
    key: RandomState,
}

impl TokenTable {
    fn new(tokens: Vec<(TokenHash, Arc<Agent>)>) -> Self {
        let mut table = Self::default();
        for (hash, agent) in tokens {
            let slot = table.key.hash_one(hash.0);
            table.slots.entry(slot).or_default().push((hash, agent));
        }
        table
    }

    /// Each hash in the slot, of which there is one as a rule, is compared in constant time, so that time tells nothing of
    /// which is near. Of two agents with one token the last counts.
    fn find(&self, hash: &TokenHash) -> Option<&Arc<Agent>> {
        let slot = self.slots.get(&self.key.hash_one(hash.0))?;
        let is_it = |known: &TokenHash| verify_slices_are_equal(&known.0, &hash.0).is_ok();
        slot.iter().rfind(|(known, _)| is_it(known)).map(|(_, agent)| agent)
    }
}

impl Agents {
    /// Without tokens everyone who can reach the listener is `local`.
    pub fn open() -> Self {
        Self { tokens: TokenTable::default(), anonymous: Some(Arc::new(Agent::local())) }
    }

    /// Agents that each prove themselves by a token.
    pub fn with_tokens(tokens: Vec<(TokenHash, Arc<Agent>)>) -> Self {
        Self { tokens: TokenTable::new(tokens), anonymous: None }
    }

    /// Whether a client without a token is refused.
    pub fn need_token(&self) -> bool {
        self.anonymous.is_none()
    }

    /// The agent behind a `Proxy-Authorization` (RFC 9110, section 11.7.2), and what proves it again later: Bearer
    /// (RFC 6750), or Basic (RFC 7617) with the token as password or as user, so that it fits into `http://agent:token@proxy`.
    pub fn authenticate(&self, header: Option<&[u8]>, now: SystemTime) -> Result<(Arc<Agent>, TokenProof), AuthError> {
        self.known(now, || tokens(header.ok_or(AuthError::Missing)?).ok_or(AuthError::Malformed))
    }

    /// The agent behind a user and a password, either of which is its token, and what proves it again later.
    ///
    /// # Errors
    /// Neither is, or its time is over.
    pub fn authenticate_login(
        &self,
        user: &[u8],
        password: &[u8],
        now: SystemTime,
    ) -> Result<(Arc<Agent>, TokenProof), AuthError> {
        self.known(now, || Ok([password, user].map(|text| Zeroizing::new(text.to_vec())).into()))
    }

    /// The agent of this name, which whoever asks stands for without its token, and what proves it again later. Without
    /// tokens there is one agent, whatever it is called.
    ///
    /// # Errors
    /// No agent has this name, or its time is over.
    pub fn named(&self, name: &AgentName, now: SystemTime) -> Result<(Arc<Agent>, TokenProof), AuthError> {
        if let Some(agent) = &self.anonymous {
            return Ok((agent.clone(), TokenProof(None)));
        }
        let mut failed = AuthError::Unknown;
        for (hash, agent) in self.tokens.slots.values().flatten().filter(|(_, agent)| agent.name == *name) {
            match agent.still_valid(now) {
                Ok(()) => return Ok((agent.clone(), TokenProof::of(hash.clone()))),
                Err(e) => failed = e,
            }
        }
        Err(failed)
    }

    fn known(
        &self,
        now: SystemTime,
        candidates: impl FnOnce() -> Result<Vec<Token>, AuthError>,
    ) -> Result<(Arc<Agent>, TokenProof), AuthError> {
        if let Some(agent) = &self.anonymous {
            return Ok((agent.clone(), TokenProof(None)));
        }
        let candidates = candidates()?;
        let hashes = candidates.iter().filter(|token| !token.is_empty()).map(|token| TokenHash::of(token));
        let mut known = hashes.filter_map(|hash| Some((self.tokens.find(&hash)?.clone(), TokenProof(Some(hash)))));
        let (agent, proof) = known.next().ok_or(AuthError::Unknown)?;
        agent.still_valid(now)?;
        Ok((agent, proof))
    }

    /// The agent of a tunnel that was opened with this proof, as it is now: revoked, expired, or with other rights.
    pub fn again(&self, proof: &TokenProof, now: SystemTime) -> Result<Arc<Agent>, AuthError> {
        let agent = match (&self.anonymous, &proof.0) {
            (Some(agent), None) => agent.clone(),
            // no token is known where none is needed: this one was revoked
            (Some(_), Some(_)) => return Err(AuthError::Unknown),
            (None, Some(hash)) => self.tokens.find(hash).ok_or(AuthError::Unknown)?.clone(),
            (None, None) => return Err(AuthError::Missing),
        };
        agent.still_valid(now)?;
        Ok(agent)
    }
}

/// The proof that a client authenticated by, kept as a hash.
#[derive(Debug, Clone)]
pub struct TokenProof(Option<TokenHash>);

impl TokenProof {
    /// The proof of whoever has the token with this hash.
    pub fn of(hash: TokenHash) -> Self {
        Self(Some(hash))
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
            assert_eq!(got.map(|(a, _)| a.name.to_string()), outcome.map(String::from), "{header:?}");
        }
    }

    #[test]
    fn each_of_ten_thousand_tokens_finds_its_own_agent_and_of_two_the_last() {
        let named = |n: usize| Arc::new(Agent { name: format!("a{n}").parse().unwrap(), ..Agent::local() });
        let token = |n: usize| format!("t0ken-{n}").into_bytes();
        let mut tokens: Vec<_> = (0..10_000).map(|n| (TokenHash::of(&token(n)), named(n))).collect();
        tokens.push((TokenHash::of(&token(7)), named(10_000)));
        let agents = Agents::with_tokens(tokens);
        for (n, agent) in [(0, Some("a0")), (7, Some("a10000")), (9_999, Some("a9999")), (10_000, None)] {
            let header = [b"Bearer ", &token(n)[..]].concat();
            let found = agents.authenticate(Some(&header), SystemTime::now()).ok();
            assert_eq!(found.map(|(agent, _)| agent.name.to_string()).as_deref(), agent);
        }
    }

    #[test]
    fn a_proof_ends_with_its_token() {
        let now = SystemTime::now();
        let agent =
            |keys: &[&str]| Agent { keys: Some(keys.iter().map(|k| k.parse().unwrap()).collect()), ..Agent::local() };
        let hash = TokenHash::of(b"t0ken");
        let before = Agents::with_tokens(vec![(hash.clone(), Arc::new(agent(&["a"])))]);
        let (_, proof) = before.authenticate(Some(b"Bearer t0ken"), now).unwrap();
        let narrowed = Agents::with_tokens(vec![(hash, Arc::new(agent(&[])))]);
        assert!(!narrowed.again(&proof, now).unwrap().may_use(&"a".parse().unwrap()));
        let revoked = Agents::with_tokens(vec![(TokenHash::of(b"other"), Arc::new(agent(&[])))]);
        assert_eq!(revoked.again(&proof, now).unwrap_err(), AuthError::Unknown);
        let (_, none) = Agents::open().authenticate(None, now).unwrap();
        assert_eq!(revoked.again(&none, now).unwrap_err(), AuthError::Missing);
    }

    #[test]
    fn only_a_proxy_without_tokens_lets_everyone_in() {
        assert!(!Agents::open().need_token());
        assert!(Agents::with_tokens(Vec::new()).need_token());
    }

    #[test]
    fn a_token_has_a_longest_length() {
        let (fits, too_long) = ("t".repeat(2 * MAX_TOKEN), "t".repeat(2 * MAX_TOKEN + 1));
        let agents = Agents::with_tokens(vec![
            (TokenHash::of(fits.as_bytes()), Arc::new(Agent::local())),
            (TokenHash::of(too_long.as_bytes()), Arc::new(Agent::local())),
        ]);
        let told = |token: &str| {
            let header = format!("Bearer {token}");
            agents.authenticate(Some(header.as_bytes()), SystemTime::now()).map(drop)
        };
        assert_eq!((told(&fits), told(&too_long)), (Ok(()), Err(AuthError::Malformed)));
    }

    #[test]
    fn hashes_read_back() {
        assert_eq!(format!("{:?}", TokenHash::of(b"x")), "TokenHash(…)");
        let hash = TokenHash::of(b"x");
        assert_eq!(TokenHash::from_hex(&hash.to_hex()), Some(hash));
        for bad in ["", "00", &"zz".repeat(32), &"é".repeat(32), &"0".repeat(65)] {
            assert_eq!(TokenHash::from_hex(bad), None);
        }
    }

    #[test]
    fn a_bucket_lets_a_burst_through_and_then_the_rate() {
        let meter = Arc::new(AgentMeter::default());
        let limits = AgentLimits { rate: Some((2, Duration::from_secs(10))), concurrent: None };
        let start = Instant::now();
        let ask = |after: f64| meter.enter(limits, start + Duration::from_secs_f64(after)).map(drop);
        assert_eq!((ask(0.0), ask(0.0)), (Ok(()), Ok(())));
        assert_eq!(ask(0.0), Err(Throttled::Rate(Duration::from_secs(5))));
        assert_eq!(ask(4.0), Err(Throttled::Rate(Duration::from_secs(1))));
        assert_eq!(ask(5.0), Ok(()));
        assert!(ask(5.1).is_err());
        assert_eq!((ask(1000.0), ask(1000.0)), (Ok(()), Ok(())));
        assert!(ask(1000.0).is_err());
    }

    #[test]
    fn only_so_many_at_once() {
        let meter = Arc::new(AgentMeter::default());
        let limits = AgentLimits { rate: None, concurrent: Some(2) };
        let enter = || meter.enter(limits, Instant::now());
        let (first, _second) = (enter().unwrap(), enter().unwrap());
        assert_eq!(enter().unwrap_err(), Throttled::Concurrent);
        drop(first);
        assert!(enter().is_ok());
    }
}
