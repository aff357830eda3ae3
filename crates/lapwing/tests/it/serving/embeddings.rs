//! Embeddings, in every interface.

use serde_json::{Value, json};

use super::{Daemon, chat};

/// For each character its number from the space on and 1; it takes 64 characters.
const MODEL: &str = "fake-embeddings";

fn request(input: Value) -> Value {
    json!({"model": MODEL, "input": input})
}

fn with(mut request: Value, name: &str, value: Value) -> Value {
    request[name] = value;
    request
}

/// Numbers of 32 bits, written shortest.
fn close(found: &Value, expected: &[f64]) {
    let found: Vec<f64> = serde_json::from_value(found.clone()).unwrap();
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
}

/// Token 3 and a half of it, at length 1.
const THREE: [f64; 2] = [0.948_683_3, 0.316_227_77];

#[test]
fn openai_gets_numbers_or_base64_and_usage() {
    let daemon = Daemon::start(&[]);
    let answer = daemon.post("/v1/embeddings", &request(json!(["#", "!#"]))).json();
    assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!(MODEL)));
    assert_eq!(answer["usage"], json!({"prompt_tokens": 3, "total_tokens": 3}));
    let data = answer["data"].as_array().unwrap();
    assert_eq!(data.len(), 2);
    assert_eq!((&data[1]["object"], &data[1]["index"]), (&json!("embedding"), &json!(1)));
    close(&data[0]["embedding"], &THREE);
    close(&data[1]["embedding"], &[2.0 / 5_f64.sqrt(), 1.0 / 5_f64.sqrt()]);
    // By its tokens.
    let ids = daemon.post("/v1/embeddings", &request(json!([3]))).json();
    assert_eq!(ids["data"][0], data[0]);
    // Python: base64.b64encode(struct.pack("<2f", 3 / 10 ** 0.5, 1 / 10 ** 0.5))
    let base64 = with(request(json!("#")), "encoding_format", json!("base64"));
    let base64 = daemon.post("/v1/embeddings", &base64).json();
    assert_eq!(base64["data"][0]["embedding"], "6dxyP5vooT4=");
    let short = with(request(json!("#")), "dimensions", json!(1));
    close(&daemon.post("/v1/embeddings", &short).json()["data"][0]["embedding"], &[1.0]);
}

#[test]
fn what_makes_no_sense_is_refused_as_each_interface_does() {
    let daemon = Daemon::start(&[]);
    let openai = |request: Value, code: Value, expected: &str| {
        let answer = daemon.post("/v1/embeddings", &request);
        let error = &answer.json()["error"];
        assert_eq!((answer.status, &error["code"]), (400, &code), "{error}");
        assert!(error["message"].as_str().unwrap().contains(expected), "{error}");
    };
    for nothing in [json!(""), json!([]), json!(["a", ""]), json!([[]])] {
        openai(request(nothing), Value::Null, "found nothing");
    }
    openai(request(json!([95])), Value::Null, "token 95 is not in the vocabulary");
    openai(with(request(json!("#")), "dimensions", json!(3)), Value::Null, "at most 2");
    openai(with(request(json!("#")), "model", json!("fake")), Value::Null, "'fake' does not");
    let long = "#".repeat(65);
    openai(request(json!(["#", long])), json!("context_length_exceeded"), "65 tokens");
    // What makes embeddings answers nothing.
    let answer = daemon.chat(MODEL, "abc", 4);
    assert!(answer.status == 400 && answer.body.contains("makes embeddings"), "{}", answer.body);
    let answer = daemon.post("/api/chat", &chat(MODEL, "abc", 4));
    assert!(answer.status == 400 && answer.body.contains("makes embeddings"), "{}", answer.body);
    let whole = with(request(json!(long)), "truncate", json!(false));
    let answer = daemon.post("/api/embed", &whole);
    assert!(answer.status == 400 && answer.body.contains("65 tokens"), "{}", answer.body);
}

#[test]
fn ollama_cuts_what_is_too_long_and_its_old_path_is_raw() {
    let daemon = Daemon::start(&[]);
    let long = "#".repeat(65);
    let answer = daemon.post("/api/embed", &request(json!([long, "#"]))).json();
    assert_eq!((&answer["model"], &answer["prompt_eval_count"]), (&json!(MODEL), &json!(65)));
    close(&answer["embeddings"][0], &THREE);
    assert_eq!(answer["embeddings"][0], answer["embeddings"][1]);
    let raw = json!({"model": MODEL, "prompt": "#"});
    close(&daemon.post("/api/embeddings", &raw).json()["embedding"], &[3.0, 1.0]);
    // Nothing loads the model.
    let nothing = daemon.post("/api/embed", &request(json!("")));
    assert_eq!((nothing.status, &nothing.json()["embeddings"]), (200, &json!([])));
    let shown = daemon.post("/api/show", &json!({"model": MODEL})).json();
    assert_eq!(shown["capabilities"], json!(["embedding"]));
    assert_eq!(shown["model_info"]["fake.context_length"], 64);
    let loaded = daemon.get("/api/ps").json();
    assert_eq!(loaded["models"][0]["name"], MODEL);
}

#[test]
fn clients_of_llama_server_get_lists_of_vectors() {
    let daemon = Daemon::start(&[]);
    for path in ["/embedding", "/embeddings"] {
        let answer = daemon.post(path, &json!({"model": MODEL, "content": "#"})).json();
        assert_eq!(answer[0]["index"], 0);
        close(&answer[0]["embedding"][0], &THREE);
        let raw = with(request(json!("#")), "embd_normalize", json!(-1));
        close(&daemon.post(path, &raw).json()[0]["embedding"][0], &[3.0, 1.0]);
        let none = daemon.post(path, &json!({"model": MODEL}));
        assert!(none.status == 400 && none.body.contains("found neither"), "{}", none.body);
    }
    let tokens = daemon.post("/tokenize", &json!({"model": MODEL, "content": "!#"})).json();
    assert_eq!(tokens["tokens"], json!([1, 3]));
}
