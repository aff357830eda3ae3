//! What a generation reports: events while it runs, and one result at its end.

use std::time::Duration;

use lapwing_logits::{Alternative, Candidate};
use lapwing_model::TokenId;
use lapwing_text::{ReplyEvent, ToolCall};

/// What happened, with what it cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// The prompt is being read. This comes again and again until it was, so that the caller can
    /// break off; where the library cannot be stopped, it comes seldom.
    Reading,
    /// The prompt was read.
    Prefill {
        /// Tokens that went through the model.
        n_tokens: usize,
        /// Tokens of the prompt that the decoder still knew from before.
        n_reused: usize,
        /// Time of the decoder's step.
        elapsed: Duration,
        /// Time within that which the library spent in its own inference calls.
        inference: Duration,
    },
    /// One token was chosen.
    Token {
        /// The token.
        token: TokenId,
        /// Its log probability before bias, penalties and temperature, in nats, when asked for.
        log_probability: Option<f64>,
        /// The most probable tokens, when asked for.
        top: &'a [Alternative],
        /// Text that became certain with this token; often empty, and never part of a stop string.
        text: &'a str,
        /// The same text, thoughts and calls, in order; thoughts and calls only where a
        /// [`Request::reply`](crate::Request::reply) tells them apart.
        parts: &'a [ReplyEvent],
        /// What this token cost.
        timings: TokenTimings,
    },
}

/// What one step of the decoder cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepTimings {
    /// The whole step.
    pub elapsed: Duration,
    /// Time within it which the library spent in its own inference calls.
    pub inference: Duration,
}

/// What one token cost, stage by stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenTimings {
    /// The decoder's step that gave the logits; for the first token that is the prefill.
    pub step: StepTimings,
    /// From the raw logits to the corrected ones; `None` without a correction.
    pub correct: Option<Duration>,
    /// From the logits to the token.
    pub sample: Duration,
    /// From the token to text, stop strings included.
    pub detokenize: Duration,
}

/// The result of one generation.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// Every chosen token, with the one that ended the answer.
    pub token_ids: Vec<TokenId>,
    /// The texts of all events, joined: without the stop token, cut before the stop string.
    pub text: String,
    /// Thoughts, where the format of answers is known.
    pub reasoning: String,
    /// Calls, where the format of answers is known.
    pub tool_calls: Vec<ToolCall>,
    /// Why it ended.
    pub finish: Finish,
    /// How many tokens went in and out.
    pub usage: Usage,
    /// What it cost.
    pub timings: Timings,
    /// The largest raw logits at the first generated position, best first, when asked for.
    pub first_step_top: Vec<Candidate>,
}

/// Why a generation ended, precisely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model chose a token that ends a text.
    StopToken {
        /// The token.
        token: TokenId,
    },
    /// The answer reached one of the stop strings.
    StopText {
        /// The stop string.
        text: String,
    },
    /// What the answer's constraint allows is complete.
    Complete,
    /// As many tokens as were asked for are out.
    MaxTokens,
    /// The model has no room for one more token.
    ContextFull {
        /// Positions the model has room for.
        n_positions_max: usize,
    },
    /// The caller broke off.
    Cancelled,
}

/// Why a generation ended, in the three words that interfaces use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// A stop token or a stop string.
    Stop,
    /// The limit on tokens, or a full context.
    Length,
    /// The caller broke off.
    Cancelled,
}

/// How many tokens went in and out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Length of the prompt.
    pub n_prompt_tokens: usize,
    /// Tokens of the prompt that the decoder still knew from before.
    pub n_reused_tokens: usize,
    /// Chosen tokens.
    pub n_completion_tokens: usize,
}

/// Where the time went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timings {
    /// The decoder's step over the prompt.
    pub prefill: StepTimings,
    /// From the beginning to the first token; `None` without a token.
    pub time_to_first_token: Option<Duration>,
    /// The stages of each token, in order; the step of the first is the prefill.
    pub tokens: Vec<TokenTimings>,
    /// From the beginning to the end.
    pub total: Duration,
}

impl StepTimings {
    /// No step at all.
    pub(crate) const NONE: StepTimings =
        StepTimings { elapsed: Duration::ZERO, inference: Duration::ZERO };
}

impl Generated {
    /// What an answer to a prompt of so many tokens is that was not begun.
    pub(crate) fn nothing(n_prompt_tokens: usize) -> Generated {
        Generated {
            token_ids: Vec::new(),
            text: String::new(),
            reasoning: String::new(),
            tool_calls: Vec::new(),
            finish: Finish::Cancelled,
            usage: Usage { n_prompt_tokens, n_reused_tokens: 0, n_completion_tokens: 0 },
            timings: Timings {
                prefill: StepTimings::NONE,
                time_to_first_token: None,
                tokens: Vec::new(),
                total: Duration::ZERO,
            },
            first_step_top: Vec::new(),
        }
    }
}

impl Timings {
    /// The steps over single tokens, each with the stages of the token that it gave: all but the
    /// first token's.
    #[must_use]
    pub fn steps(&self) -> &[TokenTimings] {
        self.tokens.get(1..).unwrap_or_default()
    }
}

impl TokenTimings {
    /// From the raw logits to text.
    #[must_use]
    pub fn stages(&self) -> Duration {
        self.correct.unwrap_or_default() + self.sample + self.detokenize
    }

    /// The step and all that was done with its logits.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.step.elapsed + self.stages()
    }

    /// Our own work: all but the library's inference calls.
    #[must_use]
    pub fn host(&self) -> Duration {
        self.step.elapsed.saturating_sub(self.step.inference) + self.stages()
    }
}

impl Finish {
    /// The word for interfaces.
    #[must_use]
    pub fn reason(&self) -> FinishReason {
        match self {
            Finish::StopToken { .. } | Finish::StopText { .. } | Finish::Complete => {
                FinishReason::Stop
            }
            Finish::MaxTokens | Finish::ContextFull { .. } => FinishReason::Length,
            Finish::Cancelled => FinishReason::Cancelled,
        }
    }
}

impl FinishReason {
    /// `stop`, `length` or `cancelled`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::Cancelled => "cancelled",
        }
    }
}
