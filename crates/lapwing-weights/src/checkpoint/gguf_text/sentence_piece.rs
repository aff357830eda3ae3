//! SentencePiece BPE with byte fallback, as in the first Llamas: the file has scores, the
//! `tokenizers` library wants merges.

use lapwing_formats::gguf::Gguf;
use serde_json::{Value, json};

use super::vocabulary::{TokenType, Vocabulary};
use super::{OpenCheckpointError, TokenizerParts, byte_pair_model, flag, found, unsupported};

const SCORES: &str = "tokenizer.ggml.scores";
const TOKENS: &str = "tokenizer.ggml.tokens";
/// Pieces can be cut in many ways (`aaaa` in three), and each way is written down: a limit keeps
/// the result in proportion to the file. It is several times what a trained vocabulary has, whose
/// pieces come from two each.
const N_MERGES_PER_TOKEN_MAX: usize = 8;
/// Stands for a space in pieces.
const SPACE: &str = "\u{2581}";

/// The parts of `tokenizer.json`.
pub(super) fn tokenizer(
    gguf: &Gguf,
    vocabulary: &Vocabulary<'_>,
) -> Result<TokenizerParts, OpenCheckpointError> {
    let merges = merges(gguf, vocabulary)?;
    let adds_space = flag(gguf, "tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let unknown = vocabulary.of_type(TokenType::Unknown).next().map(|(_, text)| text);
    let spaces = json!({ "type": "Replace", "pattern": { "String": " " }, "content": SPACE });
    let prepend = json!({ "type": "Prepend", "prepend": SPACE });
    let normalizers: Vec<Value> = match adds_space {
        true => vec![prepend, spaces],
        false => vec![spaces],
    };
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": SPACE }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if adds_space {
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    Ok(TokenizerParts {
        normalizer: json!({ "type": "Sequence", "normalizers": normalizers }),
        pre_tokenizer: Value::Null,
        decoder: json!({ "type": "Sequence", "decoders": decoders }),
        model: byte_pair_model(
            vocabulary,
            &merges,
            json!({ "unk_token": unknown, "fuse_unk": true, "byte_fallback": true }),
        ),
    })
}

/// A merge for each way to cut a piece into two pieces, best score first. Ties go to the longer
/// left part, then to the longer right one, then to the lower id of the piece.
fn merges<'a>(
    gguf: &Gguf,
    vocabulary: &Vocabulary<'a>,
) -> Result<Vec<(&'a str, &'a str)>, OpenCheckpointError> {
    let scores = gguf.get(SCORES).and_then(|value| value.as_array());
    let scores = scores.filter(|scores| scores.len() == vocabulary.len());
    let scores: Vec<f64> =
        scores.into_iter().flat_map(|scores| scores.iter()).filter_map(|s| s.as_f64()).collect();
    if scores.len() != vocabulary.len() {
        let expected = format!("a list of {} numbers, one for each token", vocabulary.len());
        return Err(unsupported(gguf.path(), SCORES, expected, found(gguf, SCORES)));
    }
    let is_piece = {
        let mut is_piece = vec![false; vocabulary.len()];
        vocabulary.of_type(TokenType::Normal).for_each(|(id, _)| is_piece[id as usize] = true);
        is_piece
    };
    let piece = |text: &str| vocabulary.id(text).filter(|&id| is_piece[id as usize]);
    let n_merges_max = N_MERGES_PER_TOKEN_MAX.saturating_mul(vocabulary.len());
    let mut scored = Vec::new();
    for (id, text) in vocabulary.of_type(TokenType::Normal) {
        let cuts = text.char_indices().skip(1).map(|(at, _)| text.split_at(at));
        let cuts = cuts.filter(|(left, right)| piece(left).is_some() && piece(right).is_some());
        scored.extend(cuts.map(|(left, right)| (scores[id as usize], left, right)));
        if n_merges_max < scored.len() {
            let expected = format!("at most {n_merges_max} ways to cut pieces into pieces");
            return Err(unsupported(gguf.path(), TOKENS, expected, "more".to_owned()));
        }
    }
    scored.sort_by(|a, b| {
        let n_chars = |text: &str| text.chars().count();
        let by_score = b.0.total_cmp(&a.0);
        let by_left = || n_chars(b.1).cmp(&n_chars(a.1));
        by_score.then_with(by_left).then_with(|| n_chars(b.2).cmp(&n_chars(a.2)))
    });
    Ok(scored.into_iter().map(|(_, left, right)| (left, right)).collect())
}
