//! Arguments of `lapwing lab`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::calibration::{CalibrateArgs, FitArgs, MIN_GAIN_NATS, no_correction};
use super::choice::count;
use super::runtime::RuntimeArgs;

/// Arguments of `lapwing lab`.
#[derive(Debug, Clone, Args)]
pub struct LabArgs {
    #[command(subcommand)]
    pub study: LabCommand,
}

/// What to study.
#[derive(Debug, Clone, Subcommand)]
pub enum LabCommand {
    /// Put the paper's claims for Kalman-Logit Smoothing to the test, with a record and a page
    Falsify(Box<FalsifyArgs>),
}

impl LabCommand {
    /// The options about backend and device.
    pub fn runtime(&self) -> &RuntimeArgs {
        match self {
            Self::Falsify(args) => &args.runtime,
        }
    }
}

/// Arguments of `lapwing lab falsify`.
#[derive(Debug, Clone, Args)]
#[command(mut_arg("correction", |arg| arg.hide(true).value_parser(no_correction)))]
pub struct FalsifyArgs {
    /// A quantised model to study; repeatable
    #[arg(short, long, required = true)]
    pub model: Vec<String>,
    /// The f32, f16 or int8 export of the same checkpoint, as full precision
    #[arg(long, value_name = "MODEL")]
    pub reference: String,
    #[command(flatten)]
    pub fit: FitArgs,
    /// A text of another domain, to judge on
    #[arg(long, value_name = "FILE")]
    pub other_text: PathBuf,
    /// Passages of LAMBADA (JSON lines with text): accuracy for the second hypothesis
    #[arg(long, value_name = "FILE")]
    pub lambada: Option<PathBuf>,
    /// With --lambada: only so many passages
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    #[arg(default_value = "200", requires = "lambada")]
    pub passages: NonZeroUsize,
    /// The folder for study.json and study.html; one that is not there is made
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
    /// Print the record instead of the verdicts
    #[arg(long)]
    pub json: bool,
    /// Start over even if the same command was broken off before
    #[arg(long)]
    pub fresh: bool,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
}

impl FalsifyArgs {
    /// What `lapwing calibrate` would be asked for one of the models.
    pub fn calibration_of(&self, model: &str) -> CalibrateArgs {
        CalibrateArgs {
            model: model.to_owned(),
            reference: Some(self.reference.clone()),
            fit: self.fit.clone(),
            other_text: Some(self.other_text.clone()),
            out: None,
            force: false,
            gain: Vec::new(),
            min_gain: MIN_GAIN_NATS,
            json: false,
            runtime: self.runtime.clone(),
        }
    }
}
