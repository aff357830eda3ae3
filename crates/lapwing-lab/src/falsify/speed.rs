//! Tokens a second with and without a correction, and the time of the stage alone.
//!
//! Conditions generate in turn within a round, so that what else the machine does falls on all of
//! them; ratios are of one round.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapwing_backend::Model;
use lapwing_eval::{OnProgress, Progress};
use lapwing_logits::{
    CorrectRowError, Correction, Corrector, Details, Level, SamplerOptions, Scope, Smoothing,
};
use lapwing_model::TokenId;
use lapwing_runtime::{
    GenerateError, Generated, Request, Session, TokenTimings, generate, score_rows,
};
use lapwing_text::SpecialPieces;

use super::ablations::N_TRACKED;
use super::{Cost, FalsifyError, Speed};

/// Tokens of the prompt.
const N_PROMPT_TOKENS: usize = 32;
/// Rows that the stage is timed on, again and again.
const N_COST_ROWS: usize = 16;
/// How often.
const N_COST_ROUNDS: usize = 25;
const NO_SEQUENCE: &str = "start a sequence of";

/// What is timed, on what.
#[derive(Clone, Copy)]
pub(super) struct Timed<'a> {
    /// What errors call the model.
    pub(super) name: &'a str,
    pub(super) model: &'a Arc<dyn Model>,
    pub(super) level: Level,
    /// The start of a text.
    pub(super) tokens: &'a [TokenId],
}

/// A treatment that generates: a name, and what is done to rows.
pub(super) type Generating = (String, Option<Arc<Correction>>);

/// Let every treatment generate in every round; the first is what the others are compared with.
pub(super) fn speeds(
    timed: &Timed<'_>,
    treatments: &[Generating],
    (n_rounds, n_tokens): (usize, usize),
    on_progress: OnProgress<'_>,
) -> Result<Vec<Speed>, FalsifyError> {
    let &Timed { name, model, level, tokens } = timed;
    let prompt = &tokens[..tokens.len().min(N_PROMPT_TOKENS)];
    let failed = |source| FalsifyError::part("generate with", name)(source);
    let mut sessions = Vec::with_capacity(treatments.len());
    for (_, correction) in treatments {
        let mut session = Session::new(Arc::clone(model), level)
            .map_err(FalsifyError::part(NO_SEQUENCE, name))?;
        session.set_correction(correction.clone());
        // Untimed: a library's first steps create what the later ones use.
        answer(&mut session, prompt, 2).map_err(failed)?;
        sessions.push(session);
    }
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); treatments.len()];
    let mut corrects: Vec<Vec<Duration>> = vec![Vec::new(); treatments.len()];
    let n_total = n_rounds.max(1);
    for round in 0..n_total {
        let progress = Progress { n_done: round, n_total, n_resumed: 0, so_far: None };
        progress.report(on_progress)?;
        for place in 0..treatments.len() {
            // Every treatment comes first once in a while.
            let idx = (place + round) % treatments.len();
            let generated = answer(&mut sessions[idx], prompt, n_tokens.max(2)).map_err(failed)?;
            rates[idx].push(tokens_per_s(&generated));
            corrects[idx].extend(generated.timings.tokens.iter().filter_map(|token| token.correct));
        }
    }
    let speed = |idx: usize| {
        let mut ratios: Vec<f64> =
            rates[idx].iter().zip(&rates[0]).map(|(rate, raw)| rate / raw).collect();
        ratios.sort_by(f64::total_cmp);
        let mut of_treatment = rates[idx].clone();
        of_treatment.sort_by(f64::total_cmp);
        corrects[idx].sort_unstable();
        let correct = corrects[idx].get(corrects[idx].len() / 2).copied().unwrap_or_default();
        Speed {
            name: treatments[idx].0.clone(),
            tokens_per_s: of_treatment[of_treatment.len() / 2],
            ratio: ratios[ratios.len() / 2],
            ratio_range: [ratios[0], ratios[ratios.len() - 1]],
            correction_us_p50: correct.as_secs_f64() * 1e6,
        }
    };
    Ok((0..treatments.len()).map(speed).collect())
}

/// Greedy and without an end.
fn answer(
    session: &mut Session,
    prompt: &[TokenId],
    n_tokens_max: usize,
) -> Result<Generated, GenerateError> {
    let sampler = SamplerOptions::greedy();
    let request = Request {
        prompt,
        tokenizer: None,
        special: SpecialPieces::Skip,
        reply: None,
        sampler: &sampler,
        details: Details::NONE,
        n_tokens_max,
        stop_ids: &[],
        ignore_stop_ids: true,
        stop_texts: &[],
        n_first_step_top: 0,
    };
    generate(session, &request, &mut |_| ControlFlow::Continue(()))
}

/// Of all tokens after the first, with everything that was done for them.
fn tokens_per_s(generated: &Generated) -> f64 {
    let steps = generated.timings.steps();
    let elapsed: Duration = steps.iter().map(TokenTimings::total).sum();
    steps.len() as f64 / elapsed.as_secs_f64()
}

/// Time the stage on rows of the model: over the full vocabulary and over tracked sets.
pub(super) fn costs(
    timed: &Timed<'_>,
    default: &Smoothing,
    n_tokens: usize,
) -> Result<Vec<Cost>, FalsifyError> {
    let &Timed { name, model, level, tokens } = timed;
    let mut rows: Vec<f32> = Vec::new();
    let mut decoder = model.decoder().map_err(FalsifyError::part(NO_SEQUENCE, name))?;
    let given = &tokens[..tokens.len().min(N_COST_ROWS)];
    let on_row = &mut |row: lapwing_backend::Row<'_>| {
        rows.extend_from_slice(&row.logits[..n_tokens]);
    };
    score_rows(model.as_ref(), &mut *decoder, given, on_row)
        .map_err(FalsifyError::part("score rows of", name))?;
    let scopes = N_TRACKED.into_iter().filter(|&n_tracked| n_tracked <= n_tokens);
    let scopes = scopes.map(|n_tracked_max| (Some(n_tracked_max), Scope::TopK { n_tracked_max }));
    let mut costs = Vec::new();
    for (n_tracked_max, scope) in std::iter::once((None, Scope::Full)).chain(scopes) {
        let smoothing = Smoothing { scope, ..default.clone() };
        let correction = Correction::new(n_tokens, None, Some(smoothing))
            .expect("the smoothing of a correction that was made before");
        let corrector = Corrector::new(Arc::new(correction), level);
        let row_us_p50 = row_us_p50(corrector, &rows, n_tokens)
            .map_err(FalsifyError::part("correct a row of", name))?;
        let name = n_tracked_max.map_or("full vocabulary".to_owned(), |m| format!("M = {m}"));
        costs.push(Cost { name, n_tracked_max, row_us_p50 });
    }
    Ok(costs)
}

fn row_us_p50(
    mut corrector: Corrector,
    rows: &[f32],
    n_tokens: usize,
) -> Result<f64, CorrectRowError> {
    let mut row = vec![0.0; n_tokens];
    let mut times = Vec::with_capacity(N_COST_ROWS * N_COST_ROUNDS);
    for _ in 0..N_COST_ROUNDS {
        corrector.reset();
        for (row_idx, raw) in rows.chunks_exact(n_tokens).enumerate() {
            row.copy_from_slice(raw);
            let started = Instant::now();
            corrector.apply(&mut row)?;
            // The first row only starts the state.
            if row_idx != 0 {
                times.push(started.elapsed());
            }
        }
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    Ok(median.as_secs_f64() * 1e6)
}
