//! Records as a page, as Markdown and as the CSV of `llama-bench`.
//!
//! Records come from files that anyone may have written: whatever they say is escaped. The page is
//! one file that loads nothing, and well-formed XML as well as HTML.
//!
//! To show one more thing: a file in `sections/` and its line in `sections.rs`.

mod csv;
mod overview;
#[cfg(test)]
pub(crate) mod sample;
mod sections;

use std::collections::BTreeSet;

use lapwing_report::{Page, escape_markdown};

use crate::record::Record;
use overview::Overview;

pub use csv::{COLUMNS, csv};

/// What a report says beside the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportOptions {
    /// The title.
    pub title: String,
    /// What the reader should know, such as lines that could not be read.
    pub notes: Vec<String>,
}

/// One HTML page about `records`, in any order.
#[must_use]
pub fn html(records: &[Record], options: &ReportOptions) -> String {
    let overview = Overview::new(records);
    let mut page = Page::new();
    if records.is_empty() {
        page.paragraph("There are no records.");
    } else {
        sections::write(&overview, &mut page);
    }
    page.into_html(&options.title, &facts(records), &options.notes)
}

/// Tables for GitHub and other readers of its Markdown.
#[must_use]
pub fn markdown(records: &[Record], options: &ReportOptions) -> String {
    let overview = Overview::new(records);
    let mut text = format!("## {}\n\n", escape_markdown(&options.title));
    for (name, value) in facts(records) {
        text.push_str(&format!("- {name}: {}\n", escape_markdown(&value)));
    }
    for note in &options.notes {
        text.push_str(&format!("- {}\n", escape_markdown(note)));
    }
    let mut tables = sections::summary_for_text(&overview);
    tables.push(sections::throughput_table(&overview));
    tables.push(sections::use_table(&overview));
    for table in tables.iter().filter(|table| !table.is_empty()) {
        text.push_str(&format!("\n{}\n", table.markdown()));
    }
    text
}

/// What all records have in common, in a few lines.
fn facts(records: &[Record]) -> Vec<(String, String)> {
    const N_VALUES_MAX: usize = 6;
    let distinct = |read: &dyn Fn(&Record) -> Option<String>| {
        let values: BTreeSet<String> = records.iter().filter_map(read).collect();
        let n_values = values.len();
        let mut shown: Vec<String> = values.into_iter().take(N_VALUES_MAX).collect();
        if n_values > N_VALUES_MAX {
            shown.push(format!("and {} more", n_values - N_VALUES_MAX));
        }
        shown.join(", ")
    };
    let times = || records.iter().map(|record| record.measured_at.clone());
    let measured = match (times().min(), times().max()) {
        (Some(first), Some(last)) if first != last => format!("{first} to {last}"),
        (first, _) => first.unwrap_or_default(),
    };
    let n_runs = records.iter().map(|record| &record.run_id).collect::<BTreeSet<_>>().len();
    let facts = vec![
        ("Models", distinct(&|record| Some(record.configuration.model.clone()))),
        ("Hosts", distinct(&|record| Some(record.host.clone()))),
        (
            "Devices",
            distinct(&|record| {
                let configuration = &record.configuration;
                let asked = &configuration.device_requested;
                Some(configuration.device_used.as_ref().unwrap_or(asked).clone())
            }),
        ),
        ("Processors", distinct(&|record| record.conditions.cpu_model.clone())),
        (
            "Programs",
            distinct(&|record| {
                let version = record.program.version.as_deref().unwrap_or_default();
                Some(format!("{} {version}", record.program.name).trim().to_owned())
            }),
        ),
        ("Measured", measured),
        ("Records", format!("{}, of {n_runs} runs", records.len())),
    ];
    let known = facts.into_iter().filter(|(_, value)| !value.is_empty());
    known.map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests;
