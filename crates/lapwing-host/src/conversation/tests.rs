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
