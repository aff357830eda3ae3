//! Which configuration is best at what.

use std::collections::BTreeMap;

use lapwing_report::{Cell, Page, Table, number};

use crate::comparison::{Change, Metric, TestKey, Verdict, change};
use crate::identity::Field;
use crate::record::{Configuration, Record, TestKind};
use crate::report::overview::{Overview, Subject, test_name};

/// Models are put beside each other when they have at most this many times the weights of the
/// smallest of them.
const WEIGHTS_GAP: f64 = 1.35;

/// The same of bytes, where the weights of some are not counted: exports of one model differ in how
/// many parts of it they keep in more bits.
const BYTES_GAP: f64 = 2.5;

pub(crate) fn write(overview: &Overview, page: &mut Page) {
    let tables = tables(overview);
    if tables.is_empty() {
        return;
    }
    page.section("summary", "Summary", |page| {
        page.paragraph(
            "The best configuration of each kind, and by how much it leads the next. A lead is \
             told only when it is larger than what two runs of the same thing differ by, and the \
             intervals show it; figures of which a run has one number have no interval.",
        );
        for table in &tables {
            page.table(table);
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
        // Of two runs of one configuration an earlier one may have been faster.
        let best = if overview.has_repeats() { "Best by its newest run" } else { "Best" };
        let mut table = Table::new(
            &if name.is_empty() { "Best of each kind".into() } else { format!("Best of {name}") },
            &["What", "Test", best, "Next", "Lead"],
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
            let share = number::percent((lead.ratio - 1.0).abs());
            let mark = if lead.has_interval() { "" } else { ", without interval" };
            format!("{share} {}{mark}", wording(lead, verdict))
        }
    }
}

fn wording(lead: &Change, verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Faster if !lead.metric.higher_is_better() => "less time",
        verdict => verdict.name(),
    }
}

/// Configurations that can win against each other: on one host, with models of about one size.
fn groups(overview: &Overview) -> Vec<(String, Vec<usize>)> {
    let classes = size_classes(overview);
    let mut groups: BTreeMap<(String, usize), Vec<usize>> = BTreeMap::new();
    for (idx, &(class, _)) in classes.iter().enumerate() {
        let host = overview.subjects[idx].identity.get(Field::Host).to_owned();
        groups.entry((host, class)).or_default().push(idx);
    }
    let has_one_host = overview.agree_on(Field::Host);
    let has_one_class = classes.windows(2).all(|pair| pair[0].0 == pair[1].0);
    let name = |(host, _): (String, usize), places: &[usize]| {
        let mut words = Vec::new();
        if !has_one_class {
            words.push(classes[places[0]].1.clone());
        }
        if !has_one_host {
            words.push(format!("host {host}"));
        }
        words.join(", ")
    };
    groups.into_iter().map(|(key, places)| (name(key, &places), places)).collect()
}

/// For each configuration the number of its class of size, smallest first, and the name of the
/// class. By the number of weights where all tell it, else by bytes; a model that does not tell
/// even those is a class of its own.
fn size_classes(overview: &Overview) -> Vec<(usize, String)> {
    type Read = fn(&Configuration) -> Option<u64>;
    let sizes = |read: Read| -> Vec<Option<f64>> {
        let size = |subject: &Subject| {
            let mut records = subject.records.values().flatten();
            records.find_map(|record| read(&record.configuration)).map(|n| n as f64)
        };
        overview.subjects.iter().map(size).collect()
    };
    let weights = sizes(|configuration| configuration.n_parameters);
    let (sizes, gap, unit) = match weights.iter().all(Option::is_some) {
        true => (weights, WEIGHTS_GAP, "M weights"),
        false => (sizes(|configuration| configuration.model_bytes), BYTES_GAP, "MB"),
    };
    let smallest = smallest_of_classes(sizes.iter().flatten().copied().collect(), gap);
    let mut unknown: Vec<&str> = Vec::new();
    let mut classes = Vec::new();
    for (subject, size) in overview.subjects.iter().zip(sizes) {
        classes.push(match size {
            Some(size) => {
                let class = smallest.partition_point(|first| *first <= size) - 1;
                let millions = number::short(smallest[class] / 1e6);
                (class, format!("models of about {millions} {unit}"))
            }
            None => {
                let sha256 = subject.identity.get(Field::ModelSha256);
                let known = unknown.iter().position(|&other| other == sha256);
                let place = known.unwrap_or_else(|| {
                    unknown.push(sha256);
                    unknown.len() - 1
                });
                let model = subject.identity.get(Field::Model);
                (smallest.len() + place, format!("{model}, of unknown size"))
            }
        });
    }
    classes
}

/// The smallest size of each class, ascending: none is more than `gap` times the smallest of its
/// class.
fn smallest_of_classes(mut sizes: Vec<f64>, gap: f64) -> Vec<f64> {
    sizes.sort_by(f64::total_cmp);
    let mut smallest: Vec<f64> = Vec::new();
    for size in sizes {
        if smallest.last().is_none_or(|first| size > first * gap) {
            smallest.push(size);
        }
    }
    smallest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn sizes_fall_into_classes() {
        let check = |sizes: &[f64], expected: &[f64]| {
            assert_eq!(smallest_of_classes(sizes.to_vec(), 1.35), expected, "{sizes:?}");
        };
        check(&[135.0, 7000.0, 162.0, 134.0], &[134.0, 7000.0]);
        // Many small steps do not lead from a small model to a large one.
        check(&[100.0, 130.0, 160.0, 190.0], &[100.0, 160.0]);
        check(&[], &[]);
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
    fn of_several_runs_it_says_that_the_newest_counts() {
        let title = |records: &[Record]| tables(&Overview::new(records))[0].markdown();
        let mut records = sample::run("openvino", 2, 1);
        assert!(!title(&records).contains("newest"), "{}", title(&records));
        records.extend(sample::run("openvino", 2, 2));
        assert!(title(&records).contains("| Best by its newest run |"), "{}", title(&records));
    }

    #[test]
    fn a_lead_without_an_interval_is_marked() {
        let mut records = sample::run("openvino", 2, 1);
        records.extend(sample::run("onnxruntime", 2, 1));
        let text = tables(&Overview::new(&records))[0].markdown();
        let line = |what: &str| text.lines().find(|line| line.contains(what)).unwrap().to_owned();
        assert!(line("peak resident").contains("less, without interval"), "{text}");
        assert!(!line("decode, tokens/s").contains("without interval"), "{text}");
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

    /// Configurations of these models, by the names of the groups that they are in.
    fn groups_of(models: &[(&str, Option<u64>, Option<u64>)]) -> Vec<(String, usize)> {
        let mut records = Vec::new();
        for (name, n_parameters, model_bytes) in models {
            let mut record = sample::decode(0);
            record.configuration.model = (*name).to_owned();
            record.configuration.model_sha256 = format!("sha256 of {name}");
            record.configuration.n_parameters = *n_parameters;
            record.configuration.model_bytes = *model_bytes;
            records.push(record);
        }
        let groups = groups(&Overview::new(&records));
        groups.into_iter().map(|(name, places)| (name, places.len())).collect()
    }

    #[test]
    fn a_tiny_model_does_not_beat_a_large_one_where_weights_are_not_counted() {
        let check = |models: &[(&str, Option<u64>, Option<u64>)], expected: &[(&str, usize)]| {
            let found = groups_of(models);
            let found: Vec<_> = found.iter().map(|(name, n)| (name.as_str(), *n)).collect();
            assert_eq!(found, expected);
        };
        check(
            &[("tiny", None, Some(1_060_000)), ("large", None, Some(4_200_000_000))],
            &[("models of about 1.06 MB", 1), ("models of about 4200 MB", 1)],
        );
        // Weights of one only: bytes of both, of which one export has some more.
        check(
            &[("gguf", Some(134_515_008), Some(145_000_000)), ("ir", None, Some(92_000_000))],
            &[("", 2)],
        );
        check(
            &[("a", None, Some(90_000_000)), ("b", None, None), ("c", None, None)],
            &[("models of about 90.0 MB", 1), ("b, of unknown size", 1), ("c, of unknown size", 1)],
        );
        check(&[("a", None, None)], &[("", 1)]);
        check(
            &[("a", Some(0), None), ("b", Some(7), None)],
            &[("models of about 0.0000 M weights", 1), ("models of about 0.0000 M weights", 1)],
        );
    }
}
