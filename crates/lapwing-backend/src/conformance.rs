//! What every backend must do, run by each backend crate over the same real exports.
//!
//! Each check panics with what differed, so a test calls it and nothing else. The reference
//! outputs (`golden.json`) come from plain Python loops over the libraries, not from Lapwing.

mod encoder;
mod golden;
mod hidden_states;
mod readme;
mod stopping;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lapwing_model::{ModelFolder, TokenId};

pub use encoder::{N_TINY_HIDDEN, N_TINY_WORDS, TINY_TYPES, encodes, tiny_rows, tiny_words};
pub use golden::{GoldenCase, Tolerance, agrees_with_golden, golden_case, golden_cases};
pub use hidden_states::{hidden_states_come_with_rows, hidden_states_make_the_logits};
pub use readme::ReadmeColumn;
pub use stopping::a_prompt_can_be_stopped;

use crate::{
    Backend, Decoder, DeviceKind, DeviceRequest, Model, OpenOptions, Precision, Row, Step,
};

/// A prompt of ids that every vocabulary has, and another one.
pub const PROMPT: [TokenId; 9] = [1, 403, 407, 261, 378, 432, 383, 286, 261];
/// See [`PROMPT`].
pub const OTHER: [TokenId; 5] = [1, 291, 370, 400, 428];

/// How far logits may be that are computed in f32 in another order.
const ALLOWED: f32 = 2e-3;

/// All that holds of any model on the CPU. Chunks of one token may differ by `allowed_alone` where the
/// library multiplies a single row by another kernel.
///
/// # Panics
///
/// When something does not hold.
pub fn conforms(backend: &dyn Backend, folder: &ModelFolder, allowed_alone: f32) {
    let model = backend.open(folder, &exact_options()).expect("the model opens");
    chunks_do_not_matter(backend, folder, &*model, &PROMPT, ALLOWED, allowed_alone);
    decoders_are_independent(&*model, &PROMPT, &OTHER);
    steps_together_equal_steps_alone(&*model, &PROMPT, &OTHER, 0.0);
    rewind_equals_fresh(&*model, &PROMPT, &OTHER, ALLOWED);
    bad_input_is_refused(backend, folder);
    hidden_states_come_with_rows(backend, folder, &PROMPT, ALLOWED);
}

/// Every logit is within `allowed` of the expected one.
///
/// # Panics
///
/// When one is not, or is NaN, or there are more or fewer.
pub fn close(found: &[f32], expected: &[f32], allowed: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    for (id, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (found - expected).abs();
        assert!(
            difference <= allowed,
            "{what}: logit {id} is {found} instead of {expected}, {allowed} allowed"
        );
    }
}

/// Options under which results are comparable across machines.
pub fn exact_options() -> OpenOptions {
    OpenOptions {
        device: DeviceRequest::One(DeviceKind::Cpu, None),
        n_threads: Some(2),
        precision: Precision::Exact,
        n_positions_max: None,
        n_chunk_tokens: None,
        hidden_states: false,
        cache_folder: None,
        n_prompt_tokens_max: None,
        whole_prompts: false,
        properties: BTreeMap::new(),
    }
}

/// The folder of real exports and reference outputs, or `None` with a note when it is absent.
///
/// # Panics
///
/// When it is absent and the environment variable `CI` is set.
pub fn shared_folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("LAPWING_SHARED").map_or(beside, PathBuf::from);
    if shared.is_dir() {
        return Some(shared);
    }
    skip(&format!("no real exports in {}", shared.display()));
    None
}

/// The library file named by the environment variable `name`, or `None` with a note.
///
/// # Panics
///
/// When it is not named and the environment variable `CI` is set.
pub fn library_file(name: &str) -> Option<PathBuf> {
    let found = std::env::var_os(name).map(PathBuf::from);
    if found.is_none() {
        skip(&format!("{name} names no library; scripts/test sets it"));
    }
    found
}

fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "CI skips nothing: {reason}");
    note(reason);
}

#[allow(clippy::print_stderr, reason = "a skipped check says so")]
fn note(reason: &str) {
    eprintln!("skipped: {reason}");
}

/// Prefill in one chunk, in several and token by token gives the same logits, and `score` gives
/// the same rows as `model`, which is opened with [`exact_options`]. Chunks of one token may differ by
/// `allowed_alone`.
///
/// # Panics
///
/// When it does not.
pub fn chunks_do_not_matter(
    backend: &dyn Backend,
    folder: &ModelFolder,
    model: &dyn Model,
    prompt: &[TokenId],
    allowed: f32,
    allowed_alone: f32,
) {
    let expected = rows_by_score(model, prompt);
    let last = expected.last().expect("a prompt");
    for n_chunk_tokens in [1, 3, prompt.len()] {
        let allowed = if n_chunk_tokens == 1 { allowed_alone } else { allowed };
        let options = OpenOptions { n_chunk_tokens: Some(n_chunk_tokens), ..exact_options() };
        let chunked = backend.open(folder, &options).expect("the model opens");
        let found = logits_after(&mut *chunked.decoder().expect("a decoder"), &*chunked, prompt);
        close(&found, last, allowed, &format!("chunks of {n_chunk_tokens}"));
        let rows = rows_by_score(&*chunked, prompt);
        assert_eq!(rows.len(), prompt.len());
        for (token_idx, (row, expected)) in rows.iter().zip(&expected).enumerate() {
            close(row, expected, allowed, &format!("row {token_idx}, chunks {n_chunk_tokens}"));
        }
    }
    let mut decoder = model.decoder().expect("a decoder");
    for (token_idx, token) in prompt.iter().enumerate() {
        let found = logits_after(&mut *decoder, model, &[*token]);
        close(&found, &expected[token_idx], allowed_alone, &format!("token {token_idx} alone"));
    }
}

/// Two decoders fed in turn give what each gives alone.
///
/// # Panics
///
/// When one disturbs the other.
pub fn decoders_are_independent(model: &dyn Model, first: &[TokenId], second: &[TokenId]) {
    let alone = |prompt: &[TokenId]| {
        let mut decoder = model.decoder().expect("a decoder");
        let rows = prompt.iter().map(|&token| logits_after(&mut *decoder, model, &[token]));
        rows.collect::<Vec<_>>()
    };
    let expected = (alone(first), alone(second));
    let mut one = model.decoder().expect("a decoder");
    let mut other = model.decoder().expect("a decoder");
    for token_idx in 0..first.len().max(second.len()) {
        if let Some(&token) = first.get(token_idx) {
            let found = logits_after(&mut *one, model, &[token]);
            assert_eq!(found, expected.0[token_idx], "first decoder, token {token_idx}");
        }
        if let Some(&token) = second.get(token_idx) {
            let found = logits_after(&mut *other, model, &[token]);
            assert_eq!(found, expected.1[token_idx], "second decoder, token {token_idx}");
        }
    }
}

/// Sequences that are stepped together give what each gives alone, whatever each is at; a step that
/// is refused leaves its own sequence as it was, and does nothing to the others.
///
/// # Panics
///
/// When a logit differs by more than `allowed`.
pub fn steps_together_equal_steps_alone(
    model: &dyn Model,
    first: &[TokenId],
    second: &[TokenId],
    allowed: f32,
) {
    let unknown = [TokenId::try_from(model.n_vocab()).expect("a vocabulary fits an id")];
    // A prompt beside a token, then tokens; one sequence ends before the other.
    let (prompt, rest) = first.split_at(first.len() / 2);
    let of_first: Vec<&[TokenId]> = std::iter::once(prompt).chain(rest.chunks(1)).collect();
    let of_second: Vec<&[TokenId]> = second.chunks(1).collect();
    let n_steps = of_first.len().max(of_second.len());
    let plans = [of_first, vec![&unknown[..]; n_steps], of_second];
    let decoders = || [0; 3].map(|_| model.decoder().expect("a decoder"));
    let (mut together, mut alone) = (decoders(), decoders());
    for step_idx in 0..n_steps {
        let mut rows = vec![vec![0.0; model.n_vocab()]; plans.len()];
        let parts = together.iter_mut().zip(&mut rows).zip(&plans);
        let steps = parts.filter_map(|((decoder, logits), plan)| {
            let tokens = *plan.get(step_idx)?;
            Some(Step { decoder: &mut **decoder, tokens, logits })
        });
        let mut steps: Vec<Step<'_>> = steps.collect();
        let outcomes = model.step_many(&mut steps);
        assert_eq!(outcomes.len(), steps.len(), "one outcome a sequence");
        for (step, outcome) in steps.iter().zip(outcomes) {
            assert_eq!(outcome.is_ok(), step.tokens != unknown, "{outcome:?}");
        }
        for idx in [0, 2] {
            let Some(tokens) = plans[idx].get(step_idx) else { continue };
            let expected = logits_after(&mut *alone[idx], model, tokens);
            close(&rows[idx], &expected, allowed, &format!("sequence {idx}, step {step_idx}"));
        }
    }
    let n_positions = together.each_ref().map(|decoder| decoder.n_positions());
    assert_eq!(n_positions, [first.len(), 0, second.len()]);
}

/// Rewinding to any place and continuing gives what a fresh decoder gives; a refusal is accepted
/// only from a model that says it may refuse.
///
/// # Panics
///
/// When it gives something else.
pub fn rewind_equals_fresh(model: &dyn Model, prompt: &[TokenId], other: &[TokenId], allowed: f32) {
    for n_kept in [0, 1, prompt.len() / 2, prompt.len() - 1, prompt.len()] {
        let mut decoder = model.decoder().expect("a decoder");
        logits_after(&mut *decoder, model, prompt);
        logits_after(&mut *decoder, model, other);
        match decoder.rewind(n_kept) {
            Ok(()) => assert_eq!(decoder.n_positions(), n_kept),
            Err(error) => {
                assert!(!model.limits().can_rewind, "it can rewind, but not to {n_kept}: {error}");
                note(&format!("no rewind to {n_kept}: {error}"));
                continue;
            }
        }
        let found = logits_after(&mut *decoder, model, other);
        let mut fresh = model.decoder().expect("a decoder");
        let whole = [&prompt[..n_kept], other].concat();
        let expected = logits_after(&mut *fresh, model, &whole);
        close(&found, &expected, allowed, &format!("rewound to {n_kept}"));
    }
    let mut decoder = model.decoder().expect("a decoder");
    assert!(decoder.rewind(1).is_err(), "positions that were never seen cannot be rewound to");
}

/// The row after each step, and every row of a score, are those that `oracle` scores for the same
/// tokens at once.
///
/// # Panics
///
/// When they are not.
pub fn steps_equal_scores(
    model: &dyn Model,
    oracle: &dyn Model,
    steps: &[&[TokenId]],
    allowed: f32,
) {
    let expected = rows_by_score(oracle, &steps.concat());
    let mut decoder = model.decoder().expect("a decoder");
    for (step_idx, step) in steps.iter().enumerate() {
        let found = logits_after(&mut *decoder, model, step);
        let expected = &expected[decoder.n_positions() - 1];
        close(&found, expected, allowed, &format!("step {step_idx}"));
    }
    for (token_idx, row) in rows_by_score(model, &steps.concat()).iter().enumerate() {
        close(row, &expected[token_idx], allowed, &format!("score, row {token_idx}"));
    }
}

/// Too many tokens and unknown tokens are refused with nothing appended.
///
/// # Panics
///
/// When they are not.
pub fn bad_input_is_refused(backend: &dyn Backend, folder: &ModelFolder) {
    let options = OpenOptions { n_positions_max: Some(8), ..exact_options() };
    let model = backend.open(folder, &options).expect("the model opens");
    let mut logits = vec![0.0; model.n_vocab()];
    let mut decoder = model.decoder().expect("a decoder");
    let unknown = TokenId::try_from(model.n_vocab()).expect("a vocabulary fits an id");
    for tokens in [vec![1; 9], vec![unknown], vec![1, TokenId::MAX]] {
        decoder.step(&tokens, &mut logits).expect_err("bad tokens are refused");
        assert_eq!(decoder.n_positions(), 0, "nothing was appended of {tokens:?}");
    }
    decoder.step(&[1; 8], &mut logits).expect("a full context is no error");
    decoder.step(&[1], &mut logits).expect_err("there is no room");
}

fn logits_after(decoder: &mut dyn Decoder, model: &dyn Model, tokens: &[TokenId]) -> Vec<f32> {
    let mut logits = vec![0.0; model.n_vocab()];
    decoder.step(tokens, &mut logits).expect("a step");
    logits
}

fn rows_by_score(model: &dyn Model, tokens: &[TokenId]) -> Vec<Vec<f32>> {
    let mut rows = Vec::new();
    let mut decoder = model.decoder().expect("a decoder");
    let mut take = |row: Row<'_>| {
        assert_eq!(row.token_idx, rows.len(), "rows come in order");
        assert_eq!(row.hidden, None, "nobody asked");
        rows.push(row.logits.to_vec());
    };
    decoder.score(tokens, &mut take).expect("a score");
    rows
}
