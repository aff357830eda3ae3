//! Pulling by name, from a hub that stands for the real one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::time::Duration;

use serde_json::{Value, json};

use super::Daemon;
use crate::hub::{Hub, Manners};
use crate::pull_hub::files;

const LARGE: &str = "openvino_model.bin";

/// A daemon with one model in its catalogue, which a hub has that waits before each answer.
fn start(arguments: &[&str], pause: Duration) -> (Hub, Daemon) {
    let manners = Manners { pause, ..Manners::default() };
    let hub = Hub::start(files(), manners);
    let home = tempfile::tempdir().unwrap();
    let entry = "[[model]]\nname = \"some-model\"\nsource = \"hf:org/repo\"\nkind = \"openvino\"\n\
                 description = \"for tests\"\nlicence = \"MIT\"\n";
    std::fs::write(home.path().join("catalog.toml"), entry).unwrap();
    let arguments = [&["--listen", "127.0.0.1:0"], arguments].concat();
    let daemon = Daemon::start_in(home, &arguments, &[("HF_ENDPOINT", hub.endpoint.as_str())]);
    (hub, daemon)
}

fn lines(body: &str) -> Vec<Value> {
    body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn is_there(daemon: &Daemon) -> bool {
    daemon.home.path().join("models/some-model").join(LARGE).exists()
}

#[test]
fn clients_pull_only_where_they_may() {
    let (hub, daemon) = start(&[], Duration::ZERO);
    let refused = daemon.post("/api/pull", &json!({"model": "some-model"}));
    assert_eq!(refused.status, 501, "{}", refused.body);
    assert!(refused.body.contains("by whoever runs it"), "{}", refused.body);
    assert!(daemon.workers().is_empty());
    assert_eq!(hub.requests().len(), 0);
}

#[test]
fn names_of_the_catalogue_are_pulled_and_nothing_else() {
    let (hub, daemon) = start(&["--allow-pull"], Duration::ZERO);
    let repo = format!("{}/org/repo", hub.endpoint);
    let home = daemon.home.path().to_str().unwrap();
    for name in
        ["org/repo", "hf:org/repo", "hf.co/org/repo", repo.as_str(), home, "../x", "pypi:a==1!b"]
    {
        for stream in [true, false] {
            let refused = daemon.post("/api/pull", &json!({"model": name, "stream": stream}));
            assert_eq!(refused.status, 404, "{name}: {}", refused.body);
            assert!(refused.body.contains("not in the catalogue"), "{}", refused.body);
        }
    }
    assert_eq!(daemon.post("/api/pull", &json!({"model": ""})).status, 400);
    assert_eq!(daemon.post("/api/pull", &json!({"model": "x".repeat(999)})).status, 404);
    assert_eq!(hub.requests().len(), 0);
    daemon.until("no process pulls", || daemon.workers().is_empty());
}

#[test]
fn two_clients_share_a_download_and_one_may_leave() {
    let (hub, daemon) = start(&["--allow-pull"], Duration::from_millis(400));
    let (whole, stream) = std::thread::scope(|scope| {
        let leaver = pulling(&daemon);
        let ask = |stream: bool| {
            let body = json!({"name": "some-model:latest", "stream": stream});
            daemon.post("/api/pull", &body)
        };
        let whole = scope.spawn(move || ask(false));
        let stream = scope.spawn(move || ask(true));
        std::thread::sleep(Duration::from_millis(300));
        drop(leaver);
        (whole.join().unwrap(), stream.join().unwrap())
    });
    assert_eq!((whole.status, whole.json()), (200, json!({"status": "success"})));
    let lines = lines(&stream.body);
    assert_eq!(lines.first().unwrap()["status"], "pulling manifest", "{}", stream.body);
    assert_eq!(lines.last().unwrap(), &json!({"status": "success"}), "{}", stream.body);
    let is_done = |line: &Value| line["total"].is_u64() && line["total"] == line["completed"];
    assert!(lines.iter().any(is_done), "{}", stream.body);
    assert_eq!(stream.field("content-type"), Some("application/x-ndjson"));
    assert_eq!(hub.downloads("openvino_model.xml").len(), 1, "it came once");
    assert!(is_there(&daemon));
    let n_requests = hub.requests().len();
    let again = daemon.post("/api/pull", &json!({"model": "some-model", "stream": false}));
    assert_eq!(again.json(), json!({"status": "success"}));
    assert_eq!(hub.requests().len(), n_requests, "it was there");
}

/// A client that has heard of more bytes than the first part of the large file has.
fn pulling(daemon: &Daemon) -> BufReader<std::net::TcpStream> {
    let mut stream = daemon.connect();
    let body = json!({"model": "some-model"}).to_string();
    let head = format!(
        "POST /api/pull HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{body}",
        daemon.address,
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut n_done = 0;
    while n_done <= 1 << 20 {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "it ended early");
        let line: Value = serde_json::from_str(&line).unwrap_or_default();
        n_done = line["completed"].as_u64().unwrap_or(0);
    }
    reader
}

#[test]
fn the_last_who_leaves_stops_a_pull_and_the_next_goes_on() {
    let (hub, daemon) = start(&["--allow-pull"], Duration::from_millis(1500));
    let (one, other) = (pulling(&daemon), pulling(&daemon));
    drop(one);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(daemon.workers().len(), 1, "somebody waits");
    drop(other);
    daemon.until("it was stopped", || daemon.workers().is_empty());
    assert!(!is_there(&daemon));
    hub.behave(Manners::default());
    let n_before = hub.downloads(LARGE).len();
    let outcome = daemon.post("/api/pull", &json!({"model": "some-model", "stream": false}));
    assert_eq!(outcome.status, 200, "{}", outcome.body);
    let first = hub.downloads(LARGE)[n_before].range;
    assert!(first.is_some_and(|(start, _)| 0 < start), "it began anew: {first:?}");
}

#[test]
fn what_goes_wrong_is_told_whole_and_in_a_stream() {
    let (hub, daemon) = start(&["--allow-pull"], Duration::ZERO);
    hub.behave(Manners { refuse: Some((404, "RepoNotFound")), ..Manners::default() });
    let whole = daemon.post("/api/pull", &json!({"model": "some-model", "stream": false}));
    assert_eq!(whole.status, 500, "{}", whole.body);
    assert!(whole.json()["error"].as_str().unwrap().contains("org/repo"), "{}", whole.body);
    let stream = daemon.post("/api/pull", &json!({"model": "some-model"}));
    let last = lines(&stream.body).pop().unwrap();
    assert!(last["error"].as_str().unwrap().contains("org/repo"), "{}", stream.body);
}
