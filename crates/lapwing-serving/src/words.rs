//! What happens in this process, in the words of [`crate::message`].

use std::time::Instant;

use lapwing_model::TokenId;
use lapwing_runtime::{Event, GenerateError};
use lapwing_text::{SpecialPieces, Tokenizer};

use crate::message::{Ended, Failure, FailureKind, Piece, Probability, Spelled, Why};

/// What a request comes to that is given up before its prompt is read.
pub(crate) fn never_begun(n_prompt: usize, arrived: Instant) -> Ended {
    Ended {
        why: Why::Cancelled,
        stop_text: None,
        n_prompt,
        n_reused: 0,
        n_tokens: 0,
        n_thought_tokens: 0,
        queue_ms: arrived.elapsed().as_secs_f64() * 1e3,
        prompt_ms: 0.0,
        answer_ms: 0.0,
        energy: None,
    }
}

/// What became certain with the newest token of an answer.
pub(crate) fn piece(event: Option<Event<'_>>, tokenizer: Option<&Tokenizer>) -> Option<Piece> {
    let Event::Token { token, log_probability, top, parts, .. } = event? else { return None };
    let spelled = |token: TokenId| spelled(token, tokenizer);
    let probability = log_probability.map(|log| {
        let top = top.iter().map(|other| (spelled(other.token), other.log_probability)).collect();
        Box::new(Probability { log, piece: spelled(token), top })
    });
    Some(Piece { token, parts: parts.to_vec(), probability })
}

/// How a token is spelled in the midst of a text.
pub(crate) fn spelled(token: TokenId, tokenizer: Option<&Tokenizer>) -> Spelled {
    let alone = |tokenizer: &Tokenizer| tokenizer.decode(&[token], SpecialPieces::Show);
    let bytes = |tokenizer: &Tokenizer| {
        tokenizer.bytes_within(token).unwrap_or_else(|| alone(tokenizer).into_bytes())
    };
    Spelled::new(token, tokenizer.map_or_else(Vec::new, bytes))
}

/// Whose fault it is that an answer is not made.
pub(crate) fn kind(error: &GenerateError) -> FailureKind {
    match error {
        GenerateError::PromptTooLong { .. } | GenerateError::PromptBeyondCompiled { .. } => {
            FailureKind::TooLong
        }
        GenerateError::EmptyPrompt
        | GenerateError::NoSuchToken { .. }
        | GenerateError::Sampler(_)
        | GenerateError::Constrain { .. } => FailureKind::Request,
        _ => FailureKind::Model,
    }
}

/// A failure in words, with its causes.
pub(crate) fn failure(kind: FailureKind, error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure { kind, message: lapwing_host::with_causes(error), hint: None }
}

/// What is said to a request that no model is there for.
pub(crate) fn nothing_open() -> Failure {
    let message = "no model is open".to_owned();
    Failure { kind: FailureKind::NoModel, message, hint: None }
}

/// What is said to a worker's first request when it comes again.
pub(crate) fn holds_already() -> Failure {
    let message = "this worker holds a model already".to_owned();
    Failure { kind: FailureKind::Request, message, hint: None }
}
