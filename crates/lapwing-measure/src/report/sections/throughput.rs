//! Tokens a second and latency of every configuration and test.

use lapwing_report::plot::{self, Bar};
use lapwing_report::{Cell, Legend, Page, Table, number};

use crate::record::{Record, TestKind};
use crate::report::overview::{Overview, test_name};

/// More bars than these nobody compares by eye.
const N_BARS_MAX: usize = 24;

pub(crate) fn write(overview: &Overview, page: &mut Page) {
    let table = table(overview);
    if table.is_empty() {
        return;
    }
    page.section("throughput", "Throughput and latency", |page| {
        page.figures(|page| {
            for (kind, what) in [(TestKind::Decode, "Decode"), (TestKind::Prefill, "Prefill")] {
                figure(overview, kind, what, page);
            }
        });
        page.table(&table);
    });
}

fn figure(overview: &Overview, kind: TestKind, what: &str, page: &mut Page) {
    let Some(test) = overview.usual_test(kind) else { return };
    let bar = |&(idx, record): &(usize, &Record)| {
        let rate = &record.latency.as_ref()?.tokens_per_s;
        Some(Bar {
            label: overview.subjects[idx].label.clone(),
            parts: vec![(rate.median, 0)],
            ends: rate.low.zip(rate.high).map(|(low, high)| [low, high]),
        })
    };
    let all: Vec<Bar> = overview.newest(test).iter().filter_map(bar).collect();
    let shown = &all[..all.len().min(N_BARS_MAX)];
    let note = match shown.len() < all.len() {
        true => format!(" {N_BARS_MAX} of {}; the table has all.", all.len()),
        false => String::new(),
    };
    let caption = format!(
        "{what} ({}): tokens a second, longer is better. Whiskers are 95 % intervals.{note}",
        test_name(test)
    );
    page.figure(&caption, plot::bars(shown, "tokens/s"), &Legend::none());
}

/// One line for each configuration and test, from the newest record of each.
pub(crate) fn table(overview: &Overview) -> Table {
    let mut table = Table::new(
        "Every configuration and test: medians with 95 % intervals, milliseconds",
        &["Configuration", "Test"],
        &[
            "Tokens/s",
            "Variation",
            "First token",
            "Between tokens p50",
            "p90",
            "p99",
            "max",
            "Repetitions",
            "Runs",
        ],
    );
    for subject in &overview.subjects {
        for (test, records) in subject.measured() {
            let newest = records.last().expect("a test has a record");
            if newest.latency.is_some() {
                let mut row = vec![Cell::text(subject.label.clone()), Cell::text(test_name(*test))];
                row.extend(figures(newest));
                row.push(Cell::count(Some(records.len() as u64)));
                table.push(row);
            }
        }
    }
    table.without_empty_columns()
}

fn figures(record: &Record) -> Vec<Cell> {
    let latency = record.latency.as_ref();
    let rate = latency.map(|latency| &latency.tokens_per_s);
    let between = latency.and_then(|latency| latency.inter_token_ms.as_ref());
    let interval = |median: f64, low: Option<f64>, high: Option<f64>| {
        Cell::shown(number::with_interval(median, low, high), median)
    };
    let variation = rate.and_then(|rate| rate.coefficient_of_variation);
    let ttft = latency.and_then(|latency| latency.ttft_ms.as_ref());
    vec![
        rate.map_or(Cell::Missing, |rate| interval(rate.median, rate.low, rate.high)),
        variation.map_or(Cell::Missing, |share| Cell::shown(number::percent(share), share)),
        ttft.map_or(Cell::Missing, |ttft| interval(ttft.median, ttft.low, ttft.high)),
        Cell::number(between.map(|between| between.p50)),
        Cell::number(between.map(|between| between.p90)),
        Cell::number(between.map(|between| between.p99)),
        Cell::number(between.map(|between| between.max)),
        Cell::count(Some(record.protocol.n_repetitions as u64)),
    ]
}
