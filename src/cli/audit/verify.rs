//! `locum audit verify`: whether the audit is whole. What is wrong is told file by file, what is right in one line.

use super::args::VerifyArgs;
use crate::audit;
use crate::audit::read::query::ReadProgress;
use crate::audit::read::verify::{FileVerdict, Proofs, VerifyReport, verify_files};
use crate::audit::signature::SignatureChecker;
use crate::audit::verifying_key::{self, VerifyingKey};
use crate::chain::ChainHead;
use crate::cli::progress::ProgressLine;
use crate::cli::table::print_table;
use crate::cli::term::{CliError, UNAVAILABLE, WRONG_USAGE};
use crate::config::Settings;
use crate::disk;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

pub(super) fn verify(args: &VerifyArgs, settings: &Settings, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let dir = &settings.audit.dir;
    let anchors = args.anchor.iter().map(|said| heads(said)).collect::<Result<Vec<_>, _>>()?.concat();
    let keys = keys(args, &settings.state)?;
    let files = audit::files(dir)?;
    let progress = ReadProgress::of(files.iter().filter_map(|file| Some(file.metadata().ok()?.1)).sum());
    let line = (!args.json).then(|| ProgressLine::reading("", &progress));
    let report = verify_files(&files, &Proofs { anchors, checker: SignatureChecker::new(&keys) }, &progress);
    drop(line);
    if report.files.is_empty() {
        emptied(dir, &verifying_key::known(&verifying_key::path(&settings.state))?)?;
    }
    if args.json {
        for verdict in &report.files {
            writeln!(out, "{}", as_json(verdict))?;
        }
    } else if report.files.is_empty() {
        writeln!(out, "nothing is recorded in {} yet", dir.display())?;
    } else {
        print_table(&table(&report.files), out)?;
        footer(&report, &keys, &settings.state, out)?;
    }
    out.flush()?;
    if report.is_sound() {
        return unproven(&report, &settings.state).map(|()| ExitCode::SUCCESS);
    }
    let mut what = "the audit was changed after it was written".to_owned();
    for (name, by) in &report.missing {
        let _ = write!(what, "\n  {name} is missing; {by} follows it");
    }
    for anchor in &report.lost_anchors {
        let _ = write!(what, "\n  no record has the anchor {anchor}: its file was cut, rewritten or removed");
    }
    let keep = format!("keep the folder {} as it is, and compare it with a backup", dir.display());
    Err(CliError::failed(what, keep))
}

/// A row for each file of which there is something to say, after one for all others with the same result.
fn table(files: &[FileVerdict]) -> Vec<[String; 4]> {
    let row =
        |name: String, records: u64, v: &FileVerdict| [name, records.to_string(), v.head.to_string(), v.to_string()];
    let mut table = vec![["FILE".to_string(), "RECORDS".into(), "HEAD".into(), "RESULT".into()]];
    let mut results: Vec<String> = Vec::new();
    for file in files.iter().filter(|v| v.is_ordinary()) {
        let result = file.to_string();
        if results.contains(&result) {
            continue;
        }
        let alike: Vec<_> = files.iter().filter(|v| v.is_ordinary() && v.to_string() == result).collect();
        let newest = alike.last().copied().unwrap_or(file);
        let name =
            if alike.len() > 1 { format!("{} files up to {}", alike.len(), newest.name) } else { newest.name.clone() };
        table.push(row(name, alike.iter().map(|v| v.records).sum(), newest));
        results.push(result);
    }
    table.extend(files.iter().filter(|v| !v.is_ordinary()).map(|v| row(v.name.clone(), v.records, v)));
    table
}

/// What no key here has signed may come from another machine, or be rewritten: nobody can tell.
fn unproven(report: &VerifyReport, state: &Path) -> anyhow::Result<()> {
    let unproven: Vec<_> = report.files.iter().filter(|v| v.unproven).collect();
    if unproven.is_empty() {
        return Ok(());
    }
    let elsewhere = unproven.iter().filter(|v| v.unchecked > 0).count();
    let unsigned = unproven.len() - elsewhere;
    let mut what = "all chains are whole, but the key is not here that would prove who wrote them".to_owned();
    if elsewhere > 0 {
        let _ = write!(what, "\n  {elsewhere} of {} files are signed by another one", report.files.len());
    }
    if unsigned > 0 {
        let _ = write!(what, "\n  {unsigned} of {} files are not signed: their processes had none", report.files.len());
    }
    what.push_str("\n  or somebody has rewritten them: an anchor or a backup shows that");
    let next = format!(
        "bring {} from the machine that wrote them, or name its key: --signed-by KEY",
        verifying_key::path(state).display()
    );
    Err(CliError { what, next, code: UNAVAILABLE }.into())
}

/// Where there is no file, there must never have been one.
fn emptied(dir: &Path, known: &[VerifyingKey]) -> anyhow::Result<()> {
    let Some(since) = known.iter().filter_map(|key| key.since).min() else { return Ok(()) };
    let since = String::from_utf8_lossy(&since).into_owned();
    let what = format!("records have been signed here since {since}, and {} holds none", dir.display());
    Err(CliError::failed(
        what,
        "the files were removed or moved, or [audit] dir was another then: compare with a backup",
    ))
}

/// What the result rests on, and what would make it firmer.
fn footer(report: &VerifyReport, keys: &[VerifyingKey], state: &Path, out: &mut impl Write) -> io::Result<()> {
    let signatures: u64 = report.files.iter().map(|v| v.signatures).sum();
    writeln!(out)?;
    match keys {
        [] => writeln!(
            out,
            "signatures: not checked, there is no key in {} (--signed-by KEY names one); a whole rewrite shows only \
             against an anchor",
            verifying_key::path(state).display()
        )?,
        keys => {
            let keys: Vec<String> = keys.iter().map(VerifyingKey::hex).collect();
            writeln!(out, "signatures: {signatures}, by {}", keys.join(" or "))?;
        }
    }
    writeln!(out, "keep the heads where agents can't write: --anchor HEAD finds what was cut or rewritten since")
}

/// Those of the command line, else those that the state folder has.
fn keys(args: &VerifyArgs, state: &Path) -> anyhow::Result<Vec<VerifyingKey>> {
    let named = args.signed_by.iter().map(|hex| {
        let no_key = || wrong(format!("'{}' is no public key", hex.escape_debug()), "it has 64 hexadecimal digits");
        VerifyingKey::parse(hex).ok_or_else(no_key)
    });
    let named = named.collect::<Result<Vec<_>, _>>()?;
    if named.is_empty() { Ok(verifying_key::known(&verifying_key::path(state))?) } else { Ok(named) }
}

/// A head, or the heads in a file: any word of 64 hexadecimal digits is one, so what `verify` printed can be kept as it is.
fn heads(said: &str) -> anyhow::Result<Vec<ChainHead>> {
    if let Ok(head) = said.parse() {
        return Ok(vec![head]);
    }
    let next = "an anchor is a head as 'locum audit verify' prints it, or a file that holds such lines";
    let what = |why: &dyn std::fmt::Display| format!("the anchor '{}' can't be used: {why}", said.escape_debug());
    let text = disk::read_text(Path::new(said)).map_err(|e| wrong(what(&e), next))?;
    let heads: Vec<ChainHead> =
        text.split([' ', '\t', '\n', '\r', '"', ',']).filter_map(|word| word.parse().ok()).collect();
    if heads.is_empty() { Err(wrong(what(&"it holds no head"), next)) } else { Ok(heads) }
}

fn wrong(what: String, next: &str) -> anyhow::Error {
    CliError { what, next: next.into(), code: WRONG_USAGE }.into()
}

fn as_json(verdict: &FileVerdict) -> serde_json::Value {
    serde_json::json!({
        "file": verdict.name,
        "records": verdict.records,
        "head": verdict.head.as_str(),
        "sound": verdict.is_sound() && !verdict.unproven,
        "live": verdict.live,
        "signatures": verdict.signatures,
        "signatures_unchecked": verdict.unchecked,
        "unproven": verdict.unproven,
        "torn_bytes": verdict.torn,
        "result": verdict.to_string(),
    })
}
