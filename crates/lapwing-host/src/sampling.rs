//! Sampling options: what was asked for wins, then what the model's authors say, then constants.

use std::time::{SystemTime, UNIX_EPOCH};

use lapwing_logits::SamplerOptions;
use lapwing_model::{GenerationDefaults, TokenId};
use serde::{Deserialize, Serialize};

/// The temperature when the folder asks for sampling and names none.
const TEMPERATURE: f32 = 1.0;
/// What transformers takes when a folder that asks for sampling names none.
const TOP_K: usize = 50;

/// The largest seed that is drawn: a reader of JSON that takes numbers for f64 keeps it exactly.
const SEED_MAX: u64 = (1 << 53) - 1;

/// What somebody asked for; what is left open is up to the model's authors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SamplingRequest {
    /// 0 is greedy.
    pub temperature: Option<f32>,
    /// The most likely tokens that are drawn from; 0 is all.
    pub top_k: Option<usize>,
    /// The share of probability that is drawn from.
    pub top_p: Option<f32>,
    /// The least probability, as a share of the largest.
    pub min_p: Option<f32>,
    /// Divides the logits of what was said.
    pub repeat_penalty: Option<f32>,
    /// The last tokens that count as said; all where it is left out.
    pub repeat_window: Option<usize>,
    /// Taken from the logits of what was said.
    pub presence_penalty: Option<f32>,
    /// Taken from them for each time it was said.
    pub frequency_penalty: Option<f32>,
    /// Added to the logits of these tokens.
    #[serde(default)]
    pub logit_bias: Vec<(TokenId, f32)>,
    /// The same seed gives the same tokens.
    pub seed: Option<u64>,
}

/// Resolve the options of one answer.
///
/// Without a temperature a folder that does not ask for sampling is answered greedily, as its
/// authors' own tools do. Options that only shape sampling have no effect then.
pub fn options(asked: &SamplingRequest, defaults: &GenerationDefaults) -> SamplerOptions {
    let samples = defaults.do_sample == Some(true);
    let default_temperature =
        if samples { defaults.temperature.unwrap_or(TEMPERATURE) } else { 0.0 };
    let default_top_k = if samples { defaults.top_k.unwrap_or(TOP_K) } else { 0 };
    let authors = |value: Option<f32>, neutral: f32| value.filter(|_| samples).unwrap_or(neutral);
    SamplerOptions {
        temperature: asked.temperature.unwrap_or(default_temperature),
        top_k: asked.top_k.unwrap_or(default_top_k),
        top_p: asked.top_p.unwrap_or_else(|| authors(defaults.top_p, 1.0)),
        min_p: asked.min_p.unwrap_or_else(|| authors(defaults.min_p, 0.0)),
        repeat_penalty: asked.repeat_penalty.or(defaults.repeat_penalty).unwrap_or(1.0),
        repeat_window: asked.repeat_window,
        presence_penalty: asked.presence_penalty.unwrap_or(0.0),
        frequency_penalty: asked.frequency_penalty.unwrap_or(0.0),
        logit_bias: asked.logit_bias.clone(),
        seed: asked.seed.unwrap_or_else(seed_of_the_moment),
    }
}

/// A seed that differs from run to run; what is told of an answer has it, so that it can be repeated.
fn seed_of_the_moment() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs().rotate_left(32) ^ u64::from(since.subsec_nanos())) & SEED_MAX
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
        let greedy = options(&SamplingRequest::default(), &defaults(Some(false)));
        assert_eq!((greedy.temperature, greedy.top_k, greedy.top_p), (0.0, 0, 1.0));
        assert_eq!(greedy.repeat_penalty, 1.1);
        let sampled = options(&SamplingRequest::default(), &defaults(Some(true)));
        assert_eq!((sampled.temperature, sampled.top_k, sampled.top_p), (0.7, 20, 0.9));
        let unsaid = options(&SamplingRequest::default(), &defaults(None));
        assert_eq!(unsaid.temperature, 0.0);
    }

    #[test]
    fn what_was_asked_for_wins() {
        let asked = SamplingRequest {
            temperature: Some(0.3),
            top_k: Some(5),
            repeat_window: Some(64),
            seed: Some(9),
            ..SamplingRequest::default()
        };
        let found = options(&asked, &defaults(Some(true)));
        assert_eq!((found.temperature, found.top_k, found.seed), (0.3, 5, 9));
        assert_eq!(found.repeat_window, Some(64));
    }

    #[test]
    fn a_drawn_seed_survives_readers_of_f64() {
        for _ in 0..100 {
            let seed = options(&SamplingRequest::default(), &defaults(None)).seed;
            assert_eq!(seed as f64 as u64, seed);
            assert!(seed <= SEED_MAX);
        }
    }
}
