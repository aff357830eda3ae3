//! A model whose rows are random, and tokenizers of all kinds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lapwing_grammar::{Answer, FormError, Keeper, Vocabulary, compile};
use lapwing_runtime::{Constraint as _, ConstraintError};
use lapwing_text::{SpecialPieces, Tokenizer};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde_json::{Map, Value, json};

/// A tokenizer with its name and the tokens that end an answer.
pub(crate) struct Speech {
    pub(crate) name: String,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) stop_ids: Vec<u32>,
    pub(crate) vocabulary: Arc<Vocabulary>,
    /// Tokens that end strings, lists and objects.
    closers: Vec<usize>,
}

impl Speech {
    pub(crate) fn new(name: &str, bytes: &[u8], stops: &[&str]) -> Speech {
        let tokenizer = Tokenizer::from_bytes(bytes, Path::new(name)).unwrap();
        let stop_ids: Vec<u32> = stops.iter().map(|s| tokenizer.token_id(s).unwrap()).collect();
        let vocabulary = Arc::new(Vocabulary::new(&tokenizer, &stop_ids).unwrap());
        let closes = |id: &usize| {
            let bytes = tokenizer.bytes_within(u32::try_from(*id).unwrap()).unwrap_or_default();
            ["\"", "}", "]", "\"}", "]}", "</", "<", "\n", ")"]
                .iter()
                .any(|closer| bytes == closer.as_bytes())
                || (bytes.starts_with(b"</") && bytes.ends_with(b">"))
        };
        let special = |id: &usize| tokenizer.is_special(u32::try_from(*id).unwrap());
        let closers = (0..tokenizer.n_vocab()).filter(|id| closes(id) || special(id)).collect();
        Speech { name: name.to_owned(), tokenizer, stop_ids, vocabulary, closers }
    }

    pub(crate) fn compile(&self, answer: &Answer<'_>) -> Result<Keeper, FormError> {
        compile(&self.vocabulary, answer)
    }

    /// An answer at temperature 1 to random rows, which lean towards an end after a while; `None` when
    /// it is not complete after `n_tokens_max` tokens.
    pub(crate) fn answer(
        &self,
        keeper: &mut Keeper,
        seed: u64,
        n_tokens_max: usize,
    ) -> Option<Vec<u32>> {
        self.try_answer(keeper, seed, n_tokens_max).unwrap()
    }

    /// The same, or why the form could not be kept to.
    pub(crate) fn try_answer(
        &self,
        keeper: &mut Keeper,
        seed: u64,
        n_tokens_max: usize,
    ) -> Result<Option<Vec<u32>>, ConstraintError> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let n_vocab = self.tokenizer.n_vocab();
        // Rows of models are often longer than the vocabulary.
        let n_row = n_vocab + 37;
        let base: Vec<f32> =
            (0..n_row).map(|_| LOGIT_MAX * (2.0 * unit(&mut random) - 1.0)).collect();
        let mut row = vec![0.0; n_row];
        let mut ids = Vec::new();
        for n_tokens in 0..n_tokens_max {
            // Another row each time, for little work.
            let turn = random.next_u32() as usize % n_row;
            row[..n_row - turn].copy_from_slice(&base[turn..]);
            row[n_row - turn..].copy_from_slice(&base[..turn]);
            if 12 < n_tokens {
                self.closers.iter().for_each(|&id| row[id] += LEANING);
            }
            keeper.forbid(&mut row)?;
            assert!(row[n_vocab..].iter().all(|logit| *logit == f32::NEG_INFINITY));
            let token = u32::try_from(draw(&row, &mut random)).unwrap();
            ids.push(token);
            if keeper.take(token) || self.stop_ids.contains(&token) {
                return Ok(Some(ids));
            }
        }
        Ok(None)
    }

    pub(crate) fn text(&self, ids: &[u32]) -> String {
        self.tokenizer.decode(ids, SpecialPieces::Skip)
    }
}

/// Logits lie within it of zero.
const LOGIT_MAX: f32 = 3.0;
/// What tokens that end something get on top.
const LEANING: f32 = 9.0;

/// From 0 to 1.
fn unit(random: &mut ChaCha8Rng) -> f32 {
    (random.next_u32() >> 8) as f32 / (1 << 24) as f32
}

/// A draw from a row's distribution.
fn draw(row: &[f32], random: &mut ChaCha8Rng) -> usize {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // By rejection, which looks at few tokens where many are allowed.
    for _ in 0..200 {
        let idx = random.next_u32() as usize % row.len();
        if unit(random) < (row[idx] - largest).exp() {
            return idx;
        }
    }
    let allowed: Vec<usize> = (0..row.len()).filter(|&idx| row[idx] != f32::NEG_INFINITY).collect();
    let weight = |idx: usize| (row[idx] - largest).exp();
    let mut left = unit(random) * allowed.iter().map(|&idx| weight(idx)).sum::<f32>();
    for &idx in &allowed {
        left -= weight(idx);
        if left <= 0.0 {
            return idx;
        }
    }
    *allowed.last().expect("something may come")
}

/// Tokenizers made here, and those of the exports that are at hand.
pub(crate) fn all() -> Vec<Speech> {
    let mut all = vec![byte_level(&[], &[]), sentence_piece()];
    for (name, stops) in [
        ("smollm2-135m-instruct-ov-int4", &["<|im_end|>", "<|endoftext|>"][..]),
        ("stories260k-ov-fp32", &["</s>"][..]),
    ] {
        let path = exports().join(name).join("tokenizer.json");
        match std::fs::read(&path) {
            Ok(bytes) => all.push(Speech::new(name, &bytes, stops)),
            Err(_) => eprintln!("skipped: {} is not here", path.display()),
        }
    }
    all
}

fn exports() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    std::env::var_os("LAPWING_SHARED").map_or_else(beside, PathBuf::from).join("exports")
}

fn added(idx: usize, text: &str, is_special: bool) -> Value {
    json!({
        "id": idx, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": is_special
    })
}

/// Every byte, some words, an end, and further tokens that are special and that are not.
pub(crate) fn byte_level(special: &[&str], plain: &[&str]) -> Speech {
    let mut vocab = Map::new();
    for byte in 0..=255_u8 {
        vocab.insert(symbol_of(byte).to_string(), json!(byte));
    }
    for word in
        ["true", "null", "\":", "\",", "Ġ\"", "name", "{\"", "\"}", "},", "Ġhello", "é", "12"]
    {
        let word: String = match word {
            "é" => "é".bytes().map(symbol_of).collect(),
            _ => word.to_owned(),
        };
        let id = vocab.len();
        vocab.entry(word).or_insert(json!(id));
    }
    let mut tokens = vec![added(vocab.len(), "<end>", true)];
    for (text, is_special) in
        special.iter().map(|text| (text, true)).chain(plain.iter().map(|text| (text, false)))
    {
        tokens.push(added(vocab.len() + tokens.len(), text, is_special));
    }
    let level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false
    });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": tokens,
        "normalizer": null, "pre_tokenizer": level, "post_processor": null, "decoder": level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []}
    });
    Speech::new("byte level", tokenizer.to_string().as_bytes(), &["<end>"])
}

/// Pieces with a mark for a space, and tokens for bytes.
fn sentence_piece() -> Speech {
    let mut pieces = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    pieces.extend((0..=255_u8).map(|byte| format!("<0x{byte:02X}>")));
    pieces.extend([' ', '\u{2581}', 'é', '漢'].map(String::from));
    pieces.extend(('!'..='~').map(String::from));
    pieces.extend(
        ["▁{", "▁\"", "\":", "▁true", "▁false", "▁null", "▁12", "▁hello"].map(String::from),
    );
    let vocab: Map<String, Value> =
        pieces.into_iter().zip(0..).map(|(piece, id): (_, u32)| (piece, id.into())).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(0, "<unk>", true), added(1, "<s>", true), added(2, "</s>", true)],
        "normalizer": null, "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}
        ]},
        "model": {"type": "BPE", "vocab": vocab, "merges": [], "unk_token": "<unk>", "byte_fallback": true}
    });
    Speech::new("sentence piece", tokenizer.to_string().as_bytes(), &["</s>"])
}

/// What stands for a byte in a byte-level vocabulary.
fn symbol_of(byte: u8) -> char {
    let is_itself = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    if is_itself(byte) {
        return char::from(byte);
    }
    let n_before = (0..byte).filter(|&byte| !is_itself(byte)).count();
    char::from_u32(256 + u32::try_from(n_before).unwrap()).unwrap()
}
