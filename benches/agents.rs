//! What one request costs in finding its agent and in watching for what is unusual, for counting instructions: it has to be the
//! same however many agents there are. Under callgrind, with --toggle-collect='agents::asked*': agents COUNT.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a bench that can't run ends by a panic")]

use locum::anomaly::{AnomalyDetector, AnomalyLimits, Fact};
use locum::policy::agent::TokenHash;
use locum::policy::{Agent, Agents};
use locum::record::Event;
use std::sync::Arc;
use std::time::SystemTime;

const REQUESTS: usize = 10_000;

/// One of those that are counted.
#[inline(never)]
fn asked(agents: &Agents, watch: &mut AnomalyDetector, header: &[u8], second: u64, now: SystemTime) -> usize {
    request(agents, watch, header, second, now)
}

/// One request with a key: who asks, and what its two records say.
#[inline(always)]
fn request(agents: &Agents, watch: &mut AnomalyDetector, header: &[u8], second: u64, now: SystemTime) -> usize {
    let (agent, proof) = agents.authenticate(Some(header), now).expect("an agent");
    let agent = agents.again(&proof, now).map_or(agent, |again| again);
    let fact =
        Fact { second, agent: agent.name.as_str(), key: Some("tool"), host: "api.tool.example", ..Fact::default() };
    let sent = watch.take(&Fact { event: Some(Event::Substitution), ..fact });
    let ended = watch.take(&Fact { event: Some(Event::Exchange), status: Some(200), success: Some(true), ..fact });
    sent.len() + ended.len()
}

fn main() {
    let Some(count) = std::env::args().skip(1).find_map(|argument| argument.parse::<usize>().ok()) else {
        println!("agents COUNT: run by .ci/full agents, under callgrind");
        return;
    };
    let agent = |n: usize| Arc::new(Agent { name: format!("agent{n:05}").parse().expect("a name"), ..Agent::local() });
    let token = |n: usize| format!("a-token-of-the-bench-{n:05}");
    let agents = Agents::with_tokens((0..count).map(|n| (TokenHash::of(token(n).as_bytes()), agent(n))).collect());
    let headers: Vec<String> = (0..count).map(|n| format!("Bearer {}", token(n))).collect();
    let (mut watch, now) = (AnomalyDetector::new(AnomalyLimits::default()), SystemTime::now());
    // each is met before it is counted, which costs memory once
    let met = |n: usize| request(&agents, &mut watch, headers[n].as_bytes(), n as u64, now);
    let known: usize = (0..count).map(met).sum();
    let again = |n: usize| {
        let header = headers[n * 7919 % count].as_bytes();
        asked(&agents, &mut watch, header, (count + 20 * n) as u64, now)
    };
    let found: usize = (0..REQUESTS).map(again).sum();
    println!("{known} and {found} findings, in {count} and {REQUESTS} requests");
}
