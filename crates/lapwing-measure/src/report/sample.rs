//! Records for tests, of machines that do not exist.

use std::collections::BTreeMap;

use lapwing_report::statistics::{self, Samples, median_interval};

use crate::record::{
    Cache, Conditions, Configuration, Histogram, InterToken, Interval, Latency, Memory,
    PowerSource, Program, Protocol, Record, SCHEMA_VERSION, Start, StepCost, StoppedBecause, Test,
    TestKind, Throughput,
};

const MEGABYTE: u64 = 1_000_000;

/// Everything that `bench` would measure of one configuration; a thread is worth 45 tokens/s.
pub(crate) fn run(backend: &str, n_threads: usize, run_idx: usize) -> Vec<Record> {
    let tests = [
        Test::start(16),
        Test::prefill(128, 0),
        Test::prefill(512, 0),
        Test::prefill(2048, 0),
        Test::decode(128, 0),
        Test::decode(128, 1024),
        Test::decode(128, 4096),
    ];
    let mut records = tests.map(|test| record(test, backend, n_threads, run_idx));
    for (order_idx, record) in records.iter_mut().enumerate() {
        record.protocol.order_idx = order_idx;
    }
    records.into()
}

pub(crate) fn decode(n_depth_tokens: usize) -> Record {
    record(Test::decode(128, n_depth_tokens), "openvino", 2, 1)
}

pub(crate) fn prefill(n_prompt_tokens: usize) -> Record {
    record(Test::prefill(n_prompt_tokens, 0), "openvino", 2, 1)
}

pub(crate) fn start() -> Record {
    record(Test::start(16), "openvino", 2, 1)
}

/// Answers in use, of the configuration of `decode`.
pub(crate) fn in_use(run_idx: usize) -> Record {
    record(Test::in_use(300, 20, 150), "openvino", 2, run_idx)
}

fn record(test: Test, backend: &str, n_threads: usize, run_idx: usize) -> Record {
    let backend_factor = match backend {
        "openvino" => 1.0,
        "onnxruntime" => 0.83,
        _ => 0.91,
    };
    let context = (test.n_depth_tokens + test.n_prompt_tokens / 2) as f64;
    let rate = 45.0 * n_threads as f64 * backend_factor / (1.0 + context / 6000.0);
    let latency = match test.kind {
        TestKind::Start => None,
        TestKind::Prefill => Some(latency(&test, test.n_prompt_tokens, rate * 9.0, run_idx)),
        TestKind::Decode | TestKind::Use => {
            Some(latency(&test, test.n_generated_tokens, rate, run_idx))
        }
    };
    Record {
        schema_version: SCHEMA_VERSION,
        record_id: format!("{run_idx:016x}"),
        run_id: format!("{:016x}", run_idx * 16 + n_threads),
        measured_at: format!("2026-11-{:02}T12:{:02}:00Z", 1 + run_idx % 28, n_threads % 60),
        host: "laptop".into(),
        program: program(backend),
        configuration: configuration(backend, n_threads),
        protocol: protocol(),
        start: (test.kind == TestKind::Start).then(|| start_of(backend_factor)),
        step_us: (test.kind == TestKind::Decode).then(|| step_cost(1e6 / rate)),
        memory: memory(&test, backend_factor),
        energy: None,
        conditions: conditions(),
        tokens_sha256: Some("0d".repeat(32)),
        nulls: nulls(&test),
        latency,
        test,
    }
}

fn program(backend: &str) -> Program {
    let name = if backend == "llama.cpp" { backend } else { "lapwing" };
    Program { name: name.into(), version: Some("0.1.0".into()), git_revision: Some("abc".into()) }
}

fn configuration(backend: &str, n_threads: usize) -> Configuration {
    Configuration {
        model: "smollm2-135m-instruct".into(),
        model_sha256: "aaaaaaaaaaaaaaaa".into(),
        model_kind: "openvino-ir".into(),
        variant: None,
        model_bytes: Some(138 * MEGABYTE),
        n_parameters: Some(134_515_008),
        backend: backend.into(),
        backend_version: Some("2026.4.1".into()),
        device_requested: "cpu".into(),
        device_used: Some("CPU".into()),
        device_name: Some("Example CPU 3000".into()),
        driver_version: None,
        precision: "fast".into(),
        n_threads: Some(n_threads),
        n_positions_max: Some(8192),
        correction: "off".into(),
        correction_sha256: None,
        settings: BTreeMap::new(),
    }
}

fn protocol() -> Protocol {
    Protocol {
        n_warmups: 1,
        n_repetitions: 5,
        stopped_because: StoppedBecause::IntervalNarrow,
        relative_interval_target: Some(0.02),
        time_budget_s: Some(60.0),
        is_isolated: true,
        order_idx: 0,
        seed: Some(1),
        prompts_permuted: true,
    }
}

fn latency(test: &Test, n_tokens: usize, rate: f64, run_idx: usize) -> Latency {
    let ms = 1000.0 * n_tokens as f64 / rate;
    let drift = 1.0 + 0.004 * ((run_idx * 7 % 5) as f64 - 2.0);
    let samples_ms = [1.004, 0.997, 1.0, 1.011, 0.995].map(|jitter| ms * drift * jitter);
    let samples = Samples::new(&samples_ms).unwrap();
    let rates = Samples::new(&samples_ms.map(|ms| n_tokens as f64 * 1000.0 / ms)).unwrap();
    let [of_ms, of_rates] = [&samples, &rates].map(|s| median_interval(s, 1).unwrap());
    let is_decode = test.kind == TestKind::Decode;
    Latency {
        samples_ms: samples_ms.into(),
        ms_median: samples.median(),
        ms_mad: samples.mad(),
        tokens_per_s: Throughput {
            median: rates.median(),
            low: Some(of_rates.low),
            high: Some(of_rates.high),
            mean: rates.mean(),
            coefficient_of_variation: rates.coefficient_of_variation(),
        },
        ttft_ms: (!is_decode).then_some(Interval {
            median: samples.median(),
            low: Some(of_ms.low),
            high: Some(of_ms.high),
        }),
        inter_token_ms: is_decode.then(|| inter_token(samples.median() / n_tokens as f64)),
    }
}

fn inter_token(p50: f64) -> InterToken {
    // A long tail to the right.
    let values: Vec<f64> = (0..640)
        .map(|idx| {
            p50 * (1.0 + 0.002 * f64::from(idx % 17 - 8))
                * (1.0 + 900.0 / f64::from(5000 - idx * 7))
                / 1.27
        })
        .collect();
    let samples = Samples::new(&values).unwrap();
    let histogram = statistics::Histogram::new(&samples).unwrap();
    InterToken {
        p50: samples.median(),
        p90: samples.percentile(90.0),
        p99: samples.percentile(99.0),
        max: samples.max(),
        mean: samples.mean(),
        n: samples.n() as u64,
        histogram: Histogram { edges_ms: histogram.edges(), counts: histogram.counts().into() },
    }
}

fn step_cost(total: f64) -> StepCost {
    StepCost {
        inference: Some(total * 0.96),
        correction: Some(31.0),
        sampler: Some(58.0),
        detokenizer: Some(9.0),
        rest: Some(17.0),
        total,
        n_steps: 635,
    }
}

fn start_of(factor: f64) -> Start {
    Start {
        read_ms: Some(84.0 / factor),
        compile_cold_ms: Some(1240.0 / factor),
        compile_warm_ms: Some(310.0 / factor),
        cache: Cache::Hit,
        cache_blob_bytes: Some(141 * MEGABYTE),
        first_inference_ms: Some(36.0 / factor),
        process_start_to_first_token_ms: Some(520.0 / factor),
    }
}

fn memory(test: &Test, factor: f64) -> Memory {
    let context = (test.n_depth_tokens + test.n_prompt_tokens) as u64;
    let loaded = (210.0 / factor) as u64 * MEGABYTE;
    let prefilled = loaded + 30 * MEGABYTE + context * 23_040;
    Memory {
        idle_rss_bytes: Some(18 * MEGABYTE),
        idle_pss_bytes: Some(14 * MEGABYTE),
        loaded_rss_bytes: Some(loaded),
        loaded_pss_bytes: Some(loaded - 6 * MEGABYTE),
        prefilled_rss_bytes: Some(prefilled),
        prefilled_pss_bytes: Some(prefilled - 6 * MEGABYTE),
        decoding_rss_bytes: Some(prefilled + 3 * MEGABYTE),
        decoding_pss_bytes: Some(prefilled - 3 * MEGABYTE),
        peak_rss_bytes: Some(prefilled + 55 * MEGABYTE),
        weights_mapped_bytes: Some(138 * MEGABYTE),
        kv_bytes: Some(context * 23_040),
        scratch_bytes: None,
        device_bytes: None,
    }
}

fn conditions() -> Conditions {
    let library = ("openvino".to_owned(), "2026.4.1".to_owned());
    Conditions {
        cpu_model: Some("Example CPU 3000".into()),
        architecture: Some("x86_64".into()),
        isa_level: Some("avx2".into()),
        n_cores_physical: Some(2),
        n_cores_logical: Some(4),
        cores_used: Some(vec![0, 1]),
        frequency_before_mhz: Some(2100.0),
        frequency_after_mhz: Some(3400.0),
        frequency_max_mhz: Some(4200.0),
        temperature_before_c: Some(48.0),
        temperature_after_c: Some(71.5),
        n_throttle_events: Some(0),
        governor: Some("performance".into()),
        power_source: Some(PowerSource::Mains),
        battery_percent: Some(88.0),
        load_average_before: Some(0.12),
        load_average_after: Some(1.9),
        memory_total_bytes: Some(16_000 * MEGABYTE),
        cpu_quota: None,
        memory_limit_bytes: None,
        memory_available_bytes: Some(11_200 * MEGABYTE),
        os: Some("Example OS 12".into()),
        kernel: Some("6.12.0".into()),
        hypervisor: None,
        library_versions: Some(BTreeMap::from([library])),
        driver_versions: None,
    }
}

fn nulls(test: &Test) -> BTreeMap<String, String> {
    let mut nulls = vec![
        ("energy", "no permission to read /sys/class/powercap/intel-rapl:0/energy_uj"),
        ("memory.device_bytes", "the CPU has no memory of its own"),
        ("memory.scratch_bytes", "openvino does not tell"),
        ("configuration.driver_version", "the CPU has no driver"),
        ("configuration.variant", "the folder holds one graph"),
        ("configuration.correction_sha256", "nothing is corrected"),
        ("conditions.hypervisor", "none is announced by the processor"),
        ("conditions.driver_versions", "no device with a driver"),
    ];
    match test.kind {
        TestKind::Start => nulls.extend([("latency", "a start"), ("step_us", "a start")]),
        TestKind::Prefill => nulls.extend([
            ("start", "not a start"),
            ("step_us", "nothing is decoded"),
            ("latency.inter_token_ms", "nothing is decoded"),
        ]),
        TestKind::Decode | TestKind::Use => {
            nulls.extend([("start", "not a start"), ("latency.ttft_ms", "no prompt is timed")]);
        }
    }
    nulls.into_iter().map(|(path, reason)| (path.to_owned(), reason.to_owned())).collect()
}
