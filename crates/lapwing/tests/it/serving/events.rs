//! What happens to models, as those hear it who listen.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::Daemon;

/// A connection on which `path` was asked for, and heard of.
fn listen(daemon: &Daemon, path: &str) -> BufReader<TcpStream> {
    let mut stream = daemon.connect();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", daemon.address);
    stream.write_all(head.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0);
    }
    reader
}

/// The next event; `None` at the end.
fn next(events: &mut BufReader<TcpStream>) -> Option<Value> {
    loop {
        let mut line = String::new();
        if events.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        if let Some(data) = line.strip_prefix("data: ") {
            return Some(serde_json::from_str(data).unwrap());
        }
    }
}

#[test]
fn loads_and_departures_are_told_with_the_reason() {
    let daemon = Daemon::start(&["--keep-alive", "forever"]);
    let mut ours = listen(&daemon, "/v1/lapwing/events");
    let mut theirs = listen(&daemon, "/models/sse");
    assert!(daemon.workers().is_empty(), "to listen loads nothing");
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    for state in ["loading", "loaded"] {
        assert_eq!(next(&mut ours), Some(json!({"model": "fake", "state": state})));
        let data = json!({"status": state});
        let expected = json!({"model": "fake", "event": "status_change", "data": data});
        assert_eq!(next(&mut theirs), Some(expected));
    }
    let mut late = listen(&daemon, "/v1/lapwing/events");
    assert_eq!(next(&mut late), Some(json!({"model": "fake", "state": "loaded"})));
    let mut left = |why: &str| {
        let expected = json!({"model": "fake", "state": "unloaded", "why": why});
        assert_eq!(next(&mut late), Some(expected));
    };
    daemon.post("/v1/lapwing/models/unload", &json!({"model": "fake"}));
    left("asked");
    assert_eq!(next(&mut theirs).unwrap()["data"], json!({"status": "unloaded"}));
}

#[test]
fn crashes_and_what_cannot_be_loaded_are_told() {
    let daemon = Daemon::start(&["--keep-alive", "0s", "--memory-mb", "10000"]);
    let mut theirs = listen(&daemon, "/models/sse");
    let mut ours = listen(&daemon, "/v1/lapwing/events");
    let mut next = |n| (0..n).map(|_| next(&mut ours).unwrap()).collect::<Vec<_>>();
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    let events = next(3);
    assert_eq!(events[2], json!({"model": "fake", "state": "unloaded", "why": "idle"}));
    let _ = daemon.post(
        "/api/generate",
        &json!({"model": "fake", "prompt": "a", "keep_alive": -1, "stream": false,
            "options": {"num_predict": 1}}),
    );
    next(2);
    daemon.until("the first has ended", || daemon.workers().len() == 1);
    let worker = nix::unistd::Pid::from_raw(daemon.workers()[0].cast_signed());
    nix::sys::signal::kill(worker, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(next(1)[0], json!({"model": "fake", "state": "unloaded", "why": "crashed"}));
    let is_crash = |event: &Value| event["data"]["exit_code"] == 1;
    assert!((0..6).any(|_| super::events::next(&mut theirs).is_some_and(|event| is_crash(&event))));
}

#[test]
fn who_listens_holds_up_no_end_and_keeps_no_model() {
    let mut daemon = Daemon::start(&["--keep-alive", "300ms"]);
    let mut events = listen(&daemon, "/v1/lapwing/events");
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    daemon.until("it was unloaded", || daemon.workers().is_empty());
    let started = std::time::Instant::now();
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    while next(&mut events).is_some() {}
    assert!(daemon.child.wait().unwrap().success());
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
}
