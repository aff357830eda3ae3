//! What two lists of records say about each other.
//!
//! Records are put together that measured the same thing on both sides, each metric gets the ratio
//! of the medians with an interval, and a verdict. A verdict needs two things: an interval of the
//! ratio that does not hold 1, where there is one, and a change beyond what the same thing measured
//! again differs by.
//!
//! With two or more runs on each side the interval is made of the medians of the runs, so that it
//! knows how runs differ, and the limit is [`REPEATS_WITHIN_SEVERAL`]. With a single run on a side
//! it is made of the repetitions within the runs, which know nothing of that, and the limit is
//! [`Metric::repeats_within`]. A figure of which a run has one number only, such as a peak of
//! memory, then has no interval, and the limit decides alone: such a verdict is a hint, and of the
//! regressions only those of memory rest on it.

mod change;
mod conditions;
mod limit;
mod metric;
mod pairing;

use lapwing_report::printable;
use serde::Serialize;

use crate::identity::{Field, Identity, whole_labels};
use crate::record::Record;

pub(crate) use change::change;
pub use change::{Change, IntervalFrom, REPEATS_WITHIN_SEVERAL, Verdict};
use conditions::{version_differences, warnings};
pub use limit::WorseError;
pub use metric::Metric;
use pairing::{Group, MUST_AGREE};
pub(crate) use pairing::{TestKey, test_key};

/// How strict to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompareOptions {
    /// Whether the sides are meant to be of different machines.
    pub across_hosts: bool,
    /// Whether to compare what is not comparable, where it is clear which configuration of one side
    /// belongs to which of the other.
    pub force: bool,
}

/// What two lists of records say about each other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// One for each configuration and test that is on both sides.
    pub pairs: Vec<Pair>,
    /// Configurations and tests of the first side without a counterpart.
    pub only_before: Vec<String>,
    /// Configurations and tests of the second side without a counterpart.
    pub only_after: Vec<String>,
}

/// The same test of two configurations.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// The configuration, as the first side has it, with what differs in the settings.
    pub configuration: String,
    /// The test, in the manner of `llama-bench`.
    pub test: String,
    /// What differs in the configuration, versions included.
    pub differences: Vec<Difference>,
    /// Why the figures may not mean what they seem to.
    pub warnings: Vec<String>,
    /// The metrics that both sides tell.
    pub changes: Vec<Change>,
    /// The metrics that only the first side tells.
    pub metrics_only_before: Vec<Metric>,
}

/// Something that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it is.
    pub what: String,
    /// On the first side.
    pub before: String,
    /// On the second side.
    pub after: String,
}

/// Why records cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum CompareError {
    /// One side has nothing.
    #[error("the {side} side has no records")]
    Empty { side: &'static str },
    /// One side has nothing that was measured.
    #[error("the {side} side has only records of use, where nobody chose what was asked")]
    OnlyUse { side: &'static str },
    /// Configurations would belong together if they did not differ in what must agree.
    #[error("not comparable: {}", list(differences))]
    NotComparable { differences: Vec<Difference> },
    /// Several configurations, and no two belong together.
    #[error("no configuration is on both sides: {} against {}", quoted(before), quoted(after))]
    NothingInCommon { before: Vec<String>, after: Vec<String> },
    /// The configurations belong together and were tested differently.
    #[error("no test is on both sides: {} against {}", quoted(before), quoted(after))]
    NoTestInCommon { before: Vec<String>, after: Vec<String> },
}

/// More names than this are counted.
const N_NAMES_TOLD: usize = 5;

/// The first of some names, and how many more there are.
#[must_use]
pub fn shortened(names: &[String], between: &str) -> String {
    let told = &names[..names.len().min(N_NAMES_TOLD)];
    match names.len() - told.len() {
        0 => told.join(between),
        n_more => format!("{}{between}and {n_more} more", told.join(between)),
    }
}

fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    format!("[{}]", shortened(&names, ", "))
}

fn list(differences: &[Difference]) -> String {
    let one = |d: &Difference| {
        let [before, after] = [&d.before, &d.after].map(|side| match side.as_str() {
            "" => "not told",
            told => told,
        });
        format!("{} {before} against {after}", d.what)
    };
    differences.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Compare `after` with `before`. Records of use are left out.
///
/// # Errors
///
/// When a side is empty, or nothing on one side may be compared with anything on the other.
pub fn compare(
    before: &[Record],
    after: &[Record],
    options: &CompareOptions,
) -> Result<Comparison, CompareError> {
    for (side, records) in [("first", before), ("second", after)] {
        if records.is_empty() {
            return Err(CompareError::Empty { side });
        }
        if !records.iter().any(|record| record.test.kind.is_controlled()) {
            return Err(CompareError::OnlyUse { side });
        }
    }
    let (mut left_before, mut left_after) = (pairing::group(before), pairing::group(after));
    let paired = pairing::pair(&mut left_before, &mut left_after, options);
    if paired.is_empty() {
        return Err(refusal(&left_before, &left_after));
    }
    let all = paired.iter().map(|(one, _)| one).chain(&left_before).chain(&left_after);
    let mut names = name_groups(all);
    let names_after = names.split_off(paired.len() + left_before.len());
    let names_before = names.split_off(paired.len());
    let mut comparison =
        Comparison { pairs: Vec::new(), only_before: Vec::new(), only_after: Vec::new() };
    for ((one, other), name) in paired.iter().zip(&names) {
        compare_groups(one, other, name, &mut comparison);
    }
    if comparison.pairs.is_empty() {
        let (before, after) = (comparison.only_before, comparison.only_after);
        return Err(CompareError::NoTestInCommon { before, after });
    }
    comparison.only_before.extend(names_before);
    comparison.only_after.extend(names_after);
    Ok(comparison)
}

impl Comparison {
    /// Where the second side is worse for certain and by more than `share`.
    pub fn regressions(&self, share: f64) -> impl Iterator<Item = (&Pair, &Change)> {
        let all = self.pairs.iter();
        all.flat_map(|pair| pair.changes.iter().map(move |change| (pair, change)))
            .filter(move |(_, change)| change.is_regression(share))
    }

    /// What the first side tells and the second does not: what is missing could be what became
    /// worse.
    pub fn missing(&self) -> impl Iterator<Item = String> {
        let of_pair = |pair: &Pair| {
            let what = format!("{}, {}", pair.configuration, pair.test);
            let metrics = pair.metrics_only_before.clone().into_iter();
            metrics.map(move |metric| format!("{what}: {}", metric.name()))
        };
        self.only_before.iter().cloned().chain(self.pairs.iter().flat_map(of_pair))
    }
}

fn name_groups<'a>(groups: impl IntoIterator<Item = &'a Group<'a>>) -> Vec<String> {
    let identities: Vec<Identity> = groups.into_iter().map(|g| g.identity.clone()).collect();
    whole_labels(&identities)
}

/// What force would have compared says what is in the way.
fn refusal(before: &[Group], after: &[Group]) -> CompareError {
    let forced = CompareOptions { across_hosts: true, force: true };
    let pairs = pairing::pair(&mut before.to_vec(), &mut after.to_vec(), &forced);
    let mut differences = Vec::new();
    for (one, other) in &pairs {
        for field in one.identity.differences(&other.identity) {
            let difference = difference(field, one, other);
            if MUST_AGREE.contains(&field) && !differences.contains(&difference) {
                differences.push(difference);
            }
        }
    }
    if !differences.is_empty() {
        return CompareError::NotComparable { differences };
    }
    let mut names = name_groups(before.iter().chain(after));
    let after = names.split_off(before.len());
    CompareError::NothingInCommon { before: names, after }
}

fn difference(field: Field, before: &Group, after: &Group) -> Difference {
    let [before, after] = [before, after].map(|group| printable(group.identity.get(field)));
    Difference { what: field.name().into(), before, after }
}

/// The name of a configuration with what its settings are on the other side.
fn name_of_pair(name: &str, fields: &[Field], before: &Group, after: &Group) -> String {
    /// Told of long settings; names are told whole.
    const N_SHOWN: usize = 40;
    let has_other_correction = fields.contains(&Field::Correction);
    let is_told = |field: &&Field| match field {
        // Machines are compared as a whole, and models are told apart by their hash.
        Field::Host | Field::CpuModel | Field::Model => false,
        Field::CorrectionSha256 => !has_other_correction,
        _ => true,
    };
    let short = |field: Field, group: &Group| {
        let value = group.identity.get(field);
        match field {
            _ if value.is_empty() => "not told".to_owned(),
            Field::ModelSha256 | Field::CorrectionSha256 => value.chars().take(8).collect(),
            Field::Settings if N_SHOWN < value.chars().count() => {
                value.chars().take(N_SHOWN - 1).chain(['…']).collect()
            }
            _ => value.to_owned(),
        }
    };
    let told = fields.iter().filter(is_told).map(|&field| {
        format!("{} {} → {}", field.name(), short(field, before), short(field, after))
    });
    let told: Vec<String> = told.collect();
    match told.is_empty() {
        true => name.to_owned(),
        false => printable(&format!("{name} ({})", told.join(", "))),
    }
}

fn compare_groups(before: &Group, after: &Group, name: &str, comparison: &mut Comparison) {
    let fields = before.identity.differences(&after.identity);
    let name_of_pair = name_of_pair(name, &fields, before, after);
    let differences: Vec<_> =
        fields.into_iter().map(|field| difference(field, before, after)).collect();
    for (test, records_before) in &before.tests {
        let test_name = || printable(&records_before[0].test.name);
        let Some(records_after) = after.tests.get(test) else {
            comparison.only_before.push(format!("{name}, {}", test_name()));
            continue;
        };
        let mut pair = Pair {
            configuration: name_of_pair.clone(),
            test: test_name(),
            differences: differences.clone(),
            warnings: warnings(records_before, records_after),
            changes: Vec::new(),
            metrics_only_before: Vec::new(),
        };
        pair.differences.extend(version_differences(records_before, records_after));
        let changes = Metric::ALL.into_iter();
        pair.changes = changes.filter_map(|m| change(m, records_before, records_after)).collect();
        let is_told = |metric: &Metric, records: &[&Record]| {
            records.iter().any(|record| metric.read(record).is_some())
        };
        pair.metrics_only_before = Metric::ALL
            .into_iter()
            .filter(|metric| is_told(metric, records_before) && !is_told(metric, records_after))
            .collect();
        comparison.pairs.push(pair);
    }
    let is_new = |test: &&TestKey| !before.tests.contains_key(*test);
    for test in after.tests.keys().filter(is_new) {
        comparison
            .only_after
            .push(format!("{name}, {}", printable(&after.tests[test][0].test.name)));
    }
}

#[cfg(test)]
mod tests;
