//! `locum audit verify`: whether the audit is whole, file by file.

use super::{VerifyArgs, print_table};
use crate::audit::sign::Checker;
use crate::audit::verify::{Proofs, Verdict, verify_all};
use crate::chain::Head;
use crate::cli::term::{Told, WRONG_USAGE};
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

pub(super) fn verify(args: &VerifyArgs, dir: &Path, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let report = verify_all(dir, &proofs(args)?)?;
    if args.json {
        for verdict in &report.files {
            writeln!(out, "{}", as_json(verdict))?;
        }
    } else if report.files.is_empty() {
        writeln!(out, "nothing is recorded in {} yet", dir.display())?;
    } else {
        let mut table = vec![["FILE".to_string(), "RECORDS".into(), "HEAD".into(), "RESULT".into()]];
        table.extend(
            report.files.iter().map(|v| [v.name.clone(), v.records.to_string(), v.head.to_string(), v.to_string()]),
        );
        print_table(&table, out)?;
    }
    out.flush()?;
    if report.is_sound() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut what = "the audit was changed after it was written".to_owned();
    for (name, by) in &report.missing {
        let _ = write!(what, "\n  {name} is missing; {by} follows it");
    }
    for anchor in &report.lost_anchors {
        let _ = write!(what, "\n  no record has the anchor {anchor}: its file was cut, rewritten or removed");
    }
    let keep = format!("keep the folder {} as it is, and compare it with a backup", dir.display());
    Err(Told::failed(what, keep))
}

fn proofs(args: &VerifyArgs) -> anyhow::Result<Proofs> {
    let mut anchors = Vec::new();
    for said in &args.anchor {
        anchors.extend(heads(said)?);
    }
    let checker = args.signed_by.as_deref().map(|hex| {
        let key = unhex(hex).and_then(|bytes| Checker::new(&bytes));
        key.ok_or_else(|| wrong(format!("'{}' is no public key", hex.escape_debug()), "it has 64 hexadecimal digits"))
    });
    Ok(Proofs { anchors, checker: checker.transpose()? })
}

/// A head, or the heads in a file: any word of 64 hexadecimal digits is one, so what `verify` printed can be kept as it is.
fn heads(said: &str) -> anyhow::Result<Vec<Head>> {
    if let Ok(head) = said.parse() {
        return Ok(vec![head]);
    }
    let next = "an anchor is a head as 'locum audit verify' prints it, or a file that holds such lines";
    let what = |why: &dyn std::fmt::Display| format!("the anchor '{}' can't be used: {why}", said.escape_debug());
    let text = std::fs::read_to_string(said).map_err(|e| wrong(what(&e), next))?;
    let heads: Vec<Head> = text.split([' ', '\t', '\n', '\r', '"', ',']).filter_map(|word| word.parse().ok()).collect();
    if heads.is_empty() { Err(wrong(what(&"it holds no head"), next)) } else { Ok(heads) }
}

fn wrong(what: String, next: &str) -> anyhow::Error {
    Told { what, next: next.into(), code: WRONG_USAGE }.into()
}

fn unhex(hex: &str) -> Option<Vec<u8>> {
    let nibble = |b: u8| char::from(b).to_digit(16).map(|n| n as u8);
    hex.as_bytes().chunks(2).map(|pair| Some(nibble(*pair.first()?)? << 4 | nibble(*pair.get(1)?)?)).collect()
}

fn as_json(verdict: &Verdict) -> serde_json::Value {
    serde_json::json!({
        "file": verdict.name,
        "records": verdict.records,
        "head": verdict.head.as_str(),
        "sound": verdict.is_sound(),
        "live": verdict.live,
        "torn_bytes": verdict.torn,
        "result": verdict.to_string(),
    })
}
