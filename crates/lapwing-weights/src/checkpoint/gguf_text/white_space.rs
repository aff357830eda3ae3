//! White space that an added token takes with it, of which a GGUF file says nothing.

use super::vocabulary::{Taken, Vocabulary};

/// A token that only the vocabulary of Phi-4 has.
const PHI4_TOKEN: &str = "<|im_sep|>";

/// The tokens of Phi-3 that take the white space behind them; others, and those that somebody adds
/// in training, take none.
const PHI3_TOKENS: &[&str] = &[
    "</s>",
    "<|assistant|>",
    "<|placeholder1|>",
    "<|placeholder2|>",
    "<|placeholder3|>",
    "<|placeholder4|>",
    "<|system|>",
    "<|end|>",
    "<|placeholder5|>",
    "<|placeholder6|>",
    "<|user|>",
];

/// What each token of a family takes, by its text.
///
/// Source: the `added_tokens` in `tokenizer.json` of Phi-3-mini and Phi-4. llama.cpp goes by
/// `general.name`, which files of Phi-3.5 and of models made from it have otherwise.
pub(super) fn taken(model_type: &str, vocabulary: &Vocabulary<'_>) -> impl Fn(&str) -> Taken {
    let is_phi = model_type == "phi3";
    let is_phi4 = is_phi && vocabulary.id(PHI4_TOKEN).is_some();
    // Phi-4-mini has other tokens under some of these names.
    let is_phi3 = is_phi && vocabulary.id("<|placeholder1|>").is_some();
    move |text| match (is_phi4, is_phi3) {
        (true, _) => Taken { before: true, behind: true },
        (_, true) if PHI3_TOKENS.contains(&text) => Taken { before: false, behind: true },
        _ => Taken::default(),
    }
}
