//! `lapwing trial`: what a trial does in its own process. See [`crate::trial`].

use std::io::Read as _;
use std::time::Instant;

use anyhow::{Context as _, bail};
use lapwing_backend::{DeviceKind, DeviceRequest, Limits, Model};
use lapwing_model::TokenId;
use lapwing_store::resolve_model;

use crate::cli::TrialArgs;
use crate::compile_cache;
use crate::engine::{self, HiddenStates};
use crate::ladder;
use crate::printer::Printer;
use crate::settings::{Settings, Trials};
use crate::trial::{MARK, Passed, Report, Stage};

/// Tokens of the prompt: ids that every vocabulary has.
const PROMPT: [TokenId; 8] = [1, 3, 5, 7, 11, 13, 17, 19];

/// A plugin's log can be of any length.
const MESSAGE_CHARS_MAX: usize = 2000;

/// Open the model on the device and infer, saying how far it has come.
///
/// # Errors
///
/// When stdout cannot be written. What the device says is printed.
pub fn run(settings: &Settings, printer: &Printer, args: &TrialArgs) -> anyhow::Result<()> {
    std::thread::spawn(end_with_the_parent);
    let settings = Settings {
        trials: Trials::Never,
        compile_cache: args.cache.clone().or_else(|| settings.compile_cache.clone()),
        ..settings.clone()
    };
    let report = match attempt(&settings, printer, args) {
        Ok(passed) => Report::Passed(passed),
        Err(error) => {
            let message = format!("{error:#}").chars().take(MESSAGE_CHARS_MAX).collect();
            Report::Refused { message }
        }
    };
    say(printer, &report)
}

/// Whoever asked is gone when stdin ends: nobody waits for a compilation of minutes.
fn end_with_the_parent() {
    let mut rest = Vec::new();
    // An error is an end, too.
    let _ = std::io::stdin().take(1 << 20).read_to_end(&mut rest);
    // Nothing is cleaned up while a plugin computes: that may never end.
    std::process::abort();
}

fn say(printer: &Printer, report: &Report) -> anyhow::Result<()> {
    let json = serde_json::to_string(report).context("cannot write a report")?;
    printer.line(format!("\n{MARK}{json}"))?;
    Ok(())
}

fn attempt(settings: &Settings, printer: &Printer, args: &TrialArgs) -> anyhow::Result<Passed> {
    say(printer, &Report::Stage(Stage::Library))?;
    let path = resolve_model(&args.model, &settings.store).context("cannot open the model")?;
    let folder = engine::open_folder(&path, settings.variant.as_ref())?;
    let runtime = engine::runtime_for(settings.backend, folder.kind)?;
    let backend = engine::load(runtime, settings)?;
    say(printer, &Report::Stage(Stage::Compile))?;
    let hidden_states = match args.hidden_states {
        true => HiddenStates::Show,
        false => HiddenStates::Hide,
    };
    let options = engine::open_options(settings, runtime, hidden_states);
    let options = ladder::on_device(&options, settings.device, settings);
    let started = Instant::now();
    let model = backend.open(&folder, &options)?;
    let open_ms = started.elapsed().as_secs_f64() * 1e3;
    if let (Some(cache), Some(cache_use)) = (&options.cache_folder, model.cache_use()) {
        // Whoever asked finds it there, and does not know that it is new.
        compile_cache::settle(cache, cache_use, &Printer::new(true));
    }
    say(printer, &Report::Stage(Stage::Inference))?;
    let started = Instant::now();
    let found = infer(&*model)?;
    let first_inference_ms = started.elapsed().as_secs_f64() * 1e3;
    let difference = match args.compare {
        true => {
            let device = DeviceRequest::One(DeviceKind::Cpu, None);
            let options = ladder::on_device(&options, device, settings);
            Some(difference(&found, &infer(&*backend.open(&folder, &options)?)?))
        }
        false => None,
    };
    let device_used = model.device_used().id.clone();
    Ok(Passed { device_used, open_ms, first_inference_ms, difference })
}

/// The logits after a prompt and one more token.
fn infer(model: &dyn Model) -> anyhow::Result<Vec<f32>> {
    let mut logits = vec![0.0; model.n_vocab()];
    let in_vocabulary = |token: &TokenId| (*token as usize) < model.n_vocab();
    let prompt: Vec<TokenId> = PROMPT.into_iter().filter(in_vocabulary).collect();
    let Limits { n_prompt_tokens_max, n_positions_max, .. } = model.limits();
    let n_prompt = n_prompt_tokens_max.unwrap_or(prompt.len()).min(n_positions_max);
    let n_prompt = n_prompt.min(prompt.len());
    let mut decoder = model.decoder()?;
    decoder.step(&prompt[..n_prompt], &mut logits)?;
    if decoder.n_positions() < n_positions_max {
        decoder.step(&prompt[..1], &mut logits)?;
    }
    if logits.iter().any(|logit| logit.is_nan()) {
        bail!("the logits hold NaN");
    }
    if logits.iter().all(|logit| logit.to_bits() == logits[0].to_bits()) {
        bail!("all logits are {}", logits[0]);
    }
    Ok(logits)
}

/// The largest difference as a share of the range of `expected`; infinite where one of the two is
/// finite and the other is not.
fn difference(found: &[f32], expected: &[f32]) -> f64 {
    let finite = || expected.iter().copied().filter(|logit| logit.is_finite());
    let range = finite().fold(f32::MIN, f32::max) - finite().fold(f32::MAX, f32::min);
    let differences = found.iter().zip(expected).map(|(found, expected)| match found == expected {
        true => 0.0,
        false => (found - expected).abs(),
    });
    let largest = differences.fold(0.0_f32, |most, one| if one <= most { most } else { one });
    f64::from(largest) / f64::from(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_shares_of_the_range() {
        assert!((difference(&[1.0, 2.0, 6.0], &[1.0, 3.0, 5.0]) - 0.25).abs() < 1e-6);
        let infinite = [f32::NEG_INFINITY, 0.0, 2.0];
        assert!((difference(&infinite, &infinite)).abs() < 1e-9);
        assert_eq!(difference(&infinite, &[1.0, 0.0, 2.0]), f64::INFINITY);
    }
}
