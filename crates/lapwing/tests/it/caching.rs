//! `lapwing cache`, and what happens to compiled models when processes meet, die or may not write.
#![cfg(unix)]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::real::{shared_folder, with_runtimes};
use crate::{Lapwing, files_below};

/// The program, and a model that it compiles.
struct Setting {
    lapwing: Lapwing,
    model: String,
}

fn setting(export: &str) -> Option<Setting> {
    let lapwing = with_runtimes(Lapwing::new())?;
    let model = shared_folder()?.join("exports").join(export);
    Some(Setting { lapwing, model: model.to_str().unwrap().to_owned() })
}

impl Setting {
    fn cache(&self) -> PathBuf {
        self.lapwing.path("cache/openvino")
    }

    fn list(&self) -> Vec<Value> {
        let list = self.lapwing.json(&["cache", "list", "--json"]);
        list.as_array().unwrap().clone()
    }

    fn warm_arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["cache", "warm", &self.model, "--device", "cpu", "--json"], more].concat()
    }

    /// What came of the cache when the model was opened.
    fn warm(&self, more: &[&str]) -> String {
        let warmed = self.lapwing.json(&self.warm_arguments(more));
        outcome_of(&warmed[0])
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.lapwing.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }
}

fn outcome_of(report: &Value) -> String {
    report["compile_cache"]["outcome"].as_str().unwrap().to_owned()
}

/// Wait until `is_so`, or fail after a while.
fn wait_until(what: &str, is_so: &dyn Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < patience, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn compiled_models_are_made_listed_and_removed() {
    let Some(setting) = setting("stories260k-ov-int8") else { return };
    let lapwing = &setting.lapwing;
    lapwing.run(&["cache", "list"]).expect_code(0).expect_says(&["nothing is kept"]);
    assert_eq!(setting.list(), Vec::<Value>::new());
    assert_eq!(setting.warm(&[]), "stored");
    assert_eq!(setting.warm(&[]), "hit");
    assert_eq!(setting.warm(&["--precision", "exact"]), "stored");
    let list = setting.list();
    assert_eq!(list.len(), 2);
    for kept in &list {
        assert_eq!(kept["model"], Value::from(setting.model.as_str()));
        assert_eq!((&kept["device"], &kept["state"]), (&"CPU".into(), &"ready".into()));
        assert!(kept["library_version"].as_str().unwrap().starts_with("20"));
        assert!(0.0 < kept["compile_ms"].as_f64().unwrap());
        let files = files_below(&PathBuf::from(kept["path"].as_str().unwrap()));
        assert!(files.contains(&"entry.json".to_owned()) && files.len() == 2, "{files:?}");
    }
    // What was used last comes first.
    assert_eq!(list[0]["properties"]["INFERENCE_PRECISION_HINT"], "f32");
    assert_eq!(setting.warm(&[]), "hit");
    assert_eq!(setting.list()[1]["properties"]["INFERENCE_PRECISION_HINT"], "f32");
    let table = lapwing.run(&["cache", "list"]).expect_code(0).stdout;
    assert!(table.starts_with("MODEL") && table.matches("ready").count() == 2, "{table}");

    lapwing.run(&["cache", "clear", "--model", "nothing"]).expect_code(1).expect_says(&["nothing"]);
    let other = setting.model.replace("int8", "int4");
    let cleared = lapwing.json(&["cache", "clear", "--model", &other, "--json"]);
    assert_eq!(cleared["n_removed"], 0);
    assert_eq!(setting.list().len(), 2);
    let cleared = lapwing.json(&["cache", "clear", "--model", &setting.model, "--json"]);
    assert_eq!(cleared["n_removed"], 2);
    assert_eq!(setting.list().len(), 0);
    assert_eq!(setting.warm(&[]), "stored");
    lapwing.run(&["cache", "clear"]).expect_code(0).expect_says(&["removed 1 compiled model"]);
    assert!(!setting.cache().exists());
}

#[test]
fn an_answer_tells_what_came_of_the_cache() {
    let Some(setting) = setting("stories260k-ov-int8") else { return };
    let lapwing = &setting.lapwing;
    // What an earlier version left goes with the first start.
    std::fs::create_dir_all(setting.cache()).unwrap();
    std::fs::write(setting.cache().join("17.blob"), "compiled").unwrap();
    let arguments = [
        "run",
        "--model",
        &setting.model,
        "--device",
        "cpu",
        "--prompt-ids",
        "1,2",
        "-n1",
        "--json",
    ];
    let cold = lapwing.json(&arguments);
    let warm = lapwing.json(&arguments);
    assert_eq!((outcome_of(&cold), outcome_of(&warm)), ("stored".to_owned(), "hit".to_owned()));
    assert_eq!(cold["token_ids"], warm["token_ids"]);
    assert_eq!(cold["compile_cache"]["size_bytes"], warm["compile_cache"]["size_bytes"]);
    let is_time = |report: &Value, key: &str| 0.0 < report["timings"][key].as_f64().unwrap();
    assert!(is_time(&warm, "read_ms") && is_time(&warm, "compile_ms"), "{warm}");
    assert!(!setting.cache().join("17.blob").exists());
    // Damage is told, mended, and forgotten.
    let blob = files_below(&setting.cache()).into_iter().find(|file| file.ends_with(".blob"));
    let blob = setting.cache().join(blob.unwrap());
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, "damaged").unwrap();
    let outcome = lapwing.run(&arguments).expect_code(0);
    let mended: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(outcome_of(&mended), "rebuilt");
    assert_eq!(mended["token_ids"], cold["token_ids"]);
    outcome.expect_says(&["compiled the model anew", "has 7 bytes"]);
    assert_eq!(outcome_of(&lapwing.json(&arguments)), "hit");
}

#[test]
fn a_model_that_is_open_stays() {
    let Some(setting) = setting("stories260k-ov-int8") else { return };
    let lapwing = &setting.lapwing;
    let mut chat = setting.start(&["chat", "--model", &setting.model, "--device", "cpu"]);
    wait_until("a model is open", &|| {
        setting.list().first().is_some_and(|kept| kept["state"] == "in use")
    });
    lapwing.run(&["cache", "clear"]).expect_code(1).expect_says(&["1 of 1", "in use"]);
    lapwing.run(&["rm", "--cache", "--yes"]).expect_code(1).expect_says(&["in use", "end the"]);
    assert_eq!(setting.list().len(), 1);
    drop(chat.stdin.take());
    chat.wait().unwrap();
    lapwing.run(&["cache", "clear"]).expect_code(0).expect_says(&["removed 1 compiled model"]);
}

#[test]
fn of_two_processes_at_once_one_compiles() {
    let Some(setting) = setting("smollm2-135m-instruct-ov-int4") else { return };
    let arguments = setting.warm_arguments(&[]);
    let both = [setting.start(&arguments), setting.start(&arguments)].map(|child| {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        outcome_of(&report[0])
    });
    assert!(both.contains(&"stored".to_owned()) && both.contains(&"hit".to_owned()), "{both:?}");
    assert_eq!(setting.list().len(), 1);
}

#[test]
fn a_killed_process_leaves_nothing_that_is_taken_for_an_entry() {
    let Some(setting) = setting("smollm2-135m-instruct-ov-int4") else { return };
    let is_partial = |file: &String| file.contains(".partial/") && file.ends_with(".blob");
    let is_written = || files_below(&setting.cache()).iter().any(is_partial);
    let mut child = setting.start(&setting.warm_arguments(&[]));
    wait_until("something is written", &is_written);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_written(), "it was killed in time");
    assert_eq!(setting.list().len(), 0);
    assert_eq!(setting.warm(&[]), "stored");
    assert!(!is_written());
    assert_eq!(setting.warm(&[]), "hit");
}

#[test]
fn a_cache_that_cannot_be_written_keeps_nobody_from_an_answer() {
    let Some(setting) = setting("stories260k-ov-int8") else { return };
    let run = ["run", "--model", &setting.model, "--device", "cpu", "--prompt-ids", "1", "-n1"];
    // A limit for the size of files ends a process that goes beyond.
    let limited = |arguments: &[&str]| {
        let program = setting.lapwing.command(arguments);
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -f 1000; exec \"$0\" \"$@\""]);
        shell.arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell.output().unwrap()
    };
    let output = limited(&[&run[..], &["--json"]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(outcome_of(&report), "not stored");
    let why = report["compile_cache"]["why"].as_str().unwrap();
    assert!(why.contains("ulimit -f"), "{why}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not kept"));
    // A file where the folder should be.
    std::fs::remove_dir_all(setting.lapwing.path("cache")).unwrap();
    std::fs::write(setting.lapwing.path("cache"), "").unwrap();
    let outcome = setting.lapwing.run(&run).expect_code(0);
    outcome.expect_says(&["the compiled model is not kept", "cannot make"]);
    let outcome = setting.lapwing.run(&setting.warm_arguments(&[])).expect_code(1);
    outcome.expect_says(&["is not kept", "cannot make"]);
}

#[test]
fn a_backend_without_a_cache_says_so() {
    let Some(setting) = setting("tiny/tiny-llama-ort_fp32") else { return };
    let arguments = ["cache", "warm", &setting.model];
    let outcome = setting.lapwing.run(&arguments).expect_code(1);
    assert!(outcome.stdout.contains("ort keeps nothing"), "{}", outcome.stdout);
    outcome.expect_says(&["is not kept", "compiles at every start"]);
}
