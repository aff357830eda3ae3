//! The records of a page, sorted by what they are of.

use std::collections::BTreeMap;

use lapwing_report::Legend;
use lapwing_report::plot::{N_SERIES_MAX, Style};

use crate::comparison::{TestKey, test_key};
use crate::identity::{Field, Identity, labels};
use crate::record::{Record, TestKind};

/// A configuration and its records.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    /// Its name on this page.
    pub(crate) label: String,
    pub(crate) identity: Identity,
    /// By test, and in each from the oldest to the newest.
    pub(crate) records: BTreeMap<TestKey, Vec<&'a Record>>,
}

/// All configurations, the fastest first.
#[derive(Debug)]
pub(crate) struct Overview<'a> {
    pub(crate) subjects: Vec<Subject<'a>>,
}

impl<'a> Overview<'a> {
    pub(crate) fn new(records: &'a [Record]) -> Overview<'a> {
        let mut by_identity: BTreeMap<Identity, BTreeMap<TestKey, Vec<&Record>>> = BTreeMap::new();
        for record in records {
            let tests = by_identity.entry(Identity::of(record)).or_default();
            tests.entry(test_key(&record.test)).or_default().push(record);
        }
        let identities: Vec<Identity> = by_identity.keys().cloned().collect();
        let mut subjects = Vec::new();
        for ((identity, mut records), label) in by_identity.into_iter().zip(labels(&identities)) {
            for list in records.values_mut() {
                list.sort_by(|a, b| a.measured_at.cmp(&b.measured_at));
            }
            subjects.push(Subject { label, identity, records });
        }
        let mut overview = Overview { subjects };
        let decode = overview.usual_test(TestKind::Decode);
        let rate = |subject: &Subject| {
            let latency = decode.and_then(|test| subject.newest(test)?.latency.as_ref());
            latency.map_or(f64::NEG_INFINITY, |latency| latency.tokens_per_s.median)
        };
        overview.subjects.sort_by(|a, b| rate(b).total_cmp(&rate(a)));
        overview
    }

    /// The test of this kind that most configurations share: of those without depth where there
    /// are such, the one with the most tokens.
    pub(crate) fn usual_test(&self, kind: TestKind) -> Option<TestKey> {
        let mut n_subjects: BTreeMap<TestKey, usize> = BTreeMap::new();
        for test in self.subjects.iter().flat_map(|subject| subject.records.keys()) {
            if test.0 == kind {
                *n_subjects.entry(*test).or_default() += 1;
            }
        }
        let best = n_subjects.into_iter().max_by_key(|&(test, n_subjects)| {
            let (_, n_prompt, n_depth, n_generated) = test;
            (n_subjects, std::cmp::Reverse(n_depth), n_prompt, n_generated)
        });
        best.map(|(test, _)| test)
    }

    /// Whether a configuration was measured more than once.
    pub(crate) fn has_repeats(&self) -> bool {
        let mut lists = self.subjects.iter().flat_map(|subject| subject.records.values());
        lists.any(|records| 1 < records.len())
    }

    /// The newest record of every configuration that has `test`, with the configuration's place.
    pub(crate) fn newest(&self, test: TestKey) -> Vec<(usize, &'a Record)> {
        let all = self.subjects.iter().enumerate();
        all.filter_map(|(idx, subject)| Some((idx, subject.newest(test)?))).collect()
    }

    /// What the lines of the configurations with these places mean.
    pub(crate) fn legend(&self, places: &[usize]) -> Legend {
        let line = |&idx: &usize| (Style(idx), self.subjects[idx].label.clone());
        Legend::of_lines(places.iter().map(line))
    }

    /// Whether all configurations have the same value of `field`.
    pub(crate) fn agree_on(&self, field: Field) -> bool {
        self.subjects.windows(2).all(|p| p[0].identity.get(field) == p[1].identity.get(field))
    }
}

impl<'a> Subject<'a> {
    /// The tests that were chosen, and not what was asked in use.
    pub(crate) fn measured(&self) -> impl Iterator<Item = (&TestKey, &Vec<&'a Record>)> {
        self.records.iter().filter(|(test, _)| test.0.is_controlled())
    }

    pub(crate) fn newest(&self, test: TestKey) -> Option<&'a Record> {
        self.records.get(&test)?.last().copied()
    }

    /// The newest record of each test of this kind.
    pub(crate) fn newest_of_kind(&self, kind: TestKind) -> impl Iterator<Item = &'a Record> {
        let all = self.records.iter().filter(move |(test, _)| test.0 == kind);
        all.filter_map(|(_, list)| list.last().copied())
    }
}

/// The name of a test, which is the same in all its records.
pub(crate) fn test_name(test: TestKey) -> String {
    let (kind, n_prompt, n_depth, n_generated) = test;
    let test = match kind {
        TestKind::Start => crate::record::Test::start(n_prompt),
        TestKind::Prefill => crate::record::Test::prefill(n_prompt, n_depth),
        TestKind::Decode => crate::record::Test::decode(n_generated, n_depth),
        TestKind::Use => crate::record::Test::in_use(n_prompt, n_depth, n_generated),
    };
    test.name
}

/// The first places that fit into one drawing, and what to say about the others.
pub(crate) fn first_places(mut places: Vec<usize>) -> (Vec<usize>, String) {
    let n_all = places.len();
    places.truncate(N_SERIES_MAX);
    let note = match n_all > N_SERIES_MAX {
        true => format!(" The {N_SERIES_MAX} that decode fastest of {n_all}; the table has all."),
        false => String::new(),
    };
    (places, note)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_fastest_comes_first_and_the_newest_counts() {
        let mut records = sample::run("openvino", 1, 1);
        records.extend(sample::run("openvino", 2, 3));
        records.extend(sample::run("openvino", 2, 2));
        let overview = Overview::new(&records);
        let labels: Vec<_> = overview.subjects.iter().map(|subject| &*subject.label).collect();
        assert_eq!(labels, ["openvino · 2 threads", "openvino · 1 thread"]);
        let test = overview.usual_test(TestKind::Decode).unwrap();
        assert_eq!(test_name(test), "tg128");
        assert_eq!(overview.newest(test)[0].1.measured_at, "2026-11-04T12:02:00Z");
        assert_eq!(test_name(overview.usual_test(TestKind::Prefill).unwrap()), "pp2048");
        assert!(Overview::new(&[]).usual_test(TestKind::Start).is_none());
    }
}
