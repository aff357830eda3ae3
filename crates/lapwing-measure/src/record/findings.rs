//! What a measurement found, and under which conditions.
#![expect(missing_docs, reason = "`profiles/schema.md` says what the fields are")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The stages before the first token, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    pub read_ms: Option<f64>,
    pub compile_cold_ms: Option<f64>,
    pub compile_warm_ms: Option<f64>,
    pub cache: Cache,
    pub cache_blob_bytes: Option<u64>,
    pub first_inference_ms: Option<f64>,
    pub process_start_to_first_token_ms: Option<f64>,
}

/// What a compile cache did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cache {
    /// It gave the compiled model.
    Hit,
    /// It had nothing.
    Miss,
    /// The library has none for this device.
    None,
}

/// How long a test took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub samples_ms: Vec<f64>,
    pub ms_median: f64,
    pub ms_mad: f64,
    pub tokens_per_s: Throughput,
    pub ttft_ms: Option<Interval>,
    pub inter_token_ms: Option<InterToken>,
}

/// Tokens a second over the repetitions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    pub median: f64,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub mean: f64,
    pub coefficient_of_variation: Option<f64>,
}

/// A median and what it may be in truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub median: f64,
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// From one token to the next, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InterToken {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
    pub mean: f64,
    pub n: u64,
    pub histogram: Histogram,
}

/// How many values are in each of adjacent ranges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    pub edges_ms: Vec<f64>,
    pub counts: Vec<u64>,
}

/// Where the time of one decoding step goes, in microseconds: the median of each part over all
/// steps, so that the parts need not add up to the median of the whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepCost {
    pub inference: Option<f64>,
    pub correction: Option<f64>,
    pub sampler: Option<f64>,
    pub detokenizer: Option<f64>,
    pub rest: Option<f64>,
    pub total: f64,
    pub n_steps: u64,
}

/// Memory in bytes in the phases of a process.
///
/// *rss* is the resident set, *pss* the proportional set: a page that `n` processes share counts
/// as one `n`th of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    pub idle_rss_bytes: Option<u64>,
    pub idle_pss_bytes: Option<u64>,
    pub loaded_rss_bytes: Option<u64>,
    pub loaded_pss_bytes: Option<u64>,
    pub prefilled_rss_bytes: Option<u64>,
    pub prefilled_pss_bytes: Option<u64>,
    pub decoding_rss_bytes: Option<u64>,
    pub decoding_pss_bytes: Option<u64>,
    pub peak_rss_bytes: Option<u64>,
    pub weights_mapped_bytes: Option<u64>,
    pub kv_bytes: Option<u64>,
    pub scratch_bytes: Option<u64>,
    pub device_bytes: Option<u64>,
}

/// A reading of a sensor over the repetitions that count; never an estimate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    pub source: EnergySource,
    pub sensors: Vec<String>,
    pub measured_s: f64,
    pub total_energy_j: f64,
    pub idle_power_w: Option<f64>,
    pub energy_j: Option<f64>,
    pub n_tokens: u64,
    pub joules_per_token: Option<f64>,
}

/// Kinds of sensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnergySource {
    /// The counters of the processor (`powercap`).
    Rapl,
    /// The discharge of the battery.
    Battery,
}

/// The machine and its state; *before* is read just before the repetitions, *after* just after.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    pub cpu_model: Option<String>,
    pub architecture: Option<String>,
    pub isa_level: Option<String>,
    pub n_cores_physical: Option<usize>,
    pub n_cores_logical: Option<usize>,
    pub cores_used: Option<Vec<usize>>,
    pub frequency_before_mhz: Option<f64>,
    pub frequency_after_mhz: Option<f64>,
    pub frequency_max_mhz: Option<f64>,
    pub temperature_before_c: Option<f64>,
    pub temperature_after_c: Option<f64>,
    pub n_throttle_events: Option<u64>,
    pub governor: Option<String>,
    pub power_source: Option<PowerSource>,
    pub battery_percent: Option<f64>,
    pub load_average_before: Option<f64>,
    pub load_average_after: Option<f64>,
    pub memory_total_bytes: Option<u64>,
    pub memory_available_bytes: Option<u64>,
    /// Absent where nothing limits it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<f64>,
    /// Likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    pub os: Option<String>,
    pub kernel: Option<String>,
    pub hypervisor: Option<String>,
    pub library_versions: Option<BTreeMap<String, String>>,
    pub driver_versions: Option<BTreeMap<String, String>>,
}

/// Where the electricity comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerSource {
    /// The mains.
    Mains,
    /// The battery.
    Battery,
}
