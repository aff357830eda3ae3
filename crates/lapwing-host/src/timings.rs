//! Where the time of opening a model and of an answer went.

use std::time::Duration;

use lapwing_runtime::{Timings, TokenTimings};
use serde_json::{Value, json};

use crate::engine::OpenStages;

/// Medians over the tokens of an answer, in the unit that each name ends with; `None` where nothing
/// was timed. `load` is the time until the model could be asked.
pub fn report(timings: &Timings, load: Duration, opening: &OpenStages) -> Value {
    let ms = |duration: Duration| round(duration.as_secs_f64() * 1e3);
    let (tokens, steps) = (&timings.tokens[..], timings.steps());
    let p50 = |tokens: &[TokenTimings], stage: fn(&TokenTimings) -> Option<Duration>| {
        median(tokens.iter().filter_map(stage).collect())
    };
    let us = |duration: Duration| round(duration.as_secs_f64() * 1e6);
    let after_first: Duration = steps.iter().map(TokenTimings::total).sum();
    let tokens_per_s =
        (!steps.is_empty()).then(|| round(steps.len() as f64 / after_first.as_secs_f64()));
    json!({
        "load_ms": ms(load),
        "read_ms": opening.read.map(ms),
        "compile_ms": ms(opening.compile),
        "prefill_ms": ms(timings.prefill.elapsed),
        "ttft_ms": timings.time_to_first_token.map(ms),
        "decode_ms_p50": p50(steps, |token| Some(token.step.elapsed)).map(ms),
        "decode_inference_ms_p50": p50(steps, |token| Some(token.step.inference)).map(ms),
        "decode_tokens_per_s": tokens_per_s,
        "host_us_p50": p50(steps, |token| Some(token.host())).map(us),
        "correction_us_p50": p50(tokens, |token| token.correct).map(us),
        "sample_us_p50": p50(tokens, |token| Some(token.sample)).map(us),
        "detokenize_us_p50": p50(tokens, |token| Some(token.detokenize)).map(us),
    })
}

/// Three digits after the point are a microsecond in milliseconds.
fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn median(mut samples: Vec<Duration>) -> Option<Duration> {
    samples.sort_unstable();
    samples.get(samples.len().checked_sub(1)? / 2).copied()
}
