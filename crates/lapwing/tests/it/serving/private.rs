//! What leaves the daemon, and what may be named to it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Daemon, chat};

/// A file with a key that nobody else may read.
#[cfg(unix)]
fn key_file(folder: &std::path::Path, key: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let file = folder.join("key");
    std::fs::write(&file, key).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    file.to_str().unwrap().to_owned()
}

#[cfg(unix)]
#[test]
fn everything_but_life_and_the_page_needs_the_key_and_says_so_in_each_protocol() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&["--key-file", &key_file(folder.path(), "secret")]);
    let paths = [
        "/v1/models",
        "/models",
        "/api/tags",
        "/api/ps",
        "/api/version",
        "/props",
        "/slots",
        "/metrics",
        "/v1/lapwing",
        "/v1/lapwing/models",
        "/v1/lapwing/devices",
        "/v1/lapwing/profiles",
        "/v1/lapwing/power",
        "/v1/lapwing/report",
        "/v1/messages",
        "/nothing",
    ];
    for path in paths {
        let refused = daemon.get(path);
        assert_eq!(refused.status, 401, "{path}");
        assert_eq!(refused.field("www-authenticate"), Some("Bearer"), "{path}");
    }
    assert!(daemon.get("/api/tags").json()["error"].is_string());
    assert_eq!(daemon.get("/v1/messages").json()["error"]["type"], "authentication_error");
    assert_eq!(daemon.get("/v1/messages").json()["type"], "error");
    for path in ["/health", "/v1/health", "/"] {
        assert_eq!(daemon.get(path).status, 200, "{path}");
    }
}

/// With all that it can be told to write down.
#[cfg(unix)]
#[test]
fn logs_tell_no_prompts_answers_keys_or_names() {
    let folder = tempfile::tempdir().unwrap();
    let key = key_file(folder.path(), "opensesame");
    let home = tempfile::tempdir().unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--key-file", &key];
    let daemon = Daemon::start_in(home, &arguments, &[("LAPWING_LOG", "trace")]);
    let fields = [("Authorization", "Bearer opensesame"), ("X-Secret", "opensesame")];
    let ask = |path: &str, body: &Value| daemon.ask("POST", path, &fields, &body.to_string());
    for (path, body) in super::every_way("fake", "QQmyprompt:mno", 10) {
        assert_eq!(ask(path, &body).status, 200, "{path}");
    }
    let name = "x\u{1b}[31mQQname\n".repeat(20);
    let refused = ask("/v1/chat/completions", &chat(&name, "QQmyprompt", 1));
    assert_eq!(refused.status, 404);
    assert!(refused.body.len() < 400 && !refused.body.contains("u001b"), "{}", refused.body);
    ask("/v1/chat/completions", &json!({"messages": "QQmyprompt"}));
    daemon.get("/QQmyprompt?key=opensesame");
    std::thread::sleep(Duration::from_millis(100));
    let said = daemon.said.lock().unwrap().clone();
    assert!(said.contains("loaded"), "something is told: {said}");
    for secret in ["QQ", "opensesame", "pqrst", "\u{1b}"] {
        let line = said.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}

#[test]
fn names_are_looked_up_and_lead_nowhere() {
    let daemon = Daemon::start(&[]);
    let beside = daemon.home.path().join("beside");
    std::fs::create_dir_all(&beside).unwrap();
    std::fs::write(beside.join("config.json"), "{}").unwrap();
    let absolute = beside.to_str().unwrap();
    let long = "a".repeat(5000);
    for name in ["../beside", "models/../../beside", absolute, "fake/../fake", ".", "fake\0", &long]
    {
        let answer = daemon.chat(name, "a", 1);
        assert_eq!(answer.status, 404, "{name}: {}", answer.body);
        assert!(answer.body.len() < 400, "a long name is not repeated");
        for (path, body) in [
            ("/api/show", json!({"model": name})),
            ("/api/generate", json!({"model": name, "prompt": ""})),
            ("/v1/lapwing/models/unload", json!({"model": name})),
        ] {
            assert_eq!(daemon.post(path, &body).status, 404, "{path} {name}");
        }
    }
    for path in ["/v1/models/..%2fbeside", "/v1/models/../../beside", "/..%2f..%2fetc/passwd"] {
        assert_eq!(daemon.get(path).status, 404, "{path}");
    }
    assert!(daemon.workers().is_empty(), "nothing is loaded");
}

#[test]
fn no_number_is_taken_for_another() {
    let daemon = Daemon::start(&[]);
    let check = |path: &str, field: &str, values: &[Value]| {
        for value in values {
            let mut body = chat("fake", "a", 1);
            body["prompt"] = json!("a");
            body["input"] = json!("a");
            match path.starts_with("/api/") {
                true => body["options"] = json!({field: value}),
                false => body[field] = value.clone(),
            }
            let answer = daemon.post(path, &body);
            assert_eq!(answer.status, 400, "{path} {field} {value}: {}", answer.body);
        }
    };
    let huge = || [json!(1e300), json!(-1e300), json!("1"), json!([]), json!(0.5)];
    let [chat, complete] = ["/v1/chat/completions", "/v1/completions"];
    for field in ["n", "top_logprobs"] {
        check(chat, field, &[&huge()[..], &[json!(-1), json!(1_u64 << 40)]].concat());
    }
    check(chat, "max_tokens", &[json!("1"), json!(0.5), json!([])]);
    check(chat, "temperature", &[json!(-1), json!(1e300), json!("hot")]);
    check(chat, "top_p", &[json!(-1), json!(2), json!("x")]);
    check(chat, "logit_bias", &[json!({"-1": 1}), json!({"99999999999": 1}), json!({"1": 1e9})]);
    check(complete, "logprobs", &[json!(-1), json!(1_u64 << 40), json!(0.5)]);
    check("/v1/messages", "max_tokens", &[json!(-1), json!("x"), json!(0.5)]);
    check("/api/chat", "num_predict", &[json!("x"), json!(0.5)]);
    check("/api/chat", "top_k", &[json!("x"), json!(0.5)]);
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
}

#[cfg(unix)]
#[test]
fn without_a_port_there_is_the_socket_alone() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_in(home, &["--no-port"], &[]);
    assert!(!daemon.has_said("http://"), "{}", daemon.said.lock().unwrap());
    assert!(daemon.says(&["ps"]).contains("no model is loaded"));
    #[cfg(target_os = "linux")]
    {
        let fds = format!("/proc/{}/fd", daemon.child.id());
        let sockets = std::fs::read_dir(fds).unwrap().filter_map(|fd| {
            let link = std::fs::read_link(fd.ok()?.path()).ok()?;
            Some(link.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned())
        });
        let tables = ["tcp", "tcp6", "udp", "udp6"].map(|table| {
            std::fs::read_to_string(format!("/proc/{}/net/{table}", daemon.child.id()))
                .unwrap_or_default()
        });
        for socket in sockets {
            let is_there = |line: &str| line.split_whitespace().nth(9) == Some(socket.as_str());
            assert!(!tables.iter().flat_map(|table| table.lines()).any(is_there), "{socket}");
        }
    }
}

/// Whoever asks for something goes through a proxy that is named; nobody does.
#[test]
fn nothing_is_fetched_from_anywhere() {
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let names =
        ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
    let variables: Vec<(&str, &str)> = names.iter().map(|name| (*name, address.as_str())).collect();
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_in(home, &["--listen", "127.0.0.1:0"], &variables);
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    assert_eq!(daemon.chat("org/unknown-model", "a", 1).status, 404);
    assert_eq!(daemon.post("/api/pull", &json!({"model": "smollm2-135m-instruct"})).status, 501);
    for path in ["/", "/v1/lapwing/devices", "/v1/lapwing/report", "/metrics"] {
        assert_eq!(daemon.get(path).status, 200, "{path}");
    }
    std::thread::sleep(Duration::from_millis(300));
    assert!(proxy.accept().is_err(), "somebody asked another machine");
}
