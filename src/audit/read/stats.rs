//! Statistics of many records: counts, bytes and durations per key, agent, host, status and hour. A fold; prints nothing.

use super::lines::{MemberValue, members, stamp};
use crate::record::is_upstreams_fault;
use foldhash::fast::RandomState;
use std::collections::{BTreeMap, HashMap};

/// Names come from agents; beyond so many they are counted together.
const GROUPS: usize = 10_000;

/// What the rest is counted under.
pub const OTHERS: &str = "(others)";

/// The counts of a group of records, such as those of one host.
#[derive(Debug, Default, Clone)]
pub struct StatsGroup {
    /// Requests that were forwarded.
    pub exchanges: u64,
    /// Placeholders that were replaced by their keys.
    pub substitutions: u64,
    /// Requests that locum answered itself, but for those that failed by their upstream.
    pub refusals: u64,
    /// Requests that got no whole answer of their upstream's, or one whose status is that of an error.
    pub failed: u64,
    /// Bytes of bodies that were sent upstream.
    pub bytes_out: u64,
    /// Bytes of bodies that came from upstream.
    pub bytes_in: u64,
    /// From a request's head to the end of its response.
    pub durations: Durations,
}

/// Durations in steps of three per cent: flat memory, and percentiles as exact as anybody reads them.
#[derive(Debug, Default, Clone)]
pub struct Durations {
    steps: BTreeMap<u16, u64>,
    count: u64,
}

const STEP: f64 = 1.03;

/// The first step's upper end; nothing is faster.
const FIRST_MS: f64 = 0.001;

/// Longer ones, eleven days and more, count as this.
const LONGEST_MS: f64 = 1e9;

impl Durations {
    fn add(&mut self, step: u16) {
        *self.steps.entry(step).or_default() += 1;
        self.count += 1;
    }

    /// A logarithm costs, and one duration goes into several groups.
    fn step(ms: f64) -> u16 {
        (ms.clamp(FIRST_MS, LONGEST_MS) / FIRST_MS).log(STEP).ceil() as u16
    }

    /// The duration in milliseconds that this share of all stays under, give or take three per cent.
    pub fn percentile(&self, share: f64) -> Option<f64> {
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (step, count) in &self.steps {
            seen += count;
            if seen >= wanted {
                return Some(FIRST_MS * STEP.powi((*step).into()));
            }
        }
        None
    }
}

/// The member that records are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupBy {
    /// The key's name.
    Key,
    /// The agent's name.
    Agent,
    /// The upstream's host.
    Host,
    /// The status code of the response.
    Status,
    /// The hour, UTC.
    Hour,
}

impl GroupBy {
    /// Every one, in the order of tables.
    pub const ALL: [GroupBy; 5] = [GroupBy::Key, GroupBy::Agent, GroupBy::Host, GroupBy::Status, GroupBy::Hour];

    /// The word for it in tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            GroupBy::Key => "key",
            GroupBy::Agent => "agent",
            GroupBy::Host => "host",
            GroupBy::Status => "status",
            GroupBy::Hour => "hour",
        }
    }
}

type StatsGroups = HashMap<Vec<u8>, StatsGroup, RandomState>;

/// The counts of all records, and of each group.
#[derive(Debug, Default)]
pub struct Stats {
    /// Records of any kind.
    pub records: u64,
    /// All that were counted.
    pub total: StatsGroup,
    groups: [StatsGroups; GroupBy::ALL.len()],
}

/// The members that count, borrowed from one line.
#[derive(Default)]
struct StatsFacts<'a> {
    event: &'a [u8],
    names: [&'a [u8]; GroupBy::ALL.len()],
    count: Option<u64>,
    status: u16,
    failed: bool,
    duration: Option<u16>,
    bytes_out: u64,
    bytes_in: u64,
}

impl<'a> StatsFacts<'a> {
    fn of(line: &'a [u8]) -> Self {
        let mut facts = StatsFacts::default();
        let mut operation: &[u8] = b"";
        for (name, value) in members(line) {
            match (name, value) {
                (b"event", MemberValue::Text(text)) => facts.event = text,
                (b"operation", MemberValue::Text(text)) => operation = text,
                (b"key_ref", MemberValue::Text(text)) => {
                    // either alone wouldn't tell: a host may be called as an operation is, and agents name keys that aren't
                    let name = text.strip_prefix(b"<<").and_then(|text| text.strip_suffix(b"_key>>"));
                    let name = name.filter(|name| operation.strip_prefix(b"api.") == Some(name));
                    facts.names[GroupBy::Key as usize] = name.unwrap_or_default();
                }
                (b"agent", MemberValue::Text(text)) => facts.names[GroupBy::Agent as usize] = text,
                (b"host", MemberValue::Text(text)) => facts.names[GroupBy::Host as usize] = text,
                (b"status", value @ MemberValue::Bare(bare)) => {
                    facts.names[GroupBy::Status as usize] = bare;
                    facts.status = value.number().and_then(|status| u16::try_from(status).ok()).unwrap_or(0);
                }
                (b"timestamp", MemberValue::Text(text)) => {
                    facts.names[GroupBy::Hour as usize] = text.get(..13).unwrap_or_default();
                }
                (b"count", value) => facts.count = value.number(),
                (b"success", MemberValue::Bare(bare)) => facts.failed = bare == b"false",
                (b"duration_ms", value) => facts.duration = value.float().map(Durations::step),
                (b"bytes_out", value) => facts.bytes_out = value.number().unwrap_or(0),
                (b"bytes_in", value) => facts.bytes_in = value.number().unwrap_or(0),
                _ => {}
            }
        }
        facts
    }
}

impl Stats {
    /// Takes one record.
    pub fn add(&mut self, line: &[u8]) {
        if stamp(line).is_none() {
            return;
        }
        self.records += 1;
        let facts = StatsFacts::of(line);
        if !matches!(facts.event, b"exchange" | b"substitution" | b"unsent" | b"refusal") {
            return;
        }
        self.total.add(&facts);
        for (groups, name) in self.groups.iter_mut().zip(facts.names) {
            if !name.is_empty() {
                group(groups, name).into_iter().for_each(|group| group.add(&facts));
            }
        }
    }

    /// The groups of one kind: hours in their order, others by their number of records.
    pub fn by(&self, by: GroupBy) -> Vec<(String, &StatsGroup)> {
        let groups = self.groups.get(by as usize).into_iter().flatten();
        let text = |name: &[u8]| MemberValue::Text(name).text().into_owned();
        let mut sorted: Vec<_> = groups.map(|(name, group)| (text(name), group)).collect();
        let weight = |group: &StatsGroup| group.exchanges + group.substitutions + group.refusals;
        match by {
            GroupBy::Hour => sorted.sort_by(|a, b| a.0.cmp(&b.0)),
            _ => sorted.sort_by(|a, b| weight(b.1).cmp(&weight(a.1)).then_with(|| a.0.cmp(&b.0))),
        }
        sorted
    }
}

fn group<'a>(groups: &'a mut StatsGroups, name: &[u8]) -> Option<&'a mut StatsGroup> {
    // A name is copied only when it is new.
    if groups.contains_key(name) {
        return groups.get_mut(name);
    }
    let name = if groups.len() < GROUPS { name } else { OTHERS.as_bytes() };
    Some(groups.entry(name.to_vec()).or_default())
}

impl StatsGroup {
    fn add(&mut self, facts: &StatsFacts<'_>) {
        match facts.event {
            b"substitution" => self.substitutions += facts.count.unwrap_or(1),
            b"unsent" => self.substitutions = self.substitutions.saturating_sub(facts.count.unwrap_or(1)),
            b"refusal" if is_upstreams_fault(facts.status) => self.failed += facts.count.unwrap_or(1),
            b"refusal" => self.refusals += facts.count.unwrap_or(1),
            _ => {
                self.exchanges += 1;
                self.failed += u64::from(facts.failed || facts.status >= 400);
                self.bytes_out = self.bytes_out.saturating_add(facts.bytes_out);
                self.bytes_in = self.bytes_in.saturating_add(facts.bytes_in);
                if let Some(step) = facts.duration {
                    self.durations.add(step);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(event: &str, more: &str) -> Vec<u8> {
        format!(r#"{{"v":1,"seq":0,"timestamp":"2026-11-21T19:26:53.123456Z","event":"{event}"{more},"hash":""}}"#)
            .into()
    }

    #[test]
    fn records_are_counted_where_they_belong() {
        let mut stats = Stats::default();
        let who = r#","operation":"api.openai","agent":"local","key_ref":"<<openai_key>>","host":"api.openai.com""#;
        stats.add(&line("start", r#","operation":"audit""#));
        stats.add(&line("substitution", &format!(r#"{who},"count":3"#)));
        stats.add(&line("unsent", &format!(r#"{who},"count":1"#)));
        let figures = r#","status":200,"success":true,"duration_ms":10.000,"bytes_out":5,"bytes_in":7"#;
        stats.add(&line("exchange", &format!("{who}{figures}")));
        stats.add(&line("exchange", r#","operation":"api.example","host":"api.example","status":502,"success":false"#));
        stats.add(&line("refusal", who));
        stats.add(b"nonsense");
        assert_eq!(stats.records, 6);
        let total = &stats.total;
        assert_eq!((total.exchanges, total.substitutions, total.refusals, total.failed), (2, 2, 1, 1));
        let names = |by| stats.by(by).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(GroupBy::Key), ["openai"]);
        assert_eq!(names(GroupBy::Host), ["api.openai.com", "api.example"]);
        assert_eq!(names(GroupBy::Status), ["200", "502"]);
        assert_eq!(names(GroupBy::Hour), ["2026-11-21T19"]);
        let openai = stats.by(GroupBy::Key)[0].1;
        assert_eq!((openai.bytes_out, openai.bytes_in, openai.refusals), (5, 7, 1));
        // an error of the upstream's, and one that was not reached
        stats.add(&line("exchange", r#","operation":"api.example","status":401,"success":true"#));
        stats.add(&line("refusal", r#","operation":"api.example","status":502,"success":false"#));
        assert_eq!((stats.total.exchanges, stats.total.refusals, stats.total.failed), (3, 1, 3));
        // many in one
        stats.add(&line("refusal", r#","operation":"api.example","count":70,"status":403,"success":false"#));
        stats.add(&line("refusal", r#","operation":"api.example","count":9,"status":504,"success":false"#));
        assert_eq!((stats.total.exchanges, stats.total.refusals, stats.total.failed), (3, 71, 12));
    }

    #[test]
    fn percentiles_are_within_a_step() {
        let mut durations = Durations::default();
        assert_eq!(durations.percentile(0.5), None);
        for ms in 1..=1000 {
            durations.add(Durations::step(ms.into()));
        }
        for (share, want) in [(0.0, 1.0), (0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let got: f64 = durations.percentile(share).unwrap();
            assert!((got / want - 1.0).abs() < 0.031, "{share}: {got}");
        }
        durations.add(Durations::step(f64::MAX));
        durations.add(Durations::step(-1.0));
        assert!(durations.percentile(1.0).unwrap().is_finite() && durations.percentile(0.0).unwrap() <= FIRST_MS);
    }

    #[test]
    fn names_without_end_take_bounded_memory() {
        let mut stats = Stats::default();
        for i in 0..GROUPS + 50 {
            stats.add(&line("exchange", &format!(r#","operation":"x","host":"h{i}""#)));
        }
        let hosts = stats.by(GroupBy::Host);
        assert_eq!(hosts.len(), GROUPS + 1);
        assert_eq!((hosts[0].0.as_str(), hosts[0].1.exchanges), (OTHERS, 50));
    }
}
