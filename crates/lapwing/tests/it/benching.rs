//! `lapwing bench`: records of real exports, what is refused before anything is measured, and what
//! is left when it is broken off.
#![cfg(unix)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lapwing_files::Allowance;
use lapwing_measure::record::{Cache, Record, TestKind};
use lapwing_measure::record_file;
use serde_json::{Value, json};

use crate::evaluating::Lab;
use crate::files_below;
use crate::real::or_skip;

const SMALL: &str = "stories260k-ov-int4";
/// Some tests of a model that is over in no time.
const QUICK: [&str; 6] = ["-p", "16", "-n", "8", "--time", "300ms"];

struct Bench {
    lab: Lab,
    model: String,
}

impl Bench {
    fn new() -> Option<Bench> {
        let lab = Lab::new()?;
        let model = lab.export(SMALL);
        Some(Bench { lab, model })
    }

    fn arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["bench", "--model", &self.model], &QUICK[..], more].concat()
    }

    fn out(&self) -> PathBuf {
        self.lab.lapwing.path("records/out.jsonl")
    }

    /// Many repetitions of a quick test and then of a long one.
    fn long(&self) -> Vec<String> {
        let out = self.out();
        let line = ["bench", "--model", &self.model, "--skip-start", "--repetitions", "400"];
        let line = [&line[..], &["-p", "16", "-n", "60", "--out", out.to_str().unwrap()]].concat();
        line.into_iter().map(str::to_owned).collect()
    }

    /// Start what [`Bench::long`] says and wait for its first record.
    fn start(&self) -> Child {
        let line = self.long();
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        let mut command = self.lab.lapwing.command(&line);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.as_mut().unwrap());
        let mut lines = stderr.lines().map(Result::unwrap);
        assert!(lines.any(|line| line.starts_with("pp16: ")), "the first record is told");
        child
    }
}

#[track_caller]
fn records(path: &Path) -> Vec<Record> {
    record_file::read(path).unwrap().into_iter().map(Result::unwrap).collect()
}

fn signal(name: &str, process_id: u32) {
    let id = process_id.to_string();
    let killed = Command::new("kill").args([name, &id]).status();
    assert!(killed.unwrap().success());
}

/// Children of a process.
fn children(process_id: u32) -> Vec<u32> {
    let tasks = format!("/proc/{process_id}/task/{process_id}/children");
    let text = std::fs::read_to_string(tasks).unwrap();
    text.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

#[test]
fn every_field_of_a_record_has_a_value_or_a_reason() {
    let Some(bench) = Bench::new() else { return };
    let other = bench.lab.export("smollm2-135m-instruct-ort-int4");
    let out = bench.out();
    let more = ["--model", &other, "--json", "--out", out.to_str().unwrap()];
    let outcome = bench.lab.run(&bench.arguments(&more)).expect_code(0);
    let found = records(&out);
    let printed: Vec<Record> =
        outcome.stdout.lines().map(|line| Record::parse(line.as_bytes()).unwrap()).collect();
    assert_eq!(printed, found, "what is printed is what is kept");
    assert_eq!(found.len(), 6, "three tests of two models");
    for record in &found {
        assert_eq!(record.missing_reasons(), [""; 0]);
        assert_eq!(record.needless_reasons(), [""; 0]);
        assert_eq!(record.run_id, found[0].run_id);
        assert!(record.protocol.is_isolated && record.protocol.n_repetitions >= 3);
        let memory = &record.memory;
        let [idle, loaded] = [memory.idle_rss_bytes, memory.loaded_rss_bytes].map(Option::unwrap);
        let peak = memory.peak_rss_bytes.unwrap();
        assert!(idle < loaded && loaded <= peak, "{memory:?}");
        match record.test.kind {
            TestKind::Start => check_start(record),
            TestKind::Prefill => {
                assert!(record.step_us.is_none() && record.latency.is_some());
                assert!(memory.prefilled_rss_bytes.is_some());
            }
            TestKind::Decode => check_decode(record),
            TestKind::Use => panic!("nobody measures use"),
        }
    }
    let mut names: Vec<_> = found.iter().map(|record| record.test.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["pp16", "pp16", "start", "start", "tg8", "tg8"]);
    let left = files_below(out.parent().unwrap());
    assert_eq!(left, ["out.jsonl", "out.jsonl.lock"], "no note of a run that is over");
    let caches = files_below(&bench.lab.lapwing.path("cache"));
    assert!(caches.iter().all(|file| !file.starts_with("bench-")), "{caches:?}");
}

fn check_start(record: &Record) {
    let start = record.start.as_ref().unwrap();
    let process_ms = start.process_start_to_first_token_ms.unwrap();
    let inside_ms = start.read_ms.unwrap_or_default() + start.first_inference_ms.unwrap();
    assert!(inside_ms < process_ms, "{start:?}");
    match record.configuration.backend.as_str() {
        "openvino" => {
            assert_eq!(start.cache, Cache::Hit);
            assert!(0.0 < start.read_ms.unwrap(), "{start:?}");
            assert!(start.compile_warm_ms.unwrap() < start.compile_cold_ms.unwrap(), "{start:?}");
            assert!(start.cache_blob_bytes.unwrap() > 0);
        }
        _ => {
            assert_eq!((start.cache, start.compile_warm_ms), (Cache::None, None));
            assert_eq!(start.read_ms, None, "read and compiled in one call");
        }
    }
}

fn check_decode(record: &Record) {
    let latency = record.latency.as_ref().unwrap();
    let gaps = latency.inter_token_ms.as_ref().unwrap();
    assert_eq!(gaps.n as usize, 8 * record.protocol.n_repetitions);
    assert!(gaps.p50 <= gaps.p90 && gaps.p90 <= gaps.p99 && gaps.p99 <= gaps.max);
    let steps = record.step_us.as_ref().unwrap();
    assert!(0.0 < steps.inference.unwrap() && steps.inference.unwrap() < steps.total);
    assert!(steps.detokenizer.is_some() && steps.correction.is_none());
    assert!(record.memory.decoding_pss_bytes.is_some());
    assert!(record.memory.kv_bytes.unwrap() > 0);
}

#[test]
fn the_same_model_says_the_same_whatever_else_is_measured() {
    let Some(bench) = Bench::new() else { return };
    let out = bench.out();
    let more = ["--skip-start", "--threads", "1,2,1", "--repetitions", "1"];
    let more = [&more[..], &["--precision", "exact", "--out", out.to_str().unwrap()]].concat();
    bench.lab.run(&bench.arguments(&more)).expect_code(0);
    let found = records(&out);
    assert_eq!(found.len(), 4, "nothing is measured twice");
    let of = |name: &str| -> Vec<&Record> {
        found.iter().filter(|record| record.test.name == name).collect()
    };
    for pair in [of("pp16"), of("tg8")] {
        assert_eq!(pair[0].tokens_sha256, pair[1].tokens_sha256);
        assert_ne!(pair[0].configuration.n_threads, pair[1].configuration.n_threads);
        assert_eq!(pair[0].missing_reasons(), [""; 0], "one repetition has no interval");
    }
}

#[test]
fn auto_without_a_profile_is_off_and_measured_once() {
    let Some(bench) = Bench::new() else { return };
    let out = bench.out();
    let more = ["--skip-start", "--correction", "off,auto", "--repetitions", "1", "-n", "0"];
    let line = bench.arguments(&[&more[..], &["--out", out.to_str().unwrap()]].concat());
    let outcome = bench.lab.run(&line).expect_code(0);
    outcome.expect_says(&["--correction auto is off for", "there is no profile"]);
    let found = records(&out);
    assert_eq!(found.iter().map(|r| &r.configuration.correction).collect::<Vec<_>>(), ["off"; 2]);
}

#[test]
fn a_variant_that_was_set_for_all_models_is_left_out_where_there_is_no_choice() {
    let Some(bench) = Bench::new() else { return };
    let out = bench.out();
    let settings = bench.lab.lapwing.path("lapwing.toml");
    std::fs::write(&settings, "variant = \"q4\"\n").unwrap();
    let more = ["--skip-start", "--repetitions", "1", "-n", "0", "--out", out.to_str().unwrap()];
    bench.lab.run(&bench.arguments(&more)).expect_code(0);
    assert!(records(&out).iter().all(|record| record.configuration.variant.is_none()));
}

#[test]
fn two_models_of_one_name_get_no_recommendation() {
    let Some(bench) = Bench::new() else { return };
    let copy = bench.lab.lapwing.path(SMALL);
    std::fs::create_dir(&copy).unwrap();
    for name in files_below(Path::new(&bench.model)) {
        std::fs::copy(Path::new(&bench.model).join(&name), copy.join(&name)).unwrap();
    }
    let graph = copy.join("openvino_model.xml");
    let text = std::fs::read_to_string(&graph).unwrap();
    std::fs::write(&graph, format!("{text}\n")).unwrap();
    let more = ["--model", copy.to_str().unwrap(), "--recommend", "throughput"];
    let outcome = bench.lab.run(&bench.arguments(&more)).expect_code(2);
    outcome.expect_says(&["two models are named stories260k-ov-int4", "hint: "]);
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_measured() {
    let Some(bench) = Bench::new() else { return };
    let check = |more: &[&str], code: i32, says: &[&str]| {
        let outcome = bench.lab.run(&bench.arguments(more)).expect_code(code).expect_says(says);
        assert_eq!(outcome.stdout, "", "{more:?}");
    };
    check(&["--device", "gpu"], 1, &["no device `gpu` here", "hint: gpu: "]);
    check(&["-d", "510"], 2, &["needs 518 positions", "room for 512", "hint: "]);
    let most = usize::MAX.to_string();
    check(&["-n", &most], 2, &["room for 512", "hint: "]);
    check(&["-d", &most], 2, &["room for 512", "hint: "]);
    check(&["--backend", "ort"], 1, &["does not run openvino-ir folders", "hint: "]);
    // Lists of several options are one: `QUICK` asks for something already.
    let nothing = ["bench", "--model", &bench.model, "-p", "0", "-n", "0", "--skip-start"];
    bench.lab.run(&nothing).expect_code(2).expect_says(&["nothing to measure", "hint: "]);
    check(&["--resume", "0123456789abcdef"], 1, &["no unfinished run", "hint: "]);
    check(&["--model", "nonesuch"], 1, &["cannot open the model", "hint: "]);
    let folder = bench.lab.lapwing.path("");
    check(&["--out", folder.to_str().unwrap()], 1, &["cannot keep records", "hint: "]);
    let taken = bench.lab.lapwing.path("taken");
    std::fs::write(&taken, "a file").unwrap();
    let below = taken.join("out.jsonl");
    check(&["--out", below.to_str().unwrap()], 1, &["cannot keep records", "hint: "]);
    // To open a pipe is to wait for its other end.
    let pipe = bench.lab.lapwing.path("pipe.jsonl");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    check(&["--out", pipe.to_str().unwrap()], 1, &["pipe.jsonl is not a file", "hint: "]);
    let mut permissions = std::fs::metadata(&taken).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&taken, permissions).unwrap();
    check(&["--out", taken.to_str().unwrap()], 1, &["taken: it is read-only", "hint: "]);
}

#[test]
fn a_configuration_that_fails_leaves_the_others_alone() {
    let Some(bench) = Bench::new() else { return };
    let (out, refused) = (bench.out(), bench.lab.export("stories260k-ort-int4"));
    let more = ["--model", &refused, "--skip-start", "--out", out.to_str().unwrap()];
    let outcome = bench.lab.run(&bench.arguments(&more)).expect_code(1);
    let outcome = outcome.expect_says(&["heads of size 8", "1 of 2 configurations", "hint: "]);
    assert!(outcome.stdout.contains("failed"), "{}", outcome.stdout);
    assert_eq!(records(&out).len(), 2);
}

#[test]
fn a_killed_run_leaves_a_valid_file_and_goes_on() {
    let Some(bench) = Bench::new() else { return };
    let mut child = bench.start();
    signal("-KILL", child.id());
    child.wait().unwrap();
    let before = records(&bench.out());
    assert_eq!(before.len(), 1);
    let line = bench.long();
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    let outcome = bench.lab.run(&line).expect_code(0);
    outcome.expect_says(&["going on with run", &before[0].run_id, "1 of 2 measurements"]);
    let after = records(&bench.out());
    assert_eq!((after.len(), &after[0]), (2, &before[0]), "nothing is measured twice");
    assert_eq!(after[1].run_id, before[0].run_id);
    let left = files_below(bench.out().parent().unwrap());
    assert_eq!(left, ["out.jsonl", "out.jsonl.lock"]);
}

#[test]
fn a_killed_process_is_told_with_its_signal() {
    let Some(bench) = Bench::new() else { return };
    let mut child = bench.start();
    // The process of the first test may be there still, or end by itself before the signal comes:
    // its end changes nothing.
    while child.try_wait().unwrap().is_none() {
        for worker in children(child.id()) {
            let worker = worker.to_string();
            Command::new("kill").args(["-KILL", &worker]).output().unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("(signal 9)") && stderr.contains("hint: "), "{stderr}");
    assert_eq!(records(&bench.out()).len(), 1);
}

#[test]
fn ctrl_c_keeps_what_is_complete() {
    let Some(bench) = Bench::new() else { return };
    let child = bench.start();
    let worker = children(child.id());
    signal("-INT", child.id());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8(output.stdout).unwrap().contains("pp16"));
    assert_eq!(records(&bench.out()).len(), 1);
    assert!(!Path::new(&format!("/proc/{}", worker[0])).exists(), "no process is left");
}

#[test]
fn ctrl_c_ends_the_wait_for_a_locked_file() {
    let Some(bench) = Bench::new() else { return };
    let out = bench.out();
    std::fs::create_dir_all(out.parent().unwrap()).unwrap();
    let held = std::fs::File::create(out.with_extension("jsonl.lock")).unwrap();
    held.lock().unwrap();
    let more = ["--skip-start", "-n", "0", "--repetitions", "1", "--out", out.to_str().unwrap()];
    let mut command = bench.lab.lapwing.command(&bench.arguments(&more));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Long enough for the record, which is all there is to measure; too soon is no failure.
    std::thread::sleep(Duration::from_secs(2));
    assert!(child.try_wait().unwrap().is_none(), "it waits for the lock");
    signal("-INT", child.id());
    let deadline = Instant::now() + Duration::from_secs(10);
    while child.try_wait().unwrap().is_none() {
        if deadline < Instant::now() {
            child.kill().unwrap();
            panic!("it does not hear the signal");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(!out.exists());
    let stderr = String::from_utf8(output.stderr).unwrap();
    if stderr.contains("the record above") {
        let stdout = String::from_utf8(output.stdout).unwrap();
        Record::parse(stdout.lines().next().unwrap().as_bytes()).unwrap();
    }
}

#[test]
fn a_recommendation_is_what_auto_means() {
    let Some(bench) = Bench::new() else { return };
    let settings = bench.lab.lapwing.path("lapwing.toml");
    std::fs::write(&settings, "# mine\nthreads = 2\n").unwrap();
    let more = ["--all-devices", "--recommend", "throughput", "--skip-start"];
    let outcome = bench.lab.run(&bench.arguments(&more)).expect_code(0);
    outcome.expect_says(&["recommended: cpu for stories260k-ov-int4", "tokens/s"]);
    assert_eq!(std::fs::read_to_string(&settings).unwrap(), "# mine\nthreads = 2\n");
    let file = bench.lab.lapwing.path("recommendations.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let run = ["run", "--model", &bench.model, "--prompt", "Once", "--max-tokens", "2"];
    let answer = || bench.lab.run(&run).expect_code(0);
    answer().expect_says(&["device cpu for stories260k-ov-int4", "tokens/s", "--device"]);
    let quiet = bench.lab.run(&[&run[..], &["--quiet"]].concat()).expect_code(0);
    assert_eq!(quiet.stderr, "");
    std::fs::write(&file, text.replace("\"cpu\"", "\"gpu\"")).unwrap();
    answer().expect_says(&["the recommended device is not here"]);
    let of_others = text.replace("\"model_bytes\": ", "\"model_bytes\": 1");
    std::fs::write(&file, &of_others).unwrap();
    answer().expect_says(&["for other files of that name"]);
    std::fs::write(&file, "{\"stories260k").unwrap();
    answer().expect_says(&["recommendations.json is broken", "mend the file or remove it"]);
    std::fs::write(&file, of_others).unwrap();
    // `auto` itself would be no recommendation.
    let outcome = bench.lab.run(&bench.arguments(&["--recommend", "latency", "--skip-start"]));
    let says = ["recommended: cpu for stories260k-ov-int4", "latency", "pp16 + tg8"];
    outcome.expect_code(0).expect_says(&says);
    let more = ["--recommend", "memory", "--skip-start", "--threads", "1,2"];
    let outcome = bench.lab.run(&bench.arguments(&more)).expect_code(0);
    outcome.expect_says(&["only cpu was measured", "the recommendation stays", "latency"]);
    let outcome = bench.lab.run(&bench.arguments(&["--recommend", "energy", "--skip-start"]));
    // Where there is a sensor there is a recommendation.
    if outcome.code != Some(0) {
        outcome.expect_code(1).expect_says(&["no device can be recommended", "hint: "]);
    }
}

/// Records of other programs are compared with ours.
#[test]
fn what_a_container_allows_is_read_of_peers_as_of_lapwing() {
    const TWO: &str = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    const ONE: &str = "31 30 0:27 / /sys/fs/cgroup/cpu rw shared:1 - cgroup cgroup rw,cpu\n\
        32 30 0:28 /docker/a /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    let python = |root: &Path| {
        let code = "import json, sys; import peer_conditions as p; \
                    print(json.dumps(p.allowance(sys.argv[1])))";
        let benches = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches");
        let mut command = Command::new("python3");
        command.args(["-c", code]).arg(root).env("PYTHONPATH", benches);
        command.env("PYTHONDONTWRITEBYTECODE", "1").output().ok()
    };
    let folder = tempfile::tempdir().unwrap();
    let mut n_limited = 0;
    let machines: [&[(&str, &str)]; 5] = [
        &[],
        &[("proc/self/mountinfo", TWO), ("proc/self/cgroup", "0::/a/b\n")],
        &[
            ("proc/self/mountinfo", TWO),
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/a/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/a/b/memory.max", "8000000000\n"),
            ("sys/fs/cgroup/a/memory.max", "4000000000\n"),
        ],
        &[
            ("proc/self/mountinfo", TWO),
            ("proc/self/cgroup", "0::/../outside\n"),
            ("sys/fs/cgroup/cpu.max", "50000 100000\n"),
            ("sys/fs/cgroup/memory.max", "max\n"),
        ],
        &[
            ("proc/self/mountinfo", ONE),
            ("proc/self/cgroup", "4:cpu,cpuacct:/docker/a\n3:memory:/docker/a\n0::/\n"),
            ("sys/fs/cgroup/cpu/docker/a/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/docker/cpu.cfs_quota_us", "250000\n"),
            ("sys/fs/cgroup/cpu/docker/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ],
    ];
    for (machine_idx, files) in machines.into_iter().enumerate() {
        let root = folder.path().join(machine_idx.to_string());
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let Some(output) = or_skip(python(&root), "no python3") else { return };
        let said = String::from_utf8_lossy(&output.stderr);
        let found: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
        let Allowance { n_cpus, memory_bytes } = Allowance::below(&root);
        let expected = json!({"cpu_quota": n_cpus, "memory_limit_bytes": memory_bytes});
        assert_eq!(found, expected, "{files:?}");
        n_limited += usize::from(n_cpus.is_some()) + usize::from(memory_bytes.is_some());
    }
    assert_eq!(n_limited, 4, "that is tried at all");
}
