//! `--device`: the ladder of `auto`, trials in a process of their own, and what is remembered, with
//! a pretended OpenVINO that offers a GPU and an NPU.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fake_openvino::{Call, Script, VARIABLE, calls, folder, write_model};
use crate::{Lapwing, Outcome};

/// Facts about weights that an NPU cannot take.
const ASYMMETRIC: &str = "<nncf><weight_compression><mode value=\"int4_asym\"/>\
                          <group_size value=\"64\"/></weight_compression></nncf>";

/// The program on a pretended laptop.
struct Laptop {
    lapwing: Lapwing,
    script: Script,
    played: tempfile::TempDir,
}

impl Laptop {
    fn new(rt_info: &str) -> Laptop {
        let played = tempfile::tempdir().unwrap();
        let script = Script::laptop(played.path());
        let path = script.write().display().to_string();
        let lapwing = Lapwing::new()
            .with("OPENVINO_INSTALL_DIR", folder().display().to_string())
            .with(VARIABLE, path);
        write_model(&lapwing.path("model"), 50, rt_info);
        Laptop { lapwing, script, played }
    }

    /// The same laptop on which something goes wrong.
    fn with_faults(faults: &[&str]) -> Laptop {
        let laptop = Laptop::new("");
        laptop.play(faults);
        laptop
    }

    /// From now on, these go wrong and no others.
    fn play(&self, faults: &[&str]) {
        let script = faults
            .iter()
            .fold(self.script.clone(), |script, fault| script.line(&format!("fault {fault}")));
        script.write();
    }

    fn run(&self, device: &str) -> Outcome {
        self.run_with(device, &["-n", "2"])
    }

    fn run_with(&self, device: &str, more: &[&str]) -> Outcome {
        let model = self.lapwing.path("model").display().to_string();
        let line = ["run", "--model", &model, "--prompt-ids", "1,2,3", "--json"];
        self.lapwing.run(&[&line[..], &["--device", device], more].concat())
    }

    /// What was asked of the library since the last time.
    fn asked(&self) -> Vec<Call> {
        let found = calls(self.played.path());
        let _ = std::fs::remove_file(self.played.path().join("calls.log"));
        found
    }

    /// How often a device was asked to compile since the last time.
    fn n_compilations(&self, device: &str) -> usize {
        let of_device = |call: &Call| call.what == "compile" && call.device == device;
        self.asked().into_iter().filter(of_device).count()
    }
}

fn answer(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}\n{}\n{}", self.code, self.stdout, self.stderr)
    }
}

#[test]
fn auto_takes_the_first_rung_that_works_and_tries_it_in_another_process_once() {
    let laptop = Laptop::new("");
    let outcome = laptop.run("auto").expect_code(0).expect_says(&["npu is tried in a process"]);
    let report = answer(&outcome);
    assert_eq!(
        (&report["device_requested"], &report["device_used"]),
        (&"auto".into(), &"NPU".into())
    );
    assert_eq!(report["device_refused"], serde_json::json!([]));
    let asked = laptop.asked();
    let compiled: Vec<_> = asked.iter().filter(|call| call.what == "compile").collect();
    assert_eq!(compiled.len(), 2, "once in the trial, once here: {asked:?}");
    assert_ne!(compiled[0].pid, compiled[1].pid);
    let outcome = laptop.run("auto").expect_code(0);
    assert!(!outcome.stderr.contains("is tried"), "{outcome:?}");
    assert_eq!(laptop.n_compilations("NPU"), 1);
}

#[test]
fn a_device_that_comes_to_harm_is_passed_over_told_and_remembered() {
    let check = |faults: &[&str], expected: &[&str]| {
        let laptop = Laptop::with_faults(faults);
        let outcome = laptop.run("auto").expect_code(0).expect_says(expected);
        outcome.expect_says(&["device auto: npu: ", "→ gpu\n"]);
        let first = laptop.n_compilations("NPU");
        let report = answer(&laptop.run("auto").expect_code(0));
        assert_eq!(report["device_used"], "GPU.0", "{faults:?}");
        assert_eq!(report["device_refused"][0]["device"], "npu");
        assert_eq!(laptop.n_compilations("NPU"), 0, "{faults:?}: it is not tried again");
        assert!(first <= 1, "{faults:?}: {first}");
        // Asked for by name, it is an error that keeps what the plugin said.
        let outcome = laptop.run("npu").expect_code(1).expect_says(expected);
        outcome.expect_says(&["cannot use npu, it came to harm at", "lapwing devices --forget"]);
        assert_eq!(laptop.asked(), [], "{faults:?}: nothing is asked of it");
    };
    check(&["compile NPU abort"], &["while compiling: aborted (signal 6)"]);
    let words = "Level0 pfnCreate2 result: ZE_RESULT_ERROR_UNKNOWN";
    let print = format!("compile NPU print {words}");
    check(&[&print, "compile NPU abort"], &["while compiling: aborted (signal 6)", words]);
    check(&["compile NPU segfault"], &["while compiling: segmentation fault (signal 11)"]);
    check(&["compile NPU exit 3"], &["while compiling: exit code 3"]);
    check(&["infer NPU abort"], &["while inferring for the first time: aborted (signal 6)"]);
    // A device that opens and does not infer is of no use either.
    check(&["infer NPU error bad kernel"], &["it does not infer: ", "bad kernel"]);
}

#[test]
fn a_device_that_hangs_or_eats_all_memory_is_stopped() {
    let check = |fault: &str, variable, value: &str, expected: &str| {
        let mut laptop = Laptop::with_faults(&[fault]);
        laptop.lapwing = laptop.lapwing.with(variable, value);
        let started = Instant::now();
        laptop.run("npu").expect_code(1).expect_says(&["cannot use npu", expected, variable]);
        assert!(started.elapsed() < Duration::from_secs(30), "{fault}");
        let report = answer(&laptop.run("auto").expect_code(0));
        assert_eq!(report["device_used"], "GPU.0");
    };
    check("compile NPU hang", "LAPWING_TRIAL_SECONDS", "1", "not done after 1 s while compiling");
    let too_much = "more than 300.0 MB of memory taken while compiling";
    check("compile NPU allocate 2048", "LAPWING_TRIAL_MB", "300", too_much);
}

#[test]
fn what_was_refused_is_tried_apart_again_when_it_is_asked_for() {
    let laptop = Laptop::with_faults(&["compile NPU error no compiler"]);
    laptop.run("npu").expect_code(1).expect_says(&["no compiler"]);
    let report = laptop.lapwing.json(&["devices", "--json"]);
    assert_eq!(report["failed_trials"], serde_json::json!([]), "a refusal is no harm");
    laptop.run("auto").expect_code(0).expect_says(&["no compiler", "→ gpu\n"]);
    laptop.asked();
    laptop.run("auto").expect_code(0).expect_says(&["no compiler (GENERAL_ERROR) (at 20"]);
    assert_eq!(laptop.n_compilations("NPU"), 0, "auto does not ask again");
    // The user installs a compiler, and that one crashes: in the trial, not here.
    laptop.play(&["compile NPU abort"]);
    let outcome = laptop.run("npu").expect_code(1);
    outcome.expect_says(&["while compiling: aborted (signal 6)"]);
    laptop.play(&[]);
    laptop.lapwing.run(&["devices", "--forget"]).expect_code(0);
    laptop.run("auto").expect_code(0);
    assert_eq!(answer(&laptop.run("auto"))["device_used"], "NPU");
}

#[test]
fn a_default_variant_and_raised_limits_change_nothing_for_the_worse() {
    let mut laptop = Laptop::with_faults(&["compile NPU hang"]);
    laptop.lapwing = laptop.lapwing.with("LAPWING_VARIANT", "q4");
    laptop.lapwing = laptop.lapwing.with("LAPWING_TRIAL_SECONDS", "1");
    laptop.run("npu").expect_code(1).expect_says(&["not done after 1 s while compiling"]);
    laptop.play(&[]);
    laptop.run("npu").expect_code(1).expect_says(&["it came to harm at"]);
    laptop.lapwing = laptop.lapwing.with("LAPWING_TRIAL_SECONDS", "60");
    assert_eq!(answer(&laptop.run("npu").expect_code(0))["device_used"], "NPU");
}

#[test]
fn what_is_known_before_a_trial_is_told_before_it() {
    let laptop = Laptop::with_faults(&["compile NPU error no compiler"]);
    let model = laptop.lapwing.path("model").display().to_string();
    let line = ["run", "--model", &model, "--prompt-ids", "1", "--device", "npu"];
    let outcome = laptop.lapwing.run(&[&line[..], &["--context", "99999999"]].concat());
    let outcome = outcome.expect_code(1).expect_says(&["99999999", "is tried in a process"]);
    let place = |words: &str| outcome.stderr.find(words).unwrap();
    assert!(place("99999999") < place("is tried in a process"), "{}", outcome.stderr);
}

#[test]
fn an_interrupted_trial_is_not_held_against_the_device() {
    let laptop = Laptop::with_faults(&["compile NPU hang"]);
    let model = laptop.lapwing.path("model").display().to_string();
    let line = ["run", "--model", &model, "--prompt-ids", "1", "-n", "1", "--device", "auto"];
    let child = laptop.lapwing.command(&line).stderr(std::process::Stdio::piped()).spawn();
    let child = child.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !calls(laptop.played.path()).iter().any(|call| call.what == "compile") {
        assert!(Instant::now() < deadline, "it never compiles");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    let interrupt = std::process::Command::new("kill").args(["-INT", &pid]).status();
    assert!(interrupt.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{said}");
    laptop.asked();
    laptop.play(&[]);
    assert_eq!(answer(&laptop.run("npu").expect_code(0))["device_used"], "NPU");
}

#[test]
fn a_plugin_that_fails_to_list_its_devices_does_not_stop_the_cpu() {
    let laptop = Laptop::with_faults(&["devices * error broken driver"]);
    assert_eq!(answer(&laptop.run("cpu").expect_code(0))["device_used"], "CPU");
    let outcome = laptop.run("auto").expect_code(0);
    assert_eq!(answer(&outcome)["device_used"], "CPU");
    outcome.expect_says(&["broken driver", "→ cpu\n"]);
    laptop.run("npu").expect_code(1).expect_says(&["no device `npu` here", "broken driver"]);
}

#[test]
fn what_was_remembered_can_be_forgotten_and_ends_with_a_new_driver() {
    let laptop = Laptop::with_faults(&["compile NPU abort"]);
    laptop.run("npu").expect_code(1);
    laptop.play(&[]);
    laptop.run("npu").expect_code(1).expect_says(&["it came to harm at"]);
    let shown = laptop.lapwing.run(&["devices"]).expect_code(0);
    assert!(shown.stdout.contains("NPU Fake AI Boost failed with "), "{shown:?}");
    let report = laptop.lapwing.json(&["devices", "--json"]);
    assert_eq!(report["failed_trials"][0]["failure"]["stage"], "compile");
    let forgotten = laptop.lapwing.run(&["devices", "--forget"]).expect_code(0);
    assert!(forgotten.stdout.contains("1 "), "{forgotten:?}");
    assert_eq!(answer(&laptop.run("npu").expect_code(0))["device_used"], "NPU");

    let laptop = Laptop::with_faults(&["compile NPU abort"]);
    laptop.run("npu").expect_code(1);
    laptop.script.clone().line("property NPU NPU_DRIVER_VERSION 1699").write();
    let outcome = laptop.run("npu").expect_code(0);
    outcome.expect_says(&["is tried in a process of its own"]);
}

#[test]
fn an_ordinary_refusal_is_told_with_the_librarys_words() {
    let laptop = Laptop::with_faults(&["compile NPU error no such operation", "compile GPU abort"]);
    let outcome = laptop.run("auto").expect_code(0);
    outcome.expect_says(&["no such operation", "→ gpu: cannot use gpu: ", "→ cpu\n"]);
    let report = answer(&laptop.run("auto").expect_code(0));
    assert_eq!(report["device_used"], "CPU");
    let outcome = laptop.run("npu").expect_code(1);
    outcome.expect_says(&["refuses", "on NPU", "no such operation"]);
    // The CPU is asked directly, and nothing comes after it.
    laptop.play(&["compile * error out of order"]);
    laptop.run("auto").expect_code(1).expect_says(&["→ cpu\n", "on CPU: compiling: out of order"]);
    laptop.run("cpu").expect_code(1).expect_says(&["on CPU: compiling: out of order"]);
}

#[test]
fn weights_that_an_npu_cannot_take_are_refused_before_it_is_asked() {
    let laptop = Laptop::new(ASYMMETRIC);
    let outcome = laptop.run("npu").expect_code(1);
    outcome.expect_says(&["int4_asym in groups of 64", "--for npu"]);
    assert_eq!(laptop.n_compilations("NPU"), 0);
    let outcome = laptop.run("auto").expect_code(0);
    let report = answer(&outcome);
    outcome.expect_says(&["int4_asym in groups of 64", "→ gpu\n"]);
    assert_eq!(report["device_used"], "GPU.0");
    // The test device takes them.
    assert_eq!(answer(&laptop.run("npu:cpu").expect_code(0))["device_used"], "NPU:CPU");
}

#[test]
fn a_device_that_is_not_there_is_never_another_one() {
    let laptop = Laptop::new("");
    let played = laptop.played.path();
    Script::new(played).write();
    for device in ["npu", "gpu", "gpu.1"] {
        let started = Instant::now();
        let outcome = laptop.run(device).expect_code(1);
        outcome.expect_says(&[&format!("no device `{device}` here: it offers CPU")]);
        assert!(started.elapsed() < Duration::from_secs(5), "{device}");
        assert_eq!(laptop.asked(), []);
    }
    let outcome = laptop.run("auto").expect_code(0);
    assert_eq!(answer(&outcome)["device_used"], "CPU");
    outcome.expect_says(&["device auto: npu: ", "→ gpu: ", "→ cpu\n"]);
}

#[test]
fn an_answer_that_fills_the_context_of_an_npu_ends_with_length() {
    let laptop = Laptop::new("");
    let sizes = ["-n", "50", "--ignore-eos", "--context", "12", "--npu-prompt"];
    let outcome = laptop.run_with("npu:cpu", &[&sizes[..], &["3"]].concat()).expect_code(0);
    let report = answer(&outcome);
    assert_eq!(report["finish_reason"], "length");
    assert_eq!(report["usage"]["completion_tokens"], 10, "12 positions, and one never stepped");
    let outcome = laptop.run_with("npu:cpu", &[&sizes[..], &["2"]].concat()).expect_code(1);
    outcome.expect_says(&["prompt of 3 tokens is too long: 2 were compiled for", "--npu-prompt"]);
    let outcome = laptop.run_with("npu:cpu", &[&sizes[..], &["13"]].concat()).expect_code(1);
    outcome.expect_says(&["prompts of 13 tokens do not fit a context of 12"]);
}
