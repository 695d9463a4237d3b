//! The fold: what is known of each key and agent, and what the next record means in its light. What was not seen for longest
//! is forgotten first, once there is too much of it.

use super::config::AnomalyLimits;
use super::fact::{Fact, seconds};
use super::finding::{AnomalyKind, Finding};
use super::recent::Recent;
use super::window::{Alarm, Minute};
use crate::name::NOBODY;
use crate::record::Event;
use foldhash::fast::RandomState;
use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::num::NonZeroUsize;
use std::time::SystemTime;

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

/// Keys that are remembered, and agents: ten thousand of each, with room to spare.
const NAMES: usize = 16_384;

/// Hosts and agents that keys have met, in all, each with its key.
const MET: usize = 131_072;

/// The state of the fold, or of its part of the names.
#[derive(Debug)]
pub struct AnomalyDetector {
    config: AnomalyLimits,
    keys: Recent<String, KeyState>,
    agents: Recent<String, AgentState>,
    /// The hashes of what keys have met.
    met: Recent<u64, ()>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct KeyState {
    uses: Minute,
    errors: Minute,
    total: u64,
    last_exchange: String,
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

impl AnomalyDetector {
    /// Has seen nothing yet.
    pub fn new(config: AnomalyLimits) -> Self {
        Self::part(config, NonZeroUsize::MIN)
    }

    /// One of so many that divide the names among them, and the memory.
    pub fn part(config: AnomalyLimits, parts: NonZeroUsize) -> Self {
        let (names, met) = (NAMES / parts, MET / parts);
        let (keys, agents, met) = (Recent::up_to(names), Recent::up_to(names), Recent::up_to(met));
        AnomalyDetector { config, keys, agents, met, hasher: RandomState::default() }
    }

    /// Takes the next record; tells what is unusual since it.
    pub fn take(&mut self, fact: &Fact<'_>) -> Vec<Finding> {
        let mut found = self.take_key(fact);
        found.extend(self.take_agent(fact));
        found
    }

    /// What the record says of its key.
    pub fn take_key(&mut self, fact: &Fact<'_>) -> Vec<Finding> {
        let mut found = Vec::new();
        let Some(key) = fact.key else { return found };
        let mut tell = |kind, seen, limit| found.push(finding(kind, Some(key), fact, seen, limit));
        match fact.event {
            Some(Event::Substitution) => {
                let state = self.keys.entry(key);
                let mut is_new = |what: char, name: &str| self.met.is_new(self.hasher.hash_one((what, key, name)));
                let new = (is_new('h', fact.host), is_new('a', fact.agent));
                state.used(fact, new, &self.config, &mut tell);
            }
            Some(Event::Exchange) => self.keys.entry(key).answered(fact, &self.config, &mut tell),
            Some(Event::Scrub) if fact.unrequested => tell(AnomalyKind::Unrequested, fact.count, 0),
            _ => {}
        }
        found
    }

    /// What the record says of its agent.
    pub fn take_agent(&mut self, fact: &Fact<'_>) -> Vec<Finding> {
        let mut found = Vec::new();
        let fact = &Fact { agent: subject(fact), ..*fact };
        if fact.agent.is_empty() {
            return found;
        }
        let mut tell = |kind, seen, limit| found.push(finding(kind, None, fact, seen, limit));
        match fact.event {
            Some(Event::Refusal) if tells_of_a_wish(fact) => self.agents.entry(fact.agent).refused(fact, &mut tell),
            Some(Event::Substitution) => self.agents.entry(fact.agent).refusals = 0,
            Some(Event::Exchange | Event::Tunnel) => self.agents.entry(fact.agent).asked(fact, &mut tell),
            _ => {}
        }
        found
    }

    /// The limits from now on; what was seen so far is kept.
    pub fn set(&mut self, config: AnomalyLimits) {
        self.config = config;
    }

    /// For how many seconds a key should rest yet: it is above a limit, or was within the last minute.
    pub fn key_rests(&self, key: &str, now: SystemTime) -> u64 {
        let left = |state: &KeyState| state.rate_alarm.left(seconds(now)).max(state.error_alarm.left(seconds(now)));
        self.keys.peek(key).map_or(0, left)
    }

    /// The same for an agent that was refused again and again.
    pub fn agent_rests(&self, agent: &str, now: SystemTime) -> u64 {
        self.agents.peek(agent).map_or(0, |state| state.probe_alarm.left(seconds(now)))
    }

    /// Whether anything was forgotten, since there was too much: of that nothing is told any more.
    pub fn has_forgotten(&self) -> bool {
        self.keys.has_forgotten() || self.agents.has_forgotten() || self.met.has_forgotten()
    }
}

/// Whose doing a record is: a request that isn't authenticated says nothing about an agent, though it comes through a tunnel
/// that was opened with a token that counted then.
pub fn subject<'a>(fact: &Fact<'a>) -> &'a str {
    if fact.status == Some(407) { NOBODY } else { fact.agent }
}

/// Refusals that tell of a wish. To be told to wait, that an upstream or a disk is gone, and that a handshake came to nothing,
/// is nobody's probing.
fn tells_of_a_wish(fact: &Fact<'_>) -> bool {
    !fact.handshake && fact.status.is_none_or(|status| matches!(status, 400..=407 | 409..=428 | 430..=499))
}

fn finding(kind: AnomalyKind, key: Option<&str>, fact: &Fact<'_>, seen: u64, limit: u64) -> Finding {
    let severity = kind.severity(seen, limit);
    let (agent, host) = (fact.agent.to_owned(), fact.host.to_owned());
    Finding { kind, severity, key: key.map(str::to_owned), agent, host, seen, limit }
}

type Tell<'a> = dyn FnMut(AnomalyKind, u64, u64) + 'a;

impl KeyState {
    /// `new` are whether the host is, and the agent.
    fn used(&mut self, fact: &Fact<'_>, new: (bool, bool), config: &AnomalyLimits, tell: &mut Tell<'_>) {
        self.met(fact, new, tell);
        // A key in two places of one request is used once.
        if !fact.exchange.is_empty() && fact.exchange == self.last_exchange {
            return;
        }
        self.last_exchange.clear();
        self.last_exchange.push_str(fact.exchange);
        self.total += 1;
        let uses = self.uses.add(fact.second);
        if uses > config.rate_per_minute && self.rate_alarm.ring(fact.second) {
            tell(AnomalyKind::Rate, uses, config.rate_per_minute);
        }
    }

    /// Hosts and agents that are new to a key that is known.
    fn met(&mut self, fact: &Fact<'_>, (new_host, new_agent): (bool, bool), tell: &mut Tell<'_>) {
        let known = self.total >= KNOWN;
        if new_host && known {
            tell(AnomalyKind::NewHost, 1, 1);
        }
        if new_agent && known {
            tell(AnomalyKind::NewAgent, 1, 1);
        }
        let other = self
            .last_agent
            .as_ref()
            .is_some_and(|(agent, second)| agent != fact.agent && fact.second.abs_diff(*second) <= AT_ONCE);
        if other && self.together_alarm.ring(fact.second) {
            tell(AnomalyKind::TwoAgents, 2, 1);
        }
        match &mut self.last_agent {
            Some((agent, second)) if agent == fact.agent => *second = fact.second,
            last => *last = Some((fact.agent.to_owned(), fact.second)),
        }
    }

    fn answered(&mut self, fact: &Fact<'_>, config: &AnomalyLimits, tell: &mut Tell<'_>) {
        if fact.success == Some(false) || fact.status.is_some_and(|status| status >= 400) {
            let errors = self.errors.add(fact.second);
            if errors >= config.errors && self.error_alarm.ring(fact.second) {
                tell(AnomalyKind::Errors, errors, config.errors);
            }
        }
        if fact.bytes_in >= config.large_response && self.large_alarm.ring(fact.second) {
            tell(AnomalyKind::LargeResponse, fact.bytes_in, config.large_response);
        }
    }
}

impl AgentState {
    fn refused(&mut self, fact: &Fact<'_>, tell: &mut Tell<'_>) {
        if fact.second.abs_diff(self.last_refusal) > PROBES_WITHIN {
            self.refusals = 0;
        }
        self.refusals += fact.count.max(1);
        self.last_refusal = fact.second;
        if self.refusals >= PROBES && self.probe_alarm.ring(fact.second) {
            tell(AnomalyKind::Probing, self.refusals, PROBES);
        }
    }

    fn asked(&mut self, fact: &Fact<'_>, tell: &mut Tell<'_>) {
        // most requests go where the one before went, and cost no memory
        if let Some((second, _)) = self.hosts.back_mut().filter(|(_, host)| host == fact.host) {
            *second = fact.second;
            return;
        }
        self.hosts.retain(|(second, host)| fact.second.saturating_sub(*second) < 60 && host != fact.host);
        self.hosts.push_back((fact.second, fact.host.to_owned()));
        if self.hosts.len() > HOSTS {
            if self.hosts_alarm.ring(fact.second) {
                tell(AnomalyKind::ManyHosts, self.hosts.len() as u64, HOSTS as u64);
            }
            self.hosts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anomaly::Severity;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn watch() -> AnomalyDetector {
        AnomalyDetector::new(AnomalyLimits::default())
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

    fn kinds<'a>(facts: impl IntoIterator<Item = Fact<'a>>) -> Vec<AnomalyKind> {
        let mut watch = watch();
        facts.into_iter().flat_map(|fact| watch.take(&fact)).map(|finding| finding.kind).collect()
    }

    const NOTHING: [AnomalyKind; 0] = [];

    #[test]
    fn a_key_may_be_used_so_often_in_a_minute() {
        assert_eq!(kinds((0..60).map(|_| used(1000))), NOTHING);
        assert_eq!(kinds((0..61).map(|_| used(1000))), [AnomalyKind::Rate]);
        assert_eq!(kinds((0..600).map(|i| used(1000 + i))), NOTHING, "one a second is sixty a minute");
        assert_eq!(kinds((0..61).map(|_| used(1000)).chain((0..61).map(|_| used(1200)))), [AnomalyKind::Rate; 2]);
        assert_eq!(
            kinds((0..200).map(|_| Fact { exchange: "one", ..used(1000) })),
            NOTHING,
            "many places, one request"
        );
    }

    #[test]
    fn so_many_exchanges_may_fail() {
        assert_eq!(kinds((0..4).map(|i| answered(1000 + i, 401))), NOTHING);
        assert_eq!(kinds((0..5).map(|i| answered(1000 + i, 401))), [AnomalyKind::Errors]);
        assert_eq!(kinds((0..50).map(|i| answered(1000 + 20 * i, 500))), NOTHING, "three a minute");
        assert_eq!(kinds((0..50).map(|i| answered(1000 + i, 399))), NOTHING);
        let broken = |i: u64| Fact { status: None, success: Some(false), ..answered(1000 + i, 0) };
        assert_eq!(kinds((0..5).map(broken)), [AnomalyKind::Errors]);
    }

    #[test]
    fn a_response_may_be_so_large() {
        assert_eq!(kinds([Fact { bytes_in: 9_999_999, ..answered(1000, 200) }]), NOTHING);
        assert_eq!(kinds([Fact { bytes_in: 10_000_000, ..answered(1000, 200) }]), [AnomalyKind::LargeResponse]);
        let without_key = Fact { key: None, bytes_in: u64::MAX, ..answered(1000, 200) };
        assert_eq!(kinds([without_key]), NOTHING);
    }

    #[test]
    fn a_known_key_meets_hosts_and_agents_for_the_first_time() {
        let known = |n: u64| (0..n).map(|i| used(1000 + 60 * i));
        let host = Fact { host: "files.openai.com", ..used(9000) };
        let agent = Fact { agent: "b", ..used(9000) };
        assert_eq!(kinds(known(19).chain([host])), NOTHING);
        assert_eq!(kinds(known(20).chain([host, host])), [AnomalyKind::NewHost]);
        assert_eq!(kinds(known(19).chain([agent])), NOTHING);
        assert_eq!(kinds(known(20).chain([agent, agent])), [AnomalyKind::NewAgent]);
    }

    #[test]
    fn an_agent_that_probes_is_refused_in_a_row() {
        assert_eq!(kinds((0..4).map(|i| refused(1000 + i))), NOTHING);
        assert_eq!(kinds((0..5).map(|i| refused(1000 + i))), [AnomalyKind::Probing]);
        assert_eq!(kinds([refused(1000), Fact { count: 4, ..refused(1001) }]), [AnomalyKind::Probing], "many in one");
        assert_eq!(kinds((0..20).map(|i| refused(1000 + 301 * i))), NOTHING, "now and then");
        let between = (0..20).flat_map(|i| [refused(1000 + i), used(1000 + i)]);
        assert_eq!(kinds(between), NOTHING, "what works lies between");
        for (status, probes) in [(400, true), (403, true), (407, true), (429, false), (502, false), (503, false)] {
            let told = kinds((0..5).map(|i| Fact { status: Some(status), ..refused(1000 + i) }));
            assert_eq!(told == [AnomalyKind::Probing], probes, "{status}");
        }
    }

    #[test]
    fn who_is_not_authenticated_puts_nobody_to_rest() {
        let mut watch = watch();
        let told = |watch: &mut AnomalyDetector, fact: Fact<'static>| {
            (0..5).flat_map(|i| watch.take(&Fact { second: 1000 + i, ..fact })).collect::<Vec<_>>()
        };
        let nobody = Fact { agent: NOBODY, status: Some(407), ..refused(1000) };
        let found = told(&mut watch, nobody);
        assert_eq!(found[0].to_string(), "who isn't authenticated was refused 5 times in a row");
        // a tunnel whose token was revoked
        assert_eq!(told(&mut watch, Fact { agent: "a", ..nobody }), [], "told already, of the same subject");
        assert_eq!(told(&mut watch, Fact { status: Some(400), handshake: true, ..refused(1000) }), []);
        assert_eq!(watch.agent_rests("a", UNIX_EPOCH + Duration::from_secs(1004)), 0);
    }

    #[test]
    fn an_agent_may_ask_so_many_hosts() {
        let hosts: Vec<String> = (0..31).map(|i| format!("h{i}.example")).collect();
        let asked = |at: u64, host| Fact { key: None, second: at, host, ..answered(0, 200) };
        assert_eq!(kinds(hosts[..30].iter().map(|h| asked(1000, h)).cycle().take(300)), NOTHING);
        assert_eq!(kinds(hosts.iter().map(|h| asked(1000, h))), [AnomalyKind::ManyHosts]);
        assert_eq!(kinds(hosts.iter().zip(0..).map(|(h, i)| asked(1000 + 2 * i, h))), NOTHING, "over a minute");
    }

    #[test]
    fn two_agents_use_a_key_at_once() {
        let other = |second| Fact { agent: "b", ..used(second) };
        assert_eq!(kinds([used(1000), other(1011)]), NOTHING);
        assert_eq!(kinds([used(1000), other(1010)]), [AnomalyKind::TwoAgents]);
        assert_eq!(kinds([used(1000), other(1001), used(1002), other(1003)]), [AnomalyKind::TwoAgents], "told once");
    }

    #[test]
    fn a_key_that_no_request_brought_is_told_at_once() {
        let hidden = Fact { event: Some(Event::Scrub), count: 2, ..used(1000) };
        assert_eq!(kinds([hidden, hidden]), NOTHING);
        let mut watch = watch();
        for _ in 0..2 {
            let found = watch.take(&Fact { unrequested: true, ..hidden });
            assert_eq!((found.len(), found[0].kind, found[0].severity), (1, AnomalyKind::Unrequested, Severity::High));
            assert!(
                found[0].to_string().starts_with("api.openai.com showed key openai 2 times to agent a"),
                "{}",
                found[0]
            );
        }
    }

    #[test]
    fn what_is_far_beyond_weighs_more() {
        let mut watch = watch();
        let severities = |facts: Vec<Fact<'_>>, watch: &mut AnomalyDetector| {
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
        assert_eq!(watch.key_rests("openai", at(1000)), 0);
        watch.take(&used(1000));
        let rests = [1000, 1059, 1060].map(|second| watch.key_rests("openai", at(second)));
        assert_eq!((rests, watch.key_rests("brave", at(1000))), ([60, 1, 0], 0));
        (0..5).for_each(|_| drop(watch.take(&refused(1000))));
        let rests = [1000, 1059, 1060].map(|second| watch.agent_rests("a", at(second)));
        assert_eq!((rests, watch.agent_rests("b", at(1000))), ([60, 1, 0], 0));
    }

    #[test]
    fn ten_thousand_agents_and_keys_are_watched_as_the_first_is() {
        let mut watch = watch();
        let names: Vec<String> = (0..10_000).map(|n| format!("n{n}")).collect();
        for name in &names {
            watch.take(&Fact { agent: name, key: Some(name), ..used(1000) });
        }
        for name in [&names[0], &names[5000], &names[9999]] {
            let probing =
                (0..5).flat_map(|i| watch.take(&Fact { agent: name, ..refused(1000 + i) })).collect::<Vec<_>>();
            assert_eq!(probing.iter().map(|f| f.kind).collect::<Vec<_>>(), [AnomalyKind::Probing], "{name}");
            let mut uses = (0..60).flat_map(|_| watch.take(&Fact { agent: name, key: Some(name), ..used(1010) }));
            assert_eq!(uses.next().map(|f| f.kind), Some(AnomalyKind::Rate), "{name}");
        }
        assert!(!watch.has_forgotten());
    }

    #[test]
    fn what_was_not_seen_for_longest_is_forgotten_first_and_that_can_be_told() {
        let mut watch = watch();
        let names: Vec<String> = (0..NAMES).map(|n| format!("n{n}")).collect();
        for name in &names {
            (0..4).for_each(|i| drop(watch.take(&Fact { agent: name, ..refused(1000 + i) })));
            (0..4).for_each(|i| drop(watch.take(&Fact { agent: "always", ..refused(1000 + i) })));
        }
        assert!(watch.has_forgotten());
        let mut once_more = |name: &str| watch.take(&Fact { agent: name, ..refused(1010) }).len();
        assert_eq!((once_more("n0"), once_more("n9999")), (0, 1), "the first has begun anew");
        assert_eq!(watch.agents.len(), NAMES);
    }

    proptest! {
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
