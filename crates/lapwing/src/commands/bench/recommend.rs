//! The device that is best at something, judged by the records of one run.

use std::path::Path;

use anyhow::Context as _;
use lapwing_measure::record::{Record, TestKind};
use lapwing_measure::statistics::{Samples, ratio_interval};

use super::plan::Plan;
use super::table::figure;
use crate::cli::Metric;
use crate::printer::Printer;
use crate::recommendation::{self, Recommendation};

/// Figures without repetitions differ when they do by more than this share.
const SHARE: f64 = 0.05;
/// Of the resamples that tell two devices apart.
const SEED: u64 = 0;

/// A device with what it is judged by.
struct Candidate<'a> {
    record: &'a Record,
    /// One for each repetition, or a single one; less is better.
    costs: Vec<f64>,
    /// The figure for people.
    figure: f64,
}

/// Nothing to judge a model by.
#[derive(Debug, thiserror::Error)]
#[error("no device can be recommended for {model}: {reason}")]
pub struct NoRecommendationError {
    /// The model.
    pub model: String,
    /// What is missing.
    pub reason: String,
}

/// Judge every model of `plan` and write the winners to the settings file.
///
/// # Errors
///
/// When the records do not tell what is asked for, or the file cannot be written.
pub(super) fn recommend(
    plan: &Plan,
    records: &[Record],
    metric: Metric,
    settings_file: &Path,
    printer: &Printer,
) -> anyhow::Result<()> {
    let mut names: Vec<&str> = Vec::new();
    for planned in &plan.configurations {
        if !names.contains(&planned.model.name.as_str()) {
            names.push(&planned.model.name);
        }
    }
    for name in names {
        let of_model = records.iter().filter(|record| record.configuration.model == name);
        let found = judge(name, &of_model.collect::<Vec<_>>(), metric)?;
        recommendation::write(settings_file, name, &found)
            .context("cannot keep the recommendation")?;
        printer.note(format!("recommended: {}", found.describe(name)));
    }
    printer.note(format!("`--device auto` takes it from {}", settings_file.display()));
    Ok(())
}

/// The best of the devices that the records of one model are of.
fn judge(
    model: &str,
    records: &[&Record],
    metric: Metric,
) -> Result<Recommendation, NoRecommendationError> {
    let mut candidates: Vec<Candidate<'_>> = Vec::new();
    for record in records.iter().filter(|record| record.test.kind == TestKind::Decode) {
        let device = |other: &Record| other.configuration.device_requested.clone();
        let is_new = candidates.iter().all(|other| device(other.record) != device(record));
        if let (true, Some(candidate)) = (is_new, candidate(record, records, metric)) {
            candidates.push(candidate);
        }
    }
    let cheapest = |candidates: &[Candidate<'_>]| {
        let costs = candidates.iter().enumerate().filter_map(|(idx, candidate)| {
            Some((idx, Samples::new(&candidate.costs).ok()?.median()))
        });
        costs.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(idx, _)| idx)
    };
    let Some(best_idx) = cheapest(&candidates) else {
        let (model, reason) = (model.to_owned(), missing(metric, records));
        return Err(NoRecommendationError { model, reason });
    };
    // Where nothing is shown, the first one asked for is as good as any.
    let first = &candidates[0];
    let (winner, verdict) = match candidates.len() {
        1 => (first, "the only device".to_owned()),
        n => {
            let best = &candidates[best_idx];
            let others = candidates.iter().enumerate().filter(|(idx, _)| *idx != best_idx);
            match others.map(|(_, other)| other).all(|other| is_better(best, other)) {
                true => (best, format!("best of {n} devices")),
                false => (first, format!("no difference shown between {n} devices")),
            }
        }
    };
    Ok(told(winner, metric, verdict))
}

/// What the device of a decode is judged by.
fn candidate<'a>(
    decode: &'a Record,
    records: &[&'a Record],
    metric: Metric,
) -> Option<Candidate<'a>> {
    let latency = decode.latency.as_ref()?;
    let (costs, figure) = match metric {
        Metric::Throughput => (latency.samples_ms.clone(), latency.tokens_per_s.median),
        Metric::Latency => {
            let device = &decode.configuration.device_requested;
            let mut prefills = records.iter().filter(|record| {
                record.test.kind == TestKind::Prefill
                    && &record.configuration.device_requested == device
            });
            let first = prefills.next_back().and_then(|record| record.latency.as_ref());
            let pairs = |first: &[f64]| -> Vec<f64> {
                first.iter().zip(&latency.samples_ms).map(|(a, b)| a + b).collect()
            };
            let costs =
                first.map_or_else(|| latency.samples_ms.clone(), |first| pairs(&first.samples_ms));
            let median = Samples::new(&costs).ok()?.median();
            (costs, median)
        }
        Metric::Energy => {
            let joules = decode.energy.as_ref()?.joules_per_token?;
            (vec![joules], joules)
        }
        Metric::Memory => {
            let n_bytes = decode.memory.peak_rss_bytes? as f64;
            (vec![n_bytes], n_bytes)
        }
    };
    Some(Candidate { record: decode, costs, figure })
}

/// Whether the difference is more than the repetitions of each differ.
fn is_better(best: &Candidate<'_>, other: &Candidate<'_>) -> bool {
    let (Ok(best), Ok(other)) = (Samples::new(&best.costs), Samples::new(&other.costs)) else {
        return false;
    };
    match ratio_interval(&best, &other, SEED) {
        Ok(ratio) => ratio.high < 1.0,
        Err(_) => best.median() < other.median() * (1.0 - SHARE),
    }
}

fn told(winner: &Candidate<'_>, metric: Metric, verdict: String) -> Recommendation {
    let (metric, unit) = match metric {
        Metric::Latency => ("latency", "ms to the last token"),
        Metric::Throughput => ("throughput", "tokens/s"),
        Metric::Energy => ("energy", "J/token"),
        Metric::Memory => ("memory", "bytes at the peak"),
    };
    let configuration = &winner.record.configuration;
    // More digits than a reader needs are more than was measured.
    let short = figure(winner.figure).parse().unwrap_or(winner.figure);
    Recommendation {
        device: configuration.device_requested.to_lowercase(),
        backend: configuration.backend.clone(),
        metric: metric.to_owned(),
        figure: short,
        unit: unit.to_owned(),
        verdict,
        record_id: winner.record.record_id.clone(),
        model_sha256: configuration.model_sha256.clone(),
        model_bytes: configuration.model_bytes.unwrap_or(0),
    }
}

fn missing(metric: Metric, records: &[&Record]) -> String {
    let decode = records.iter().find(|record| record.test.kind == TestKind::Decode);
    let path = match metric {
        Metric::Energy => "energy",
        Metric::Memory => "memory.peak_rss_bytes",
        Metric::Latency | Metric::Throughput => "latency",
    };
    match decode {
        None => "nothing was generated".to_owned(),
        Some(record) => {
            record.nulls.get(path).cloned().unwrap_or_else(|| "nothing was measured".to_owned())
        }
    }
}
