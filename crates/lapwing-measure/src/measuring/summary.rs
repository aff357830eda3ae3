//! From the samples of all repetitions to the figures of a record, and a reason for each that is
//! not there.

use std::collections::BTreeMap;

use lapwing_report::statistics::{self, Samples, SamplesError, median_interval};

use super::{Run, Step};
use crate::record::{self, InterToken, Latency, StepCost, Throughput};

/// Draws the resamples of every interval of a record.
const SEED: u64 = 0;

/// Reasons for nulls, by their path in a record.
pub type Nulls = BTreeMap<String, String>;

const ONE_REPETITION: &str = "one repetition has no spread";
const NO_STEPS: &str = "a prefill has no decoding steps";

/// How long `runs` took, of which each reads or produces `n_tokens`.
///
/// # Errors
///
/// When there are no runs, or a time is not a number.
pub fn latency(runs: &[Run], n_tokens: usize, nulls: &mut Nulls) -> Result<Latency, SamplesError> {
    let samples_ms: Vec<f64> = runs.iter().map(|run| run.total_ms).collect();
    let times = Samples::new(&samples_ms)?;
    let rates: Vec<f64> = samples_ms.iter().map(|ms| n_tokens as f64 / ms * 1e3).collect();
    let tokens_per_s = throughput(&Samples::new(&rates)?, nulls);
    let first: Vec<f64> = runs.iter().map(|run| run.ttft_ms).collect();
    let ttft_ms = interval(&Samples::new(&first)?, "latency.ttft_ms", nulls);
    let gaps = joined(runs, |step| Some(step.inter_token_ms));
    let inter_token_ms = inter_token(&gaps).unwrap_or_else(|reason| {
        nulls.insert("latency.inter_token_ms".into(), reason);
        None
    });
    Ok(Latency {
        ms_median: times.median(),
        ms_mad: times.mad(),
        samples_ms,
        tokens_per_s,
        ttft_ms: Some(ttft_ms),
        inter_token_ms,
    })
}

/// Where the time of a step goes; `None`, with the reason in `nulls`, when no steps were timed.
///
/// # Errors
///
/// When a time is not a number.
pub fn step_cost(
    runs: &[Run],
    has_tokenizer: bool,
    nulls: &mut Nulls,
) -> Result<Option<StepCost>, SamplesError> {
    let gaps_ms = joined(runs, |step| Some(step.inter_token_ms));
    if gaps_ms.is_empty() {
        nulls.insert("step_us".into(), NO_STEPS.into());
        return Ok(None);
    }
    let mut part = |name: &str, reason: Option<&str>, samples: fn(&Step) -> Option<f64>| {
        let samples = joined(runs, samples);
        if let Some(reason) = reason.or(samples.is_empty().then_some("it was not timed")) {
            nulls.insert(format!("step_us.{name}"), reason.to_owned());
            return Ok(None);
        }
        Ok(Some(Samples::new(&samples)?.median()))
    };
    let is_corrected = runs.iter().flat_map(|run| &run.steps).any(|s| s.correction_us.is_some());
    let no_correction = (!is_corrected).then_some("no correction is applied");
    let no_tokenizer = (!has_tokenizer).then_some("the model has no tokenizer");
    Ok(Some(StepCost {
        inference: part("inference", None, |step| Some(step.inference_us))?,
        correction: part("correction", no_correction, |step| step.correction_us)?,
        sampler: part("sampler", None, |step| Some(step.sampler_us))?,
        detokenizer: part("detokenizer", no_tokenizer, |step| Some(step.detokenizer_us))?,
        rest: part("rest", None, |step| Some(step.rest_us))?,
        total: Samples::new(&gaps_ms)?.median() * 1e3,
        n_steps: gaps_ms.len() as u64,
    }))
}

/// Width of the interval of the median of `samples`, as a share of the median; `None` when there
/// is none.
pub fn relative_width(samples: &[f64]) -> Option<f64> {
    let interval = median_interval(&Samples::new(samples).ok()?, SEED).ok()?;
    Some(2.0 * interval.relative_half_width()?)
}

/// The median of `samples`, with the interval of [`median_interval`] where there is one.
pub fn interval(samples: &Samples, path: &str, nulls: &mut Nulls) -> record::Interval {
    let (low, high) = ends(samples, path, nulls);
    record::Interval { median: samples.median(), low, high }
}

/// Rates, as a record tells them.
pub(crate) fn throughput(rates: &Samples, nulls: &mut Nulls) -> Throughput {
    let path = "latency.tokens_per_s";
    let (low, high) = ends(rates, path, nulls);
    let coefficient_of_variation = rates.coefficient_of_variation();
    if coefficient_of_variation.is_none() {
        nulls.insert(format!("{path}.coefficient_of_variation"), ONE_REPETITION.into());
    }
    Throughput { median: rates.median(), low, high, mean: rates.mean(), coefficient_of_variation }
}

fn ends(samples: &Samples, path: &str, nulls: &mut Nulls) -> (Option<f64>, Option<f64>) {
    match median_interval(samples, SEED) {
        Ok(interval) => (Some(interval.low), Some(interval.high)),
        Err(_) => {
            for end in ["low", "high"] {
                nulls.insert(format!("{path}.{end}"), ONE_REPETITION.into());
            }
            (None, None)
        }
    }
}

/// `Err` with the reason when there is nothing to tell.
fn inter_token(gaps_ms: &[f64]) -> Result<Option<InterToken>, String> {
    if gaps_ms.is_empty() {
        return Err(NO_STEPS.into());
    }
    let samples = Samples::new(gaps_ms).map_err(|error| error.to_string())?;
    let histogram = statistics::Histogram::new(&samples).map_err(|error| error.to_string())?;
    Ok(Some(InterToken {
        p50: samples.percentile(50.0),
        p90: samples.percentile(90.0),
        p99: samples.percentile(99.0),
        max: samples.max(),
        mean: samples.mean(),
        n: samples.n() as u64,
        histogram: record::Histogram {
            edges_ms: histogram.edges(),
            counts: histogram.counts().to_vec(),
        },
    }))
}

fn joined(runs: &[Run], sample: fn(&Step) -> Option<f64>) -> Vec<f64> {
    runs.iter().flat_map(|run| &run.steps).filter_map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(total_ms: f64, inter_token_ms: &[f64]) -> Run {
        let step = |&inter_token_ms: &f64| Step {
            inter_token_ms,
            inference_us: inter_token_ms * 800.0,
            correction_us: None,
            sampler_us: inter_token_ms * 100.0,
            detokenizer_us: inter_token_ms * 50.0,
            rest_us: inter_token_ms * 50.0,
        };
        let steps = inter_token_ms.iter().map(step).collect();
        Run { total_ms, ttft_ms: 5.0, steps, token_ids: Vec::new(), wall_ms: total_ms }
    }

    #[test]
    fn figures_are_of_all_repetitions() {
        let runs = [run(10.0, &[4.0, 6.0]), run(20.0, &[9.0, 11.0]), run(10.0, &[5.0, 5.0])];
        let mut nulls = Nulls::new();
        let latency = latency(&runs, 2, &mut nulls).unwrap();
        assert_eq!(latency.samples_ms, [10.0, 20.0, 10.0]);
        assert_eq!((latency.ms_median, latency.ms_mad), (10.0, 0.0));
        assert_eq!(latency.tokens_per_s.median, 200.0);
        assert_eq!(latency.tokens_per_s.mean, 500.0 / 3.0);
        let gaps = latency.inter_token_ms.unwrap();
        assert_eq!((gaps.p50, gaps.p90, gaps.max, gaps.n), (5.0, 11.0, 11.0, 6));
        assert_eq!(gaps.histogram.counts.iter().sum::<u64>(), 6);
        let cost = step_cost(&runs, true, &mut nulls).unwrap().unwrap();
        assert_eq!((cost.n_steps, cost.correction), (6, None));
        assert!((cost.total - 5500.0).abs() < 1e-9, "{cost:?}");
        assert_eq!(nulls.keys().collect::<Vec<_>>(), ["step_us.correction"]);
    }

    #[test]
    fn what_is_not_there_has_a_reason() {
        let runs = [run(10.0, &[])];
        let mut nulls = Nulls::new();
        let latency = latency(&runs, 128, &mut nulls).unwrap();
        assert_eq!(latency.tokens_per_s.low, None);
        assert_eq!(step_cost(&runs, true, &mut nulls).unwrap(), None);
        let expected = [
            "latency.inter_token_ms",
            "latency.tokens_per_s.coefficient_of_variation",
            "latency.tokens_per_s.high",
            "latency.tokens_per_s.low",
            "latency.ttft_ms.high",
            "latency.ttft_ms.low",
            "step_us",
        ];
        assert_eq!(nulls.keys().collect::<Vec<_>>(), expected);
        assert!(super::latency(&[], 1, &mut nulls).is_err());
    }

    #[test]
    fn the_width_is_the_whole_interval() {
        let interval = median_interval(&Samples::new(&[9.0, 10.0, 11.0]).unwrap(), SEED).unwrap();
        let width = relative_width(&[9.0, 10.0, 11.0]).unwrap();
        assert!((width - (interval.high - interval.low) / 10.0).abs() < 1e-12);
        assert_eq!(relative_width(&[9.0]), None);
    }
}
