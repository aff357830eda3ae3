//! The checks of what enters the output head.

use lapwing_model::{ModelFolder, TokenId};

use super::{close, exact_options, rows_by_score};
use crate::{Backend, Model, OpenOptions, Precision, Row};

/// Two roundings to bf16, as a share of the largest logit: a library that is free to choose may
/// calculate in bf16, which keeps 8 bits, and does on processors with AMX.
const BF16_ROUNDING: f32 = 1.0 / 64.0;

/// Hidden states come with every scored row when they are asked for and never otherwise, are the
/// same in chunks as at once, and change no logit, in whatever arithmetic.
///
/// Shapes: `prompt [9]`, so that no chunk here has a single token.
///
/// # Panics
///
/// When they do not; `allowed` is in units of the largest hidden entry and of logits.
pub fn hidden_states_come_with_rows(
    backend: &dyn Backend,
    folder: &ModelFolder,
    prompt: &[TokenId],
    allowed: f32,
) {
    // A correction is calibrated with hidden states and runs without.
    let mut hidden = Vec::new();
    for precision in [Precision::Fast, Precision::Exact] {
        let options = OpenOptions { precision, ..exact_options() };
        let plain = backend.open(folder, &options).expect("the model opens");
        assert_eq!(plain.n_hidden(), None, "nobody asked");
        let expected = rows_by_score(&*plain, prompt);
        let asked = OpenOptions { hidden_states: true, ..options };
        let model = backend.open(folder, &asked).expect("the model opens with hidden states");
        let (logits, found) = rows_and_hidden(&*model, prompt);
        for (token_idx, (row, expected)) in logits.iter().zip(&expected).enumerate() {
            let what = format!("row {token_idx} beside hidden states, {precision:?}");
            close(row, expected, allowed, &what);
        }
        let mut last = vec![0.0; model.n_vocab()];
        model.decoder().expect("a decoder").step(prompt, &mut last).expect("a step");
        let expected = &logits[prompt.len() - 1];
        // A head over one row may sum in another order than one over many.
        let allowed = match precision {
            Precision::Exact => allowed,
            Precision::Fast => allowed.max(BF16_ROUNDING * magnitude(expected)),
        };
        close(&last, expected, allowed, "a step beside hidden states");
        hidden = found;
    }
    let largest = hidden.iter().map(|row| magnitude(row)).fold(0.0, f32::max);
    assert!(0.0 < largest && largest.is_finite(), "the largest hidden entry is {largest}");
    // Chunks of one row may differ by more; see `chunks_do_not_matter`.
    for n_tokens in [3, 7] {
        let n_chunk_tokens = Some(n_tokens);
        let options = OpenOptions { hidden_states: true, n_chunk_tokens, ..exact_options() };
        let chunked = backend.open(folder, &options).expect("the model opens");
        let (_, found) = rows_and_hidden(&*chunked, prompt);
        for (token_idx, (row, expected)) in found.iter().zip(&hidden).enumerate() {
            let what = format!("hidden state {token_idx}, chunks of {n_tokens}");
            close(row, expected, allowed * largest.max(1.0), &what);
        }
    }
}

/// The logits of every row are `head` times its hidden state.
///
/// Shapes: `head [n_vocab, n_hidden]`, row-major.
///
/// # Panics
///
/// When one differs by more than `allowed`.
pub fn hidden_states_make_the_logits(
    model: &dyn Model,
    prompt: &[TokenId],
    head: &[f32],
    allowed: f32,
) {
    let (logits, hidden) = rows_and_hidden(model, prompt);
    for (token_idx, (row, hidden)) in logits.iter().zip(&hidden).enumerate() {
        let dot = |weights: &[f32]| {
            let products = weights.iter().zip(hidden).map(|(w, h)| f64::from(*w) * f64::from(*h));
            products.sum::<f64>() as f32
        };
        let expected: Vec<f32> = head.chunks_exact(hidden.len()).map(dot).collect();
        close(row, &expected, allowed, &format!("row {token_idx} from its hidden state"));
    }
}

/// The largest magnitude of a row.
fn magnitude(row: &[f32]) -> f32 {
    row.iter().fold(0.0, |max, logit| logit.abs().max(max))
}

/// Logits and hidden states of every row.
fn rows_and_hidden(model: &dyn Model, tokens: &[TokenId]) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let n_hidden = model.n_hidden().expect("hidden states were asked for");
    let (mut logits, mut hidden) = (Vec::new(), Vec::new());
    let mut take = |row: Row<'_>| {
        assert_eq!(row.token_idx, logits.len(), "rows come in order");
        let state = row.hidden.expect("every row has its hidden state");
        assert_eq!(state.len(), n_hidden, "row {}", row.token_idx);
        assert!(state.iter().all(|value| value.is_finite()), "row {}", row.token_idx);
        logits.push(row.logits.to_vec());
        hidden.push(state.to_vec());
    };
    model.decoder().expect("a decoder").score(tokens, &mut take).expect("a score");
    assert_eq!(hidden.len(), tokens.len());
    (logits, hidden)
}
