//! Electricity for a token, or why there is no reading.

use std::collections::BTreeMap;

use lapwing_report::plot::{self, Bar};
use lapwing_report::{Cell, Legend, Page, Table};

use crate::record::{Energy, EnergySource, Record, TestKind};
use crate::report::overview::{Overview, test_name};

pub(crate) fn write(overview: &Overview, page: &mut Page) {
    let mut table = Table::new(
        "Electricity: what the sensors counted less what they show of an idle machine",
        &["Configuration", "Test", "Sensor"],
        &["J/token", "Energy, J", "Counted, J", "Idle, W", "Measured, s", "Tokens"],
    );
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for subject in &overview.subjects {
        for (test, records) in subject.measured() {
            let newest = records.last().expect("a test has a record");
            match &newest.energy {
                Some(energy) => table.push(row(&subject.label, test_name(*test), energy)),
                None => *reasons.entry(reason(newest)).or_default() += 1,
            }
        }
    }
    if table.is_empty() && reasons.is_empty() {
        return;
    }
    page.section("energy", "Energy", |page| {
        if !table.is_empty() {
            figures(overview, page);
            page.table(&table);
        }
        for (reason, n_records) in reasons {
            page.paragraph(&format!("Not measured ({n_records} tests): {reason}."));
        }
    });
}

fn figures(overview: &Overview, page: &mut Page) {
    let Some(test) = overview.usual_test(TestKind::Decode) else { return };
    let bar = |(idx, record): (usize, &Record)| {
        let joules = record.energy.as_ref()?.joules_per_token?;
        let label = overview.subjects[idx].label.clone();
        Some(Bar { label, parts: vec![(joules, 2)], ends: None })
    };
    let bars: Vec<Bar> = overview.newest(test).into_iter().filter_map(bar).collect();
    let caption =
        format!("Decode ({}): joules for each token, shorter is better.", test_name(test));
    page.figures(|page| page.figure(&caption, plot::bars(&bars, "J/token"), &Legend::none()));
}

fn row(label: &str, test: String, energy: &Energy) -> Vec<Cell> {
    let source = match energy.source {
        EnergySource::Rapl => "RAPL",
        EnergySource::Battery => "battery",
    };
    let sensors = format!("{source}: {}", energy.sensors.join(", "));
    vec![
        Cell::text(label),
        Cell::text(test),
        Cell::text(sensors),
        Cell::number(energy.joules_per_token),
        Cell::number(energy.energy_j),
        Cell::number(Some(energy.total_energy_j)),
        Cell::number(energy.idle_power_w),
        Cell::number(Some(energy.measured_s)),
        Cell::count(Some(energy.n_tokens)),
    ]
}

fn reason(record: &Record) -> &str {
    record.nulls.get("energy").map_or("the record does not say why", String::as_str)
}
