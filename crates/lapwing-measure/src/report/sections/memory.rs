//! What a process holds in the phases of its life.

use lapwing_report::plot::{self, Horizontal, Point, Series, Style};
use lapwing_report::{Cell, Page, Table, number};

use crate::record::{Memory, Record};
use crate::report::overview::{Overview, Subject, first_places};

const PHASES: [&str; 5] = ["idle", "loaded", "prefilled", "decoding", "peak"];

pub(crate) fn write(overview: &Overview, page: &mut Page) {
    let records: Vec<(usize, &Record)> = overview
        .subjects
        .iter()
        .enumerate()
        .filter_map(|(idx, subject)| Some((idx, largest(subject)?)))
        .collect();
    if records.is_empty() {
        return;
    }
    let (places, note) = first_places(records.iter().map(|&(idx, _)| idx).collect());
    let series: Vec<Series> = records
        .iter()
        .filter(|(idx, _)| places.contains(idx))
        .map(|&(idx, record)| Series { style: Style(idx), points: points(&record.memory) })
        .collect();
    page.section("memory", "Memory", |page| {
        let caption = format!(
            "Resident memory over the phases of the process, of the test with the most context. \
             Mapped weights count as resident once they are read.{note}"
        );
        let words = Horizontal::Words(PHASES.to_vec());
        let svg = plot::lines(&series, &words, ["", "resident, MB"]);
        page.figures(|page| page.figure(&caption, svg, &overview.legend(&places)));
        page.table(&table(overview, &records));
    });
}

/// The newest record of the test with the most context of those that tell of memory.
fn largest<'a>(subject: &Subject<'a>) -> Option<&'a Record> {
    let newest = subject.measured().filter_map(|(_, list)| list.last().copied());
    newest.filter(|record| record.memory != Memory::default()).max_by_key(|record| {
        let test = &record.test;
        let context = test.n_prompt_tokens.saturating_add(test.n_depth_tokens);
        context.saturating_add(test.n_generated_tokens)
    })
}

fn resident(memory: &Memory) -> [Option<u64>; PHASES.len()] {
    [
        memory.idle_rss_bytes,
        memory.loaded_rss_bytes,
        memory.prefilled_rss_bytes,
        memory.decoding_rss_bytes,
        memory.peak_rss_bytes,
    ]
}

fn points(memory: &Memory) -> Vec<Point> {
    let phases = resident(memory).into_iter().enumerate();
    phases
        .filter_map(|(idx, n_bytes)| {
            Some(Point { x: idx as f64, y: number::megabytes(n_bytes?), ends: None })
        })
        .collect()
}

fn table(overview: &Overview, records: &[(usize, &Record)]) -> Table {
    let mut table = Table::new(
        "Memory in MB: resident (RSS), and proportional (PSS) where shared pages count in part",
        &["Configuration", "Test"],
        &[
            "Idle RSS",
            "Loaded RSS",
            "Prefilled RSS",
            "Decoding RSS",
            "Peak RSS",
            "Idle PSS",
            "Loaded PSS",
            "Prefilled PSS",
            "Decoding PSS",
            "Weights mapped",
            "Keys and values",
            "Scratch",
            "Device",
        ],
    );
    for &(idx, record) in records {
        let memory = &record.memory;
        let others = [
            memory.idle_pss_bytes,
            memory.loaded_pss_bytes,
            memory.prefilled_pss_bytes,
            memory.decoding_pss_bytes,
            memory.weights_mapped_bytes,
            memory.kv_bytes,
            memory.scratch_bytes,
            memory.device_bytes,
        ];
        let label = overview.subjects[idx].label.clone();
        let mut row = vec![Cell::text(label), Cell::text(record.test.name.clone())];
        row.extend(resident(memory).into_iter().chain(others).map(Cell::megabytes));
        table.push(row);
    }
    table.without_empty_columns()
}
