//! What the answers of OpenAI's interface have in common: usage, probabilities, why they end.

use lapwing_serving::message::{Ask, Ended, Prompt, Said, Spent, Why};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
pub(crate) use crate::logprobs::TokenLogprob;
use crate::refusal::Refusal;

/// Tokens that went in and out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = openai::answer::Usage)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: usize,
    pub(crate) completion_tokens: usize,
    pub(crate) total_tokens: usize,
    pub(crate) prompt_tokens_details: PromptDetails,
    pub(crate) completion_tokens_details: CompletionDetails,
    /// Our own: what the answers took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lapwing: Option<Spent>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct PromptDetails {
    pub(crate) cached_tokens: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
            usage.add_energy(ended.energy.as_ref());
            if idx == 0 {
                usage.prompt_tokens_details.cached_tokens = ended.n_reused;
            }
        }
        usage.total_tokens = usage.prompt_tokens + usage.completion_tokens;
        usage
    }

    /// Take in what one more answer took; of a sum nothing may be missing.
    pub(crate) fn add_energy(&mut self, energy: Option<&Spent>) {
        self.lapwing = match (self.lapwing.take(), energy) {
            (None, energy) => energy.cloned(),
            (Some(sum), Some(more)) => match (sum.energy_j, more.energy_j) {
                (Some(sum), Some(more)) => {
                    Some(Spent { energy_j: Some(sum + more), energy_null: None })
                }
                (Some(_), None) => Some(more.clone()),
                (None, _) => Some(sum),
            },
            (sum, None) => sum,
        };
    }
}

/// How many tokens a prompt has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct InputTokens {
    object: String,
    input_tokens: usize,
}

impl InputTokens {
    /// Of a prompt to the model that a client calls `asked`, which is no use of it.
    pub(crate) async fn of(
        app: &App,
        asked: Option<&str>,
        prompt: Prompt,
    ) -> Result<axum::Json<InputTokens>, Refusal> {
        let _place = app.place()?;
        let listing = app.models.find(asked).await?;
        match app.models.ask_of_text(&listing.name, Ask::Render(prompt)).await? {
            Said::Encoded { ids, .. } => {
                let object = "response.input_tokens".to_owned();
                Ok(axum::Json(InputTokens { object, input_tokens: ids.len() }))
            }
            _ => Err(Refusal::internal("the model's process told no tokens")),
        }
    }
}

/// Log probabilities, a token an entry.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
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
