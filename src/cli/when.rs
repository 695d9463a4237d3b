//! Times as people say them: `2h`, `yesterday`, `2026-11-21`, `2026-11-21 14:30`. Knows the zone, not what the time is for.

use super::term::{CliError, WRONG_USAGE};
use anyhow::Context;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan, Zoned};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether times are shown in UTC.
static IN_UTC: AtomicBool = AtomicBool::new(false);

/// Shows times in UTC from now on, and not in the local zone.
pub fn show_in_utc() {
    IN_UTC.store(true, Ordering::Relaxed);
}

/// A moment to the second, as people read it.
pub fn second_of(at: Timestamp) -> String {
    shown(at, "%Y-%m-%d %H:%M:%S")
}

/// A moment to the minute.
pub fn minute_of(at: Timestamp) -> String {
    shown(at, "%Y-%m-%d %H:%M")
}

/// The day of a moment.
pub fn day_of(at: Timestamp) -> String {
    shown(at, "%Y-%m-%d")
}

fn shown(at: Timestamp, format: &str) -> String {
    let zone = if IN_UTC.load(Ordering::Relaxed) { TimeZone::UTC } else { TimeZone::system() };
    at.to_zoned(zone).strftime(format).to_string()
}

/// The first moment of what `said` means, seen from `now`.
pub fn since(said: &str, now: &Zoned) -> anyhow::Result<Timestamp> {
    Ok(range(said, now)?.0)
}

/// The first moment after it: `yesterday` ends when today begins, `14:30` is a moment and no minute.
pub fn until(said: &str, now: &Zoned) -> anyhow::Result<Timestamp> {
    Ok(range(said, now)?.1)
}

/// The moment to come that `said` means: a span from now on, or the end of a day.
pub fn ahead(said: &str, now: &Zoned) -> anyhow::Result<Timestamp> {
    let at = match said.trim().parse::<Span>() {
        Ok(span) => now.checked_add(span.abs()).with_context(|| format!("'{said}' is too far off"))?.timestamp(),
        Err(_) => match range(said, now) {
            Ok((_, end)) => end,
            Err(e) => return Err(not_ahead(e)),
        },
    };
    if at > now.timestamp() { Ok(at) } else { Err(not_ahead(format!("'{}' is not to come", said.escape_debug()))) }
}

fn not_ahead(what: impl ToString) -> anyhow::Error {
    CliError { what: what.to_string(), next: "say it like 30d, 12h or 2027-01-31".into(), code: WRONG_USAGE }.into()
}

fn range(said: &str, now: &Zoned) -> anyhow::Result<(Timestamp, Timestamp)> {
    let said = said.trim();
    let today = now.date();
    match said.to_ascii_lowercase().as_str() {
        "now" => return Ok((now.timestamp(), now.timestamp())),
        "today" => return day(today, now),
        "yesterday" => return day(today.yesterday()?, now),
        _ => {}
    }
    if let Ok(at) = said.parse::<Timestamp>() {
        return Ok((at, at));
    }
    if let Ok(date) = said.parse::<Date>()
        && !said.contains([':', ' '])
    {
        return day(date, now);
    }
    let moment = said.parse::<DateTime>().or_else(|_| Ok(today.to_datetime(said.parse()?)));
    if let Ok(moment) = moment.map_err(|_: jiff::Error| ()) {
        let at = moment.to_zoned(now.time_zone().clone())?.timestamp();
        return Ok((at, at));
    }
    let ago = said.strip_suffix("ago").unwrap_or(said).trim();
    let Ok(span) = ago.parse::<Span>() else {
        let what = format!("'{}' is no time", said.escape_debug());
        let next = "say it like 2h, 3 days ago, yesterday, 14:30, 2026-11-21 or '2026-11-21 14:30'".into();
        return Err(CliError { what, next, code: WRONG_USAGE }.into());
    };
    let at = now.checked_sub(span.abs()).with_context(|| format!("'{said}' is too long ago"))?.timestamp();
    Ok((at, at))
}

fn day(date: Date, now: &Zoned) -> anyhow::Result<(Timestamp, Timestamp)> {
    let start = date.to_zoned(now.time_zone().clone())?;
    let end = date.checked_add(1.day())?.to_zoned(now.time_zone().clone())?;
    Ok((start.timestamp(), end.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_come() {
        let now: Zoned = "2026-11-21T14:30:00+00:00[UTC]".parse().unwrap();
        for (said, at) in
            [("30d", "2026-12-21T14:30:00Z"), ("12h", "2026-11-22T02:30:00Z"), ("2027-01-31", "2027-02-01T00:00:00Z")]
        {
            assert_eq!(ahead(said, &now).unwrap().to_string(), at, "{said}");
        }
        for bad in ["", "soon", "yesterday", "2020-01-01", "now"] {
            assert!(ahead(bad, &now).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_understood_as_people_say_them() {
        let now: Zoned = "2026-11-21T14:30:00+05:30[+05:30]".parse().unwrap();
        let cases = [
            ("now", "2026-11-21T09:00:00Z", "2026-11-21T09:00:00Z"),
            ("2h", "2026-11-21T07:00:00Z", "2026-11-21T07:00:00Z"),
            ("90 min ago", "2026-11-21T07:30:00Z", "2026-11-21T07:30:00Z"),
            ("1d 2h", "2026-11-20T07:00:00Z", "2026-11-20T07:00:00Z"),
            ("2 weeks", "2026-11-07T09:00:00Z", "2026-11-07T09:00:00Z"),
            ("today", "2026-11-20T18:30:00Z", "2026-11-21T18:30:00Z"),
            ("Yesterday", "2026-11-19T18:30:00Z", "2026-11-20T18:30:00Z"),
            ("2026-11-01", "2026-10-31T18:30:00Z", "2026-11-01T18:30:00Z"),
            ("2026-11-01 10:00", "2026-11-01T04:30:00Z", "2026-11-01T04:30:00Z"),
            ("2026-11-01T10:00:00Z", "2026-11-01T10:00:00Z", "2026-11-01T10:00:00Z"),
            ("10:00", "2026-11-21T04:30:00Z", "2026-11-21T04:30:00Z"),
        ];
        for (said, from, to) in cases {
            assert_eq!(since(said, &now).unwrap().to_string(), from, "{said}");
            assert_eq!(until(said, &now).unwrap().to_string(), to, "{said}");
        }
        for bad in ["", "soon", "99999999999 years", "2026-13-01", "-"] {
            assert!(since(bad, &now).is_err(), "{bad}");
        }
    }
}
