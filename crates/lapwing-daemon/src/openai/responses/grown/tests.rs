use lapwing_serving::message::{Probability, Spelled};
use serde_json::json;

use super::super::{ResponsesRequest, blank};
use super::*;

fn grown(has_logprobs: bool) -> Grown {
    let request: ResponsesRequest =
        serde_json::from_value(json!({"model": "m", "input": "a"})).unwrap();
    let request_id = RequestId::new();
    Grown::new(blank(&request, request_id), request_id, has_logprobs)
}

fn ended(why: Why) -> Ended {
    Ended {
        why,
        stop_text: None,
        n_prompt: 7,
        n_reused: 3,
        n_tokens: 5,
        n_thought_tokens: 2,
        queue_ms: 0.0,
        prompt_ms: 0.0,
        answer_ms: 0.0,
        energy: None,
    }
}

fn text(text: &str) -> ReplyEvent {
    ReplyEvent::Content(text.to_owned())
}

/// The names of all events of an answer, and the response at its end.
fn events(pieces: &[&[ReplyEvent]], why: Why) -> (Vec<Event>, Response) {
    let mut grown = grown(false);
    let mut events = grown.begin();
    for parts in pieces {
        let piece = Piece { token: 1, parts: parts.to_vec(), probability: None };
        events.extend(grown.piece(&piece));
    }
    events.extend(grown.end(&ended(why)));
    (events, grown.response().clone())
}

fn check(pieces: &[&[ReplyEvent]], why: Why, expected: &[&str]) -> Response {
    let (events, response) = events(pieces, why);
    let names: Vec<&str> = events.iter().map(Event::name).collect();
    let expected: Vec<String> = expected.iter().map(|name| format!("response.{name}")).collect();
    assert_eq!(names, expected);
    for (event, number) in events.iter().zip(0..) {
        let json = serde_json::to_value(event).unwrap();
        assert_eq!(json["type"], event.name());
        assert_eq!(json["sequence_number"], number);
        assert_eq!(&serde_json::from_value::<Event>(json).unwrap(), event);
    }
    response
}

#[test]
fn text_comes_in_the_order_that_clients_expect() {
    let response = check(
        &[&[text("Hel")], &[], &[text("lo")]],
        Why::Stop,
        &[
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ],
    );
    assert_eq!(response.status, "completed");
    let usage = response.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.total_tokens), (7, 5, 12));
    assert_eq!(usage.input_tokens_details.cached_tokens, 3);
    assert_eq!(usage.output_tokens_details.reasoning_tokens, 2);
    let json = serde_json::to_value(&response).unwrap();
    assert_eq!(json["output"][0]["content"][0]["text"], "Hello");
    assert_eq!(json["output"][0]["content"][0]["logprobs"], json!([]));
    assert_eq!(json["output"][0]["content"][0]["annotations"], json!([]));
    for key in ["error", "incomplete_details", "instructions", "temperature", "top_p"] {
        assert!(json.as_object().unwrap().contains_key(key), "{key}");
    }
}

#[test]
fn thoughts_and_calls_are_items_of_their_own() {
    let call = |index, name: &str| ReplyEvent::CallStart { index, name: name.to_owned() };
    let arguments =
        |index, delta: &str| ReplyEvent::CallArguments { index, delta: delta.to_owned() };
    let response = check(
        &[
            &[ReplyEvent::Reasoning("hm".to_owned())],
            &[text("So:")],
            &[call(0, "f")],
            &[arguments(0, "{}"), ReplyEvent::CallEnd { index: 0 }],
            &[text("\n")],
            &[call(1, "g"), arguments(1, "{\"a\":1}"), ReplyEvent::CallEnd { index: 1 }],
        ],
        Why::Stop,
        &[
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "reasoning_text.delta",
            "reasoning_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ],
    );
    let json = serde_json::to_value(&response.output).unwrap();
    let kinds: Vec<&str> =
        json.as_array().unwrap().iter().filter_map(|item| item["type"].as_str()).collect();
    assert_eq!(kinds, ["reasoning", "message", "function_call", "function_call"]);
    assert_eq!(json[3]["arguments"], "{\"a\":1}");
    let ids: std::collections::BTreeSet<&str> = json
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|item| [item["id"].as_str(), item["call_id"].as_str()])
        .flatten()
        .collect();
    assert_eq!(ids.len(), 6, "ids are unlike each other: {ids:?}");
}

#[test]
fn an_answer_that_is_cut_off_is_incomplete() {
    let response = check(
        &[&[text("Hel")]],
        Why::Length,
        &[
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "incomplete",
        ],
    );
    assert_eq!(response.status, "incomplete");
    assert_eq!(response.incomplete_details.unwrap().reason, "max_output_tokens");
    assert!(matches!(response.output[0], Item::Message { status: Status::Incomplete, .. }));
}

#[test]
fn an_empty_answer_has_an_empty_message() {
    check(
        &[],
        Why::Stop,
        &[
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ],
    );
}

#[test]
fn probabilities_come_with_the_text_that_their_tokens_became() {
    let probability = |token: &str| {
        let piece = Spelled::new(1, token.into());
        Some(Box::new(Probability { log: -1.0, piece, top: Vec::new() }))
    };
    let mut grown = grown(true);
    let first = Piece { token: 1, parts: Vec::new(), probability: probability("a") };
    assert!(grown.piece(&first).is_empty());
    let second = Piece { token: 1, parts: vec![text("ab")], probability: probability("b") };
    let events = grown.piece(&second);
    let Some(What::TextDelta { logprobs, .. }) = events.last().map(|event| &event.what) else {
        panic!("{events:?}");
    };
    assert_eq!(logprobs.iter().map(|it| &*it.token).collect::<Vec<_>>(), ["a", "b"]);
    grown.end(&ended(Why::Stop));
    let json = serde_json::to_value(grown.response()).unwrap();
    assert_eq!(json["output"][0]["content"][0]["logprobs"][1]["token"], "b");
}

#[test]
fn a_failure_is_the_last_event() {
    let mut grown = grown(false);
    grown.begin();
    let error = ResponseError { code: "server_error".to_owned(), message: "lost".to_owned() };
    let events = grown.fail(error.clone());
    assert_eq!(events[0].name(), "response.failed");
    assert_eq!((events[0].sequence_number, grown.response().error.clone()), (2, Some(error)));
}
