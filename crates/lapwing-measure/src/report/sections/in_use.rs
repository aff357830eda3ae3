//! What answers took in use.

use lapwing_report::{Cell, Page, Table, number};

use crate::record::{Record, TestKind};
use crate::report::overview::Overview;

pub(crate) fn write(overview: &Overview, page: &mut Page) {
    let table = table(overview);
    if table.is_empty() {
        return;
    }
    page.section("use", "In use", |page| {
        page.paragraph(
            "What answers of a daemon really took, waiting for others\u{2019} turns with it and the \
             loading of the model left out. Nobody chose what was asked: a configuration that is \
             slower here may have had longer prompts or more company.",
        );
        page.table(&table);
    });
}

/// One line for each configuration that was used, from its newest record.
pub(crate) fn table(overview: &Overview) -> Table {
    let mut table = Table::new(
        "Answers in use: medians with 95 % intervals, milliseconds",
        &["Configuration", "Last answer"],
        &[
            "Answers",
            "Prompt read, tokens",
            "Known, tokens",
            "Answer, tokens",
            "First token",
            "Tokens/s",
            "Whole answer",
            "Counted, J",
        ],
    );
    for subject in &overview.subjects {
        for record in subject.newest_of_kind(TestKind::Use) {
            let mut row = vec![Cell::text(&*subject.label), Cell::text(&*record.measured_at)];
            row.extend(figures(record));
            table.push(row);
        }
    }
    table.without_empty_columns()
}

fn figures(record: &Record) -> Vec<Cell> {
    let (test, latency) = (&record.test, record.latency.as_ref());
    let interval = |median: f64, low: Option<f64>, high: Option<f64>| {
        Cell::shown(number::with_interval(median, low, high), median)
    };
    let ttft = latency.and_then(|latency| latency.ttft_ms.as_ref());
    let rate = latency.map(|latency| &latency.tokens_per_s);
    vec![
        Cell::count(Some(record.protocol.n_repetitions as u64)),
        Cell::count(Some(test.n_prompt_tokens as u64)),
        Cell::count(Some(test.n_depth_tokens as u64)),
        Cell::count(Some(test.n_generated_tokens as u64)),
        ttft.map_or(Cell::Missing, |ttft| interval(ttft.median, ttft.low, ttft.high)),
        rate.map_or(Cell::Missing, |rate| interval(rate.median, rate.low, rate.high)),
        Cell::number(latency.map(|latency| latency.ms_median)),
        Cell::number(record.energy.as_ref().map(|energy| energy.total_energy_j)),
    ]
}
