//! Which configuration of one side belongs to which of the other.

use std::collections::{BTreeMap, BTreeSet};

use super::CompareOptions;
use crate::identity::{Field, Identity};
use crate::record::{Record, Test, TestKind};

/// What is measured with other numbers when it differs, and compared only when that is wanted.
pub(super) const MUST_AGREE: [Field; 6] = [
    Field::Host,
    Field::CpuModel,
    Field::ModelSha256,
    Field::Variant,
    Field::Device,
    Field::Precision,
];

/// What of [`MUST_AGREE`] is passed over by force: first one thing alone, then all.
const MUST_NOT_AGREE: [&[Field]; 5] = [
    &[Field::Host, Field::CpuModel],
    &[Field::ModelSha256, Field::Variant],
    &[Field::Device],
    &[Field::Precision],
    &MUST_AGREE,
];

/// What may differ where a model has no test with the same settings on both sides, tried in this
/// order: first one thing alone, then all.
const MAY_DIFFER: [&[Field]; 5] = [
    &[Field::Threads],
    &[Field::Correction, Field::CorrectionSha256],
    &[Field::Settings],
    &[Field::Program, Field::Backend],
    &[
        Field::Threads,
        Field::Correction,
        Field::CorrectionSha256,
        Field::Settings,
        Field::Program,
        Field::Backend,
    ],
];

/// Kind, prompt, depth and produced tokens: equal for equal tests. Use is one, whatever was asked.
pub(crate) type TestKey = (TestKind, usize, usize, usize);

pub(crate) fn test_key(test: &Test) -> TestKey {
    if test.kind == TestKind::Use {
        return (test.kind, 0, 0, 0);
    }
    (test.kind, test.n_prompt_tokens, test.n_depth_tokens, test.n_generated_tokens)
}

/// A configuration of one side and all its records.
#[derive(Debug, Clone)]
pub(super) struct Group<'a> {
    pub(super) identity: Identity,
    pub(super) tests: BTreeMap<TestKey, Vec<&'a Record>>,
}

/// The records of a side by configuration, but for those of use. The name of a model does not count,
/// only its hash.
pub(super) fn group(records: &[Record]) -> Vec<Group<'_>> {
    let mut groups: BTreeMap<Identity, Group> = BTreeMap::new();
    for record in records.iter().filter(|record| record.test.kind.is_controlled()) {
        let identity = Identity::of(record);
        let key = identity.clone().without(&[Field::Model]);
        let new = || Group { identity, tests: BTreeMap::new() };
        let group = groups.entry(key).or_insert_with(new);
        group.tests.entry(test_key(&record.test)).or_default().push(record);
    }
    groups.into_values().collect()
}

/// Take the pairs out of both sides; what remains has no counterpart.
pub(super) fn pair<'a>(
    before: &mut Vec<Group<'a>>,
    after: &mut Vec<Group<'a>>,
    options: &CompareOptions,
) -> Vec<(Group<'a>, Group<'a>)> {
    let mut always = vec![Field::Model];
    if options.across_hosts {
        always.extend([Field::Host, Field::CpuModel]);
    }
    let forced: &[&[Field]] = if options.force { &MUST_NOT_AGREE } else { &[] };
    let mut pairs = Vec::new();
    let mut measured_alike = [BTreeSet::new(), BTreeSet::new()];
    for not_agreed in std::iter::once(&[][..]).chain(forced.iter().copied()) {
        always.extend(not_agreed);
        let exact = pair_without(&always, before, after);
        for (one, other) in &exact {
            for (group, tests) in [one, other].into_iter().zip(&mut measured_alike) {
                tests.extend(group.tests.keys().map(|test| (model_of(group), *test)));
            }
        }
        pairs.extend(exact);
        let aside_before = set_aside(before, &measured_alike[0]);
        let aside_after = set_aside(after, &measured_alike[1]);
        for fields in MAY_DIFFER {
            let forgotten: Vec<Field> = always.iter().chain(fields).copied().collect();
            pairs.extend(pair_without(&forgotten, before, after));
        }
        put_back(before, aside_before);
        put_back(after, aside_after);
        always.truncate(always.len() - not_agreed.len());
    }
    pairs
}

/// SHA-256 and variant.
type ModelKey = [String; 2];

fn model_of(group: &Group) -> ModelKey {
    [Field::ModelSha256, Field::Variant].map(|field| group.identity.get(field).to_owned())
}

/// Take out what must not be compared across settings: tests of models that are there with settings
/// that both sides have. What is left of such a model would be put beside something that it is not.
fn set_aside<'a>(
    groups: &mut Vec<Group<'a>>,
    measured_alike: &BTreeSet<(ModelKey, TestKey)>,
) -> Vec<Group<'a>> {
    let mut all_aside = Vec::new();
    for group in groups.iter_mut() {
        let model = model_of(group);
        let is_aside = |test: &TestKey| measured_alike.contains(&(model.clone(), *test));
        let (aside, left) =
            std::mem::take(&mut group.tests).into_iter().partition(|(test, _)| is_aside(test));
        group.tests = left;
        all_aside.push(Group { identity: group.identity.clone(), tests: aside });
    }
    let has_tests = |group: &Group| !group.tests.is_empty();
    groups.retain(has_tests);
    all_aside.retain(has_tests);
    all_aside
}

fn put_back<'a>(groups: &mut Vec<Group<'a>>, aside: Vec<Group<'a>>) {
    for group in aside {
        match groups.iter_mut().find(|other| other.identity == group.identity) {
            Some(same) => same.tests.extend(group.tests),
            None => groups.push(group),
        }
    }
}

/// Pairs of groups that are alike but for `forgotten` and the only ones of their side to be so.
fn pair_without<'a>(
    forgotten: &[Field],
    before: &mut Vec<Group<'a>>,
    after: &mut Vec<Group<'a>>,
) -> Vec<(Group<'a>, Group<'a>)> {
    let key = |group: &Group| group.identity.clone().without(forgotten);
    let mut pairs = Vec::new();
    let mut before_idx = 0;
    while before_idx < before.len() {
        let wanted = key(&before[before_idx]);
        let is_alike = |group: &Group| key(group) == wanted;
        let n_before = before.iter().filter(|group| is_alike(group)).count();
        let mut alike = (0..after.len()).filter(|&idx| is_alike(&after[idx]));
        match (n_before, alike.next(), alike.next()) {
            (1, Some(after_idx), None) => {
                pairs.push((before.remove(before_idx), after.remove(after_idx)));
            }
            _ => before_idx += 1,
        }
    }
    pairs
}
