//! Calls of functions, as families write them, read back by what reads answers.

use std::path::Path;

use lapwing_grammar::{Answer, Form, Keeper};
use lapwing_runtime::Constraint as _;
use lapwing_text::{
    ChatTemplate, Detokenizer, Piece, Reply, ReplyFormat, ReplyParser, SpecialPieces, SpecialTokens,
};
use serde_json::{Value, json};

use crate::model::{Speech, byte_level};

fn tools() -> Vec<Value> {
    let weather = json!({
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 8},
            "days": {"type": "integer", "minimum": 1, "maximum": 14},
            "unit": {"enum": ["c", "f"]}
        },
        "required": ["city"]
    });
    vec![
        json!({"type": "function", "function": {"name": "get_weather", "parameters": weather}}),
        json!({"type": "function", "function": {"name": "now"}}),
    ]
}

/// What a model's answer was read as.
fn read(speech: &Speech, reply: &ReplyFormat, prompt_end: &str, ids: &[u32]) -> Reply {
    let mut parser = ReplyParser::new(reply, prompt_end);
    let mut detokenizer: Detokenizer = speech.tokenizer.detokenizer(SpecialPieces::Skip);
    for &id in ids {
        match parser.is_marker(id) {
            true => parser.push(Piece::Special(id)),
            false => parser.push(Piece::Text(detokenizer.push(id))),
        }
    }
    parser.push(Piece::Text(detokenizer.finish()));
    parser.finish();
    let mut reply = Reply::default();
    parser.take_events().iter().for_each(|event| reply.add(event));
    reply
}

fn check(family: &str, special: &[&str], plain: &[&str], template: &str, prompt_end: &str) {
    let speech = byte_level(special, plain);
    let path = Path::new("test.jinja");
    let template = ChatTemplate::from_source(template, SpecialTokens::default(), path);
    let tools = tools();
    let reply = ReplyFormat::detect(Some(&template), &speech.tokenizer).with_tools(&tools);
    let validator = jsonschema::validator_for(&tools[0]["function"]["parameters"]).unwrap();
    for name in [None, Some("get_weather")] {
        for seed in 0..100 {
            let form = Form::Calls { tools: &tools, name };
            let answer = Answer { form, reply: &reply, prompt_end, may_think: seed % 2 == 0 };
            let mut keeper = speech.compile(&answer).unwrap_or_else(|e| panic!("{family}: {e}"));
            let ids = speech.answer(&mut keeper, seed, 4000);
            let ids = ids.unwrap_or_else(|| panic!("{family} {seed}: no end"));
            let text = speech.tokenizer.decode(&ids, SpecialPieces::Show);
            let Reply { content, tool_calls, .. } = read(&speech, &reply, prompt_end, &ids);
            assert_eq!(content.trim(), "", "{family} {seed}: {text:?}");
            assert!(!tool_calls.is_empty(), "{family} {seed}: {text:?}");
            if name.is_some() {
                assert_eq!(tool_calls.len(), 1, "{family} {seed}: {text:?}");
            }
            for call in tool_calls {
                let arguments = match call.arguments.as_str() {
                    "" => json!({}),
                    text => serde_json::from_str(text)
                        .unwrap_or_else(|e| panic!("{family} {seed}: {e}: {text:?}")),
                };
                match &*call.name {
                    "get_weather" => {
                        assert!(validator.is_valid(&arguments), "{family} {seed}: {text:?}");
                    }
                    other => {
                        assert_eq!((other, name), ("now", None), "{family} {seed}: {text:?}");
                        assert_eq!(arguments, json!({}), "{family} {seed}: {text:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn calls_are_written_as_families_read_them() {
    check("hermes, tokens", &["<tool_call>", "</tool_call>"], &[], "", "");
    check("qwen, added text", &[], &["<tool_call>", "</tool_call>"], "", "");
    check("hermes, text", &[], &[], "<tool_call>", "");
    check("qwen thinks", &[], &["<tool_call>", "</tool_call>", "<think>", "</think>"], "", "");
    check(
        "thought begun",
        &["<think>", "</think>"],
        &["<tool_call>", "</tool_call>"],
        "",
        "<think>\n",
    );
    check("phi", &["<|tool_call|>", "<|/tool_call|>"], &[], "", "");
    check("granite", &["<|tool_call|>"], &[], "", "");
    check("nemotron", &[], &[], "<TOOLCALL>", "");
    check("mistral", &["[TOOL_CALLS]"], &[], "", "");
    check("mistral, named", &["[TOOL_CALLS]", "[ARGS]"], &[], "", "");
    check("lfm2", &["<|tool_call_start|>", "<|tool_call_end|>"], &[], "", "");
    check("llama", &["<|python_tag|>"], &[], "", "");
    check(
        "cohere",
        &["<|START_THINKING|>", "<|END_THINKING|>", "<|START_ACTION|>", "<|END_ACTION|>"],
        &[],
        "",
        "",
    );
    check(
        "deepseek",
        &[
            "<｜tool▁calls▁begin｜>",
            "<｜tool▁call▁begin｜>",
            "<｜tool▁sep｜>",
            "<｜tool▁call▁end｜>",
            "<｜tool▁calls▁end｜>",
        ],
        &[],
        "",
        "",
    );
    check(
        "gpt-oss",
        &["<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|call|>"],
        &[],
        "",
        "<|start|>assistant",
    );
}

#[test]
fn calls_come_to_an_end() {
    let speech = byte_level(&["[TOOL_CALLS]"], &[]);
    let tools = tools();
    let reply = ReplyFormat::detect(None, &speech.tokenizer).with_tools(&tools);
    let form = Form::Calls { tools: &tools, name: None };
    let answer = Answer { form, reply: &reply, prompt_end: "", may_think: false };
    let mut keeper = speech.compile(&answer).unwrap();
    let encode = |text: &str| speech.tokenizer.encode(text, false).unwrap();
    let allowed = |keeper: &mut Keeper| {
        let mut row = vec![0.0; speech.tokenizer.n_vocab()];
        keeper.forbid(&mut row).unwrap();
        move |id: u32| row[id as usize] == 0.0
    };
    // A model that would go on and on.
    let open = speech.tokenizer.token_id("[TOOL_CALLS]").unwrap();
    let mut next = [vec![open], encode("[")].concat();
    for n_calls in 0..16 {
        next.extend(encode("{\"name\": \"now\", \"arguments\": {}}"));
        for id in next.drain(..) {
            assert!(allowed(&mut keeper)(id), "{id} behind {n_calls} calls");
            assert!(!keeper.take(id));
        }
        next.extend(encode(", "));
    }
    let is_allowed = allowed(&mut keeper);
    assert!(!is_allowed(next[0]), "a seventeenth");
    assert!(is_allowed(encode("]")[0]));
}

#[test]
fn what_no_form_is_known_for_is_refused_by_name() {
    let check = |special: &[&str], template: &str, tools: &[Value], name, expected: &str| {
        let speech = byte_level(special, &[]);
        let template =
            ChatTemplate::from_source(template, SpecialTokens::default(), Path::new("test"));
        let reply = ReplyFormat::detect(Some(&template), &speech.tokenizer).with_tools(tools);
        let form = Form::Calls { tools, name };
        let answer = Answer { form, reply: &reply, prompt_end: "", may_think: true };
        let error = speech.compile(&answer).unwrap_err();
        let causes = std::error::Error::source(&error).map(ToString::to_string);
        let told = format!("{error}: {}", causes.unwrap_or_default());
        assert!(told.contains(expected), "{told}");
    };
    let tools = tools();
    check(&[], "", &tools, None, "mark no calls");
    check(&["<|tool_call>", "<tool_call|>"], "", &tools, None, "<|tool_call>");
    check(&["<tool_call>", "</tool_call>"], "", &[], None, "no function");
    check(&["<tool_call>", "</tool_call>"], "", &tools, Some("other"), "no function of the name");
    let lfm2 = &["<|tool_call_start|>", "<|tool_call_end|>"][..];
    let odd = json!({"name": "f", "parameters": {
        "type": "object", "properties": {"a b": {}}}});
    check(lfm2, "", &[odd], None, "\"a b\"");
    let quoted = json!({"name": "f\"(", "parameters": {}});
    check(lfm2, "", &[quoted], None, "name of a function");
}
