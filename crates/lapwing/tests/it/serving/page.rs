//! The page in a browser: who gets it, what it may do, and who may ask in its name. What it does is
//! tried in a browser by `scripts/test-page`.

use serde_json::json;

use super::{Answer, Daemon, chat};

const BROWSER: (&str, &str) =
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8");

/// The paths that the page's files name: what it loads.
fn loaded(text: &str) -> Vec<String> {
    let parts = text.split(['"', '\'', '(', ')']);
    let modules = parts.clone().filter_map(|part| part.strip_prefix("./"));
    let paths = parts.filter(|part| part.starts_with("/page/")).map(str::to_owned);
    paths.chain(modules.map(|name| format!("/page/{name}"))).collect()
}

/// What every part of the page is told to be held to.
fn is_held(answer: &Answer, path: &str) {
    let policy = answer.field("content-security-policy").unwrap_or_else(|| panic!("{path}"));
    let mut directives: Vec<&str> = policy.split(';').map(str::trim).collect();
    directives.sort_unstable();
    let expected = [
        "base-uri 'none'",
        "connect-src 'self'",
        "default-src 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "img-src 'self'",
        "require-trusted-types-for 'script'",
        "script-src 'self'",
        "style-src 'self'",
        "trusted-types 'none'",
    ];
    assert_eq!(directives, expected, "{path}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "no-cache"),
    ] {
        assert_eq!(answer.field(name), Some(value), "{path}: {name}");
    }
}

#[test]
fn browsers_get_the_page_and_everybody_else_the_word() {
    let daemon = Daemon::start(&[]);
    let door = |fields: &[(&str, &str)]| daemon.ask("GET", "/", fields, "");
    let page = door(&[BROWSER]);
    assert_eq!(page.status, 200);
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.body.starts_with("<!doctype html>"), "{}", page.body);
    is_held(&page, "/");
    for accept in ["*/*", "application/json", "text/plain, */*", "text/htmlx", ""] {
        let word = door(&[("Accept", accept)]);
        assert_eq!((word.status, word.body.as_str()), (200, "Ollama is running"), "{accept}");
        assert_eq!(word.field("content-type"), Some("text/plain; charset=utf-8"));
    }
    assert_eq!(door(&[]).body, "Ollama is running");
    // A cache must not give one to who wants the other.
    for answer in [door(&[]), page] {
        let varies: Vec<&str> =
            answer.head.lines().filter_map(|line| line.strip_prefix("vary: ")).collect();
        assert!(varies.contains(&"Accept"), "{}", answer.head);
    }
    let head = daemon.ask("HEAD", "/", &[BROWSER], "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(daemon.ask("POST", "/", &[BROWSER], "").status, 405);
}

#[test]
fn all_that_the_page_loads_is_there_and_nothing_is_loaded_from_elsewhere() {
    let daemon = Daemon::start(&[]);
    let page = daemon.ask("GET", "/", &[BROWSER], "");
    for word in ["http://", "https://", "<script>", "<style", " style=", " onclick="] {
        assert!(!page.body.contains(word), "{word}");
    }
    let mut waiting = loaded(&page.body);
    let mut seen: Vec<String> = Vec::new();
    while let Some(path) = waiting.pop() {
        if seen.contains(&path) {
            continue;
        }
        let part = daemon.get(&path);
        assert_eq!(part.status, 200, "{path}");
        is_held(&part, &path);
        let content_type = match path.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => panic!("{path}"),
        };
        assert_eq!(part.field("content-type"), Some(content_type), "{path}");
        if path.ends_with(".js") {
            waiting.extend(loaded(&part.body));
        }
        assert!(!part.body.contains("@import"), "{path}");
        seen.push(path);
    }
    assert!(8 < seen.len(), "{seen:?}");
    for other in ["/page/", "/page/none.js", "/page/../page.css", "/page/index.html"] {
        assert_eq!(daemon.get(other).status, 404, "{other}");
    }
}

#[test]
fn the_page_may_ask_and_no_other_page_may() {
    let daemon = Daemon::start(&[]);
    let port = daemon.address.rsplit(':').next().unwrap();
    let body = chat("fake", "a", 1).to_string();
    let ask = |host: &str, origin: &str, site: &str| {
        let fields = [("Host", host), ("Origin", origin), ("Sec-Fetch-Site", site)];
        daemon.ask("POST", "/v1/chat/completions", &fields, &body).status
    };
    let here = |name: &str| format!("{name}:{port}");
    let [number, name, six] = ["127.0.0.1", "localhost", "[::1]"].map(here);
    let foreign = [
        // The other name of this machine is another page, and so is another port of it.
        (&number, format!("http://{name}"), "same-site"),
        (&name, format!("http://{number}"), "cross-site"),
        (&number, "http://127.0.0.1:1".to_owned(), "same-site"),
        (&number, "http://127.0.0.1".to_owned(), "same-site"),
        (&number, format!("https://{number}"), "same-site"),
        (&number, format!("http://{number}.evil.example"), "cross-site"),
        (&number, format!("http://evil.example@{number}"), "cross-site"),
        (&number, format!("http://{number}/"), "cross-site"),
        (&number, "http://evil.example".to_owned(), "same-origin"),
        (&number, "null".to_owned(), "same-origin"),
        (&number, String::new(), "same-origin"),
    ];
    for (host, origin, site) in &foreign {
        assert_eq!(ask(host, origin, site), 403, "{origin} asks {host}");
    }
    assert!(daemon.workers().is_empty(), "no model is loaded");
    for host in [&number, &name, &six] {
        assert_eq!(ask(host, &format!("http://{host}"), "same-origin"), 200, "{host}");
    }
    // What a browser asks for without an origin tells whence it is by another field.
    let models = |site: &str| {
        daemon.ask("GET", "/v1/lapwing/models", &[("Sec-Fetch-Site", site)], "").status
    };
    assert_eq!([models("same-origin"), models("none")], [200, 200]);
    assert_eq!([models("cross-site"), models("same-site")], [403, 403]);
}

#[cfg(unix)]
#[test]
fn the_page_needs_no_key_and_all_that_it_shows_does() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "secret").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let daemon = Daemon::start(&["--key-file", file.to_str().unwrap()]);
    let page = daemon.ask("GET", "/", &[BROWSER], "");
    assert!(page.body.starts_with("<!doctype html>"), "{}", page.body);
    for path in loaded(&page.body) {
        assert_eq!(daemon.get(&path).status, 200, "{path}");
    }
    let data = ["/v1/lapwing", "/v1/lapwing/models", "/v1/models", "/metrics", "/page/none.js"];
    for path in data {
        assert_eq!(daemon.get(path).status, 401, "{path}");
    }
    let model = json!({"model": "fake"});
    for path in ["/v1/lapwing/answer", "/v1/lapwing/models/unload"] {
        assert_eq!(daemon.post(path, &model).status, 401, "{path}");
    }
    // A refusal for want of a key tells the page's own origin, and no other, that it is one.
    let own = format!("http://{}", daemon.address);
    let refused = |origin: &str| daemon.ask("GET", "/v1/lapwing/models", &[("Origin", origin)], "");
    assert_eq!(refused(&own).status, 401);
    assert_eq!(refused("http://evil.example").status, 403);
    let key = [("Authorization", "Bearer secret"), ("Origin", own.as_str())];
    assert_eq!(daemon.ask("GET", "/v1/lapwing/models", &key, "").status, 200);
}
