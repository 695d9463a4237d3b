//! `locum ca`: shows and exports the certificate that clients have to trust. Its key is never shown.

use super::{Context, secret, term, told};
use crate::app;
use crate::ca::Root;
use crate::config::settings::{CaSource, Settings};
use crate::secrets::Supplies;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub struct CaArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The certificate's fingerprint, name and end
    Show {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// The certificate as PEM
    Export {
        /// Into a file instead of standard output
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

pub fn run(args: CaArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let settings = context.settings()?;
    let environment = context.take_secrets(&settings)?;
    let root = root(&settings, &app::supplies_asking(&settings, environment, Arc::new(secret::MasterPrompt)))?;
    match args.command {
        Command::Show { json } => show(&root, &settings, json),
        Command::Export { out: Some(path) } => {
            super::serve::export_certificate(&root, &path)?;
            eprintln!("wrote {}", path.display());
        }
        Command::Export { out: None } => print!("{}", root.certificate_pem()),
    }
    Ok(ExitCode::SUCCESS)
}

/// The root that a service with these settings uses, made where it has not been yet.
pub fn root(settings: &Settings, supplies: &Supplies) -> anyhow::Result<Root> {
    app::make_state_dir(&settings.state).map_err(told)?;
    match app::kept_root(settings, supplies).map_err(told)? {
        Some((root, _)) => Ok(root),
        None => Err(term::Told::failed(
            "the CA is in the memory of the process that uses it",
            "'locum run' hands it to its child; for a service set [ca] export, or [ca] source = \"auto\"",
        )),
    }
}

fn show(root: &Root, settings: &Settings, json: bool) {
    let kept = match &settings.ca.source {
        CaSource::File(path) => path.display().to_string(),
        _ => "a store of this machine, encrypted".into(),
    };
    let end =
        jiff::Timestamp::try_from(root.not_after()).map_or_else(|_| "?".into(), |t| t.strftime("%Y-%m-%d").to_string());
    if json {
        let row = serde_json::json!({ "fingerprint_sha256": root.fingerprint(), "expires": end, "kept": kept });
        return println!("{row}");
    }
    println!("SHA-256   {}", root.fingerprint());
    println!("expires   {end}");
    println!("key kept  {kept}");
    println!(
        "\nWhoever has this CA's key can pose as any site to those who trust it. 'locum ca export' gives the certificate alone."
    );
}
