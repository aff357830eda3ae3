//! What is asked of a generation, and why it may not be had.

use lapwing_backend::{OpenError, StepError};
use lapwing_logits::{
    ChooseError, CorrectRowError, Details, Sampler, SamplerOptions, SamplerOptionsError,
};
use lapwing_model::TokenId;
use lapwing_text::{ReplyFormat, SpecialPieces, Tokenizer};

use crate::constraint::ConstraintError;
use crate::session::Session;

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The whole conversation so far, as tokens; at least one.
    pub prompt: &'a [TokenId],
    /// Makes the text; without it only tokens come out, and stop strings never match.
    pub tokenizer: Option<&'a Tokenizer>,
    /// What becomes of special tokens in the text.
    pub special: SpecialPieces,
    /// How the model marks thoughts and calls, which are then kept apart from the text. Without it,
    /// or where special tokens are shown, everything is text.
    pub reply: Option<&'a ReplyFormat>,
    /// How tokens are chosen.
    pub sampler: &'a SamplerOptions,
    /// What to report with every token.
    pub details: Details,
    /// Most tokens to choose; 0 only reads the prompt.
    pub n_tokens_max: usize,
    /// Each of these tokens ends the answer.
    pub stop_ids: &'a [TokenId],
    /// Go on after a stop token as if it were none.
    pub ignore_stop_ids: bool,
    /// Each of these strings ends the answer, across token borders; it is cut off the text. A
    /// special token in one is that token, whether or not it is shown.
    pub stop_texts: &'a [String],
    /// How many of the largest raw logits of the first position to report.
    pub n_first_step_top: usize,
}

/// Why a generation could not start or go on. Tokens before it were reported.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum GenerateError {
    /// There is nothing to go on from.
    #[error("cannot generate from an empty prompt: expected at least one token")]
    EmptyPrompt,
    /// The prompt alone does not fit.
    #[error("prompt of {n_tokens} tokens is too long: the context holds {n_positions_max}")]
    PromptTooLong { n_tokens: usize, n_positions_max: usize },
    /// The prompt starts a sequence, and the device was compiled for shorter ones.
    #[error("prompt of {n_tokens} tokens is too long: {n_prompt_tokens_max} were compiled for")]
    PromptBeyondCompiled {
        n_tokens: usize,
        /// The longest prompt of this compilation.
        n_prompt_tokens_max: usize,
    },
    /// The prompt is not of this model.
    #[error("token {token} at position {position} is not in the vocabulary of {n_vocab}")]
    NoSuchToken { token: TokenId, position: usize, n_vocab: usize },
    /// A sampling option makes no sense.
    #[error("cannot choose tokens as asked")]
    Sampler(#[source] SamplerOptionsError),
    /// There was no room for a new sequence.
    #[error("cannot start a new sequence")]
    Decoder(#[source] OpenError),
    /// The model failed.
    #[error("cannot go on after {n_generated} generated tokens")]
    Step { n_generated: usize, source: StepError },
    /// The model's logits cannot be corrected.
    #[error("cannot correct the logits of generated token {n_generated}")]
    Correct { n_generated: usize, source: CorrectRowError },
    /// Nothing can follow that the answer's constraint allows.
    #[error("cannot keep to the form that the answer must have behind {n_generated} tokens")]
    Constrain { n_generated: usize, source: ConstraintError },
    /// The model's logits allow no choice.
    #[error("cannot choose generated token {n_generated}")]
    Choose { n_generated: usize, source: ChooseError },
}

/// A sampler that knows the prompt, once the request was found to make sense.
pub(crate) fn sampler(session: &Session, request: &Request<'_>) -> Result<Sampler, GenerateError> {
    let prompt = request.prompt;
    let n_vocab = session.model().n_vocab();
    let n_positions_max = session.model().limits().n_positions_max;
    if prompt.is_empty() {
        return Err(GenerateError::EmptyPrompt);
    }
    let n_tokens = prompt.len();
    if n_positions_max < n_tokens {
        return Err(GenerateError::PromptTooLong { n_tokens, n_positions_max });
    }
    if let Some(position) = prompt.iter().position(|&token| n_vocab <= token as usize) {
        let token = prompt[position];
        return Err(GenerateError::NoSuchToken { token, position, n_vocab });
    }
    let mut sampler = Sampler::new(request.sampler.clone(), n_vocab, session.level())
        .map_err(GenerateError::Sampler)?;
    prompt.iter().for_each(|&token| sampler.observe_prompt(token));
    Ok(sampler)
}
