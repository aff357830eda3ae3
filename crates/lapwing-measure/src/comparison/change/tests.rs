use super::*;
use crate::report::sample;

/// A decode record with these milliseconds for 128 tokens.
fn decode(samples_ms: &[f64]) -> Record {
    let mut record = sample::decode(0);
    let latency = record.latency.as_mut().unwrap();
    latency.samples_ms = samples_ms.to_vec();
    let median_ms = Samples::new(samples_ms).unwrap().median();
    latency.tokens_per_s.median = 128_000.0 / median_ms;
    latency.inter_token_ms.as_mut().unwrap().p50 = median_ms / 128.0;
    record
}

fn changes(metric: Metric, before: &[Record], after: &[Record]) -> Change {
    let [before, after] = [before, after].map(|side| side.iter().collect::<Vec<_>>());
    change(metric, &before, &after).unwrap()
}

const STEADY: [f64; 5] = [1000.0, 1001.0, 999.0, 1000.5, 999.5];

fn scaled(factor: f64) -> Record {
    decode(&STEADY.map(|ms| ms * factor))
}

#[test]
fn single_runs_must_differ_by_more_than_runs_do() {
    let check = |factor: f64, expected: Verdict| {
        let found = changes(Metric::DecodeTokensPerS, &[scaled(1.0)], &[scaled(factor)]);
        assert_eq!(found.verdict, expected, "{factor}: {found:?}");
        assert_eq!(found.interval_from, IntervalFrom::Repetitions);
        assert!((found.ratio - 1.0 / factor).abs() < 1e-9);
        let [low, high] = [found.ratio_low.unwrap(), found.ratio_high.unwrap()];
        assert!(low < found.ratio && found.ratio < high, "{found:?}");
    };
    check(1.0, Verdict::NoDifferenceShown);
    // Beyond the interval by far, and no more than what runs differ by.
    check(1.04, Verdict::NoDifferenceShown);
    check(1.0 / 1.04, Verdict::NoDifferenceShown);
    check(1.07, Verdict::Slower);
    check(1.0 / 1.07, Verdict::Faster);
}

#[test]
fn several_runs_show_smaller_differences_unless_they_disagree() {
    let runs = |factors: [f64; 4]| factors.map(scaled);
    let check = |after: [f64; 4], expected: Verdict| {
        let before = runs([1.0, 1.002, 0.999, 1.001]);
        let found = changes(Metric::DecodeTokensPerS, &before, &runs(after));
        assert_eq!(found.verdict, expected, "{found:?}");
        assert_eq!((found.interval_from, found.n_runs_after), (IntervalFrom::Runs, 4));
    };
    check([1.03, 1.031, 1.029, 1.03], Verdict::Slower);
    check([1.005, 1.004, 1.006, 1.005], Verdict::NoDifferenceShown);
    // Each run is sure of itself, and they contradict each other.
    check([1.10, 0.92, 1.12, 0.95], Verdict::NoDifferenceShown);
}

#[test]
fn scattered_repetitions_show_nothing() {
    let before = decode(&[1000.0, 1500.0, 800.0, 1300.0, 900.0]);
    let after = decode(&[1200.0, 1600.0, 900.0, 1400.0, 1000.0]);
    let found = changes(Metric::DecodeTokensPerS, &[before], &[after]);
    assert!(found.ratio < 0.9, "{found:?}");
    assert_eq!(found.verdict, Verdict::NoDifferenceShown, "{found:?}");
}

#[test]
fn single_numbers_have_no_interval_and_wider_limits() {
    let with_peak = |n_bytes: u64| {
        let mut record = sample::start();
        record.memory.peak_rss_bytes = Some(n_bytes);
        record
    };
    let check = |n_bytes: u64, expected: Verdict| {
        let found = changes(Metric::PeakRssBytes, &[with_peak(1000)], &[with_peak(n_bytes)]);
        assert_eq!((found.verdict, found.ratio_low), (expected, None), "{n_bytes}");
        assert_eq!(found.interval_from, IntervalFrom::Nothing);
    };
    check(1020, Verdict::NoDifferenceShown);
    check(1040, Verdict::More);
    check(950, Verdict::Less);
}

#[test]
fn intervals_of_records_are_put_together() {
    let with_ttft = |median: f64, width: f64| {
        let mut record = sample::prefill(512);
        let ttft = record.latency.as_mut().unwrap().ttft_ms.as_mut().unwrap();
        ttft.median = median;
        ttft.low = Some(median / width);
        ttft.high = Some(median * width);
        record
    };
    let check = |width: f64, expected: Verdict| {
        let (before, after) = (with_ttft(100.0, width), with_ttft(110.0, width));
        let found = changes(Metric::TimeToFirstTokenMs, &[before], &[after]);
        assert_eq!((found.verdict, found.interval_from), (expected, IntervalFrom::Records));
        let factor = (2f64.sqrt() * width.ln()).exp();
        assert!((found.ratio_high.unwrap() - 1.1 * factor).abs() < 1e-9, "{found:?}");
    };
    check(1.02, Verdict::Slower);
    check(1.10, Verdict::NoDifferenceShown);
}

#[test]
fn a_regression_is_certain_and_beyond_the_limit() {
    let check = |factor: f64, share: f64, expected: bool| {
        let found = changes(Metric::DecodeTokensPerS, &[scaled(1.0)], &[scaled(factor)]);
        assert_eq!(found.is_regression(share), expected, "{factor} {share}");
    };
    // A tenth more time is a loss of one token in eleven.
    check(1.10, 0.05, true);
    check(1.10, 0.095, false);
    check(1.10, 0.09, true);
    check(0.90, 0.0, false);
    // Within what runs differ by, whatever the limit.
    check(1.04, 0.0, false);
}

#[test]
fn without_an_interval_only_more_memory_is_a_regression() {
    let start = |factor: f64| {
        let mut record = sample::start();
        let start = record.start.as_mut().unwrap();
        start.compile_cold_ms = start.compile_cold_ms.map(|ms| ms * factor);
        record.memory.peak_rss_bytes =
            record.memory.peak_rss_bytes.map(|n| (n as f64 * factor) as u64);
        record
    };
    let check = |metric: Metric, verdict: Verdict, expected: bool| {
        let found = changes(metric, &[start(1.0)], &[start(1.5)]);
        assert_eq!((found.verdict, found.has_interval()), (verdict, false), "{found:?}");
        assert_eq!(found.is_regression(0.05), expected, "{found:?}");
    };
    check(Metric::CompileColdMs, Verdict::Slower, false);
    check(Metric::PeakRssBytes, Verdict::More, true);
    // With several runs there is an interval.
    let before = [start(1.0), start(1.01), start(0.99)];
    let after = [start(1.5), start(1.51), start(1.49)];
    assert!(changes(Metric::CompileColdMs, &before, &after).is_regression(0.05));
}
