//! `lapwing completions` and `lapwing man`: the command line, described for shells and for `man`.

mod models;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs, EXIT_CODES, ManArgs};
use crate::env;
use crate::printer::Printer;

/// Print the completion script of one shell.
pub fn run(printer: &Printer, args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    let mut command = shown(&Cli::command());
    clap_complete::generate(args.shell, &mut command, "lapwing", &mut script);
    let script = models::completed(&String::from_utf8(script)?, args.shell, &command);
    Ok(printer.bytes(script.as_bytes())?)
}

/// A command without what `--help` does not show: completions offer hidden commands otherwise.
pub(super) fn shown(command: &clap::Command) -> clap::Command {
    let subcommands = command.get_subcommands().filter(|each| !each.is_hide_set()).map(shown);
    let arguments = command.get_arguments().filter(|each| !each.is_hide_set()).map(with_devices);
    let mut found =
        clap::Command::new(command.get_name().to_owned()).args(arguments).subcommands(subcommands);
    if let Some(about) = command.get_about() {
        found = found.about(about.clone());
    }
    if let Some(version) = command.get_version() {
        found = found.version(version.to_owned());
    }
    found
}

/// An option for devices with the names of those that all machines may have: what it reads is no
/// list of names, since devices may be numbered.
fn with_devices(argument: &clap::Arg) -> clap::Arg {
    let argument = argument.clone();
    match argument.get_id() == "device" {
        true => argument.value_parser(["auto", "cpu", "gpu", "npu"]),
        false => argument,
    }
}

/// Print the manual page, or write one page per command into a folder.
pub fn man(printer: &Printer, args: &ManArgs) -> anyhow::Result<()> {
    let command = Cli::command().after_long_help(environment());
    match &args.out {
        Some(folder) => write_pages(command, folder)
            .with_context(|| format!("cannot write the manual pages into {}", folder.display())),
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            Ok(printer.bytes(&page)?)
        }
    }
}

fn write_pages(command: clap::Command, folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(command, folder)
}

fn environment() -> String {
    let mut text = format!("{EXIT_CODES}\n\nEnvironment variables:\n");
    for (name, meaning) in env::ALL {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{name}: {meaning}.\n");
    }
    text
}
