//! Machine, software and protocol of every run.

use std::collections::BTreeMap;

use lapwing_report::{Cell, Page, Table};

use crate::record::Record;
use crate::report::overview::Overview;

pub(crate) fn write(overview: &Overview, page: &mut Page) {
    let table = table(overview);
    if table.is_empty() {
        return;
    }
    page.section("conditions", "Conditions", |page| {
        page.paragraph("One line for each run and configuration, newest first.");
        page.table(&table);
    });
}

fn table(overview: &Overview) -> Table {
    let mut table = Table::new(
        "Machine, software and protocol",
        &[
            "Run",
            "Measured at",
            "Configuration",
            "Host",
            "Processor",
            "Instructions",
            "Cores used",
            "System",
            "Hypervisor",
            "Libraries",
            "Drivers",
            "Device",
            "Order",
            "Process",
        ],
        &["Cores", "Memory, MB", "Free, MB", "Positions", "Warm-ups", "Seed"],
    );
    // The first test of a run of a configuration stands for its others.
    let mut first: BTreeMap<(&str, usize), &Record> = BTreeMap::new();
    for (idx, subject) in overview.subjects.iter().enumerate() {
        for &record in subject.records.values().flatten() {
            let known = first.entry((&record.run_id, idx)).or_insert(record);
            if record.protocol.order_idx < known.protocol.order_idx {
                *known = record;
            }
        }
    }
    let mut rows: Vec<_> = first.into_iter().collect();
    rows.sort_by(|a, b| b.1.measured_at.cmp(&a.1.measured_at).then(a.0.1.cmp(&b.0.1)));
    for ((run_id, idx), record) in rows {
        table.push(row(run_id, &overview.subjects[idx].label, record));
    }
    table.without_empty_columns()
}

fn row(run_id: &str, label: &str, record: &Record) -> Vec<Cell> {
    let conditions = &record.conditions;
    let or_none = |value: &Option<String>| Cell::text(value.clone().unwrap_or_default());
    let system = [&conditions.os, &conditions.kernel].map(|name| name.as_deref());
    let system: Vec<&str> = system.into_iter().flatten().collect();
    let protocol = &record.protocol;
    let order = if protocol.prompts_permuted { "prompts permuted" } else { "" };
    let process = if protocol.is_isolated { "of its own" } else { "shared" };
    vec![
        Cell::text(run_id),
        Cell::text(record.measured_at.clone()),
        Cell::text(label),
        Cell::text(record.host.clone()),
        or_none(&conditions.cpu_model),
        or_none(&conditions.isa_level),
        Cell::text(conditions.cores_used.as_deref().map(ranges).unwrap_or_default()),
        Cell::text(system.join(", kernel ")),
        or_none(&conditions.hypervisor),
        Cell::text(versions(conditions.library_versions.as_ref())),
        Cell::text(versions(conditions.driver_versions.as_ref())),
        or_none(&record.configuration.device_name),
        Cell::text(order),
        Cell::text(process),
        Cell::count(conditions.n_cores_physical.map(|n| n as u64)),
        Cell::megabytes(conditions.memory_total_bytes),
        Cell::megabytes(conditions.memory_available_bytes),
        Cell::count(record.configuration.n_positions_max.map(|n| n as u64)),
        Cell::count(Some(protocol.n_warmups as u64)),
        Cell::text(protocol.seed.map(|seed| seed.to_string()).unwrap_or_default()),
    ]
}

fn versions(versions: Option<&BTreeMap<String, String>>) -> String {
    let all = versions.into_iter().flatten();
    all.map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>().join(", ")
}

/// `0-3, 6` of 0, 1, 2, 3 and 6.
fn ranges(cores: &[usize]) -> String {
    let mut ranges: Vec<[usize; 2]> = Vec::new();
    for &core in cores {
        match ranges.last_mut() {
            Some([_, last]) if core.checked_sub(1) == Some(*last) => *last = core,
            _ => ranges.push([core, core]),
        }
    }
    let one = |[first, last]: [usize; 2]| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.into_iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_cores_are_a_range() {
        let check = |cores: &[usize], expected: &str| assert_eq!(ranges(cores), expected);
        check(&[], "");
        check(&[0], "0");
        check(&[0, 1, 2, 3, 6, 8, 9], "0-3, 6, 8-9");
        check(&[3, 0], "3, 0");
    }
}
