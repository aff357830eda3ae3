//! Which configuration is best at what.

use std::collections::BTreeMap;

use crate::comparison::{Change, Metric, TestKey, Verdict, change};
use crate::identity::Field;
use crate::record::{Record, TestKind};
use crate::report::number;
use crate::report::overview::{Overview, test_name};
use crate::report::page::Page;
use crate::report::table::{Cell, Table};

/// Models are put beside each other when one has at most this many times the weights of the next.
const SIZE_GAP: f64 = 1.35;

pub(crate) fn write(overview: &Overview, page: &mut Page) {
    page.section("summary", "Summary", |page| {
        page.paragraph(
            "The best configuration of each kind, and by how much it leads the next. A lead is \
             told only when the intervals show one, and it is larger than what two runs of the \
             same thing differ by.",
        );
        for table in tables(overview) {
            table.html(&mut page.markup);
        }
    });
}

/// The same for Markdown.
pub(crate) fn table_for_text(overview: &Overview) -> Vec<Table> {
    tables(overview)
}

fn tables(overview: &Overview) -> Vec<Table> {
    let groups = groups(overview);
    let mut tables = Vec::new();
    for (name, places) in groups {
        let mut table = Table::new(
            &if name.is_empty() { "Best of each kind".into() } else { format!("Best of {name}") },
            &["What", "Test", "Best", "Next", "Lead"],
            &["Its value", "Value of next"],
        );
        for (metric, test) in contests(overview) {
            if let Some(row) = row(overview, &places, metric, test) {
                table.push(row);
            }
        }
        if !table.is_empty() {
            tables.push(table.in_order(&[0, 1, 2, 5, 3, 6, 4]).without_empty_columns());
        }
    }
    tables
}

/// What there is to win, and by which test.
fn contests(overview: &Overview) -> Vec<(Metric, TestKey)> {
    let [start, prefill, decode] = [TestKind::Start, TestKind::Prefill, TestKind::Decode]
        .map(|kind| overview.usual_test(kind));
    let contests = [
        (Metric::DecodeTokensPerS, decode),
        (Metric::PrefillTokensPerS, prefill),
        (Metric::TimeToFirstTokenMs, prefill),
        (Metric::ProcessStartToFirstTokenMs, start),
        (Metric::PeakRssBytes, decode),
        (Metric::JoulesPerToken, decode),
    ];
    contests.into_iter().filter_map(|(metric, test)| Some((metric, test?))).collect()
}

fn row(overview: &Overview, places: &[usize], metric: Metric, test: TestKey) -> Option<Vec<Cell>> {
    let records = overview.newest(test);
    let mut ranked: Vec<(usize, &Record, f64)> = records
        .into_iter()
        .filter(|(idx, _)| places.contains(idx))
        .filter_map(|(idx, record)| {
            Some((idx, record, change(metric, &[record], &[record])?.after))
        })
        .collect();
    ranked.sort_by(|a, b| a.2.total_cmp(&b.2));
    if metric.higher_is_better() {
        ranked.reverse();
    }
    let (best_idx, best, best_value) = *ranked.first()?;
    let label = |idx: usize| Cell::text(overview.subjects[idx].label.clone());
    let (next, next_value, lead) = match ranked.get(1) {
        Some(&(next_idx, next, next_value)) => {
            let lead = change(metric, &[next], &[best])?;
            (label(next_idx), value_cell(metric, next_value), Cell::text(words(&lead)))
        }
        None => (Cell::Missing, Cell::Missing, Cell::text("nothing to compare with")),
    };
    let what = Cell::text(metric.name().replace(", bytes", ", MB"));
    let values = [value_cell(metric, best_value), next_value];
    let words = [what, Cell::text(test_name(test)), label(best_idx), next, lead];
    Some(words.into_iter().chain(values).collect())
}

fn value_cell(metric: Metric, value: f64) -> Cell {
    match metric {
        Metric::PeakRssBytes => Cell::megabytes(Some(value as u64)),
        _ => Cell::number(Some(value)),
    }
}

/// `12.0 % faster`: the change from the next to the best.
fn words(lead: &Change) -> String {
    match lead.verdict {
        Verdict::NoDifferenceShown => lead.verdict.name().to_owned(),
        // Of times the share of time saved; of rates the share gained.
        verdict => {
            format!("{} {}", number::percent((lead.ratio - 1.0).abs()), wording(lead, verdict))
        }
    }
}

fn wording(lead: &Change, verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Faster if !lead.metric.higher_is_better() => "less time",
        verdict => verdict.name(),
    }
}

/// Configurations that can win against each other: on one host, with models of about one size
/// where all sizes are known.
fn groups(overview: &Overview) -> Vec<(String, Vec<usize>)> {
    let size = |idx: usize| {
        let mut records = overview.subjects[idx].records.values().flatten();
        records.find_map(|record| record.configuration.n_parameters).map(|n| n as f64)
    };
    let n_subjects = overview.subjects.len();
    let sizes: Option<Vec<f64>> = (0..n_subjects).map(size).collect();
    let classes = sizes.map_or(vec![0; n_subjects], |sizes| size_classes(&sizes));
    let mut groups: BTreeMap<(String, usize), Vec<usize>> = BTreeMap::new();
    for (idx, class) in classes.iter().enumerate() {
        let host = overview.subjects[idx].identity.get(Field::Host).to_owned();
        groups.entry((host, *class)).or_default().push(idx);
    }
    let has_one_host = overview.agree_on(Field::Host);
    let has_one_class = classes.windows(2).all(|pair| pair[0] == pair[1]);
    let name = |(host, _): (String, usize), places: &[usize]| {
        let mut words = Vec::new();
        if !has_one_class {
            let n_weights = places.iter().find_map(|&idx| size(idx)).unwrap_or_default();
            words.push(format!("models of about {} M weights", number::short(n_weights / 1e6)));
        }
        if !has_one_host {
            words.push(format!("host {host}"));
        }
        words.join(", ")
    };
    groups.into_iter().map(|(key, places)| (name(key, &places), places)).collect()
}

/// For each size the number of its class, smallest first.
fn size_classes(sizes: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by(|&a, &b| sizes[a].total_cmp(&sizes[b]));
    let mut classes = vec![0; sizes.len()];
    let mut class = 0;
    for pair in order.windows(2) {
        if sizes[pair[1]] > sizes[pair[0]] * SIZE_GAP {
            class += 1;
        }
        classes[pair[1]] = class;
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn sizes_fall_into_classes() {
        assert_eq!(size_classes(&[135.0, 7000.0, 162.0, 134.0]), [0, 1, 0, 0]);
        assert_eq!(size_classes(&[]), Vec::<usize>::new());
    }

    #[test]
    fn a_lead_is_told_when_there_is_one() {
        let check = |backend: &str, n_threads: usize, expected: &str| {
            let mut records = sample::run("openvino", 2, 1);
            records.extend(sample::run(backend, n_threads, 2));
            let tables = tables(&Overview::new(&records));
            let text = tables[0].markdown();
            assert!(text.contains(expected), "{expected} in {text}");
        };
        check("openvino", 1, "| 90.0 | openvino · 1 thread | 44.6 | 101.6 % faster |");
        check("onnxruntime", 2, "| decode, tokens/s | tg128 | openvino | 90.0 | onnxruntime |");
        check("openvino", 2, "nothing to compare with");
        let mut records = sample::run("openvino", 2, 1);
        records.extend(sample::run("openvino", 2, 2).into_iter().map(|mut record| {
            record.configuration.correction = "kls".into();
            record
        }));
        let text = tables(&Overview::new(&records))[0].markdown();
        assert!(text.contains("no difference shown"), "{text}");
    }

    #[test]
    fn hosts_and_sizes_do_not_compete() {
        let mut records = sample::run("openvino", 2, 1);
        for (idx, mut record) in sample::run("openvino", 1, 2).into_iter().enumerate() {
            record.host = if idx % 2 == 0 { "other".into() } else { "laptop".into() };
            record.configuration.n_parameters = Some(8_000_000_000);
            records.push(record);
        }
        let names: Vec<_> =
            groups(&Overview::new(&records)).into_iter().map(|(name, _)| name).collect();
        let expected = [
            "models of about 135 M weights, host laptop",
            "models of about 8000 M weights, host laptop",
            "models of about 8000 M weights, host other",
        ];
        assert_eq!(names, expected);
    }
}
