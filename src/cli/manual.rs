//! The manual: one page with all commands, and a page for each of them.

use super::examples;
use super::term::{CliError, WRONG_USAGE};
use crate::config::nearest;
use clap::Command;
use clap_mangen::Man;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// The command whose page it is to be, in its words: key rotate
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    words: Vec<String>,
    /// Write the pages of all commands into this folder, where man looks for them
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints the manual or a page, or writes all of them.
pub fn run(args: &ManArgs, command: Command) -> anyhow::Result<ExitCode> {
    if let Some(dir) = &args.dir {
        let pages = pages(command)?;
        write_all(dir, &pages)
            .map_err(|e| CliError::failed(format!("{}: {e}", dir.display()), "name a folder that can be written"))?;
        println!("{} pages are in {}", pages.len(), dir.display());
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = Vec::new();
    match args.words.as_slice() {
        [] => whole(&command, &mut out)?,
        words => {
            let command = built(command);
            page(found(&command, words)?, words, &mut out)?;
        }
    }
    print!("{}", String::from_utf8_lossy(&out));
    Ok(ExitCode::SUCCESS)
}

/// With what the commands below have from those above: their whole names, and the options that all have.
fn built(command: Command) -> Command {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    command
}

/// The command with these words.
fn found<'c>(command: &'c Command, words: &[String]) -> Result<&'c Command, CliError> {
    words.iter().try_fold(command, |above, word| {
        above.find_subcommand(word).ok_or_else(|| {
            let meant = nearest(word, above.get_subcommands().map(Command::get_name));
            let help = above.get_bin_name().unwrap_or_else(|| above.get_name());
            CliError {
                what: format!("'{}' is no command of '{help}'", word.escape_debug()),
                next: meant.map_or_else(|| format!("{help} --help"), |meant| format!("did you mean '{meant}'?")),
                code: WRONG_USAGE,
            }
        })
    })
}

/// All pages, by the names of their files.
fn pages(command: Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut main = Vec::new();
    whole(&command, &mut main)?;
    let mut pages = vec![("locum.1".to_owned(), main)];
    let command = built(command);
    let mut waiting: Vec<(Vec<String>, &Command)> = vec![(Vec::new(), &command)];
    while let Some((above, command)) = waiting.pop() {
        for below in command.get_subcommands() {
            let words = [above.as_slice(), &[below.get_name().to_owned()]].concat();
            let mut out = Vec::new();
            page(below, &words, &mut out)?;
            pages.push((format!("locum-{}.1", words.join("-")), out));
            waiting.push((words, below));
        }
    }
    Ok(pages)
}

fn write_all(dir: &Path, pages: &[(String, Vec<u8>)]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    pages.iter().try_for_each(|(name, page)| fs::write(dir.join(name), page))
}

/// What every page begins with.
fn opening(page: &Man, out: &mut impl Write) -> io::Result<()> {
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)
}

/// The page of one command, in roff.
fn page(command: &Command, words: &[String], out: &mut impl Write) -> io::Result<()> {
    let page = Man::new(command.clone());
    opening(&page, out)?;
    if command.has_subcommands() {
        page.render_subcommands_section(out)?;
    }
    examples_section(words, ".SH", out)?;
    writeln!(out, ".SH \"SEE ALSO\"\n.BR locum (1)")
}

/// The page with everything, in roff.
fn whole(command: &Command, out: &mut impl Write) -> io::Result<()> {
    let page = Man::new(command.clone());
    opening(&page, out)?;
    command.get_subcommands().try_for_each(|subcommand| section(subcommand, &[], out))?;
    page.render_version_section(out)
}

/// A command's part of the page, and those of the commands below it.
fn section(command: &Command, above: &[String], out: &mut impl Write) -> io::Result<()> {
    let words = [above, &[command.get_name().to_owned()]].concat();
    let name = format!("locum {}", words.join(" "));
    let part = Man::new(command.clone().bin_name(&name));
    writeln!(out, ".SH \"{}\"", name.to_uppercase())?;
    let mut sections = Vec::new();
    part.render_description_section(&mut sections)?;
    part.render_synopsis_section(&mut sections)?;
    part.render_options_section(&mut sections)?;
    out.write_all(String::from_utf8_lossy(&sections).replace(".SH ", ".SS ").as_bytes())?;
    examples_section(&words, ".SS", out)?;
    command.get_subcommands().try_for_each(|subcommand| section(subcommand, &words, out))
}

/// Its examples, under a heading of this kind.
fn examples_section(words: &[String], heading: &str, out: &mut impl Write) -> io::Result<()> {
    let Some(lines) = examples::of(words) else { return Ok(()) };
    let lines = lines.join("\n").replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    writeln!(out, "{heading} EXAMPLES\n.nf\n{lines}\n.fi")
}
