//! What it takes to get going.

use lapwing_report::plot::{self, Bar};
use lapwing_report::{Cell, Legend, Page, Table};

use crate::record::{Cache, Start, TestKind};
use crate::report::overview::Overview;

/// Names of the stages with the numbers of their colours.
const STAGES: [(&str, usize); 3] = [("read", 6), ("compile", 0), ("first inference", 1)];

pub(crate) fn write(overview: &Overview, page: &mut Page) {
    let starts: Vec<(&str, &Start)> = overview
        .subjects
        .iter()
        .filter_map(|subject| {
            let newest = subject.newest_of_kind(TestKind::Start);
            let start = newest.filter_map(|record| record.start.as_ref()).last()?;
            Some((&*subject.label, start))
        })
        .collect();
    if starts.is_empty() {
        return;
    }
    page.section("start", "Start", |page| {
        page.figures(|page| {
            let figures: [(&str, Read); 2] = [
                ("Cold start: the compile cache is empty.", |start| start.compile_cold_ms),
                ("Warm start: the cache holds what the first start left.", |start| {
                    start.compile_warm_ms
                }),
            ];
            for (caption, compile) in figures {
                let bars: Vec<Bar> = starts.iter().map(|start| bar(start, compile)).collect();
                page.figure(caption, plot::bars(&bars, "ms"), &Legend::of_parts(&STAGES));
            }
        });
        page.table(&table(&starts));
    });
}

type Read = fn(&Start) -> Option<f64>;

/// Nothing for a start whose compilation is not known: its bar would be too short.
fn bar(&(label, start): &(&str, &Start), compile: Read) -> Bar {
    let compile_ms = compile(start);
    let stages = [start.read_ms, compile_ms, start.first_inference_ms];
    let lengths = stages.map(|ms| compile_ms.and(ms).unwrap_or_default());
    let colors = STAGES.iter().map(|&(_, color)| color);
    Bar { label: label.to_owned(), parts: lengths.into_iter().zip(colors).collect(), ends: None }
}

fn table(starts: &[(&str, &Start)]) -> Table {
    let mut table = Table::new(
        "Stages of a start, milliseconds",
        &["Configuration", "Cache"],
        &[
            "Read",
            "Compile cold",
            "Compile warm",
            "First inference",
            "Process start to first token",
            "Cache, MB",
        ],
    );
    for &(label, start) in starts {
        let cache = match start.cache {
            Cache::Hit => "hit",
            Cache::Miss => "miss",
            Cache::None => "none",
        };
        table.push(vec![
            Cell::text(label),
            Cell::text(cache),
            Cell::number(start.read_ms),
            Cell::number(start.compile_cold_ms),
            Cell::number(start.compile_warm_ms),
            Cell::number(start.first_inference_ms),
            Cell::number(start.process_start_to_first_token_ms),
            Cell::megabytes(start.cache_blob_bytes),
        ]);
    }
    table.without_empty_columns()
}
