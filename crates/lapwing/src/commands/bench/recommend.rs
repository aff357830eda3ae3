//! Keeps the device that is best for each model, and says so.

use std::path::Path;

use anyhow::Context as _;
use lapwing_measure::bench::{Judge, Plan, Winner, shared_name};

use super::table::figure;
use crate::exit::UsageError;
use crate::interrupt;
use crate::printer::Printer;
use lapwing_host::recommendation::{self, Existing, Recommendation};

/// Judge every model of a plan and write the winners to `file`.
pub(super) fn recommend(judge: &Judge<'_>, file: &Path, printer: &Printer) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    let mut is_any_told = false;
    for model in judge.plan.models() {
        let winner = match judge.best(model) {
            Ok(winner) => winner,
            // The other models have figures.
            Err(error) => {
                outcome = outcome.and(Err(error));
                continue;
            }
        };
        let existing = if winner.n_devices == 1 { Existing::Keep } else { Existing::Replace };
        let (name, recommendation) = (&model.model, recommendation(judge, winner));
        let stop = &interrupt::requested;
        let kept = recommendation::write(file, name, &recommendation, existing, stop);
        interrupt::check()?;
        let kept = kept.context("cannot keep the recommendation")?;
        is_any_told = true;
        printer.note(match kept {
            None => format!("recommended: {}", recommendation.describe(name)),
            Some(kept) => format!(
                "only {} was measured: the recommendation stays {}",
                recommendation.device,
                kept.describe(name)
            ),
        });
    }
    if is_any_told {
        printer.note(format!("`--device auto` takes it from {}", file.display()));
    }
    Ok(outcome?)
}

/// Refuse, before hours are spent, what could not be kept: one device for a name that two models
/// have, and anything in a file that cannot be read.
///
/// # Errors
///
/// When that is so.
pub(super) fn check(plan: &Plan, file: &Path) -> anyhow::Result<()> {
    if let Some(name) = shared_name(plan) {
        let problem = format!("two models are named {name}, and --recommend is for one");
        let advice = "rename the folder of one, or leave out --recommend".to_owned();
        return Err(UsageError { problem, advice: Some(advice) }.into());
    }
    recommendation::check(file).context("cannot keep the recommendation")
}

fn recommendation(judge: &Judge<'_>, winner: Winner<'_>) -> Recommendation {
    let configuration = &winner.record.configuration;
    Recommendation {
        device: winner.device.to_string(),
        backend: configuration.backend.clone(),
        metric: judge.merit.name().to_owned(),
        // More digits than a reader needs are more than was measured.
        figure: figure(winner.figure).parse().unwrap_or(winner.figure),
        unit: winner.unit,
        verdict: winner.verdict,
        record_id: winner.record.record_id.clone(),
        model_sha256: configuration.model_sha256.clone(),
        model_bytes: configuration.model_bytes.unwrap_or(0),
    }
}
