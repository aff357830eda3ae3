//! Chosen tokens to what is certain of the answer: the detokenizer, the stop strings behind it, and
//! behind them what tells content, thoughts and calls apart.

use lapwing_model::TokenId;
use lapwing_text::{
    Detokenizer, Piece, ReplyEvent, ReplyFormat, ReplyParser, SpecialPieces, StopMatcher, Stopped,
    Tokenizer,
};

/// What one answer says, token by token.
pub(crate) struct TextStream {
    /// `None` when the model has no tokenizer: the answer stays empty.
    detokenizer: Option<Detokenizer>,
    matcher: StopMatcher,
    parser: ReplyParser,
    special: SpecialPieces,
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
        let matcher = StopMatcher::new(stops.to_vec(), special_in(stops, tokenizer));
        TextStream { detokenizer, matcher, parser, special, held_of_before, chunk: String::new() }
    }

    /// What is certain after one more token.
    pub(crate) fn push(&mut self, token: TokenId) -> Certain {
        let matched = self.read(token);
        if matched.is_some() {
            self.parser.finish();
        }
        Certain { parts: self.parser.take_events(), matched }
    }

    /// What is certain after the last token.
    pub(crate) fn finish(&mut self, last: TokenId) -> Certain {
        self.read(last);
        self.end(None)
    }

    /// What is certain after a token that is no text and ends the answer.
    pub(crate) fn stop_at(&mut self, token: TokenId) -> Certain {
        self.end(Some(token))
    }

    fn end(&mut self, stop_token: Option<TokenId>) -> Certain {
        self.chunk.clear();
        if let Some(detokenizer) = &mut self.detokenizer {
            self.chunk.push_str(detokenizer.finish());
        }
        let chunk = without_before(&mut self.held_of_before, &self.chunk);
        pass_on(self.matcher.push(chunk), &mut self.parser);
        // A stop string may end with it.
        if let Some(token) = stop_token.filter(|&token| self.matcher.wants(token)) {
            pass_on(self.matcher.push_special(token, true), &mut self.parser);
        }
        let matched = pass_on(self.matcher.finish(), &mut self.parser);
        self.parser.finish();
        Certain { parts: self.parser.take_events(), matched }
    }

    /// Pass a token on; which stop string ended the text, if one did.
    fn read(&mut self, token: TokenId) -> Option<usize> {
        let is_marker = self.parser.is_marker(token);
        let is_apart = is_marker || self.matcher.wants(token);
        self.chunk.clear();
        match &mut self.detokenizer {
            Some(detokenizer) if !is_apart || self.special == SpecialPieces::Show => {
                self.chunk.push_str(detokenizer.push(token));
            }
            _ => {}
        }
        let chunk = without_before(&mut self.held_of_before, &self.chunk);
        let matched = pass_on(self.matcher.push(chunk), &mut self.parser);
        match is_apart {
            true => self.read_special(token, is_marker),
            false => matched,
        }
    }

    /// Text in front of a special token that means something is over: what was held back of it is
    /// passed on before.
    fn read_special(&mut self, token: TokenId, is_marker: bool) -> Option<usize> {
        let held = match &self.detokenizer {
            Some(detokenizer) => detokenizer.clone().finish().to_owned(),
            None => String::new(),
        };
        let chunk = held.strip_prefix(self.held_of_before.as_str()).unwrap_or(&held);
        let matched = pass_on(self.matcher.push(chunk), &mut self.parser);
        self.held_of_before = held;
        // What is shown was read as text.
        match self.special {
            SpecialPieces::Show => matched,
            SpecialPieces::Skip => {
                pass_on(self.matcher.push_special(token, is_marker), &mut self.parser)
            }
        }
    }
}

/// Let `parser` read what is safe; which stop string ended the text, if one did.
fn pass_on(stopped: Stopped<'_>, parser: &mut ReplyParser) -> Option<usize> {
    let mut n_read = 0;
    for &(at, token) in stopped.specials {
        parser.push(Piece::Text(&stopped.text[n_read..at]));
        parser.push(Piece::Special(token));
        n_read = at;
    }
    parser.push(Piece::Text(&stopped.text[n_read..]));
    stopped.matched
}

/// The special tokens that stop strings spell.
fn special_in(stops: &[String], tokenizer: Option<&Tokenizer>) -> Vec<(TokenId, String)> {
    let Some(tokenizer) = tokenizer else { return Vec::new() };
    let spelled = tokenizer.special_spellings().iter();
    let spelled = spelled.filter(|spelling| stops.iter().any(|stop| stop.contains(&***spelling)));
    spelled.filter_map(|spelling| Some((tokenizer.token_id(spelling)?, spelling.clone()))).collect()
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
