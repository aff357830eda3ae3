//! Records as a page, as Markdown and as the CSV of `llama-bench`.
//!
//! Records come from files that anyone may have written: whatever they say is escaped. The page is
//! one file that loads nothing, and well-formed XML as well as HTML.
//!
//! To show one more thing: a file in `sections/` and its line in `sections.rs`.

mod csv;
mod markup;
mod number;
mod overview;
mod page;
mod plot;
#[cfg(test)]
pub(crate) mod sample;
mod sections;
mod table;

use std::collections::BTreeSet;

use crate::record::Record;
use markup::Markup;
use overview::Overview;
use page::Page;

pub use csv::{COLUMNS, csv};
pub(crate) use markup::printable;

const STYLE: &str = include_str!("report/style.css");
const SCRIPT: &str = include_str!("report/script.js");

/// Nothing may be loaded; style and script are in the page.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
    script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

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
    let mut page = Page::default();
    if records.is_empty() {
        page.paragraph("There are no records.");
    } else {
        sections::write(&overview, &mut page);
    }
    let mut document = Markup::new();
    document.raw("<!DOCTYPE html>\n");
    document.element("html", &[("lang", "en")], |document| {
        document.element("head", &[], |head| head_of(&options.title, head));
        document.raw("\n");
        document.element("body", &[], |body| {
            body.raw("\n");
            body.element("header", &[], |header| header_of(records, options, &page, header));
            body.element("main", &[], |main| {
                main.append(&page.markup);
            });
            body.element("footer", &[], |footer| {
                footer.leaf("p", concat!("Made by lapwing ", env!("CARGO_PKG_VERSION"), "."));
            });
            let status = [("id", "status"), ("class", "hidden"), ("role", "status")];
            body.element("div", &status, |_| {});
            body.raw("<script>\n").raw(SCRIPT).raw("</script>\n");
        });
    });
    document.raw("\n");
    document.into_string()
}

/// Tables for GitHub and other readers of its Markdown.
#[must_use]
pub fn markdown(records: &[Record], options: &ReportOptions) -> String {
    let overview = Overview::new(records);
    let mut text = format!("## {}\n\n", table::escape_markdown(&options.title));
    for (name, value) in facts(records) {
        text.push_str(&format!("- {name}: {}\n", table::escape_markdown(&value)));
    }
    for note in &options.notes {
        text.push_str(&format!("- {}\n", table::escape_markdown(note)));
    }
    let mut tables = sections::summary_for_text(&overview);
    tables.push(sections::throughput_table(&overview));
    for table in tables.iter().filter(|table| !table.is_empty()) {
        text.push_str(&format!("\n{}\n", table.markdown()));
    }
    text
}

fn head_of(title: &str, head: &mut Markup) {
    head.raw("\n").void("meta", &[("charset", "utf-8")]).raw("\n");
    head.void("meta", &[("http-equiv", "Content-Security-Policy"), ("content", POLICY)]).raw("\n");
    let viewport = "width=device-width, initial-scale=1";
    head.void("meta", &[("name", "viewport"), ("content", viewport)]).raw("\n");
    // Without this a browser asks for an icon.
    head.void("link", &[("rel", "icon"), ("href", "data:,")]).raw("\n");
    head.leaf("title", title).raw("\n<style>\n").raw(STYLE).raw("</style>\n");
}

fn header_of(records: &[Record], options: &ReportOptions, page: &Page, header: &mut Markup) {
    header.leaf("h1", &options.title).raw("\n");
    header.element("dl", &[("class", "facts")], |list| {
        for (name, value) in facts(records) {
            list.leaf("dt", name).leaf("dd", &value);
        }
    });
    if !options.notes.is_empty() {
        header.element("ul", &[("class", "notes")], |list| {
            for note in &options.notes {
                list.leaf("li", note);
            }
        });
    }
    header.element("nav", &[("aria-label", "Sections")], |nav| {
        nav.element("ul", &[], |list| {
            for (id, title) in &page.contents {
                list.element("li", &[], |item| {
                    item.element("a", &[("href", &format!("#{id}"))], |link| {
                        link.text(title);
                    });
                });
            }
        });
    });
    header.raw("\n");
}

/// What all records have in common, in a few lines.
fn facts(records: &[Record]) -> Vec<(&'static str, String)> {
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
    facts.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

#[cfg(test)]
mod tests;
