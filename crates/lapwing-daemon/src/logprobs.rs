//! Log probabilities, as OpenAI's interface and Ollama's both write them.

use lapwing_serving::message::{Probability, Spelled};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::refusal::Refusal;

/// Most alternatives that are told with a token.
const N_TOP_MAX: u32 = 20;

/// How many alternatives are told with each token.
pub(crate) fn n_top(logprobs: Option<bool>, top_logprobs: Option<u32>) -> Result<usize, Refusal> {
    let n_top = top_logprobs.unwrap_or(0);
    if N_TOP_MAX < n_top {
        let message = format!("expected 0 to {N_TOP_MAX} top_logprobs, found {n_top}");
        return Err(Refusal::field("top_logprobs", message));
    }
    if n_top != 0 && logprobs != Some(true) {
        return Err(Refusal::field("top_logprobs", "top_logprobs needs logprobs"));
    }
    Ok(n_top as usize)
}

/// How probable a token was, and what else might have come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct TokenLogprob {
    pub(crate) token: String,
    pub(crate) logprob: f64,
    pub(crate) bytes: Option<Vec<u8>>,
    pub(crate) top_logprobs: Vec<TopLogprob>,
}

/// What might have come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct TopLogprob {
    pub(crate) token: String,
    pub(crate) logprob: f64,
    pub(crate) bytes: Option<Vec<u8>>,
}

/// Stands for minus infinity, which JSON has not; OpenAI writes the same.
const LOGPROB_MIN: f64 = -9999.0;

impl TokenLogprob {
    pub(crate) fn of(probability: &Probability) -> TokenLogprob {
        let bytes = |spelled: &Spelled| Some(spelled.bytes());
        let top = probability.top.iter().map(|(spelled, log)| TopLogprob {
            token: spelled.text.clone(),
            logprob: log.max(LOGPROB_MIN),
            bytes: bytes(spelled),
        });
        TokenLogprob {
            token: probability.piece.text.clone(),
            logprob: probability.log.max(LOGPROB_MIN),
            bytes: bytes(&probability.piece),
            top_logprobs: top.collect(),
        }
    }
}
