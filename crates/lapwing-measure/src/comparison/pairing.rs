//! Which configuration of one side belongs to which of the other.

use std::collections::BTreeMap;

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

/// What may differ, beside nothing, tried in this order: first one thing alone, then all.
const MAY_DIFFER: [&[Field]; 6] = [
    &[],
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

/// Kind, prompt, depth and produced tokens: equal for equal tests.
pub(crate) type TestKey = (TestKind, usize, usize, usize);

pub(crate) fn test_key(test: &Test) -> TestKey {
    (test.kind, test.n_prompt_tokens, test.n_depth_tokens, test.n_generated_tokens)
}

/// A configuration of one side and all its records.
#[derive(Debug, Clone)]
pub(super) struct Group<'a> {
    pub(super) identity: Identity,
    pub(super) tests: BTreeMap<TestKey, Vec<&'a Record>>,
}

/// The records of a side by configuration. The name of a model does not count, only its hash.
pub(super) fn group(records: &[Record]) -> Vec<Group<'_>> {
    let mut groups: BTreeMap<Identity, Group> = BTreeMap::new();
    for record in records {
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
    for not_agreed in std::iter::once(&[][..]).chain(forced.iter().copied()) {
        for fields in MAY_DIFFER {
            let forgotten: Vec<Field> =
                always.iter().chain(not_agreed).chain(fields).copied().collect();
            pairs.extend(pair_without(&forgotten, before, after));
        }
    }
    pairs
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
