//! `locum ca`: shows, exports and rotates the certificate that clients have to trust. Its key is never shown.

use super::administration::Administration;
use super::context::CliContext;
use super::lookup::kept_ca;
use super::progress::{ASKING_THE_STORES, ProgressLine};
use super::term::CliError;
use super::{secret, when};
use crate::app;
use crate::ca::{Authorities, Authority};
use crate::config::settings::{CaSource, Settings};
use crate::record::Event;
use crate::secrets::SecretBackends;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

#[derive(Debug, clap::Args)]
pub struct CaArgs {
    #[command(subcommand)]
    command: CaCommand,
}

#[derive(Debug, clap::Subcommand)]
enum CaCommand {
    /// The certificate's fingerprint and end, and the hosts that it may sign for; while it is rotated, those of both
    Show {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// The certificate as PEM; while it is rotated, both
    Export {
        /// Into a file instead of standard output
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Make a new CA, for the hosts that the config lists now. A running service takes it over within a second
    ///
    /// Until the grace is over the old one signs, and what is exported holds both certificates: time for clients to read it
    /// again. Hosts that the old one doesn't cover are signed for by the new one at once. After the grace only the new one
    /// counts, and the key of the old one is gone.
    Rotate {
        /// How long the old one still signs: 1h, 7d
        #[arg(long, default_value = "24h", value_name = "SPAN")]
        grace: String,
        /// No grace: for a CA whose key may be known to somebody. Clients refuse connections until they have read the new one
        #[arg(long, conflicts_with = "grace")]
        now: bool,
    },
}

/// Shows, exports or rotates the CA.
pub fn run(args: CaArgs, context: &CliContext) -> anyhow::Result<ExitCode> {
    let settings = context.settings()?;
    let environment = context.take_secrets(&settings)?;
    let backends = app::backends_with_prompt(&settings, environment, Arc::new(secret::MasterPrompt::default()));
    let _line = (!matches!(args.command, CaCommand::Show { json: true })).then(|| ProgressLine::of(ASKING_THE_STORES));
    match args.command {
        CaCommand::Show { json } => show(&kept_ca(&settings, &backends)?, &settings, json),
        CaCommand::Export { out: Some(path) } => {
            let next = "name a file in a folder that is there and can be written to";
            app::export_ca(&kept_ca(&settings, &backends)?, &path).map_err(|e| CliError::failed(e, next))?;
            eprintln!("wrote {}", path.display());
        }
        CaCommand::Export { out: None } => print!("{}", kept_ca(&settings, &backends)?.bundle()),
        CaCommand::Rotate { grace, now } => {
            let began = SystemTime::now();
            let signs_from = if now { began } else { when::ahead(&grace, &jiff::Zoned::now())?.into() };
            rotate(&settings, &backends, began, signs_from)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn rotate(
    settings: &Settings,
    backends: &SecretBackends,
    now: SystemTime,
    signs_from: SystemTime,
) -> anyhow::Result<()> {
    app::make_state_dir(&settings.state).map_err(CliError::from)?;
    let mut admin = Administration::begin(settings, backends, Event::Config, "ca rotate");
    let rotated = app::rotate_ca(settings, backends, now, signs_from).map_err(CliError::from);
    let note = rotated.as_ref().ok().map(ToString::to_string);
    let rotated = admin.other("ca rotate", note, rotated.map_err(Into::into));
    let ca = admin.end(rotated)?;
    match &ca.next {
        Some(next) => {
            println!("new       {}", next.authority.fingerprint());
            println!("signs     from {} on; until then {}", next.signs_from(), ca.current.fingerprint());
            println!("may sign  {}", hosts(&next.authority));
            println!(
                "\nUntil then clients have to read both certificates: those of 'locum ca export', of [ca] export, or by"
            );
            println!(
                "eval \"$(locum env)\" once more. A program that runs on, and reads them at its start, has to start again."
            );
        }
        None => {
            println!("new       {}", ca.current.fingerprint());
            println!("signs     now, and no other does; a running service takes it over within a second");
            println!("may sign  {}", hosts(&ca.current));
        }
    }
    Ok(())
}

fn hosts(authority: &Authority) -> String {
    match authority.permitted() {
        None => "for any host".into(),
        Some(hosts) if hosts.is_empty() => "for no host".into(),
        Some(hosts) => format!("for {}, and what is below them", hosts.join(", ")),
    }
}

fn end(authority: &Authority) -> String {
    jiff::Timestamp::try_from(authority.not_after()).map_or_else(|_| "?".into(), super::when::day_of)
}

fn show(ca: &Authorities, settings: &Settings, json: bool) {
    let kept = match &settings.ca.source {
        CaSource::File(path) => path.display().to_string(),
        _ => "a store of this machine, encrypted".into(),
    };
    let (fingerprint, expires) = (ca.current.fingerprint(), end(&ca.current));
    if json {
        let next = ca.next.as_ref().map(|next| {
            serde_json::json!({
                "fingerprint_sha256": next.authority.fingerprint(),
                "expires": end(&next.authority),
                "hosts": next.authority.permitted(),
                "signs_from": next.signs_from(),
            })
        });
        let row = serde_json::json!({
            "fingerprint_sha256": fingerprint, "expires": expires, "kept": kept, "hosts": ca.current.permitted(), "next": next,
        });
        return println!("{row}");
    }
    println!("SHA-256   {fingerprint}");
    println!("expires   {expires}");
    println!("may sign  {}", hosts(&ca.current));
    println!("key kept  {kept}");
    if let Some(next) = &ca.next {
        println!("\nnext      {}", next.authority.fingerprint());
        println!("expires   {}", end(&next.authority));
        println!("may sign  {}", hosts(&next.authority));
        println!("signs     from {} on; 'locum ca export' gives both certificates until then", next.signs_from());
    }
    println!(
        "\nWhoever has this CA's key can pose as any site that it may sign for to those who trust it. 'locum ca export' gives the certificate alone."
    );
}
