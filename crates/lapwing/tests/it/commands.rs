//! Exit codes, help, JSON, colours and closed pipes.

use std::io::Read;
use std::process::Stdio;

use crate::Lapwing;

#[test]
fn help_needs_nothing() {
    let lapwing = Lapwing::new();
    let help = lapwing.run(&["--help"]).expect_code(0).stdout;
    for command in [
        "run",
        "chat",
        "embed",
        "tokenize",
        "devices",
        "doctor",
        "inspect",
        "pull",
        "list",
        "rm",
        "export",
        "calibrate",
        "eval",
        "report",
        "compare",
        "completions",
        "man",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in: {help}");
        let own = lapwing.run(&[command, "--help"]).expect_code(0).stdout;
        assert!(own.contains("Usage: lapwing"), "{own}");
    }
    assert!(lapwing.run(&["--version"]).expect_code(0).stdout.starts_with("lapwing "));
}

#[test]
fn exit_codes() {
    let check = |arguments: &[&str], code: i32, says: &[&str]| {
        Lapwing::new().run(arguments).expect_code(code).expect_says(says);
    };
    check(&[], 2, &["Usage: lapwing"]);
    check(&["fly"], 2, &["unrecognized subcommand 'fly'"]);
    check(&["hel"], 2, &["a similar subcommand exists: 'help'"]);
    check(&["list", "--nonsense"], 2, &["--nonsense"]);
    check(&["list"], 0, &["the store is empty", "lapwing list --all"]);
    check(&["pull", "qwen3-8b-int4-o"], 1, &["unknown model", "hint: did you mean"]);
    check(&["pull", "nothing-like-it"], 1, &["hint: `lapwing list --all`"]);
    check(&["rm", "gone"], 1, &["no model gone", "hint: `lapwing list`"]);
    check(&["rm", "openvino"], 1, &["cannot remove openvino: there is no ", "natives"]);
    check(&["rm", "--cache"], 2, &["cannot ask", "hint:", "--yes"]);
    check(&["rm", "gone", "--yes"], 1, &["no model gone", "hint: `lapwing list`"]);
    check(&["rm", "../../etc", "--yes"], 1, &["cannot be a model name", "hint: `lapwing list`"]);
    check(&["pull", "a/b", "c/d", "--as", "x"], 2, &["several models"]);
}

#[test]
fn numbers_out_of_range_are_told_with_the_range() {
    let check = |more: &[&str], says: &str| {
        let outcome = Lapwing::new().run(&[&["run", "--model", "m"], more].concat());
        outcome.expect_code(2).expect_says(&[more[0], more[1], says]);
    };
    check(&["--seed", "-1"], "expected a whole number from 0 to 18446744073709551615");
    check(&["--max-tokens", "0"], "expected a whole number of at least 1");
    check(&["--max-tokens", "-5"], "expected a whole number of at least 1");
    check(&["--threads", "0"], "expected a whole number of at least 1");
    // Never run: so many threads stop a machine.
    for many in ["99999", "5000000000", "99999999999999999999999"] {
        check(&["--threads", many], "expected at most ");
        check(&["--threads", many], "processor");
        let list = format!("1,{many}");
        let bench = Lapwing::new().run(&["bench", "--model", "m", "--threads", &list]);
        bench.expect_code(2).expect_says(&["--threads", many, "expected at most "]);
    }
    check(&["--property", "INFERENCE_NUM_THREADS=99999"], "expected at most ");
    check(&["--context", "many"], "expected a whole number of at least 1");
    check(&["--top-k", "-1"], "expected a whole number of at least 0");
    check(&["--top-p", "-1"], "expected a number from 0 to 1");
}

#[test]
fn help_marks_what_this_version_cannot_do() {
    let help = Lapwing::new().run(&["run", "--help"]).expect_code(0).stdout;
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for mark in ["CPU kernels (not in this version)", "npu:cpu: the NPU path on the CPU, for tests"]
    {
        assert!(help.contains(mark), "{mark} is not in: {help}");
    }
}

#[test]
fn the_doctor_says_to_correct_or_unset_a_wrong_pointer() {
    let lapwing = Lapwing::new().with("ORT_DYLIB_PATH", "/nowhere/lib.so");
    let check = |says: &str| {
        let report = lapwing.run(&["doctor"]).expect_code(1).stdout;
        let mut lines = report.lines().skip_while(|line| !line.contains("ORT_DYLIB_PATH points"));
        assert!(lines.next().is_some_and(|line| line.starts_with("broken")), "{report}");
        let cure = lines.next().unwrap();
        assert!(cure.contains("-> correct ORT_DYLIB_PATH, or unset it: "), "{report}");
        assert!(cure.ends_with(says), "{report}");
    };
    check("then `lapwing pull onnxruntime` gets one");
    let version = lapwing_store::natives::Runtime::OnnxRuntime.version();
    std::fs::create_dir_all(lapwing.path(&format!("natives/onnxruntime-{version}"))).unwrap();
    check("then the pulled runtime is found");
}

#[test]
fn what_a_gpu_and_an_npu_lack_is_told_with_its_cure() {
    // Nothing is pulled here, and there may be a GPU: only what agrees is checked.
    let lapwing = Lapwing::new();
    let doctor = lapwing.run(&["doctor", "--json"]).stdout;
    let doctor: serde_json::Value = serde_json::from_str(&doctor).unwrap();
    let checks = doctor["checks"].as_array().unwrap();
    let check = |what: &str| checks.iter().find(|check| check["what"] == what);
    for what in ["gpu device", "npu device", "libOpenCL.so.1", "libze_loader.so.1"] {
        let found = check(what).unwrap_or_else(|| panic!("{what} is not in {doctor}"));
        assert_eq!(found["cure"].is_null(), found["standing"] == "ok", "{found}");
    }
    // For people only what is there, or may be there, unless they ask for more.
    let device = check("npu device").unwrap();
    if device["standing"] == "absent" {
        let [brief, whole] = [&["doctor"][..], &["doctor", "-v"]].map(|line| lapwing.run(line));
        assert!(brief.stdout.contains("npu device"), "{}", brief.stdout);
        assert!(!brief.stdout.contains("libze_loader.so.1"), "{}", brief.stdout);
        assert!(brief.stderr.contains("-v also tells"), "{}", brief.stderr);
        assert!(whole.stdout.contains("libze_loader.so.1"), "{}", whole.stdout);
    }
    let devices = lapwing.json(&["devices", "--json"]);
    let absent = devices["absent"].as_array().unwrap();
    let names: Vec<_> = absent.iter().map(|absent| absent["device"].clone()).collect();
    assert_eq!(names, ["gpu", "npu"]);
    for absent in absent {
        assert_eq!(absent["verified"], "not verified on hardware");
        assert!(!absent["reason"].as_str().unwrap().is_empty(), "{absent}");
        for missing in absent["missing"].as_array().unwrap() {
            let found = check(missing.as_str().unwrap()).unwrap();
            assert_ne!(found["standing"], "ok", "{found}");
        }
    }
    let table = lapwing.run(&["devices"]).expect_code(0).stdout;
    for part in ["absent: ", "not verified on hardware", "`lapwing doctor` tells what"] {
        assert!(table.contains(part), "{table}");
    }
}

#[test]
fn what_is_no_checkpoint_is_told_by_its_first_bytes() {
    let lapwing = Lapwing::new();
    let text = lapwing.path("q.txt");
    std::fs::write(&text, "hello world this is text").unwrap();
    let (text, out) = (text.to_str().unwrap(), lapwing.path("out"));
    let arguments = ["export", text, "--to", "onnx", "--out", out.to_str().unwrap()];
    let outcome = lapwing.run(&arguments).expect_code(1);
    outcome.expect_says(&["expected a GGUF file", "begins with \"hello world this\"", "hint: "]);
    let outcome = lapwing.run(&["run", "--model", text, "--prompt", "hi"]).expect_code(1);
    let outcome = outcome.expect_says(&["hint: a model is a folder, or a name"]);
    assert!(!outcome.stderr.contains("export"), "{}", outcome.stderr);
}

#[test]
fn removing_a_runtime_tells_its_size() {
    let lapwing = Lapwing::new();
    let version = lapwing_store::natives::Runtime::OnnxRuntime.version();
    let folder = lapwing.path(&format!("natives/onnxruntime-{version}"));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("libonnxruntime.so"), vec![0; 1_200_000]).unwrap();
    // What is named twice is removed once.
    let said = lapwing.run(&["rm", "onnxruntime", "onnxruntime", "--yes"]).expect_code(0);
    assert_eq!(said.stderr.matches("removed").count(), 1, "{}", said.stderr);
    said.expect_says(&["removed onnxruntime", "(1.2 MB)"]);
}

#[test]
fn wrong_settings_are_wrong_usage() {
    let outcome = Lapwing::new().with("LAPWING_THREADS", "many").run(&["run", "--model", "m"]);
    outcome.expect_code(2).expect_says(&["LAPWING_THREADS", "\"many\""]);

    let lapwing = Lapwing::new();
    std::fs::write(lapwing.path("lapwing.toml"), "treads = 4\n").unwrap();
    let said = lapwing.run(&["run", "--model", "m"]).expect_code(2);
    said.expect_says(&["lapwing.toml", "treads", "did you mean `threads`?"]);
    // What only looks goes on.
    lapwing.run(&["list"]).expect_code(0).expect_says(&["warning", "lapwing.toml", "treads"]);
    // Completions describe the program and need no settings.
    lapwing.run(&["completions", "bash"]).expect_code(0);
    lapwing.run(&["--config", "/nowhere.toml", "list"]).expect_code(2);
}

#[test]
fn tables_have_json() {
    let lapwing = Lapwing::new();
    assert_eq!(lapwing.json(&["list", "--json"]), serde_json::json!([]));
    let all = lapwing.json(&["list", "--all", "--json"]);
    let smollm = all.as_array().unwrap().iter().find(|m| m["name"] == "smollm2-135m-instruct");
    let smollm = smollm.unwrap();
    assert_eq!(smollm["in_store"], false);
    assert_eq!(smollm["size_bytes"], 98_362_432);
    assert_eq!(smollm["kind"], "gguf");
}

#[test]
fn quiet_keeps_messages_back_and_not_errors() {
    let lapwing = Lapwing::new();
    assert_eq!(lapwing.run(&["list", "--quiet"]).expect_code(0).stderr, "");
    let outcome = lapwing.run(&["--quiet", "rm", "gone", "--yes"]).expect_code(1);
    outcome.expect_says(&["error: ", "hint: "]);
}

#[test]
fn colours() {
    let check = |environment: &[(&'static str, &str)], coloured: bool| {
        let mut lapwing = Lapwing::new();
        for (name, value) in environment {
            lapwing = lapwing.with(name, *value);
        }
        let stderr = lapwing.run(&["rm", "gone", "--yes"]).expect_code(1).stderr;
        assert_eq!(stderr.contains('\x1b'), coloured, "{environment:?}: {stderr:?}");
    };
    check(&[], false);
    check(&[("CLICOLOR_FORCE", "1")], true);
    check(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let lapwing = Lapwing::new();
    for arguments in [&["completions", "bash"][..], &["list", "--all"], &["man"], &["--help"]] {
        let mut command = lapwing.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{arguments:?}: {stderr}");
        assert_eq!(stderr, "", "{arguments:?}");
    }
}

/// `/dev/full` takes nothing.
#[cfg(target_os = "linux")]
#[test]
fn what_nobody_gets_to_read_is_a_failure() {
    let lapwing = Lapwing::new();
    for line in [
        "--help",
        "-h",
        "help",
        "--version",
        "run --help",
        "help run",
        "eval ppl --help",
        "completions bash",
        "man",
        "list --all",
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = lapwing.command(&arguments);
        let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}: {said}");
        let expected = "error: cannot write to stdout: ";
        assert!(said.starts_with(expected) && said.contains("hint: "), "{line}: {said}");
    }
}

#[test]
fn model_and_prompt_may_be_words() {
    let lapwing = Lapwing::new();
    let check = |arguments: &[&str], code: i32, says: &[&str]| {
        lapwing.run(arguments).expect_code(code).expect_says(says);
    };
    check(&["run", "m", "hi"], 1, &["no model \"m\""]);
    check(&["chat", "m"], 1, &["no model \"m\""]);
    check(&["run", "what is it"], 1, &["no model \"what is it\"", "`lapwing run MODEL TEXT`"]);
    check(&["run", "m", "what", "is", "it"], 2, &["'is'", "in quotes"]);
    check(&["run", "m", "--nonsense"], 2, &["'--nonsense'"]);
    check(&["run", "-m", "m", "hi", "-p", "ho"], 2, &["prompt is given twice"]);
    check(&["run", "-m", "m", "n", "hi"], 2, &["model is given twice"]);
}

#[test]
fn a_misspelling_is_never_taken_for_a_hidden_command() {
    let lapwing = Lapwing::new();
    lapwing.run(&["compre"]).expect_code(2).expect_says(&["'compare'"]);
    let said = lapwing.run(&["workr"]).expect_code(2);
    assert!(!said.stderr.contains("worker"), "{}", said.stderr);
}

#[test]
fn completions_and_manual() {
    let lapwing = Lapwing::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = lapwing.run(&["completions", shell]).expect_code(0).stdout;
        assert!(script.contains("lapwing") && script.contains("completions"), "{shell}");
        assert!(script.contains("compare") && !script.contains("worker"), "{shell}");
    }
    let page = lapwing.run(&["man"]).expect_code(0).stdout;
    assert!(page.contains(".TH lapwing 1") && page.contains("LAPWING_HOME"), "{page}");

    let folder = lapwing.path("man");
    lapwing.run(&["man", "--out", folder.to_str().unwrap()]).expect_code(0);
    assert!(crate::files_below(&folder).contains(&"lapwing-run.1".to_owned()));
}

#[test]
fn the_compile_cache_is_shown_and_removed() {
    let lapwing = Lapwing::new();
    let blobs = lapwing.path("cache/openvino");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(blobs.join("1.blob"), vec![0; 12_000]).unwrap();
    let says = |part: &str| {
        let report = lapwing.run(&["doctor"]).stdout;
        let line = report.lines().find(|line| line.contains("compile cache")).unwrap();
        assert!(line.contains(part), "{line}");
    };
    says("12.0 kB of at most 4.0 GB");
    lapwing.run(&["rm", "--cache"]).expect_code(2).expect_says(&["the compile cache", "--yes"]);
    lapwing.run(&["rm", "--cache", "--yes"]).expect_code(0).expect_says(&["12.0 kB"]);
    assert!(!blobs.exists());
    says("0 B");
}
