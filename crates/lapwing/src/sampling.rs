//! Sampling options: flags win, then what the model's authors say, then constants.

use std::time::{SystemTime, UNIX_EPOCH};

use lapwing_logits::SamplerOptions;
use lapwing_model::GenerationDefaults;

use crate::cli::SamplingArgs;

/// Tokens an answer may have when nobody says.
pub const MAX_TOKENS: usize = 512;
/// The temperature when the folder asks for sampling and names none.
const TEMPERATURE: f32 = 1.0;
/// What transformers takes when a folder that asks for sampling names none.
const TOP_K: usize = 50;

/// Resolve the options of one run.
///
/// Without `--temperature` a folder that does not ask for sampling is answered greedily, as its
/// authors' own tools do. Options that only shape sampling have no effect then.
pub fn options(args: &SamplingArgs, defaults: &GenerationDefaults) -> SamplerOptions {
    let samples = defaults.do_sample == Some(true);
    let default_temperature =
        if samples { defaults.temperature.unwrap_or(TEMPERATURE) } else { 0.0 };
    let default_top_k = if samples { defaults.top_k.unwrap_or(TOP_K) } else { 0 };
    let authors = |value: Option<f32>, neutral: f32| value.filter(|_| samples).unwrap_or(neutral);
    SamplerOptions {
        temperature: args.temperature.unwrap_or(default_temperature),
        top_k: args.top_k.unwrap_or(default_top_k),
        top_p: args.top_p.unwrap_or_else(|| authors(defaults.top_p, 1.0)),
        min_p: args.min_p.unwrap_or_else(|| authors(defaults.min_p, 0.0)),
        repeat_penalty: args.repeat_penalty.or(defaults.repeat_penalty).unwrap_or(1.0),
        repeat_window: None,
        presence_penalty: args.presence_penalty.unwrap_or(0.0),
        frequency_penalty: args.frequency_penalty.unwrap_or(0.0),
        logit_bias: args.logit_bias.iter().map(|bias| (bias.token_id, bias.bias)).collect(),
        seed: args.seed.unwrap_or_else(seed_of_the_moment),
    }
}

/// Options that were given and change nothing, because the answer is greedy.
pub fn without_effect(args: &SamplingArgs, options: &SamplerOptions) -> Vec<&'static str> {
    if options.temperature != 0.0 {
        return Vec::new();
    }
    let given = [
        ("--top-k", args.top_k.is_some()),
        ("--top-p", args.top_p.is_some()),
        ("--min-p", args.min_p.is_some()),
        ("--seed", args.seed.is_some()),
    ];
    given.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect()
}

/// A seed that differs from run to run; the JSON output tells it, so that a run can be repeated.
fn seed_of_the_moment() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().rotate_left(32) ^ u64::from(since.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults(do_sample: Option<bool>) -> GenerationDefaults {
        GenerationDefaults {
            do_sample,
            temperature: Some(0.7),
            top_k: Some(20),
            top_p: Some(0.9),
            min_p: None,
            repeat_penalty: Some(1.1),
        }
    }

    #[test]
    fn the_authors_defaults_apply_only_when_they_ask_for_sampling() {
        let greedy = options(&SamplingArgs::default(), &defaults(Some(false)));
        assert_eq!((greedy.temperature, greedy.top_k, greedy.top_p), (0.0, 0, 1.0));
        assert_eq!(greedy.repeat_penalty, 1.1);
        let sampled = options(&SamplingArgs::default(), &defaults(Some(true)));
        assert_eq!((sampled.temperature, sampled.top_k, sampled.top_p), (0.7, 20, 0.9));
        let unsaid = options(&SamplingArgs::default(), &defaults(None));
        assert_eq!(unsaid.temperature, 0.0);
    }

    #[test]
    fn flags_win() {
        let args = SamplingArgs {
            temperature: Some(0.3),
            top_k: Some(5),
            seed: Some(9),
            ..SamplingArgs::default()
        };
        let found = options(&args, &defaults(Some(true)));
        assert_eq!((found.temperature, found.top_k, found.seed), (0.3, 5, 9));
    }

    #[test]
    fn options_that_do_nothing_are_named() {
        let args = SamplingArgs { top_p: Some(0.5), ..SamplingArgs::default() };
        let greedy = options(&args, &defaults(None));
        assert_eq!(without_effect(&args, &greedy), ["--top-p"]);
        let args = SamplingArgs { temperature: Some(1.0), ..args };
        assert!(without_effect(&args, &options(&args, &defaults(None))).is_empty());
    }
}
