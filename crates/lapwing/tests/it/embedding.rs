//! `embed`: vectors of texts, and what is no model for it.

use std::path::PathBuf;

use serde_json::Value;

use crate::Lapwing;
use crate::real::{library, shared_folder};

/// The small encoder that the tests of ONNX Runtime write.
fn tiny() -> PathBuf {
    let folder = "../lapwing-ort/tests/data/tiny-encoder";
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder)
}

fn with_library() -> Option<Lapwing> {
    Some(Lapwing::new().with("ORT_DYLIB_PATH", library("LAPWING_TEST_ORT")?))
}

fn numbers(vector: &Value) -> Vec<f64> {
    serde_json::from_value(vector.clone()).unwrap()
}

fn length(vector: &Value) -> f64 {
    numbers(vector).iter().map(|x| x * x).sum::<f64>().sqrt()
}

#[test]
fn texts_become_vectors_a_line_each() {
    let Some(lapwing) = with_library() else { return };
    let tiny = tiny();
    let tiny = tiny.to_str().unwrap();
    let embed = |more: &[&str]| lapwing.run(&[&["embed", tiny], more].concat());
    let outcome = embed(&["the cats sat", "a dog."]).expect_code(0);
    let lines: Vec<Value> =
        outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| (length(line) - 1.0).abs() < 1e-6), "{lines:?}");
    let file = lapwing.path("texts");
    std::fs::write(&file, "the cats sat\na dog.\n").unwrap();
    assert_eq!(embed(&["--file", file.to_str().unwrap()]).expect_code(0).stdout, outcome.stdout);

    let report = lapwing.json(&["embed", tiny, "the cats sat", "a dog.", "--json", "--raw"]);
    // [CLS] the cat ##s sat [SEP], [CLS] a dog . [SEP]
    let n_tokens: Vec<_> =
        report["data"].as_array().unwrap().iter().map(|d| &d["n_tokens"]).collect();
    assert_eq!(n_tokens, [6, 5]);
    assert_eq!(report["usage"]["prompt_tokens"], 11);
    assert_eq!(
        (&report["pooling"], &report["n_dimensions"]),
        (&"mean of all tokens".into(), &4.into())
    );
    assert_eq!((&report["n_tokens_max"], &report["device_used"]), (&8.into(), &"CPU".into()));
    // The mean of rows with the mean of all added is twice that of the words and their type.
    let word = |token: usize, column: usize| ((token * 4 + column) * 7 % 13) as f64 / 4.0 - 1.5;
    let kind = [0.5, 0.0, 0.0, -0.5];
    let raw = numbers(&report["data"][0]["embedding"]);
    for (column, found) in raw.iter().enumerate() {
        let sum: f64 = [2, 7, 4, 6, 8, 3].iter().map(|&token| word(token, column)).sum();
        assert!((found - 2.0 * (sum / 6.0 + kind[column])).abs() < 1e-5, "{raw:?}");
    }
    let unit = numbers(&lines[0]);
    let long = raw.iter().map(|x| x * x).sum::<f64>().sqrt();
    assert!(raw.iter().zip(unit).all(|(raw, unit)| (raw / long - unit).abs() < 1e-6));
}

#[test]
fn a_text_that_is_too_long_is_refused_or_cut() {
    let Some(lapwing) = with_library() else { return };
    let tiny = tiny();
    let long = "the cat sat the cat sat the";
    let line = ["embed", tiny.to_str().unwrap(), "a", long];
    let says = ["text 2", "9 tokens is too long: the model takes 8", "hint: --truncate"];
    lapwing.run(&line).expect_code(1).expect_says(&says);
    let cut = lapwing.json(&[&line[..], &["--truncate", "--json"]].concat());
    let whole =
        lapwing.json(&["embed", tiny.to_str().unwrap(), "the cat sat the cat sat", "--json"]);
    assert_eq!(cut["data"][1], whole["data"][0]);
}

#[test]
fn models_for_answers_and_for_embeddings_are_not_taken_for_each_other() {
    let Some(lapwing) = with_library() else { return };
    let Some(shared) = shared_folder() else { return };
    let tiny = tiny();
    let tiny = tiny.to_str().unwrap();
    for command in ["run", "chat"] {
        let mut line = vec![command, "--model", tiny];
        line.extend(if command == "run" { &["--prompt", "a"][..] } else { &[] });
        let says = ["makes embeddings and no answers", "hint: `lapwing embed "];
        lapwing.run(&line).expect_code(1).expect_says(&says);
    }
    let decoder = shared.join("exports/stories260k-transformersjs");
    let line = ["embed", decoder.to_str().unwrap(), "--variant", "fp32", "a"];
    let says = ["makes no embeddings: its graph gives `logits`", "hint: `lapwing run`"];
    lapwing.run(&line).expect_code(1).expect_says(&says);
    let says = ["embeddings are made on the CPU, not on `gpu`", "hint: leave out --device"];
    lapwing.run(&["embed", tiny, "a", "--device", "gpu"]).expect_code(1).expect_says(&says);
}

#[test]
fn inspect_tells_what_embeddings_are_made_of() {
    let lapwing = Lapwing::new();
    let tiny = tiny();
    let description = lapwing.json(&["inspect", tiny.to_str().unwrap(), "--json"]);
    assert_eq!(description["embeds"], true);
    let facts = &description["facts"];
    assert_eq!(facts["embeddings"], "the mean of all tokens, of length 1");
    assert_eq!(facts["context"], 8);
    let bare = lapwing.path("bare");
    std::fs::create_dir(&bare).unwrap();
    for name in ["model.onnx", "config.json", "tokenizer.json"] {
        std::fs::write(bare.join(name), std::fs::read(tiny.join(name)).unwrap()).unwrap();
    }
    let description = lapwing.json(&["inspect", bare.to_str().unwrap(), "--json"]);
    let facts = &description["facts"];
    let expected = "the mean of all tokens, since no file says how, of length 1";
    assert_eq!((&facts["embeddings"], &facts["context"]), (&expected.into(), &16.into()));
}
