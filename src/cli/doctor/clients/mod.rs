//! Clients on the PATH, each really run as under `run`, against an upstream on this machine: whether it goes through the proxy,
//! and whether it trusts the CA.

mod attempt;
mod probes;
mod stage;

use super::finding::{DoctorArea, DoctorFinding};
use super::subject::DoctorSubject;
use crate::anomaly::HANDSHAKE_FAILED;
use crate::cli::child_env::TakenEnvironment;
use crate::cli::run;
use crate::{memory, telemetry};
use attempt::{AttemptEnd, attempt};
use probes::{ClientProbe, LACKS_LIBRARY, PROBES};
use stage::{ClientRefusal, ClientStage};
use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const AREA: DoctorArea = DoctorArea::Clients;
/// What clients say where no name server knows a host, or another proxy than ours is dead.
const WENT_PAST: [&str; 12] = [
    "resolve",
    "enotfound",
    "eai_again",
    "getaddrinfo",
    "not known",
    "no such host",
    "unknownhost",
    "unknown host",
    "dns",
    "name resolution",
    "refused",
    "failed to connect",
];
/// What they say where they can't be run at all.
const CAN_NOT_RUN: [&str; 4] = ["pyenv:", "No module named", "jdk.compiler", "fetch is not defined"];

/// Tries each client.
///
/// # Errors
/// When the proxy, the upstream or the record of them can't be had.
pub fn find(
    subject: &DoctorSubject,
    taken: &TakenEnvironment,
    patience: Duration,
) -> anyhow::Result<Vec<DoctorFinding>> {
    // what clients do wrong is told in the findings
    telemetry::show_only_errors();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stage, ends) = runtime.block_on(async {
        let stage = ClientStage::set(subject, taken).await?;
        let ends = all(&stage, subject, patience).await;
        anyhow::Ok((stage, ends))
    })?;
    let refusals = stage.refusals()?;
    let (mut fine, mut missing, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for (probe, end) in PROBES.iter().zip(ends) {
        match judged(probe, end, refusals.get(&probe.host()), patience) {
            Judgement::Fine => fine.push(probe.name),
            Judgement::NotHere => missing.push(probe.name),
            Judgement::Found(finding) => found.push(finding),
        }
    }
    let told = |what: &str, names: Vec<&str>| {
        (!names.is_empty()).then(|| DoctorFinding::ok(AREA, format!("{what}: {}", names.join(", "))))
    };
    found.extend(told("through the proxy, and trusting it", fine));
    found.extend(told("not here", missing));
    Ok(found)
}

/// How each attempt ended, in the order of the probes; as many at a time as there are processors, so that each has one.
async fn all(stage: &ClientStage, subject: &DoctorSubject<'_>, patience: Duration) -> Vec<io::Result<AttemptEnd>> {
    let at_once = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    let places = Arc::new(Semaphore::new(at_once));
    let mut attempts = JoinSet::new();
    for (number, probe) in PROBES.iter().enumerate() {
        let (command, asked, places) = (command(probe, stage, subject), stage.asked.clone(), places.clone());
        attempts.spawn(async move {
            let _place = places.acquire().await;
            (number, attempt(command, &probe.host(), asked, patience).await)
        });
    }
    let shows_progress = io::stderr().is_terminal();
    let mut ends: Vec<io::Result<AttemptEnd>> = PROBES.iter().map(|_| Err(io::ErrorKind::Interrupted.into())).collect();
    let mut done = 0;
    while let Some(ended) = attempts.join_next().await {
        done += 1;
        if shows_progress {
            eprint!("\rtrying clients: {done} of {} ", PROBES.len());
        }
        if let Ok((number, end)) = ended {
            ends[number] = end;
        }
    }
    if shows_progress {
        eprint!("\r\x1b[K");
    }
    ends
}

fn command(probe: &ClientProbe, stage: &ClientStage, subject: &DoctorSubject) -> Command {
    let work = stage.work();
    let words: Vec<OsString> = probe.words(&work).into_iter().map(Into::into).collect();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    run::set_environment(&mut command, &stage.changes);
    command.envs(probe.variables(&work));
    if probe.is_apart {
        command.current_dir(&work);
    }
    subject.context.hardened().spare(&mut command);
    memory::end_with_us(&mut command);
    command
}

/// What an attempt says of its client.
#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    Fine,
    NotHere,
    Found(DoctorFinding),
}

fn judged(
    probe: &ClientProbe,
    end: io::Result<AttemptEnd>,
    refusal: Option<&ClientRefusal>,
    patience: Duration,
) -> Judgement {
    let name = probe.name;
    let (code, said) = match end {
        Ok(AttemptEnd::Reached) => return Judgement::Fine,
        Ok(AttemptEnd::Ended { code, said }) => (code, said),
        Ok(AttemptEnd::TooLong) => (None, String::new()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Judgement::NotHere,
        Err(e) => (None, e.to_string()),
    };
    if let Some(refusal) = refusal {
        return Judgement::Found(match refusal.error.as_str() {
            HANDSHAKE_FAILED => {
                DoctorFinding::fault(AREA, format!("{name} refused the CA: {}", refusal.reason), probe.refused)
            }
            _ => DoctorFinding::fault(AREA, format!("{name} was refused by the proxy: {}", refusal.reason), probe.past),
        });
    }
    if matches!(code, Some(LACKS_LIBRARY | 126 | 127)) || CAN_NOT_RUN.iter().any(|words| said.contains(words)) {
        return Judgement::NotHere;
    }
    if said.is_empty() && code.is_none() {
        let what = format!("{name} did not come to the proxy within {} s", patience.as_secs());
        return Judgement::Found(DoctorFinding::warning(AREA, what, "give it more time: locum doctor --patience 30"));
    }
    let last = without_login(last_line(&said));
    let lower = said.to_lowercase();
    Judgement::Found(if WENT_PAST.iter().any(|words| lower.contains(words)) {
        DoctorFinding::fault(AREA, format!("{name} went past the proxy: {last}"), probe.past)
    } else {
        DoctorFinding::warning(
            AREA,
            format!("{name} could not be tried: {last}"),
            format!("see whether '{}' works without locum", probe.program),
        )
    })
}

/// The line that says most: of a client that tells of a log at last the one before.
fn last_line(said: &str) -> &str {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains("complete log"));
    lines.next_back().unwrap_or("it said nothing")
}

/// Clients repeat the URLs of proxies, password and all.
fn without_login(line: &str) -> String {
    let Some((before, rest)) = line.split_once("://") else { return line.to_owned() };
    let authority = rest.find(['/', ' ', '\'', '"']).unwrap_or(rest.len());
    let host = rest[..authority].rfind('@').map_or(0, |at| at + 1);
    format!("{before}://{}{}", &rest[host..authority], without_login(&rest[authority..]))
}

#[cfg(test)]
mod tests {
    use super::super::finding::FindingSeverity;
    use super::*;

    #[test]
    fn what_became_of_a_client_is_told_from_what_was_seen_of_it() {
        let curl = &PROBES[0];
        let ended = |code, said: &str| Ok(AttemptEnd::Ended { code: Some(code), said: said.to_owned() });
        let refusal = |error: &str| Some(ClientRefusal { error: error.into(), reason: "why".into() });
        let fault = Some(FindingSeverity::Fault);
        for (end, refusal, severity, words) in [
            (ended(60, "bad certificate"), refusal(HANDSHAKE_FAILED), fault, "curl refused the CA: why"),
            (ended(22, "407"), refusal("unauthenticated"), fault, "curl was refused by the proxy: why"),
            (ended(6, "x\ncurl: (6) Could not resolve host: a\n"), None, fault, "past the proxy: curl: (6) Could not"),
            (
                ended(1, "fetch: http://u:p@ss@p:1 refused 'http://q:w@r'"),
                None,
                fault,
                "past the proxy: fetch: http://p:1 refused 'http://r'",
            ),
            (ended(2, "unknown option"), None, Some(FindingSeverity::Warning), "could not be tried: unknown option"),
            (Ok(AttemptEnd::TooLong), None, Some(FindingSeverity::Warning), "within 5 s"),
            (ended(LACKS_LIBRARY, ""), None, None, "NotHere"),
            (ended(127, "pyenv: aws: command not found"), None, None, "NotHere"),
            (Err(io::ErrorKind::NotFound.into()), None, None, "NotHere"),
            (Ok(AttemptEnd::Reached), None, None, "Fine"),
        ] {
            let judged = judged(curl, end, refusal.as_ref(), Duration::from_secs(5));
            let found = match &judged {
                Judgement::Found(finding) => Some(finding.severity),
                _ => None,
            };
            let said = format!("{judged:?}");
            assert!(found == severity && said.contains(words), "{words}: {said}");
        }
    }

    #[test]
    fn hosts_that_are_asked_for_are_known_to_nobody() {
        for probe in &PROBES {
            let host: crate::name::Host = probe.host().parse().unwrap();
            assert!(!host.is_own() && host.to_string().ends_with(".invalid"), "{host}");
        }
    }
}
