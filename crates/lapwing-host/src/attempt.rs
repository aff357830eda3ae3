//! What a trial does in its own process: see [`crate::trial`].

use std::error::Error;
use std::io::{Read, Write};
use std::time::Instant;

use lapwing_backend::{DeviceKind, DeviceRequest, Limits, Model, OpenOptions};
use lapwing_model::TokenId;

use crate::backends;
use crate::compile_cache;
use crate::host::Host;
use crate::open_error::with_causes;
use crate::setup::Setup;
use crate::trial::{Passed, Report, Request, Stage};
use crate::worker::{self, Asker, ServeError};

/// Tokens of the prompt: ids that every vocabulary has.
pub(crate) const PROMPT: [TokenId; 8] = [1, 3, 5, 7, 11, 13, 17, 19];

/// A plugin's log can be of any length.
const MESSAGE_CHARS_MAX: usize = 2000;

/// Whatever the device, its library or Lapwing says against it: it is only told.
type Refusal = Box<dyn Error + Send + Sync>;

/// Open models on devices and infer, saying how far that has come.
///
/// # Errors
///
/// When nobody hears it. What the device says is an outcome.
pub fn serve(
    input: impl Read + Send + 'static,
    output: &mut dyn Write,
    host: &Host,
) -> Result<(), ServeError> {
    worker::serve(input, output, |request: Request, asker: &mut Asker<'_, Report>| {
        Ok(match attempt(&request, host, asker) {
            Ok(passed) => Report::Passed(passed),
            Err(error) => {
                let message = with_causes(&*error).chars().take(MESSAGE_CHARS_MAX).collect();
                Report::Refused { message }
            }
        })
    })
}

fn attempt(
    request: &Request,
    host: &Host,
    asker: &mut Asker<'_, Report>,
) -> Result<Passed, Refusal> {
    asker.say(&Report::Stage(Stage::Library))?;
    let Setup { runtime, options, .. } = &request.setup;
    let folder = request.setup.open_folder()?;
    let backend = backends::load(*runtime, host)?;
    asker.say(&Report::Stage(Stage::Compile))?;
    let started = Instant::now();
    let mut told = Ok(());
    let model = backend.open_telling(&folder, options, &mut || {
        told = asker.say(&Report::Stage(Stage::Inference));
    });
    told?;
    let model = model?;
    let open_ms = started.elapsed().as_secs_f64() * 1e3;
    if let (Some(cache), Some(cache_use)) = (&options.cache_folder, model.cache_use()) {
        // Whoever asked finds it there, and does not know that it is new.
        compile_cache::settle(cache, cache_use);
    }
    asker.say(&Report::Stage(Stage::Inference))?;
    let started = Instant::now();
    let found = infer(&*model)?;
    let first_inference_ms = started.elapsed().as_secs_f64() * 1e3;
    let difference = match request.compare {
        true => {
            let device = DeviceRequest::One(DeviceKind::Cpu, None);
            let on_cpu = backend.open(&folder, &OpenOptions { device, ..options.clone() })?;
            Some(difference(&found, &infer(&*on_cpu)?))
        }
        false => None,
    };
    let device_used = model.device_used().id.clone();
    Ok(Passed { device_used, open_ms, first_inference_ms, difference })
}

/// The logits after a prompt and one more token.
fn infer(model: &dyn Model) -> Result<Vec<f32>, Refusal> {
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
        return Err("the logits hold NaN".into());
    }
    if logits.iter().all(|logit| logit.to_bits() == logits[0].to_bits()) {
        return Err(format!("all logits are {}", logits[0]).into());
    }
    Ok(logits)
}

/// The largest difference as a share of the range of `expected`; the largest number where one of the
/// two is finite and the other is not, since JSON has no word for what is infinite.
pub(crate) fn difference(found: &[f32], expected: &[f32]) -> f64 {
    let finite = || expected.iter().copied().filter(|logit| logit.is_finite());
    let range = finite().fold(f32::MIN, f32::max) - finite().fold(f32::MAX, f32::min);
    let differences = found.iter().zip(expected).map(|(found, expected)| match found == expected {
        true => 0.0,
        false => (found - expected).abs(),
    });
    let largest = differences.fold(0.0_f32, |most, one| if one <= most { most } else { one });
    (f64::from(largest) / f64::from(range)).min(f64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_shares_of_the_range() {
        assert!((difference(&[1.0, 2.0, 6.0], &[1.0, 3.0, 5.0]) - 0.25).abs() < 1e-6);
        let infinite = [f32::NEG_INFINITY, 0.0, 2.0];
        assert!((difference(&infinite, &infinite)).abs() < 1e-9);
        assert_eq!(difference(&infinite, &[1.0, 0.0, 2.0]), f64::MAX);
    }

    #[test]
    fn a_difference_without_bounds_reaches_whoever_asked() {
        let difference = Some(difference(&[0.0, f32::INFINITY], &[0.0, 1.0]));
        let passed =
            Passed { device_used: "NPU".into(), open_ms: 1.0, first_inference_ms: 1.0, difference };
        let said = serde_json::to_string(&Report::Passed(passed.clone())).unwrap();
        let heard: Report = serde_json::from_str(&said).unwrap();
        assert_eq!(heard, Report::Passed(passed));
    }
}
