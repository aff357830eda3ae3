//! The device that is best at something, judged by the records of one run.
//!
//! A configuration is judged by its own records, and all by the same tests: the first decode that
//! was asked for and, for latency, the longest prompt. A device that was measured with several
//! numbers of threads, precisions or corrections is judged by the best of them, which is named.

use crate::record::{Configuration, Record, TestKind};
use lapwing_backend::{DeviceKind, DeviceRequest};
use lapwing_report::statistics::{Samples, ratio_interval};

use super::plan::{Plan, Planned, is_same_model};

/// Figures without repetitions differ when they do by more than this share.
const SHARE: f64 = 0.05;
/// Of the resamples that tell two devices apart.
const SEED: u64 = 0;

/// What a device can be best at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merit {
    /// The time to an answer: the first token and those after it.
    Latency,
    /// Generated tokens a second.
    Throughput,
    /// Joules for each generated token.
    Energy,
    /// The most that the process ever held.
    Memory,
}

/// The records of one run, and what they are judged for.
#[derive(Debug, Clone, Copy)]
pub struct Judge<'a> {
    /// What was to be measured.
    pub plan: &'a Plan,
    /// What was, in any order.
    pub records: &'a [Record],
    /// What for.
    pub merit: Merit,
}

/// The best device for one model.
#[derive(Debug, Clone, PartialEq)]
pub struct Winner<'a> {
    /// What requests call it.
    pub device: DeviceRequest,
    /// The record of the decode that it was judged by.
    pub record: &'a Record,
    /// What it is best at.
    pub figure: f64,
    /// The unit of the figure, and the tests that it is of.
    pub unit: String,
    /// What the comparison with the next device showed.
    pub verdict: String,
    /// Devices that were compared.
    pub n_devices: usize,
}

/// Nothing to judge a model by.
#[derive(Debug, thiserror::Error)]
#[error("no device can be recommended for {model}: {reason}")]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub struct NoRecommendationError {
    pub model: String,
    pub reason: String,
}

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

/// The NPU path on the CPU.
const TEST_DEVICE: DeviceRequest = DeviceRequest::One(DeviceKind::NpuOnCpu, None);

impl Merit {
    /// Its name in the data.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::Energy => "energy",
            Self::Memory => "memory",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Latency => "ms to the last token",
            Self::Throughput => "tokens/s",
            Self::Energy => "J/token",
            Self::Memory => "MB at the peak",
        }
    }
}

/// A name that two models of a plan have: what is recommended by name would be for either.
pub fn shared_name(plan: &Plan) -> Option<&str> {
    let models = plan.models();
    let mut pairs = models.iter().enumerate();
    let shared =
        pairs.find(|(idx, one)| models[..*idx].iter().any(|other| other.model == one.model));
    shared.map(|(_, one)| one.model.as_str())
}

impl<'a> Judge<'a> {
    /// The best of the devices that one of [`Plan::models`] was measured on.
    ///
    /// # Errors
    ///
    /// When the records do not tell.
    pub fn best(&self, model: &Configuration) -> Result<Winner<'a>, NoRecommendationError> {
        let all = self.plan.configurations.iter().enumerate();
        let of_model = all.filter(|(_, planned)| is_same_model(&planned.configuration, model));
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
            return Err(NoRecommendationError { model: model.model.clone(), reason });
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
        let Candidate { device, record, figure, .. } = *winner;
        Ok(Winner { device, record, figure, unit: self.unit(), verdict, n_devices })
    }

    /// Indices of the tests that configurations are judged by: a decode, and a prefill where the
    /// time to the first token counts and was measured.
    fn tests(&self) -> Option<(usize, Option<usize>)> {
        let tests = &self.plan.tests;
        let decode_idx = tests.iter().position(|test| test.kind == TestKind::Decode)?;
        let prefill_idx = tests.iter().rposition(|test| test.kind == TestKind::Prefill);
        Some((decode_idx, prefill_idx.filter(|_| self.merit == Merit::Latency)))
    }

    fn record(&self, configuration_idx: usize, test_idx: usize) -> Option<&'a Record> {
        let place = (configuration_idx, test_idx);
        let kind = self.plan.tests[test_idx].kind;
        let is_it = |record: &&Record| {
            self.plan.place(&record.protocol) == place && record.test.kind == kind
        };
        self.records.iter().find(is_it)
    }

    /// What a configuration is judged by; `None` when not all of it was measured, or for the test
    /// device, which nobody should run answers on.
    fn candidate(&self, configuration_idx: usize) -> Option<Candidate<'a>> {
        let planned = &self.plan.configurations[configuration_idx];
        if planned.configuration.device_requested.parse().ok() == Some(TEST_DEVICE) {
            return None;
        }
        let (decode_idx, prefill_idx) = self.tests()?;
        let decode = self.record(configuration_idx, decode_idx)?;
        let latency = decode.latency.as_ref()?;
        let (costs, figure) = match self.merit {
            Merit::Throughput => (latency.samples_ms.clone(), latency.tokens_per_s.median),
            Merit::Latency => {
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
            Merit::Energy => {
                let joules = decode.energy.as_ref()?.joules_per_token?;
                (vec![joules], joules)
            }
            Merit::Memory => {
                let megabytes = decode.memory.peak_rss_bytes? as f64 / 1e6;
                (vec![megabytes], megabytes)
            }
        };
        Some(Candidate { planned, record: decode, device: device(decode)?, costs, figure })
    }

    /// The unit of a figure, and the tests that it is of.
    fn unit(&self) -> String {
        let name = |test_idx: usize| self.plan.tests[test_idx].name.clone();
        let tests = self.tests().map_or_else(String::new, |(decode_idx, prefill_idx)| {
            let first = prefill_idx.map(|test_idx| name(test_idx) + " + ");
            format!("{}{}", first.unwrap_or_default(), name(decode_idx))
        });
        format!("{} of {tests}", self.merit.unit())
    }

    /// Why there is nothing to judge these configurations by.
    fn missing(&self, configuration_idxs: &[usize]) -> String {
        let Some((decode_idx, _)) = self.tests() else {
            return "nothing was generated".to_owned();
        };
        let path = match self.merit {
            Merit::Energy => "energy",
            Merit::Memory => "memory.peak_rss_bytes",
            Merit::Latency | Merit::Throughput => "latency",
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
    use super::*;
    use crate::record::{Test, samples};

    fn planned(model_sha256: &str, device: &str, n_threads: Option<usize>) -> Planned {
        let configuration = Configuration {
            model: "m".into(),
            model_sha256: model_sha256.into(),
            variant: None,
            backend: "openvino".into(),
            device_requested: device.into(),
            precision: "fast".into(),
            n_threads,
            correction: "off".into(),
            n_positions_max: Some(512),
            ..samples::decode().configuration
        };
        Planned { configuration, keeps_compiled: true, profiles_sha256: Vec::new() }
    }

    fn plan(configurations: Vec<Planned>) -> Plan {
        let tests = vec![Test::prefill(16, 0), Test::prefill(32, 0), Test::decode(8, 0)];
        Plan { configurations, tests }
    }

    /// Three repetitions around `ms` of the tests of `plan`, by configuration and test.
    fn records(plan: &Plan, used: &[&str], ms: &[[f64; 3]]) -> Vec<Record> {
        let mut records = Vec::new();
        for (configuration_idx, (used, ms)) in used.iter().zip(ms).enumerate() {
            for (test_idx, ms) in ms.iter().enumerate() {
                let mut record = samples::decode();
                record.test = plan.tests[test_idx].clone();
                record.protocol.order_idx = plan.order_idx(configuration_idx, test_idx);
                record.configuration = Configuration {
                    device_used: Some((*used).to_owned()),
                    ..plan.configurations[configuration_idx].configuration.clone()
                };
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
                     merit: Merit,
                     expected: (&str, f64, &str)| {
            let configurations =
                setups.iter().map(|(device, n_threads, _)| planned("aa", device, *n_threads));
            let plan = plan(configurations.collect());
            let used: Vec<&str> = setups.iter().map(|(_, _, used)| *used).collect();
            let records = records(&plan, &used, ms);
            let judge = Judge { plan: &plan, records: &records, merit };
            let found = judge.best(&plan.configurations[0].configuration).unwrap();
            let device = found.device.to_string();
            let found = (device.as_str(), found.figure, found.verdict.as_str());
            assert_eq!(found, expected, "{setups:?} {merit:?}");
        };
        let devices = [("cpu", None, "CPU"), ("gpu", None, "GPU.1")];
        let ms = [[1.0, 10.0, 80.0], [1.0, 100.0, 40.0]];
        check(&devices, &ms, Merit::Throughput, ("gpu.1", 200.0, "best of 2 devices"));
        check(&devices, &ms, Merit::Latency, ("cpu", 90.0, "best of 2 devices"));
        let same = [[1.0, 10.0, 80.0], [1.0, 10.0, 80.0]];
        let verdict = "no difference shown between 2 devices";
        check(&devices, &same, Merit::Throughput, ("cpu", 100.0, verdict));
        let auto = [("auto", None, "CPU")];
        check(&auto, &ms, Merit::Throughput, ("cpu", 100.0, "the only device"));
        // The device wins that one of its configurations wins on.
        let threads = [("cpu", Some(1), "CPU"), ("gpu", None, "GPU"), ("cpu", Some(4), "CPU")];
        let ms = [[1.0, 10.0, 80.0], [1.0, 10.0, 40.0], [1.0, 10.0, 20.0]];
        let verdict = "best of 2 devices, at its best with 4 thr";
        check(&threads, &ms, Merit::Throughput, ("cpu", 400.0, verdict));
    }

    #[test]
    fn use_recommends_nothing() {
        let plan = plan(vec![planned("aa", "cpu", None)]);
        let mut records = records(&plan, &["CPU"], &[[1.0; 3]]);
        for record in &mut records {
            let Test { n_prompt_tokens, n_generated_tokens, .. } = record.test;
            record.test = Test::in_use(n_prompt_tokens, 0, n_generated_tokens);
        }
        let judge = Judge { plan: &plan, records: &records, merit: Merit::Throughput };
        let error = judge.best(plan.models()[0]).expect_err("nobody chose what was asked");
        assert_eq!(error.reason, "nothing was measured");
    }

    #[test]
    fn what_was_not_measured_is_not_recommended() {
        let plan = plan(vec![planned("aa", "cpu", None), planned("bb", "cpu", None)]);
        assert_eq!(shared_name(&plan), Some("m"), "one name, two models");
        let models = plan.models();
        let mut records = records(&plan, &["CPU", "CPU"], &[[1.0; 3], [1.0, 1.0, 2.0]]);
        let judge = Judge { plan: &plan, records: &records, merit: Merit::Throughput };
        let rate = |model| judge.best(model).unwrap().figure;
        assert_eq!((rate(models[0]), rate(models[1])), (8000.0, 4000.0));
        records.retain(|record| record.test.n_prompt_tokens != 32);
        let judge = Judge { plan: &plan, records: &records, merit: Merit::Latency };
        let error = judge.best(models[0]).expect_err("a half is no latency");
        assert_eq!(error.reason, "nothing was measured");
        records.iter_mut().for_each(|record| {
            record.configuration.device_requested = "auto".into();
            record.configuration.device_used = None;
        });
        let judge = Judge { plan: &plan, records: &records, merit: Merit::Throughput };
        let error = judge.best(models[0]).expect_err("`auto` is no device");
        assert!(error.reason.contains("which device"), "{}", error.reason);
    }
}
