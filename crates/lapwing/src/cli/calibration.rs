//! Arguments of `lapwing calibrate`, and what other commands share with it.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use lapwing_host::CorrectionChoice;

use super::choice::{count, seed, share};
use super::runtime::RuntimeArgs;

/// Which model is taken as right. It runs on the CPU, with exact precision.
#[derive(Debug, Clone, Args)]
pub struct ReferenceArgs {
    /// With --reference: which file of a folder with several, such as fp32
    #[arg(long, value_name = "VARIANT", requires = "reference")]
    pub reference_variant: Option<String>,
}

/// Nats a token that a correction must win at least. Below a hundredth of a nat, gains that were
/// sure on running text did not carry over to a task (`docs/kls-study.md`).
pub(super) const MIN_GAIN_NATS: f64 = 0.01;

/// What corrections are fitted on and judged by.
#[derive(Debug, Clone, Args)]
pub struct FitArgs {
    #[command(flatten)]
    pub more: ReferenceArgs,
    /// A text like those the model will meet, to fit and judge on; repeatable
    #[arg(long, value_name = "FILE", required = true)]
    pub text: Vec<PathBuf>,
    /// The checkpoint that the model was exported from: also fit a map of the output head
    #[arg(long, value_name = "SRC", requires = "reference", value_hint = ValueHint::AnyPath)]
    pub checkpoint: Option<String>,
    /// Windows of the texts to read at most, 160 without it; of the other text as many as are held
    /// out
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub windows: Option<NonZeroUsize>,
    /// Tokens in a window, at least 8; 512, or the model's context where that is less
    #[arg(long, value_name = "N", value_parser = window, allow_negative_numbers = true)]
    pub window: Option<NonZeroUsize>,
    /// Share of the windows that is held out to judge on: the last ones of each text
    #[arg(long, value_name = "SHARE", value_parser = share, default_value_t = 0.3)]
    #[arg(allow_negative_numbers = true)]
    pub held_out: f64,
    /// Of everything that is drawn
    #[arg(long, value_name = "N", value_parser = seed, default_value_t = 0)]
    #[arg(allow_negative_numbers = true)]
    pub seed: u64,
}

/// Arguments of `lapwing calibrate`.
#[derive(Debug, Clone, Args)]
#[command(mut_arg("correction", |arg| arg.hide(true).value_parser(no_correction)))]
pub struct CalibrateArgs {
    /// A model folder, or a name from `lapwing list`
    #[arg(short, long)]
    pub model: String,
    /// The f32, f16 or int8 export of the same checkpoint; without one only smoothing can be
    /// fitted. It runs on the CPU with exact precision
    #[arg(long, value_name = "MODEL")]
    pub reference: Option<String>,
    #[command(flatten)]
    pub fit: FitArgs,
    /// A text of another domain, to judge on only; without one the gate stays closed
    #[arg(long, value_name = "FILE")]
    pub other_text: Option<PathBuf>,
    /// The profile to write, NAME.correction.json; its arrays go beside it
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Replace a profile of another model, backend, device or precision
    #[arg(long)]
    pub force: bool,
    /// Also try smoothing with this gain for all tokens, from 0 to 1; repeatable
    #[arg(long, value_name = "GAIN", value_parser = gain, allow_negative_numbers = true)]
    pub gain: Vec<f32>,
    /// Let a correction through only if it lowers the divergence from the reference (without one:
    /// the NLL) by so many nats a token; 0.01 is about a hundredth of the perplexity
    #[arg(long, value_name = "NATS", value_parser = nats, default_value_t = MIN_GAIN_NATS)]
    #[arg(allow_negative_numbers = true)]
    pub min_gain: f64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
}

/// A window that something can be fitted on.
fn window(text: &str) -> Result<NonZeroUsize, String> {
    const N_TOKENS_MIN: usize = 8;
    let n_tokens = text.parse().ok().filter(|n: &NonZeroUsize| N_TOKENS_MIN <= n.get());
    n_tokens.ok_or_else(|| format!("expected a whole number of at least {N_TOKENS_MIN}"))
}

/// An amount of a divergence.
fn nats(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value: &f64| 0.0 <= *value && value.is_finite());
    value.ok_or_else(|| "expected a number of at least 0".to_owned())
}

/// The share of a new row in a smoothed one.
fn gain(text: &str) -> Result<f32, String> {
    let value = text.parse().ok().filter(|value| (0.0..=1.0).contains(value));
    value.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

/// `--correction` of a command that fits on raw logits: it is told instead of left out silently.
pub(super) fn no_correction(text: &str) -> Result<CorrectionChoice, String> {
    match text.parse() {
        Ok(CorrectionChoice::Off) => Ok(CorrectionChoice::Off),
        _ => Err("corrections are fitted to raw logits: expected off, or nothing".to_owned()),
    }
}
