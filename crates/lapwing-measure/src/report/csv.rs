//! Records as `llama-bench -o csv` writes its own.

use lapwing_report::statistics::Samples;

use crate::record::{Record, TestKind};

/// The columns, in order.
///
/// Source: `tools/llama-bench/llama-bench.cpp` of llama.cpp at commit 0104b15, `get_fields`.
pub const COLUMNS: [&str; 40] = [
    "build_commit",
    "build_number",
    "cpu_info",
    "gpu_info",
    "backends",
    "model_filename",
    "model_type",
    "model_size",
    "model_n_params",
    "n_batch",
    "n_ubatch",
    "n_threads",
    "cpu_mask",
    "cpu_strict",
    "poll",
    "type_k",
    "type_v",
    "n_gpu_layers",
    "n_cpu_moe",
    "split_mode",
    "main_gpu",
    "no_kv_offload",
    "flash_attn",
    "devices",
    "tensor_split",
    "tensor_buft_overrides",
    "load_mode",
    "embeddings",
    "no_op_offload",
    "no_host",
    "fit_target",
    "fit_min_ctx",
    "n_prompt",
    "n_gen",
    "n_depth",
    "test_time",
    "avg_ns",
    "stddev_ns",
    "avg_ts",
    "stddev_ts",
];

/// What `llama-bench` has no column for, and rows need to be told apart; behind its columns.
const OWN_COLUMNS: [&str; 4] = ["program", "precision", "correction", "test"];

/// A line of headings and one for each record that has a latency; a cell is empty where a record
/// has nothing for it. A start and use have no place among these columns.
#[must_use]
pub fn csv(records: &[Record]) -> String {
    let mut text = [&COLUMNS[..], &OWN_COLUMNS[..]].concat().join(",");
    text.push('\n');
    let has_place =
        |record: &&Record| matches!(record.test.kind, TestKind::Prefill | TestKind::Decode);
    for record in records.iter().filter(has_place) {
        let Some(figures) = Figures::of(record) else { continue };
        let columns = COLUMNS.iter().chain(&OWN_COLUMNS);
        let cells: Vec<String> =
            columns.map(|column| quoted(&cell(column, record, &figures))).collect();
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

/// Means and deviations, which `llama-bench` tells where we tell medians.
struct Figures {
    mean_ns: f64,
    deviation_ns: Option<f64>,
    mean_rate: f64,
    deviation_rate: Option<f64>,
}

impl Figures {
    fn of(record: &Record) -> Option<Figures> {
        let latency = record.latency.as_ref()?;
        let rate = &latency.tokens_per_s;
        let times = Samples::new(&latency.samples_ms).ok();
        Some(Figures {
            mean_ns: times.as_ref().map_or(latency.ms_median, Samples::mean) * 1e6,
            deviation_ns: times.and_then(|times| times.standard_deviation()).map(|ms| ms * 1e6),
            mean_rate: rate.mean,
            deviation_rate: rate.coefficient_of_variation.map(|share| share * rate.mean),
        })
    }
}

fn cell(column: &str, record: &Record, figures: &Figures) -> String {
    let configuration = &record.configuration;
    let test = &record.test;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let number = |value: Option<f64>, n_decimals: usize| {
        value.map_or_else(String::new, |value| format!("{value:.n_decimals$}"))
    };
    let device = configuration.device_used.as_deref().unwrap_or_default();
    match column {
        "build_commit" => text(&record.program.git_revision),
        "cpu_info" => text(&record.conditions.cpu_model),
        "gpu_info" if !device.starts_with("CPU") => text(&configuration.device_name),
        "backends" => configuration.backend.clone(),
        "model_filename" => configuration.model.clone(),
        "model_type" => configuration.model_kind.clone(),
        "model_size" => configuration.model_bytes.map_or_else(String::new, |n| n.to_string()),
        "model_n_params" => configuration.n_parameters.map_or_else(String::new, |n| n.to_string()),
        "n_threads" => configuration.n_threads.map_or_else(String::new, |n| n.to_string()),
        "devices" => device.to_owned(),
        "n_prompt" => test.n_prompt_tokens.to_string(),
        "n_gen" => test.n_generated_tokens.to_string(),
        "n_depth" => test.n_depth_tokens.to_string(),
        "test_time" => record.measured_at.clone(),
        "avg_ns" => number(Some(figures.mean_ns), 0),
        "stddev_ns" => number(figures.deviation_ns, 0),
        "avg_ts" => number(Some(figures.mean_rate), 6),
        "stddev_ts" => number(figures.deviation_rate, 6),
        "program" => record.program.name.clone(),
        "precision" => configuration.precision.clone(),
        "correction" => configuration.correction.clone(),
        "test" => test.name.clone(),
        _ => String::new(),
    }
}

/// In quotation marks. A spreadsheet would calculate what begins like a formula.
fn quoted(value: &str) -> String {
    let guard = if value.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", value.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_line_has_what_llama_bench_would_say() {
        let mut record = sample::decode(1024);
        record.configuration.model = "=1+\"x\"".into();
        let text = csv(&[sample::start(), record.clone()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        let cells: Vec<&str> = lines[1].split(',').collect();
        assert_eq!(cells.len(), COLUMNS.len() + OWN_COLUMNS.len());
        assert_eq!(lines[0].split(',').count(), cells.len());
        let check = |column: &str, expected: &str| {
            let place = lines[0].split(',').position(|other| other == column).unwrap();
            assert_eq!(cells[place], expected, "{column}");
        };
        check("build_commit", "\"abc\"");
        check("build_number", "\"\"");
        check("gpu_info", "\"\"");
        check("model_filename", "\"'=1+\"\"x\"\"\"");
        check("n_threads", "\"2\"");
        check("n_gen", "\"128\"");
        check("program", "\"lapwing\"");
        check("test", "\"tg128@d1024\"");
        check("n_depth", "\"1024\"");
        check("test_time", "\"2026-11-02T12:02:00Z\"");
        let latency = record.latency.unwrap();
        let mean_ms = latency.samples_ms.iter().sum::<f64>() / 5.0;
        check("avg_ns", &format!("\"{:.0}\"", mean_ms * 1e6));
        check("avg_ts", &format!("\"{:.6}\"", latency.tokens_per_s.mean));
    }
}
