//! What answers took in use, as a record.
//!
//! Nobody chose what was asked, how long prompts and answers were, or what else the machine did
//! meanwhile. So such a record has a kind of its own, and no comparison or recommendation reads it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use lapwing_report::statistics::{Samples, SamplesError};

use crate::bench::Header;
use crate::bench::assemble::{CPU_HAS_NONE, NOT_TOLD, is_cpu, unknown};
use crate::conditions::{Snapshot, conditions};
use crate::measuring::{Nulls, interval, throughput};
use crate::reading::{Reading, Reason, SystemFiles, known};
use crate::record::{
    Conditions, Configuration, Energy, EnergySource, Latency, Memory, Protocol, Record,
    SCHEMA_VERSION, StoppedBecause, Test, timestamp,
};

/// What one answer took. It has two tokens or more: less tells no speed.
///
/// Its clock starts when its request comes, and stands while the model is loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerTook {
    /// When it ended.
    pub ended_at: SystemTime,
    /// Tokens of its prompt that were read.
    pub n_read: usize,
    /// Those that a kept sequence knew.
    pub n_known: usize,
    /// Tokens of the answer.
    pub n_tokens: usize,
    /// Until its first token.
    pub ttft_ms: f64,
    /// Until its last token.
    pub total_ms: f64,
    /// Joules of the processor, in equal parts among the answers that were open.
    pub energy_j: Reading<f64>,
}

/// What is known of the answers of a configuration.
#[derive(Debug, Clone)]
pub struct InUse<'a> {
    /// What answered.
    pub configuration: &'a Configuration,
    /// Its place among the records of the run.
    pub order_idx: usize,
    /// The newest answers, oldest first.
    pub answers: &'a [AnswerTook],
    /// Names of what was read of energy.
    pub sensors: &'a [String],
    /// Resident before and after answers.
    pub resident_bytes: [Option<u64>; 2],
    /// Weights that are mapped from files, and what is held on the device.
    pub weights_and_device_bytes: (u64, Option<u64>),
    /// The machine before the first answer.
    pub before: &'a Snapshot,
}

impl AnswerTook {
    /// Tokens behind the first, a second.
    #[must_use]
    pub fn tokens_per_s(&self) -> f64 {
        (self.n_tokens - 1) as f64 / (self.total_ms - self.ttft_ms) * 1e3
    }

    /// Whether it tells a speed: tokens that came one after the other.
    #[must_use]
    pub fn tells_speed(&self) -> bool {
        2 <= self.n_tokens && 0.0 < self.ttft_ms && self.ttft_ms < self.total_ms
    }
}

/// The record of what was used on this machine, which `files` tell of.
///
/// # Errors
///
/// When there are no answers, or one of a single token is among them.
pub fn record(
    header: &Header,
    used: &InUse<'_>,
    files: &SystemFiles,
) -> Result<Record, SamplesError> {
    let mut nulls = unknown(used.configuration);
    if header.program.git_revision.is_none() {
        nulls.insert("program.git_revision".into(), "it was not built in a checkout".into());
    }
    let not_here = [
        ("start", "use is told without the loading of models"),
        ("step_us", "steps are not timed in use"),
        ("tokens_sha256", "nothing is kept of what people ask"),
        ("protocol.relative_interval_target", "answers are made as they are asked for"),
        ("protocol.time_budget_s", "answers are made as they are asked for"),
        ("protocol.seed", "requests bring their own"),
        ("latency.inter_token_ms", "only the first and the last token of an answer are timed"),
    ];
    nulls.extend(not_here.map(|(path, why)| (path.to_owned(), why.to_owned())));
    let newest = used.answers.iter().map(|answer| answer.ended_at).max();
    let mut record = Record {
        schema_version: SCHEMA_VERSION,
        record_id: String::new(),
        run_id: header.run_id.clone(),
        measured_at: timestamp(newest.unwrap_or_else(SystemTime::now)),
        host: header.host.clone(),
        program: header.program.clone(),
        configuration: used.configuration.clone(),
        test: test(used.answers)?,
        protocol: protocol(used),
        start: None,
        latency: Some(latency(used.answers, &mut nulls)?),
        step_us: None,
        memory: memory(used, &mut nulls),
        energy: energy(used, &mut nulls),
        conditions: around(used, files, &mut nulls),
        tokens_sha256: None,
        nulls,
    };
    record.record_id = record.content_id();
    Ok(record)
}

/// What is in the middle of the answers.
fn test(answers: &[AnswerTook]) -> Result<Test, SamplesError> {
    let middle = |count: fn(&AnswerTook) -> usize| -> Result<usize, SamplesError> {
        let counts: Vec<f64> = answers.iter().map(|answer| count(answer) as f64).collect();
        Ok(Samples::new(&counts)?.median().round() as usize)
    };
    Ok(Test::in_use(middle(|of| of.n_read)?, middle(|of| of.n_known)?, middle(|of| of.n_tokens)?))
}

fn protocol(used: &InUse<'_>) -> Protocol {
    Protocol {
        n_warmups: 0,
        n_repetitions: used.answers.len(),
        stopped_because: StoppedBecause::Asked,
        relative_interval_target: None,
        time_budget_s: None,
        is_isolated: true,
        order_idx: used.order_idx,
        seed: None,
        prompts_permuted: false,
    }
}

fn latency(answers: &[AnswerTook], nulls: &mut Nulls) -> Result<Latency, SamplesError> {
    let each =
        |figure: fn(&AnswerTook) -> f64| -> Vec<f64> { answers.iter().map(figure).collect() };
    let samples_ms = each(|answer| answer.total_ms);
    let times = Samples::new(&samples_ms)?;
    let rates = Samples::new(&each(AnswerTook::tokens_per_s))?;
    let first = Samples::new(&each(|answer| answer.ttft_ms))?;
    Ok(Latency {
        ms_median: times.median(),
        ms_mad: times.mad(),
        samples_ms,
        tokens_per_s: throughput(&rates, nulls),
        ttft_ms: Some(interval(&first, "latency.ttft_ms", nulls)),
        inter_token_ms: None,
    })
}

fn memory(used: &InUse<'_>, nulls: &mut Nulls) -> Memory {
    let mut because = |fields: &[&str], reason: &str| {
        for field in fields {
            nulls.insert(format!("memory.{field}"), reason.to_owned());
        }
    };
    let phases = ["idle_rss_bytes", "prefilled_rss_bytes", "peak_rss_bytes"];
    because(&phases, "in use the process is looked at after loading and after answers");
    let proportional =
        ["idle_pss_bytes", "loaded_pss_bytes", "prefilled_pss_bytes", "decoding_pss_bytes"];
    because(&proportional, "in use only resident memory is looked at");
    because(&["kv_bytes"], "answers differ in their positions");
    because(&["scratch_bytes"], "the library is not asked");
    let [loaded_rss_bytes, decoding_rss_bytes] = used.resident_bytes;
    let (weights_mapped_bytes, device_bytes) = used.weights_and_device_bytes;
    for (field, value) in
        [("loaded_rss_bytes", loaded_rss_bytes), ("decoding_rss_bytes", decoding_rss_bytes)]
    {
        if value.is_none() {
            because(&[field], "the system does not tell");
        }
    }
    if device_bytes.is_none() {
        let reason = if is_cpu(used.configuration) { CPU_HAS_NONE } else { NOT_TOLD };
        because(&["device_bytes"], reason);
    }
    Memory {
        loaded_rss_bytes,
        decoding_rss_bytes,
        weights_mapped_bytes: Some(weights_mapped_bytes),
        device_bytes,
        ..Memory::default()
    }
}

/// What was counted of all answers, if it was of each.
fn energy(used: &InUse<'_>, nulls: &mut Nulls) -> Option<Energy> {
    let answers = used.answers.iter();
    let total: Reading<f64> = answers.clone().map(|answer| answer.energy_j.clone()).sum();
    let total = total.and_then(|total| match total {
        total if 0.0 < total => Ok(total),
        _ => Err(Reason::new("the sensor did not move")),
    });
    let total_energy_j = known(total, "energy", nulls)?;
    for field in ["idle_power_w", "energy_j", "joules_per_token"] {
        let reason = "in use nobody knows the idle power, which is in what was counted";
        nulls.insert(format!("energy.{field}"), reason.to_owned());
    }
    let n_tokens = answers.clone().map(|answer| (answer.n_read + answer.n_tokens) as u64).sum();
    Some(Energy {
        source: EnergySource::Rapl,
        sensors: used.sensors.to_vec(),
        measured_s: answers.map(|answer| answer.total_ms / 1e3).sum(),
        total_energy_j,
        idle_power_w: None,
        energy_j: None,
        n_tokens,
        joules_per_token: None,
    })
}

/// The machine; `after` is now.
fn around(used: &InUse<'_>, files: &SystemFiles, nulls: &mut Nulls) -> Conditions {
    let after = Snapshot::take(files);
    let configuration = used.configuration;
    let version = configuration.backend_version.clone();
    let libraries = version.map(|version| (configuration.backend.clone(), version));
    let libraries: BTreeMap<String, String> = libraries.into_iter().collect();
    let found = conditions(files, (used.before, &after), libraries, nulls);
    if !is_cpu(configuration) {
        return found;
    }
    nulls.insert("conditions.driver_versions".into(), CPU_HAS_NONE.into());
    Conditions { driver_versions: None, ..found }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::record::{TestKind, samples};

    fn took(n_read: usize, n_tokens: usize, ttft_ms: f64, total_ms: f64) -> AnswerTook {
        let ended_at = UNIX_EPOCH + Duration::from_secs(1_796_000_000 + n_read as u64);
        let energy_j = Ok(2.0);
        AnswerTook { ended_at, n_read, n_known: 5, n_tokens, ttft_ms, total_ms, energy_j }
    }

    fn of(answers: &[AnswerTook]) -> Result<Record, SamplesError> {
        let sample = samples::decode();
        let header = Header { run_id: sample.run_id, host: sample.host, program: sample.program };
        let folder = tempfile::tempdir().unwrap();
        let files = SystemFiles::at(folder.path());
        let used = InUse {
            configuration: &sample.configuration,
            order_idx: 1,
            answers,
            sensors: &["package-0".to_owned()],
            resident_bytes: [Some(7), None],
            weights_and_device_bytes: (3, None),
            before: &Snapshot::take(&files),
        };
        record(&header, &used, &files)
    }

    #[test]
    fn answers_become_a_record_that_explains_every_null() {
        let answers =
            [took(10, 11, 20.0, 120.0), took(30, 3, 40.0, 60.0), took(20, 101, 30.0, 1030.0)];
        let record = of(&answers).unwrap();
        let read = Record::parse(record.to_line().unwrap().as_bytes()).unwrap();
        assert_eq!(read, record);
        assert_eq!(record.record_id, record.content_id());
        assert_eq!(record.test, Test::in_use(20, 5, 11));
        assert!(!record.test.kind.is_controlled() && record.test.kind == TestKind::Use);
        assert_eq!(record.measured_at, "2026-11-30T00:53:50Z");
        let latency = record.latency.unwrap();
        assert_eq!(latency.samples_ms, [120.0, 60.0, 1030.0]);
        assert_eq!(latency.tokens_per_s.median, 100.0);
        assert_eq!(latency.ttft_ms.unwrap().median, 30.0);
        let energy = record.energy.unwrap();
        assert_eq!((energy.total_energy_j, energy.n_tokens), (6.0, 175));
        assert_eq!(record.memory.loaded_rss_bytes, Some(7));
        assert_eq!(record.protocol.n_repetitions, 3);
    }

    #[test]
    fn what_is_not_known_of_one_answer_is_not_known_of_all() {
        let mut answers = [took(10, 11, 20.0, 120.0), took(10, 11, 20.0, 120.0)];
        answers[1].energy_j = Err(Reason::new("it went back"));
        let record = of(&answers).unwrap();
        assert_eq!(record.energy, None);
        assert_eq!(record.nulls["energy"], "it went back");
        assert!(record.to_line().is_ok());
        assert!(of(&[]).is_err(), "nothing was asked");
        assert!(of(&answers[..1]).unwrap().to_line().is_ok(), "one answer has no spread");
    }

    #[test]
    fn an_answer_of_one_token_tells_no_speed() {
        assert!(took(10, 2, 20.0, 20.5).tells_speed());
        for answer in [took(10, 1, 20.0, 20.0), took(10, 2, 20.0, 20.0), took(10, 2, 0.0, 1.0)] {
            assert!(!answer.tells_speed(), "{answer:?}");
        }
    }
}
