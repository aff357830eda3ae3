//! Bytes that are no requests, or none that anybody means: each is refused, and the next is answered.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::json;

use super::Daemon;

/// What comes for these bytes, if anything; the sending half stays open.
fn said(daemon: &Daemon, bytes: &[u8]) -> String {
    let mut stream = daemon.connect();
    // Longer than any of these may take.
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // It may be refused before all is written.
    let _ = stream.write_all(bytes);
    let mut answer = [0; 12];
    match stream.read(&mut answer) {
        Ok(n) => String::from_utf8_lossy(&answer[..n]).into_owned(),
        Err(error) => error.to_string(),
    }
}

fn post(fields: &str, body: &str) -> Vec<u8> {
    let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n";
    format!("{head}{fields}\r\n\r\n{body}").into_bytes()
}

fn get(fields: &[u8]) -> Vec<u8> {
    [b"GET /health HTTP/1.1\r\nHost: localhost\r\n", fields, b"\r\n\r\n"].concat()
}

#[test]
fn what_is_no_request_is_refused_and_the_next_is_answered() {
    let daemon = Daemon::start(&[]);
    let long = "a".repeat(100_000);
    let chunked = |body: &str| post("Transfer-Encoding: chunked", body);
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 300]].concat();
    let many: String = (0..500).map(|idx| format!("X{idx}: a\r\n")).collect();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a hello of TLS", hello, "HTTP/1.1 400"),
        ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0".to_vec(), ""),
        ("another version", b"GET / HTTP/3.0\r\nHost: localhost\r\n\r\n".to_vec(), "HTTP/1.1 400"),
        ("no version", b"GET /health\r\n\r\n".to_vec(), "HTTP/1.1 400"),
        ("NUL in the method", b"G\0T / HTTP/1.1\r\n\r\n".to_vec(), "HTTP/1.1 400"),
        ("NUL in the path", b"GET /\0 HTTP/1.1\r\n\r\n".to_vec(), "HTTP/1.1 400"),
        ("NUL in a field", get(b"X: a\0b"), "HTTP/1.1 400"),
        ("a folded field", get(b"X: a\r\n b"), "HTTP/1.1 400"),
        ("a blank before a colon", get(b"X : a"), "HTTP/1.1 400"),
        ("no line ends", b"GET / HTTP/1.1\rHost: localhost\r\r".to_vec(), "HTTP/1.1 400"),
        ("a long field", get(format!("X: {long}").as_bytes()), "HTTP/1.1 431"),
        ("many fields", get(many.trim_end().as_bytes()), "HTTP/1.1 431"),
        ("a long target", format!("GET /{long} HTTP/1.1\r\n\r\n").into_bytes(), "HTTP/1.1 431"),
        ("two hosts", get(b"Host: localhost"), "HTTP/1.1 421"),
        ("no text as host", b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n".to_vec(), "HTTP/1.1 421"),
        ("no host", b"GET /health HTTP/1.1\r\n\r\n".to_vec(), "HTTP/1.1 421"),
        (
            "another host in the target",
            b"GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            "HTTP/1.1 421",
        ),
        (
            "a user in the target",
            b"GET http://evil@localhost/health HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            "HTTP/1.1 421",
        ),
        (
            "an absolute target",
            b"GET http://localhost/health HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            "HTTP/1.1 200",
        ),
        ("a tunnel", b"CONNECT a:80 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), "HTTP/1.1 4"),
        (
            "a path upwards",
            b"GET /../x HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            "HTTP/1.1 404",
        ),
        ("two gigabytes", post("Content-Length: 2147483648", "{"), "HTTP/1.1 413"),
        (
            "two gigabytes, asked for first",
            post("Content-Length: 2147483648\r\nExpect: 100-continue", ""),
            "HTTP/1.1 413",
        ),
        ("a negative length", post("Content-Length: -1", "{}"), "HTTP/1.1 400"),
        ("a length with a sign", post("Content-Length: +2", "{}"), "HTTP/1.1 400"),
        ("a length of letters", post("Content-Length: abc", "{}"), "HTTP/1.1 400"),
        (
            "a length beyond all",
            post(&format!("Content-Length: {}", "9".repeat(30)), ""),
            "HTTP/1.1 400",
        ),
        ("two lengths", post("Content-Length: 2\r\nContent-Length: 3", "{}"), "HTTP/1.1 400"),
        (
            "a length and chunks",
            post("Content-Length: 2\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
            "HTTP/1.1 400",
        ),
        ("a coding that nobody knows", post("Transfer-Encoding: gzip", ""), "HTTP/1.1 400"),
        ("a chunk without a size", chunked("zz\r\n"), "HTTP/1.1 400"),
        ("a chunk of negative size", chunked("-5\r\nabcde\r\n0\r\n\r\n"), "HTTP/1.1 400"),
        ("a chunk beyond all", chunked("1ffffffffffffffff\r\nabc"), "HTTP/1.1 400"),
        (
            "a chunk with a long extension",
            chunked(&format!("1;{long}\r\na\r\n0\r\n\r\n")),
            "HTTP/1.1 400",
        ),
        ("a long trailer", chunked(&format!("0\r\nX: {long}\r\n\r\n")), "HTTP/1.1 400"),
    ];
    for (what, bytes, expected) in cases {
        let answer = said(&daemon, &bytes);
        let is_expected =
            if expected.is_empty() { answer.is_empty() } else { answer.starts_with(expected) };
        assert!(is_expected, "{what}: {answer:?}");
        assert_eq!(daemon.get("/health").status, 200, "after {what}");
    }
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
}

#[test]
fn who_stops_in_the_middle_keeps_nobody_waiting() {
    let daemon = Daemon::start(&[]);
    let halves: [Vec<u8>; 5] = [
        Vec::new(),
        b"GET /hea".to_vec(),
        b"\r\n\r\n\r\n".to_vec(),
        post("Content-Length: 1000", "{"),
        post("Transfer-Encoding: chunked", "ffffffffffffffff\r\n{"),
    ];
    // They stay open.
    let mut open = Vec::new();
    for bytes in halves.iter().cycle().take(100) {
        let mut stream = daemon.connect();
        stream.write_all(bytes).unwrap();
        open.push(stream);
    }
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    drop(open);
    // Garbage behind a request spoils the connection alone; what was asked before it is answered.
    let mut bytes = get(b"X: 1");
    bytes.extend(get(b"X: 2"));
    bytes.extend(b"\0\xff nothing\r\n\r\n");
    let answers = daemon.raw(&bytes);
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 400").count(), 1, "{answers}");
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
}

#[test]
fn a_text_that_fits_no_context_is_refused_before_it_is_split() {
    let daemon = Daemon::start(&[]);
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    let text = "a".repeat(20 << 20);
    let messages = json!([{"role": "user", "content": text}]);
    let prompt = json!({"text": {"text": text, "add_special": true}});
    for (path, request) in [
        ("/v1/completions", json!({"model": "fake", "prompt": text, "max_tokens": 1})),
        ("/v1/chat/completions", json!({"model": "fake", "messages": messages, "max_tokens": 1})),
        ("/tokenize", json!({"model": "fake", "content": text})),
        ("/v1/lapwing/answer", json!({"model": "fake", "generate": {"prompt": prompt}})),
    ] {
        let started = Instant::now();
        let answer = daemon.post(path, &request);
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(answer.json()["error"]["code"], "context_length_exceeded", "{path}");
        // Tokenizers took minutes.
        assert!(started.elapsed() < Duration::from_secs(20), "{path}: {:?}", started.elapsed());
    }
}
