//! Real exports, ours and other people's, through the program: the same tokens and logits as plain
//! loops over the libraries.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Lapwing;
use crate::real::{graph_folders, ids, shared_folder, smollm_checkpoint, with_runtimes};

/// Exports that no backend runs yet, by the start of their names, and what the refusal says.
const REFUSED: [(&str, &str); 1] = [("stories260k-ort-int4", "heads of size 8")];

/// One prompt and what a plain loop over the library made of it.
struct Golden<'a> {
    prompt_ids: Vec<u64>,
    outputs: &'a Value,
    /// How far logits may be from it.
    allowed: f64,
}

impl<'a> Golden<'a> {
    /// Within a share of the largest logit.
    fn relative(case: &'a Value, share: f64) -> Self {
        let largest = case["first_step_top16"][0][1].as_f64().unwrap().abs();
        Self { prompt_ids: ids(&case["prompt_ids"]), outputs: case, allowed: share * largest }
    }

    /// First-step logits are within what is allowed, and the tokens equal for as long as the two
    /// largest logits differ by more.
    #[track_caller]
    fn check(&self, lapwing: &Lapwing, model: &Path, more: &[&str]) {
        let expected = ids(&self.outputs["greedy_ids"]);
        let report = answer(lapwing, model, &self.prompt_ids, expected.len(), more);
        assert_eq!(ids(&report["prompt_ids"]), self.prompt_ids);
        self.check_first_step(&report);
        let found = ids(&report["token_ids"]);
        assert_eq!(found.len(), expected.len(), "{}", model.display());
        let differing = (0..found.len()).find(|&token_idx| found[token_idx] != expected[token_idx]);
        let Some(token_idx) = differing else { return };
        let prompt = [&self.prompt_ids[..], &expected[..token_idx]].concat();
        let top = answer(lapwing, model, &prompt, 1, more)["first_step_top"].clone();
        let margin = top[0][1].as_f64().unwrap() - top[1][1].as_f64().unwrap();
        assert!(
            margin <= self.allowed,
            "{} forks at token {token_idx} by {margin}: {found:?} is not {expected:?}",
            model.display()
        );
    }

    #[track_caller]
    fn check_first_step(&self, report: &Value) {
        let pairs = |top: &Value| -> Vec<(u64, f64)> {
            let pairs = top.as_array().unwrap().iter();
            pairs.map(|pair| (pair[0].as_u64().unwrap(), pair[1].as_f64().unwrap())).collect()
        };
        let found = pairs(&report["first_step_top"]);
        assert_eq!(found.len(), 16);
        for (id, expected) in pairs(&self.outputs["first_step_top16"]) {
            // The last of sixteen may have changed places with the seventeenth.
            let last = found[15].1;
            let logit = found.iter().find(|(other, _)| *other == id).map_or(last, |pair| pair.1);
            let error = (logit - expected).abs();
            assert!(error <= self.allowed, "logit {id} is {logit}, not {expected}: {report}");
        }
    }
}

/// The report of a greedy, exact run of `prompt` that does not stop by itself.
#[track_caller]
fn answer(
    lapwing: &Lapwing,
    model: &Path,
    prompt: &[u64],
    n_tokens: usize,
    more: &[&str],
) -> Value {
    let prompt: Vec<String> = prompt.iter().map(u64::to_string).collect();
    let (prompt, n_tokens) = (prompt.join(","), n_tokens.to_string());
    let mut arguments = vec!["run", "--model", model.to_str().unwrap(), "--json"];
    arguments.extend(["--prompt-ids", &prompt, "--max-tokens", &n_tokens, "--top-logits", "16"]);
    arguments.extend(["--temperature", "0", "--precision", "exact", "--ignore-eos"]);
    arguments.extend(more);
    lapwing.json(&arguments)
}

fn golden(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

/// Every folder whose name starts so; a folder that is neither refused nor has a golden file fails.
fn check_folders(is_mine: impl Fn(&str) -> bool) {
    let Some(lapwing) = with_runtimes(Lapwing::new()) else { return };
    let Some(exports) = graph_folders() else { return };
    let mut n_checked = 0;
    for folder in exports {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        if !is_mine(&name) {
            continue;
        }
        n_checked += 1;
        let refusal = REFUSED.iter().find(|(start, _)| name.starts_with(start));
        if let Some((_, reason)) = refusal {
            let arguments = ["run", "--model", folder.to_str().unwrap(), "--prompt-ids", "1,2"];
            lapwing.run(&arguments).expect_code(1).expect_says(&[&name, reason, "hint: "]);
            continue;
        }
        let golden = golden(&folder.join("golden.json"));
        for (section, variant) in variants(&folder) {
            let more: Vec<&str> = variant.iter().flat_map(|name| ["--variant", name]).collect();
            let cases =
                if variant.is_some() { &golden[&section]["cases"] } else { &golden["cases"] };
            for case in cases.as_array().unwrap_or_else(|| panic!("{name}: no cases of {section}"))
            {
                Golden::relative(case, 2e-3).check(&lapwing, &folder, &more);
            }
        }
    }
    assert!(n_checked > 0, "no such folder");
}

/// The graphs of a folder with several: their names, and what `--variant` calls them.
fn variants(folder: &Path) -> Vec<(String, Option<String>)> {
    let Ok(entries) = std::fs::read_dir(folder.join("onnx")) else {
        return vec![(String::new(), None)];
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    let graphs = paths.filter(|path| path.extension().is_some_and(|end| end == "onnx"));
    let variant = |path: PathBuf| {
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let variant = stem.strip_prefix("model_").unwrap_or("fp32").to_owned();
        (stem, Some(variant))
    };
    graphs.map(variant).collect()
}

fn is_tiny(name: &str) -> bool {
    name.starts_with("tiny-")
}

fn is_smollm(name: &str) -> bool {
    name.starts_with("smollm2-")
}

#[test]
fn tiny_exports_agree_or_are_refused() {
    check_folders(is_tiny);
}

#[test]
fn trained_exports_agree_or_are_refused() {
    check_folders(|name| !is_tiny(name) && !is_smollm(name));
}

#[test]
fn smollm_answers_chat_prompts_as_its_golden_file() {
    let Some(lapwing) = with_runtimes(Lapwing::new()) else { return };
    let Some(shared) = shared_folder() else { return };
    let cases = golden(&shared.join("golden/smollm2-135m.json"));
    let folders: Vec<_> = graph_folders().into_iter().flatten().collect();
    let is_smollm = |path: &&PathBuf| is_smollm(path.file_name().unwrap().to_str().unwrap());
    let mut n_checked = 0;
    for folder in folders.iter().filter(is_smollm) {
        let is_ir = folder.join("openvino_model.xml").exists();
        for case in [&cases[0], &cases[4]] {
            let model = folder.to_str().unwrap();
            let user = case["user"].as_str().unwrap();
            let arguments =
                ["run", "--model", model, "--json", "--prompt", user, "--max-tokens", "1"];
            let rendered = lapwing.json(&arguments);
            assert_eq!(rendered["prompt_ids"], case["prompt_ids"], "{user}");
            let outputs = &case[if is_ir { "openvino_int4" } else { "onnx_int4" }];
            let prompt_ids = ids(&case["prompt_ids"]);
            Golden { prompt_ids, outputs, allowed: 0.05 }.check(&lapwing, folder, &[]);
            n_checked += 1;
        }
    }
    assert_eq!(n_checked, 4, "two folders, two prompts");
}

/// Export `source` below the home of `lapwing`; gives the folder.
#[track_caller]
fn export(lapwing: &Lapwing, source: &Path, target: &str, weights: &str) -> PathBuf {
    let folder = lapwing.path(&format!("exports/{target}-{weights}"));
    let (source, out) = (source.to_str().unwrap(), folder.to_str().unwrap());
    let arguments = ["export", source, "--to", target, "--weights", weights, "--out", out];
    lapwing.run(&arguments).expect_code(0);
    folder
}

#[test]
fn an_export_of_safetensors_tells_the_same_story() {
    let Some(lapwing) = with_runtimes(Lapwing::new()) else { return };
    let Some(shared) = shared_folder() else { return };
    let source = shared.join("exports/stories260k-hf");
    let golden = golden(&shared.join("exports/stories260k-ov-fp32/golden.json"));
    let case = &golden["cases"][0];
    assert_eq!(case["prompt"], "Once upon a time");
    let (prompt_ids, expected) = (ids(&case["prompt_ids"]), ids(&case["greedy_ids"]));
    for target in ["openvino", "onnx"] {
        let folder = export(&lapwing, &source, target, "f32");
        let report = answer(&lapwing, &folder, &prompt_ids, expected.len(), &[]);
        assert_eq!(ids(&report["token_ids"]), expected, "{target}");
        let model = folder.to_str().unwrap();
        let text = ["run", "--model", model, "--json", "--prompt", "Once upon a time"];
        let report = lapwing.json(&[&text[..], &["--max-tokens", "1"]].concat());
        assert_eq!(ids(&report["prompt_ids"]), prompt_ids, "{target}");
        for weights in ["int8", "int4"] {
            let folder = export(&lapwing, &source, target, weights);
            let report = answer(&lapwing, &folder, &prompt_ids, expected.len(), &[]);
            let found = ids(&report["token_ids"]);
            let n_equal = found.iter().zip(&expected).take_while(|(a, b)| a == b).count();
            // Coarser weights tell another story, but begin it in the same way.
            assert!(n_equal >= 4, "{target} {weights}: {found:?} is not {expected:?}");
        }
    }
}

#[test]
fn an_export_for_an_npu_runs_on_the_cpu_and_takes_no_other_weights() {
    let Some(lapwing) = with_runtimes(Lapwing::new()) else { return };
    let Some(shared) = shared_folder() else { return };
    let source = shared.join("exports/stories260k-hf");
    let (source, folder) = (source.to_str().unwrap(), lapwing.path("exports/npu"));
    let out = folder.to_str().unwrap();
    let run = |more: &[&str]| {
        lapwing.run(&[&["export", source, "--for", "npu", "--out", out][..], more].concat())
    };
    for (more, named) in [
        (&["--to", "onnx"][..], "--to onnx"),
        (&["--to", "openvino", "--weights", "int8"], "--weights int8"),
        (&["--to", "openvino", "--asymmetric"], "--asymmetric"),
        // No group of 128 divides the 64 columns.
        (&["--to", "openvino", "--group-size", "128"], "--group-size 128"),
    ] {
        let outcome = run(more).expect_code(2);
        outcome.expect_says(&[&format!("{named} is not what --for npu writes"), "hint: "]);
        assert!(!folder.exists(), "{more:?}");
    }
    run(&["--to", "openvino"]).expect_code(0);
    let golden = golden(&shared.join("exports/stories260k-ov-fp32/golden.json"));
    let case = &golden["cases"][0];
    let (prompt_ids, expected) = (ids(&case["prompt_ids"]), ids(&case["greedy_ids"]));
    let report = answer(&lapwing, &folder, &prompt_ids, expected.len(), &[]);
    assert_eq!(ids(&report["token_ids"])[..3], expected[..3], "{report}");
}

#[test]
fn a_tied_matrix_of_an_onnx_folder_counts_once() {
    let Some(shared) = shared_folder() else { return };
    let lapwing = Lapwing::new();
    let folder = export(&lapwing, &shared.join("exports/stories260k-hf"), "onnx", "int8");
    let told = lapwing.json(&["inspect", folder.to_str().unwrap(), "--json"]);
    let tensors = told["tensors"].as_array().unwrap();
    let shared: Vec<_> = tensors.iter().filter(|tensor| !tensor["same_as"].is_null()).collect();
    let [tied] = shared.as_slice() else { panic!("{shared:?}") };
    assert!(tied["name"].as_str().unwrap().starts_with("model.embed_tokens."), "{tied}");
    let of_bytes = |part: &&Value| part["dtype"] == "u8";
    let bytes = told["quantisation"].as_array().unwrap().iter().find(of_bytes).unwrap();
    let n_bytes = std::fs::metadata(folder.join("model.onnx.data")).unwrap().len();
    assert!(bytes["n_bytes"].as_u64().unwrap() <= n_bytes, "{bytes} of {n_bytes}");
}

#[test]
fn a_model_without_attention_is_told_without_heads_and_without_a_limit() {
    let Some(shared) = shared_folder() else { return };
    let lapwing = Lapwing::new();
    for (name, has_heads) in [("storymamba-ov-int4", false), ("tiny/tiny-lfm2-ov_int4", true)] {
        let folder = shared.join("exports").join(name);
        let told = lapwing.json(&["inspect", folder.to_str().unwrap(), "--json"]);
        for fact in ["heads", "head size", "context"] {
            assert_eq!(told["facts"].get(fact).is_some(), has_heads, "{fact} of {name}: {told}");
        }
    }
}

#[test]
fn what_is_an_export_already_is_told_to_run() {
    let Some(shared) = shared_folder() else { return };
    let lapwing = Lapwing::new();
    for export in ["stories260k-ov-int8", "stories260k-ort-int4"] {
        let source = shared.join("exports").join(export);
        let (source, out) = (source.to_str().unwrap(), lapwing.path("out"));
        let arguments = ["export", source, "--to", "onnx", "--out", out.to_str().unwrap()];
        let outcome = lapwing.run(&arguments).expect_code(1);
        let hint = format!("hint: `lapwing run --model {source}` takes it as it is");
        outcome.expect_says(&["is an export already", &hint]);
    }
}

#[test]
fn smollm_from_the_store_knows_paris() {
    let Some(lapwing) = with_runtimes(Lapwing::new()) else { return };
    let Some(checkpoint) = smollm_checkpoint() else { return };
    for target in ["openvino", "onnx"] {
        let folder = export(&lapwing, &checkpoint, target, "int4");
        let model = folder.to_str().unwrap();
        let prompt = "What is the capital of France?";
        let arguments = ["run", "--model", model, "--prompt", prompt, "--temperature", "0"];
        let outcome = lapwing.run(&[&arguments[..], &["--max-tokens", "24"]].concat());
        let text = outcome.expect_code(0).stdout;
        assert!(text.contains("Paris"), "{target}: {text}");
    }
}
