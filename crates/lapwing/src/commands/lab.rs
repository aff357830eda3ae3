//! `lapwing lab`: studies, each of which puts claims to the test and leaves a record and a page.

pub(super) mod falsify;

use crate::cli::{LabArgs, LabCommand};
use crate::interrupt;
use crate::printer::Printer;
use crate::settings::Settings;

/// Study.
///
/// # Errors
///
/// When a model, a text or the options cannot be used, or after Ctrl-C: the same command then goes
/// on where it stopped.
pub fn run(settings: &Settings, printer: &Printer, args: &LabArgs) -> anyhow::Result<()> {
    interrupt::install();
    match &args.study {
        LabCommand::Falsify(args) => falsify::run(settings, printer, args),
    }
}
