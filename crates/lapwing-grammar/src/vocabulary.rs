//! What every token spells, as a tree that is walked along with a grammar.

use std::sync::Arc;

use lapwing_model::TokenId;
use lapwing_text::Tokenizer;
use llguidance::ParserFactory;
use llguidance::earley::SlicedBiasComputer;
use toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};

use crate::digits::DigitTokens;

/// Longer tokens take no part: the tree holds no deeper paths.
const TOKEN_BYTES_MAX: usize = 512;
/// The tree holds so many bytes of tokens.
const BYTES_MAX: usize = 4 << 20;
/// The tree holds so many tokens.
const TOKENS_MAX: usize = 1 << 24;

/// Places in a grammar that an answer may be at: some four for each property of an object.
const ROW_ITEMS_MAX: usize = 10_000;
/// Places that are looked at for one token.
const STEP_ITEMS_MAX: usize = 200_000;

/// What the tokens of a model spell, for all forms that its answers keep to.
pub struct Vocabulary {
    pub(crate) factory: ParserFactory,
    pub(crate) trie: Arc<Trie>,
    pub(crate) digits: DigitTokens,
}

/// Why no form can be kept to with a tokenizer.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum VocabularyError {
    /// It is too large.
    #[error("a vocabulary of {n_tokens} tokens and {n_bytes} bytes is too large to keep to a form")]
    TooLarge { n_tokens: usize, n_bytes: usize },
    /// The library takes it for none.
    #[error("cannot keep to a form with this vocabulary: {reason}")]
    Unusable { reason: String },
}

impl Vocabulary {
    /// The vocabulary of a tokenizer; one of `stop_ids` ends an answer.
    ///
    /// # Errors
    ///
    /// When the vocabulary is too large.
    pub fn new(tokenizer: &Tokenizer, stop_ids: &[TokenId]) -> Result<Vocabulary, VocabularyError> {
        let n_tokens = tokenizer.n_vocab();
        let words: Vec<Vec<u8>> =
            (0..n_tokens).map(|id| word(tokenizer, u32::try_from(id).unwrap_or(0))).collect();
        let n_bytes = words.iter().map(Vec::len).sum();
        if BYTES_MAX < n_bytes || TOKENS_MAX <= n_tokens {
            return Err(VocabularyError::TooLarge { n_tokens, n_bytes });
        }
        let is_token = |id: &TokenId| (*id as usize) < n_tokens;
        let stop_ids: Vec<TokenId> = stop_ids.iter().copied().filter(is_token).collect();
        let first = stop_ids.first().copied().unwrap_or(toktrie::INVALID_TOKEN);
        let info = TokRxInfo::new(u32::try_from(n_tokens).unwrap_or(0), first);
        let trie = TokTrie::from(&info, &words);
        let trie = if stop_ids.is_empty() { trie } else { trie.with_eos_tokens(&stop_ids) };
        let trie = Arc::new(Trie(trie));
        let environment: TokEnv = trie.clone();
        let mut factory = ParserFactory::new(
            &environment,
            InferenceCapabilities::default(),
            &SlicedBiasComputer::json_slices(),
        )
        .map_err(|error| VocabularyError::Unusable { reason: error.to_string() })?;
        factory.quiet();
        let limits = factory.limits_mut();
        limits.verbose_errors = false;
        limits.max_items_in_row = ROW_ITEMS_MAX;
        limits.step_max_items = STEP_ITEMS_MAX;
        let digits = DigitTokens::of(&trie.0);
        Ok(Vocabulary { factory, trie, digits })
    }
}

impl std::fmt::Debug for Vocabulary {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let n_tokens = self.trie.0.vocab_size();
        formatter.debug_struct("Vocabulary").field("n_tokens", &n_tokens).finish_non_exhaustive()
    }
}

/// What a token adds to a text. A special token has a name that no text spells, behind a byte that no
/// UTF-8 has; what takes no part is empty.
fn word(tokenizer: &Tokenizer, id: TokenId) -> Vec<u8> {
    let marker = TokTrie::SPECIAL_TOKEN_MARKER;
    let mut word = match tokenizer.is_special(id) {
        true => format!("\u{0}<{id}>").into_bytes(),
        false => tokenizer.bytes_within(id).unwrap_or_default(),
    };
    if tokenizer.is_special(id) {
        word[0] = marker;
    } else if word.contains(&marker) || TOKEN_BYTES_MAX < word.len() {
        word.clear();
    }
    word
}

/// The tree, as the library wants it.
pub(crate) struct Trie(pub(crate) TokTrie);

impl TokenizerEnv for Trie {
    fn tok_trie(&self) -> &TokTrie {
        &self.0
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.0.greedy_tokenize(bytes)
    }

    /// Tokens are chosen by the model, never forced.
    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}
