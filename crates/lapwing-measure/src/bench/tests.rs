//! Rounds over stations that pretend.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use lapwing_backend::MemoryBreakdown;

use super::*;
use crate::measuring::{Nulls, Run, StopRule, Timed, Work};
use crate::memory::Footprint;
use crate::reading::{Reading, Reason};
use crate::record::{
    Cache, Configuration, Energy, Program, Record, StoppedBecause, Test, TestKind, samples,
};

/// The second of two configurations does not open.
struct Pretended {
    caches: tempfile::TempDir,
    /// What was asked of stations, in order.
    asked: RefCell<Vec<String>>,
    n_runs: Cell<usize>,
}

struct Pretender<'a> {
    stations: &'a Pretended,
    started: Instant,
}

impl Pretended {
    fn new() -> Pretended {
        let caches = tempfile::tempdir().unwrap();
        Pretended { caches, asked: RefCell::default(), n_runs: Cell::new(0) }
    }
}

impl Stations for Pretended {
    fn start(&self) -> Result<Box<dyn Station + '_>, StationError> {
        Ok(Box::new(Pretender { stations: self, started: Instant::now() }))
    }

    fn caches(&self) -> &Path {
        self.caches.path()
    }
}

impl Station for Pretender<'_> {
    fn started(&self) -> Instant {
        self.started
    }

    fn open(
        &mut self,
        configuration_idx: usize,
        cache: Option<&Path>,
    ) -> Result<Opened, StationError> {
        let with = if cache.is_some() { " with a cache" } else { "" };
        self.stations.asked.borrow_mut().push(format!("open {configuration_idx}{with}"));
        if configuration_idx == 1 {
            return Err(StationError::Failed("it does not fit".into()));
        }
        Ok(Opened {
            configuration: configuration(configuration_idx),
            memory: MemoryBreakdown::default(),
            notices: vec!["it is slow".into()],
            has_tokenizer: true,
            read_ms: None,
            compile_ms: 2.0,
            cache: Cache::Hit,
            cache_blob_bytes: 9,
        })
    }

    fn footprint(&mut self) -> Result<Footprint, StationError> {
        Ok(Footprint { rss_bytes: Ok(1), pss_bytes: Ok(2), peak_rss_bytes: Ok(3) })
    }

    fn watch_energy(&mut self) -> Result<(), StationError> {
        Ok(())
    }

    fn energy(&mut self, _n_tokens: u64) -> Result<(Reading<Energy>, Nulls), StationError> {
        Ok((Err(Reason::new("no sensor")), Nulls::new()))
    }

    fn run(&mut self, work: &Work, _looks_at: LooksAt) -> Result<Ran, StationError> {
        self.stations.n_runs.set(self.stations.n_runs.get() + 1);
        let what = format!("run {:?} {} {}", work.timed, work.n_prompt_tokens, work.run_idx);
        self.stations.asked.borrow_mut().push(what);
        let n_tokens = if work.timed == Timed::Decode { work.n_steps + 1 } else { 1 };
        let (steps, token_ids) = (Vec::new(), vec![7; n_tokens]);
        let run = Run { total_ms: 4.0, ttft_ms: 1.0, steps, token_ids, wall_ms: 5.0 };
        Ok(Ran { run, prefilled: None, decoded: None })
    }
}

fn configuration(idx: usize) -> Configuration {
    Configuration { n_threads: Some(idx + 1), ..samples::decode().configuration }
}

fn plan(n_configurations: usize, tests: Vec<Test>) -> Plan {
    let planned = |idx| Planned {
        configuration: configuration(idx),
        keeps_compiled: true,
        profiles_sha256: Vec::new(),
    };
    Plan { configurations: (0..n_configurations).map(planned).collect(), tests }
}

/// What is told when two repetitions of everything are asked for, and how it ends.
fn measure(
    plan: &Plan,
    stations: &Pretended,
    done: &[usize],
    stop: &dyn Fn() -> bool,
) -> (Vec<Record>, Vec<String>, Result<(), BrokenOff<()>>) {
    let (time_budget, relative_width) = (Duration::ZERO, 0.04);
    let rule = StopRule { n_repetitions: Some(2), time_budget, relative_width };
    let program = Program { name: "p".into(), version: Some("1".into()), git_revision: None };
    let header = Header { run_id: "r".into(), host: "h".into(), program };
    let done: BTreeSet<usize> = done.iter().copied().collect();
    let repeating = Repeating { rule, n_warmups: 1, seed: 1 };
    let rounds = Rounds { plan, header: &header, repeating, stations, done: &done, stop };
    let (mut records, mut told) = (Vec::new(), Vec::new());
    let outcome = rounds.measure(&mut |notice| {
        match notice {
            Notice::Step { test, order_idx, stage, .. } => {
                told.push(format!("{} {order_idx} {stage:?}", test.name));
            }
            Notice::Said(said) => told.push(said.to_owned()),
            Notice::Record(record) => records.push(*record),
            Notice::Failure { planned, test, error } => {
                let of_rest = planned.label_of_rest();
                told.push(format!("{} of {of_rest}: {error}", test.name));
            }
        }
        Ok(())
    });
    (records, told, outcome)
}

#[test]
fn who_fails_is_left_out_and_the_others_are_measured() {
    let stations = Pretended::new();
    let plan = plan(2, vec![Test::start(4), Test::prefill(16, 0), Test::decode(8, 2)]);
    let (records, told, outcome) = measure(&plan, &stations, &[], &|| false);
    assert!(outcome.is_ok());
    assert_eq!(records.iter().map(|r| r.protocol.order_idx).collect::<Vec<_>>(), [0, 2, 4]);
    for record in &records {
        assert_eq!(record.missing_reasons(), [""; 0], "{}", record.test.name);
        assert_eq!(record.needless_reasons(), [""; 0], "{}", record.test.name);
        assert_eq!(record.configuration, configuration(0));
        assert_eq!(record.protocol.n_repetitions, 2);
        assert_eq!(record.protocol.stopped_because, StoppedBecause::Repetitions);
        assert_eq!(record.memory.loaded_pss_bytes, Some(2));
    }
    let start = records[0].start.as_ref().unwrap();
    assert_eq!((start.compile_warm_ms, start.cache_blob_bytes), (Some(2.0), Some(9)));
    let expected = [
        "start 0 Opening",
        "start 1 Opening",
        "start of openvino auto 2 thr correction tiny-model-int8.gpu: it does not fit",
        "start 0 Repetition(1)",
        "start 0 Repetition(2)",
        "pp16 2 Opening",
        "it is slow",
        "pp16 2 Repetition(1)",
        "pp16 2 Repetition(2)",
        "tg8@d2 4 Opening",
        "it is slow",
        "tg8@d2 4 Repetition(1)",
        "tg8@d2 4 Repetition(2)",
    ];
    assert_eq!(told, expected);
    // Each start is one without and one with what the first left in the cache.
    let asked = stations.asked.into_inner();
    let n_opened = asked.iter().filter(|asked| *asked == "open 0 with a cache").count();
    assert_eq!(n_opened, 6, "a warm-up and two repetitions: {asked:?}");
    let decodes = ["run Decode 2 0", "run Decode 2 1", "run Decode 2 2"];
    assert_eq!(asked[asked.len() - 4], "open 0");
    assert_eq!(asked[asked.len() - 3..], decodes);
    assert_eq!(std::fs::read_dir(stations.caches.path()).unwrap().count(), 0, "no cache is left");
}

#[test]
fn what_is_done_is_not_measured_again() {
    let stations = Pretended::new();
    let plan = plan(1, vec![Test::prefill(16, 0), Test::decode(8, 0)]);
    let (records, _, outcome) = measure(&plan, &stations, &[0], &|| false);
    assert!(outcome.is_ok());
    let kinds: Vec<TestKind> = records.iter().map(|record| record.test.kind).collect();
    assert_eq!(kinds, [TestKind::Decode]);
}

#[test]
fn what_is_complete_was_told_when_it_is_stopped() {
    let stations = Pretended::new();
    let plan = plan(1, vec![Test::prefill(16, 0), Test::decode(8, 0)]);
    // A warm-up and two repetitions are the first test.
    let stop = || 3 <= stations.n_runs.get();
    let (records, _, outcome) = measure(&plan, &stations, &[], &stop);
    assert!(matches!(outcome, Err(BrokenOff::Stopped)), "{outcome:?}");
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].test.kind, TestKind::Prefill);
}

#[test]
fn a_test_that_does_not_fit_is_named() {
    let mut plan = plan(1, vec![Test::decode(8, 505)]);
    plan.configurations[0].configuration.n_positions_max = Some(512);
    let error = plan.check_room().unwrap_err();
    assert!(error.to_string().starts_with("tg8@d505 needs 513 positions, and "), "{error}");
    plan.configurations[0].configuration.n_positions_max = Some(513);
    assert_eq!(plan.check_room(), Ok(()));
}

#[test]
fn tests_are_the_cheapest_first_and_none_twice() {
    let names = |tests: Vec<Test>| tests.into_iter().map(|test| test.name).collect::<Vec<_>>();
    let found = names(tests(true, &[512, 0, 128, 512], &[64], &[1024, 0, 0]));
    assert_eq!(found, ["start", "pp128", "pp512", "tg64", "tg64@d1024"]);
    assert!(tests(false, &[0], &[0], &[0]).is_empty());
}
