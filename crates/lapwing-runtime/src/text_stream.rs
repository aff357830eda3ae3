//! Chosen tokens to what is certain of the answer: the detokenizer, the stop strings behind it, and
//! behind them what tells content, thoughts and calls apart.

use lapwing_model::TokenId;
use lapwing_text::{
    Detokenizer, Piece, ReplyEvent, ReplyFormat, ReplyParser, SpecialPieces, StopMatcher, Tokenizer,
};

/// What one answer says, token by token.
pub(crate) struct TextStream {
    /// `None` when the model has no tokenizer: the answer stays empty.
    detokenizer: Option<Detokenizer>,
    matcher: StopMatcher,
    parser: ReplyParser,
    /// What the detokenizer still holds back of text that was passed on or is the prompt's.
    held_of_before: String,
    chunk: String,
}

/// What became certain.
pub(crate) struct Certain {
    pub(crate) parts: Vec<ReplyEvent>,
    /// Which stop string ended the answer.
    pub(crate) matched: Option<usize>,
}

/// Enough of a prompt for the longest run of byte tokens that could matter, and for the marker that
/// opens a thought.
const N_CONTEXT_TOKENS: usize = 32;

impl TextStream {
    /// A stream that goes on where the text of the prompt ends.
    ///
    /// A vocabulary may spell the first word of a text without the space that the same token has
    /// elsewhere. An answer is no such beginning, so the detokenizer sees the prompt's end first.
    pub(crate) fn new(
        tokenizer: Option<&Tokenizer>,
        special: SpecialPieces,
        format: Option<&ReplyFormat>,
        prompt: &[TokenId],
        stops: &[String],
    ) -> TextStream {
        let prompt_end = &prompt[prompt.len().saturating_sub(N_CONTEXT_TOKENS)..];
        let mut detokenizer = tokenizer.map(|tokenizer| tokenizer.detokenizer(special));
        let mut held_of_before = String::new();
        if let Some(detokenizer) = &mut detokenizer {
            for &token in prompt_end {
                detokenizer.push(token);
            }
            held_of_before.push_str(detokenizer.clone().finish());
        }
        // Who wants to see special tokens wants to see the answer as it is.
        let format = format.filter(|_| special == SpecialPieces::Skip);
        let parser = match (format, tokenizer) {
            (Some(format), Some(tokenizer)) => {
                ReplyParser::new(format, &tokenizer.decode(prompt_end, SpecialPieces::Show))
            }
            _ => ReplyParser::new(&ReplyFormat::plain(), ""),
        };
        let matcher = StopMatcher::new(stops.to_vec());
        TextStream { detokenizer, matcher, parser, held_of_before, chunk: String::new() }
    }

    /// What is certain after one more token.
    pub(crate) fn push(&mut self, token: TokenId) -> Certain {
        let matched = self.read(token);
        if matched.is_some() {
            self.parser.finish();
        }
        Certain { parts: self.parser.take_events(), matched }
    }

    /// What is certain after the last token, or `None` for a token that is no text.
    pub(crate) fn finish(&mut self, last: Option<TokenId>) -> Certain {
        if let Some(token) = last {
            self.read(token);
        }
        self.chunk.clear();
        if let Some(detokenizer) = &mut self.detokenizer {
            self.chunk.push_str(detokenizer.finish());
        }
        let chunk = without_before(&mut self.held_of_before, &self.chunk);
        self.parser.push(Piece::Text(self.matcher.push(chunk).text));
        let stopped = self.matcher.finish();
        self.parser.push(Piece::Text(stopped.text));
        self.parser.finish();
        Certain { parts: self.parser.take_events(), matched: stopped.matched }
    }

    /// Pass a token on; which stop string ended the text, if one did.
    fn read(&mut self, token: TokenId) -> Option<usize> {
        if self.parser.is_marker(token) {
            return self.read_marker(token);
        }
        self.chunk.clear();
        if let Some(detokenizer) = &mut self.detokenizer {
            self.chunk.push_str(detokenizer.push(token));
        }
        let chunk = without_before(&mut self.held_of_before, &self.chunk);
        let stopped = self.matcher.push(chunk);
        self.parser.push(Piece::Text(stopped.text));
        stopped.matched
    }

    /// Text in front of a marker is over: what was held back of it is passed on before.
    fn read_marker(&mut self, token: TokenId) -> Option<usize> {
        let held = match &self.detokenizer {
            Some(detokenizer) => detokenizer.clone().finish().to_owned(),
            None => String::new(),
        };
        let chunk = held.strip_prefix(self.held_of_before.as_str()).unwrap_or(&held);
        self.parser.push(Piece::Text(self.matcher.push(chunk).text));
        self.held_of_before = held;
        let stopped = self.matcher.finish();
        self.parser.push(Piece::Text(stopped.text));
        if stopped.matched.is_none() {
            self.parser.push(Piece::Special(token));
        }
        stopped.matched
    }
}

/// Take off the first chunk what is the prompt's or was passed on.
///
/// Held bytes that the answer completed to a code point are not found there, and the code point
/// is shown: it belongs to the answer.
fn without_before<'a>(held: &mut String, chunk: &'a str) -> &'a str {
    if chunk.is_empty() || held.is_empty() {
        return chunk;
    }
    let rest = chunk.strip_prefix(held.as_str()).unwrap_or(chunk);
    held.clear();
    rest
}
