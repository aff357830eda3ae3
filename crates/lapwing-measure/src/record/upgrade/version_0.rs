//! Version 0: flat names and one throughput a line, as prototypes wrote it.

use std::collections::BTreeMap;

use lapwing_report::statistics::Samples;
use serde::Deserialize;
use serde::de::Error as _;

use crate::record::{
    Conditions, Configuration, Latency, Memory, Program, Protocol, Record, SCHEMA_VERSION,
    StoppedBecause, Test, Throughput,
};

/// Why most of an upgraded record is null.
const NOT_RECORDED: &str = "schema version 0 did not record it";

/// One throughput of one model: either that of a prefill or that of a decode.
#[derive(Debug, Deserialize)]
struct Line {
    measured_at: String,
    host: String,
    version: Option<String>,
    model: String,
    model_sha256: String,
    model_kind: String,
    backend: String,
    device: String,
    precision: String,
    n_threads: Option<usize>,
    /// Tokens read or produced in one repetition.
    n_tokens: usize,
    n_warmups: usize,
    /// Of each repetition.
    pp_tokens_per_s: Option<Vec<f64>>,
    /// Of each repetition.
    tg_tokens_per_s: Option<Vec<f64>>,
    cpu: Option<String>,
    peak_rss_bytes: Option<u64>,
}

/// Read a line, and explain what it does not tell.
pub(super) fn parse(line: &[u8]) -> Result<Record, serde_json::Error> {
    let mut line: Line = serde_json::from_slice(line)?;
    let (test, samples) = match (line.pp_tokens_per_s.take(), line.tg_tokens_per_s.take()) {
        (Some(samples), None) => (Test::prefill(line.n_tokens, 0), samples),
        (None, Some(samples)) => (Test::decode(line.n_tokens, 0), samples),
        (None, None) | (Some(_), Some(_)) => {
            let message = "expected one of pp_tokens_per_s and tg_tokens_per_s";
            return Err(serde_json::Error::custom(message));
        }
    };
    let latency = latency(line.n_tokens, &samples)?;
    let mut record = record(line, test, latency);
    record.explain_missing(NOT_RECORDED);
    record.record_id = record.content_id();
    Ok(record)
}

fn record(line: Line, test: Test, latency: Latency) -> Record {
    let protocol = Protocol {
        n_warmups: line.n_warmups,
        n_repetitions: latency.samples_ms.len(),
        stopped_because: StoppedBecause::Repetitions,
        relative_interval_target: None,
        time_budget_s: None,
        // Prototypes measured everything in one process, with the same prompt again and again.
        is_isolated: false,
        order_idx: 0,
        seed: None,
        prompts_permuted: false,
    };
    Record {
        schema_version: SCHEMA_VERSION,
        record_id: String::new(),
        run_id: String::new(),
        measured_at: line.measured_at,
        host: line.host,
        program: Program { name: "lapwing".to_owned(), version: line.version, git_revision: None },
        configuration: Configuration {
            model: line.model,
            model_sha256: line.model_sha256,
            model_kind: line.model_kind,
            variant: None,
            model_bytes: None,
            n_parameters: None,
            backend: line.backend,
            backend_version: None,
            device_requested: line.device,
            device_used: None,
            device_name: None,
            driver_version: None,
            precision: line.precision,
            n_threads: line.n_threads,
            n_positions_max: None,
            correction: "off".to_owned(),
            correction_sha256: None,
            settings: BTreeMap::new(),
        },
        test,
        protocol,
        start: None,
        latency: Some(latency),
        step_us: None,
        memory: Memory { peak_rss_bytes: line.peak_rss_bytes, ..Memory::default() },
        energy: None,
        conditions: Conditions { cpu_model: line.cpu, ..Conditions::default() },
        tokens_sha256: None,
        nulls: BTreeMap::new(),
    }
}

fn latency(n_tokens: usize, tokens_per_s: &[f64]) -> Result<Latency, serde_json::Error> {
    let samples_ms: Vec<f64> =
        tokens_per_s.iter().map(|throughput| n_tokens as f64 * 1e3 / throughput).collect();
    let milliseconds = samples(&samples_ms)?;
    let throughput = samples(tokens_per_s)?;
    Ok(Latency {
        ms_median: milliseconds.median(),
        ms_mad: milliseconds.mad(),
        samples_ms,
        tokens_per_s: Throughput {
            median: throughput.median(),
            low: None,
            high: None,
            mean: throughput.mean(),
            coefficient_of_variation: throughput.coefficient_of_variation(),
        },
        ttft_ms: None,
        inter_token_ms: None,
    })
}

fn samples(values: &[f64]) -> Result<Samples, serde_json::Error> {
    Samples::new(values).map_err(serde_json::Error::custom)
}
