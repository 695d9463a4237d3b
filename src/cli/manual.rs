//! The manual: one page with all commands, since none of them has a page of its own.

use super::examples;
use clap::Command;
use clap_mangen::Man;
use std::io::{self, Write};

/// Writes the page, in roff.
pub(super) fn write(command: &Command, out: &mut impl Write) -> io::Result<()> {
    let page = Man::new(command.clone());
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
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
    if let Some(lines) = examples::of(&words) {
        let lines = lines.join("\n").replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
        writeln!(out, ".SS EXAMPLES\n.nf\n{lines}\n.fi")?;
    }
    command.get_subcommands().try_for_each(|subcommand| section(subcommand, &words, out))
}
