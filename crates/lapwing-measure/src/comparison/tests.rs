use super::*;
use crate::report::sample;

const STRICT: CompareOptions = CompareOptions { across_hosts: false, force: false };
const FORCED: CompareOptions = CompareOptions { across_hosts: false, force: true };

fn changed(change: impl Fn(&mut Record)) -> Vec<Record> {
    let mut records = sample::run("openvino", 2, 1);
    records.iter_mut().for_each(change);
    records
}

#[test]
fn a_run_does_not_differ_from_itself() {
    let run = sample::run("openvino", 2, 1);
    let comparison = compare(&run, &run, &STRICT).unwrap();
    assert_eq!(comparison.pairs.len(), run.len());
    let all: Vec<_> = comparison.pairs.iter().flat_map(|pair| &pair.changes).collect();
    assert!(all.len() > run.len(), "{all:?}");
    assert!(all.iter().all(|change| change.verdict == Verdict::NoDifferenceShown), "{all:?}");
    assert_eq!(comparison.regressions(0.0).count(), 0);
    let warned = &comparison.pairs[0].warnings;
    assert_eq!(warned, &["one run on a side: how runs differ is not in the intervals"]);
}

#[test]
fn fewer_threads_are_slower_and_named() {
    let (before, after) = (sample::run("openvino", 2, 1), sample::run("openvino", 1, 2));
    let comparison = compare(&before, &after, &STRICT).unwrap();
    let decode = comparison.pairs.iter().find(|pair| pair.test == "tg128").unwrap();
    let difference = &decode.differences[0];
    assert_eq!((&*difference.before, &*difference.after), ("2", "1"));
    assert_eq!(difference.what, "threads");
    assert_eq!(decode.configuration, "openvino · CPU (threads 2 → 1)");
    assert_eq!(decode.changes[0].metric, Metric::DecodeTokensPerS);
    assert_eq!(decode.changes[0].verdict, Verdict::Slower);
    let regressed: Vec<_> = comparison.regressions(0.05).map(|(pair, _)| &*pair.test).collect();
    assert!(regressed.contains(&"tg128"), "{regressed:?}");
}

#[test]
fn what_must_agree_is_refused_and_can_be_forced() {
    let check = |change: &dyn Fn(&mut Record), expected: &str| {
        let (before, after) = (sample::run("openvino", 2, 1), changed(change));
        let error = compare(&before, &after, &STRICT).unwrap_err();
        assert_eq!(error.to_string(), format!("not comparable: {expected}"));
        let comparison = compare(&before, &after, &FORCED).unwrap();
        assert_eq!(comparison.pairs.len(), before.len());
        assert!(!comparison.pairs[0].differences.is_empty());
    };
    check(&|r| r.host = "other".into(), "host laptop against other");
    check(&|r| r.configuration.model_sha256 = "b".into(), "model hash aaaaaaaaaaaaaaaa against b");
    check(&|r| r.configuration.device_used = Some("GPU".into()), "device used CPU against GPU");
    check(&|r| r.configuration.precision = "exact".into(), "precision fast against exact");
    check(&|r| r.conditions.cpu_model = None, "processor Example CPU 3000 against not told");
}

#[test]
fn hosts_are_compared_when_that_is_meant() {
    let across = CompareOptions { across_hosts: true, ..STRICT };
    let elsewhere = changed(|r| r.host = "other".into());
    let comparison = compare(&sample::run("openvino", 2, 1), &elsewhere, &across).unwrap();
    assert_eq!(comparison.pairs[0].differences[0].what, "host");
    let other_model = changed(|r| r.configuration.model_sha256 = "b".into());
    assert!(compare(&sample::run("openvino", 2, 1), &other_model, &across).is_err());
}

#[test]
fn versions_differ_and_are_told() {
    let newer = changed(|r| {
        r.program.git_revision = Some("def".into());
        r.configuration.backend_version = Some("2027.0".into());
    });
    let comparison = compare(&sample::run("openvino", 2, 1), &newer, &STRICT).unwrap();
    let told: Vec<_> =
        comparison.pairs[0].differences.iter().map(|difference| &*difference.what).collect();
    assert_eq!(told, ["git revision", "backend version"]);
}

#[test]
fn doubts_are_told() {
    let check = |change: &dyn Fn(&mut Record), expected: &str| {
        let comparison = compare(&sample::run("openvino", 2, 1), &changed(change), &STRICT);
        let warnings = &comparison.unwrap().pairs[0].warnings;
        assert!(warnings.iter().any(|warning| warning == expected), "{warnings:?}");
    };
    check(
        &|r| r.conditions.governor = Some("powersave".into()),
        "governor performance against powersave",
    );
    check(&|r| r.conditions.cpu_quota = Some(0.5), "processors allowed no limit told against 0.5");
    check(
        &|r| r.conditions.memory_limit_bytes = Some(600_000_000),
        "memory allowed no limit told against 600.0 MB",
    );
    check(&|r| r.tokens_sha256 = Some("other".into()), "the tokens produced are not the same");
    check(
        &|r| r.conditions.n_throttle_events = Some(3),
        "the processor was throttled on the second side",
    );
    // Other prompts have other answers.
    let other_seed = changed(|r| {
        r.protocol.seed = Some(9);
        r.tokens_sha256 = Some("other".into());
    });
    let comparison = compare(&sample::run("openvino", 2, 1), &other_seed, &STRICT).unwrap();
    let warnings = &comparison.pairs[0].warnings;
    assert!(warnings.contains(&"seed 1 against 9".to_owned()), "{warnings:?}");
    assert!(!warnings.iter().any(|warning| warning.contains("tokens")), "{warnings:?}");
}

#[test]
fn several_configurations_find_each_other() {
    // Both sides differ in the threads, and have the same two corrections.
    let side = |n_threads: usize| {
        let mut records = sample::run("openvino", n_threads, 1);
        let mut corrected = records.clone();
        corrected.iter_mut().for_each(|r| r.configuration.correction = "kls".into());
        records.extend(corrected);
        records
    };
    let comparison = compare(&side(2), &side(1), &STRICT).unwrap();
    assert_eq!(comparison.pairs.len(), side(2).len());
    let only_threads = |pair: &Pair| pair.differences.len() == 1;
    assert!(comparison.pairs.iter().all(only_threads), "{:?}", comparison.pairs[0].differences);
    // One of them is gone: what is left says so.
    let comparison = compare(&side(2), &side(2)[..1], &STRICT).unwrap();
    assert_eq!(comparison.pairs.len(), 1);
    assert!(comparison.only_before.iter().any(|name| name.ends_with("kls")), "{comparison:?}");
    assert!(comparison.only_before.iter().any(|name| name.ends_with("tg128")), "{comparison:?}");
}

#[test]
fn nothing_to_compare_is_an_error() {
    let check = |before: &[Record], after: &[Record], expected: &str| {
        let error = compare(before, after, &STRICT).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    };
    let run = sample::run("openvino", 2, 1);
    check(&[], &run, "the first side has no records");
    check(&run, &[], "the second side has no records");
    check(
        &[sample::prefill(128)],
        &[sample::prefill(512)],
        r#"no test is on both sides: ["openvino · CPU, pp128"] against"#,
    );
    let mut two = changed(|r| r.configuration.model_sha256 = "b".into());
    two.extend(changed(|r| r.configuration.model_sha256 = "c".into()));
    check(&run, &two, "no configuration is on both sides");
    // With several, force tells which belong together, and so what is in the way.
    let mut here = run.clone();
    here.extend(sample::run("onnxruntime", 2, 1));
    let mut there = here.clone();
    there.iter_mut().for_each(|record| record.host = "other".into());
    check(&here, &there, "not comparable: host laptop against other");
    assert_eq!(compare(&here, &there, &FORCED).unwrap().pairs.len(), here.len());
}

#[test]
fn what_was_measured_alike_is_not_put_beside_other_settings() {
    let side = |threads: &[usize]| -> Vec<Record> {
        threads.iter().flat_map(|&n_threads| sample::run("openvino", n_threads, 1)).collect()
    };
    let n_tests = side(&[1]).len();
    let check = |before: &[Record], after: &[Record], expected: [usize; 3]| {
        let found = compare(before, after, &STRICT).unwrap();
        let lengths = [found.pairs.len(), found.only_before.len(), found.only_after.len()];
        assert_eq!(lengths, expected, "{found:?}");
        found
    };
    // Two threads are on both sides: one thread has nothing to do with four.
    let found = check(&side(&[1, 2]), &side(&[2, 4]), [n_tests, 1, 1]);
    assert!(found.pairs.iter().all(|pair| pair.differences.is_empty()));
    check(&side(&[1]), &side(&[4]), [n_tests, 0, 0]);
    // The last test is there with two threads on one side only: that is no reason to take others.
    let mut before = side(&[1, 2]);
    before.pop();
    let found = check(&before, &side(&[2, 4]), [n_tests - 1, 1, 2]);
    assert!(found.pairs.iter().all(|pair| pair.differences.is_empty()));
    // On neither side: then other threads may differ.
    let mut after = side(&[2, 4]);
    after.remove(n_tests - 1);
    let found = check(&before, &after, [n_tests, 1, 1]);
    let across: Vec<_> = found.pairs.iter().filter(|pair| !pair.differences.is_empty()).collect();
    assert_eq!(across.len(), 1);
    assert_eq!(across[0].test, "tg128@d4096");
    assert!(across[0].configuration.ends_with("(threads 1 → 4)"), "{across:?}");
    // Another model is another question.
    let other_model = |n_threads: usize| {
        let mut records = side(&[n_threads]);
        records.iter_mut().for_each(|r| r.configuration.model_sha256 = "b".into());
        records
    };
    let before = [side(&[2]), other_model(1)].concat();
    check(&before, &[side(&[2]), other_model(4)].concat(), [2 * n_tests, 0, 0]);
}

#[test]
fn what_the_second_side_lacks_is_listed() {
    let check = |change: &dyn Fn(&mut Vec<Record>), expected: &[&str]| {
        let before = sample::run("openvino", 2, 1);
        let mut after = before.clone();
        change(&mut after);
        let comparison = compare(&before, &after, &STRICT).unwrap();
        assert_eq!(comparison.missing().collect::<Vec<_>>(), expected);
        assert_eq!(compare(&after, &before, &STRICT).unwrap().missing().count(), 0);
    };
    check(&|_| {}, &[]);
    check(&|records| drop(records.pop()), &["openvino · CPU, tg128@d4096"]);
    check(
        &|records| records[6].memory.peak_rss_bytes = None,
        &["openvino · CPU, tg128@d4096: peak resident, bytes"],
    );
    check(
        &|records| records[0].start.as_mut().unwrap().compile_cold_ms = None,
        &["openvino · CPU, start: cold compile, ms"],
    );
}

#[test]
fn several_revisions_on_a_side_are_told() {
    let side = |revisions: &[&str]| -> Vec<Record> {
        let mut records = Vec::new();
        for (run_idx, revision) in revisions.iter().enumerate() {
            let mut record = sample::run("openvino", 2, run_idx).remove(4);
            record.program.git_revision = Some((*revision).to_owned());
            records.push(record);
        }
        records
    };
    let check = |before: &[&str], after: &[&str], expected: &[&str]| {
        let comparison = compare(&side(before), &side(after), &STRICT).unwrap();
        let warnings = comparison.pairs[0].warnings.iter().map(String::as_str);
        assert_eq!(warnings.collect::<Vec<_>>(), expected);
    };
    check(&["a", "a"], &["b", "b"], &[]);
    check(
        &["a", "b"],
        &["a", "b"],
        &[
            "the first side mixes 2 git revisions of lapwing: a, b",
            "the second side mixes 2 git revisions of lapwing: a, b",
        ],
    );
}

#[test]
fn long_lists_are_counted() {
    let names: Vec<String> = (0..8).map(|n| format!("model {n}")).collect();
    let told = "model 0; model 1; model 2; model 3; model 4; and 3 more";
    assert_eq!(shortened(&names, "; "), told);
    assert_eq!(shortened(&names[..5], "; "), told.trim_end_matches("; and 3 more"));
    assert_eq!(shortened(&[], "; "), "");
}

#[test]
fn a_correction_is_named_whole() {
    let name = "a-model-with-a-rather-long-name-int4.cpu.correction.json";
    let run = sample::run("openvino", 2, 1);
    let corrected = changed(|record| record.configuration.correction = name.into());
    let comparison = compare(&run, &corrected, &FORCED).unwrap();
    let configuration = &comparison.pairs[0].configuration;
    assert!(configuration.contains(name), "{configuration}");
}

#[test]
fn use_is_compared_with_nothing() {
    let run = sample::run("openvino", 2, 1);
    let with_use = [run.clone(), vec![sample::in_use(1), sample::in_use(2)]].concat();
    let comparison = compare(&with_use, &with_use, &STRICT).unwrap();
    assert_eq!(comparison, compare(&run, &run, &STRICT).unwrap());
    let only = [sample::in_use(1)];
    for (before, after, side) in [(&only[..], &run[..], "first"), (&run, &only, "second")] {
        let error = compare(before, after, &FORCED).unwrap_err();
        assert_eq!(error, CompareError::OnlyUse { side });
    }
}
