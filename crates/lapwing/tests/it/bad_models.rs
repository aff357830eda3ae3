//! Damaged models, prompts that do not fit, devices that are not there: each a message with its
//! cause and what to do, exit 1, and nothing half-written.

use std::path::{Path, PathBuf};

use crate::real::{shared_folder, with_runtimes};
use crate::{Lapwing, Outcome, files_below};

const IR: &str = "stories260k-ov-int8";
const ONNX: &str = "tiny/tiny-llama-ort_int4";
const SEVERAL: &str = "stories260k-transformersjs";

/// The program, and a copy of an export that can be damaged.
struct Damaged {
    lapwing: Lapwing,
    folder: PathBuf,
}

impl Damaged {
    fn copy(export: &str) -> Option<Self> {
        let lapwing = with_runtimes(Lapwing::new())?;
        let original = shared_folder()?.join("exports").join(export);
        let folder = lapwing.path("model");
        for file in files_below(&original) {
            let to = folder.join(&file);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            // Not with the permissions of the original, which may be read-only.
            std::fs::write(to, std::fs::read(original.join(file)).unwrap()).unwrap();
        }
        Some(Self { lapwing, folder })
    }

    fn change(&self, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.folder.join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    }

    /// Run with more arguments; the model's folder is as it was afterwards.
    #[track_caller]
    fn run(&self, more: &[&str]) -> Outcome {
        let before = files_below(&self.folder);
        let model = self.folder.to_str().unwrap();
        let outcome = self.lapwing.run(&[&["run", "--model", model], more].concat());
        assert_eq!(files_below(&self.folder), before);
        outcome
    }

    /// The refusal names its cause and a cure, and nothing was answered.
    #[track_caller]
    fn refuses(&self, more: &[&str], says: &[&str]) {
        let outcome = self.run(more).expect_code(1).expect_says(says);
        assert_eq!(outcome.stdout, "");
        outcome.expect_says(&["error: ", "hint: "]);
    }
}

#[test]
fn files_that_are_cut_off() {
    let check = |export: &str, file: &str, n_left: usize, says: &[&str]| {
        let Some(damaged) = Damaged::copy(export) else { return };
        damaged.change(file, |bytes| bytes.truncate(n_left));
        damaged.refuses(&["--prompt", "hi"], says);
    };
    check(IR, "openvino_model.bin", 1000, &["the BIN of 1000 bytes", "found bytes"]);
    check(IR, "openvino_model.bin", 0, &["openvino_model", "found"]);
    check(IR, "openvino_model.xml", 5000, &["openvino_model.xml", "expected well-formed"]);
    check(ONNX, "model.onnx.data", 1000, &["model.onnx.data is too short", "found 1000"]);
    check(ONNX, "model.onnx", 3000, &["model.onnx is no ONNX model"]);
    check(SEVERAL, "onnx/model_q4.onnx", 3000, &["model_q4.onnx is no ONNX model"]);
    check(IR, "tokenizer.json", 3000, &["tokenizer.json is not a usable tokenizer.json"]);
}

#[test]
fn files_that_are_not_there() {
    let check = |export: &str, file: &str| {
        let Some(damaged) = Damaged::copy(export) else { return };
        std::fs::remove_file(damaged.folder.join(file)).unwrap();
        damaged.refuses(&["--prompt", "hi"], &[file]);
    };
    check(IR, "openvino_model.bin");
    check(ONNX, "model.onnx.data");
    check(ONNX, "model.onnx");
}

#[test]
fn graphs_with_flipped_bytes() {
    let check = |export: &str, file: &str, start: usize, step: usize| {
        let Some(damaged) = Damaged::copy(export) else { return };
        let flip = |bytes: &mut Vec<u8>| {
            bytes.iter_mut().skip(start).step_by(step).for_each(|byte| *byte ^= 0x15);
        };
        damaged.change(file, flip);
        damaged.refuses(&["--prompt", "hi"], &["cannot open the model", file]);
    };
    for start in [500, 1500, 2500] {
        check(IR, "openvino_model.xml", start, 5000);
    }
    for start in [100, 137, 174, 211] {
        check(ONNX, "model.onnx", start, 1500);
    }
}

#[test]
fn texts_that_do_not_fit_the_model() {
    let Some(damaged) = Damaged::copy(IR) else { return };
    let template = damaged.folder.join("chat_template.jinja");
    std::fs::write(&template, "{{ raise_exception('only cats may ask') }}").unwrap();
    damaged.refuses(&["--prompt", "hi"], &["the chat template refuses", "only cats may ask"]);
    std::fs::write(&template, "{% if %}").unwrap();
    damaged.refuses(&["--prompt", "hi"], &["chat_template.jinja"]);
    std::fs::write(&template, "\n").unwrap();
    damaged.refuses(&["--prompt", "hi"], &["chat_template.jinja is empty"]);
    std::fs::remove_file(template).unwrap();

    let Some(shared) = shared_folder() else { return };
    let other = shared.join("exports/tiny/tiny-llama-ov_int8/tokenizer.json");
    std::fs::write(damaged.folder.join("tokenizer.json"), std::fs::read(other).unwrap()).unwrap();
    let says = ["tokenizer.json does not fit the model: it knows 1024 tokens, the model 512"];
    damaged.refuses(&["--prompt", "hi"], &says);
}

#[test]
fn prompts_that_cannot_be_answered() {
    for export in [IR, ONNX] {
        let Some(damaged) = Damaged::copy(export) else { return };
        damaged.refuses(&["--prompt", ""], &["the prompt is empty", "--prompt"]);
        damaged.refuses(
            &["--prompt", " \n"],
            &["the prompt is empty: nothing but white space in --prompt"],
        );
        // The tests' stdin is at its end.
        damaged.refuses(&[], &["the prompt is empty", "stdin"]);
        let long = "Once upon a time ".repeat(60);
        let says = ["is too long: the context holds 64", "--context"];
        damaged.refuses(&["--prompt", &long, "--context", "64"], &says);
        // More than the model's own limit cannot be asked for.
        let longer = long.repeat(10);
        let outcome = damaged.run(&["--prompt", &longer, "--context", "9999"]).expect_code(1);
        let outcome = outcome.expect_says(&["is too long: the context holds 512", "hint: shorten"]);
        assert!(!outcome.stderr.contains("--context"), "{}", outcome.stderr);
        let says = ["token 99999 at position 1 is not in the vocabulary"];
        damaged.refuses(&["--prompt-ids", "1,99999"], &says);
    }
}

#[test]
fn devices_that_are_not_there() {
    let Some(damaged) = Damaged::copy(IR) else { return };
    let unknown = damaged.run(&["--prompt", "hi", "--device", "tpu"]).expect_code(2);
    unknown.expect_says(&["unknown device `tpu`", "auto, cpu, gpu, npu"]);
    let absent = ["--prompt", "hi", "--device", "gpu.17"];
    damaged.refuses(&absent, &["openvino has no device `gpu.17`", "it offers", "CPU"]);
    let npu = ["--prompt", "hi", "--device", "npu.17"];
    damaged.refuses(&npu, &["openvino has no device `npu.17`", "hint: "]);

    let Some(damaged) = Damaged::copy(ONNX) else { return };
    damaged.refuses(&absent, &["ONNX Runtime has no device `gpu.17`", "hint: "]);
    let other = ["--prompt", "hi", "--backend", "openvino"];
    damaged.refuses(&other, &["openvino does not run onnx-genai folders"]);
}

#[test]
fn libraries_that_are_not_there() {
    let Some(damaged) = Damaged::copy(IR) else { return };
    let model = damaged.folder.to_str().unwrap();
    let arguments = ["run", "--model", model, "--prompt", "hi"];
    let outcome = Lapwing::new().run(&arguments).expect_code(1);
    outcome.expect_says(&["openvino 2026.4.1 is not installed", "hint: `lapwing pull openvino`"]);

    let folder = damaged.lapwing.path("no-library");
    std::fs::create_dir(&folder).unwrap();
    let lapwing = Lapwing::new().with("OPENVINO_INSTALL_DIR", folder.to_str().unwrap());
    lapwing.run(&arguments).expect_code(1).expect_says(&["OPENVINO_INSTALL_DIR", "hint: "]);
    std::fs::write(folder.join("libopenvino_c.so"), "no library").unwrap();
    lapwing.run(&arguments).expect_code(1).expect_says(&["libopenvino_c.so", "hint: "]);
}

/// An export that fails leaves the folder around its place as it was.
#[track_caller]
fn export_fails(lapwing: &Lapwing, source: &Path, out: &str, says: &[&str]) {
    let around = lapwing.path("around");
    let before = files_and_folders(&around);
    for target in ["openvino", "onnx"] {
        let (source, out) = (source.to_str().unwrap(), around.join(out));
        let arguments = ["export", source, "--to", target, "--out", out.to_str().unwrap()];
        lapwing.run(&arguments).expect_code(1).expect_says(says);
        assert_eq!(files_and_folders(&around), before, "{target}");
    }
}

/// Empty folders count too.
fn files_and_folders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    let folders: Vec<PathBuf> = paths.iter().filter(|path| path.is_dir()).cloned().collect();
    paths.extend(folders.iter().flat_map(|folder| files_and_folders(folder)));
    paths.sort();
    paths
}

#[test]
fn exports_that_fail_leave_nothing() {
    let Some(shared) = shared_folder() else { return };
    let exports = shared.join("exports");
    let lapwing = Lapwing::new();
    std::fs::create_dir_all(lapwing.path("around/there")).unwrap();
    std::fs::write(lapwing.path("around/there/letter.txt"), "dear").unwrap();
    let checkpoint = exports.join("stories260k-hf");
    export_fails(&lapwing, &checkpoint, "there", &["already exists", "hint: ", "--overwrite"]);
    let recurrent = exports.join("storymamba-hf");
    export_fails(
        &lapwing,
        &recurrent,
        "new",
        &["config.json: model_type", "found mamba", "hint: "],
    );

    // Not even with leave: the folder is no export.
    let letter = lapwing.path("around/there");
    let arguments = ["export", checkpoint.to_str().unwrap(), "--to", "onnx", "--overwrite"];
    lapwing.run(&[&arguments[..], &["--out", letter.to_str().unwrap()]].concat()).expect_code(1);
    assert_eq!(std::fs::read(letter.join("letter.txt")).unwrap(), b"dear");

    let cut = lapwing.path("cut-hf");
    std::fs::create_dir(&cut).unwrap();
    for file in files_below(&checkpoint) {
        std::fs::write(cut.join(&file), std::fs::read(checkpoint.join(&file)).unwrap()).unwrap();
    }
    let weights = std::fs::read(cut.join("model.safetensors")).unwrap();
    std::fs::write(cut.join("model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    export_fails(&lapwing, &cut, "new", &["model.safetensors is damaged", "expected", "hint: "]);
}

#[test]
fn a_gguf_that_is_cut_off_leaves_nothing() {
    let Some(checkpoint) = crate::real::smollm_checkpoint() else { return };
    let lapwing = Lapwing::new();
    std::fs::create_dir(lapwing.path("around")).unwrap();
    let whole = std::fs::read(checkpoint).unwrap();
    for n_left in [1000, 3_000_000, 60_000_000] {
        let cut = lapwing.path("cut.gguf");
        std::fs::write(&cut, &whole[..n_left]).unwrap();
        export_fails(&lapwing, &cut, "new", &["cut.gguf is damaged", "expected", "hint: "]);
    }
}

#[test]
fn inspect_tells_why_a_folder_has_no_tokenizer() {
    for export in [IR, ONNX] {
        let Some(damaged) = Damaged::copy(export) else { return };
        let inspect = || damaged.lapwing.run(&["inspect", damaged.folder.to_str().unwrap()]);
        let told = |outcome: &Outcome| {
            let line = outcome.stdout.lines().find(|line| line.starts_with("tokenizer problem"));
            line.map(str::to_owned)
        };
        assert_eq!(told(&inspect().expect_code(0)), None);
        damaged.change("tokenizer.json", |bytes| bytes.truncate(3000));
        let line = told(&inspect().expect_code(0)).expect("a problem");
        assert!(line.contains("tokenizer.json is not a usable tokenizer.json"), "{line}");
        std::fs::remove_file(damaged.folder.join("tokenizer.json")).unwrap();
        let line = told(&inspect().expect_code(0)).expect("a problem");
        assert!(line.contains("has no tokenizer.json"), "{line}");
    }
}
