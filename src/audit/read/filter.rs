//! A filter of records: which ones a question is about, decided on their bytes without parsing them: `Record` writes
//! each value in one way only.

use super::lines::stamp;
use crate::audit::stamp::Stamp;
use crate::record::{Event, quoted};
use memchr::memmem::Finder;

/// The question as it was asked; empty lists ask for everything.
#[derive(Debug, Clone, Default)]
pub struct RecordQuery {
    /// Names of keys.
    pub keys: Vec<String>,
    /// Names of agents.
    pub agents: Vec<String>,
    /// Hosts of upstreams, in any case.
    pub hosts: Vec<String>,
    /// Ids of exchanges.
    pub exchanges: Vec<String>,
    /// Kinds of records.
    pub events: Vec<Event>,
    /// From this time on.
    pub since: Option<Stamp>,
    /// Before this time.
    pub until: Option<Stamp>,
    /// Refusals, errors, exchanges without success or with a status that says so.
    pub failed: bool,
}

/// A question made ready to be put to many lines.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of each group one has to be in the line.
    groups: Vec<Vec<Finder<'static>>>,
    since: Option<Stamp>,
    until: Option<Stamp>,
}

impl Filter {
    /// Makes `wanted` ready.
    pub fn new(wanted: &RecordQuery) -> Self {
        let keys = wanted.keys.iter().flat_map(|name| {
            [member("operation", &format!("api.{name}")), member("key_ref", &format!("<<{name}_key>>"))]
        });
        let failed =
            [r#","success":false"#, r#","event":"refusal""#, r#","error":""#, r#","status":4"#, r#","status":5"#];
        let groups = [
            keys.collect::<Vec<_>>(),
            wanted.agents.iter().map(|name| member("agent", name)).collect(),
            wanted.hosts.iter().map(|name| member("host", &name.to_ascii_lowercase())).collect(),
            wanted.exchanges.iter().map(|id| member("exchange", id)).collect(),
            wanted.events.iter().map(|event| member("event", event.as_str())).collect(),
            failed.into_iter().filter(|_| wanted.failed).map(str::to_owned).collect(),
        ];
        let finders = |group: Vec<String>| group.iter().map(|text| Finder::new(text).into_owned()).collect();
        let groups = groups.into_iter().filter(|group| !group.is_empty()).map(finders).collect();
        Filter { groups, since: wanted.since, until: wanted.until }
    }

    /// Whether a line that was made at `stamp` is asked for.
    pub fn takes(&self, stamp: &Stamp, line: &[u8]) -> bool {
        self.since.is_none_or(|since| since <= *stamp)
            && self.until.is_none_or(|until| *stamp < until)
            && self.groups.iter().all(|group| group.iter().any(|text| text.find(line).is_some()))
    }

    /// Whether a file that was begun and last written to at these times may hold such a line.
    pub fn may_be_in(&self, begun: Option<&Stamp>, written: &Stamp) -> bool {
        self.since.is_none_or(|since| since <= *written)
            && self.until.is_none_or(|until| begun.is_none_or(|begun| *begun < until))
    }

    /// Whether a line is asked for; one without a time never is.
    pub fn takes_line(&self, line: &[u8]) -> bool {
        stamp(line).is_some_and(|stamp| self.takes(&stamp, line))
    }
}

/// A member as it stands in a line; no value of another can contain it, since its quotes would be escaped.
fn member(name: &str, value: &str) -> String {
    format!(",\"{name}\":{}", quoted(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::AgentName;
    use crate::record::{ExchangeInfo, Record};
    use std::sync::Arc;
    use std::time::{Duration, UNIX_EPOCH};

    fn line(change: impl FnOnce(&mut Record, &mut ExchangeInfo)) -> Vec<u8> {
        let mut record = Record::new(UNIX_EPOCH + Duration::from_secs(1000), Event::Exchange, "api.openai");
        let mut info = ExchangeInfo {
            exchange: "abcdefghij234567".into(),
            agent: AgentName::local(),
            pid: None,
            tool: None,
            method: "GET".into(),
            scheme: "https",
            host: "api.openai.com".into(),
            port: 443,
            path: "/v1".into(),
        };
        change(&mut record, &mut info);
        record.info = Some(Arc::new(info));
        let mut members = Vec::new();
        record.write_members(&mut members);
        let mut line = Vec::new();
        crate::chain::link(&crate::chain::ChainHead::ZERO, 0, &members, &mut line);
        line
    }

    fn plain() -> Vec<u8> {
        line(|_, _| {})
    }

    #[test]
    fn each_question_takes_its_records_and_no_others() {
        let hostile = line(|record, info| {
            record.operation = "x".into();
            info.host = "evil.example".into();
            info.path = r#"/","agent":"other","operation":"api.openai","success":false,"error":""#.into();
        });
        let failed = line(|record, _| record.status = Some(429));
        let text = |s: &str| vec![s.to_owned()];
        let cases = [
            (RecordQuery::default(), [true, true, true]),
            (RecordQuery { keys: text("openai"), ..RecordQuery::default() }, [true, false, true]),
            (RecordQuery { keys: vec!["x".into(), "openai".into()], ..RecordQuery::default() }, [true, false, true]),
            (RecordQuery { keys: text("open"), ..RecordQuery::default() }, [false, false, false]),
            (RecordQuery { agents: text("other"), ..RecordQuery::default() }, [false, false, false]),
            (
                RecordQuery { agents: text("local"), hosts: text("EVIL.example"), ..RecordQuery::default() },
                [false, true, false],
            ),
            (RecordQuery { exchanges: text("abcdefghij234567"), ..RecordQuery::default() }, [true, true, true]),
            (RecordQuery { events: vec![Event::Scrub, Event::Exchange], ..RecordQuery::default() }, [true, true, true]),
            (RecordQuery { events: vec![Event::Refusal], ..RecordQuery::default() }, [false, false, false]),
            (RecordQuery { failed: true, ..RecordQuery::default() }, [false, false, true]),
        ];
        for (wanted, want) in cases {
            let filter = Filter::new(&wanted);
            let got = [&plain(), &hostile, &failed].map(|line| filter.takes_line(line));
            assert_eq!(got, want, "{wanted:?}");
        }
    }

    #[test]
    fn times_are_from_and_before() {
        let stamp = |s: &str| Some(<Stamp>::try_from(s.as_bytes()).unwrap());
        let the_time = stamp("1970-01-01T00:16:40.000000Z");
        let later = stamp("1970-01-01T00:16:40.000001Z");
        for (since, until, want) in
            [(the_time, None, true), (later, None, false), (None, the_time, false), (None, later, true)]
        {
            let filter = Filter::new(&RecordQuery { since, until, ..RecordQuery::default() });
            assert_eq!(filter.takes_line(&plain()), want);
            assert_eq!(filter.may_be_in(the_time.as_ref(), &the_time.unwrap()), want);
        }
    }
}
