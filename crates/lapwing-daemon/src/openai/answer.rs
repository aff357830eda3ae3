//! What the answers of OpenAI's interface have in common: usage, probabilities, why they end.

use lapwing_serving::message::{Ended, Why};
use serde::{Deserialize, Serialize};

pub(crate) use crate::logprobs::TokenLogprob;

/// Tokens that went in and out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: usize,
    pub(crate) completion_tokens: usize,
    pub(crate) total_tokens: usize,
    pub(crate) prompt_tokens_details: PromptDetails,
    pub(crate) completion_tokens_details: CompletionDetails,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PromptDetails {
    pub(crate) cached_tokens: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CompletionDetails {
    pub(crate) reasoning_tokens: usize,
}

impl Usage {
    /// Of several answers to one prompt.
    pub(crate) fn of<'a>(answers: impl IntoIterator<Item = &'a Ended>) -> Usage {
        let mut usage = Usage::default();
        for (idx, ended) in answers.into_iter().enumerate() {
            usage.completion_tokens += ended.n_tokens;
            usage.completion_tokens_details.reasoning_tokens += ended.n_thought_tokens;
            usage.prompt_tokens = ended.n_prompt;
            if idx == 0 {
                usage.prompt_tokens_details.cached_tokens = ended.n_reused;
            }
        }
        usage.total_tokens = usage.prompt_tokens + usage.completion_tokens;
        usage
    }
}

/// Log probabilities, a token an entry.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Logprobs {
    pub(crate) content: Vec<TokenLogprob>,
    pub(crate) refusal: Option<Vec<TokenLogprob>>,
}

/// Why an answer ended, in the words of the interface.
pub(crate) fn finish_reason(why: Why, has_calls: bool) -> &'static str {
    match why {
        Why::Stop | Why::StopText | Why::Cancelled if has_calls => "tool_calls",
        Why::Stop | Why::StopText | Why::Cancelled => "stop",
        Why::Length | Why::Full => "length",
    }
}
