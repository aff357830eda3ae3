//! `lapwing lab`: studies, each of which puts claims to the test and leaves a record and a page.

mod falsify;

use crate::cli::{FalsifyArgs, LabArgs, LabCommand};
use crate::interrupt;
use crate::printer::Printer;
use crate::settings::Settings;

/// Study.
pub fn run(settings: &Settings, printer: &Printer, args: &LabArgs) -> anyhow::Result<()> {
    match &args.study {
        LabCommand::Falsify(args) => falsify(settings, printer, args),
    }
}

/// Kalman-Logit Smoothing.
///
/// # Errors
///
/// When a model, a text or the options cannot be used, or after Ctrl-C: the same command then goes
/// on where it stopped.
pub fn falsify(settings: &Settings, printer: &Printer, args: &FalsifyArgs) -> anyhow::Result<()> {
    interrupt::install();
    falsify::run(settings, printer, args)
}
