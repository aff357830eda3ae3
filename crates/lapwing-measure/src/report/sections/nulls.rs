//! What was not measured, and why.

use std::collections::{BTreeMap, BTreeSet};

use lapwing_report::{Cell, Page, Table};

use crate::report::overview::Overview;

/// More configurations than these are counted and not named.
const N_NAMED_MAX: usize = 3;

pub(crate) fn write(overview: &Overview, page: &mut Page) {
    let table = table(overview);
    if table.is_empty() {
        return;
    }
    page.section("nulls", "What is not here, and why", |page| {
        page.paragraph(
            "A field that could not be read is null in the record and has a reason; nothing here \
             is an estimate.",
        );
        page.table(&table);
    });
}

fn table(overview: &Overview) -> Table {
    let mut reasons: BTreeMap<(&str, &str), (u64, BTreeSet<usize>)> = BTreeMap::new();
    for (idx, subject) in overview.subjects.iter().enumerate() {
        for record in subject.records.values().flatten() {
            for (path, reason) in &record.nulls {
                let (n_records, places) = reasons.entry((path, reason)).or_default();
                *n_records += 1;
                places.insert(idx);
            }
        }
    }
    let mut table =
        Table::new("Fields without a value", &["Field", "Reason", "Configurations"], &["Records"]);
    for ((path, reason), (n_records, places)) in reasons {
        let who = match places.len() {
            n if n == overview.subjects.len() => "all".to_owned(),
            n if n > N_NAMED_MAX => format!("{n} of {}", overview.subjects.len()),
            _ => {
                let labels = places.iter().map(|&idx| &*overview.subjects[idx].label);
                labels.collect::<Vec<_>>().join("; ")
            }
        };
        let words = [path, reason, &who].map(Cell::text);
        table.push(words.into_iter().chain([Cell::count(Some(n_records))]).collect());
    }
    table
}
