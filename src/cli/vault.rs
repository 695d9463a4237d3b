//! `locum vault`: makes the encrypted file of keys, changes its password, and takes one that was restored.

use super::administration::Administration;
use super::context::CliContext;
use super::progress::ProgressLine;
use super::secret;
use super::term::{CliError, UNAVAILABLE};
use crate::app;
use crate::memory::Plaintext;
use crate::record::Event;
use crate::secrets::{Acceptance, Kdf, MIN_PASSWORD, PasswordAdvice, SecretSource, SourceError, Store as _, Vault};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug, clap::Args)]
pub struct VaultArgs {
    #[command(subcommand)]
    command: VaultCommand,
    /// PBKDF2 instead of Argon2id, where a rule asks for it
    #[arg(long, global = true)]
    pbkdf2: bool,
}

#[derive(Debug, clap::Subcommand)]
enum VaultCommand {
    /// Make an empty vault; its password from $LOCUM_MASTER_PASSWORD or a prompt
    Init,
    /// Put the vault under a new password
    Passwd,
    /// Use a vault that was restored from a backup or moved here, though it is older than one that was seen here
    Accept,
}

/// Makes the vault, or changes its password.
pub fn run(args: VaultArgs, context: &CliContext) -> anyhow::Result<ExitCode> {
    let settings = context.settings()?;
    app::make_state_dir(&settings.state).map_err(CliError::from)?;
    let environment = context.take_secrets(&settings)?;
    let kdf = if args.pbkdf2 { Kdf::PBKDF2 } else { Kdf::ARGON2ID };
    let new = matches!(args.command, VaultCommand::Init);
    let prompt: Arc<dyn SecretSource> =
        if new { Arc::new(NewPassword::default()) } else { Arc::new(secret::MasterPrompt::default()) };
    let backends = app::backends_with_prompt(&settings, environment, prompt);
    let Some(vault) = &backends.vault else { return Ok(ExitCode::FAILURE) };
    let action = match args.command {
        VaultCommand::Init => "vault init",
        VaultCommand::Passwd => "vault passwd",
        VaultCommand::Accept => "vault accept",
    };
    let mut admin = Administration::begin(&settings, &backends, Event::Admin, action);
    let _line = ProgressLine::of(if new { "making the vault" } else { "opening the vault" });
    let done = admin.other("vault", None, change(&args, [&Vault::machine(&settings.state), vault], kdf));
    admin.end(done)
}

fn change(args: &VaultArgs, stores: [&Vault; 2], kdf: Kdf) -> anyhow::Result<ExitCode> {
    let [_, vault] = stores;
    match args.command {
        VaultCommand::Init => {
            let advice = vault.init(kdf).map_err(failed)?;
            println!("made {}; 'locum key set NAME --store vault' puts keys into it", vault.path().display());
            println!("the password is kept nowhere: without it the keys are lost");
            advise(advice);
        }
        VaultCommand::Passwd => {
            require(vault)?;
            // the old password before the new one, which would be typed for nothing
            vault.list().map_err(failed)?;
            let advice = vault
                .passwd(
                    chosen().map_err(|e| {
                        CliError::failed(
                            e,
                            "nothing has been changed; run it again in a terminal, where the new password is typed",
                        )
                    })?,
                    kdf,
                )
                .map_err(failed)?;
            println!(
                "{} has a new password; copies of the old file still open with the old one",
                vault.path().display()
            );
            advise(advice);
        }
        VaultCommand::Accept => accept(stores)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn failed(e: SourceError) -> anyhow::Error {
    CliError { what: e.to_string(), next: e.next, code: UNAVAILABLE }.into()
}

fn advise(advice: Option<PasswordAdvice>) {
    if let Some(advice) = advice {
        eprintln!("locum: warning: {advice}\n  next: choose five words at random, with 'locum vault passwd'");
    }
}

fn accept(vaults: [&Vault; 2]) -> anyhow::Result<()> {
    let mut found = 0;
    for vault in vaults {
        match vault.accept().map_err(failed)? {
            Acceptance::NoVault => continue,
            Acceptance::Newest => println!("{} is as new as any that was seen here", vault.path().display()),
            Acceptance::Accepted(why) => println!("{} counts from now on; it {why}", vault.path().display()),
        }
        found += 1;
    }
    if found > 0 { Ok(()) } else { require(vaults[1]) }
}

fn require(vault: &Vault) -> anyhow::Result<()> {
    if vault.exists() {
        return Ok(());
    }
    let what = format!("there is no vault at {}", vault.path().display());
    Err(CliError { what, next: "make one with 'locum vault init'".into(), code: UNAVAILABLE }.into())
}

/// Asked twice, since nobody sees what is typed.
fn chosen() -> Result<Plaintext, String> {
    let first = secret::prompt("new master password", "").map_err(|e| e.to_string())?;
    if first.expose().len() < MIN_PASSWORD {
        return Err(format!("a password has {MIN_PASSWORD} characters at least"));
    }
    let second = secret::prompt("once more", "").map_err(|e| e.to_string())?;
    if first.expose() == second.expose() { Ok(first) } else { Err("the two are not the same".into()) }
}

/// The password of a vault to be, asked for once.
#[derive(Default)]
struct NewPassword(Mutex<Option<SourceError>>);

impl SecretSource for NewPassword {
    fn describe(&self) -> String {
        "prompt".into()
    }

    fn load(&self) -> Result<Option<Plaintext>, SourceError> {
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(e) = &*failed {
            return Err(e.clone());
        }
        chosen().map(Some).map_err(|why| {
            let e = SourceError::new(why, "nothing has been changed; LOCUM_MASTER_PASSWORD gives it without a prompt");
            *failed = Some(e.clone());
            e
        })
    }
}
