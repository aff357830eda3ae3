//! What is answered, whole and as a stream.

use serde_json::{Value, json};

use super::{Daemon, chat};

#[test]
fn an_answer_is_the_same_whole_and_as_a_stream() {
    let daemon = Daemon::start(&[]);
    let whole = daemon.chat("fake", "abc", 4);
    assert_eq!(whole.status, 200, "{}", whole.body);
    let whole = whole.json();
    assert_eq!(whole["choices"][0]["message"]["content"], "defg");
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!(whole["usage"]["prompt_tokens"], 3);
    assert_eq!(whole["usage"]["completion_tokens"], 4);

    let mut request = chat("fake", "abc", 4);
    request["stream"] = json!(true);
    request["stream_options"] = json!({"include_usage": true});
    let stream = daemon.post("/v1/chat/completions", &request);
    assert_eq!(stream.field("content-type"), Some("text/event-stream"));
    assert_eq!(stream.field("cache-control"), Some("no-cache"));
    assert!(stream.body.ends_with("data: [DONE]\n\n"), "{}", stream.body);
    let events = stream.events();
    let text = |event: &Value| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
    assert_eq!(events.iter().filter_map(text).collect::<String>(), "defg");
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    for name in ["id", "created", "model"] {
        assert!(events.iter().all(|event| event[name] == events[0][name]), "{name}");
    }
    let [.., finish, usage] = &*events else { panic!("{events:?}") };
    assert_eq!(finish["choices"][0]["finish_reason"], "length");
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 4);
    assert_eq!(usage["usage"]["prompt_tokens_details"]["cached_tokens"], 2);
}

#[test]
fn several_answers_and_probabilities_are_told() {
    let daemon = Daemon::start(&[]);
    let mut request = chat("fake", "abc", 2);
    request["n"] = json!(3);
    request["logprobs"] = json!(true);
    request["top_logprobs"] = json!(2);
    let answer = daemon.post("/v1/chat/completions", &request).json();
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 3);
    assert_eq!(answer["usage"]["completion_tokens"], 6);
    for (idx, choice) in choices.iter().enumerate() {
        assert_eq!(choice["index"], idx);
        assert_eq!(choice["message"]["content"], "de");
        let first = &choice["logprobs"]["content"][0];
        assert_eq!(first["token"], "d");
        assert_eq!(first["top_logprobs"].as_array().unwrap().len(), 2);
        assert_eq!(first["top_logprobs"][1]["token"], "e");
    }
}

#[test]
fn what_is_wrong_is_told_before_the_first_byte_of_an_answer() {
    let daemon = Daemon::start(&[]);
    let check = |change: &dyn Fn(&mut Value), status: u16, param: Value, code: Value| {
        for is_stream in [false, true] {
            let mut request = chat("fake", "abc", 4);
            request["stream"] = json!(is_stream);
            change(&mut request);
            let answer = daemon.post("/v1/chat/completions", &request);
            assert_eq!(answer.status, status, "{request}: {}", answer.body);
            let error = &answer.json()["error"];
            assert_eq!((&error["param"], &error["code"]), (&param, &code), "{request}: {error}");
            assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()));
            assert!(answer.field("x-request-id").is_some());
        }
    };
    let wrong = |name: &'static str, value: Value| {
        let request = value.clone();
        let set = move |asked: &mut Value| asked[name] = request.clone();
        check(&set, 400, json!(name), Value::Null);
    };
    check(&|asked| asked["model"] = json!("none"), 404, json!("model"), json!("model_not_found"));
    let long = "a".repeat(5000);
    let set = |asked: &mut Value| asked["messages"][0]["content"] = json!(long);
    check(&set, 400, Value::Null, json!("context_length_exceeded"));
    wrong("temperature", json!(7));
    wrong("top_p", json!(-1));
    wrong("n", json!(0));
    wrong("messages", json!([]));
    wrong("messages", json!("text"));
    wrong("logit_bias", json!({"x": 1}));
    wrong("top_logprobs", json!(3));
    wrong("tool_choice", json!("required"));
    wrong("response_format", json!({"type": "json_schema", "json_schema": {"schema": "x"}}));
    // What nobody here knows, and null, are as good as nothing.
    let mut request = chat("fake", "abc", 4);
    for name in ["store", "metadata", "stop", "seed", "tools", "logit_bias", "stream_options"] {
        request[name] = Value::Null;
    }
    request["service_tier"] = json!("auto");
    request["max_tokens"] = json!(1_000_000);
    let answer = daemon.post("/v1/chat/completions", &request);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
fn models_have_the_names_that_clients_insist_on() {
    let daemon = Daemon::start(&[
        "--alias",
        "gpt-4o-mini=fake",
        "--default-model",
        "fake-2000",
        "--any-name",
    ]);
    let answered = |name: &str| {
        let answer = daemon.chat(name, "abc", 1).json();
        answer["model"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    };
    for name in ["fake", "fake:latest", "gpt-4o-mini", "claude-haiku-9", "llama3.2"] {
        assert_eq!(answered(name), name);
    }
    let list = daemon.get("/v1/models").json();
    let ids: Vec<&str> =
        list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(
        ids,
        ["fake", "fake-2000", "fake-20000", "fake-aborts", "fake-dies", "fake-embeddings"]
    );
    assert_eq!(daemon.get("/v1/models/fake").json()["context_length"], 4096);
    assert_eq!(daemon.get("/v1/models/fake%3Alatest").status, 200);
}

#[test]
fn streams_of_one_model_share_its_steps() {
    let daemon = Daemon::start(&["--parallel", "4"]);
    // Loaded, so that only answers are timed.
    assert_eq!(daemon.chat("fake-20000", "a", 1).status, 200);
    let answer = || {
        let answer = daemon.chat("fake-20000", "abc", 40).json();
        assert_eq!(answer["usage"]["completion_tokens"], 40, "{answer}");
    };
    let timed = |work: &dyn Fn()| {
        let started = std::time::Instant::now();
        work();
        started.elapsed()
    };
    let one = timed(&answer);
    let four = timed(&|| {
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(answer))));
    });
    // Four at the price of one are 4 times as many; a step here costs what the clock says it does.
    assert!(four.as_secs_f64() < one.as_secs_f64() * 4.0 / 2.5, "{four:?} beside {one:?}");
}
