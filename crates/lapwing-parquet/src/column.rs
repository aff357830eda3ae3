//! The columns: every field of a record, by the path that it has there.

use parquet::errors::ParquetError;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::Type;

use Kind::{Flag, Integer, Integers, Map, Number, Numbers, Text, Texts, Time, Unsigned};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Integer,
    /// Up to `u64::MAX`.
    Unsigned,
    Number,
    Flag,
    /// Of day, in UTC.
    Time,
    Texts,
    Integers,
    Numbers,
    /// From text to text.
    Map,
}

/// A field of a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    /// With dots, as in [`lapwing_measure::record::Record::nulls`].
    pub(crate) path: &'static str,
    pub(crate) kind: Kind,
    /// Also where what it is in is null.
    pub(crate) may_be_null: bool,
}

impl Column {
    pub(crate) fn name(&self) -> String {
        self.path.replace('.', "_")
    }

    /// As the text form of Parquet's schemas has it.
    pub(crate) fn definition(&self) -> String {
        let name = self.name();
        let nullness = if self.may_be_null { "optional" } else { "required" };
        let list = |element: &str| {
            format!("{nullness} group {name} (LIST) {{ repeated group list {{ {element}; }} }}")
        };
        match self.kind {
            Text => format!("{nullness} binary {name} (STRING);"),
            Integer => format!("{nullness} int64 {name};"),
            Unsigned => format!("{nullness} int64 {name} (INTEGER(64,false));"),
            Number => format!("{nullness} double {name};"),
            Flag => format!("{nullness} boolean {name};"),
            Time => format!("{nullness} int64 {name} (TIMESTAMP(MICROS,true));"),
            Texts => list("required binary element (STRING)"),
            Integers => list("required int64 element"),
            Numbers => list("required double element"),
            Map => format!(
                "{nullness} group {name} (MAP) {{ repeated group key_value {{ \
                 required binary key (STRING); required binary value (STRING); }} }}"
            ),
        }
    }
}

const fn always(path: &'static str, kind: Kind) -> Column {
    Column { path, kind, may_be_null: false }
}

const fn maybe(path: &'static str, kind: Kind) -> Column {
    Column { path, kind, may_be_null: true }
}

/// In the order in which a record has them.
pub(crate) const COLUMNS: &[Column] = &[
    always("schema_version", Integer),
    always("record_id", Text),
    always("run_id", Text),
    always("measured_at", Time),
    always("host", Text),
    always("program.name", Text),
    maybe("program.version", Text),
    maybe("program.git_revision", Text),
    always("configuration.model", Text),
    always("configuration.model_sha256", Text),
    always("configuration.model_kind", Text),
    maybe("configuration.variant", Text),
    maybe("configuration.model_bytes", Integer),
    maybe("configuration.n_parameters", Integer),
    always("configuration.backend", Text),
    maybe("configuration.backend_version", Text),
    always("configuration.device_requested", Text),
    maybe("configuration.device_used", Text),
    maybe("configuration.device_name", Text),
    maybe("configuration.driver_version", Text),
    always("configuration.precision", Text),
    maybe("configuration.n_threads", Integer),
    maybe("configuration.n_positions_max", Integer),
    always("configuration.correction", Text),
    maybe("configuration.correction_sha256", Text),
    always("configuration.settings", Map),
    always("test.kind", Text),
    always("test.name", Text),
    always("test.n_prompt_tokens", Integer),
    always("test.n_depth_tokens", Integer),
    always("test.n_generated_tokens", Integer),
    always("protocol.n_warmups", Integer),
    always("protocol.n_repetitions", Integer),
    always("protocol.stopped_because", Text),
    maybe("protocol.relative_interval_target", Number),
    maybe("protocol.time_budget_s", Number),
    always("protocol.is_isolated", Flag),
    always("protocol.order_idx", Integer),
    maybe("protocol.seed", Unsigned),
    always("protocol.prompts_permuted", Flag),
    maybe("start.read_ms", Number),
    maybe("start.compile_cold_ms", Number),
    maybe("start.compile_warm_ms", Number),
    maybe("start.cache", Text),
    maybe("start.cache_blob_bytes", Integer),
    maybe("start.first_inference_ms", Number),
    maybe("start.process_start_to_first_token_ms", Number),
    maybe("latency.samples_ms", Numbers),
    maybe("latency.ms_median", Number),
    maybe("latency.ms_mad", Number),
    maybe("latency.tokens_per_s.median", Number),
    maybe("latency.tokens_per_s.low", Number),
    maybe("latency.tokens_per_s.high", Number),
    maybe("latency.tokens_per_s.mean", Number),
    maybe("latency.tokens_per_s.coefficient_of_variation", Number),
    maybe("latency.ttft_ms.median", Number),
    maybe("latency.ttft_ms.low", Number),
    maybe("latency.ttft_ms.high", Number),
    maybe("latency.inter_token_ms.p50", Number),
    maybe("latency.inter_token_ms.p90", Number),
    maybe("latency.inter_token_ms.p99", Number),
    maybe("latency.inter_token_ms.max", Number),
    maybe("latency.inter_token_ms.mean", Number),
    maybe("latency.inter_token_ms.n", Integer),
    maybe("latency.inter_token_ms.histogram.edges_ms", Numbers),
    maybe("latency.inter_token_ms.histogram.counts", Integers),
    maybe("step_us.inference", Number),
    maybe("step_us.correction", Number),
    maybe("step_us.sampler", Number),
    maybe("step_us.detokenizer", Number),
    maybe("step_us.rest", Number),
    maybe("step_us.total", Number),
    maybe("step_us.n_steps", Integer),
    maybe("memory.idle_rss_bytes", Integer),
    maybe("memory.idle_pss_bytes", Integer),
    maybe("memory.loaded_rss_bytes", Integer),
    maybe("memory.loaded_pss_bytes", Integer),
    maybe("memory.prefilled_rss_bytes", Integer),
    maybe("memory.prefilled_pss_bytes", Integer),
    maybe("memory.decoding_rss_bytes", Integer),
    maybe("memory.decoding_pss_bytes", Integer),
    maybe("memory.peak_rss_bytes", Integer),
    maybe("memory.weights_mapped_bytes", Integer),
    maybe("memory.kv_bytes", Integer),
    maybe("memory.scratch_bytes", Integer),
    maybe("memory.device_bytes", Integer),
    maybe("energy.source", Text),
    maybe("energy.sensors", Texts),
    maybe("energy.measured_s", Number),
    maybe("energy.total_energy_j", Number),
    maybe("energy.idle_power_w", Number),
    maybe("energy.energy_j", Number),
    maybe("energy.n_tokens", Integer),
    maybe("energy.joules_per_token", Number),
    maybe("conditions.cpu_model", Text),
    maybe("conditions.architecture", Text),
    maybe("conditions.isa_level", Text),
    maybe("conditions.n_cores_physical", Integer),
    maybe("conditions.n_cores_logical", Integer),
    maybe("conditions.cores_used", Integers),
    maybe("conditions.frequency_before_mhz", Number),
    maybe("conditions.frequency_after_mhz", Number),
    maybe("conditions.frequency_max_mhz", Number),
    maybe("conditions.temperature_before_c", Number),
    maybe("conditions.temperature_after_c", Number),
    maybe("conditions.n_throttle_events", Integer),
    maybe("conditions.governor", Text),
    maybe("conditions.power_source", Text),
    maybe("conditions.battery_percent", Number),
    maybe("conditions.load_average_before", Number),
    maybe("conditions.load_average_after", Number),
    maybe("conditions.memory_total_bytes", Integer),
    maybe("conditions.memory_available_bytes", Integer),
    maybe("conditions.cpu_quota", Number),
    maybe("conditions.memory_limit_bytes", Integer),
    maybe("conditions.os", Text),
    maybe("conditions.kernel", Text),
    maybe("conditions.hypervisor", Text),
    maybe("conditions.library_versions", Map),
    maybe("conditions.driver_versions", Map),
    maybe("tokens_sha256", Text),
    always("nulls", Map),
];

/// The schema of a file.
pub(crate) fn schema() -> Result<Type, ParquetError> {
    let columns: Vec<String> = COLUMNS.iter().map(Column::definition).collect();
    parse_message_type(&format!("message record {{ {} }}", columns.join(" ")))
}

#[cfg(test)]
mod tests;
