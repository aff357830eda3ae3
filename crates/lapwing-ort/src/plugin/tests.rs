//! The plugin's own CPU device against the golden files and the conformance suite.
//!
//! It offers one on Intel's processors only; elsewhere these checks say so and end.

use std::path::PathBuf;

use lapwing_backend::conformance::{
    OTHER, PROMPT, Tolerance, agrees_with_golden, bad_input_is_refused, chunks_do_not_matter,
    decoders_are_independent, exact_options, golden_cases, rewind_equals_fresh, shared_folder,
    steps_equal_scores, steps_together_equal_steps_alone,
};
use lapwing_backend::{Backend, DeviceError, Model, OpenError, OpenOptions};
use lapwing_model::ModelFolder;

use super::*;
use crate::OrtBackend;

/// A backend that opens models on the plugin's CPU.
struct OnPluginCpu {
    environment: Environment,
    device: PluginDevice,
}

impl Backend for OnPluginCpu {
    fn name(&self) -> &'static str {
        "plugin"
    }

    fn version(&self) -> String {
        String::new()
    }

    fn devices(&self) -> Result<Vec<Device>, DeviceError> {
        Ok(vec![self.device.device.clone()])
    }

    fn open(
        &self,
        folder: &ModelFolder,
        options: &OpenOptions,
    ) -> Result<Box<dyn Model>, OpenError> {
        let device = self.device.clone();
        let model = PluginModel::open(&self.environment, "", folder, options, device)?;
        Ok(Box::new(model))
    }
}

#[allow(clippy::print_stderr, reason = "a skipped check says so")]
fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

/// The library that a variable names; `scripts/test` sets it on computers that there is one for.
fn library(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_file());
    if path.is_none() {
        skip(&format!("{name} names no library"));
    }
    path
}

/// The exports, ONNX Runtime, and the plugin's CPU; `None` where one of them is not there.
fn setup() -> Option<(PathBuf, OrtBackend, OnPluginCpu)> {
    let exports = shared_folder()?.join("exports");
    let (ort, plugin) = (library("LAPWING_TEST_ORT")?, library("LAPWING_TEST_ORT_PLUGIN")?);
    let backend = OrtBackend::load(&ort).expect("ONNX Runtime loads").with_plugin(&plugin);
    assert!(matches!(backend.plugin(), Plugin::Loaded { .. }), "{:?}", backend.plugin());
    let environment = backend.environment().clone();
    let Some(device) = devices(&environment, DeviceKind::Cpu).into_iter().next() else {
        skip("the plugin offers no CPU: this processor is not Intel's");
        return None;
    };
    Some((exports, backend, OnPluginCpu { environment, device }))
}

fn open(exports: &Path, name: &str, variant: Option<&str>) -> ModelFolder {
    ModelFolder::open(&exports.join(name), variant).expect("the folder opens")
}

#[test]
fn exports_agree_with_their_golden_files() {
    let Some((exports, _, plugin)) = setup() else { return };
    // Activations of the int4 exports are int8 in the reference, and f32 here.
    for (name, variant, section, share) in [
        ("stories260k-transformersjs", Some("fp32"), Some("model"), 2e-3),
        ("tiny/tiny-llama-ort_fp32", None, None, 2e-3),
        ("tiny/tiny-qwen2-ort_fp32", None, None, 2e-3),
        ("tiny/tiny-llama-ort_int4", None, None, 5e-2),
    ] {
        let model = plugin.open(&open(&exports, name, variant), &exact_options()).expect(name);
        for case in golden_cases(&exports.join(name).join("golden.json"), section) {
            agrees_with_golden(&*model, &case, Tolerance::Relative(share));
        }
    }
}

#[test]
fn the_conformance_suite_holds() {
    let Some((exports, backend, plugin)) = setup() else { return };
    for (name, variant) in
        [("stories260k-transformersjs", Some("fp32")), ("tiny/tiny-qwen2-ort_fp32", None)]
    {
        let folder = open(&exports, name, variant);
        let model = plugin.open(&folder, &exact_options()).expect(name);
        chunks_do_not_matter(&plugin, &folder, &*model, &PROMPT, 2e-3, 2e-3);
        decoders_are_independent(&*model, &PROMPT, &OTHER);
        steps_together_equal_steps_alone(&*model, &PROMPT, &OTHER, 0.0);
        rewind_equals_fresh(&*model, &PROMPT, &OTHER, 2e-3);
        bad_input_is_refused(&plugin, &folder);
        let oracle = backend.open(&folder, &exact_options()).expect(name);
        steps_equal_scores(&*model, &*oracle, &[&PROMPT, &OTHER[1..], &[7]], 2e-3);
        steps_equal_scores(&*model, &*oracle, &[&[1], &PROMPT[1..]], 2e-3);
    }
}

#[test]
fn what_the_plugin_cannot_run_is_refused_at_open() {
    let Some((exports, _, plugin)) = setup() else { return };
    let hidden = OpenOptions { hidden_states: true, ..exact_options() };
    for (name, options, expected) in [
        ("tiny/tiny-lfm2-ort_fp32", exact_options(), "only state are keys and values"),
        ("tiny/tiny-llama-ort_fp32", hidden, "hidden states are not given"),
    ] {
        let error = plugin.open(&open(&exports, name, None), &options).map(drop);
        let error = error.expect_err("it is refused");
        assert!(matches!(error, OpenError::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn what_is_no_plugin_is_a_reason_and_no_failure() {
    let Some(library) = library("LAPWING_TEST_ORT") else { return };
    let backend = OrtBackend::load(&library).expect("ONNX Runtime loads");
    assert_eq!(backend.plugin(), Plugin::Absent);
    for (path, expected) in [("/no/such/plugin.so", "no such file"), (file!(), "")] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
        match register(backend.environment(), &path) {
            Plugin::Refused { reason, .. } => {
                assert!(!reason.is_empty() && reason.contains(expected), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(backend.devices().expect("devices").len(), 1, "the CPU is still there");
}

#[test]
fn a_plugin_changes_nothing_about_the_cpu() {
    let Some((exports, backend, _)) = setup() else { return };
    let kinds: Vec<DeviceKind> =
        backend.devices().expect("devices").iter().map(|device| device.kind).collect();
    assert_eq!(kinds.first(), Some(&DeviceKind::Cpu));
    assert!(!kinds.contains(&DeviceKind::Npu), "an NPU gives wrong logits");
    // A session that names no device would go to the plugin, which computes in bf16.
    let (name, variant) = ("stories260k-transformersjs", Some("fp32"));
    let model = backend.open(&open(&exports, name, variant), &exact_options()).expect(name);
    assert!(model.limits().can_rewind, "it is ONNX Runtime's own CPU");
    for case in golden_cases(&exports.join(name).join("golden.json"), Some("model")) {
        agrees_with_golden(&*model, &case, Tolerance::Relative(1e-4));
    }
}
