//! Chosen tokens to certain text: the detokenizer and the stop strings behind it.

use lapwing_model::TokenId;
use lapwing_text::{Detokenizer, SpecialPieces, StopMatcher, Stopped, Tokenizer};

/// The text of one answer, token by token.
pub(crate) struct TextStream {
    /// `None` when the model has no tokenizer: the text stays empty.
    detokenizer: Option<Detokenizer>,
    matcher: StopMatcher,
    /// The end of the prompt's text that the detokenizer still held back.
    held_of_prompt: String,
    chunk: String,
    text: String,
}

/// Enough of a prompt for the longest run of byte tokens that could matter.
const N_CONTEXT_TOKENS: usize = 32;

impl TextStream {
    /// A stream that goes on where the text of `prompt` ends.
    ///
    /// A vocabulary may spell the first word of a text without the space that the same token has
    /// elsewhere. An answer is no such beginning, so the detokenizer sees the prompt's end first.
    pub(crate) fn new(
        tokenizer: Option<&Tokenizer>,
        special: SpecialPieces,
        prompt: &[TokenId],
        stops: &[String],
    ) -> TextStream {
        let mut detokenizer = tokenizer.map(|tokenizer| tokenizer.detokenizer(special));
        let mut held_of_prompt = String::new();
        if let Some(detokenizer) = &mut detokenizer {
            for &token in &prompt[prompt.len().saturating_sub(N_CONTEXT_TOKENS)..] {
                detokenizer.push(token);
            }
            held_of_prompt.push_str(detokenizer.clone().finish());
        }
        let matcher = StopMatcher::new(stops.to_vec());
        TextStream {
            detokenizer,
            matcher,
            held_of_prompt,
            chunk: String::new(),
            text: String::new(),
        }
    }

    /// The text that is certain after one more token.
    pub(crate) fn push(&mut self, token: TokenId) -> Stopped<'_> {
        self.chunk.clear();
        if let Some(detokenizer) = &mut self.detokenizer {
            self.chunk.push_str(detokenizer.push(token));
        }
        self.matcher.push(without_prompt(&mut self.held_of_prompt, &self.chunk))
    }

    /// The text that is certain after the last token, or `None` for a token that is no text.
    pub(crate) fn finish(&mut self, last: Option<TokenId>) -> Stopped<'_> {
        self.chunk.clear();
        if let Some(detokenizer) = &mut self.detokenizer {
            if let Some(token) = last {
                self.chunk.push_str(detokenizer.push(token));
            }
            self.chunk.push_str(detokenizer.finish());
        }
        self.text.clear();
        let chunk = without_prompt(&mut self.held_of_prompt, &self.chunk);
        self.text.push_str(self.matcher.push(chunk).text);
        let stopped = self.matcher.finish();
        self.text.push_str(stopped.text);
        Stopped { text: &self.text, matched: stopped.matched }
    }
}

/// Take what belongs to the prompt off the first chunk.
///
/// Held bytes that the answer completed to a code point are not found there, and the code point
/// is shown: it belongs to the answer.
fn without_prompt<'a>(held: &mut String, chunk: &'a str) -> &'a str {
    if chunk.is_empty() || held.is_empty() {
        return chunk;
    }
    let rest = chunk.strip_prefix(held.as_str()).unwrap_or(chunk);
    held.clear();
    rest
}
