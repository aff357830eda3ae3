//! Versions and conditions of two sides: what should be the same and is not.

use std::collections::BTreeSet;

use lapwing_files::disk::human_bytes;
use lapwing_report::printable;

use super::{Difference, list};
use crate::record::{PowerSource, Record};

type Read = fn(&Record) -> String;

/// What changes from one version to the next: this is what comparisons are for.
pub(super) fn version_differences(before: &[&Record], after: &[&Record]) -> Vec<Difference> {
    let versions: [(&str, Read); 5] = [
        ("program version", |r| told(&r.program.version)),
        ("git revision", |r| told(&r.program.git_revision)),
        ("backend version", |r| told(&r.configuration.backend_version)),
        ("driver version", |r| told(&r.configuration.driver_version)),
        ("positions", |r| told(&r.configuration.n_positions_max)),
    ];
    differing(&versions, before, after)
}

/// What containers allow. A record without a limit is compared too, where another has one.
fn allowance_differences(before: &[&Record], after: &[&Record]) -> Vec<Difference> {
    const NONE: &str = "no limit told";
    let is_limited = |read: fn(&Record) -> bool| before.iter().chain(after).any(|r| read(r));
    let allowances: [(bool, (&str, Read)); 2] = [
        (
            is_limited(|r| r.conditions.cpu_quota.is_some()),
            ("processors allowed", |r| {
                r.conditions.cpu_quota.map_or(NONE.into(), |n| n.to_string())
            }),
        ),
        (
            is_limited(|r| r.conditions.memory_limit_bytes.is_some()),
            ("memory allowed", |r| {
                r.conditions.memory_limit_bytes.map_or(NONE.into(), human_bytes)
            }),
        ),
    ];
    let limited =
        allowances.into_iter().filter_map(|(is_limited, field)| is_limited.then_some(field));
    differing(&limited.collect::<Vec<_>>(), before, after)
}

/// What should not differ, and what else one should know.
pub(super) fn warnings(before: &[&Record], after: &[&Record]) -> Vec<String> {
    let conditions: [(&str, Read); 6] = [
        ("instruction set", |r| told(&r.conditions.isa_level)),
        ("governor", |r| told(&r.conditions.governor)),
        ("power source", |r| r.conditions.power_source.map_or_else(String::new, power)),
        ("kernel", |r| told(&r.conditions.kernel)),
        ("seed", |r| told(&r.protocol.seed)),
        ("a process of its own", |r| told(&Some(r.protocol.is_isolated))),
    ];
    let mut differences = allowance_differences(before, after);
    differences.extend(differing(&conditions, before, after));
    let mut warnings: Vec<_> = differences.iter().map(|d| list(std::slice::from_ref(d))).collect();
    if !differences.iter().any(|difference| difference.what == "seed") {
        let tokens: [(&str, Read); 1] = [("", |r| told(&r.tokens_sha256))];
        if !differing(&tokens, before, after).is_empty() {
            warnings.push("the tokens produced are not the same".into());
        }
    }
    for (side, records) in [("first", before), ("second", after)] {
        if records.iter().any(|r| r.conditions.n_throttle_events.is_some_and(|n| n > 0)) {
            warnings.push(format!("the processor was throttled on the {side} side"));
        }
    }
    for (side, records) in [("first", before), ("second", after)] {
        let revisions = own_revisions(records);
        if revisions.len() > 1 {
            let revisions: Vec<_> = revisions.into_iter().collect();
            let n_revisions = revisions.len();
            let named = printable(&revisions.join(", "));
            warnings.push(format!(
                "the {side} side mixes {n_revisions} git revisions of lapwing: {named}"
            ));
        }
    }
    if before.len().min(after.len()) == 1 {
        warnings.push("one run on a side: how runs differ is not in the intervals".into());
    }
    warnings
}

/// The commits that this program was built from, as far as people tell them apart.
fn own_revisions(records: &[&Record]) -> BTreeSet<String> {
    let own = records.iter().filter(|record| record.program.name == "lapwing");
    let revisions = own.filter_map(|record| record.program.git_revision.as_deref());
    revisions.map(|revision| revision.chars().take(10).collect()).collect()
}

fn power(source: PowerSource) -> String {
    match source {
        PowerSource::Mains => "mains".into(),
        PowerSource::Battery => "battery".into(),
    }
}

fn told(value: &Option<impl ToString>) -> String {
    value.as_ref().map_or_else(String::new, ToString::to_string)
}

/// Where the sets of values are not the same; what a side never tells is passed over.
fn differing(fields: &[(&str, Read)], before: &[&Record], after: &[&Record]) -> Vec<Difference> {
    let values = |read: Read, records: &[&Record]| {
        let mut values: Vec<String> = records.iter().map(|record| read(record)).collect();
        values.retain(|value| !value.is_empty());
        values.sort();
        values.dedup();
        printable(&values.join(" and "))
    };
    let one = |&(what, read): &(&str, Read)| {
        let (before, after) = (values(read, before), values(read, after));
        let is_told = !before.is_empty() && !after.is_empty();
        (is_told && before != after).then(|| Difference { what: what.into(), before, after })
    };
    fields.iter().filter_map(one).collect()
}
