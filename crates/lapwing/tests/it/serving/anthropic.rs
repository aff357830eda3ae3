//! Anthropic's interface.

use std::time::Duration;

use serde_json::{Value, json};

use super::Daemon;

fn asked(text: &str) -> Value {
    let messages = json!([{"role": "user", "content": text}]);
    json!({"model": "fake", "messages": messages, "max_tokens": 4, "temperature": 0})
}

fn with(mut request: Value, name: &str, value: Value) -> Value {
    request[name] = value;
    request
}

#[test]
fn a_message_is_the_same_whole_and_as_a_stream() {
    let daemon = Daemon::start(&[]);
    let whole = daemon.post("/v1/messages?beta=true", &asked("abc")).json();
    assert_eq!(whole["content"], json!([{"type": "text", "text": "defg", "citations": null}]));
    assert_eq!((&whole["model"], &whole["stop_reason"]), (&json!("fake"), &json!("max_tokens")));
    let usage = |of: &Value| {
        let names = ["input_tokens", "cache_read_input_tokens", "output_tokens"];
        names.map(|name| of["usage"][name].as_u64().unwrap())
    };
    assert_eq!(usage(&whole), [3, 0, 4]);

    let stream = daemon.post("/v1/messages", &with(asked("abc"), "stream", json!(true)));
    assert_eq!(stream.field("content-type"), Some("text/event-stream"));
    let names = stream.body.lines().filter_map(|line| line.strip_prefix("event: "));
    let events = stream.events();
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(names.collect::<Vec<_>>(), types);
    let without_deltas: Vec<&str> =
        types.into_iter().filter(|name| *name != "content_block_delta").collect();
    let expected = [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(without_deltas, expected);
    let text = |event: &Value| event["delta"]["text"].as_str().map(str::to_owned);
    assert_eq!(events.iter().filter_map(text).collect::<String>(), "defg");
    assert_eq!(usage(&events[0]["message"]), [3, 0, 0]);
    let [.., delta, _] = &*events else { panic!("{events:?}") };
    assert_eq!(delta["delta"]["stop_reason"], "max_tokens");
    // What the answer before left of the prompt is known.
    assert_eq!(usage(delta), [1, 2, 4]);
}

#[test]
fn the_end_of_an_answer_has_its_reason() {
    let daemon = Daemon::start(&[]);
    let request = with(asked("abc"), "stop_sequences", json!(["x", "f"]));
    let answer = daemon.post("/v1/messages", &request).json();
    assert_eq!(answer["content"][0]["text"], "de");
    assert_eq!(answer["stop_reason"], "stop_sequence");
    assert_eq!(answer["stop_sequence"], "f");
    let long = with(asked(&"a".repeat(4090)), "max_tokens", json!(32_000));
    let answer = daemon.post("/v1/messages", &long).json();
    assert_eq!(answer["stop_reason"], "model_context_window_exceeded", "{answer}");
}

#[test]
fn to_count_tokens_is_no_use_of_a_model() {
    let daemon = Daemon::start(&[]);
    let messages = json!([{"role": "user", "content": "abc"}]);
    let line = "x-anthropic-billing-header: cc_version=1; cch=12ab;\n";
    let system = json!([{"role": "system", "content": format!("{line}de")}, messages[0]]);
    let counts = || {
        let ask = |path: &str, request: Value| {
            let answer = daemon.post(path, &with(request, "model", json!("fake")));
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            answer.json()
        };
        let n = |path: &str, request: Value| ask(path, request)["input_tokens"].clone();
        assert_eq!(n("/v1/messages/count_tokens", json!({"messages": messages})), 3);
        let both = json!({"messages": messages, "system": format!("{line}de")});
        assert_eq!(n("/v1/messages/count_tokens", both), 5);
        assert_eq!(n("/v1/chat/completions/input_tokens", json!({"messages": system})), 5);
        assert_eq!(n("/v1/responses/input_tokens", json!({"input": "abcd"})), 4);
        let tokens = ask("/tokenize", json!({"content": "ab"}))["tokens"].clone();
        assert_eq!(tokens.as_array().unwrap().len(), 2);
        assert_eq!(ask("/detokenize", json!({"tokens": tokens}))["content"], "ab");
        assert_eq!(ask("/apply-template", json!({"messages": messages}))["prompt"], "abc");
    };
    counts();
    assert_eq!(daemon.get("/api/ps").json()["models"], json!([]), "to count loads no model");
    assert_eq!(daemon.post("/v1/messages", &asked("abc")).status, 200);
    let until = || daemon.get("/api/ps").json()["models"][0]["expires_at"].clone();
    // Digits behind the milliseconds differ each time that they are asked for.
    let shown = || until().as_str().unwrap()[..21].to_owned();
    let before = shown();
    std::thread::sleep(Duration::from_millis(300));
    counts();
    assert_eq!(shown(), before);
    let unknown = json!({"model": "none", "messages": messages});
    assert_eq!(daemon.post("/v1/messages/count_tokens", &unknown).status, 404);
}

#[test]
fn what_is_refused_is_told_before_the_first_byte() {
    let daemon = Daemon::start(&[]);
    let check = |name: &str, value: Value, status: u16, kind: &str, expected: &str| {
        for is_stream in [false, true] {
            let request = with(with(asked("abc"), "stream", json!(is_stream)), name, value.clone());
            let answer = daemon.post("/v1/messages", &request);
            assert_eq!(answer.status, status, "{request}: {}", answer.body);
            let body = answer.json();
            assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(kind)));
            assert_eq!(body["request_id"].as_str(), answer.field("request-id"));
            let message = body["error"]["message"].as_str().unwrap();
            assert!(message.contains(expected), "{message}");
        }
    };
    let wrong = |name: &str, value: Value, expected: &str| {
        check(name, value, 400, "invalid_request_error", expected);
    };
    check("model", json!("x"), 404, "not_found_error", "model 'x' not found");
    wrong("max_tokens", json!(null), "max_tokens");
    wrong("messages", json!([]), "at least one message");
    wrong("temperature", json!(3), "temperature");
    wrong("tool_choice", json!({"type": "any"}), "there are none");
    wrong("tools", json!([{"name": "f", "input_schema": {}}]), "reads none");
    let image = json!([{"type": "image", "source": {"type": "url", "url": "http://a"}}]);
    wrong("messages", json!([{"role": "user", "content": image}]), "pictures");
    let long = json!([{"role": "user", "content": "a".repeat(5000)}]);
    wrong("messages", long, "prompt is too long");
}
