//! Who may ask: each rule of who is refused before any work.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use serde_json::json;

use super::{Daemon, chat};

#[test]
fn requests_must_name_this_machine() {
    let daemon = Daemon::start(&["--host", "laptop.lan"]);
    let port = daemon.address.rsplit(':').next().unwrap();
    let status = |host: &str| daemon.ask("GET", "/v1/models", &[("Host", host)], "").status;
    for ours in ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "[::1]", "laptop.lan"] {
        assert_eq!(status(ours), 200, "{ours}");
        assert_eq!(status(&format!("{ours}:{port}")), 200, "{ours}");
    }
    let foreign = ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1"];
    for foreign in foreign.into_iter().chain(["", "localhost:x", "a@localhost", "lap.local"]) {
        let status = status(foreign);
        assert!(matches!(status, 400 | 421), "{foreign}: {status}");
    }
    let twice = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\
                 Connection: close\r\n\r\n";
    assert!(daemon.raw(twice.as_bytes()).starts_with("HTTP/1.1 4"));
    let none = "GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n";
    assert!(daemon.raw(none.as_bytes()).starts_with("HTTP/1.1 4"));
    let absolute = "GET http://evil.example/v1/models HTTP/1.1\r\nHost: localhost\r\n\
                    Connection: close\r\n\r\n";
    assert!(daemon.raw(absolute.as_bytes()).starts_with("HTTP/1.1 421"));
}

#[test]
fn foreign_pages_are_refused_before_any_work() {
    let daemon = Daemon::start(&["--origin", "app://obsidian.md"]);
    let body = chat("fake", "a", 1).to_string();
    let ask = |fields: &[(&str, &str)]| daemon.ask("POST", "/v1/chat/completions", fields, &body);
    for origin in ["http://evil.example", "null", "http://localhost:9", "app://obsidian.md.evil"] {
        let answer = ask(&[("Origin", origin), ("Content-Type", "text/plain")]);
        assert_eq!(answer.status, 403, "{origin}");
        assert_eq!(answer.field("access-control-allow-origin"), None, "{origin}");
    }
    assert_eq!(ask(&[("Sec-Fetch-Site", "cross-site")]).status, 403);
    assert_eq!(ask(&[("Sec-Fetch-Site", "same-site")]).status, 403);
    // Nothing was loaded for any of them.
    assert!(daemon.workers().is_empty(), "no model is loaded");
    let named = ask(&[("Origin", "app://obsidian.md"), ("Sec-Fetch-Site", "cross-site")]);
    assert_eq!(named.status, 200, "{}", named.body);
    assert_eq!(named.field("access-control-allow-origin"), Some("app://obsidian.md"));
    assert_eq!(named.field("vary"), Some("Origin"));
    assert_eq!(named.field("access-control-allow-credentials"), None);
    // As any `curl -d` says it.
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(ask(&form).status, 200);
}

#[test]
fn a_preflight_is_answered_for_pages_that_may_ask() {
    let daemon = Daemon::start(&["--origin", "app://obsidian.md"]);
    let asked = "authorization, x-stainless-os";
    let preflight = |origin: &str| {
        let fields = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", asked),
        ];
        daemon.ask("OPTIONS", "/v1/chat/completions", &fields, "")
    };
    let allowed = preflight("app://obsidian.md");
    assert_eq!(allowed.status, 204);
    assert_eq!(allowed.field("access-control-allow-origin"), Some("app://obsidian.md"));
    assert_eq!(allowed.field("access-control-allow-headers"), Some(asked));
    assert!(allowed.field("access-control-allow-methods").unwrap().contains("POST"));
    let foreign = preflight("http://evil.example");
    assert_eq!(foreign.status, 403);
    assert_eq!(foreign.field("access-control-allow-origin"), None);
}

#[cfg(unix)]
#[test]
fn a_key_is_demanded_of_everything_but_life() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "secret\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let daemon = Daemon::start(&["--key-file", file.to_str().unwrap()]);
    let status = |fields: &[(&str, &str)]| daemon.ask("GET", "/v1/models", fields, "").status;
    assert_eq!(status(&[]), 401);
    for wrong in ["Bearer secre", "Bearer secret1", "Basic secret", "secret", "Bearer "] {
        assert_eq!(status(&[("Authorization", wrong)]), 401, "{wrong}");
    }
    assert_eq!(status(&[("Authorization", "Bearer secret")]), 200);
    assert_eq!(status(&[("authorization", "bearer secret")]), 200);
    assert_eq!(status(&[("x-api-key", "secret")]), 200);
    assert_eq!(daemon.get("/v1/models?key=secret").status, 401);
    assert_eq!(daemon.get("/openapi.json").status, 401);
    let refused = daemon.get("/v1/models");
    assert_eq!(refused.field("www-authenticate"), Some("Bearer"));
    assert_eq!(refused.json()["error"]["type"], "authentication_error");
}

#[cfg(unix)]
#[test]
fn a_key_that_others_may_read_and_a_door_without_one_are_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let lapwing = crate::Lapwing::new();
    let outcome = lapwing.run(&["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("there is no key"), "{}", outcome.stderr);
    let file = lapwing.home.path().join("key");
    std::fs::write(&file, "secret").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let outcome = lapwing.run(&["serve", "--key-file", file.to_str().unwrap()]);
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("others may read"), "{}", outcome.stderr);
}

#[test]
fn sizes_are_looked_at_before_they_are_read() {
    let daemon = Daemon::start(&[]);
    // Nobody waits for the gigabyte.
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                Content-Length: 1000000000\r\n\r\n";
    assert!(daemon.raw(head.as_bytes()).starts_with("HTTP/1.1 413"));
    let chunked = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                   Transfer-Encoding: chunked\r\n\r\n";
    let mut bytes = chunked.as_bytes().to_vec();
    for _ in 0..40 {
        bytes.extend_from_slice(b"100000\r\n");
        bytes.extend(std::iter::repeat_n(b' ', 1 << 20));
        bytes.extend_from_slice(b"\r\n");
    }
    assert!(daemon.raw(&bytes).starts_with("HTTP/1.1 413"));
    let coding = [("Content-Encoding", "gzip")];
    assert_eq!(daemon.ask("POST", "/v1/chat/completions", &coding, "x").status, 415);
    let long = format!("/{}", "a".repeat(40_000));
    let status = daemon.get(&long).status;
    assert!(matches!(status, 414 | 431), "{status}");
    let fields = "X-Field: 1\r\n".repeat(200);
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    assert!(daemon.raw(many.as_bytes()).starts_with("HTTP/1.1 431"));
    let deep = "[".repeat(100_000);
    assert_eq!(daemon.ask("POST", "/v1/chat/completions", &[], &deep).status, 400);
    assert_eq!(daemon.chat("fake", "a", 1).status, 200, "it goes on");
}

#[test]
fn a_head_that_trickles_is_cut_off() {
    let daemon = Daemon::start(&[]);
    let mut stream = daemon.connect();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let started = std::time::Instant::now();
    let mut byte = [0; 1];
    loop {
        match stream.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                assert!(started.elapsed() < Duration::from_secs(30), "it waits for ever");
                let _ = stream.write_all(b"X: 1\r\n");
            }
            Err(_) => break,
        }
    }
}

#[cfg(unix)]
#[test]
fn the_socket_is_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixStream;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run/lapwing.sock");
    let arguments = ["--socket", path.to_str().unwrap()];
    let daemon = Daemon::start(&arguments);
    let mode = std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let mut stream = UnixStream::connect(&path).unwrap();
    // What names it is no matter there.
    stream.write_all(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Another daemon does not take it away; one that is dead does not keep it.
    let lapwing = crate::Lapwing::new();
    let second = ["serve", "--no-port", "--socket", path.to_str().unwrap()];
    let outcome = lapwing.run(&second);
    assert!(outcome.stderr.contains("a daemon answers there"), "{}", outcome.stderr);
    drop(daemon);
    assert!(path.exists(), "it was killed");
    let daemon = Daemon::start(&arguments);
    assert!(UnixStream::connect(&path).is_ok());
    drop(daemon);
}

#[test]
fn more_requests_than_may_wait_are_told_when_to_come_again() {
    let daemon = Daemon::start(&["--parallel", "1", "--queue", "1"]);
    assert_eq!(daemon.chat("fake-20000", "a", 1).status, 200);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = || {
            let answer = daemon.chat("fake-20000", "a", 30);
            if answer.status == 503 {
                let seconds: u64 = answer.field("retry-after").unwrap().parse().unwrap();
                assert!((1..=600).contains(&seconds));
            }
            answer.status
        };
        let asked: Vec<_> = (0..6).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert!(statuses.contains(&503), "{statuses:?}");
    assert!(2 <= statuses.iter().filter(|status| **status == 200).count(), "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
    assert_eq!(daemon.post("/v1/chat/completions", &json!({})).status, 400);
}

#[test]
fn several_answers_to_one_request_have_one_place() {
    let daemon = Daemon::start(&["--parallel", "1", "--queue", "1"]);
    let mut request = super::chat("fake", "abc", 2);
    request["n"] = json!(8);
    let answer = daemon.post("/v1/chat/completions", &request);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let prompts = json!({"model": "fake", "prompt": vec!["a"; 100], "max_tokens": 1});
    let answer = daemon.post("/v1/completions", &prompts);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["choices"].as_array().unwrap().len(), 100);
}

#[test]
fn to_fill_in_is_refused_with_a_reason() {
    let daemon = Daemon::start(&[]);
    let answer = daemon.post("/infill", &json!({"input_prefix": "a", "input_suffix": "b"}));
    assert_eq!(answer.status, 501, "{}", answer.body);
    assert_eq!(answer.json()["error"]["code"], "not_implemented");
}
