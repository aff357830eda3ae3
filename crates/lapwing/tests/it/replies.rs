//! Thoughts and calls of an answer, apart from its text.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::real::{shared_folder, with_runtimes};
use crate::{Lapwing, Outcome};

/// Bytes are tokens from here on, in the tokenizer of the failing inputs.
const FIRST_BYTE: usize = 3;
/// Where the tokenizer's further tokens begin.
const FIRST_MARKER: usize = FIRST_BYTE + 256;
/// It ends an answer.
const END: usize = 2;

/// A model that says what it is told to, token by token.
struct Setting {
    lapwing: Lapwing,
    model: PathBuf,
}

/// A model that says `answer`, in which `markers` are special tokens; at most five of them.
fn saying(answer: &str, markers: &[&str], template: Option<&str>) -> Option<Setting> {
    let lapwing = with_runtimes(Lapwing::new())?;
    let source = shared_folder()?.join("cases/text/markers-hidden/model");
    let model = lapwing.path("model");
    fs::create_dir(&model).unwrap();
    fs::copy(source.join("genai_config.json"), model.join("genai_config.json")).unwrap();
    let tokenizer = fs::read(source.join("tokenizer.json")).unwrap();
    let mut tokenizer: Value = serde_json::from_slice(&tokenizer).unwrap();
    let unused = ["<unused 0>", "<unused 1>", "<unused 2>", "<unused 3>", "<unused 4>"];
    for (idx, marker) in markers.iter().chain(&unused[markers.len()..]).enumerate() {
        let added = tokenizer["added_tokens"].as_array_mut().unwrap();
        let token = added.iter_mut().find(|token| token["id"] == FIRST_MARKER + idx).unwrap();
        let before = token["content"].as_str().unwrap().to_owned();
        token["content"] = json!(marker);
        let vocab = tokenizer["model"]["vocab"].as_object_mut().unwrap();
        vocab.remove(&before);
        vocab.insert((*marker).to_owned(), json!(FIRST_MARKER + idx));
    }
    fs::write(model.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    if let Some(template) = template {
        fs::write(model.join("chat_template.jinja"), template).unwrap();
    }
    let mut graph = fs::read(source.join("model.onnx")).unwrap();
    write_script(&mut graph, &tokens(answer, markers));
    fs::write(model.join("model.onnx"), graph).unwrap();
    Some(Setting { lapwing, model })
}

fn tokens(answer: &str, markers: &[&str]) -> Vec<usize> {
    let mut tokens = Vec::new();
    let mut rest = answer;
    while let Some(first) = rest.bytes().next() {
        match markers.iter().position(|marker| rest.starts_with(marker)) {
            Some(idx) => {
                tokens.push(FIRST_MARKER + idx);
                rest = &rest[markers[idx].len()..];
            }
            None => {
                let n_bytes = rest.chars().next().unwrap().len_utf8();
                assert!(n_bytes == 1 || first > 127);
                tokens.extend(rest[..n_bytes].bytes().map(|byte| FIRST_BYTE + usize::from(byte)));
                rest = &rest[n_bytes..];
            }
        }
    }
    tokens
}

/// Put tokens into the graph's tensor `script`, and the end behind them.
fn write_script(graph: &mut [u8], tokens: &[usize]) {
    let name = b"\x42\x06script\x4a";
    let start = graph.windows(name.len()).position(|bytes| bytes == name).unwrap() + name.len();
    let n_length = graph[start..].iter().take_while(|byte| **byte > 127).count() + 1;
    let script = graph[start + n_length..].chunks_exact_mut(8);
    for (slot, token) in script.zip(tokens.iter().chain(&[END])) {
        slot.copy_from_slice(&(*token as u64).to_le_bytes());
    }
}

impl Setting {
    fn run(&self, more: &[&str]) -> Outcome {
        let model = self.model.to_str().unwrap();
        let arguments = ["run", "--model", model, "--prompt-ids", "1", "--device", "cpu"];
        self.lapwing.run(&[&arguments[..], more].concat()).expect_code(0)
    }

    fn json(&self, more: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[&["--json"], more].concat()).stdout).unwrap()
    }
}

#[test]
fn channels_of_gpt_oss_are_not_swallowed() {
    let Some(lapwing) = with_runtimes(Lapwing::new()) else { return };
    let Some(shared) = shared_folder() else { return };
    let setting = Setting { lapwing, model: shared.join("cases/text/markers-hidden/model") };
    let outcome = setting.run(&[]);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("four\n", ""));
    let report = setting.json(&[]);
    assert_eq!(
        (&report["text"], &report["reasoning"]),
        (&"four".into(), &"I should say four.".into())
    );
    assert_eq!((report.get("tool_calls"), &report["finish_reason"]), (None, &"stop".into()));
    let raw = "<|channel|>analysis<|message|>I should say four.<|end|>\
               <|start|>assistant<|channel|>final<|message|>four";
    assert_eq!(setting.run(&["--show-special"]).stdout, format!("{raw}\n"));
    let report = setting.json(&["--show-special"]);
    assert_eq!((&report["text"], report.get("reasoning")), (&raw.into(), None));
}

#[test]
fn a_call_is_a_line_of_json() {
    let answer = "<think>\nWhere?\n</think>\n\nLook:<tool_call>\n{\"name\": \"f\", \"arguments\": \
                  {\"city\": \"Köln\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": {\"a\": ";
    let Some(setting) = saying(answer, &[], Some("<think><tool_call>")) else { return };
    let call = "{\"name\":\"f\",\"arguments\":{\"city\":\"Köln\"}}";
    // What was cut off is no JSON, and is shown as it was written.
    let cut_off = "{\"name\":\"g\",\"arguments\":\"{\\\"a\\\": \"}";
    assert_eq!(setting.run(&[]).stdout, format!("Look:\n{call}\n{cut_off}\n"));
    let report = setting.json(&[]);
    assert_eq!((&report["text"], &report["reasoning"]), (&"Look:".into(), &"Where?".into()));
    let calls = json!([
        {"name": "f", "arguments": {"city": "Köln"}},
        {"name": "g", "arguments": "{\"a\": "}
    ]);
    assert_eq!(report["tool_calls"], calls);
    assert_eq!(setting.run(&["--show-special"]).stdout, format!("{answer}\n"));
}

#[test]
fn a_stop_string_of_a_special_token_and_text() {
    let answer = "four<|im_end|>\nsix<|im_end|>jumps";
    let Some(setting) = saying(answer, &["<|im_end|>"], Some("{% if x %}")) else { return };
    let check = |stop: &str, expected: &str| {
        for more in [&[][..], &["--show-special"]] {
            let outcome = setting.run(&[&["--stop", stop], more].concat());
            let shown = if more.is_empty() { "" } else { "<|im_end|>" };
            assert_eq!(outcome.stdout, expected.replace("|", shown), "{stop} {more:?}");
            // The ids need no template, which is told all the same.
            outcome.expect_says(&["warning: ", "chat_template.jinja has a mistake in line 1"]);
        }
    };
    check("<|im_end|>", "four\n");
    check("<|im_end|>\n", "four\n");
    check("<|im_end|>j", "four|\nsix\n");
    check("r<|im_end|>\ns", "fou\n");
    check("<|im_end|>k", "four|\nsix|jumps\n");
}

#[test]
fn text_that_is_no_call_is_text() {
    let markers = ["[TOOL_CALLS]", "[THINK]", "[/THINK]"];
    let answer = "[THINK]Hm.[/THINK]So [TOOL_CALLS]no call at all";
    let Some(setting) = saying(answer, &markers, None) else { return };
    assert_eq!(setting.run(&[]).stdout, "So [TOOL_CALLS]no call at all\n");
    assert_eq!(setting.json(&[]).get("tool_calls"), None);
}

#[test]
fn what_no_marker_tells_is_a_call_only_of_a_function_that_is_offered() {
    let answer = "{\"name\": \"f\", \"parameters\": {\"a\": 1}}";
    let template = "{% if tools %}a{% else %}a{% endif %}";
    let Some(setting) = saying(answer, &["<|python_tag|>"], Some(template)) else { return };
    let check = |tool: Option<&str>, expected: &str| {
        let model = setting.model.to_str().unwrap();
        let file = setting.lapwing.path("tools.json");
        let mut arguments = vec!["run", "-m", model, "--prompt", "a", "--device", "cpu"];
        if let Some(name) = tool {
            let tool = json!([{"type": "function", "function": {"name": name, "parameters": {}}}]);
            fs::write(&file, tool.to_string()).unwrap();
            arguments.extend(["--tools", file.to_str().unwrap()]);
        }
        let outcome = setting.lapwing.run(&arguments).expect_code(0);
        assert_eq!(outcome.stdout, format!("{expected}\n"));
    };
    check(None, answer);
    check(Some("g"), answer);
    check(Some("f"), "{\"name\":\"f\",\"arguments\":{\"a\":1}}");
}

#[test]
fn chat_leaves_thoughts_out_of_the_answer_and_of_later_prompts() {
    let template = "{# <think> #}{% for m in messages %}{{ m.content }}{% endfor %}";
    let Some(setting) = saying("<think>Hm.</think>Ja.", &[], Some(template)) else { return };
    let model = setting.model.to_str().unwrap();
    let mut command = setting.lapwing.command(&["chat", "-m", model, "--device", "cpu", "-vv"]);
    let input = setting.lapwing.path("input");
    fs::write(&input, "a\nb\n").unwrap();
    let output = command.stdin(fs::File::open(input).unwrap()).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.starts_with("Ja.\n"), "{stdout}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    for prompt in ["a", "aJa.b"] {
        let said = format!("n_bytes={}", prompt.len());
        assert!(stderr.contains(&said), "no {said} in {stderr}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_shows_thoughts_dimmed() {
    let Some(setting) = saying("<think>\nHm\x1b\n</think>\n\nJa.", &["<think>"], None) else {
        return;
    };
    let model = setting.model.to_str().unwrap();
    let check = |lapwing: Lapwing, more: &[&str], expected: &str| {
        let arguments = ["run", "-m", model, "--prompt-ids", "1", "--device", "cpu"];
        let command = lapwing.command(&[&arguments[..], more].concat());
        let Some(mut command) = crate::typing::in_terminal(&command) else { return };
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    };
    let home = || with_runtimes(Lapwing::new()).unwrap();
    let dimmed = "\x1b[2mH\x1b[22m\x1b[2mm\x1b[22m\x1b[2m␛\x1b[22m\x1b[2m\r\n\r\n\x1b[22mJa.\r\n";
    check(home(), &[], dimmed);
    check(home().with("NO_COLOR", "1"), &[], "thinking: Hm␛\r\n\r\nJa.\r\n");
    check(home(), &["--quiet"], "Ja.\r\n");
}
