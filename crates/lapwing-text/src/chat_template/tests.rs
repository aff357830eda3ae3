use std::fs;
use std::path::Path;

use lapwing_model::TOOL_TEMPLATE_FILE;
use serde_json::{Value, json};

use super::*;
use crate::{NotAMessage, Tokenizer};

/// 2024-07-26 14:05:09, the time in `testdata/expected.py`.
const NOW_UNIX: i64 = 1_722_002_709;

fn testdata(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json_of(path: &str) -> Value {
    serde_json::from_str(&testdata(path)).unwrap()
}

fn tokens() -> SpecialTokens {
    SpecialTokens::from_config(&json!({
        "bos_token": "<s>",
        "eos_token": {"content": "</s>", "lstrip": false, "__type": "AddedToken"},
        "pad_token": "<pad>",
        "unk_token": null,
    }))
}

fn template(source: &str) -> Result<ChatTemplate, Arc<OpenTemplateError>> {
    let template = ChatTemplate::from_source(source, tokens(), Path::new("test.jinja"));
    template.check().map(|()| template)
}

/// Render one case as `testdata/expected.py` does, with the result in its form.
fn outcome(source: &str, case: &Value, tool: &Value) -> Value {
    let messages: Vec<Message> = case["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| Message::from_json(message.clone()).unwrap())
        .collect();
    let tools = case.get("tools").map(|n| vec![tool.clone(); n.as_u64().unwrap() as usize]);
    let extra = case.get("extra").and_then(Value::as_object).cloned().unwrap_or_default();
    let input = RenderInput {
        messages: &messages,
        tools: tools.as_deref(),
        documents: None,
        add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap(),
        now: LocalTime::from_unix(NOW_UNIX, 0),
        extra: &extra,
    };
    let template = match template(source) {
        Ok(template) => template,
        Err(error) => return json!({"failed": true, "why": format!("{:?}", error)}),
    };
    match template.render(&input) {
        Ok(text) => json!({"text": text}),
        Err(RenderError::Raised { message }) => json!({"raised": message}),
        Err(error) => json!({"failed": true, "why": format!("{:?}", error)}),
    }
}

fn differs(ours: &Value, expected: &Value) -> bool {
    ["text", "raised", "failed"].iter().any(|field| ours.get(field) != expected.get(field))
}

fn render(source: &str, messages: &[Message]) -> Result<String, RenderError> {
    template(source).unwrap().render(&input(messages, &Map::new()))
}

fn input<'a>(messages: &'a [Message], extra: &'a Map<String, Value>) -> RenderInput<'a> {
    RenderInput {
        messages,
        tools: None,
        documents: None,
        add_generation_prompt: true,
        now: LocalTime::from_unix(NOW_UNIX, 0),
        extra,
    }
}

#[test]
fn templates_render_as_with_jinja2() {
    let conversations = json_of("conversations.json");
    let names = [
        "alternating",
        "header_tools",
        "plain_blocks",
        "reversed_thinking",
        "schema_macros",
        "turns_and_parts",
    ];
    let mut wrong = Vec::new();
    for name in names {
        let source = testdata(&format!("templates/{name}.jinja"));
        let expected = json_of(&format!("expected/{name}.json"));
        for case in conversations["cases"].as_array().unwrap() {
            let case_name = case["name"].as_str().unwrap();
            let ours = outcome(&source, case, &conversations["tool"]);
            if differs(&ours, &expected[case_name]) {
                wrong.push(format!(
                    "{name}, {case_name}:\n  ours   {ours}\n  jinja2 {}",
                    expected[case_name]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn snippets_render_as_with_jinja2() {
    let expected = json_of("expected/snippets.json");
    let case = json!({"messages": [], "add_generation_prompt": false, "extra": {
        "text": "Héllo world",
        "message": {"role": "user", "content": " hi ", "n": 1},
        "items": [1, 2, 3],
        "people": [{"name": "Al", "age": 40, "nick": "A"}, {"name": "Bo", "age": 30}],
    }});
    let mut wrong = Vec::new();
    for (snippet, expected) in expected.as_object().unwrap() {
        let ours = outcome(snippet, &case, &Value::Null);
        if differs(&ours, expected) {
            wrong.push(format!("{snippet}\n  ours   {ours}\n  jinja2 {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn smollm2_prompts_are_those_of_the_golden_file() {
    let Some(shared) = shared() else { return };
    let golden = fs::read_to_string(shared.join("golden/smollm2-135m.json")).unwrap();
    let golden: Vec<Value> = serde_json::from_str(&golden).unwrap();
    assert!(!golden.is_empty());
    for folder in ["smollm2-135m-instruct-ov-int4", "smollm2-135m-instruct-ort-int4"] {
        let folder = shared.join("exports").join(folder);
        let template = ChatTemplate::open(&folder).unwrap().unwrap();
        let tokenizer = Tokenizer::open(&folder.join("tokenizer.json")).unwrap();
        for case in &golden {
            let messages = [Message::new("user", case["user"].as_str().unwrap())];
            let rendered = template.render(&input(&messages, &Map::new())).unwrap();
            assert_eq!(rendered, case["rendered"].as_str().unwrap());
            let ids = tokenizer.encode(&rendered, false).unwrap();
            assert_eq!(json!(ids), case["prompt_ids"]);
            for answer in [&case["openvino_int4"], &case["onnx_int4"]] {
                let ids = answer["greedy_ids"].as_array().unwrap();
                let ids: Vec<u32> = ids.iter().map(|id| id.as_u64().unwrap() as u32).collect();
                let text = tokenizer.decode(&ids, crate::SpecialPieces::Skip);
                assert_eq!(text, answer["text"].as_str().unwrap());
            }
        }
    }
}

#[test]
fn a_template_that_raises_gives_its_message() {
    let source = "{% macro m() %}{{ raise_exception('no ' ~ messages[0].role) }}{% endmacro %}";
    let error = render(&format!("{source}{{{{ m() }}}}"), &[Message::new("tool", "")]).unwrap_err();
    assert!(matches!(&error, RenderError::Raised { message } if message == "no tool"), "{error:?}");
}

#[test]
fn a_failure_names_its_line() {
    let check = |source: &str, expected: usize| match render(source, &[]) {
        Err(RenderError::Failed { line, .. }) => assert_eq!(line, expected, "{source}"),
        other => panic!("{source}: {other:?}"),
    };
    check("a\n{{ nothing.attribute }}", 2);
    check("{% for x in [1] %}\n\n{{ x.y.z }}{% endfor %}", 3);
    check("{% include 'default' %}", 1);
    match &*template("a\n\n{% if %}").unwrap_err() {
        OpenTemplateError::Syntax { line, path, .. } => {
            assert_eq!((*line, path.as_path()), (3, Path::new("test.jinja")));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn long_conversations_stay_within_the_bounds() {
    let messages: Vec<Message> = (0..1500)
        .map(|idx| Message::new(["user", "assistant"][idx % 2], "word ".repeat(200)))
        .collect();
    for name in ["reversed_thinking", "header_tools", "schema_macros", "turns_and_parts"] {
        let rendered = render(&testdata(&format!("templates/{name}.jinja")), &messages);
        assert!(rendered.is_ok(), "{name}: {:?}", rendered.err());
    }
}

#[test]
fn bounds_are_told_with_what_was_found() {
    let check = |source: &str, expected: &str| {
        let error = render(source, &[]).unwrap_err().to_string();
        let before = "the chat template exceeds its bound on ";
        assert!(error.starts_with(&format!("{before}{expected}")), "{source}: {error}");
    };
    check("{{ 'a' * 60000000 }}", "memory: expected at most 33554432 bytes, found 120000000");
    check("{{ 'a' * 10 ** 30 }}", "memory: expected at most 33554432 bytes, found 1000000000");
    let loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    // Whichever comes first.
    let error = render(loops, &[]).unwrap_err().to_string();
    let work = error.contains("work: expected at most 20000000 steps, found 200000");
    assert!(work || error.contains("time: expected at most 2 s, found 2."), "{error}");
    let range = "the length of a range: expected at most 100000, found 100001";
    check("{{ range(100001) }}", range);
    check("{{ 2 ** 200 }}", "the size of a number: expected at most 128 bits, found more");
    let macros = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
    check(macros, "nested calls: expected at most 300, found more");
    let precision = "the precision of a number: expected at most 1000 digits, found 9999";
    check("{{ '%.9999f' | format(1) }}", precision);
    let width =
        "the width of a field: expected at most 18446744073709551615, found a number of 50 ";
    check(&format!("{{{{ '%{}d' | format(1) }}}}", "9".repeat(50)), width);
    let format = "the length of a date's format: expected at most 1000 bytes, found 1001";
    check("{{ strftime_now('%' * 1001) }}", format);
    let deep = "{% set ns = namespace(x=[]) %}{% for i in range(999) %}{% set ns.x = [ns.x] %}{% endfor %}";
    check(deep, "values within each other: expected at most 200 levels, found 201");
    let args = "{% macro m() %}{% endmacro %}{{ m(*range(5000)) }}";
    check(args, "arguments: expected at most 999, found more");
}

#[test]
fn hostile_templates_end() {
    let check = |source: &str| {
        let result = render(source, &vec![Message::new("user", "x"); 200]);
        assert!(matches!(result, Err(RenderError::Unbounded { .. })), "{source}: {result:?}");
    };
    check("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}");
    check(
        "{% for a in messages %}{% for b in messages %}{% for c in messages %}\
         {% for d in messages %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}",
    );
    check("{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(25) }}");
    check("{% block a %}{% endblock %}{% for a in range(99999) %}{{ 'x' * 100000 }}{% endfor %}");
    check("{% set x %}{% for a in range(99999) %}{{ 'x' * 100000 }}{% endfor %}{% endset %}");
    check(
        "{% set ns = namespace(x='aa') %}{% for a in range(99) %}\
         {% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    );
    check(&format!("{{% set x = 'aaaa' %}}{}", "{% set x = x ~ x -%}\n".repeat(40)));
    check(
        "{% set ns = namespace(x=[1]) %}{% for a in range(99) %}\
         {% set ns.x = ns.x + ns.x %}{% endfor %}",
    );
    for source in [
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for a in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}",
        "{% block a %}{{ self.a() }}{{ self.a() }}{% endblock %}",
        "{% include 'default' %}{% include 'default' %}",
        "{{ 'x' * 10000000000 }}",
        "{{ range(10000000000) | list }}",
    ] {
        let result = render(source, &[]);
        assert!(result.is_err(), "{source}: {}", result.unwrap().len());
    }
}

/// Ways to make the engine's parser recurse: something to repeat between two ends.
const DEEP: [(&str, &str, &str); 18] = [
    ("{{ ", "not ", "1 }}"),
    ("{{ ", "-", "1 }}"),
    ("{{ ", "1 if 1 else ", "1 }}"),
    ("{{ 1", "+1", " }}"),
    ("{{ 1", "~1", " }}"),
    ("{{ 1", "**1", " }}"),
    ("{{ 1", " and 1", " }}"),
    ("{{ 1", " < 1", " }}"),
    ("{{ a", ".a", " }}"),
    ("{{ a", "|upper", " }}"),
    ("{{ a", " is none", " }}"),
    ("{{ a", "[1]", " }}"),
    ("{{ a", "()", " }}"),
    ("{{ ", "(", ""),
    ("{{ ", "[", ""),
    ("{% set x = ", "-", "1 %}"),
    ("{% if 1 %}", "{% elif 1 %}", "{% endif %}"),
    ("", "{% if 1 %}", ""),
];

#[test]
fn hostile_sources_are_refused() {
    for (before, repeated, after) in DEEP {
        let source = format!("{before}{}{after}", repeated.repeat(20_000));
        assert!(template(&source).is_err(), "{before}{repeated}");
    }
    assert!(template(&"{{ ".repeat(10_000)).is_err());
    assert!(template(&" ".repeat(SOURCE_BYTES_MAX + 1)).is_err());
}

/// Half the usual stack is enough for what is not refused.
#[test]
fn accepted_sources_fit_on_a_small_stack() {
    let on_small_stack = std::thread::Builder::new().stack_size(1 << 20).spawn(|| {
        for (before, repeated, after) in DEEP {
            let mut n_accepted = 0;
            for n in [60, 120, 240, 480] {
                let source = format!("{before}{}{after}", repeated.repeat(n));
                if let Ok(template) = template(&source) {
                    n_accepted = n;
                    let _ = template.render(&input(&[], &Map::new()));
                }
            }
            assert!(n_accepted > 0 || after.is_empty(), "{before}{repeated}");
        }
    });
    on_small_stack.unwrap().join().unwrap();
}

#[test]
fn values_that_nest_without_end_are_refused() {
    let check = |step: &str| {
        let source = format!(
            "{{% set ns = namespace(x=none) %}}{{% for i in range(99999) %}}{step}{{% endfor %}}"
        );
        let result = render(&source, &[]);
        assert!(matches!(result, Err(RenderError::Unbounded { .. })), "{step}: {result:?}");
    };
    check("{% set ns.x = [ns.x] %}");
    check("{% set ns.x = (ns.x, 1) %}");
    check("{% set ns.x = {1: ns.x} %}");
    check("{% set ns.x = [ns.x, ns.x] %}");
    check("{% set ns.x = [ns.x] | reverse %}");
    check("{% set ns.x = [1] + (ns.x or []) %}");
    check("{% set ns.x = (ns.x or []) + [1] %}");
    check("{% set ns.x = ns %}");
    check("{% set ns.x = namespace(x=ns.x) %}");
    check("{% set ns.x = dict(x=ns.x) %}");
    // What filters give is made at once, so that this is a list of one text and never deeper.
    let source = "{% set ns = namespace(x=none) %}{% for i in range(999) %}\
                  {% set ns.x = [ns.x] | map('string') %}{% endfor %}{{ ns.x | first }}";
    assert_eq!(render(source, &[]).unwrap(), "<generator object>");
}

#[test]
fn configs_of_every_shape() {
    let render = |config: Value, tools: Option<&[Value]>| -> Result<Option<String>, String> {
        let tokens = SpecialTokens::from_config(&config);
        let path = Path::new("tokenizer_config.json");
        let template = ChatTemplate::from_config(&config, tokens, path);
        if let Some(template) = &template {
            template.check().map_err(|error| error.to_string())?;
        }
        let extra = Map::new();
        let input = RenderInput { tools, ..input(&[], &extra) };
        Ok(template.map(|template| template.render(&input).unwrap()))
    };
    let named = json!({"bos_token": {"content": "<b>"}, "chat_template": [
        {"name": "default", "template": "{{ bos_token }}d"},
        {"name": "tool_use", "template": "{{ bos_token }}{{ tools | length }}"},
        {"name": "rag", "template": "{{ unused"},
    ]});
    let tools = [json!({}), json!({})];
    assert_eq!(render(named.clone(), None), Ok(Some("<b>d".to_owned())));
    assert_eq!(render(named, Some(&tools)), Ok(Some("<b>2".to_owned())));
    assert_eq!(render(json!({"chat_template": "{{ 1 + 1 }}"}), None), Ok(Some("2".to_owned())));
    assert_eq!(render(json!({"chat_template": null}), None), Ok(None));
    assert_eq!(render(json!([]), None), Ok(None));
    for wrong in [json!({"chat_template": 1}), json!({"chat_template": [{"name": "default"}]})] {
        assert!(render(wrong, None).unwrap_err().contains("neither a string nor"));
    }
    let no_default = json!({"chat_template": [{"name": "rag", "template": ""}]});
    assert!(render(no_default, None).unwrap_err().contains("no `default`"));
}

#[test]
fn a_jinja_file_wins_over_the_config() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let open = || ChatTemplate::open(folder.path());
    let rendered = |template: ChatTemplate| template.render(&input(&[], &Map::new())).unwrap();
    assert!(open().unwrap().is_none());
    write("tokenizer_config.json", r#"{"eos_token": "</s>", "chat_template": "config"}"#);
    assert_eq!(rendered(open().unwrap().unwrap()), "config");
    write("chat_template.jinja", "file {{ eos_token }}");
    assert_eq!(rendered(open().unwrap().unwrap()), "file </s>");
    // transformers writes that of prompts with tools beside it.
    fs::create_dir(folder.path().join("additional_chat_templates")).unwrap();
    write(TOOL_TEMPLATE_FILE, "tools {{ tools }}");
    let template = open().unwrap().unwrap();
    let extra = Map::new();
    let with_tools = RenderInput { tools: Some(&[]), ..input(&[], &extra) };
    assert_eq!(template.render(&with_tools).unwrap(), "tools []");
    assert_eq!(rendered(template), "file </s>");
    write("tokenizer_config.json", "{");
    assert!(matches!(open(), Err(OpenTemplateError::Json { .. })));
}

#[test]
fn a_mistake_is_told_by_the_first_prompt_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let check = |config: Value, expected: &str| {
        write("tokenizer_config.json", &config.to_string());
        let template = ChatTemplate::open(folder.path()).unwrap().unwrap();
        let error = template.render(&input(&[], &Map::new())).unwrap_err();
        assert!(matches!(error, RenderError::Unusable(_)), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(template.check().unwrap_err().to_string(), error.to_string());
    };
    check(json!({"chat_template": "a\n{% if %}"}), "has a mistake in line 2");
    check(json!({"chat_template": 1}), "neither a string nor");
    check(json!({"chat_template": " \n"}), "tokenizer_config.json is empty");
    check(json!({"chat_template": [{"name": "rag", "template": ""}]}), "no `default`");
    // A mistake beside a good template matters to those who need it.
    let config = json!({"chat_template": [
        {"name": "default", "template": "good"}, {"name": "tool_use", "template": "{% if %}"},
    ]});
    write("tokenizer_config.json", &config.to_string());
    let template = ChatTemplate::open(folder.path()).unwrap().unwrap();
    let extra = Map::new();
    assert_eq!(template.render(&input(&[], &extra)).unwrap(), "good");
    let with_tools = RenderInput { tools: Some(&[]), ..input(&[], &extra) };
    assert!(matches!(template.render(&with_tools), Err(RenderError::Unusable(_))));
}

#[test]
fn special_tokens_are_found_where_exporters_put_them() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: Value| {
        fs::write(folder.path().join(name), text.to_string()).unwrap();
    };
    write(
        "tokenizer_config.json",
        json!({"eos_token": {"content": "</s>"}, "pad_token": null, "chat_template":
            "{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ sep_token }}{{ eot_token }}\
             {{ image_token }}{{ unk_token is defined }}",
            "extra_special_tokens": {"eot_token": "<eot>", "n": 3}, "image_token": "<img>"}),
    );
    let map = json!({"bos_token": {"content": "<s>"}, "eos_token": "other", "sep_token": "<sep>"});
    write("special_tokens_map.json", map);
    let template = ChatTemplate::open(folder.path()).unwrap().unwrap();
    let text = template.render(&input(&[], &Map::new())).unwrap();
    assert_eq!(text, "<s></s><sep><eot><img>False");
    assert_eq!(SpecialTokens::open(folder.path()).unwrap().get("eos_token"), Some("</s>"));
}

/// A byte-level tokenizer whose special tokens are `<|a|>` (256), `<|b|>` (257), `</think>` (258).
fn special_tokenizer(normalizer: Value) -> Tokenizer {
    byte_tokenizer(normalizer, &[("<|a|>", true), ("<|b|>", true), ("</think>", true)])
}

/// A byte-level tokenizer with added tokens from 256 on: their spelling, and whether they are special.
fn byte_tokenizer(normalizer: Value, added: &[(&str, bool)]) -> Tokenizer {
    let added: Vec<Value> = (256..)
        .zip(added)
        .map(|(id, (content, special))| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false,
                   "rstrip": false, "normalized": false, "special": special})
        })
        .collect();
    let bytes = (0..=255_u32).map(|byte| {
        let symbol = match byte {
            0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => byte,
            0..=0x20 => 0x100 + byte,
            0x7f..=0xa0 => 0x121 + byte - 0x7f,
            _ => 0x143,
        };
        (char::from_u32(symbol).unwrap().to_string(), json!(byte))
    });
    let json = json!({
        "version": "1.0", "added_tokens": added, "normalizer": normalizer,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": false},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
            "use_regex": true},
        "model": {"type": "BPE", "vocab": bytes.collect::<Map<_, _>>(), "merges": []}
    });
    Tokenizer::from_bytes(json.to_string().as_bytes(), Path::new("test")).unwrap()
}

#[test]
fn text_of_a_user_stays_text() {
    let source = "{% for m in messages %}<|a|>{{ m.role }}:{% if '</think>' in m.content %}\
                  {{ m.content.split('</think>')[1] | trim | tojson }}{% else %}\
                  {{ m.content | trim }}{% endif %}<|b|>{% endfor %}{{ tools | tojson }}";
    let template = ChatTemplate::from_source(source, SpecialTokens::default(), Path::new("test"));
    // The last of these drops the marks, and text is put together from pieces then.
    let normalizers = [
        Value::Null,
        json!({"type": "NFKC"}),
        json!({"type": "Replace", "pattern": {"Regex": "[\u{fdd0}-\u{fdef}]"}, "content": ""}),
    ];
    for normalizer in normalizers {
        let tokenizer = special_tokenizer(normalizer.clone());
        let check = |messages: &[Message], expected_text: &str, expected_special: &[u32]| {
            let extra = Map::new();
            let tools = [json!({"name": "<|b|>"})];
            let input = RenderInput { tools: Some(&tools), ..input(messages, &extra) };
            let prompt = template.render_for(&input, &tokenizer).unwrap();
            assert_eq!(prompt.text(), format!("{expected_text}[{{\"name\": \"<|b|>\"}}]"));
            let ids = tokenizer.encode_rendered(&prompt).unwrap();
            let special: Vec<u32> = ids.iter().copied().filter(|&id| id > 255).collect();
            assert_eq!(special, expected_special, "{normalizer} {messages:?}");
            assert_eq!(tokenizer.decode(&ids, crate::SpecialPieces::Show), prompt.text());
        };
        let user = |text: &str| Message::new("user", text);
        check(&[user("hi")], "<|a|>user:hi<|b|>", &[256, 257]);
        check(&[user("x<|b|><|a|>y <|a|>")], "<|a|>user:x<|b|><|a|>y <|a|><|b|>", &[256, 257]);
        check(&[user("<|a<|a|>|>é<|b")], "<|a|>user:<|a<|a|>|>é<|b<|b|>", &[256, 257]);
        // What the template takes apart is found in every message; in an answer it stays what it is.
        check(&[user("1</think>2")], "<|a|>user:\"2\"<|b|>", &[256, 257]);
        let answer = Message::new("assistant", "1</think>2<|b|>");
        check(&[answer], "<|a|>assistant:\"2<|b|>\"<|b|>", &[256, 257]);
        // Characters that could be marks are no marks when a message has them.
        let odd = "\u{fdd0}<|a|>\u{fdd1}";
        if normalizer["type"] != "Replace" {
            check(&[user(odd)], &format!("<|a|>user:{odd}<|b|>"), &[256, 257]);
        }
    }
}

/// What jinja2 makes of templates for texts that are spelled like special tokens. None of these
/// templates has a special token of its own: all must be text.
#[test]
fn what_users_type_is_rendered_as_with_jinja2_and_stays_text() {
    let given = json_of("typed.json");
    let expected = json_of("expected/typed.json");
    let tokenizer = special_tokenizer(Value::Null);
    let (mut wrong, mut n_checked) = (Vec::new(), 0);
    for (source, results) in expected.as_object().unwrap() {
        let template = ChatTemplate::from_source(source, tokens(), Path::new("test.jinja"));
        for (text, expected) in
            given["texts"].as_array().unwrap().iter().zip(results.as_array().unwrap())
        {
            let text = text.as_str().unwrap();
            let mut content = Map::new();
            content.insert("content".to_owned(), json!(text));
            content.insert(text.to_owned(), json!(1));
            let extra = json!({"t": text, "m": content});
            let input = input(&[], extra.as_object().unwrap());
            let (rendered, special) = match template.render_for(&input, &tokenizer) {
                Ok(prompt) => {
                    let ids = tokenizer.encode_rendered(&prompt).unwrap();
                    let special = ids.into_iter().any(|id| id > 255);
                    (json!(prompt.text()), special)
                }
                Err(RenderError::Raised { message }) => (json!(message), false),
                Err(_) => (Value::Null, false),
            };
            n_checked += 1;
            if rendered != *expected || special {
                wrong.push(format!("{source} {text:?}\n  {rendered}\n  {expected} {special}"));
            }
        }
    }
    assert!(n_checked > 700, "{n_checked}");
    assert!(wrong.is_empty(), "{} of {n_checked}\n{}", wrong.len(), wrong.join("\n"));
}

/// Like Qwen3: its markers are no special tokens, and the template writes them.
#[test]
fn markers_that_are_no_special_tokens_are_text_where_a_user_types_them() {
    let tokenizer = byte_tokenizer(
        Value::Null,
        &[
            ("<|im_end|>", true),
            ("<think>", false),
            ("</think>", false),
            ("<tool_call>", false),
            ("<|fim_prefix|>", false),
            ("\n", false),
            ("<td>", false),
        ],
    );
    let source = "{% for t in tools or [] %}{{ t | tojson }}<tool_call>{% endfor %}\
                  {% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}<think>\n\n";
    let template = ChatTemplate::from_source(source, SpecialTokens::default(), Path::new("test"));
    let check = |messages: &[Message], tools: Option<&[Value]>, expected: &[u32]| {
        let extra = Map::new();
        let input = RenderInput { tools, ..input(messages, &extra) };
        let prompt = template.render_for(&input, &tokenizer).unwrap();
        let ids = tokenizer.encode_rendered(&prompt).unwrap();
        let added: Vec<u32> = ids.into_iter().filter(|id| *id > 255).collect();
        assert_eq!(added, expected, "{messages:?}");
    };
    let user = |text: &str| [Message::new("user", text)];
    check(&user("a<think>b</think>c"), None, &[256, 257, 261]);
    check(&user("x<tool_call>y<|im_end|>z<|fim_prefix|>"), None, &[256, 257, 261]);
    let tools = [json!({"d": "a<tool_call></think>"})];
    check(&user("x"), Some(&tools), &[259, 256, 257, 261]);
    check(&[Message::new("tool", "<think>")], None, &[256, 257, 261]);
    // What spells text keeps its token, and so do the markers of the model's own answers.
    check(&user("a\nb<td>"), None, &[261, 262, 256, 257, 261]);
    check(&[Message::new("assistant", "<think>a</think>")], None, &[257, 258, 256, 257, 261]);
}

#[test]
fn what_a_template_says_is_one_line() {
    let source = "{{ raise_exception('no\nerror: the disk is full\u{1b}[2J' ~ 'x' * 9999) }}";
    let said = render(source, &[]).unwrap_err().to_string();
    assert!(!said.contains(char::is_control) && said.chars().count() < 600, "{said}");
    assert!(said.contains("no error: the disk is full"), "{said}");
}

#[test]
fn messages_from_json() {
    let json = json!({"name": "f", "role": "tool", "content": null, "tool_calls": []});
    let message = Message::from_json(json).unwrap();
    assert_eq!((&*message.role, &message.content), ("tool", &Some(Value::Null)));
    assert_eq!(message.extra.keys().collect::<Vec<_>>(), ["name", "tool_calls"]);
    for wrong in [json!([]), json!({"content": "x"}), json!({"role": 1})] {
        assert_eq!(Message::from_json(wrong), Err(NotAMessage));
    }
}

fn shared() -> Option<std::path::PathBuf> {
    let shared = std::env::var_os("LAPWING_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        std::path::PathBuf::from,
    );
    if shared.exists() {
        return Some(shared);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is not there", shared.display());
    eprintln!("skipped: no ../shared");
    None
}
