//! `locum audit stats`: counts as tables, and what was unusual.

use super::args::{StatsArgs, UnreadFiles};
use super::row::local_time;
use crate::anomaly::{self, AnomalyDetector, Finding};
use crate::audit::read::lines::member;
use crate::audit::read::stats::{GroupBy, Stats, StatsGroup};
use crate::audit::tell::alerts;
use crate::cli::table::print_table;
use crate::cli::term::size;
use crate::cli::when;
use crate::config::Settings;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::panic::resume_unwind;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

pub(super) fn stats(args: &StatsArgs, settings: &Settings, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let (stats, unusual, damage) = count(args, settings)?;
    if args.json {
        let by = GroupBy::ALL.map(|by| {
            let groups = stats.by(by).into_iter().map(|(name, group)| group_json(by.as_str(), &name, group));
            (by.as_str().to_owned(), groups.collect::<serde_json::Value>())
        });
        let mut all = serde_json::json!({ "records": stats.records, "total": group_json("total", "", &stats.total) });
        if let Some(object) = all.as_object_mut() {
            object.extend(by);
            object.insert("unusual".into(), unusual.as_json());
        }
        writeln!(out, "{all}")?;
    } else {
        print_stats(&stats, out)?;
        unusual.print(out)?;
    }
    out.flush()?;
    damage.told()
}

/// Lines that go from the reading thread to those that count: enough to be worth a wake-up.
const BATCH: usize = 256 * 1024;
/// Batches that may wait, so that memory stays flat.
const WAITING: usize = 4;

/// Reads in this thread, and counts in two others: each takes about as long.
fn count(args: &StatsArgs, settings: &Settings) -> anyhow::Result<(Stats, Unusual, UnreadFiles)> {
    std::thread::scope(|scope| {
        let (to_stats, for_stats) = sync_channel::<Arc<Vec<u8>>>(WAITING);
        let (to_unusual, for_unusual) = sync_channel::<Arc<Vec<u8>>>(WAITING);
        let stats = scope.spawn(move || {
            let mut stats = Stats::default();
            for_stats.iter().for_each(|batch| lines(&batch).for_each(|line| stats.add(line)));
            stats
        });
        let limits = settings.anomaly.limits.clone();
        let unusual = scope.spawn(move || {
            let mut unusual = Unusual::new(limits);
            for_unusual.iter().for_each(|batch| lines(&batch).for_each(|line| unusual.add(line)));
            unusual
        });
        let mut batch = Vec::with_capacity(BATCH);
        let send = |batch: Vec<u8>| {
            let batch = Arc::new(batch);
            let gone = |_| io::Error::other("a thread that counts has ended");
            to_stats.send(batch.clone()).map_err(gone)?;
            to_unusual.send(batch).map_err(gone)
        };
        let damage = args.filter.run(&settings.audit.dir, !args.json, |line| {
            batch.extend_from_slice(line);
            batch.push(b'\n');
            if batch.len() < BATCH { Ok(()) } else { send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH))) }
        })?;
        send(batch)?;
        drop((to_stats, to_unusual));
        let stats = stats.join().unwrap_or_else(|panic| resume_unwind(panic));
        Ok((stats, unusual.join().unwrap_or_else(|panic| resume_unwind(panic)), damage))
    })
}

fn lines(batch: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', batch).map(move |end| {
        let line = batch.get(start..end).unwrap_or_default();
        start = end + 1;
        line
    })
}

/// What a watch with the limits of the config would have told, had it been there.
struct Unusual {
    watch: AnomalyDetector,
    counts: BTreeMap<&'static str, u64>,
    /// The newest findings and their times.
    newest: VecDeque<(String, Finding)>,
}

impl Unusual {
    const SHOWN: usize = 10;

    fn new(limits: anomaly::AnomalyLimits) -> Self {
        let (counts, newest) = Default::default();
        Unusual { watch: AnomalyDetector::new(limits), counts, newest }
    }

    fn add(&mut self, line: &[u8]) {
        let Some(fact) = alerts::fact(line) else { return };
        for finding in self.watch.take(&fact) {
            *self.counts.entry(finding.kind.as_str()).or_default() += 1;
            let at = member(line, "timestamp").map(|at| at.text().into_owned()).unwrap_or_default();
            self.newest.push_back((at, finding));
            self.newest.drain(..self.newest.len().saturating_sub(Self::SHOWN));
        }
    }

    fn as_json(&self) -> serde_json::Value {
        serde_json::json!(self.counts)
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        if self.newest.is_empty() {
            return Ok(());
        }
        let total: u64 = self.counts.values().sum();
        writeln!(out, "\nunusual: {total}, the newest of them")?;
        for (at, finding) in &self.newest {
            writeln!(out, "{}  {:<6}  {finding}", local_time(at), finding.severity.as_str())?;
        }
        Ok(())
    }
}

fn group_json(kind: &str, name: &str, group: &StatsGroup) -> serde_json::Value {
    serde_json::json!({
        kind: name,
        "requests": group.exchanges,
        "substitutions": group.substitutions,
        "refusals": group.refusals,
        "failed": group.failed,
        "bytes_out": group.bytes_out,
        "bytes_in": group.bytes_in,
        "p50_ms": group.durations.percentile(0.5),
        "p99_ms": group.durations.percentile(0.99),
    })
}

fn print_stats(stats: &Stats, out: &mut impl Write) -> io::Result<()> {
    for by in GroupBy::ALL {
        let groups = stats.by(by);
        if groups.is_empty() {
            continue;
        }
        let head = [by.as_str(), "requests", "keys sent", "refused", "failed", "out", "in", "p50", "p99"];
        let mut table = vec![head.map(str::to_ascii_uppercase)];
        table.extend(groups.iter().map(|(name, group)| group_row(&hour_or(by, name), group)));
        print_table(&table, out)?;
        writeln!(out)?;
    }
    let StatsGroup { exchanges, refusals, failed, .. } = &stats.total;
    writeln!(out, "{} records, {exchanges} requests, {refusals} refused, {failed} failed", stats.records)
}

/// Hours are kept in UTC and shown as clocks here show them.
fn hour_or(by: GroupBy, name: &str) -> String {
    let at = format!("{name}:00:00Z").parse::<jiff::Timestamp>();
    match at {
        Ok(at) if by == GroupBy::Hour => when::minute_of(at),
        _ => name.to_owned(),
    }
}

fn group_row(name: &str, group: &StatsGroup) -> [String; 9] {
    let ms = |share| group.durations.percentile(share).map_or("-".into(), |ms| format!("{ms:.0} ms"));
    [
        name.to_owned(),
        group.exchanges.to_string(),
        group.substitutions.to_string(),
        group.refusals.to_string(),
        group.failed.to_string(),
        size(group.bytes_out),
        size(group.bytes_in),
        ms(0.5),
        ms(0.99),
    ]
}
