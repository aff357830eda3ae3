//! `tokenize`, and what templates are told: no runtime is needed for any of it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::Lapwing;
use crate::gguf_file::small;

/// A folder that knows text and holds no model.
struct Folder {
    lapwing: Lapwing,
    path: PathBuf,
}

const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}\
    {% if tools %}tools {{ tools | length }} {% endif %}\
    {% if enable_thinking is defined and not enable_thinking %}quiet {% endif %}\
    {{ reasoning_effort }}{% if add_generation_prompt %}assistant{% endif %}";

impl Folder {
    fn new(template: Option<&str>) -> Folder {
        let lapwing = Lapwing::new();
        let path = lapwing.path("text");
        std::fs::create_dir(&path).unwrap();
        let words = ["<unk>", "<s>", "user", "assistant", "system", "tool", "hello", "world"];
        let words = words.iter().chain(&["tools", "1", "quiet", "low", "a\nb"]).enumerate();
        let vocab: serde_json::Map<String, Value> =
            words.map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [{"id": 1, "content": "<s>", "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true}],
            "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
            "post_processor": null, "decoder": null,
            "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
        });
        std::fs::write(path.join("tokenizer.json"), tokenizer.to_string()).unwrap();
        let config = json!({"bos_token": "<s>"}).to_string();
        std::fs::write(path.join("tokenizer_config.json"), config).unwrap();
        if let Some(template) = template {
            std::fs::write(path.join("chat_template.jinja"), template).unwrap();
        }
        Folder { lapwing, path }
    }

    fn file(&self, name: &str, content: &Value) -> String {
        let path = self.lapwing.path(name);
        std::fs::write(&path, content.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn tokenize(&self, more: &[&str]) -> crate::Outcome {
        self.lapwing.run(&[&["tokenize", self.path.to_str().unwrap()], more].concat())
    }

    fn prompt(&self, more: &[&str]) -> String {
        let outcome = self.tokenize(&[more, &["--json"]].concat()).expect_code(0);
        let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
        report["prompt"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_prompt_is_shown_as_the_model_gets_it() {
    let folder = Folder::new(Some(TEMPLATE));
    let report = folder.tokenize(&["hello world", "--json"]).expect_code(0).stdout;
    let expected = json!({
        "model": folder.path,
        "is_rendered": true,
        "prompt": "<s>user hello world assistant",
        "n_bytes": 29,
        "n_tokens": 5,
        "prompt_ids": [1, 2, 6, 7, 3],
        "pieces": ["<s>", "user", "hello", "world", "assistant"],
    });
    assert_eq!(serde_json::from_str::<Value>(&report).unwrap(), expected);
    let outcome = folder.tokenize(&["hello world"]).expect_code(0);
    let rows: Vec<Vec<&str>> =
        outcome.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[..3], [["ID", "PIECE"], ["1", "<s>"], ["2", "user"]]);
    let outcome = outcome.expect_says(&["<s>user hello world assistant", "5 tokens, 29 bytes"]);
    assert_eq!(outcome.stdout.lines().count(), 6);
    let quiet = folder.tokenize(&["hello world", "--quiet"]).expect_code(0);
    assert_eq!((quiet.stdout, quiet.stderr.as_str()), (outcome.stdout, ""));
}

#[test]
fn the_prompt_comes_from_where_run_takes_it() {
    let folder = Folder::new(Some(TEMPLATE));
    let file = folder.lapwing.path("prompt.txt");
    std::fs::write(&file, "hello world\n").unwrap();
    let rendered = "<s>user hello world assistant";
    assert_eq!(folder.prompt(&["--prompt", "hello world"]), rendered);
    assert_eq!(folder.prompt(&["--prompt-file", file.to_str().unwrap()]), rendered);
    assert_eq!(folder.prompt(&["hello world", "--raw"]), "hello world");
    let with_system = "<s>system hello user world assistant";
    assert_eq!(folder.prompt(&["world", "--system", "hello"]), with_system);
    let from_stdin = |more: &[&str], bytes: &[u8]| {
        let model = folder.path.to_str().unwrap();
        let arguments = [&["tokenize", "-m", model, "--json"], more].concat();
        let mut command = folder.lapwing.command(&arguments);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (report["prompt"].clone(), String::from_utf8(output.stderr).unwrap())
    };
    let messages = json!([{"role": "user", "content": "hello world"}]).to_string();
    let prompt = |more: &[&str], bytes: &[u8]| {
        let (prompt, says) = from_stdin(more, bytes);
        assert!(!says.contains("stdin is not read"), "{says}");
        prompt
    };
    assert_eq!(prompt(&[], b"hello world"), rendered);
    for stdin in ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"] {
        assert_eq!(prompt(&["--prompt-file", stdin], b"hello world"), rendered, "{stdin}");
        assert_eq!(prompt(&["--messages", stdin], messages.as_bytes()), rendered, "{stdin}");
    }
    let tools = "<s>user hello tools 0 assistant";
    let reads = Folder::new(Some(&TEMPLATE.replace("if tools", "if tools is not none")));
    std::fs::copy(reads.path.join("chat_template.jinja"), folder.path.join("chat_template.jinja"))
        .unwrap();
    assert_eq!(prompt(&["--prompt", "hello", "--tools", "-"], b"[]"), tools);
    let refused = |more: &[&str], bytes: &[u8], expected: &str| {
        let (prompt, says) = from_stdin(more, bytes);
        assert!(prompt.is_null() && says.contains(expected), "{says}");
    };
    refused(&[], b" ", "the prompt is empty: nothing but white space came on stdin");
    refused(&[], b"", "the prompt is empty: nothing came on stdin");
    refused(&[], b"h\0i\0", "the prompt in stdin is no text: byte 1 behind its start is zero");
    refused(&[], b"h\0i\0", "iconv -f UTF-16LE");
    refused(&["--messages", "-"], b"{", "stdin is no JSON");
    refused(&["--messages", "nothing"], b"", "cannot read the messages from nothing");
    refused(&["-p", "x", "--tools", "nothing"], b"", "cannot read the tools from nothing");
}

#[test]
fn marks_in_front_of_files_are_no_part_of_them() {
    let folder = Folder::new(Some(TEMPLATE));
    let messages = json!([{"role": "user", "content": "hello"}]);
    let files = [folder.file("messages", &messages), folder.file("tools", &json!([]))];
    let more = ["--messages", &files[0], "--tools", &files[1]];
    let expected = folder.prompt(&more);
    let of_model = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];
    let of_model = of_model.map(|name| folder.path.join(name));
    for file in of_model.iter().chain(&files.clone().map(PathBuf::from)) {
        let bytes = std::fs::read(file).unwrap();
        std::fs::write(file, [b"\xef\xbb\xbf", &*bytes].concat()).unwrap();
    }
    assert_eq!(folder.prompt(&more), expected);
}

#[test]
fn a_template_with_a_mistake_is_told_where_it_is_not_needed() {
    let folder = Folder::new(Some("{% if x %}"));
    let outcome = folder.tokenize(&["hello", "--raw"]).expect_code(0);
    let outcome =
        outcome.expect_says(&["warning: ", "chat_template.jinja has a mistake in line 1"]);
    assert_eq!(outcome.stderr.matches("warning: ").count(), 1);
    folder.tokenize(&["hello"]).expect_code(1).expect_says(&["error: ", "has a mistake in line 1"]);
    let right = Folder::new(Some(TEMPLATE)).tokenize(&["hello", "--raw"]).expect_code(0);
    assert!(!right.stderr.contains("warning"), "{}", right.stderr);
}

#[test]
fn ids_become_text() {
    let folder = Folder::new(None);
    let outcome = folder.tokenize(&["--ids", "1,6,7"]).expect_code(0);
    assert_eq!(outcome.stdout, "<s> hello world\n");
    let report = folder.tokenize(&["--ids", "6,12", "--json"]).expect_code(0).stdout;
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["pieces"], &report["n_tokens"]), (&json!(["hello", "a\nb"]), &json!(2)));
    let refused = folder.tokenize(&["--ids", "6,99"]).expect_code(1);
    refused.expect_says(&["token 99 is not in the tokenizer's vocabulary of 13"]);
}

#[test]
fn conversations_and_tools_come_from_files() {
    let folder = Folder::new(Some(TEMPLATE));
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]);
    let messages = json!([
        {"role": "user", "content": [{"type": "text", "text": "hello"}]},
        {"role": "assistant", "content": "world"},
        {"role": "user", "content": "hello"},
    ]);
    let alone = folder.file("messages.json", &messages);
    let both = folder.file("both.json", &json!({"messages": messages, "tools": tools}));
    let tools = folder.file("tools.json", &tools);
    let said = "<s>user hello assistant world user hello ";
    assert_eq!(folder.prompt(&["--messages", &alone]), format!("{said}assistant"));
    assert_eq!(folder.prompt(&["--messages", &both]), format!("{said}tools 1 assistant"));
    let with_tools = ["--messages", &alone, "--tools", &tools];
    assert_eq!(folder.prompt(&with_tools), format!("{said}tools 1 assistant"));
    let twice = folder.tokenize(&["--messages", &both, "--tools", &tools]);
    twice.expect_code(2).expect_says(&["tools come twice"]);
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]);
    let image = folder.file("image.json", &image);
    let refused = folder.tokenize(&["--messages", &image]).expect_code(1);
    refused.expect_says(&["image.json", "message 1", "`image_url`: only text can be read"]);
    let no_tools = folder.tokenize(&["hello", "--tools", &alone]).expect_code(1);
    no_tools.expect_says(&["messages.json", "tool 1: expected an object with `type`"]);
    let plain = Folder::new(Some("{% for m in messages %}{{ m.content }}{% endfor %}"));
    let unheard = plain.tokenize(&["hello", "--tools", &tools]).expect_code(2);
    unheard.expect_says(&["the chat template reads no tools"]);
    let call = json!({"type": "function", "function": {"name": "f", "arguments": "{}"}});
    let calls = json!([
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
    ]);
    let calls = plain.file("calls.json", &calls);
    let unheard = plain.tokenize(&["--messages", &calls]).expect_code(2);
    unheard.expect_says(&["reads no tool calls", "message 2"]);
    let thoughts = json!([
        {"role": "user", "content": "hello", "name": "me"},
        {"role": "assistant", "content": "world", "reasoning_content": "hm"},
    ]);
    let thoughts = plain.file("thoughts.json", &thoughts);
    let told = plain.tokenize(&["--messages", &thoughts]).expect_code(0);
    told.expect_says(&["`name` of message 1 has no effect", "`reasoning_content` of message 2"]);
}

#[test]
fn templates_are_told_what_they_read() {
    let folder = Folder::new(Some(TEMPLATE));
    let quiet = "<s>user hello quiet assistant";
    assert_eq!(folder.prompt(&["hello", "--thinking", "off"]), quiet);
    assert_eq!(folder.prompt(&["hello", "--template-var", "enable_thinking=false"]), quiet);
    assert_eq!(folder.prompt(&["hello", "--thinking", "on"]), "<s>user hello assistant");
    let low = "<s>user hello lowassistant";
    assert_eq!(folder.prompt(&["hello", "--reasoning-effort", "low"]), low);
    let unread = folder.tokenize(&["hello", "--template-var", "enable_thinkin=false"]);
    let reads = "it reads `enable_thinking`, `reasoning_effort`";
    unread.expect_code(0).expect_says(&["--template-var enable_thinkin has no effect", reads]);
    let plain = Folder::new(Some("{{ messages[0].content }}"));
    let refused = plain.tokenize(&["hello", "--thinking", "on"]).expect_code(2);
    refused.expect_says(&["no variable for it", "it reads nothing but the messages"]);
    let none = Folder::new(None);
    let refused = none.tokenize(&["hello", "--thinking", "on"]).expect_code(2);
    refused.expect_says(&["--thinking needs a chat template"]);
    assert_eq!(none.prompt(&["hello"]), "hello");
}

#[test]
fn a_folder_without_a_tokenizer_says_so() {
    let lapwing = Lapwing::new();
    let empty = lapwing.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let refused = lapwing.run(&["tokenize", empty.to_str().unwrap(), "hello"]).expect_code(1);
    refused.expect_says(&["cannot tokenize", "has no tokenizer.json", "hint:"]);
    let file = empty.join("model.safetensors");
    std::fs::write(&file, "").unwrap();
    let refused = lapwing.run(&["tokenize", file.to_str().unwrap(), "hello"]).expect_code(1);
    refused.expect_says(&["cannot tokenize", "hint: a checkpoint is exported first"]);
}

#[test]
fn a_gguf_is_tokenized_for_as_its_export_is() {
    let lapwing = Lapwing::new();
    let folder = lapwing.path("checkpoint");
    std::fs::create_dir(&folder).unwrap();
    let mut gguf = small("llama");
    gguf.string(
        "tokenizer.chat_template",
        "{{ bos_token }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}",
    );
    gguf.u32("tokenizer.ggml.bos_token_id", 3);
    let file = gguf.write(&folder);
    let (file, folder) = (file.to_str().unwrap(), folder.to_str().unwrap());
    let export = lapwing.path("export").display().to_string();
    let line = ["export", file, "--to", "onnx", "--weights", "f32", "--out", &export];
    lapwing.run(&line).expect_code(0);
    let tokenize = |model: &str, more: &[&str]| {
        let outcome = lapwing.run(&[&["tokenize", model, "--json"], more].concat());
        let mut report: Value = serde_json::from_str(&outcome.expect_code(0).stdout).unwrap();
        report["model"] = Value::Null;
        report
    };
    for more in [&["abba"][..], &["abba", "--raw"], &["--ids", "2,5"]] {
        let expected = tokenize(&export, more);
        assert_eq!(tokenize(file, more), expected, "{more:?}");
        assert_eq!(tokenize(folder, more), expected, "{more:?}");
    }
    let report = tokenize(file, &["abba"]);
    assert_eq!(report["prompt"], "<s>abba<|im_end|>");
    assert_eq!(report["pieces"], json!(["<s>", "ab", "b", "a", "<|im_end|>"]));
    std::fs::write(file, "GGUF").unwrap();
    let outcome = lapwing.run(&["tokenize", file, "ab"]).expect_code(1);
    outcome.expect_says(&["cannot tokenize", "model.gguf"]);
}
