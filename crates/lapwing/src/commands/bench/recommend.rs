//! The device that is best at something, judged by the records of one run.
//!
//! A configuration is judged by its own records, and all by the same tests: the first decode that
//! was asked for and, for latency, the longest prompt. A device that was measured with several
//! numbers of threads, precisions or corrections is judged by the best of them, which is named.

use std::path::Path;

use anyhow::Context as _;
use lapwing_backend::{DeviceKind, DeviceRequest};
use lapwing_host::recommendation::Recommendation;
use lapwing_measure::record::{Record, TestKind};
use lapwing_report::statistics::{Samples, ratio_interval};

use super::plan::{Plan, Planned, PlannedModel};
use super::table::figure;
use crate::cli::Metric;
use crate::exit::UsageError;
use crate::interrupt;
use crate::printer::Printer;
use lapwing_host::recommendation::{self, Existing};

/// Figures without repetitions differ when they do by more than this share.
const SHARE: f64 = 0.05;
/// Of the resamples that tell two devices apart.
const SEED: u64 = 0;

/// A configuration with what it is judged by.
struct Candidate<'a> {
    planned: &'a Planned,
    record: &'a Record,
    device: DeviceRequest,
    /// One for each repetition, or a single one; less is better.
    costs: Vec<f64>,
    /// The figure for people.
    figure: f64,
}

/// The records of one run, and what they are judged for.
struct Judge<'a> {
    plan: &'a Plan,
    records: &'a [Record],
    metric: Metric,
}

/// What was found for one model.
struct Judgement {
    recommendation: Recommendation,
    n_devices: usize,
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

/// The NPU path on the CPU.
const TEST_DEVICE: DeviceRequest = DeviceRequest::One(DeviceKind::NpuOnCpu, None);

/// Judge every model of `plan` and write the winners to `file`.
///
/// # Errors
///
/// When the records do not tell what is asked for, or the file cannot be written.
pub(super) fn recommend(
    plan: &Plan,
    records: &[Record],
    metric: Metric,
    file: &Path,
    printer: &Printer,
) -> anyhow::Result<()> {
    let judge = Judge { plan, records, metric };
    let mut outcome = Ok(());
    let mut is_any_told = false;
    for model in models(plan) {
        let Judgement { recommendation, n_devices } = match judge.model(model) {
            Ok(found) => found,
            // The other models have figures.
            Err(error) => {
                outcome = outcome.and(Err(error));
                continue;
            }
        };
        let existing = if n_devices == 1 { Existing::Keep } else { Existing::Replace };
        let name = &model.name;
        let stop = &interrupt::requested;
        let kept = recommendation::write(file, name, &recommendation, existing, stop)
            .context("cannot keep the recommendation")?;
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

/// The models of a plan, each once.
fn models(plan: &Plan) -> Vec<&PlannedModel> {
    let mut models: Vec<&PlannedModel> = Vec::new();
    for Planned { model, .. } in &plan.configurations {
        if !models.iter().any(|other| other.is_same(model)) {
            models.push(model);
        }
    }
    models
}

/// Refuse to recommend a device for a name that two models have.
///
/// # Errors
///
/// When there are two.
pub(super) fn check_names(plan: &Plan) -> Result<(), UsageError> {
    let models = models(plan);
    for (idx, model) in models.iter().enumerate() {
        if models[..idx].iter().any(|other| other.name == model.name) {
            let problem =
                format!("two models are named {}, and --recommend is for one", model.name);
            let advice = "rename the folder of one, or leave out --recommend".to_owned();
            return Err(UsageError { problem, advice: Some(advice) });
        }
    }
    Ok(())
}

impl<'a> Judge<'a> {
    /// The best of the devices that one model was measured on.
    fn model(&self, model: &PlannedModel) -> Result<Judgement, NoRecommendationError> {
        let all = self.plan.configurations.iter().enumerate();
        let of_model = all.filter(|(_, planned)| planned.model.is_same(model));
        let idxs: Vec<usize> = of_model.map(|(idx, _)| idx).collect();
        let candidates: Vec<Candidate<'_>> =
            idxs.iter().filter_map(|&idx| self.candidate(idx)).collect();
        // The best configuration of each device, in the order in which devices were asked for.
        let mut devices: Vec<&Candidate<'_>> = Vec::new();
        for candidate in &candidates {
            match devices.iter_mut().find(|other| other.device == candidate.device) {
                None => devices.push(candidate),
                Some(other) if candidate.cost() < other.cost() => *other = candidate,
                Some(_) => {}
            }
        }
        let Some(&first) = devices.first() else {
            let reason = self.missing(&idxs);
            return Err(NoRecommendationError { model: model.name.clone(), reason });
        };
        let (n_devices, mut best) = (devices.len(), first);
        for device in &devices {
            if device.cost() < best.cost() {
                best = device;
            }
        }
        let is_other = |other: &&&Candidate<'_>| other.device != best.device;
        let is_best = devices.iter().filter(is_other).all(|other| is_better(best, other));
        let (winner, verdict) = match (n_devices, is_best) {
            (1, _) => (first, "the only device".to_owned()),
            (n, true) => (best, format!("best of {n} devices")),
            // Where nothing is shown, the first one asked for is as good as any.
            (n, false) => (first, format!("no difference shown between {n} devices")),
        };
        let mut of_device = candidates.iter().filter(|other| other.device == winner.device);
        let verdict = match of_device.nth(1) {
            Some(_) => format!("{verdict}, at its best with {}", choices(winner.planned)),
            None => verdict,
        };
        Ok(Judgement { recommendation: self.told(winner, verdict), n_devices })
    }

    /// Indices of the tests that configurations are judged by: a decode, and a prefill where the
    /// time to the first token counts and was measured.
    fn tests(&self) -> Option<(usize, Option<usize>)> {
        let tests = &self.plan.tests;
        let decode_idx = tests.iter().position(|test| test.kind == TestKind::Decode)?;
        let prefill_idx = tests.iter().rposition(|test| test.kind == TestKind::Prefill);
        Some((decode_idx, prefill_idx.filter(|_| self.metric == Metric::Latency)))
    }

    fn record(&self, configuration_idx: usize, test_idx: usize) -> Option<&'a Record> {
        let place = (configuration_idx, test_idx);
        self.records.iter().find(|record| self.plan.place(&record.protocol) == place)
    }

    /// What a configuration is judged by; `None` when not all of it was measured, or for the test
    /// device, which nobody should run answers on.
    fn candidate(&self, configuration_idx: usize) -> Option<Candidate<'a>> {
        if self.plan.configurations[configuration_idx].opening.setup.options.device == TEST_DEVICE {
            return None;
        }
        let (decode_idx, prefill_idx) = self.tests()?;
        let decode = self.record(configuration_idx, decode_idx)?;
        let latency = decode.latency.as_ref()?;
        let (costs, figure) = match self.metric {
            Metric::Throughput => (latency.samples_ms.clone(), latency.tokens_per_s.median),
            Metric::Latency => {
                let costs = match prefill_idx {
                    None => latency.samples_ms.clone(),
                    Some(test_idx) => {
                        let prefill = self.record(configuration_idx, test_idx)?;
                        let first_ms = &prefill.latency.as_ref()?.samples_ms;
                        first_ms.iter().zip(&latency.samples_ms).map(|(a, b)| a + b).collect()
                    }
                };
                let median = Samples::new(&costs).ok()?.median();
                (costs, median)
            }
            Metric::Energy => {
                let joules = decode.energy.as_ref()?.joules_per_token?;
                (vec![joules], joules)
            }
            Metric::Memory => {
                let megabytes = decode.memory.peak_rss_bytes? as f64 / 1e6;
                (vec![megabytes], megabytes)
            }
        };
        let (device, planned) = (device(decode)?, &self.plan.configurations[configuration_idx]);
        Some(Candidate { planned, record: decode, device, costs, figure })
    }

    fn told(&self, winner: &Candidate<'_>, verdict: String) -> Recommendation {
        let (metric, unit) = match self.metric {
            Metric::Latency => ("latency", "ms to the last token"),
            Metric::Throughput => ("throughput", "tokens/s"),
            Metric::Energy => ("energy", "J/token"),
            Metric::Memory => ("memory", "MB at the peak"),
        };
        let name = |test_idx: usize| self.plan.tests[test_idx].name.clone();
        let tests = self.tests().map_or_else(String::new, |(decode_idx, prefill_idx)| {
            let first = prefill_idx.map(|test_idx| name(test_idx) + " + ");
            format!("{}{}", first.unwrap_or_default(), name(decode_idx))
        });
        let configuration = &winner.record.configuration;
        // More digits than a reader needs are more than was measured.
        let short = figure(winner.figure).parse().unwrap_or(winner.figure);
        Recommendation {
            device: winner.device.to_string(),
            backend: configuration.backend.clone(),
            metric: metric.to_owned(),
            figure: short,
            unit: format!("{unit} of {tests}"),
            verdict,
            record_id: winner.record.record_id.clone(),
            model_sha256: configuration.model_sha256.clone(),
            model_bytes: configuration.model_bytes.unwrap_or(0),
        }
    }

    /// Why there is nothing to judge these configurations by.
    fn missing(&self, configuration_idxs: &[usize]) -> String {
        let Some((decode_idx, _)) = self.tests() else {
            return "nothing was generated".to_owned();
        };
        let path = match self.metric {
            Metric::Energy => "energy",
            Metric::Memory => "memory.peak_rss_bytes",
            Metric::Latency | Metric::Throughput => "latency",
        };
        let mut records =
            configuration_idxs.iter().filter_map(|&idx| self.record(idx, decode_idx)).peekable();
        if records.peek().is_some_and(|record| device(record).is_none()) {
            return "the library does not tell which device it used".to_owned();
        }
        let because = records.next().and_then(|record| record.nulls.get(path).cloned());
        because.unwrap_or_else(|| "nothing was measured".to_owned())
    }
}

impl Candidate<'_> {
    fn cost(&self) -> f64 {
        Samples::new(&self.costs).map_or(f64::INFINITY, |costs| costs.median())
    }
}

/// What a winner was measured with, for people.
fn choices(planned: &Planned) -> String {
    match planned.choices().as_slice() {
        [] => "nothing but defaults".to_owned(),
        words => words.join(" "),
    }
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

/// The device that a record is of: the one that was used, where its name is one.
fn device(record: &Record) -> Option<DeviceRequest> {
    let configuration = &record.configuration;
    let names = [configuration.device_used.as_deref(), Some(&configuration.device_requested)];
    let devices = names.into_iter().flatten().filter_map(|name| name.parse().ok());
    // That the library shall choose is no recommendation.
    devices.into_iter().find(|device| *device != DeviceRequest::Auto)
}

#[cfg(test)]
mod tests {
    use lapwing_backend::{OpenOptions, Precision};
    use lapwing_measure::record::Test;

    use super::super::message::Opening;
    use super::*;
    use lapwing_host::CorrectionChoice;
    use lapwing_host::Setup;
    use lapwing_store::natives::Runtime;

    fn planned(model_sha256: &str, device: &str, n_threads: Option<usize>) -> Planned {
        Planned {
            opening: Opening {
                setup: Setup {
                    path: "m".into(),
                    variant: None,
                    runtime: Runtime::OpenVino,
                    options: OpenOptions {
                        device: device.parse().unwrap(),
                        n_threads,
                        precision: Precision::Fast,
                        n_positions_max: None,
                        n_chunk_tokens: None,
                        hidden_states: false,
                        cache_folder: None,
                        n_prompt_tokens_max: None,
                        properties: std::collections::BTreeMap::new(),
                    },
                },
                correction: CorrectionChoice::Off,
            },
            model: PlannedModel {
                name: "m".into(),
                kind: "openvino-ir",
                variant: None,
                sha256: model_sha256.into(),
                n_bytes: 1,
            },
            runtime: "openvino",
            runtime_version: String::new(),
            profiles_sha256: Vec::new(),
            n_positions_max: 512,
        }
    }

    fn plan(configurations: Vec<Planned>) -> Plan {
        let tests = vec![Test::prefill(16, 0), Test::prefill(32, 0), Test::decode(8, 0)];
        Plan { configurations, tests }
    }

    /// Three repetitions around `ms` of the tests of `plan`, by configuration and test.
    fn records(plan: &Plan, used: &[&str], ms: &[[f64; 3]]) -> Vec<Record> {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../lapwing-measure/testdata/records_version_1.jsonl"
        );
        let read = lapwing_measure::record_file::read(Path::new(file)).unwrap();
        let mut read = read.into_iter().map(Result::unwrap);
        let template = read.find(|record| record.test.kind == TestKind::Decode).unwrap();
        let mut records = Vec::new();
        for (configuration_idx, (used, ms)) in used.iter().zip(ms).enumerate() {
            for (test_idx, ms) in ms.iter().enumerate() {
                let mut record = template.clone();
                record.test = plan.tests[test_idx].clone();
                record.protocol.order_idx = plan.order_idx(configuration_idx, test_idx);
                let asked = &plan.configurations[configuration_idx];
                record.configuration.device_requested =
                    asked.opening.setup.options.device.to_string();
                record.configuration.device_used = Some((*used).to_owned());
                record.configuration.model_sha256 = asked.model.sha256.clone();
                let latency = record.latency.as_mut().unwrap();
                latency.samples_ms = vec![ms * 0.999, *ms, ms * 1.001];
                latency.tokens_per_s.median = 8.0 / ms * 1e3;
                records.push(record);
            }
        }
        // As after a rerun: in any order.
        records.reverse();
        records
    }

    #[test]
    fn configurations_are_judged_by_their_own_records() {
        let check = |setups: &[(&str, Option<usize>, &str)],
                     ms: &[[f64; 3]],
                     metric: Metric,
                     expected: (&str, f64, &str)| {
            let configurations =
                setups.iter().map(|(device, n_threads, _)| planned("aa", device, *n_threads));
            let plan = plan(configurations.collect());
            let used: Vec<&str> = setups.iter().map(|(_, _, used)| *used).collect();
            let records = records(&plan, &used, ms);
            let judge = Judge { plan: &plan, records: &records, metric };
            let found = judge.model(&plan.configurations[0].model).unwrap().recommendation;
            let found = (found.device.as_str(), found.figure, found.verdict.as_str());
            assert_eq!(found, expected, "{setups:?} {metric:?}");
        };
        let devices = [("cpu", None, "CPU"), ("gpu", None, "GPU.1")];
        let ms = [[1.0, 10.0, 80.0], [1.0, 100.0, 40.0]];
        check(&devices, &ms, Metric::Throughput, ("gpu.1", 200.0, "best of 2 devices"));
        check(&devices, &ms, Metric::Latency, ("cpu", 90.0, "best of 2 devices"));
        let same = [[1.0, 10.0, 80.0], [1.0, 10.0, 80.0]];
        let verdict = "no difference shown between 2 devices";
        check(&devices, &same, Metric::Throughput, ("cpu", 100.0, verdict));
        let auto = [("auto", None, "CPU")];
        check(&auto, &ms, Metric::Throughput, ("cpu", 100.0, "the only device"));
        // The device wins that one of its configurations wins on.
        let threads = [("cpu", Some(1), "CPU"), ("gpu", None, "GPU"), ("cpu", Some(4), "CPU")];
        let ms = [[1.0, 10.0, 80.0], [1.0, 10.0, 40.0], [1.0, 10.0, 20.0]];
        let verdict = "best of 2 devices, at its best with 4 thr";
        check(&threads, &ms, Metric::Throughput, ("cpu", 400.0, verdict));
    }

    #[test]
    fn what_was_not_measured_is_not_recommended() {
        let plan = plan(vec![planned("aa", "cpu", None), planned("bb", "cpu", None)]);
        assert!(check_names(&plan).is_err(), "one name, two models");
        let models = models(&plan);
        let mut records = records(&plan, &["CPU", "CPU"], &[[1.0; 3], [1.0, 1.0, 2.0]]);
        let judge = Judge { plan: &plan, records: &records, metric: Metric::Throughput };
        let rate = |model| judge.model(model).unwrap().recommendation.figure;
        assert_eq!((rate(models[0]), rate(models[1])), (8000.0, 4000.0));
        records.retain(|record| record.test.n_prompt_tokens != 32);
        let judge = Judge { plan: &plan, records: &records, metric: Metric::Latency };
        let error = judge.model(models[0]).err().expect("a half is no latency");
        assert_eq!(error.reason, "nothing was measured");
        records.iter_mut().for_each(|record| {
            record.configuration.device_requested = "auto".into();
            record.configuration.device_used = None;
        });
        let judge = Judge { plan: &plan, records: &records, metric: Metric::Throughput };
        let error = judge.model(models[0]).err().expect("`auto` is no device");
        assert!(error.reason.contains("which device"), "{}", error.reason);
    }
}
