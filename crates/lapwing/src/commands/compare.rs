//! `lapwing compare`: what two lists of records say about each other.

use std::collections::BTreeSet;

use anyhow::Context as _;
use lapwing_measure::comparison::{
    Change, CompareOptions, Comparison, Difference, IntervalFrom, Metric, Pair, Verdict, compare,
    shortened,
};
use lapwing_measure::record::Record;
use lapwing_measure::record_file::{Selected, select};
use lapwing_report::number;
use serde_json::json;

use crate::cli::CompareArgs;
use crate::commands::bench;
use crate::printer::{Printer, human_bytes};
use crate::settings::Settings;

/// Compare, print, and fail on a regression.
///
/// # Errors
///
/// When records cannot be read, are not comparable, or a limit is given and was exceeded, or could
/// not be judged because the second side lacks something.
pub fn run(settings: &Settings, printer: &Printer, args: &CompareArgs) -> anyhow::Result<()> {
    let (before, before_is_host) = read(settings, &args.before)?;
    let (after, after_is_host) = read(settings, &args.after)?;
    let across_hosts = before_is_host && after_is_host;
    let options = CompareOptions { across_hosts, force: args.force };
    let comparison = compare(&before, &after, &options).context("cannot compare the two sides")?;
    match args.json {
        true => print_json(&comparison, args, printer)?,
        false => print(&comparison, printer)?,
    }
    for (side, records) in [("A", &before), ("B", &after)] {
        let n_uses = records.iter().filter(|record| !record.test.kind.is_controlled()).count();
        if n_uses != 0 {
            printer.note(format!("{side}: {n_uses} records of use are not compared"));
        }
        let loads = records.iter().filter_map(|record| {
            let conditions = &record.conditions;
            bench::busy(conditions.load_average_before?, conditions.n_cores_physical)
        });
        if let Some(busy) = loads.max() {
            printer.note(format!("{side}: {busy}"));
        }
    }
    match args.fail_over {
        Some(share) => Ok(comparison.require(share)?),
        None => Ok(()),
    }
}

/// Every line has to be a record: what is missing could be what became slower.
fn read(settings: &Settings, wanted: &str) -> anyhow::Result<(Vec<Record>, bool)> {
    let Selected { records, bad_lines, is_host } = select(wanted, &settings.home.profiles())?;
    match bad_lines.into_iter().next() {
        Some(bad_line) => Err(bad_line.into()),
        None => Ok((records, is_host)),
    }
}

fn print_json(
    comparison: &Comparison,
    args: &CompareArgs,
    printer: &Printer,
) -> anyhow::Result<()> {
    let n_regressions = args.fail_over.map(|share| comparison.regressions(share).count());
    let limits = json!({
        "fail_over": args.fail_over,
        "n_regressions": n_regressions,
        "n_missing": comparison.missing().count(),
    });
    let mut value = serde_json::to_value(comparison)?;
    if let (Some(value), Some(limits)) = (value.as_object_mut(), limits.as_object()) {
        value.extend(limits.clone());
    }
    Ok(printer.json(&value)?)
}

fn print(comparison: &Comparison, printer: &Printer) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let mut warnings = BTreeSet::new();
    for pair in &comparison.pairs {
        for change in &pair.changes {
            let mut row = vec![pair.configuration.clone(), pair.test.clone()];
            row.extend(cells(change));
            rows.push(row);
        }
        warnings.extend(&pair.warnings);
    }
    let header = ["CONFIGURATION", "TEST", "METRIC", "A", "B", "B / A", "95 %", "VERDICT"];
    printer.table(&header, &rows)?;
    let mut told: Vec<&Difference> = Vec::new();
    for difference in comparison.pairs.iter().flat_map(|pair| &pair.differences) {
        if !told.contains(&difference) {
            told.push(difference);
            let Difference { what, before, after } = difference;
            printer.note(format!("{what}: {} in A, {} in B", or_none(before), or_none(after)));
        }
    }
    for (side, names) in [("A", &comparison.only_before), ("B", &comparison.only_after)] {
        if !names.is_empty() {
            printer.note(format!("only in {side}: {}", shortened(names, "; ")));
        }
    }
    for pair in comparison.pairs.iter().filter(|pair| !pair.metrics_only_before.is_empty()) {
        let metrics: Vec<_> = pair.metrics_only_before.iter().map(|metric| metric.name()).collect();
        let Pair { configuration, test, .. } = pair;
        printer.note(format!("only A tells of {configuration}, {test}: {}", metrics.join("; ")));
    }
    for warning in warnings {
        printer.warning(warning);
    }
    Ok(())
}

fn or_none(value: &str) -> &str {
    if value.is_empty() { "nothing" } else { value }
}

fn cells(change: &Change) -> [String; 6] {
    let figure = |value: f64| match change.metric {
        Metric::PeakRssBytes => human_bytes(value as u64),
        _ if value < 10.0 => format!("{value:.3}"),
        _ => format!("{value:.1}"),
    };
    let ends = |low, high| number::interval(low, high, |end| format!("{end:.3}"));
    let interval = match (change.ratio_low, change.ratio_high, change.interval_from) {
        (Some(low), Some(high), IntervalFrom::Runs) => format!("{}, of runs", ends(low, high)),
        (Some(low), Some(high), _) => ends(low, high),
        _ => "none".to_owned(),
    };
    let verdict = match (change.verdict, change.has_interval()) {
        (Verdict::NoDifferenceShown, _) | (_, true) => change.verdict.name().to_owned(),
        (verdict, false) => format!("{}, without interval", verdict.name()),
    };
    [
        change.metric.name().replace(", bytes", ""),
        figure(change.before),
        figure(change.after),
        format!("{:.3}", change.ratio),
        interval,
        verdict,
    ]
}
