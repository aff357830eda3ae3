//! `lapwing eval`: measurements of real exports, what they refuse, and how they go on after Ctrl-C.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::real::{shared_folder, with_runtimes};
use crate::{Lapwing, Outcome, files_below};

/// The program with real exports and texts.
pub(crate) struct Lab {
    pub(crate) lapwing: Lapwing,
    shared: PathBuf,
}

impl Lab {
    pub(crate) fn new() -> Option<Lab> {
        let lapwing = with_runtimes(Lapwing::new())?;
        Some(Lab { lapwing, shared: shared_folder()? })
    }

    pub(crate) fn export(&self, name: &str) -> String {
        self.shared.join("exports").join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn data(&self, name: &str) -> String {
        self.shared.join("data").join(name).to_str().unwrap().to_owned()
    }

    /// The first bytes of a text, in a file of its own.
    pub(crate) fn text(&self, name: &str, n_bytes: usize) -> String {
        let whole = std::fs::read_to_string(self.data(name)).unwrap();
        let n_bytes = (0..=n_bytes).rev().find(|&end| whole.is_char_boundary(end)).unwrap();
        let path = self.lapwing.path(&format!("{n_bytes}-{name}"));
        std::fs::write(&path, &whole[..n_bytes]).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn run(&self, line: &[&str]) -> Outcome {
        self.lapwing.run(line)
    }
}

const TEXT: &str = "war-and-peace-head.txt";

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_perplexity_tells_everything_that_it_depends_on() {
    let Some(lab) = Lab::new() else { return };
    let (model, text) = (lab.export("stories260k-ov-int4"), lab.text(TEXT, 20_000));
    let measure = |more: &[&str]| {
        let line = ["eval", "ppl", "--model", &model, "--text", &text, "--json", "--limit", "3"];
        lab.lapwing.json(&[&line[..], more].concat())
    };
    let report = measure(&["--window", "128"]);
    let result = &report["result"];
    let perplexity = number(&result["perplexity"]);
    assert!((10.0..400.0).contains(&perplexity), "{perplexity}");
    assert!((number(&result["mean_nll"]).exp() - perplexity).abs() < 1e-9 * perplexity);
    assert!(0.0 < number(&result["perplexity_standard_error_delta"]));
    assert_eq!(result["convention"]["name"], "llama.cpp");
    // 128 - 64 - 1 of each of three windows.
    assert_eq!((&result["n_windows"], &result["n_tokens"]), (&3.into(), &189.into()));
    assert_eq!(report["text"]["sha256"], crate::sha256(&std::fs::read(&text).unwrap()));
    assert_eq!(report["model"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(report["model"]["backend"], "openvino");
    assert_eq!(report["correction"]["used"], "off");
    assert!(0.0 < number(&report["wall_s"]));
    let sliding = measure(&["--window", "128", "--convention", "hugging-face", "--stride", "64"]);
    let result = &sliding["result"];
    assert_eq!(result["convention"]["stride"], 64);
    // All but the first of the first window, then 64 of each.
    assert_eq!(result["n_tokens"], 127 + 64 + 64);
    assert_eq!(files_below(&lab.lapwing.path("cache/eval")), Vec::<String>::new());
    let line = ["eval", "ppl", "--model", &model, "--text", &text, "--limit", "1"];
    let table = lab.run(&line).expect_code(0).stdout;
    for part in ["model ", "stories260k-ov-int4 with openvino", "convention ", "perplexity "] {
        assert!(table.contains(part), "{part} is not in: {table}");
    }
}

#[test]
fn a_divergence_is_measured_across_backends() {
    let Some(lab) = Lab::new() else { return };
    let text = lab.text(TEXT, 20_000);
    let model = lab.export("smollm2-135m-instruct-ort-int4");
    let reference = lab.export("smollm2-135m-instruct-ov-int4");
    let report = lab.lapwing.json(&[
        "eval",
        "kl",
        "--model",
        &model,
        "--reference",
        &reference,
        "--text",
        &text,
        "--window",
        "64",
        "--limit",
        "2",
        "--json",
    ]);
    assert_eq!(
        (&report["model"]["backend"], &report["reference"]["backend"]),
        (&"ort".into(), &"openvino".into())
    );
    assert_eq!(report["reference"]["precision"], "exact");
    let result = &report["result"];
    let kl = number(&result["mean_kl"]);
    assert!((1e-4..1.0).contains(&kl), "{kl}");
    assert!(number(&result["median_kl"]) <= number(&result["kl_p99"]));
    assert!((0.5..=1.0).contains(&number(&result["top1_agreement"])), "{result}");
}

#[test]
fn every_task_is_scored() {
    let Some(lab) = Lab::new() else { return };
    let model = lab.export("stories260k-ov-int4");
    let labels = lab.data("piqa-900-labels.lst");
    let check = |task: &str, data: &str, more: &[&str], scores: &[&str]| {
        let data = lab.data(data);
        let line = ["eval", "task", task, "--model", &model, "--data", &data, "--limit", "2"];
        let report = lab.lapwing.json(&[&line[..], &["--json"], more].concat());
        let found = report["result"]["scores"].as_array().unwrap();
        let names: Vec<&str> = found.iter().map(|score| score["name"].as_str().unwrap()).collect();
        assert_eq!(names, scores, "{task}");
        assert_eq!(report["result"]["items"].as_array().unwrap().len(), 2, "{task}");
    };
    let choices = ["acc", "acc_norm", "acc_bytes"];
    check("arc_challenge", "arc-challenge-600.jsonl", &[], &choices);
    check("hellaswag", "hellaswag-1000.txt", &[], &choices);
    check("piqa", "piqa-900.jsonl", &["--labels", &labels], &choices);
    check("lambada_openai", "lambada-1000.jsonl", &[], &["acc", "perplexity"]);
    let matches = ["exact_match,strict-match", "exact_match,flexible-extract"];
    check("gsm8k", "gsm8k-200.jsonl", &[], &matches);
}

#[test]
fn what_cannot_be_measured_is_told_with_what_to_do() {
    let Some(lab) = Lab::new() else { return };
    let (model, text) = (lab.export("stories260k-ov-int4"), lab.text(TEXT, 20_000));
    let other = lab.export("smollm2-135m-instruct-ov-int4");
    let (short, binary) = (lab.text(TEXT, 300), lab.lapwing.path("binary.txt"));
    std::fs::write(&binary, b"a\xffb").unwrap();
    let binary = binary.to_str().unwrap();
    let piqa = lab.data("piqa-900.jsonl");
    let check = |line: &[&str], code: i32, says: &[&str]| {
        let outcome = lab.run(&[&["eval"], line, &["--model", &model]].concat());
        outcome.expect_code(code).expect_says(says);
    };
    let too_short = ["one window needs 512", "hint: give a longer text, or a smaller --window"];
    check(&["ppl", "--text", &short], 1, &too_short);
    check(&["kl", "--reference", &model, "--text", &short], 1, &too_short);
    check(&["ppl", "--text", binary], 1, &["expected UTF-8", "hint: "]);
    check(&["ppl", "--text", "/nowhere.txt"], 1, &["cannot read /nowhere.txt"]);
    check(&["ppl", "--text", &text, "--window", "4096"], 1, &["too long", "hint: give a smaller"]);
    check(&["ppl", "--text", &text, "--stride", "8"], 2, &["stride", "hint: leave out --stride"]);
    // Allowed: it measures the device and the precision.
    let itself = ["warning: the reference is the model itself"];
    check(
        &["kl", "--reference", &model, "--text", &text, "--window", "32", "--limit", "1"],
        0,
        &itself,
    );
    let mismatch = ["the reference has another tokenizer", "hint: --reference takes an export"];
    check(&["kl", "--reference", &other, "--text", &text], 1, &mismatch);
    let missing = ["cannot use the reference", "no model \"nothere\"", "hint: `lapwing list"];
    check(&["kl", "--reference", "nothere", "--text", &text], 1, &missing);
    check(&["task", "piqa", "--data", &piqa], 1, &["holds no labels", "hint: ", "--labels"]);
    check(&["task", "gsm8k", "--data", &piqa], 1, &["line 1 of", "expected JSON with question"]);
    check(&["task", "gsm8k", "--data", &piqa, "--labels", &piqa], 2, &["takes no labels"]);
}

/// Lines of all journals: the first is the key.
#[cfg(unix)]
fn n_journal_lines(cache: &Path) -> usize {
    let lines = |name: &String| {
        std::fs::read_to_string(cache.join(name)).map_or(0, |text| text.lines().count())
    };
    files_below(cache).iter().map(lines).sum()
}

#[test]
#[cfg(unix)]
fn a_measurement_goes_on_where_ctrl_c_ended_it() {
    let Some(lab) = Lab::new() else { return };
    let (model, text) = (lab.export("smollm2-135m-instruct-ov-int4"), lab.text(TEXT, 60_000));
    let line = [
        "eval", "ppl", "--model", &model, "--text", &text, "--window", "128", "--limit", "24",
        "--json",
    ];
    let mut command = lab.lapwing.command(&line);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let cache = lab.lapwing.path("cache/eval");
    while n_journal_lines(&cache) < 3 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("of 24 are done; the same command goes on"), "{said}");
    assert!(output.stdout.is_empty());

    let again = lab.run(&line).expect_code(0).expect_says(&["going on: "]);
    let fresh = lab.run(&[&line[..], &["--fresh"]].concat()).expect_code(0);
    assert!(!fresh.stderr.contains("going on"), "{}", fresh.stderr);
    let result = |outcome: &Outcome| {
        let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
        report["result"].clone()
    };
    assert_eq!(result(&again), result(&fresh));
    assert_eq!(files_below(&cache), Vec::<String>::new());
}
