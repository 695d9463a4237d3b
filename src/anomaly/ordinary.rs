//! A day of ordinary traffic, and that nothing in it is unusual.

use super::{AnomalyDetector, AnomalyLimits, Fact, Finding};
use crate::record::Event;

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
    const PAGES: [&str; 6] =
        ["docs.rs", "crates.example", "en.wikipedia.org", "packages.example", "stackoverflow.com", "modules.example"];
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
            facts.push(Fact {
                agent,
                second: dice(86_400),
                event: Some(Event::Refusal),
                host: "evil.example",
                ..Fact::default()
            });
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
        let mut watch = AnomalyDetector::new(AnomalyLimits::default());
        let found: Vec<Finding> = day.iter().flat_map(|fact| watch.take(fact)).collect();
        assert_eq!(found, [], "seed {seed}");
    }
}
