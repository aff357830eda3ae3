//! Arguments of the commands that run a model.

use std::num::NonZeroUsize;
use std::str::FromStr;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use lapwing_host::ParseChoiceError;
use lapwing_host::sampling::SamplingRequest;
use lapwing_logits::SamplerOptions;

use super::choice::{count, count_or_zero, seed};
use super::prompting::{PromptArgs, TemplateArgs, Words};
use super::runtime::RuntimeArgs;
use crate::exit::UsageError;

/// Tokens that an answer may have when nobody says.
const MAX_TOKENS: usize = 512;

/// Arguments of `lapwing run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// A model folder, or a name from `lapwing list`
    #[arg(value_name = "MODEL", required_unless_present = "model")]
    pub first: Option<String>,
    /// The prompt; without one it is read from stdin
    #[arg(value_name = "TEXT", group = "prompt_source")]
    pub second: Option<String>,
    /// The model, as an option
    #[arg(short, long)]
    pub model: Option<String>,
    /// Token ids such as 1,2,3 instead of a text: no tokenizer, no chat template
    #[arg(long, value_name = "IDS", group = "prompt_source")]
    #[arg(conflicts_with_all = ["system", "template_var", "thinking", "reasoning_effort", "tools"])]
    pub prompt_ids: Option<PromptIds>,
    /// Print the prompt as the model gets it on stderr, before the answer
    #[arg(long)]
    pub show_prompt: bool,
    /// Print one JSON object at the end instead of the text as it comes
    #[arg(long)]
    pub json: bool,
    /// With --json: the N largest raw logits of the first step
    #[arg(long, value_name = "N", requires = "json", value_parser = count)]
    #[arg(allow_negative_numbers = true)]
    pub top_logits: Option<NonZeroUsize>,
    /// Show the answer as the model wrote it, with its special tokens, thoughts and calls
    #[arg(long)]
    pub show_special: bool,
    /// Run an untimed prompt of the same length first, so that timings are of a warm model
    #[arg(long)]
    pub warmup: bool,
    /// Answer here, whether or not a daemon runs that would
    #[arg(long)]
    pub no_daemon: bool,
    #[command(flatten)]
    pub prompt: PromptArgs,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

impl RunArgs {
    /// Whether something is wanted that only the process has that holds the model.
    pub fn needs_this_process(&self) -> bool {
        let shows = self.json || self.show_prompt || self.show_special;
        shows || self.warmup || self.no_daemon || self.prompt.raw || self.prompt_ids.is_some()
    }

    /// The model, and the prompt if it was given as a word: `MODEL TEXT`, or `--model MODEL TEXT`.
    pub fn model_and_text(&self) -> Result<(&str, Option<&str>), UsageError> {
        let Self { first, second, model, prompt, prompt_ids, .. } = self;
        let has_source = prompt.has_source() || prompt_ids.is_some();
        let usage = "`lapwing run MODEL TEXT`, or `lapwing run --model MODEL --prompt TEXT`";
        Words { first, second, model, has_source, usage }.model_and_text()
    }
}

/// Arguments of `lapwing chat`.
#[derive(Debug, Clone, Args)]
pub struct ChatArgs {
    /// A model folder, or a name from `lapwing list`
    #[arg(value_name = "MODEL", required_unless_present = "model", conflicts_with = "model")]
    pub first: Option<String>,
    /// The model, as an option
    #[arg(short, long)]
    pub model: Option<String>,
    /// The system message
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Answer here, whether or not a daemon runs that would
    #[arg(long)]
    pub no_daemon: bool,
    #[command(flatten)]
    pub template: TemplateArgs,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

impl ChatArgs {
    /// The model.
    pub fn model(&self) -> &str {
        self.first.as_ref().or(self.model.as_ref()).map_or("", |model| model)
    }
}

/// How the next token is chosen. What is not given comes from the model folder.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Sampling (defaults come from the model folder)")]
pub struct SamplingArgs {
    /// Stop after this many tokens
    #[arg(short = 'n', long, value_name = "N", value_parser = count)]
    #[arg(allow_negative_numbers = true)]
    pub max_tokens: Option<NonZeroUsize>,
    /// Randomness; 0 always takes the likeliest token
    #[arg(long, value_name = "T", value_parser = non_negative, allow_negative_numbers = true)]
    pub temperature: Option<f32>,
    /// Choose among the K likeliest tokens; 0 means all
    #[arg(long, value_name = "K", value_parser = count_or_zero, allow_negative_numbers = true)]
    pub top_k: Option<usize>,
    /// Choose among the likeliest tokens that together reach this probability
    #[arg(long, value_name = "P", value_parser = probability, allow_negative_numbers = true)]
    pub top_p: Option<f32>,
    /// Leave out tokens below this fraction of the likeliest one's probability
    #[arg(long, value_name = "P", value_parser = probability, allow_negative_numbers = true)]
    pub min_p: Option<f32>,
    /// Make tokens that already occurred less likely; 1 is off
    #[arg(long, value_name = "X", value_parser = positive, allow_negative_numbers = true)]
    pub repeat_penalty: Option<f32>,
    /// Subtracted once from the logit of every token that occurred
    #[arg(long, value_name = "X", value_parser = finite, allow_negative_numbers = true)]
    pub presence_penalty: Option<f32>,
    /// Subtracted per occurrence
    #[arg(long, value_name = "X", value_parser = finite, allow_negative_numbers = true)]
    pub frequency_penalty: Option<f32>,
    /// Add V to the logit of token ID; repeatable
    #[arg(long, value_name = "ID=V")]
    pub logit_bias: Vec<LogitBias>,
    /// Same seed, same answer, where model, library, options and --threads are the same too
    #[arg(long, value_name = "N", value_parser = seed, allow_negative_numbers = true)]
    pub seed: Option<u64>,
    /// Stop before this text; repeatable
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub stop: Vec<String>,
    /// Go on after an end-of-text token
    #[arg(long)]
    pub ignore_eos: bool,
}

impl SamplingArgs {
    /// What is asked of the sampler.
    pub fn request(&self) -> SamplingRequest {
        SamplingRequest {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            repeat_window: None,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            logit_bias: self.logit_bias.iter().map(|bias| (bias.token_id, bias.bias)).collect(),
            seed: self.seed,
        }
    }

    /// Tokens that an answer may have.
    pub fn n_tokens_max(&self) -> usize {
        self.max_tokens.map_or(MAX_TOKENS, usize::from)
    }

    /// Options that were given and change nothing, because the answer is greedy.
    pub fn without_effect(&self, options: &SamplerOptions) -> Vec<&'static str> {
        if options.temperature != 0.0 {
            return Vec::new();
        }
        let given = [
            ("--top-k", self.top_k.is_some()),
            ("--top-p", self.top_p.is_some()),
            ("--min-p", self.min_p.is_some()),
            ("--seed", self.seed.is_some()),
        ];
        given.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect()
    }
}

/// `--logit-bias ID=V`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogitBias {
    /// The token.
    pub token_id: u32,
    /// What is added to its logit.
    pub bias: f32,
}

impl FromStr for LogitBias {
    type Err = ParseChoiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (id, bias) = text.split_once('=')?;
            let bias: f32 = bias.trim().parse().ok().filter(|bias: &f32| !bias.is_nan())?;
            Some(Self { token_id: id.trim().parse().ok()?, bias })
        };
        parse().ok_or_else(|| ParseChoiceError {
            expected: "ID=V such as 42=-1.5",
            found: text.to_owned(),
        })
    }
}

/// `--prompt-ids 1,2,3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptIds(pub Vec<u32>);

impl FromStr for PromptIds {
    type Err = ParseChoiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ids: Result<Vec<u32>, _> = text.split(',').map(|id| id.trim().parse()).collect();
        ids.map(Self).map_err(|_| ParseChoiceError {
            expected: "token ids such as 1,2,3",
            found: text.to_owned(),
        })
    }
}

fn parse_where(text: &str, expected: &str, holds: fn(f32) -> bool) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value.is_finite() && holds(value) => Ok(value),
        _ => Err(format!("expected {expected}")),
    }
}

fn finite(text: &str) -> Result<f32, String> {
    parse_where(text, "a number", |_| true)
}

fn non_negative(text: &str) -> Result<f32, String> {
    parse_where(text, "a number that is 0 or more", |value| value >= 0.0)
}

fn positive(text: &str) -> Result<f32, String> {
    parse_where(text, "a number above 0", |value| value > 0.0)
}

fn probability(text: &str) -> Result<f32, String> {
    parse_where(text, "a number from 0 to 1", |value| (0.0..=1.0).contains(&value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_do_nothing_are_named() {
        let args = SamplingArgs { top_p: Some(0.5), ..SamplingArgs::default() };
        let greedy = SamplerOptions::greedy();
        assert_eq!(args.without_effect(&greedy), ["--top-p"]);
        let drawn = SamplerOptions { temperature: 1.0, ..greedy };
        assert!(args.without_effect(&drawn).is_empty());
    }
}
