use std::path::Path;

use lapwing_text::SpecialTokens;

use super::*;

#[test]
fn an_answer_goes_into_later_prompts_as_the_template_reads_it() {
    let call = ToolCall { name: "f".to_owned(), arguments: "{\"a\": 1}".to_owned() };
    let check = |template: Option<&str>, text: &str, calls: &[ToolCall], expected: &[Value]| {
        let template = template.map(|source| {
            ChatTemplate::from_source(source, SpecialTokens::default(), Path::new("test.jinja"))
        });
        let mut conversation = Conversation::default();
        for _ in expected {
            conversation.add_answer(template.as_ref(), text, "a thought", calls);
        }
        let found: Vec<Value> = conversation
            .messages
            .iter()
            .map(|message| {
                let mut json = json!({"content": message.content});
                for (name, value) in &message.extra {
                    json[name] = value.clone();
                }
                json
            })
            .collect();
        assert_eq!(found, expected);
    };
    check(None, "four", &[], &[json!({"content": "four"})]);
    check(Some("{{ m.content }}"), "four", &[], &[json!({"content": "four"})]);
    let thought = json!({"content": "four", "reasoning_content": "a thought"});
    check(Some("{{ m.reasoning_content }}"), "four", &[], &[thought]);
    let calls = [call];
    let line = "{\"name\":\"f\",\"arguments\":{\"a\":1}}";
    check(None, "", &calls, &[json!({"content": line})]);
    check(Some(""), "ok", &calls, &[json!({"content": format!("ok\n{line}")})]);
    // A marker of that name is no field.
    let marker = "{{ '<|tool_calls|>' }}{{ m.content }}";
    check(Some(marker), "", &calls, &[json!({"content": line})]);
    let of_id = |id: &str| {
        let function = json!({"name": "f", "arguments": {"a": 1}});
        json!({
            "content": "ok",
            "tool_calls": [{"id": id, "type": "function", "function": function}]
        })
    };
    let expected = [of_id("call00000"), of_id("call00001")];
    check(Some("{{ m.tool_calls }}"), "ok", &calls, &expected);
    // Where the template refuses them, they are text after all.
    let mut message = Message::new("assistant", "ok");
    message.extra.insert(TOOL_CALLS.to_owned(), expected[0][TOOL_CALLS].clone());
    let mut conversation = Conversation { messages: vec![message], ..Conversation::default() };
    assert!(conversation.spell_calls());
    assert!(!conversation.spell_calls());
    let spelled = Message::new("assistant", format!("ok\n{line}"));
    assert_eq!(conversation.messages, [spelled]);
}

#[test]
fn calls_go_back_in_the_form_that_the_template_takes() {
    let tokenizer = br#"{
        "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"}
    }"#;
    let tokenizer = Tokenizer::from_bytes(tokenizer, Path::new("made.json")).unwrap();
    let check = |of_call: &str, arguments: &str, expected: Option<&str>| {
        let source = format!(
            "{{% for m in messages %}}{{% for call in m.tool_calls or [] %}}{of_call}\
             {{% endfor %}}{{{{ m.content }}}}{{% endfor %}}"
        );
        let path = Path::new("made.jinja");
        let template = ChatTemplate::from_source(&source, SpecialTokens::default(), path);
        let call = ToolCall { name: "f".to_owned(), arguments: arguments.to_owned() };
        let mut conversation = Conversation::default();
        conversation.add_answer(Some(&template), "", "", &[call]);
        // A later message fares as the first one does.
        for _ in 0..2 {
            let prompt = conversation
                .prompt(&|messages, told| prompt(&tokenizer, Some(&template), messages, told));
            assert_eq!(prompt.ok().map(|prompt| prompt.text).as_deref(), expected, "{of_call}");
        }
    };
    let items = "{% for k, v in call.function.arguments|items %}{{ k }}={{ v }};{% endfor %}";
    check(items, "{\"a\": 1}", Some("a=1;"));
    let text = r#"{"name":"f","arguments":"{\"a\": "}"#;
    check(items, "{\"a\": ", Some(text));
    let joined = "{{ 'f ' + call.function.arguments }}";
    check(joined, "{\"a\": 1}", Some("f {\"a\":1}"));
    check(joined, "{\"a\": ", Some("f {\"a\": "));
    let raising = "{{ raise_exception('no result') }}";
    check(raising, "{\"a\": 1}", Some(r#"{"name":"f","arguments":{"a":1}}"#));
}

#[test]
fn the_id_of_a_forgotten_call_is_not_given_again() {
    let path = Path::new("made.jinja");
    let template = ChatTemplate::from_source("{{ m.tool_calls }}", SpecialTokens::default(), path);
    let call = ToolCall { name: "f".to_owned(), arguments: "{}".to_owned() };
    let mut conversation = Conversation::default();
    let ask = |conversation: &mut Conversation| {
        conversation.add("user", "go on");
        conversation.add_answer(Some(&template), "", "", std::slice::from_ref(&call));
    };
    ask(&mut conversation);
    ask(&mut conversation);
    assert!(conversation.forget_oldest());
    ask(&mut conversation);
    let ids = conversation.messages.iter().filter_map(|message| message.extra.get(TOOL_CALLS));
    let ids: Vec<_> = ids.map(|calls| calls[0]["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["call00001", "call00002"]);
}

#[test]
fn what_is_undone_is_the_last_question_with_its_answer() {
    let mut conversation = Conversation::new(Told::default());
    assert!(!conversation.undo());
    conversation.add("system", "brief");
    assert!(!conversation.undo());
    conversation.add("user", "one");
    conversation.add_answer(None, "1", "", &[]);
    let before = conversation.messages.clone();
    conversation.add("user", "two");
    conversation.add_answer(None, "", "", &[]);
    assert!(conversation.undo());
    assert_eq!(conversation.messages, before);
    assert!(conversation.undo());
    assert_eq!(conversation.messages, [Message::new("system", "brief")]);
    assert!(!conversation.undo());
}

#[test]
fn an_answer_that_stands_last_goes_on() {
    let tokenizer = br#"{
        "added_tokens": [{"id": 1, "content": "<end>", "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false}],
        "model": {"type": "WordLevel", "vocab": {"?": 0, "<end>": 1}, "unk_token": "?"}
    }"#;
    let tokenizer = Tokenizer::from_bytes(tokenizer, Path::new("made.json")).unwrap();
    let check = |source: &str, last: Value, goes_on: bool, expected: &str| {
        let path = Path::new("made.jinja");
        let template = ChatTemplate::from_source(source, SpecialTokens::default(), path);
        let messages = [Message::new("user", "hi"), Message::from_json(last).unwrap()];
        let told = Told { goes_on, ..Told::default() };
        let made = prompt(&tokenizer, Some(&template), &messages, &told).unwrap();
        assert_eq!(made.text, expected);
        made.ids
    };
    let source = "{% for m in messages %}{{ m.role[0] }}:{{ m.content | trim }}<end>{% endfor %}\
                  {% if add_generation_prompt %}a:{% endif %}";
    let said = |text: &str| json!({"role": "assistant", "content": text});
    check(source, said("1, 2 "), true, "u:hi<end>a:1, 2 ");
    check(source, said("1, 2 "), false, "u:hi<end>a:1, 2<end>a:");
    check(source, said(""), true, "u:hi<end>a:<end>a:");
    check(source, json!({"role": "assistant", "content": null}), true, "u:hi<end>a:<end>a:");
    check(source, json!({"role": "user", "content": "so?"}), true, "u:hi<end>u:so?<end>a:");
    let call = json!([{"type": "function", "function": {"name": "f", "arguments": {}}}]);
    let called = json!({"role": "assistant", "content": "ok", "tool_calls": call});
    check(source, called, true, "u:hi<end>a:ok<end>a:");
    // What it spells stays text there, too.
    let ids = check(source, said("<end>"), true, "u:hi<end>a:<end>");
    assert_eq!(ids.iter().filter(|&&id| id == 1).count(), 1, "{ids:?}");
    // Parts of a message, and a template that does not show it.
    let parts = "{% for m in messages %}{% for p in m.content if m.content is not string %}\
                 [{{ p.text }}]{% endfor %}{% endfor %}";
    let part = |text: &str| json!({"type": "text", "text": text});
    let in_parts = json!({"role": "assistant", "content": [part("a"), part("b")]});
    check(parts, in_parts, true, "[a][b");
    check("{{ messages[0].content }}>", said("1"), true, "hi>");
}

#[test]
fn an_answer_of_calls_alone_is_taken_by_every_template() {
    let tokenizer = br#"{
        "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"}
    }"#;
    let tokenizer = Tokenizer::from_bytes(tokenizer, Path::new("made.json")).unwrap();
    let check = |source: &str, expected: &str| {
        let path = Path::new("made.jinja");
        let template = ChatTemplate::from_source(source, SpecialTokens::default(), path);
        let call = json!([{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}]);
        let called = json!({"role": "assistant", "content": null, "tool_calls": call});
        let messages = [Message::new("user", "hi"), Message::from_json(called).unwrap()];
        let made = prompt(&tokenizer, Some(&template), &messages, &Told::default()).unwrap();
        assert_eq!(made.text, expected, "{source}");
    };
    // It prints, it looks within, it tells calls by it, it looks within though it knows none.
    check("{% for m in messages %}[{{ m.content }}]{% endfor %}", "[hi][]");
    check("{% for m in messages %}{{ '</think>' in m.content }}{% endfor %}", "FalseFalse");
    check("{% for m in messages %}{{ m.content is none }}{% endfor %}", "FalseTrue");
    let both = "{% for m in messages %}{% if m.x is not none %}{{ 'h' in m.content }}{% endif %}\
                {% endfor %}";
    check(both, "TrueFalse");
    let joined = "{% for m in messages %}{% for c in m.tool_calls or [] %}\
                  {{ 'in' in m.content }}{{ c.function.arguments + '' }}{% endfor %}{% endfor %}";
    check(joined, "False{\"a\":1}");
    check("{% set t = x is not none %}[{{ messages[1].content }}]", "[]");
    check("{{ messages[1]['content'] is none }}", "True");
}

#[test]
fn the_template_that_renders_says_how_it_takes_answers_of_calls_alone() {
    let tokenizer = br#"{
        "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"}
    }"#;
    let tokenizer = Tokenizer::from_bytes(tokenizer, Path::new("made.json")).unwrap();
    let path = Path::new("made.jinja");
    let plain = "[{{ messages[0].content }}]";
    let asks = "{{ 'call' if messages[0].content is none else 'text' }}";
    for (default, with_tools, expected) in [(plain, asks, "call"), (asks, plain, "[]")] {
        let template = ChatTemplate::from_source(default, SpecialTokens::default(), path);
        let template = template.with_tool_use(with_tools, path);
        let called = json!({"role": "assistant", "content": null});
        let messages = [Message::from_json(called).unwrap()];
        let told = Told { tools: Some(vec![json!({})]), ..Told::default() };
        let made = prompt(&tokenizer, Some(&template), &messages, &told).unwrap();
        assert_eq!(made.text, expected, "{with_tools}");
    }
}
