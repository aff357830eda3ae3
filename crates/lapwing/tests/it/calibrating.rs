//! `lapwing calibrate`, and `--correction` with what it wrote.

use std::path::Path;

use serde_json::Value;

use crate::evaluating::Lab;
use crate::files_below;

const HOME: &str = "wikitext2-test.raw";
const OTHER: &str = "war-and-peace-head.txt";
const MODEL: &str = "stories260k-ov-int4";

/// What [`coarse`] is called.
const COARSE: &str = "coarse";

/// Enough to be sure of a bias of its size, which is too small for the default gate.
const SIZES: [&str; 8] =
    ["--window", "128", "--windows", "80", "--precision", "exact", "--min-gain", "0"];

/// An export whose head loses so much that an offset surely brings some of it back.
fn coarse(lab: &Lab) -> String {
    let (source, out) = (lab.export("stories260k-hf"), lab.lapwing.path(COARSE));
    let out = out.to_str().unwrap().to_owned();
    let line = ["export", &source, "--to", "openvino", "--weights", "f32", "--head", "int4"];
    let more = ["--group-size", "row", "--symmetric", "--out", &out];
    lab.run(&[&line[..], &more].concat()).expect_code(0);
    out
}

fn calibrate(lab: &Lab, model: &str, more: &[&str]) -> Value {
    let text = lab.text(HOME, 60_000);
    let line = ["calibrate", "--model", model, "--text", &text, "--json"];
    lab.lapwing.json(&[&line[..], more].concat())
}

/// Run the model, an export's name or a path, with `more`.
fn answer(lab: &Lab, model: &str, more: &[&str]) -> crate::Outcome {
    // A whole path stays as it is.
    let model = lab.export(model);
    let line = ["run", "--model", &model, "--prompt", "Once upon a time", "-n", "12", "--json"];
    lab.run(&[&line[..], &["--top-logits", "3", "--warmup"], more].concat())
}

fn json(outcome: &crate::Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap()
}

#[test]
fn a_profile_with_an_open_gate_corrects_its_model_and_no_other() {
    let Some(lab) = Lab::new() else { return };
    let (reference, other) = (lab.export("stories260k-ov-fp32"), lab.text(OTHER, 30_000));
    let model = coarse(&lab);
    let made = calibrate(
        &lab,
        &model,
        &[&SIZES[..], &["--reference", &reference, "--other-text", &other]].concat(),
    );
    let profile = &made["profile"];
    assert_eq!(profile["gate"]["open"], true, "{made}");
    let chosen = &profile["gate"]["chosen"];
    let is_chosen = |verdict: &&Value| verdict["name"] == *chosen;
    let verdict = profile["candidates"].as_array().unwrap().iter().find(is_chosen).unwrap();
    assert_eq!(verdict["helps"], true);
    let folder = lab.lapwing.path("profiles");
    let name = format!("{COARSE}.cpu.correction");
    let digits = &profile["sidecar"]["sha256"].as_str().unwrap()[..8];
    let files = [format!("{name}.json"), format!("{name}.{digits}.safetensors")];
    assert_eq!(profile["sidecar"]["file"], files[1]);
    assert_eq!(files_below(&folder), [files[1].clone(), files[0].clone()]);
    let rules = &profile["gate"]["rules"];
    assert_eq!((&rules["min_gain_nats"], &rules["confidence"]), (&0.0.into(), &0.95.into()));
    let text = &verdict["texts"][0];
    assert!(text["rare_nll_change"]["mean"].is_f64(), "{text}");
    assert!(text["rare_probability_change"]["mean"].is_f64(), "{text}");
    let path = folder.join(&files[0]);
    let path = path.to_str().unwrap();
    assert_eq!(made["file"], path);

    let exact = ["--precision", "exact"];
    let raw = json(&answer(&lab, &model, &exact).expect_code(0));
    assert_eq!(raw["correction"]["used"], "off");
    assert_eq!(raw["timings"]["correction_us_p50"], Value::Null);
    for asked in ["auto", path, COARSE] {
        let outcome = answer(&lab, &model, &[&exact[..], &["--correction", asked]].concat());
        let report = json(&outcome.expect_code(0));
        let correction = &report["correction"];
        assert_eq!((&correction["requested"], &correction["used"]), (&asked.into(), &path.into()));
        assert_eq!(correction["candidate"], *chosen);
        assert!(0.0 < report["timings"]["correction_us_p50"].as_f64().unwrap(), "{report}");
        assert_eq!(report["first_step_top"], raw["first_step_top"], "logits are told raw");
    }
    is_measured(&lab, &model, path, &reference, &other);
    is_refused_elsewhere(&lab, &model, path);
    is_refused_when_damaged(&lab, &model, &folder, &files);
}

/// The profile brings the model closer to its reference.
fn is_measured(lab: &Lab, model: &str, path: &str, reference: &str, text: &str) {
    let kl = |correction: &str| {
        let report = lab.lapwing.json(&[
            "eval",
            "kl",
            "--model",
            model,
            "--reference",
            reference,
            "--text",
            text,
            "--window",
            "128",
            "--limit",
            "60",
            "--precision",
            "exact",
            "--json",
            "--correction",
            correction,
        ]);
        report["result"]["mean_kl"].as_f64().unwrap()
    };
    let (off, on) = (kl("off"), kl(path));
    assert!(on < off, "{on} {off}");
}

fn is_refused_elsewhere(lab: &Lab, own: &str, path: &str) {
    let check = |model: &str, more: &[&str], says: &str| {
        let outcome = answer(lab, model, &[&["--correction", path], more].concat());
        outcome.expect_code(1).expect_says(&[says, "hint: ", "--correction off"]);
    };
    check(own, &["--precision", "fast"], "expected precision exact, found fast");
    check("stories260k-ov-int8", &["--precision", "exact"], "expected sha256 of the model ");
    let another = "smollm2-135m-instruct-ort-int4";
    check(another, &["--precision", "exact"], "expected backend openvino, found ort");
    // A profile that is found by its name is no less checked.
    let folder = Path::new(path).parent().unwrap();
    let int8 = folder.join("stories260k-ov-int8.cpu.correction.json");
    std::fs::copy(path, &int8).unwrap();
    let more = ["--correction", "auto", "--precision", "exact"];
    let outcome = answer(lab, "stories260k-ov-int8", &more).expect_code(1);
    outcome.expect_says(&["calibrated on something else", "hint: "]);
    std::fs::remove_file(int8).unwrap();
}

fn is_refused_when_damaged(lab: &Lab, model: &str, folder: &Path, files: &[String; 2]) {
    let sidecar = folder.join(&files[1]);
    let whole = std::fs::read(&sidecar).unwrap();
    let check = |says: &[&str]| {
        let outcome = answer(lab, model, &["--precision", "exact", "--correction", "auto"]);
        outcome.expect_code(1).expect_says(says);
    };
    std::fs::write(&sidecar, &whole[..whole.len() - 5]).unwrap();
    let expected = format!("a sidecar of {} bytes: expected {}", whole.len() - 5, whole.len());
    check(&[&expected, "hint: the copy is not complete"]);
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&sidecar, changed).unwrap();
    check(&["not the sidecar of its profile: expected sha256", "hint: the copy"]);
    std::fs::remove_file(&sidecar).unwrap();
    check(&["cannot read", &files[1], "hint: a profile and its .safetensors file"]);
    std::fs::write(&sidecar, whole).unwrap();
    std::fs::write(folder.join(&files[0]), "{}").unwrap();
    check(&["not a correction profile", "hint: "]);
}

#[test]
fn a_gain_that_is_worth_nothing_keeps_the_gate_closed() {
    let Some(lab) = Lab::new() else { return };
    let (reference, other) = (lab.export("stories260k-ov-fp32"), lab.text(OTHER, 30_000));
    // What opens the gate when every gain counts.
    let sizes = &SIZES[..SIZES.len() - 2];
    let more = [sizes, &["--reference", &reference, "--other-text", &other]].concat();
    let made = calibrate(&lab, &lab.export(MODEL), &more);
    let profile = &made["profile"];
    assert_eq!(profile["gate"]["open"], false);
    assert_eq!(profile["gate"]["rules"]["min_gain_nats"], 0.01);
    let says = |verdict: &Value| verdict["reason"].as_str().unwrap().contains(" by 0.01 nat: by ");
    assert!(profile["candidates"].as_array().unwrap().iter().any(says));
}

#[test]
fn a_closed_gate_is_a_result_and_its_profile_is_not_used() {
    let Some(lab) = Lab::new() else { return };
    // What an earlier version left is replaced, with its arrays and nothing else.
    let folder = lab.lapwing.path("profiles");
    std::fs::create_dir_all(&folder).unwrap();
    let earlier = format!("{MODEL}.cpu.correction.safetensors");
    let left = serde_json::json!({"schema_version": 2, "sidecar": {"file": earlier}});
    let earlier_json = folder.join(format!("{MODEL}.cpu.correction.json"));
    std::fs::write(earlier_json, left.to_string()).unwrap();
    std::fs::write(folder.join(earlier), "arrays").unwrap();
    std::fs::write(folder.join("model.safetensors"), "weights").unwrap();
    // Without text of another domain nothing is let through.
    let made = calibrate(&lab, &lab.export(MODEL), &["--window", "32", "--windows", "60"]);
    let gate = &made["profile"]["gate"];
    assert_eq!((&gate["open"], &gate["chosen"]), (&false.into(), &Value::Null));
    assert_eq!(made["profile"]["sidecar"], Value::Null);
    let name = format!("{MODEL}.cpu.correction.json");
    assert_eq!(files_below(&folder), ["model.safetensors".to_owned(), name]);
    let outcome = answer(&lab, MODEL, &["--correction", MODEL]).expect_code(1);
    outcome.expect_says(&["the gate of", "is closed", "hint: ", "leave out --correction"]);
    let outcome = answer(&lab, MODEL, &["--correction", "auto"]).expect_code(0);
    assert_eq!(outcome.stderr.matches("no logit correction: the gate of").count(), 1);
    let correction = &json(&outcome)["correction"];
    assert_eq!((&correction["requested"], &correction["used"]), (&"auto".into(), &"off".into()));
    assert!(correction["reason"].as_str().unwrap().contains("is closed"), "{correction}");
}

#[test]
fn a_profile_of_something_else_is_not_replaced_silently() {
    let Some(lab) = Lab::new() else { return };
    let (model, text) = (lab.export(MODEL), lab.text(HOME, 30_000));
    let line = ["calibrate", "--model", &model, "--text", &text, "--window", "32"];
    let calibrate = |more: &[&str]| lab.run(&[&line[..], &["--windows", "60"], more].concat());
    calibrate(&["--gain", "0.5", "--gain", "0.5"]).expect_code(0);
    let path = lab.lapwing.path("profiles").join(format!("{MODEL}.cpu.correction.json"));
    let before = std::fs::read(&path).unwrap();
    let profile: Value = serde_json::from_slice(&before).unwrap();
    let is_given = |verdict: &&Value| verdict["name"] == "kls, gain 0.5";
    assert_eq!(profile["candidates"].as_array().unwrap().iter().filter(is_given).count(), 1);
    let says = ["the profile of something else: its precision is fast", "hint: --out", "--force"];
    calibrate(&["--precision", "exact"]).expect_code(1).expect_says(&says);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    // The same again, and what no reader takes, are replaced as ever.
    calibrate(&[]).expect_code(0);
    calibrate(&["--precision", "exact", "--force"]).expect_code(0);
    let after: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(after["model"]["precision"], "exact");
    std::fs::write(&path, "{}").unwrap();
    calibrate(&[]).expect_code(0);
    // What a later version wrote may be of anything.
    let later = r#"{"schema_version": 1000}"#;
    std::fs::write(&path, later).unwrap();
    let says = ["cannot tell whether", "a later version may have written it", "hint: --out"];
    calibrate(&[]).expect_code(1).expect_says(&says);
    assert_eq!(std::fs::read(&path).unwrap(), later.as_bytes());
    calibrate(&["--force"]).expect_code(0);
}

#[test]
fn what_a_calibration_cannot_bring_is_told_before_it_begins() {
    let Some(lab) = Lab::new() else { return };
    let (int4, int8) = (lab.export(MODEL), lab.export("stories260k-ov-int8"));
    let (fp32, text) = (lab.export("stories260k-ov-fp32"), lab.text(HOME, 30_000));
    let checkpoint = lab.export("stories260k-hf");
    let check = |model: &str, reference: &str, more: &[&str], says: &str, is_told: bool| {
        let line = ["calibrate", "--model", model, "--reference", reference, "--text", &text];
        let sizes = ["--window", "32", "--windows", "60", "--force"];
        let outcome = lab.run(&[&line[..], &sizes, more].concat()).expect_code(0);
        assert_eq!(outcome.stderr.contains(says), is_told, "{}", outcome.stderr);
    };
    check(&int8, &int4, &[], "warning: the reference's weights take", true);
    check(&int4, &fp32, &[], "warning: the reference's weights take", false);
    // This folder has no recipe of its export.
    let recipe = "a head map can be judged, and `lapwing export --correct-head` will refuse it";
    check(&int4, &fp32, &["--checkpoint", &checkpoint], recipe, true);
}

#[test]
fn without_a_profile_auto_is_off_and_a_name_is_refused() {
    let Some(lab) = Lab::new() else { return };
    let outcome = answer(&lab, MODEL, &["--correction", "auto"]).expect_code(0);
    let outcome = outcome.expect_says(&["no logit correction: there is no profile"]);
    assert_eq!(json(&outcome)["correction"]["used"], "off");
    let outcome = answer(&lab, MODEL, &["--correction", "mine"]).expect_code(1);
    outcome.expect_says(&["no correction profile \"mine\"", "hint: `lapwing calibrate`"]);
    // What cannot be looked for is not taken for missing.
    std::fs::write(lab.lapwing.path("profiles"), "").unwrap();
    for asked in ["auto", "mine"] {
        let outcome = answer(&lab, MODEL, &["--correction", asked]).expect_code(1);
        outcome.expect_says(&["cannot read", "profiles"]);
    }
}

#[test]
fn what_cannot_be_calibrated_is_told_with_what_to_do() {
    let Some(lab) = Lab::new() else { return };
    let (model, text) = (lab.export(MODEL), lab.text(HOME, 30_000));
    let (short, stranger) = (lab.text(HOME, 2_000), lab.export("smollm2-135m-instruct-ov-int4"));
    let checkpoint = lab.export("tiny/tiny-llama-hf");
    let check = |line: &[&str], code: i32, says: &[&str]| {
        let outcome = lab.run(&[&["calibrate", "--model", &model], line].concat());
        outcome.expect_code(code).expect_says(says);
    };
    let too_short = ["text is too short", "expected at least", "hint: give more text"];
    check(&["--text", &short], 1, &too_short);
    let mismatch = ["the reference has another tokenizer", "hint: --reference takes"];
    check(&["--text", &text, "--reference", &stranger], 1, &mismatch);
    check(&["--text", &text, "--reference", "nothere"], 1, &["cannot use the reference", "hint: "]);
    let both = ["is a text of the calibration too", "hint: --other-text takes"];
    check(&["--text", &text, "--other-text", &text], 2, &both);
    let twice = ["is the same text as", "hint: name every text with one --text"];
    let copy = lab.lapwing.path("copy.txt");
    std::fs::copy(&text, &copy).unwrap();
    check(&["--text", &text, "--text", copy.to_str().unwrap()], 2, &twice);
    let repeated = lab.lapwing.path("repeated.txt");
    std::fs::write(&repeated, "Once upon a time. ".repeat(1000)).unwrap();
    let seen = ["of the held-out text are in the calibration text too", "hint: text that is"];
    let line = ["--text", repeated.to_str().unwrap(), "--window", "32", "--windows", "60"];
    check(&line, 1, &seen);
    for gain in ["-1", "NaN", "inf"] {
        let says = ["expected a number of at least 0"];
        check(&["--text", &text, "--min-gain", gain], 2, &says);
    }
    let name = ["a profile cannot be called", "hint: choose another --out"];
    check(&["--text", &text, "--out", "/tmp/.hidden.json"], 1, &name);
    check(
        &["--text", &text, "--out", "/nowhere/a.correction.json"],
        1,
        &["cannot write /nowhere/a.correction.json"],
    );
    check(&["--text", &text, "--held-out", "1"], 2, &["expected a number between 0 and 1"]);
    check(&["--text", &text, "--window", "7"], 2, &["expected a whole number of at least 8"]);
    check(&["--text", &text, "--gain", "1.5"], 2, &["expected a number from 0 to 1"]);
    check(&["--text", &text, "--correction", "auto"], 2, &["corrections are fitted to raw logits"]);
    let long = ["a window of 9999 tokens is too long", "hint: give a smaller --window"];
    check(&["--text", &text, "--window", "9999"], 1, &long);
    let few = ["windows of the calibration text are too few: expected at least 5", "--windows"];
    check(&["--text", &text, "--window", "64", "--windows", "3"], 1, &few);
    let itself = ["the reference is the model itself", "hint: --reference takes"];
    check(&["--text", &text, "--reference", &model], 1, &itself);
    let needs = ["--checkpoint", "--reference"];
    check(&["--text", &text, "--checkpoint", &checkpoint], 2, &needs);
    assert_eq!(files_below(&lab.lapwing.path("profiles")), Vec::<String>::new());
}
