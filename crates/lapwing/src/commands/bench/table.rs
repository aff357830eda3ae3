//! Records as rows for people.

use lapwing_measure::record::{Record, TestKind};
use lapwing_report::number::interval;

use super::Failure;
use crate::printer::human_bytes;

/// The names of the columns.
const HEADER: [&str; 9] = [
    "MODEL",
    "CONFIGURATION",
    "TEST",
    "TOKENS/S",
    "FIRST TOKEN",
    "P50",
    "P99",
    "PEAK RSS",
    "J/TOKEN",
];

const NONE: &str = "–";

/// Rows as narrow as they can be: a terminal may have 80 columns.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// What the rows would all have in their first column.
    pub(super) only_model: Option<String>,
    pub(super) header: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    /// These rows without the columns that say nothing.
    pub(super) fn of(mut rows: Vec<Vec<String>>) -> Table {
        let first = rows.first().and_then(|row| row.first()).cloned();
        let only_model = first.filter(|model| rows.iter().all(|row| &row[0] == model));
        let says_something = |idx: usize| match idx {
            0 => only_model.is_none(),
            _ => rows.iter().any(|row| row[idx] != NONE),
        };
        let kept: Vec<bool> = (0..HEADER.len()).map(says_something).collect();
        let header = HEADER.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(name, _)| *name);
        for row in &mut rows {
            let mut kept = kept.iter();
            row.retain(|_| kept.next().is_some_and(|kept| *kept));
        }
        Table { only_model, header: header.collect(), rows }
    }
}

/// One row.
pub(super) fn row(record: &Record) -> Vec<String> {
    let latency = record.latency.as_ref();
    let rate = latency.map(|latency| {
        let rate = &latency.tokens_per_s;
        let spread = match (rate.low, rate.high) {
            (Some(low), Some(high)) => format!(" ({})", interval(low, high, figure)),
            _ => String::new(),
        };
        format!("{}{spread}", figure(rate.median))
    });
    let first_ms = match (&record.start, latency) {
        (Some(start), _) => start.process_start_to_first_token_ms,
        (None, Some(latency)) => latency.ttft_ms.as_ref().map(|ttft| ttft.median),
        (None, None) => None,
    };
    let gaps = latency.and_then(|latency| latency.inter_token_ms.as_ref());
    let ms = |value: Option<f64>| value.map(|ms| format!("{} ms", figure(ms)));
    let joules = record.energy.as_ref().and_then(|energy| energy.joules_per_token);
    let cells = [
        Some(record.configuration.model.clone()),
        Some(configuration(record)),
        Some(record.test.name.clone()),
        rate,
        ms(first_ms),
        ms(gaps.map(|gaps| gaps.p50)),
        ms(gaps.map(|gaps| gaps.p99)),
        record.memory.peak_rss_bytes.map(human_bytes),
        joules.map(figure),
    ];
    cells.into_iter().map(|cell| cell.unwrap_or_else(|| NONE.to_owned())).collect()
}

/// A row for a configuration without figures.
pub(super) fn failed_row(failure: &Failure) -> Vec<String> {
    let Failure { model, configuration, test, .. } = failure.clone();
    let mut row = vec![model, configuration, test, "failed".to_owned()];
    row.resize(HEADER.len(), NONE.to_owned());
    row
}

/// One line, for those who watch.
pub(super) fn line(record: &Record) -> String {
    let what = format!("{} {}", record.configuration.model, configuration(record));
    let found = match (&record.start, &record.latency) {
        (Some(start), _) => {
            let ms = |value: Option<f64>| {
                value.map_or_else(|| NONE.to_owned(), |ms| format!("{} ms", figure(ms)))
            };
            let [cold, warm] = [start.compile_cold_ms, start.compile_warm_ms].map(ms);
            let first = ms(start.process_start_to_first_token_ms);
            format!("first token {first}, compiling {cold} cold, {warm} warm")
        }
        (None, Some(latency)) if record.test.kind == TestKind::Decode => {
            let gaps = latency.inter_token_ms.as_ref();
            let p50 =
                gaps.map_or_else(String::new, |gaps| format!(", p50 {} ms", figure(gaps.p50)));
            format!("{} tokens/s{p50}", figure(latency.tokens_per_s.median))
        }
        (None, Some(latency)) => {
            let rate = figure(latency.tokens_per_s.median);
            format!("{rate} tokens/s, {} ms", figure(latency.ms_median))
        }
        (None, None) => NONE.to_owned(),
    };
    format!("{}: {found} ({what}, n = {})", record.test.name, record.protocol.n_repetitions)
}

/// What of a configuration is not by default.
fn configuration(record: &Record) -> String {
    let configuration = &record.configuration;
    let device = configuration.device_used.as_ref().unwrap_or(&configuration.device_requested);
    let mut words = vec![configuration.backend.clone(), device.clone()];
    if configuration.precision != "fast" {
        words.push(configuration.precision.clone());
    }
    if let Some(n_threads) = configuration.n_threads {
        words.push(format!("{n_threads} thr"));
    }
    if configuration.correction != "off" {
        words.push("corrected".to_owned());
    }
    words.join(" ")
}

/// Three digits that say something.
pub(super) fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_say_nothing_are_left_out() {
        let row = |figures: [&str; 9]| figures.map(str::to_owned).to_vec();
        let one = row(["m", "openvino CPU", "pp32", "100", "1 ms", NONE, NONE, "1 MB", NONE]);
        let other = row(["m", "openvino CPU", "tg16", "10", "1 ms", "2 ms", NONE, NONE, NONE]);
        let table = Table::of(vec![one.clone(), other.clone()]);
        assert_eq!(table.only_model.as_deref(), Some("m"));
        assert_eq!(
            table.header,
            ["CONFIGURATION", "TEST", "TOKENS/S", "FIRST TOKEN", "P50", "PEAK RSS"]
        );
        assert_eq!(table.rows[0], ["openvino CPU", "pp32", "100", "1 ms", NONE, "1 MB"]);
        assert_eq!(table.rows[1], ["openvino CPU", "tg16", "10", "1 ms", "2 ms", NONE]);
        let another = row(["n", "openvino CPU", "tg16", "10", "1 ms", "2 ms", NONE, NONE, NONE]);
        let table = Table::of(vec![one, other, another]);
        assert_eq!((table.only_model.as_ref(), table.header[0]), (None, "MODEL"));
        assert_eq!(table.rows[2][0], "n");
    }

    #[test]
    fn figures_have_three_digits() {
        let check = |value: f64, expected: &str| assert_eq!(figure(value), expected);
        check(0.0, "0");
        check(0.012_34, "0.012");
        check(1.234, "1.23");
        check(12.34, "12.3");
        check(3078.4, "3078");
    }
}
