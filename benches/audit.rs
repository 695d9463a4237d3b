//! How long questions to a large audit take: `cargo bench --bench audit`, with LOCUM_BENCH_RECORDS for another size than a
//! million and LOCUM_BENCH_DIR for a folder that is kept (`locum --state DIR audit stats` reads it).
//!
//! The records are those of an ordinary day, over and over: each key that is sent is a substitution and an exchange; one in
//! fifty exchanges fails, one in a thousand requests is refused. Files have the usual size, and are compressed as usual.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a bench that can't run ends by a panic")]

use locum::anomaly::{self, AnomalyDetector, Fact};
use locum::audit::read::filter::{Filter, RecordQuery};
use locum::audit::read::query::Merge;
use locum::audit::read::stats::Stats;
use locum::audit::read::verify::{Proofs, verify_all};
use locum::audit::tell::alerts;
use locum::audit::{Durability, Log, LogConfig, LogUpkeep};
use locum::name::AgentName;
use locum::record::{Event, ExchangeInfo, KeyRef, Record};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const KEYS: [(&str, &str); 6] = [
    ("anthropic", "api.anthropic.com"),
    ("openai", "api.openai.com"),
    ("github", "api.github.com"),
    ("brave", "api.search.brave.com"),
    ("gemini", "generativelanguage.googleapis.com"),
    ("gitlab", "gitlab.com"),
];

fn main() {
    let count = std::env::var("LOCUM_BENCH_RECORDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let temporary = tempfile::tempdir().expect("a folder");
    let state = std::env::var_os("LOCUM_BENCH_DIR").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let dir = state.join("audit");
    if !dir.exists() {
        timed("write", || write(&dir, count));
    }
    let bytes: u64 = std::fs::read_dir(&dir).expect("a folder").map(|e| e.unwrap().metadata().unwrap().len()).sum();
    println!("{count} records, {} MB on the disk", bytes / 1_000_000);

    let ask = |wanted: RecordQuery| {
        let mut found = 0_u64;
        let each = |_: &[u8]| {
            found += 1;
            Ok(())
        };
        Merge::new(&dir, Filter::new(&wanted)).expect("an audit").run(each).expect("its records");
        found
    };
    let name = |name: &str| vec![name.to_owned()];
    timed("query --failed", || ask(RecordQuery { failed: true, ..RecordQuery::default() }));
    timed("query --key brave", || ask(RecordQuery { keys: name("brave"), ..RecordQuery::default() }));
    timed("query --exchange X", || ask(RecordQuery { exchanges: name("aaaaaaaaaaaaaaaa"), ..RecordQuery::default() }));
    timed("query", || ask(RecordQuery::default()));
    timed("stats", || {
        let (mut stats, mut watch, mut unusual) =
            (Stats::default(), AnomalyDetector::new(anomaly::AnomalyLimits::default()), 0);
        let each = |line: &[u8]| {
            stats.add(line);
            unusual += alerts::fact(line).map_or(0, |fact| watch.take(&fact).len());
            Ok(())
        };
        Merge::new(&dir, Filter::default()).expect("an audit").run(each).expect("its records");
        stats.records
    });
    timed("watch alone", || {
        let mut watch = AnomalyDetector::new(anomaly::AnomalyLimits::default());
        let at = |n: u64| UNIX_EPOCH + Duration::from_millis(n * 900);
        let records: Vec<Record> = (0..1000).flat_map(|n| exchange(n, at(n))).collect();
        (0..count / 2000).for_each(|_| records.iter().for_each(|record| drop(watch.take(&Fact::from(record)))));
        count / 2000 * 2000
    });
    timed("verify", || {
        let report = verify_all(&dir, &Proofs::default()).expect("an audit");
        assert!(report.is_sound());
        report.files.iter().map(|file| file.records).sum::<u64>()
    });
}

fn timed(what: &str, work: impl FnOnce() -> u64) {
    let start = Instant::now();
    let n = work();
    let peak = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default().trim().to_owned();
    println!("{what:<20} {:>8.2} s  {n:>9} records  peak so far {peak}", start.elapsed().as_secs_f64());
}

fn write(dir: &Path, count: u64) -> u64 {
    std::fs::create_dir_all(dir.parent().expect("a state")).expect("a folder");
    let start = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let config = LogConfig {
        dir: dir.to_owned(),
        durability: Durability::Write,
        max_file_bytes: 64_000_000,
        exchanges: true,
        about: "bench".into(),
        action: "start",
        by: locum::system::operator::Operator::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let log = Log::open_with(config, LogUpkeep::default(), start).expect("an audit");
        for n in 0..count / 2 {
            let at = start + Duration::from_millis(n * 900);
            for record in exchange(n, at) {
                log.append(&record);
            }
            if n % 500 == 0 {
                log.flush().await.expect("a write");
            }
        }
        log.close(Record::new(SystemTime::now(), Event::Stop, "locum")).await.expect("a write");
    });
    count
}

/// A substitution and its exchange, or a refusal and an exchange without a key.
fn exchange(n: u64, at: SystemTime) -> [Record; 2] {
    let (key, host) = KEYS[(n * 7 % 6) as usize];
    let agent: AgentName = ["coder", "researcher", "reviewer"][(n % 3) as usize].parse().expect("a name");
    let info = Arc::new(ExchangeInfo {
        exchange: format!("{n:016}"),
        agent,
        pid: Some(4711),
        tool: None,
        method: "POST".into(),
        scheme: "https",
        host: host.into(),
        port: 443,
        path: format!("/v1/projects/{}/items/{}", n % 977, n % 31),
    });
    let mut first = Record::new(at, Event::Substitution, format!("api.{key}"));
    first.info = Some(info.clone());
    first.key_ref = key.parse().ok().map(KeyRef::Key);
    (first.place, first.count) = ("header:authorization".parse().ok(), Some(1));
    if n % 1000 == 7 {
        first.event = Event::Refusal;
        (first.status, first.success, first.count) = (Some(403), Some(false), None);
        first.reason = Some(format!("<<{key}_key>>: its host is not bound"));
    }
    let mut second = Record::new(at + Duration::from_millis(400), Event::Exchange, format!("api.{key}"));
    second.info = Some(info);
    second.key_ref.clone_from(&first.key_ref);
    second.status = Some(if n % 50 == 3 { 529 } else { 200 });
    second.success = Some(true);
    second.duration_ms = Some((n % 5000) as f64 + 0.25);
    (second.bytes_out, second.bytes_in) = (Some(n % 40_000), Some(n % 400_000));
    second.upstream_ip = Some([160, 79, 104, (n % 250) as u8].into());
    second.http = Some("2");
    [first, second]
}
