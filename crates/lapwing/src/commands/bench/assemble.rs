//! From what was measured to a record: a value for every field, or a reason.

use std::collections::BTreeMap;
use std::time::SystemTime;

use anyhow::Context as _;
use lapwing_backend::OpenOptions;
use lapwing_measure::conditions::{Snapshot, conditions};
use lapwing_measure::measuring::{self, Nulls, Timed, n_positions};
use lapwing_measure::memory::Footprint;
use lapwing_measure::reading::{Reading, Reason, SystemFiles, known};
use lapwing_measure::record::{
    Cache, Conditions, Configuration, Energy, Latency, Memory, Program, Protocol, Record,
    SCHEMA_VERSION, Start, StepCost, StoppedBecause, TestKind, timestamp,
};
use lapwing_report::statistics::Samples;

use super::message::Opened;
use super::plan::n_prompt_tokens;
use super::series::{Repeating, Series, StartSample};

/// The commit that the program was built from.
const GIT_REVISION: Option<&str> = option_env!("LAPWING_GIT_REVISION");

const CPU_HAS_NONE: &str = "a CPU has none";

const OF_A_START: &str = "a start is told in `start`";

/// What the records of one call of `bench` share.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) run_id: String,
    pub(super) host: String,
}

/// The record of a series that is complete.
pub(super) fn record(
    header: &Header,
    series: &Series<'_>,
    repeating: &Repeating,
    stopped_because: StoppedBecause,
) -> anyhow::Result<Record> {
    let mut nulls = Nulls::new();
    let opened = series.opened.as_ref().context("the model was never opened")?;
    let (latency, step_us) = match series.test.kind {
        TestKind::Start => no_latency(&mut nulls),
        TestKind::Prefill | TestKind::Decode => latency(series, opened, &mut nulls)?,
    };
    let start = start(series, &mut nulls)?;
    let mut record = Record {
        schema_version: SCHEMA_VERSION,
        record_id: String::new(),
        run_id: header.run_id.clone(),
        measured_at: timestamp(SystemTime::now()),
        host: header.host.clone(),
        program: program(&mut nulls),
        configuration: configuration(series, opened, &mut nulls),
        test: series.test.clone(),
        protocol: protocol(series, repeating, stopped_because, &mut nulls),
        start,
        latency,
        step_us,
        memory: memory(series, opened, &mut nulls),
        energy: energy(series, &mut nulls),
        conditions: around(series, opened, &mut nulls),
        tokens_sha256: Some(series.tokens_sha256.clone()),
        nulls,
    };
    record.record_id = record.content_id();
    Ok(record)
}

/// The machine; `after` is now.
fn around(series: &Series<'_>, opened: &Opened, nulls: &mut Nulls) -> Conditions {
    let files = SystemFiles::of_this_system();
    let after = Snapshot::take(&files);
    let library = (opened.backend.clone(), opened.backend_version.clone());
    let found = conditions(&files, (&series.before, &after), BTreeMap::from([library]), nulls);
    if !is_cpu(opened) {
        return found;
    }
    nulls.insert("conditions.driver_versions".into(), CPU_HAS_NONE.into());
    Conditions { driver_versions: None, ..found }
}

fn is_cpu(opened: &Opened) -> bool {
    opened.device_used.eq_ignore_ascii_case("cpu")
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
) -> anyhow::Result<(Option<Latency>, Option<StepCost>)> {
    let latency = measuring::latency(&series.runs, series.n_tokens(), nulls)?;
    let step_us = measuring::step_cost(&series.runs, opened.has_tokenizer, nulls)?;
    Ok((Some(latency), step_us))
}

fn program(nulls: &mut Nulls) -> Program {
    if GIT_REVISION.is_none() {
        nulls.insert("program.git_revision".into(), "it was not built in a checkout".into());
    }
    Program {
        name: "lapwing".into(),
        version: Some(env!("CARGO_PKG_VERSION").into()),
        git_revision: GIT_REVISION.map(str::to_owned),
    }
}

fn configuration(series: &Series<'_>, opened: &Opened, nulls: &mut Nulls) -> Configuration {
    let (options, model) = (&series.planned.opening.setup.options, &series.planned.model);
    let mut or_reason = |path: &str, is_null: bool, reason: &str| {
        if is_null {
            nulls.insert(format!("configuration.{path}"), reason.to_owned());
        }
    };
    let has_name = !opened.device_name.is_empty();
    or_reason("variant", model.variant.is_none(), "the folder holds one graph");
    or_reason("n_parameters", true, "packed weights are not counted");
    or_reason("device_name", !has_name, "the library does not tell");
    let of_driver = if is_cpu(opened) { CPU_HAS_NONE } else { "the library does not tell" };
    or_reason("driver_version", opened.driver_version.is_none(), of_driver);
    or_reason("n_threads", options.n_threads.is_none(), "the library chooses");
    let is_off = opened.correction_sha256.is_none();
    or_reason("correction_sha256", is_off, "no correction is applied");
    Configuration {
        model: model.name.clone(),
        model_sha256: model.sha256.clone(),
        model_kind: model.kind.to_owned(),
        variant: model.variant.clone(),
        model_bytes: Some(model.n_bytes),
        n_parameters: None,
        backend: opened.backend.clone(),
        backend_version: Some(opened.backend_version.clone()),
        device_requested: options.device.to_string(),
        device_used: Some(opened.device_used.clone()),
        device_name: has_name.then(|| opened.device_name.clone()),
        driver_version: opened.driver_version.clone(),
        precision: options.precision.to_string(),
        n_threads: options.n_threads,
        n_positions_max: Some(opened.n_positions_max),
        correction: opened.correction.clone(),
        correction_sha256: opened.correction_sha256.clone(),
        settings: special_settings(opened, options),
    }
}

/// What else the model was compiled for is a part of the configuration: the longest prompt of an
/// NPU, and properties of the library.
fn special_settings(opened: &Opened, options: &OpenOptions) -> BTreeMap<String, String> {
    let prompt = opened.n_prompt_tokens_max;
    let prompt = prompt.map(|n| ("n_prompt_tokens_max".to_owned(), n.to_string()));
    prompt.into_iter().chain(options.properties.clone()).collect()
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

fn start(series: &Series<'_>, nulls: &mut Nulls) -> anyhow::Result<Option<Start>> {
    let starts = &series.starts;
    let Some(last) = starts.last() else {
        nulls.insert("start".into(), format!("{} does not measure a start", series.test.name));
        return Ok(None);
    };
    let median = |figure: &dyn Fn(&StartSample) -> Option<f64>| -> anyhow::Result<Option<f64>> {
        let samples: Vec<f64> = starts.iter().filter_map(figure).collect();
        match samples.len() == starts.len() {
            true => Ok(Some(Samples::new(&samples)?.median())),
            false => Ok(None),
        }
    };
    let start = Start {
        read_ms: median(&|start| start.read_ms)?,
        compile_cold_ms: median(&|start| Some(start.compile_cold_ms))?,
        compile_warm_ms: median(&|start| start.compile_warm_ms)?,
        cache: cache_of_all(starts),
        cache_blob_bytes: last.compile_warm_ms.map(|_| last.cache_blob_bytes),
        first_inference_ms: median(&|start| Some(start.first_inference_ms))?,
        process_start_to_first_token_ms: median(&|start| Some(start.process_ms))?,
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
fn cache_of_all(starts: &[StartSample]) -> Cache {
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
    let not_told = || Err(Reason::new("the library does not tell"));
    let on_device = if is_cpu(opened) { CPU_HAS_NONE } else { "the library does not tell" };
    let on_device = opened.device_bytes.ok_or_else(|| Reason::new(on_device));
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
        weights_mapped_bytes: Some(opened.weights_mapped_bytes),
        kv_bytes: known("kv_bytes", kv_bytes(series, opened).map_or_else(not_told, Ok)),
        scratch_bytes: known("scratch_bytes", Err(Reason::new("the library is not asked"))),
        device_bytes: known("device_bytes", on_device),
    }
}

/// State of the positions that a run fills.
fn kv_bytes(series: &Series<'_>, opened: &Opened) -> Option<u64> {
    if let Some(n_bytes) = opened.state_bytes_per_decoder {
        return Some(n_bytes);
    }
    let timed = match series.test.kind {
        TestKind::Start | TestKind::Prefill => Timed::Prefill,
        TestKind::Decode => Timed::Decode,
    };
    let test = series.test;
    let n_positions = n_positions(timed, n_prompt_tokens(test), test.n_generated_tokens);
    opened.state_bytes_per_position?.checked_mul(n_positions as u64)
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
