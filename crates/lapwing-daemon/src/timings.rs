//! How long an answer took, in the words of llama.cpp's own server, whose clients show it with answers of
//! OpenAI's interface, too.

use lapwing_serving::message::Ended;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Tokens and milliseconds; rates of nothing are 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Timings {
    /// Tokens of the prompt that a kept sequence knew.
    cache_n: usize,
    /// Those that were read.
    prompt_n: usize,
    prompt_ms: f64,
    prompt_per_token_ms: f64,
    prompt_per_second: f64,
    predicted_n: usize,
    predicted_ms: f64,
    /// The first token comes with the prompt, without a step.
    predicted_per_token_ms: f64,
    predicted_per_second: f64,
}

impl Timings {
    pub(crate) fn of(ended: &Ended) -> Timings {
        let ratio = |number: f64, of: f64| if of == 0.0 { 0.0 } else { number / of };
        let n_read = ended.n_prompt - ended.n_reused;
        let n_steps = ended.n_tokens.saturating_sub(1);
        Timings {
            cache_n: ended.n_reused,
            prompt_n: n_read,
            prompt_ms: ended.prompt_ms,
            prompt_per_token_ms: ratio(ended.prompt_ms, n_read as f64),
            prompt_per_second: ratio(n_read as f64 * 1e3, ended.prompt_ms),
            predicted_n: ended.n_tokens,
            predicted_ms: ended.answer_ms,
            predicted_per_token_ms: ratio(ended.answer_ms, n_steps as f64),
            predicted_per_second: ratio(n_steps as f64 * 1e3, ended.answer_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use lapwing_serving::message::Why;

    use super::*;

    #[test]
    fn rates_leave_out_the_first_token_and_are_numbers() {
        let ended = Ended {
            why: Why::Stop,
            stop_text: None,
            n_prompt: 8,
            n_reused: 3,
            n_tokens: 5,
            n_thought_tokens: 0,
            queue_ms: 0.0,
            prompt_ms: 10.0,
            answer_ms: 20.0,
            energy: None,
        };
        let timings = Timings::of(&ended);
        assert_eq!((timings.cache_n, timings.prompt_n, timings.predicted_n), (3, 5, 5));
        assert_eq!((timings.prompt_per_token_ms, timings.prompt_per_second), (2.0, 500.0));
        assert_eq!((timings.predicted_per_token_ms, timings.predicted_per_second), (5.0, 200.0));
        let one = Timings::of(&Ended { prompt_ms: 0.0, n_tokens: 1, ..ended });
        assert_eq!((one.predicted_per_second, one.prompt_per_second), (0.0, 0.0));
    }
}
