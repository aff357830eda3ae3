//! Long texts become tokens window by window, with the ids of the whole.
//!
//! The `tokenizers` crate holds up to seventy bytes for a byte of text. Windows share some text
//! with the next; in the middle of what is shared, their tokens must agree in id, place and word,
//! and there one window's tokens are followed by the other's. Why these are the tokens of the whole:
//!
//! - What stands between words decides where words end from the left, looking at a few
//!   characters around. Two windows that cut the same words in what they share go on alike.
//! - Byte-pair merges are done by rank, then from the left, and so a list of tokens is what
//!   becomes of a word exactly if each two neighbours are what becomes of those two: the first
//!   merge across a border would be done in those two alone, too. So a word may be cut wherever
//!   the windows agree about the neighbours of the cut.
//!
//! Where windows do not agree, or show no such place, the first of them is made longer, up to the
//! whole.

use std::ops::Range;

use lapwing_model::TokenId;
use tokenizers::{ModelWrapper, PreTokenizerWrapper, pre_tokenizers::split::SplitPattern};

use crate::guard::Cause;

/// How a text is cut.
#[derive(Clone, Copy)]
pub(super) struct Windows {
    /// Texts up to this are one window.
    pub(super) n_bytes: usize,
    /// What two windows share. The tokens of its second and third quarter must agree.
    pub(super) n_shared: usize,
    pub(super) seam: Seam,
}

/// What two windows must agree on.
#[derive(Clone, Copy)]
pub(super) struct Seam {
    pub(super) cuts: Cuts,
    /// Something that is no white space, which an added token further on may swallow.
    pub(super) ink: bool,
    /// A character that no normalizer moves: a run of combining marks is put in order as a whole, so
    /// that a window which begins within it orders another one.
    pub(super) anchor: bool,
}

/// Where a text may be cut.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cuts {
    /// Between words.
    BetweenWords,
    /// Also within a word where there is no white space.
    WithinInk,
    /// Between any tokens.
    BetweenTokens,
}

/// A token and where it is in the text.
#[derive(Clone, Copy)]
pub(super) struct Placed {
    pub(super) id: TokenId,
    pub(super) start: usize,
    pub(super) end: usize,
    /// The same for the tokens of one word of a window.
    pub(super) word: u32,
}

/// Where a window begins, and what it shares with the one before.
#[derive(Clone)]
struct Place {
    start: usize,
    n_bytes: usize,
    zone: Range<usize>,
    shared: Vec<Placed>,
    /// The tokens before it.
    n_ids: usize,
}

/// Words or tokens that two windows must agree on.
const N_COMMON_MIN: usize = 4;

impl Windows {
    /// The ids of all of `text`; `tokens_of` gives the tokens of a part of it as if it were all,
    /// or `None`, which is then the answer.
    ///
    /// # Errors
    ///
    /// Those of `tokens_of`.
    pub(super) fn ids(
        &self,
        text: &str,
        mut tokens_of: impl FnMut(Range<usize>) -> Result<Option<Vec<Placed>>, Cause>,
    ) -> Result<Option<Vec<TokenId>>, Cause> {
        let mut ids = Vec::new();
        let first =
            Place { start: 0, n_bytes: self.n_bytes, zone: 0..0, shared: Vec::new(), n_ids: 0 };
        let mut place = first.clone();
        let mut before: Option<Place> = None;
        loop {
            let end = text.floor_char_boundary(place.start + place.n_bytes);
            let Some(tokens) = tokens_of(place.start..end)? else { return Ok(None) };
            let old = if place.start == 0 { 0..0 } else { within(&tokens, &place.zone) };
            if !agree(&tokens[old.clone()], &place.shared) {
                // The window before saw too little; where even that is longer already, all of them.
                place = before.take().unwrap_or(Place { n_bytes: text.len(), ..first.clone() });
                place.n_bytes = place.n_bytes.saturating_mul(2);
                ids.truncate(place.n_ids);
                continue;
            }
            if end == text.len() {
                ids.extend(tokens[old.start..].iter().map(|token| token.id));
                return Ok(Some(ids));
            }
            let quarter = self.n_shared / 4;
            let zone = end - 3 * quarter..end - quarter;
            let new = within(&tokens, &zone);
            let shared = &tokens[new.clone()];
            if !self.seam.holds(shared, &text[zone_text(text, &zone)]) || new.start < old.start {
                place.n_bytes = place.n_bytes.saturating_mul(2);
                continue;
            }
            ids.extend(tokens[old.start..new.start].iter().map(|token| token.id));
            let next = Place {
                start: text.floor_char_boundary(end - self.n_shared),
                n_bytes: self.n_bytes,
                shared: shared.to_vec(),
                zone,
                n_ids: ids.len(),
            };
            before = Some(std::mem::replace(&mut place, next));
        }
    }
}

/// The tokens of a window that lie in `zone`.
fn within(tokens: &[Placed], zone: &Range<usize>) -> Range<usize> {
    let start = tokens.iter().position(|token| zone.start <= token.start).unwrap_or(tokens.len());
    let n = tokens[start..].iter().take_while(|token| token.end <= zone.end).count();
    start..start + n
}

fn zone_text(text: &str, zone: &Range<usize>) -> Range<usize> {
    text.floor_char_boundary(zone.start)..text.floor_char_boundary(zone.end)
}

/// Whether two windows have the same tokens, in the same words.
fn agree(left: &[Placed], right: &[Placed]) -> bool {
    let word = |tokens: &[Placed], token: &Placed| token.word.wrapping_sub(tokens[0].word);
    left.len() == right.len()
        && left.iter().zip(right).all(|(a, b)| {
            (a.id, a.start, a.end, word(left, a)) == (b.id, b.start, b.end, word(right, b))
        })
}

impl Seam {
    /// What a tokenizer needs, whatever the text.
    pub(super) fn of(inner: &tokenizers::Tokenizer) -> Self {
        let cuts = match inner.get_model() {
            ModelWrapper::BPE(bpe)
                if bpe.continuing_subword_prefix.is_none() && bpe.end_of_word_suffix.is_none() =>
            {
                inner.get_pre_tokenizer().map_or(Cuts::BetweenTokens, cuts_of)
            }
            _ => Cuts::BetweenWords,
        };
        let added = inner.get_added_vocabulary().get_added_tokens_decoder();
        let ink = added.values().any(|token| token.lstrip);
        Self { cuts, ink, anchor: inner.get_normalizer().is_some() }
    }

    /// Whether a window's tokens and text in a zone are enough to compare.
    fn holds(self, tokens: &[Placed], text: &str) -> bool {
        let n_words = 1 + tokens.windows(2).filter(|pair| pair[0].word != pair[1].word).count();
        let n = match self.cuts {
            Cuts::WithinInk if text.contains(char::is_whitespace) => n_words,
            Cuts::BetweenWords => n_words,
            Cuts::WithinInk | Cuts::BetweenTokens => tokens.len(),
        };
        let has_ink = !self.ink || !text.chars().all(char::is_whitespace);
        let has_anchor = !self.anchor || text.chars().any(is_anchor);
        N_COMMON_MIN <= n && has_ink && has_anchor
    }
}

/// Whether a character is certainly no combining mark: those begin behind U+0300, and there are none
/// among ideographs and syllables of Hangul.
fn is_anchor(symbol: char) -> bool {
    matches!(symbol, '\0'..'\u{300}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}')
}

/// Where what stands between words ends them at the same places also when it begins within one:
/// for all that cuts at runs of characters of one kind, as GPT-2's pattern.
fn cuts_of(pre_tokenizer: &PreTokenizerWrapper) -> Cuts {
    match pre_tokenizer {
        PreTokenizerWrapper::Sequence(all) => {
            all.as_ref().iter().map(cuts_of).min().unwrap_or(Cuts::BetweenTokens)
        }
        PreTokenizerWrapper::Split(split) => match &split.pattern {
            SplitPattern::String(_) => Cuts::BetweenTokens,
            // White space goes to words by what stands behind all of it.
            SplitPattern::Regex(pattern) if pattern.replace("{1,3}", "") == QWEN_2 => {
                Cuts::WithinInk
            }
            SplitPattern::Regex(_) => Cuts::BetweenWords,
        },
        PreTokenizerWrapper::UnicodeScripts(_) | PreTokenizerWrapper::FixedLength(_) => {
            Cuts::BetweenWords
        }
        _ => Cuts::BetweenTokens,
    }
}

/// Qwen 2's pattern; Llama 3's has `\p{N}{1,3}`.
const QWEN_2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
