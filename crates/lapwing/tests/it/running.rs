//! What `run`, `chat` and `export` do beside their work: Ctrl-C at every stage, failed messages,
//! `-v`, names in the store, notes about options.
#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::Lapwing;
use crate::real::{shared_folder, with_runtimes};

/// A model, and the program to run it.
struct Setting {
    lapwing: Lapwing,
    model: String,
}

/// A prompt whose answer fills the whole context.
const ENDLESS: [&str; 5] = ["--prompt", "Once", "--ignore-eos", "--max-tokens", "100000"];

fn setting_with(export: &str) -> Option<Setting> {
    let lapwing = with_runtimes(Lapwing::new())?;
    let model = shared_folder()?.join("exports").join(export);
    Some(Setting { lapwing, model: model.to_str().unwrap().to_owned() })
}

fn setting() -> Option<Setting> {
    setting_with("stories260k-ov-int8")
}

/// With a model that takes minutes to fill its context.
fn slow_setting() -> Option<Setting> {
    setting_with("smollm2-135m-instruct-ov-int4")
}

impl Setting {
    fn start(&self, command: &str, more: &[&str]) -> Child {
        let arguments = [&[command, "--model", &self.model], more].concat();
        let mut command = self.lapwing.command(&arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }
}

fn interrupt(child: &Child) {
    let killed =
        std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.unwrap().success());
}

/// Code, stdout and stderr.
fn end(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Wait until stderr has a line with `part`; the handler is installed by then.
fn wait_for(child: &mut Child, part: &str) {
    let stderr = BufReader::new(child.stderr.as_mut().unwrap());
    for line in stderr.lines() {
        if line.unwrap().contains(part) {
            return;
        }
    }
    panic!("stderr ended without {part}");
}

#[test]
fn ctrl_c_during_an_answer_ends_run_with_130() {
    let Some(setting) = slow_setting() else { return };
    let mut child = setting.start("run", &ENDLESS);
    let mut first = [0; 4];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    interrupt(&child);
    let (code, stdout, stderr) = end(child);
    assert_eq!(code, Some(130), "{stderr}");
    assert!(stderr.contains("interrupted") && !stderr.contains("error"), "{stderr}");
    assert!(stdout.ends_with('\n'), "{stdout}");
}

#[test]
fn ctrl_c_during_an_answer_as_json_still_writes_the_json() {
    let Some(setting) = slow_setting() else { return };
    let mut child = setting.start("run", &[&ENDLESS[..], &["--json", "-v"]].concat());
    wait_for(&mut child, "opened");
    std::thread::sleep(Duration::from_millis(500));
    interrupt(&child);
    let (code, stdout, stderr) = end(child);
    assert_eq!(code, Some(130), "{stderr}");
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["finish_reason"], "cancelled");
    let n_tokens = report["usage"]["completion_tokens"].as_u64().unwrap();
    assert_eq!(report["token_ids"].as_array().unwrap().len() as u64, n_tokens);
}

#[test]
fn ctrl_c_during_the_load_ends_run_and_chat_before_an_answer() {
    let Some(setting) = setting() else { return };
    for (command, more) in [("run", &["--prompt", "Once", "-vv"][..]), ("chat", &["-vv"])] {
        let mut child = setting.start(command, more);
        wait_for(&mut child, "loading");
        interrupt(&child);
        // The input stays open: nothing but the signal ends the chat.
        let stdin = child.stdin.take();
        let (code, stdout, stderr) = end(child);
        drop(stdin);
        assert_eq!((code, stdout.as_str()), (Some(130), ""), "{command}: {stderr}");
    }
}

#[test]
fn ctrl_c_while_chat_waits_on_a_pipe_ends_it() {
    let Some(setting) = setting() else { return };
    let mut child = setting.start("chat", &["--max-tokens", "4"]);
    writeln!(child.stdin.as_mut().unwrap(), "Once upon a time").unwrap();
    let mut answer = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut answer).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none());
    interrupt(&child);
    let stdin = child.stdin.take();
    let (code, _, stderr) = end(child);
    drop(stdin);
    assert_eq!(code, Some(130), "{stderr}");
}

#[test]
fn ctrl_c_during_an_answer_of_a_piped_chat_ends_it_before_the_next_line() {
    let Some(setting) = slow_setting() else { return };
    let mut child = setting.start("chat", &["--ignore-eos", "--max-tokens", "100000"]);
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "Once upon a time\nAnd then").unwrap();
    drop(stdin);
    let mut first = [0; 4];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    interrupt(&child);
    let (code, stdout, stderr) = end(child);
    assert_eq!(code, Some(130), "{stderr}");
    assert!(stderr.contains("interrupted") && !stderr.contains("error"), "{stderr}");
    assert_eq!(stderr.matches("(stopped)").count(), 1, "one answer was begun: {stderr}");
    assert!(stdout.ends_with('\n'), "{stdout}");
}

#[test]
fn a_message_on_a_pipe_that_fails_fails_the_chat_at_its_end() {
    let Some(setting) = setting() else { return };
    let mut child = setting.start("chat", &["--max-tokens", "4", "--context", "64"]);
    let long = "Once upon a time ".repeat(60);
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{long}\nOnce upon a time").unwrap();
    drop(stdin);
    let (code, stdout, stderr) = end(child);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("too long") && stderr.contains("not answered: 1"), "{stderr}");
    assert!(!stdout.trim().is_empty(), "the second message was answered");
}

#[test]
fn ctrl_c_while_a_prompt_is_read_ends_run_soon() {
    let Some(setting) = slow_setting() else { return };
    let prompt = "The quick brown fox jumps over the lazy dog. ".repeat(300);
    let mut child = setting.start("run", &["--prompt", &prompt, "-n", "2", "--json", "-vv"]);
    wait_for(&mut child, "prompt rendered");
    std::thread::sleep(Duration::from_millis(300));
    let started = Instant::now();
    interrupt(&child);
    let (code, stdout, stderr) = end(child);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(code, Some(130), "{stderr}");
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&report["finish_reason"], &report["text"]), (&"cancelled".into(), &"".into()));
    assert!(report["timings"]["ttft_ms"].is_null(), "{report}");
}

#[test]
fn messages_on_a_pipe_are_what_they_look_like() {
    let Some(setting) = setting() else { return };
    let mut child = setting.start("chat", &["--max-tokens", "4", "-vv"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"/tmp is full, what now?\n    x = 1\ncaf\xe9\n/rest\nmore\n/exit\n").unwrap();
    drop(stdin);
    let (code, stdout, stderr) = end(child);
    assert_eq!(code, Some(1), "{stderr}");
    let n_prompts =
        stderr.matches("\"generated\"").count().max(stderr.matches(" generated").count());
    assert_eq!(n_prompts, 3, "{stderr}");
    assert_eq!(stdout.lines().count(), 3, "{stdout}");
    for part in ["line 3 of stdin is not UTF-8: byte 0xe9", "mean /reset", "not answered: 2"] {
        assert!(stderr.contains(part), "no {part} in {stderr}");
    }
}

#[test]
fn verbose_says_once_what_runs_where() {
    let Some(setting) = setting() else { return };
    let arguments = ["run", "--model", &setting.model, "--prompt", "Once", "--max-tokens", "2"];
    let count = |text: &str, part: &str| text.lines().filter(|line| line.contains(part)).count();
    let check = |lapwing: &Lapwing, more: &[&str], n_opened: usize, n_levels: usize| {
        let outcome = lapwing.run(&[&arguments[..], more].concat()).expect_code(0);
        assert_eq!(count(&outcome.stderr, "opened"), n_opened, "{}", outcome.stderr);
        assert_eq!(count(&outcome.stderr, "host kernels"), n_levels, "{}", outcome.stderr);
        outcome
    };
    check(&setting.lapwing, &[], 0, 0);
    let fields = ["backend=\"openvino\"", "version=", "device=\"CPU\"", "load_ms="];
    check(&setting.lapwing, &["-v"], 1, 0).expect_says(&fields);
    check(&setting.lapwing, &["-vv"], 1, 1);
    let lapwing = with_runtimes(Lapwing::new()).unwrap().with("LAPWING_LOG", "lapwing=debug");
    check(&lapwing, &[], 1, 1);
}

#[test]
fn a_variant_for_every_model_does_not_stop_one_with_one_graph() {
    let Some(setting) = setting() else { return };
    let arguments = ["run", "--model", &setting.model, "--prompt", "Once", "--max-tokens", "2"];
    let asked = setting.lapwing.run(&[&arguments[..], &["--variant", "q4"]].concat());
    asked.expect_code(1).expect_says(&["one graph only", "hint: leave out --variant"]);
    setting.lapwing.with("LAPWING_VARIANT", "q4").run(&arguments).expect_code(0);
}

#[test]
fn an_export_under_a_name_runs_by_that_name() {
    let Some(setting) = setting() else { return };
    let checkpoint = shared_folder().unwrap().join("exports/stories260k-hf");
    let arguments = ["export", checkpoint.to_str().unwrap(), "--to", "openvino", "--name", "mine"];
    let lapwing = &setting.lapwing;
    lapwing.run(&arguments).expect_code(0).expect_says(&["models/mine"]);
    let listed = lapwing.json(&["list", "--json"]);
    assert_eq!((&listed[0]["name"], &listed[0]["kind"]), (&"mine".into(), &"openvino".into()));
    lapwing.run(&["run", "--model", "mine", "--prompt", "Once", "-n", "2"]).expect_code(0);
    let again = lapwing.run(&arguments).expect_code(1);
    again.expect_says(&["mine is already in", "hint: ", "--overwrite"]);
    lapwing.run(&[&arguments[..], &["--overwrite"]].concat()).expect_code(0);
    lapwing.run(&["rm", "mine", "--yes"]).expect_code(0);
    assert_eq!(crate::leftovers(lapwing), Vec::<String>::new());
}

#[test]
fn an_export_that_is_other_than_asked_says_so() {
    let Some(setting) = setting() else { return };
    let checkpoint = shared_folder().unwrap().join("exports/stories260k-hf");
    let check = |more: &[&str], says: &str, is_said: bool| {
        let out = setting.lapwing.path("out");
        let arguments = ["export", checkpoint.to_str().unwrap(), "--to", "openvino", "--overwrite"];
        let arguments = [&arguments[..], &["--out", out.to_str().unwrap()], more].concat();
        let outcome = setting.lapwing.run(&arguments).expect_code(0);
        assert_eq!(outcome.stderr.contains(says), is_said, "{more:?}: {}", outcome.stderr);
    };
    check(&["--weights", "int4", "--group-size", "48"], "at another precision than asked", true);
    check(&["--weights", "f16"], "at another precision than asked", false);
    check(&["--weights", "f16", "--symmetric"], "warning: --symmetric has no effect", true);
    check(&["--weights", "int8", "--symmetric"], "has no effect", false);
}
