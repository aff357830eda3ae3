//! ONNX exports on devices other than the CPU: what is told where the plugin of ONNX Runtime is
//! missing, cannot be loaded, or offers nothing.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::real::{library, shared_folder};
use crate::{Lapwing, Outcome};

const LIBRARY: &str = "libonnxruntime_providers_openvino_plugin.so";

/// The program with ONNX Runtime, and an ONNX export.
fn setup() -> Option<(Lapwing, PathBuf)> {
    let model = shared_folder()?.join("exports/stories260k-transformersjs");
    Some((Lapwing::new().with("ORT_DYLIB_PATH", library("LAPWING_TEST_ORT")?), model))
}

fn run(lapwing: &Lapwing, model: &Path, device: &str) -> Outcome {
    let model = model.to_str().unwrap();
    let line = ["run", "--model", model, "--variant", "fp32", "--prompt-ids", "1,403,407"];
    lapwing.run(&[&line[..], &["-n", "4", "--json", "--threads", "2", "--device", device]].concat())
}

fn device_used(outcome: &Outcome) -> Value {
    let answer: Value = serde_json::from_str(&outcome.stdout).unwrap();
    answer["device_used"].clone()
}

/// The check of `doctor` on the plugin.
fn checked(lapwing: &Lapwing) -> Value {
    let report: Value = serde_json::from_str(&lapwing.run(&["doctor", "--json"]).stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["what"] == "ort plugin").unwrap().clone()
}

/// Put something where `lapwing pull` puts the plugin.
fn plugin_folder(lapwing: &Lapwing) -> PathBuf {
    lapwing.path("natives/onnxruntime-ep-openvino-1.8.1")
}

#[test]
fn without_the_plugin_a_gpu_and_an_npu_are_refused_and_the_cpu_runs() {
    let Some((lapwing, model)) = setup() else { return };
    for (device, reason, hint) in [
        ("gpu", "onnxruntime-ep-openvino is not installed", "lapwing pull onnxruntime-ep-openvino"),
        ("gpu.1", "onnxruntime-ep-openvino is not installed", "`lapwing pull"),
        ("npu", "ONNX exports are not run on NPUs", "--to openvino --for npu"),
    ] {
        let started = Instant::now();
        let outcome = run(&lapwing, &model, device).expect_code(1);
        let error = format!("ONNX Runtime has no device `{device}` here: {reason}");
        outcome.expect_says(&[&error, "hint: ", hint]);
        assert!(started.elapsed() < Duration::from_secs(5), "{device}");
    }
    let outcome = run(&lapwing, &model, "auto").expect_code(0);
    assert_eq!(device_used(&outcome), "CPU");
    let gpu = "→ gpu: onnxruntime-ep-openvino is not installed";
    outcome.expect_says(&["device auto: npu: ONNX exports are not run on NPUs", gpu, "→ cpu"]);
    let check = checked(&lapwing);
    assert_eq!(check["standing"], "absent", "nothing but GPUs needs it");
    assert_eq!(check["cure"], "lapwing pull onnxruntime-ep-openvino");
}

#[test]
fn a_plugin_that_cannot_be_loaded_is_told_and_the_cpu_runs() {
    let Some((lapwing, model)) = setup() else { return };
    let folder = plugin_folder(&lapwing);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(LIBRARY), "no library").unwrap();
    let outcome = run(&lapwing, &model, "gpu").expect_code(1);
    outcome.expect_says(&["onnxruntime-ep-openvino cannot be used: ", LIBRARY, "--force"]);
    assert_eq!(device_used(&run(&lapwing, &model, "cpu").expect_code(0)), "CPU");
    let outcome = run(&lapwing, &model, "auto").expect_code(0);
    assert_eq!(device_used(&outcome), "CPU");
    outcome.expect_says(&["→ gpu: onnxruntime-ep-openvino cannot be used: "]);
    assert_eq!(checked(&lapwing)["standing"], "broken");
    let devices = lapwing.json(&["devices", "--json"]);
    let reason = devices["backends"][0]["plugin_refusal"].as_str().unwrap();
    assert!(reason.contains(LIBRARY), "{reason}");
    assert_eq!(devices["backends"][0]["devices"][0]["kind"], "cpu");
}

/// Where the real plugin is there: `LAPWING_TEST_ORT_PLUGIN` names it.
#[cfg(unix)]
#[test]
fn the_real_plugin_loads_beside_the_cpu() {
    let plugin = std::env::var_os("LAPWING_TEST_ORT_PLUGIN").map(PathBuf::from);
    let Some(plugin) = plugin.filter(|path| path.is_file()) else { return };
    let Some((lapwing, model)) = setup() else { return };
    let folder = plugin_folder(&lapwing);
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(plugin.parent().unwrap(), folder).unwrap();
    let check = checked(&lapwing);
    assert_eq!(check["standing"], "ok", "{check}");
    let devices = lapwing.json(&["devices", "--json"]);
    let offered = devices["backends"][0]["devices"].as_array().unwrap();
    assert!(
        offered.iter().all(|device| device["kind"] != "npu"),
        "its logits are wrong: {devices}"
    );
    if offered.iter().any(|device| device["kind"] == "gpu") {
        return;
    }
    let outcome = run(&lapwing, &model, "gpu").expect_code(1);
    outcome.expect_says(&["onnxruntime-ep-openvino offers none", "hint: "]);
    let on_cpu = run(&lapwing, &model, "cpu").expect_code(0);
    let by_auto = run(&lapwing, &model, "auto").expect_code(0);
    assert_eq!(device_used(&by_auto), "CPU");
    let ids = |outcome: &Outcome| {
        let answer: Value = serde_json::from_str(&outcome.stdout).unwrap();
        crate::real::ids(&answer["token_ids"])
    };
    assert_eq!(ids(&by_auto), ids(&on_cpu), "the plugin is loaded and takes no part");
}
