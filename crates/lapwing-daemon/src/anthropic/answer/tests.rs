use serde_json::json;

use super::*;

fn ended(why: Why, stop_text: Option<&str>) -> Ended {
    Ended {
        why,
        stop_text: stop_text.map(str::to_owned),
        n_prompt: 9,
        n_reused: 4,
        n_tokens: 3,
        n_thought_tokens: 1,
        queue_ms: 0.0,
        prompt_ms: 2.0,
        answer_ms: 3.5,
        energy: None,
    }
}

fn text(text: &str) -> ReplyEvent {
    ReplyEvent::Content(text.to_owned())
}

fn thought(text: &str) -> ReplyEvent {
    ReplyEvent::Reasoning(text.to_owned())
}

fn call(index: usize, name: &str) -> ReplyEvent {
    ReplyEvent::CallStart { index, name: name.to_owned() }
}

fn arguments(index: usize, delta: &str) -> ReplyEvent {
    ReplyEvent::CallArguments { index, delta: delta.to_owned() }
}

/// All events of an answer; each is read as it is written and named as it is.
fn told(parts: Vec<Vec<ReplyEvent>>, shows_thoughts: bool, ended: &Ended) -> Vec<Event> {
    let owned = str::to_owned;
    let mut teller = Teller::new(owned("msg_1"), owned("m"), owned("toolu_1"), shows_thoughts, 3);
    let mut events = teller.begin(9);
    for parts in parts {
        events.extend(teller.piece(&Piece { parts, ..Piece::default() }));
    }
    events.extend(teller.end(ended));
    for event in &events {
        let json = serde_json::to_value(event).unwrap();
        assert_eq!(json["type"], event.name());
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), *event);
    }
    events
}

/// The events between the first two and the last.
fn inner(events: &[Event]) -> Vec<Value> {
    let json = |event| serde_json::to_value(event).unwrap();
    events[2..events.len() - 2].iter().map(json).collect()
}

fn start(index: usize, content_block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": content_block})
}

fn delta(index: usize, delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn stop(index: usize) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn text_block(text: &str) -> Value {
    json!({"type": "text", "text": text, "citations": null})
}

fn tool_use(idx: usize, name: &str, input: Value) -> Value {
    json!({"type": "tool_use", "id": format!("toolu_10{idx}"), "name": name, "input": input,
        "caller": {"type": "direct"}})
}

#[test]
fn a_stream_has_the_published_form() {
    let events =
        told(vec![vec![text("Hel")], vec![], vec![text("lo")]], false, &ended(Why::Stop, None));
    let json = serde_json::to_value(&events).unwrap();
    let usage = json!({
        "input_tokens": 9, "output_tokens": 0, "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0, "cache_creation": null, "output_tokens_details": null,
        "server_tool_use": null, "service_tier": null, "inference_geo": null, "iterations": null,
        "speed": null,
    });
    let last_usage = json!({
        "input_tokens": 5, "output_tokens": 3, "cache_read_input_tokens": 4,
        "cache_creation_input_tokens": 0, "cache_creation": null,
        "output_tokens_details": {"thinking_tokens": 1}, "server_tool_use": null,
        "service_tier": null, "inference_geo": null, "iterations": null, "speed": null,
    });
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": null, "stop_sequence": null, "stop_details": null, "container": null,
        "context_management": null, "diagnostics": null, "usage": usage,
    });
    let ends = json!({"stop_reason": "end_turn", "stop_sequence": null, "stop_details": null,
        "container": null});
    let expected = json!([
        {"type": "message_start", "message": message},
        {"type": "ping"},
        start(0, text_block("")),
        delta(0, json!({"type": "text_delta", "text": "Hel"})),
        delta(0, json!({"type": "text_delta", "text": "lo"})),
        stop(0),
        {"type": "message_delta", "delta": ends, "usage": last_usage, "context_management": null},
        {"type": "message_stop"},
    ]);
    assert_eq!(json, expected);
}

#[test]
fn thoughts_texts_and_calls_are_blocks_in_their_order() {
    let parts = vec![
        vec![thought("hm")],
        vec![thought("!"), text("\n\n")],
        vec![text("Let me."), text("\n"), call(0, "f"), arguments(0, "{\"a\"")],
        vec![arguments(0, ": 1}"), ReplyEvent::CallEnd { index: 0 }, text("\n")],
        vec![call(1, "g"), ReplyEvent::CallEnd { index: 1 }, text("\n")],
    ];
    let events = told(parts.clone(), true, &ended(Why::Stop, None));
    let thinking = json!({"type": "thinking", "thinking": "", "signature": ""});
    let thinking_delta = |thinking| json!({"type": "thinking_delta", "thinking": thinking});
    let text_delta = |text| json!({"type": "text_delta", "text": text});
    let json_delta = |partial| json!({"type": "input_json_delta", "partial_json": partial});
    let expected = [
        start(0, thinking),
        delta(0, thinking_delta("hm")),
        delta(0, thinking_delta("!")),
        stop(0),
        start(1, text_block("")),
        // White space behind thoughts belongs to the text that follows.
        delta(1, text_delta("\n\nLet me.")),
        delta(1, text_delta("\n")),
        stop(1),
        start(2, tool_use(0, "f", json!({}))),
        delta(2, json_delta("{\"a\"")),
        delta(2, json_delta(": 1}")),
        stop(2),
        start(3, tool_use(1, "g", json!({}))),
        stop(3),
    ];
    assert_eq!(inner(&events), expected);
    let whole = serde_json::to_value(message(events).unwrap()).unwrap();
    let content = json!([
        {"type": "thinking", "thinking": "hm!", "signature": ""},
        text_block("\n\nLet me.\n"),
        tool_use(0, "f", json!({"a": 1})),
        tool_use(1, "g", json!({})),
    ]);
    assert_eq!((&whole["content"], &whole["stop_reason"]), (&content, &json!("tool_use")));
    assert_eq!(whole["usage"]["input_tokens"], 5);
    let hidden = message(told(parts, false, &ended(Why::Stop, None))).unwrap();
    assert_eq!(serde_json::to_value(hidden).unwrap()["content"][0], text_block("\n\nLet me.\n"));
}

#[test]
fn a_call_that_was_cut_off_is_closed() {
    let parts = vec![vec![call(0, "f"), arguments(0, "{\"a\": ")]];
    let events = told(parts, false, &ended(Why::Length, None));
    assert_eq!(inner(&events).last(), Some(&stop(0)));
    let whole = serde_json::to_value(message(events).unwrap()).unwrap();
    assert_eq!(whole["stop_reason"], "max_tokens");
    assert_eq!(whole["content"][0]["input"], json!({"arguments": "{\"a\": "}));
}

#[test]
fn white_space_alone_is_no_block() {
    let events = told(vec![vec![text("\n")], vec![text("  ")]], false, &ended(Why::Stop, None));
    assert_eq!(inner(&events), Vec::<Value>::new());
}

#[test]
fn the_reason_for_the_end_is_told() {
    let check = |ended: Ended, reason: &str, sequence: Value| {
        let whole = message(told(vec![vec![text("a")]], false, &ended)).unwrap();
        let whole = serde_json::to_value(whole).unwrap();
        assert_eq!((&whole["stop_reason"], &whole["stop_sequence"]), (&json!(reason), &sequence));
    };
    check(ended(Why::Stop, None), "end_turn", json!(null));
    check(ended(Why::Cancelled, None), "end_turn", json!(null));
    check(ended(Why::StopText, Some("###")), "stop_sequence", json!("###"));
    check(ended(Why::Length, None), "max_tokens", json!(null));
    let short = Ended { n_tokens: 2, ..ended(Why::Length, None) };
    check(short, "model_context_window_exceeded", json!(null));
    check(ended(Why::Full, None), "model_context_window_exceeded", json!(null));
}
