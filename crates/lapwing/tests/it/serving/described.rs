//! What is answered is what `/openapi.json` says.

use jsonschema::Validator;
use serde_json::{Value, json};

use super::{Answer, Daemon, chat};

/// The document of a daemon.
struct Document(Value);

impl Document {
    fn of(daemon: &Daemon) -> Document {
        let answer = daemon.get("/openapi.json");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.field("content-type"), Some("application/json"));
        Document(answer.json())
    }

    fn validator(&self, schema: &Value) -> Validator {
        let schema = json!({"allOf": [schema], "components": self.0["components"]});
        jsonschema::draft202012::new(&schema).unwrap()
    }

    /// Hold an answer to what is said of its path and status.
    fn hold(&self, method: &str, path: &str, answer: &Answer) {
        let shown = format!("{method} {path}: {} {}", answer.status, answer.body);
        let operation = &self.0["paths"][path][method.to_ascii_lowercase()];
        let response = &operation["responses"][answer.status.to_string()];
        assert!(response.is_object(), "the status is not described: {shown}");
        let content_type = answer.field("content-type").unwrap().split(';').next().unwrap();
        let forms = response["content"].as_object().unwrap();
        let form = forms.iter().find(|(name, _)| name.split(';').next() == Some(content_type));
        let (_, form) = form.unwrap_or_else(|| panic!("{content_type} is not described: {shown}"));
        let (schema, items) = match content_type {
            "application/json" => (&form["schema"], vec![answer.json()]),
            "text/event-stream" => {
                let event = &form["itemSchema"]["anyOf"][0];
                (&event["properties"]["data"]["contentSchema"], answer.events())
            }
            "application/x-ndjson" => {
                let lines = answer.body.lines().map(serde_json::from_str);
                (&form["itemSchema"], lines.collect::<Result<_, _>>().unwrap())
            }
            _ => (&form["schema"], vec![answer.body.clone().into()]),
        };
        assert!(!items.is_empty(), "{shown}");
        let validator = self.validator(schema);
        for item in items {
            let wrong: Vec<String> =
                validator.iter_errors(&item).map(|error| error.to_string()).collect();
            assert_eq!(wrong, Vec::<String>::new(), "{item} of {shown}");
        }
    }
}

#[test]
fn answers_are_as_they_are_described() {
    let daemon = Daemon::start(&[]);
    let document = Document::of(&daemon);
    let asked = chat("fake", "ab", 2);
    let with = |more: Value| {
        let mut request = asked.clone();
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let prompt = json!({"model": "fake", "prompt": "ab", "max_tokens": 2, "n_predict": 2});
    let prompt_with = |more: Value| {
        let mut request = prompt.clone();
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let embed = json!({"model": "fake-embeddings", "input": "#", "prompt": "#"});
    let stream = json!({"stream": true, "stream_options": {"include_usage": true}});
    let posts: Vec<(&str, Value)> = vec![
        ("/v1/chat/completions", asked.clone()),
        ("/v1/chat/completions", with(json!({"logprobs": true, "top_logprobs": 2, "n": 2}))),
        ("/v1/chat/completions", with(stream.clone())),
        ("/v1/chat/completions", with(json!({"temperature": 9}))),
        ("/v1/chat/completions", with(json!({"model": "none"}))),
        ("/v1/chat/completions/input_tokens", asked.clone()),
        ("/v1/completions", prompt_with(json!({"logprobs": 2}))),
        ("/v1/completions", prompt_with(stream.clone())),
        ("/v1/responses", json!({"model": "fake", "input": "ab", "max_output_tokens": 2})),
        (
            "/v1/responses",
            json!({"model": "fake", "input": "ab", "max_output_tokens": 2,
            "stream": true}),
        ),
        ("/v1/embeddings", embed.clone()),
        ("/v1/messages", asked.clone()),
        ("/v1/messages", with(json!({"stream": true}))),
        ("/v1/messages", with(json!({"messages": []}))),
        ("/v1/messages/count_tokens", asked.clone()),
        ("/api/chat", with(json!({"options": {"num_predict": 2}}))),
        ("/api/chat", with(json!({"stream": false, "options": {"num_predict": 2}}))),
        ("/api/chat", json!({"model": "fake", "stream": false})),
        ("/api/generate", prompt_with(json!({"options": {"num_predict": 2}}))),
        ("/api/generate", prompt_with(json!({"images": ["x"]}))),
        ("/api/embed", embed.clone()),
        ("/api/embeddings", embed.clone()),
        ("/api/show", json!({"model": "fake"})),
        ("/api/show", json!({"model": "none"})),
        ("/api/pull", json!({"model": "fake"})),
        ("/completion", prompt_with(json!({"n_probs": 2, "return_tokens": true}))),
        ("/completion", prompt_with(json!({"prompt": ["a", "b"]}))),
        ("/completion", prompt_with(json!({"stream": true, "n_probs": 2}))),
        ("/completion", prompt_with(json!({"response_fields": ["content"]}))),
        ("/tokenize", json!({"model": "fake", "content": "ab", "with_pieces": true})),
        ("/tokenize", json!({"model": "fake", "content": "ab"})),
        ("/detokenize", json!({"model": "fake", "tokens": [1]})),
        ("/apply-template", asked.clone()),
        ("/embedding", embed),
        (
            "/v1/lapwing/answer",
            json!({"model": "fake", "generate": {"n_tokens_max": 2,
            "prompt": {"text": {"text": "ab", "add_special": true}}}}),
        ),
        ("/v1/lapwing/models/unload", json!({"model": "fake"})),
        ("/v1/lapwing/models/unload", json!([])),
    ];
    for (path, request) in &posts {
        document.hold("POST", path, &daemon.post(path, request));
    }
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    let gets = ["/health", "/props", "/slots", "/metrics", "/models", "/v1/models", "/api/version"];
    let more = ["/api/tags", "/api/ps", "/v1/lapwing", "/v1/lapwing/models", "/v1/lapwing/power"];
    let most = ["/v1/lapwing/profiles", "/v1/lapwing/report", "/page/page.js", "/openapi.json"];
    for path in gets.into_iter().chain(more).chain(most) {
        document.hold("GET", path, &daemon.get(path));
    }
    // What cannot be read is refused in the protocol's own shape, too.
    for (path, asked) in [
        ("/v1/lapwing/profiles", "/v1/lapwing/profiles?limit=x"),
        ("/props", "/props?model=a&model=b"),
        ("/v1/models/{name}", "/v1/models/%ff"),
        ("/v1/models/{name}", "/v1/models/none"),
        ("/v1/models/{name}", "/v1/models/fake"),
    ] {
        let answer = daemon.get(asked);
        assert_ne!(answer.status, 500, "{asked}");
        document.hold("GET", path, &answer);
    }
}

#[test]
fn paths_are_asked_with_the_methods_that_are_described() {
    let daemon = Daemon::start(&[]);
    let Document(document) = Document::of(&daemon);
    for (path, item) in document["paths"].as_object().unwrap() {
        let asked = path.replace("{name}", "none").replace("{digest}", "none");
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let described = item.get(method.to_ascii_lowercase());
            let is_described = described.is_some();
            let content = described.map(|operation| &operation["responses"]["200"]["content"]);
            if content.is_some_and(|content| content["text/event-stream"].is_object())
                && method == "GET"
            {
                // It has no end.
                continue;
            }
            // Nothing is done: an empty body says too little everywhere.
            let status = daemon.ask(method, &asked, &[], "").status;
            assert_eq!(status != 405, is_described, "{method} {asked}: {status}");
        }
    }
}

#[test]
fn requests_are_described_as_clients_write_them() {
    let daemon = Daemon::start(&[]);
    let document = Document::of(&daemon);
    let check = |path: &str, field: &str, values: &[(Value, bool)]| {
        let body = &document.0["paths"][path]["post"]["requestBody"]["content"];
        let validator = document.validator(&body["application/json"]["schema"]);
        for (value, expected) in values {
            let mut request = chat("fake", "a", 1);
            request[field] = value.clone();
            assert_eq!(validator.is_valid(&request), *expected, "{path} {field} {value}");
        }
    };
    let stops = [(json!("a"), true), (json!(["a", null]), true), (json!(null), true)];
    check("/v1/chat/completions", "stop", &stops);
    check("/v1/chat/completions", "stop", &[(json!(5), false), (json!([5]), false)]);
    check("/v1/messages", "stop_sequences", &stops);
    let times = [(json!("5m"), true), (json!(-1), true), (json!(1.5), true), (json!([]), false)];
    check("/api/chat", "keep_alive", &times);
    let contents = [
        (json!("a"), true),
        (json!([{"type": "text", "text": "a"}]), true),
        (json!([{"type": "tool_result", "tool_use_id": "a", "content": "b"}]), true),
        (json!([{"type": "text"}]), false),
        (json!(5), false),
    ];
    check("/v1/messages", "system", &contents);
}
