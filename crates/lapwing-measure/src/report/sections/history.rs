//! The same measurement again and again, with the conditions of each.

use lapwing_report::plot::{self, Horizontal, Point, Series, Style};
use lapwing_report::{Cell, Page, Table};

use crate::comparison::TestKey;
use crate::record::{PowerSource, Record, TestKind, days_since_epoch};
use crate::report::overview::{Overview, Subject, first_places, test_name};

pub(crate) fn write(overview: &Overview, page: &mut Page) {
    let tests = [TestKind::Decode, TestKind::Prefill].map(|kind| overview.usual_test(kind));
    let tests: Vec<TestKey> = tests.into_iter().flatten().collect();
    let has_history = |test: &TestKey| {
        let lists = overview.subjects.iter().filter_map(|subject| subject.records.get(test));
        lists.map(Vec::len).any(|n| n > 1)
    };
    if tests.is_empty() {
        return;
    }
    page.section("history", "History", |page| {
        if tests.iter().any(has_history) {
            page.figures(|page| {
                for &test in tests.iter().filter(|test| has_history(test)) {
                    figure(overview, test, page);
                }
            });
        } else {
            page.paragraph("Everything here was measured once; nothing can be seen over time.");
        }
        page.table(&table(overview, &tests));
    });
}

fn figure(overview: &Overview, test: TestKey, page: &mut Page) {
    let point = |record: &&Record| {
        let rate = &record.latency.as_ref()?.tokens_per_s;
        let ends = rate.low.zip(rate.high).map(|(low, high)| [low, high]);
        Some(Point { x: days_since_epoch(&record.measured_at)?, y: rate.median, ends })
    };
    let series = |(idx, subject): (usize, &Subject)| {
        let points: Vec<Point> = subject.records.get(&test)?.iter().filter_map(point).collect();
        (!points.is_empty()).then_some(Series { style: Style(idx), points })
    };
    let all: Vec<Series> = overview.subjects.iter().enumerate().filter_map(series).collect();
    let (places, note) = first_places(all.iter().map(|series| series.style.0).collect());
    let shown: Vec<Series> =
        all.into_iter().filter(|series| places.contains(&series.style.0)).collect();
    let caption = format!("{}: tokens a second of every run, by date.{note}", test_name(test));
    let svg = plot::lines(&shown, &Horizontal::Time, ["month-day (UTC)", "tokens/s"]);
    page.figure(&caption, svg, &overview.legend(&places));
}

fn table(overview: &Overview, tests: &[TestKey]) -> Table {
    let mut table = Table::new(
        "Every run of these tests, with the conditions it was made under",
        &[
            "Measured at",
            "Configuration",
            "Test",
            "Program",
            "Revision",
            "Backend version",
            "Governor",
            "Power",
        ],
        &[
            "Tokens/s",
            "MHz before",
            "MHz after",
            "°C before",
            "°C after",
            "Throttled",
            "Load before",
        ],
    );
    let mut rows: Vec<(&Record, &str)> = Vec::new();
    for subject in &overview.subjects {
        for test in tests {
            let records = subject.records.get(test).into_iter().flatten();
            rows.extend(records.map(|&record| (record, &*subject.label)));
        }
    }
    rows.sort_by(|a, b| b.0.measured_at.cmp(&a.0.measured_at));
    for (record, label) in rows {
        table.push(row(record, label));
    }
    table.without_empty_columns()
}

fn row(record: &Record, label: &str) -> Vec<Cell> {
    let conditions = &record.conditions;
    let version = record.program.version.as_deref().unwrap_or_default();
    let power = match conditions.power_source {
        Some(PowerSource::Mains) => "mains",
        Some(PowerSource::Battery) => "battery",
        None => "",
    };
    let or_none = |value: &Option<String>| Cell::text(value.clone().unwrap_or_default());
    let revision = record.program.git_revision.as_deref().unwrap_or_default();
    vec![
        Cell::text(record.measured_at.clone()),
        Cell::text(label),
        Cell::text(record.test.name.clone()),
        Cell::text(format!("{} {version}", record.program.name).trim()),
        Cell::text(revision.chars().take(10).collect::<String>()),
        or_none(&record.configuration.backend_version),
        or_none(&conditions.governor),
        Cell::text(power),
        Cell::number(record.latency.as_ref().map(|latency| latency.tokens_per_s.median)),
        Cell::number(conditions.frequency_before_mhz),
        Cell::number(conditions.frequency_after_mhz),
        Cell::number(conditions.temperature_before_c),
        Cell::number(conditions.temperature_after_c),
        Cell::count(conditions.n_throttle_events),
        Cell::number(conditions.load_average_before),
    ]
}
