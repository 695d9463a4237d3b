//! `locum prompt`: the text that tells a model which placeholders there are and how to use them, printed or kept up to date in
//! a file.

mod marked_block;
pub(super) mod text;

use super::child_env;
use super::context::CliContext;
use super::lookup;
use super::proxy_client::{AskError, ProxyClient};
use super::term::CliError;
use crate::app;
use crate::disk::{self, Rights};
use crate::name::AgentName;
use crate::policy::agent_placeholders::AgentPlaceholders;
use marked_block::{CommentSyntax, MarkerError, with_block};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct PromptArgs {
    /// Whose placeholders [default: those of all keys; within 'locum run', those that its proxy tells of]
    #[arg(long, value_name = "NAME")]
    agent: Option<AgentName>,
    /// In which form [default: text, or what suits the file]
    #[arg(long, value_enum)]
    format: Option<PromptFormat>,
    /// Keep a marked block of this file up to date, and leave all else in it as it is
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PromptFormat {
    /// Plain text
    Text,
    /// Markdown
    Markdown,
    /// What `http://locum.invalid/placeholders` answers
    Json,
    /// Markdown between markers, for AGENTS.md
    AgentsMd,
    /// Markdown between markers, for CLAUDE.md
    ClaudeMd,
}

impl PromptFormat {
    fn render(self, own: &AgentPlaceholders) -> anyhow::Result<String> {
        Ok(match self {
            PromptFormat::Text => text::plain(own),
            PromptFormat::Markdown | PromptFormat::AgentsMd | PromptFormat::ClaudeMd => text::markdown(own),
            PromptFormat::Json => serde_json::to_string_pretty(own)? + "\n",
        })
    }
}

/// Prints the text, or writes it.
pub fn run(args: &PromptArgs, context: &CliContext) -> anyhow::Result<ExitCode> {
    let own = own_placeholders(args, context)?;
    if own.placeholders.is_empty() {
        eprintln!(
            "locum: warning: there is no placeholder to tell of\n  next: 'locum check' says which keys have a value"
        );
    }
    match &args.write {
        Some(path) => write(path, args.format, &own)?,
        None => {
            let format = args.format.unwrap_or(PromptFormat::Text);
            let body = format.render(&own)?;
            match format {
                PromptFormat::AgentsMd | PromptFormat::ClaudeMd => {
                    print!("{}", String::from_utf8_lossy(&with_block(b"", &body, CommentSyntax::Html)?));
                }
                _ => print!("{body}"),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Those of the config, or of the proxy where this is an agent's environment, which has placeholders for keys.
fn own_placeholders(args: &PromptArgs, context: &CliContext) -> anyhow::Result<AgentPlaceholders> {
    let settings = context.settings()?;
    if args.agent.is_none() && child_env::has_placeholders(&settings) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match runtime.block_on(async { ProxyClient::of_process()?.placeholders().await }) {
            // placeholders may stand there for other reasons
            Err(AskError::NoProxy) => {}
            found => {
                let next = "leave the shell that 'locum run' or 'locum env' set up, or name an agent";
                return found.map_err(|e| CliError::failed(e, next));
            }
        }
    }
    let agent = lookup::agent_named(args.agent.as_ref(), &settings)?;
    let backends = app::backends(&settings, context.take_secrets(&settings)?);
    let live = app::rules(&settings, &backends).map_err(CliError::from)?;
    Ok(AgentPlaceholders::of(&agent, &live.rules))
}

/// A larger file is no text for a model, in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Brings the file's block up to date. A link is followed: the file behind it is the one that is replaced.
fn write(path: &Path, format: Option<PromptFormat>, own: &AgentPlaceholders) -> anyhow::Result<()> {
    let shown = path.display();
    let failed = |e: io::Error| CliError::failed(format!("{shown}: {e}"), "name a file that can be written");
    let syntax = CommentSyntax::of_file(path).ok_or_else(|| {
        CliError::failed(format!("{shown}: JSON has no comments, so no block in it can be marked"), "name a text file")
    })?;
    let format =
        format.unwrap_or(if syntax == CommentSyntax::Html { PromptFormat::Markdown } else { PromptFormat::Text });
    let target = match fs::canonicalize(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => path.to_owned(),
        found => found.map_err(failed)?,
    };
    let is_file = |m: &fs::Metadata| m.is_file() && m.len() <= MAX_FILE;
    if fs::metadata(&target).is_ok_and(|m| !is_file(&m)) {
        return Err(CliError::failed(format!("{shown} is no file of text, or a very large one"), "name a text file"));
    }
    let before = match fs::read(&target) {
        Ok(bytes) => Some((bytes, fs::metadata(&target).map_err(failed)?)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(failed(e)),
    };
    let old = before.as_ref().map_or(&b""[..], |(bytes, _)| bytes);
    let new = with_block(old, &format.render(own)?, syntax).map_err(|e: MarkerError| {
        CliError::failed(
            format!("{shown}: {e}"),
            "remove what is left of the block, and try again; nothing was changed",
        )
    })?;
    if new == old {
        println!("{shown} is up to date");
        return Ok(());
    }
    let rights = before.as_ref().map_or(Rights::Public, |(_, metadata)| Rights::Of(metadata));
    disk::replace(&target, &new, rights).map_err(failed)?;
    let behind = if target == *path || fs::symlink_metadata(path).is_ok_and(|m| !m.is_symlink()) {
        String::new()
    } else {
        format!(", which is a link to {},", target.display())
    };
    println!(
        "{shown}{behind} tells of {} placeholder{}",
        own.placeholders.len(),
        if own.placeholders.len() == 1 { "" } else { "s" }
    );
    Ok(())
}
