//! What is unusual in a stream of records: a fold, live or over old ones, with the records' own times for a clock. Warns nobody.

use crate::record::{Event, Record};
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Uses of one key in a minute.
    pub rate_per_minute: u64,
    /// Failed exchanges with one key in a minute.
    pub errors: u64,
    /// Bytes of one response to a request with a key.
    pub large_response: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config { rate_per_minute: 60, errors: 5, large_response: 10_000_000 }
    }
}

/// A person who types a wrong name tries two or three; who goes through a list doesn't stop there.
const PROBES: u64 = 5;

/// Refusals further apart than this (seconds) are not in a row.
const PROBES_WITHIN: u64 = 300;

/// Distinct hosts of one agent in a minute. Package managers and browsers ask few hosts many times.
const HOSTS: usize = 30;

/// A key is known after so many uses, and what comes then is new to it.
const KNOWN: u64 = 20;

/// Two agents that use a key within this many seconds use it at once.
const AT_ONCE: u64 = 10;

/// Seconds that must pass below a limit before crossing it counts anew.
const CALM: u64 = 60;

/// Names that are remembered of a kind; agents choose hosts, so there is an end to it.
const NAMES: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Low,
    Medium,
    High,
}

impl Severity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A key is used more often than it should be.
    Rate,
    /// Exchanges with a key fail: it was revoked, or somebody tries things.
    Errors,
    /// A response is larger than answers of this kind are.
    LargeResponse,
    /// A key goes to a host that it never went to.
    NewHost,
    /// A key is used by an agent that never did.
    NewAgent,
    /// An agent is refused again and again.
    Probing,
    /// An agent asks many different hosts.
    ManyHosts,
    /// Two agents use one key at once.
    TwoAgents,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Rate => "rate",
            Kind::Errors => "errors",
            Kind::LargeResponse => "large-response",
            Kind::NewHost => "new-host",
            Kind::NewAgent => "new-agent",
            Kind::Probing => "probing",
            Kind::ManyHosts => "many-hosts",
            Kind::TwoAgents => "two-agents",
        }
    }

    fn severity(self, seen: u64, limit: u64) -> Severity {
        let far_beyond = seen >= limit.saturating_mul(5);
        match self {
            Kind::Probing => Severity::High,
            Kind::Rate | Kind::Errors if far_beyond => Severity::High,
            Kind::Rate | Kind::Errors | Kind::NewAgent | Kind::ManyHosts => Severity::Medium,
            Kind::LargeResponse if far_beyond => Severity::Medium,
            Kind::LargeResponse | Kind::NewHost | Kind::TwoAgents => Severity::Low,
        }
    }
}

/// Something unusual, told once until it has been calm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub kind: Kind,
    pub severity: Severity,
    pub key: Option<String>,
    pub agent: String,
    pub host: String,
    /// How much, where that says something.
    pub seen: u64,
    pub limit: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { agent, host, seen, limit, .. } = self;
        let key = self.key.as_deref().unwrap_or_default();
        match self.kind {
            Kind::Rate => write!(f, "key {key} was used {seen} times in a minute, more than {limit}"),
            Kind::Errors => write!(f, "{seen} exchanges with key {key} failed within a minute"),
            Kind::LargeResponse => {
                write!(f, "{host} answered a request with key {key} with {seen} bytes, {limit} is large")
            }
            Kind::NewHost => write!(f, "key {key} went to {host} for the first time"),
            Kind::NewAgent => write!(f, "agent {agent} used key {key} for the first time"),
            Kind::Probing => write!(f, "agent {agent} was refused {seen} times in a row"),
            Kind::ManyHosts => write!(f, "agent {agent} asked {seen} different hosts within a minute"),
            Kind::TwoAgents => write!(f, "key {key} is used by agent {agent} and another at once"),
        }
    }
}

/// What a record says that matters here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fact<'a> {
    /// Seconds since 1970.
    pub second: u64,
    pub event: Option<Event>,
    pub key: Option<&'a str>,
    pub exchange: &'a str,
    pub agent: &'a str,
    pub host: &'a str,
    pub status: Option<u64>,
    pub success: Option<bool>,
    pub bytes_in: u64,
}

impl<'a> From<&'a Record> for Fact<'a> {
    fn from(record: &'a Record) -> Self {
        let scene = record.scene.as_deref();
        Fact {
            second: seconds(record.at),
            event: Some(record.event),
            key: record.operation.strip_prefix("api."),
            exchange: scene.map_or("", |s| &s.exchange),
            agent: scene.map_or("", |s| s.agent.as_str()),
            host: scene.map_or("", |s| &s.host),
            status: record.status.map(u64::from),
            success: record.success,
            bytes_in: record.bytes_in.unwrap_or(0),
        }
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The state of the fold.
#[derive(Debug)]
pub struct Watch {
    config: Config,
    keys: HashMap<String, KeyState>,
    agents: HashMap<String, AgentState>,
}

#[derive(Debug, Default)]
struct KeyState {
    uses: Minute,
    errors: Minute,
    total: u64,
    last_exchange: String,
    hosts: HashSet<String>,
    agents: HashSet<String>,
    last_agent: Option<(String, u64)>,
    rate_alarm: Alarm,
    error_alarm: Alarm,
    large_alarm: Alarm,
    together_alarm: Alarm,
}

#[derive(Debug, Default)]
struct AgentState {
    refusals: u64,
    last_refusal: u64,
    /// Distinct hosts and when each was asked last, the longest ago first.
    hosts: VecDeque<(u64, String)>,
    probe_alarm: Alarm,
    hosts_alarm: Alarm,
}

impl Watch {
    pub fn new(config: Config) -> Self {
        Watch { config, keys: HashMap::new(), agents: HashMap::new() }
    }

    /// Takes the next record; tells what is unusual since it.
    pub fn take(&mut self, fact: &Fact<'_>) -> Vec<Finding> {
        let mut found = Vec::new();
        if let (Some(key), Some(state)) = (fact.key, fact.key.and_then(|key| state(&mut self.keys, key))) {
            let mut tell = |kind, seen, limit| found.push(finding(kind, Some(key), fact, seen, limit));
            match fact.event {
                Some(Event::Substitution) => state.used(fact, &self.config, &mut tell),
                Some(Event::Exchange) => state.answered(fact, &self.config, &mut tell),
                _ => {}
            }
        }
        if let Some(state) = state(&mut self.agents, fact.agent).filter(|_| !fact.agent.is_empty()) {
            let mut tell = |kind, seen, limit| found.push(finding(kind, None, fact, seen, limit));
            match fact.event {
                Some(Event::Refusal) => state.refused(fact, &mut tell),
                Some(Event::Substitution) => state.refusals = 0,
                Some(Event::Exchange | Event::Tunnel) => state.asked(fact, &mut tell),
                _ => {}
            }
        }
        found
    }

    /// Whether a key should rest: it is above a limit, or was within the last minute.
    pub fn is_hot(&self, key: &str, now: SystemTime) -> bool {
        let now = seconds(now);
        self.keys.get(key).is_some_and(|state| state.rate_alarm.rings(now) || state.error_alarm.rings(now))
    }

    /// Whether an agent should rest, as it was refused again and again.
    pub fn is_probing(&self, agent: &str, now: SystemTime) -> bool {
        self.agents.get(agent).is_some_and(|state| state.probe_alarm.rings(seconds(now)))
    }
}

fn finding(kind: Kind, key: Option<&str>, fact: &Fact<'_>, seen: u64, limit: u64) -> Finding {
    let severity = kind.severity(seen, limit);
    let (agent, host) = (fact.agent.to_owned(), fact.host.to_owned());
    Finding { kind, severity, key: key.map(str::to_owned), agent, host, seen, limit }
}

/// The state kept for a name; none for those that come when there are too many.
fn state<'a, T: Default>(states: &'a mut HashMap<String, T>, name: &str) -> Option<&'a mut T> {
    if !states.contains_key(name) && states.len() < NAMES {
        states.insert(name.to_owned(), T::default());
    }
    states.get_mut(name)
}

type Tell<'a> = dyn FnMut(Kind, u64, u64) + 'a;

impl KeyState {
    fn used(&mut self, fact: &Fact<'_>, config: &Config, tell: &mut Tell<'_>) {
        self.met(fact, tell);
        // A key in two places of one request is used once.
        if !fact.exchange.is_empty() && fact.exchange == self.last_exchange {
            return;
        }
        self.last_exchange.clear();
        self.last_exchange.push_str(fact.exchange);
        self.total += 1;
        let uses = self.uses.add(fact.second);
        if uses > config.rate_per_minute && self.rate_alarm.ring(fact.second) {
            tell(Kind::Rate, uses, config.rate_per_minute);
        }
    }

    /// Hosts and agents that are new to a key that is known.
    fn met(&mut self, fact: &Fact<'_>, tell: &mut Tell<'_>) {
        let known = self.total >= KNOWN;
        if remember(&mut self.hosts, fact.host) && known {
            tell(Kind::NewHost, 1, 1);
        }
        if remember(&mut self.agents, fact.agent) && known {
            tell(Kind::NewAgent, 1, 1);
        }
        let other = self
            .last_agent
            .as_ref()
            .is_some_and(|(agent, second)| agent != fact.agent && fact.second.abs_diff(*second) <= AT_ONCE);
        if other && self.together_alarm.ring(fact.second) {
            tell(Kind::TwoAgents, 2, 1);
        }
        match &mut self.last_agent {
            Some((agent, second)) if agent == fact.agent => *second = fact.second,
            last => *last = Some((fact.agent.to_owned(), fact.second)),
        }
    }

    fn answered(&mut self, fact: &Fact<'_>, config: &Config, tell: &mut Tell<'_>) {
        if fact.success == Some(false) || fact.status.is_some_and(|status| status >= 400) {
            let errors = self.errors.add(fact.second);
            if errors >= config.errors && self.error_alarm.ring(fact.second) {
                tell(Kind::Errors, errors, config.errors);
            }
        }
        if fact.bytes_in >= config.large_response && self.large_alarm.ring(fact.second) {
            tell(Kind::LargeResponse, fact.bytes_in, config.large_response);
        }
    }
}

impl AgentState {
    fn refused(&mut self, fact: &Fact<'_>, tell: &mut Tell<'_>) {
        if fact.second.abs_diff(self.last_refusal) > PROBES_WITHIN {
            self.refusals = 0;
        }
        self.refusals += 1;
        self.last_refusal = fact.second;
        if self.refusals >= PROBES && self.probe_alarm.ring(fact.second) {
            tell(Kind::Probing, self.refusals, PROBES);
        }
    }

    fn asked(&mut self, fact: &Fact<'_>, tell: &mut Tell<'_>) {
        self.hosts.retain(|(second, host)| fact.second.saturating_sub(*second) < 60 && host != fact.host);
        self.hosts.push_back((fact.second, fact.host.to_owned()));
        if self.hosts.len() > HOSTS {
            if self.hosts_alarm.ring(fact.second) {
                tell(Kind::ManyHosts, self.hosts.len() as u64, HOSTS as u64);
            }
            self.hosts.pop_front();
        }
    }
}

/// Whether a name is new; beyond a number nothing is.
fn remember(names: &mut HashSet<String>, name: &str) -> bool {
    !names.contains(name) && names.len() < NAMES && names.insert(name.to_owned())
}

/// A count over the last sixty seconds.
#[derive(Debug)]
struct Minute {
    seconds: [u32; 60],
    newest: u64,
}

impl Default for Minute {
    fn default() -> Self {
        Minute { seconds: [0; 60], newest: 0 }
    }
}

impl Minute {
    /// Counts one more; tells how many there were in the minute that ends with the newest.
    fn add(&mut self, second: u64) -> u64 {
        let passed = second.saturating_sub(self.newest).min(60);
        for back in 0..passed {
            self.slot(second - back, |count| *count = 0);
        }
        self.newest = self.newest.max(second);
        // Records of several files come nearly in order; what is much too late is no part of this minute.
        if self.newest - second < 60 {
            self.slot(second, |count| *count += 1);
        }
        self.seconds.iter().map(|count| u64::from(*count)).sum()
    }

    fn slot(&mut self, second: u64, change: impl FnOnce(&mut u32)) {
        if let Some(count) = self.seconds.get_mut((second % 60) as usize) {
            change(count);
        }
    }
}

/// Rings when a limit is crossed, and again only after calm.
#[derive(Debug, Default)]
struct Alarm {
    crossed: Option<u64>,
}

impl Alarm {
    /// The limit is crossed at `second`; whether that is new.
    fn ring(&mut self, second: u64) -> bool {
        let new = !self.rings(second);
        self.crossed = Some(self.crossed.map_or(second, |crossed| crossed.max(second)));
        new
    }

    fn rings(&self, second: u64) -> bool {
        self.crossed.is_some_and(|crossed| second.saturating_sub(crossed) < CALM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn watch() -> Watch {
        Watch::new(Config::default())
    }

    fn used(second: u64) -> Fact<'static> {
        let event = Some(Event::Substitution);
        Fact { second, event, key: Some("openai"), agent: "a", host: "api.openai.com", ..Fact::default() }
    }

    fn answered(second: u64, status: u64) -> Fact<'static> {
        Fact { event: Some(Event::Exchange), status: Some(status), success: Some(true), ..used(second) }
    }

    fn refused(second: u64) -> Fact<'static> {
        Fact { second, event: Some(Event::Refusal), agent: "a", host: "evil.example", ..Fact::default() }
    }

    fn kinds<'a>(facts: impl IntoIterator<Item = Fact<'a>>) -> Vec<Kind> {
        let mut watch = watch();
        facts.into_iter().flat_map(|fact| watch.take(&fact)).map(|finding| finding.kind).collect()
    }

    const NOTHING: [Kind; 0] = [];

    #[test]
    fn a_key_may_be_used_so_often_in_a_minute() {
        assert_eq!(kinds((0..60).map(|_| used(1000))), NOTHING);
        assert_eq!(kinds((0..61).map(|_| used(1000))), [Kind::Rate]);
        assert_eq!(kinds((0..600).map(|i| used(1000 + i))), NOTHING, "one a second is sixty a minute");
        assert_eq!(kinds((0..61).map(|_| used(1000)).chain((0..61).map(|_| used(1200)))), [Kind::Rate; 2]);
        assert_eq!(
            kinds((0..200).map(|_| Fact { exchange: "one", ..used(1000) })),
            NOTHING,
            "many places, one request"
        );
    }

    #[test]
    fn so_many_exchanges_may_fail() {
        assert_eq!(kinds((0..4).map(|i| answered(1000 + i, 401))), NOTHING);
        assert_eq!(kinds((0..5).map(|i| answered(1000 + i, 401))), [Kind::Errors]);
        assert_eq!(kinds((0..50).map(|i| answered(1000 + 20 * i, 500))), NOTHING, "three a minute");
        assert_eq!(kinds((0..50).map(|i| answered(1000 + i, 399))), NOTHING);
        let broken = |i: u64| Fact { status: None, success: Some(false), ..answered(1000 + i, 0) };
        assert_eq!(kinds((0..5).map(broken)), [Kind::Errors]);
    }

    #[test]
    fn a_response_may_be_so_large() {
        assert_eq!(kinds([Fact { bytes_in: 9_999_999, ..answered(1000, 200) }]), NOTHING);
        assert_eq!(kinds([Fact { bytes_in: 10_000_000, ..answered(1000, 200) }]), [Kind::LargeResponse]);
        let without_key = Fact { key: None, bytes_in: u64::MAX, ..answered(1000, 200) };
        assert_eq!(kinds([without_key]), NOTHING);
    }

    #[test]
    fn a_known_key_meets_hosts_and_agents_for_the_first_time() {
        let known = |n: u64| (0..n).map(|i| used(1000 + 60 * i));
        let host = Fact { host: "files.openai.com", ..used(9000) };
        let agent = Fact { agent: "b", ..used(9000) };
        assert_eq!(kinds(known(19).chain([host])), NOTHING);
        assert_eq!(kinds(known(20).chain([host, host])), [Kind::NewHost]);
        assert_eq!(kinds(known(19).chain([agent])), NOTHING);
        assert_eq!(kinds(known(20).chain([agent, agent])), [Kind::NewAgent]);
    }

    #[test]
    fn an_agent_that_probes_is_refused_in_a_row() {
        assert_eq!(kinds((0..4).map(|i| refused(1000 + i))), NOTHING);
        assert_eq!(kinds((0..5).map(|i| refused(1000 + i))), [Kind::Probing]);
        assert_eq!(kinds((0..20).map(|i| refused(1000 + 301 * i))), NOTHING, "now and then");
        let between = (0..20).flat_map(|i| [refused(1000 + i), used(1000 + i)]);
        assert_eq!(kinds(between), NOTHING, "what works lies between");
    }

    #[test]
    fn an_agent_may_ask_so_many_hosts() {
        let hosts: Vec<String> = (0..31).map(|i| format!("h{i}.example")).collect();
        let asked = |at: u64, host| Fact { key: None, second: at, host, ..answered(0, 200) };
        assert_eq!(kinds(hosts[..30].iter().map(|h| asked(1000, h)).cycle().take(300)), NOTHING);
        assert_eq!(kinds(hosts.iter().map(|h| asked(1000, h))), [Kind::ManyHosts]);
        assert_eq!(kinds(hosts.iter().zip(0..).map(|(h, i)| asked(1000 + 2 * i, h))), NOTHING, "over a minute");
    }

    #[test]
    fn two_agents_use_a_key_at_once() {
        let other = |second| Fact { agent: "b", ..used(second) };
        assert_eq!(kinds([used(1000), other(1011)]), NOTHING);
        assert_eq!(kinds([used(1000), other(1010)]), [Kind::TwoAgents]);
        assert_eq!(kinds([used(1000), other(1001), used(1002), other(1003)]), [Kind::TwoAgents], "told once");
    }

    #[test]
    fn what_is_far_beyond_weighs_more() {
        let mut watch = watch();
        let severities = |facts: Vec<Fact<'_>>, watch: &mut Watch| {
            facts.iter().flat_map(|fact| watch.take(fact)).map(|f| f.severity).collect::<Vec<_>>()
        };
        assert_eq!(severities((0..61).map(|_| used(1000)).collect(), &mut watch), [Severity::Medium]);
        assert_eq!(severities((0..5).map(|_| refused(1000)).collect(), &mut watch), [Severity::High]);
        let large = |bytes_in, second| Fact { bytes_in, ..answered(second, 200) };
        let facts = vec![large(10_000_000, 1000), large(50_000_000, 2000)];
        assert_eq!(severities(facts, &mut watch), [Severity::Low, Severity::Medium]);
    }

    #[test]
    fn a_hot_key_rests_until_it_was_calm_for_a_minute() {
        let mut watch = watch();
        let at = |second| UNIX_EPOCH + Duration::from_secs(second);
        for _ in 0..60 {
            watch.take(&used(1000));
        }
        assert!(!watch.is_hot("openai", at(1000)));
        watch.take(&used(1000));
        assert!(watch.is_hot("openai", at(1000)) && watch.is_hot("openai", at(1059)));
        assert!(!watch.is_hot("openai", at(1060)) && !watch.is_hot("brave", at(1000)));
        (0..5).for_each(|_| drop(watch.take(&refused(1000))));
        assert!(
            watch.is_probing("a", at(1059)) && !watch.is_probing("a", at(1060)) && !watch.is_probing("b", at(1000))
        );
    }

    /// A day of ordinary traffic, as coding and research agents make it: three agents, each with keys of its own, work in
    /// bursts. A burst is a task: 1 to 40 steps, one model call each, 2 to 20 seconds apart; each third step also asks a
    /// search or code host, and one in five reads a page without a key. One call in forty fails and is tried again after
    /// four seconds; a response has up to 400 kB. Between tasks lie 1 to 30 minutes. Twice a day an agent is refused.
    fn ordinary_day(seed: u64) -> Vec<Fact<'static>> {
        const AGENTS: [(&str, [(&str, &str); 2]); 3] = [
            ("coder", [("anthropic", "api.anthropic.com"), ("github", "api.github.com")]),
            ("researcher", [("openai", "api.openai.com"), ("brave", "api.search.brave.com")]),
            ("reviewer", [("gemini", "generativelanguage.googleapis.com"), ("gitlab", "gitlab.com")]),
        ];
        const PAGES: [&str; 6] = [
            "docs.rs",
            "crates.example",
            "en.wikipedia.org",
            "packages.example",
            "stackoverflow.com",
            "modules.example",
        ];
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut dice = |n: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % n
        };
        let mut facts = Vec::new();
        for (agent, [model, tool]) in AGENTS {
            let mut second = dice(3600);
            while second < 86_400 {
                for step in 0..1 + dice(40) {
                    second += 2 + dice(19);
                    let pairs = if step % 3 == 2 { vec![model, tool] } else { vec![model] };
                    for (key, host) in pairs {
                        let failed = dice(40) == 0;
                        let key = Fact { second, key: Some(key), agent, host, ..Fact::default() };
                        let sent = Fact { event: Some(Event::Substitution), ..key };
                        let status = Some(if failed { 529 } else { 200 });
                        let (event, bytes_in) = (Some(Event::Exchange), dice(400_000));
                        let closed = Fact { event, status, success: Some(true), bytes_in, ..key };
                        facts.extend([sent, closed]);
                        if failed {
                            let again = Fact { second: second + 4, ..sent };
                            facts.extend([again, Fact { second: second + 4, status: Some(200), ..closed }]);
                        }
                    }
                    if dice(5) == 0 {
                        let host = PAGES[dice(6) as usize];
                        facts.push(Fact { second, event: Some(Event::Exchange), agent, host, ..Fact::default() });
                    }
                }
                second += 60 + dice(1740);
            }
            for _ in 0..2 {
                facts.push(Fact { agent, ..refused(dice(86_400)) });
            }
        }
        facts.sort_by_key(|fact| fact.second);
        facts
    }

    #[test]
    fn ordinary_days_raise_nothing() {
        for seed in 1..=50 {
            let day = ordinary_day(seed);
            assert!(day.len() > 1500, "{}", day.len());
            assert_eq!(kinds(day), NOTHING, "seed {seed}");
        }
    }

    proptest! {
        #[test]
        fn a_minute_counts_what_is_in_it(mut seconds in prop::collection::vec(0u64..300, 1..80)) {
            seconds.sort();
            let mut minute = Minute::default();
            for (i, second) in seconds.iter().enumerate() {
                let want = seconds[..=i].iter().filter(|s| second - **s < 60).count() as u64;
                prop_assert_eq!(minute.add(*second), want);
            }
        }

        #[test]
        fn times_in_any_order_do_no_harm(seconds in prop::collection::vec(any::<u64>(), 1..80)) {
            let mut watch = watch();
            for second in seconds {
                for fact in [used(second), answered(second, 500), refused(second)] {
                    watch.take(&fact);
                }
            }
            prop_assert!(watch.keys.len() == 1 && watch.agents.len() == 1);
        }
    }
}
