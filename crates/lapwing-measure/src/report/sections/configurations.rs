//! What the short names of configurations stand for.

use lapwing_report::{Cell, Page, Table};

use crate::identity::Field;
use crate::record::Record;
use crate::report::overview::Overview;

pub(crate) fn write(overview: &Overview, page: &mut Page) {
    page.section("configurations", "Configurations", |page| {
        page.table(&table(overview));
    });
}

fn table(overview: &Overview) -> Table {
    let mut table = Table::new(
        "What the names on this page stand for; versions are those of the newest record",
        &[
            "Configuration",
            "Model",
            "Kind",
            "Variant",
            "Program",
            "Backend",
            "Device",
            "Precision",
            "Correction",
            "Settings",
            "Model hash",
        ],
        &["Threads", "Weights, M", "Files, MB"],
    );
    for subject in &overview.subjects {
        let records = subject.records.values().flatten().copied();
        let newest = records.max_by(|a, b| a.measured_at.cmp(&b.measured_at));
        let newest: &Record = newest.expect("a subject has records");
        let configuration = &newest.configuration;
        let value = |field: Field| Cell::text(subject.identity.get(field));
        let version = |name: &str, version: &Option<String>| {
            Cell::text(format!("{name} {}", version.as_deref().unwrap_or_default()).trim())
        };
        let device = configuration.device_name.as_deref().unwrap_or_default();
        let device = format!("{} {device}", subject.identity.get(Field::Device));
        let hash: String = configuration.model_sha256.chars().take(12).collect();
        table.push(vec![
            Cell::text(subject.label.clone()),
            value(Field::Model),
            Cell::text(configuration.model_kind.clone()),
            value(Field::Variant),
            version(&newest.program.name, &newest.program.version),
            version(&configuration.backend, &configuration.backend_version),
            Cell::text(device.trim()),
            value(Field::Precision),
            value(Field::Correction),
            value(Field::Settings),
            Cell::text(hash),
            Cell::count(configuration.n_threads.map(|n| n as u64)),
            Cell::number(configuration.n_parameters.map(|n| n as f64 / 1e6)),
            Cell::megabytes(configuration.model_bytes),
        ]);
    }
    table.without_empty_columns()
}
