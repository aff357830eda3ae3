//! Ollama's interface.

use serde_json::{Value, json};

use super::{Answer, Daemon};

fn chat(text: &str) -> Value {
    let messages = json!([{"role": "user", "content": text}]);
    let options = json!({"num_predict": 4, "temperature": 0});
    json!({"model": "fake", "messages": messages, "options": options})
}

fn with(mut request: Value, name: &str, value: Value) -> Value {
    request[name] = value;
    request
}

fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!((answer.status, answer.field("content-type")), (200, Some("application/x-ndjson")));
    answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn models(daemon: &Daemon) -> Vec<Value> {
    daemon.get("/api/ps").json()["models"].as_array().unwrap().clone()
}

fn check_counts(last: &Value) {
    assert_eq!((&last["done"], &last["done_reason"]), (&json!(true), &json!("length")));
    assert_eq!((&last["prompt_eval_count"], &last["eval_count"]), (&json!(3), &json!(4)));
    for name in ["total_duration", "load_duration", "prompt_eval_duration", "eval_duration"] {
        assert!(last[name].is_u64(), "{last}");
    }
}

#[test]
fn a_chat_is_a_stream_of_lines_unless_it_shall_not() {
    let daemon = Daemon::start(&[]);
    let stream = daemon.post("/api/chat", &chat("abc"));
    let stream = lines(&stream);
    let text = |line: &Value| line["message"]["content"].as_str().unwrap().to_owned();
    assert_eq!(stream.iter().map(text).collect::<String>(), "defg");
    let [first @ .., last] = &*stream else { panic!("{stream:?}") };
    assert!(first.iter().all(|line| line["done"] == false), "{stream:?}");
    check_counts(last);
    let whole = daemon.post("/api/chat", &with(chat("abc"), "stream", json!(false))).json();
    assert_eq!(whole["message"], json!({"role": "assistant", "content": "defg"}));
    assert_eq!(whole["model"], "fake");
    check_counts(&whole);
}

#[test]
fn a_text_goes_on_from_its_context() {
    let daemon = Daemon::start(&[]);
    let options = json!({"num_predict": 4, "temperature": 0});
    let request = json!({"model": "fake", "prompt": "abc", "options": options, "stream": false});
    let first = daemon.post("/api/generate", &request).json();
    assert_eq!(first["response"], "defg");
    check_counts(&first);
    // The tokens of this model are the characters from the space on.
    let ids: Vec<u32> = "abcdefg".bytes().map(|symbol| u32::from(symbol - b' ')).collect();
    assert_eq!(first["context"], json!(ids));
    let more = with(request.clone(), "prompt", json!("h"));
    let more = with(more, "context", first["context"].clone());
    let second = daemon.post("/api/generate", &more).json();
    assert_eq!((&second["response"], &second["prompt_eval_count"]), (&json!("ijkl"), &json!(8)));
    let stream = daemon.post("/api/generate", &with(request.clone(), "stream", json!(true)));
    let stream = lines(&stream);
    let text = |line: &Value| line["response"].as_str().unwrap().to_owned();
    assert_eq!(stream.iter().map(text).collect::<String>(), "defg");
    assert_eq!(stream.last().unwrap()["context"], json!(ids));
    let raw = daemon.post("/api/generate", &with(request, "raw", json!(true))).json();
    assert_eq!((&raw["response"], raw.get("context")), (&json!("defg"), None));
}

#[test]
fn to_look_at_models_loads_none() {
    let daemon = Daemon::start(&[]);
    let check = |answer: Answer| {
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(!answer.body.contains("null"), "{}", answer.body);
    };
    for path in ["/", "/api/version", "/api/tags", "/api/ps"] {
        check(daemon.get(path));
        check(daemon.ask("HEAD", path, &[], ""));
    }
    let shown = daemon.post("/api/show", &json!({"name": "fake:latest"}));
    assert_eq!(shown.json()["model_info"]["fake.context_length"], 4096);
    assert_eq!(shown.json()["capabilities"], json!(["completion"]));
    check(shown);
    assert_eq!(daemon.get("/").body, "Ollama is running");
    let tags = daemon.get("/api/tags").json();
    assert_eq!(tags["models"][0]["name"], "fake");
    assert_eq!(models(&daemon), Vec::<Value>::new());
}

#[test]
fn models_are_loaded_and_unloaded_without_a_prompt() {
    let daemon = Daemon::start(&[]);
    let load = daemon.post("/api/chat", &json!({"model": "fake", "messages": []})).json();
    assert_eq!((&load["done"], &load["done_reason"]), (&json!(true), &json!("load")));
    let loaded = models(&daemon);
    assert_eq!((&loaded[0]["name"], &loaded[0]["context_length"]), (&json!("fake"), &json!(4096)));
    let until = |models: &[Value]| models[0]["expires_at"].as_str().unwrap().to_owned();
    let keep = json!({"model": "fake", "keep_alive": -1});
    assert_eq!(daemon.post("/api/generate", &keep).json()["done_reason"], "load");
    assert!(until(&loaded) < until(&models(&daemon)));
    let end = json!({"model": "fake", "keep_alive": 0});
    assert_eq!(daemon.post("/api/generate", &end).json()["done_reason"], "unload");
    daemon.until("it is unloaded", || models(&daemon).is_empty());
    // To unload what is not loaded does not load it.
    assert_eq!(daemon.post("/api/generate", &end).json()["done_reason"], "unload");
    assert_eq!(models(&daemon), Vec::<Value>::new());
}

#[test]
fn another_length_of_the_context_loads_no_model_anew() {
    let daemon = Daemon::start(&[]);
    let answered = |n_ctx: u32| {
        let options = json!({"num_predict": 1, "num_ctx": n_ctx});
        let request = with(chat("abc"), "options", options);
        assert_eq!(daemon.post("/api/chat", &request).status, 200);
        daemon.workers()
    };
    assert_eq!(answered(2048), answered(4096));
}

#[test]
fn what_is_refused_is_told_in_one_string() {
    let daemon = Daemon::start(&[]);
    let check = |path: &str, request: Value, status: u16, expected: &str| {
        let answer = daemon.post(path, &request);
        let (found, body) = (answer.status, answer.json());
        assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "{body}");
        let error = body["error"].as_str().unwrap();
        assert!(found == status && error.contains(expected), "{path} {request}: {found} {error}");
    };
    for path in ["/api/chat", "/api/generate", "/api/show", "/api/embed", "/api/embeddings"] {
        check(path, json!({"model": "x"}), 404, "model 'x' not found");
    }
    check("/api/chat", with(chat("a"), "think", json!(true)), 400, "does not support thinking");
    check("/api/chat", with(chat("a"), "format", json!("xml")), 400, "expected format");
    check("/api/chat", with(chat("a"), "options", json!({"top_p": 2})), 400, "top_p");
    check("/api/chat", chat(&"a".repeat(5000)), 400, "maximum context length");
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    check("/api/chat", with(chat("a"), "tools", tools), 400, "reads none");
    check("/api/embed", json!({"model": "fake", "input": "a"}), 400, "embeddings");
    check("/api/pull", json!({"model": "x"}), 501, "does not do that");
    check("/api/create", json!({"model": "x"}), 501, "does not do that");
    check("/api/nothing", json!({}), 404, "nothing at this path");
}
