//! How speed depends on the length of the prompt and of the context.

use std::collections::BTreeSet;

use lapwing_report::plot::{self, Horizontal, Point, Series, Style};
use lapwing_report::{Cell, Page, Table, number};

use crate::comparison::TestKey;
use crate::record::{Record, TestKind};
use crate::report::overview::{Overview, Subject, first_places, test_name};

pub(crate) fn write(overview: &Overview, page: &mut Page) {
    let prompts = curve(overview, TestKind::Prefill, |record| {
        let test = &record.test;
        (test.n_depth_tokens == 0).then_some(test.n_prompt_tokens)
    });
    let usual = overview.usual_test(TestKind::Decode).map(|test| test.3);
    let depths = curve(overview, TestKind::Decode, |record| {
        let test = &record.test;
        (Some(test.n_generated_tokens) == usual).then_some(test.n_depth_tokens)
    });
    let has_curve = |curves: &[Series]| curves.iter().any(|series| series.points.len() > 1);
    if !has_curve(&prompts) && !has_curve(&depths) {
        return;
    }
    page.section("context", "Speed against context length", |page| {
        page.figures(|page| {
            figure(overview, prompts, "Prefill", "tokens of the prompt", page);
            figure(overview, depths, "Decode", "tokens in the context", page);
        });
        page.table(&table(overview));
    });
}

fn figure(overview: &Overview, curves: Vec<Series>, what: &str, x_label: &str, page: &mut Page) {
    let places = curves.iter().map(|series| series.style.0).collect();
    let (places, note) = first_places(places);
    let shown: Vec<Series> =
        curves.into_iter().filter(|series| places.contains(&series.style.0)).collect();
    let caption = format!("{what}: tokens a second by the number of {x_label}.{note}");
    let svg = plot::lines(&shown, &Horizontal::Linear, [x_label, "tokens/s"]);
    page.figure(&caption, svg, &overview.legend(&places));
}

fn curve(
    overview: &Overview,
    kind: TestKind,
    length: impl Fn(&Record) -> Option<usize>,
) -> Vec<Series> {
    let point = |record: &Record| {
        let rate = &record.latency.as_ref()?.tokens_per_s;
        let ends = rate.low.zip(rate.high).map(|(low, high)| [low, high]);
        Some(Point { x: length(record)? as f64, y: rate.median, ends })
    };
    let series = |(idx, subject): (usize, &Subject)| {
        let mut points: Vec<Point> = subject.newest_of_kind(kind).filter_map(point).collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        (!points.is_empty()).then_some(Series { style: Style(idx), points })
    };
    overview.subjects.iter().enumerate().filter_map(series).collect()
}

fn table(overview: &Overview) -> Table {
    let mut tests: BTreeSet<TestKey> = BTreeSet::new();
    for subject in &overview.subjects {
        tests.extend(subject.measured().map(|(test, _)| test).filter(|t| t.0 != TestKind::Start));
    }
    let names: Vec<String> = tests.iter().map(|&test| test_name(test)).collect();
    let titles: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut table = Table::new("Tokens a second by test", &["Configuration"], &titles);
    for subject in &overview.subjects {
        let mut row = vec![Cell::text(subject.label.clone())];
        row.extend(tests.iter().map(|&test| {
            let latency = subject.newest(test).and_then(|record| record.latency.as_ref());
            let median = latency.map(|latency| latency.tokens_per_s.median);
            median.map_or(Cell::Missing, |rate| Cell::shown(number::short(rate), rate))
        }));
        table.push(row);
    }
    table
}
