//! From what was measured to a record: a value for every field, or a reason.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::conditions::{Snapshot, conditions};
use crate::measuring::{self, Nulls};
use crate::memory::Footprint;
use crate::reading::{Reading, Reason, SystemFiles, known};
use crate::record::{
    Cache, Conditions, Configuration, Energy, Latency, Memory, Program, Protocol, Record,
    SCHEMA_VERSION, Start, StepCost, StoppedBecause, TestKind, timestamp,
};
use lapwing_report::statistics::{Samples, SamplesError};

use super::plan::{n_positions_of, n_prompt_tokens};
use super::series::{Repeating, Series};
use super::station::Opened;

pub(crate) const CPU_HAS_NONE: &str = "a CPU has none";

pub(crate) const NOT_TOLD: &str = "the library does not tell";

const OF_A_START: &str = "a start is told in `start`";

/// What the records of one call share.
#[derive(Debug, Clone)]
pub struct Header {
    /// What `record::run_id` gave.
    pub run_id: String,
    /// The name of the machine.
    pub host: String,
    /// Who measures.
    pub program: Program,
}

/// The record of a series that is complete.
///
/// # Panics
///
/// When the series was never warmed up.
pub(super) fn record(
    header: &Header,
    series: &Series<'_>,
    repeating: &Repeating,
    stopped_because: StoppedBecause,
) -> Result<Record, SamplesError> {
    let mut nulls = Nulls::new();
    let opened = series.opened.as_ref().expect("it was opened to be warmed up");
    let (latency, step_us) = match series.test.kind {
        TestKind::Start => no_latency(&mut nulls),
        TestKind::Prefill | TestKind::Decode | TestKind::Use => {
            latency(series, opened, &mut nulls)?
        }
    };
    let start = start(series, &mut nulls)?;
    if header.program.git_revision.is_none() {
        nulls.insert("program.git_revision".into(), "it was not built in a checkout".into());
    }
    nulls.extend(unknown(&opened.configuration));
    let mut record = Record {
        schema_version: SCHEMA_VERSION,
        record_id: String::new(),
        run_id: header.run_id.clone(),
        measured_at: timestamp(SystemTime::now()),
        host: header.host.clone(),
        program: header.program.clone(),
        configuration: opened.configuration.clone(),
        test: series.test.clone(),
        protocol: protocol(series, repeating, stopped_because, &mut nulls),
        start,
        latency,
        step_us,
        memory: memory(series, opened, &mut nulls),
        energy: energy(series, &mut nulls),
        conditions: around(series, &opened.configuration, &mut nulls),
        tokens_sha256: Some(series.tokens_sha256.clone()),
        nulls,
    };
    record.record_id = record.content_id();
    Ok(record)
}

/// The machine; `after` is now.
fn around(series: &Series<'_>, configuration: &Configuration, nulls: &mut Nulls) -> Conditions {
    let files = SystemFiles::of_this_system();
    let after = Snapshot::take(&files);
    let version = configuration.backend_version.clone();
    let libraries = version.map(|version| (configuration.backend.clone(), version));
    let libraries: BTreeMap<String, String> = libraries.into_iter().collect();
    let found = conditions(&files, (&series.before, &after), libraries, nulls);
    if !is_cpu(configuration) {
        return found;
    }
    nulls.insert("conditions.driver_versions".into(), CPU_HAS_NONE.into());
    Conditions { driver_versions: None, ..found }
}

pub(crate) fn is_cpu(configuration: &Configuration) -> bool {
    configuration.device_used.as_ref().is_some_and(|device| device.eq_ignore_ascii_case("cpu"))
}

fn no_latency(nulls: &mut Nulls) -> (Option<Latency>, Option<StepCost>) {
    for path in ["latency", "step_us"] {
        nulls.insert(path.into(), OF_A_START.into());
    }
    (None, None)
}

fn latency(
    series: &Series<'_>,
    opened: &Opened,
    nulls: &mut Nulls,
) -> Result<(Option<Latency>, Option<StepCost>), SamplesError> {
    let latency = measuring::latency(&series.runs, series.n_tokens(), nulls)?;
    let step_us = measuring::step_cost(&series.runs, opened.has_tokenizer, nulls)?;
    Ok((Some(latency), step_us))
}

/// Reasons for what is null in a configuration.
pub(crate) fn unknown(configuration: &Configuration) -> Nulls {
    let Configuration { variant, n_parameters, backend_version, .. } = configuration;
    let Configuration { device_used, device_name, driver_version, .. } = configuration;
    let Configuration { n_threads, n_positions_max, correction_sha256, .. } = configuration;
    let of_driver = if is_cpu(configuration) { CPU_HAS_NONE } else { NOT_TOLD };
    let fields = [
        ("variant", variant.is_none(), "the folder holds one graph"),
        ("n_parameters", n_parameters.is_none(), "packed weights are not counted"),
        ("backend_version", backend_version.is_none(), NOT_TOLD),
        ("device_used", device_used.is_none(), NOT_TOLD),
        ("device_name", device_name.is_none(), NOT_TOLD),
        ("driver_version", driver_version.is_none(), of_driver),
        ("n_threads", n_threads.is_none(), "the library chooses"),
        ("n_positions_max", n_positions_max.is_none(), NOT_TOLD),
        ("correction_sha256", correction_sha256.is_none(), "no correction is applied"),
    ];
    let nulls = fields.into_iter().filter(|(_, is_null, _)| *is_null);
    nulls.map(|(field, _, why)| (format!("configuration.{field}"), why.to_owned())).collect()
}

fn protocol(
    series: &Series<'_>,
    repeating: &Repeating,
    stopped_because: StoppedBecause,
    nulls: &mut Nulls,
) -> Protocol {
    let is_open_ended = repeating.rule.n_repetitions.is_none();
    if !is_open_ended {
        for field in ["relative_interval_target", "time_budget_s"] {
            let reason = "the number of repetitions was given";
            nulls.insert(format!("protocol.{field}"), reason.into());
        }
    }
    Protocol {
        n_warmups: repeating.n_warmups,
        n_repetitions: series.n_repetitions(),
        stopped_because,
        relative_interval_target: is_open_ended.then_some(repeating.rule.relative_width),
        time_budget_s: is_open_ended.then_some(repeating.rule.time_budget.as_secs_f64()),
        is_isolated: true,
        order_idx: series.order_idx,
        seed: Some(repeating.seed),
        prompts_permuted: 1 < n_prompt_tokens(series.test),
    }
}

fn start(series: &Series<'_>, nulls: &mut Nulls) -> Result<Option<Start>, SamplesError> {
    let starts = &series.starts;
    let Some(last) = starts.last() else {
        nulls.insert("start".into(), format!("{} does not measure a start", series.test.name));
        return Ok(None);
    };
    let median = |figure: fn(&Start) -> Option<f64>| -> Result<Option<f64>, SamplesError> {
        let samples: Option<Vec<f64>> = starts.iter().map(figure).collect();
        samples.map(|samples| Ok(Samples::new(&samples)?.median())).transpose()
    };
    let start = Start {
        read_ms: median(|start| start.read_ms)?,
        compile_cold_ms: median(|start| start.compile_cold_ms)?,
        compile_warm_ms: median(|start| start.compile_warm_ms)?,
        cache: cache_of_all(starts),
        cache_blob_bytes: last.cache_blob_bytes,
        first_inference_ms: median(|start| start.first_inference_ms)?,
        process_start_to_first_token_ms: median(|start| start.process_start_to_first_token_ms)?,
    };
    let mut because = |field: &str, is_null: bool, reason: &str| {
        if is_null {
            nulls.insert(format!("start.{field}"), reason.to_owned());
        }
    };
    let at_once = "the library reads and compiles in one call";
    because("read_ms", start.read_ms.is_none(), at_once);
    let no_cache = "the library keeps nothing of a compilation";
    because("compile_warm_ms", start.compile_warm_ms.is_none(), no_cache);
    because("cache_blob_bytes", start.cache_blob_bytes.is_none(), no_cache);
    Ok(Some(start))
}

/// A hit only if all were.
fn cache_of_all(starts: &[Start]) -> Cache {
    let first = starts.first().map_or(Cache::None, |start| start.cache);
    match starts.iter().all(|start| start.cache == first) {
        true => first,
        false => Cache::Miss,
    }
}

fn memory(series: &Series<'_>, opened: &Opened, nulls: &mut Nulls) -> Memory {
    let phases = &series.memory;
    let mut known =
        |field: &str, reading: Reading<u64>| known(reading, &format!("memory.{field}"), nulls);
    let not_in_test = format!("{} has no such phase", series.test.name);
    let of = |phase: &Option<Footprint>, figure: fn(&Footprint) -> &Reading<u64>| match phase {
        Some(footprint) => figure(footprint).clone(),
        None => Err(Reason::new(&*not_in_test)),
    };
    let rss: fn(&Footprint) -> &Reading<u64> = |footprint| &footprint.rss_bytes;
    let pss: fn(&Footprint) -> &Reading<u64> = |footprint| &footprint.pss_bytes;
    let on_device = if is_cpu(&opened.configuration) { CPU_HAS_NONE } else { NOT_TOLD };
    let on_device = opened.memory.device_bytes.ok_or_else(|| Reason::new(on_device));
    let kv_bytes = kv_bytes(series, opened).ok_or_else(|| Reason::new(NOT_TOLD));
    Memory {
        idle_rss_bytes: known("idle_rss_bytes", of(&phases.idle, rss)),
        idle_pss_bytes: known("idle_pss_bytes", of(&phases.idle, pss)),
        loaded_rss_bytes: known("loaded_rss_bytes", of(&phases.loaded, rss)),
        loaded_pss_bytes: known("loaded_pss_bytes", of(&phases.loaded, pss)),
        prefilled_rss_bytes: known("prefilled_rss_bytes", of(&phases.prefilled, rss)),
        prefilled_pss_bytes: known("prefilled_pss_bytes", of(&phases.prefilled, pss)),
        decoding_rss_bytes: known("decoding_rss_bytes", of(&phases.decoded, rss)),
        decoding_pss_bytes: known("decoding_pss_bytes", of(&phases.decoded, pss)),
        peak_rss_bytes: known(
            "peak_rss_bytes",
            of(&phases.last, |footprint| &footprint.peak_rss_bytes),
        ),
        weights_mapped_bytes: Some(opened.memory.weights_mapped_bytes),
        kv_bytes: known("kv_bytes", kv_bytes),
        scratch_bytes: known("scratch_bytes", Err(Reason::new("the library is not asked"))),
        device_bytes: known("device_bytes", on_device),
    }
}

/// State of the positions that a run fills.
fn kv_bytes(series: &Series<'_>, opened: &Opened) -> Option<u64> {
    let of_position = |n_bytes: u64| n_bytes.checked_mul(n_positions_of(series.test) as u64);
    let memory = &opened.memory;
    memory.state_bytes_per_decoder.or_else(|| memory.state_bytes_per_position.and_then(of_position))
}

fn energy(series: &Series<'_>, nulls: &mut Nulls) -> Option<Energy> {
    match &series.energy {
        None => {
            nulls.insert("energy".into(), "not measured in a start".into());
            None
        }
        Some((reading, of_energy)) => {
            if reading.is_ok() {
                nulls.extend(of_energy.clone());
            }
            known(reading.clone(), "energy", nulls)
        }
    }
}
