//! The daemon over real connections, with models that cost nothing.

mod admission;
mod answers;
mod anthropic;
mod described;
#[cfg(target_os = "linux")]
mod disconnects;
mod embeddings;
mod events;
#[cfg(target_os = "linux")]
mod exhausted;
mod faults;
mod in_use;
#[cfg(target_os = "linux")]
mod leaks;
mod malformed;
#[cfg(target_os = "linux")]
mod memory;
mod ollama;
mod own;
mod page;
mod power;
mod private;
mod pulling;
#[cfg(target_os = "linux")]
mod service;
#[cfg(target_os = "linux")]
mod units;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A daemon on a port of its own, ended with this.
struct Daemon {
    child: Child,
    address: String,
    home: tempfile::TempDir,
    /// What it wrote to stderr.
    said: Arc<Mutex<String>>,
}

/// An answer.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// A field of the head, if it is there.
    fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The objects of a stream of events, without the last word.
    fn events(&self) -> Vec<Value> {
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        let data = data.filter(|data| *data != "[DONE]");
        data.map(|data| serde_json::from_str(data).unwrap()).collect()
    }
}

impl Daemon {
    fn start(arguments: &[&str]) -> Daemon {
        let home = tempfile::tempdir().unwrap();
        Daemon::start_in(home, &[&["--listen", "127.0.0.1:0"], arguments].concat(), &[])
    }

    /// One with nothing but these arguments and variables.
    fn start_in(home: tempfile::TempDir, arguments: &[&str], variables: &[(&str, &str)]) -> Daemon {
        Daemon::start_by(Command::new(env!("CARGO_BIN_EXE_lapwing")), home, arguments, variables)
    }

    /// One that a shell becomes after it has done `first`.
    fn start_behind(
        first: &str,
        home: tempfile::TempDir,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Daemon {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{first}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_lapwing")]);
        let arguments = [&["--listen", "127.0.0.1:0"], arguments].concat();
        Daemon::start_by(shell, home, &arguments, variables)
    }

    fn start_by(
        mut command: Command,
        home: tempfile::TempDir,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Daemon {
        command.arg("serve").args(arguments).envs(variables.iter().copied());
        command.env("LAPWING_HOME", home.path()).env_remove("LAPWING_CONFIG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut first = String::new();
        let address = loop {
            // One that ends has no address, and said why.
            let Some(line) = lines.next() else { break String::new() };
            let line = line.unwrap();
            first += &format!("{line}\n");
            if let Some((_, at)) = line.split_once("listening on ") {
                break at.trim().trim_start_matches("http://").to_owned();
            }
        };
        let said = Arc::new(Mutex::new(first));
        let more = Arc::clone(&said);
        // Whoever does not read would stop it.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *more.lock().unwrap() += &format!("\n{line}");
            }
        });
        Daemon { child, address, home, said }
    }

    fn has_said(&self, text: &str) -> bool {
        self.said.lock().unwrap().contains(text)
    }

    /// How things stand with a model that is loaded.
    fn state(&self, model: &str) -> Value {
        let told = self.get("/v1/lapwing/models").json();
        let of_model = told["models"].as_array().unwrap().iter().find(|of| of["name"] == model);
        of_model.unwrap_or_else(|| panic!("{told}"))["loaded"]["state"].clone()
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// What comes on a connection for these bytes, until it is closed.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // It may be refused before all is written.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Ask with these fields in the head.
    fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str(&format!("Host: {}\r\n", self.address));
        }
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        let answer = self.raw(head.as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if is_chunked { without_chunks(body) } else { body.to_owned() };
        Answer { status: status.unwrap_or(0), head: head.to_owned(), body }
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "")
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &[], &body.to_string())
    }

    /// Ask for an answer of `model` to `text`.
    fn chat(&self, model: &str, text: &str, n_tokens: u32) -> Answer {
        self.post("/v1/chat/completions", &chat(model, text, n_tokens))
    }

    /// The processes that hold models.
    fn workers(&self) -> Vec<u32> {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = std::fs::read_to_string(children).unwrap();
        children.split_whitespace().map(|id| id.parse().unwrap()).collect()
    }

    /// Wait until `holds`, for some seconds.
    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < deadline, "not within 20 s: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn chat(model: &str, text: &str, n_tokens: u32) -> Value {
    let messages = json!([{"role": "user", "content": text}]);
    json!({"model": model, "messages": messages, "max_tokens": n_tokens, "temperature": 0})
}

/// The bytes of a request.
fn request(path: &str, body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// A way to ask for an answer, `is_stream` or whole, of `model` to `text` with so many tokens.
type Way = (&'static str, fn(&str, &str, u32) -> Value);

/// Every way to ask for an answer.
const WAYS: [Way; 8] = [
    ("/v1/chat/completions", chat),
    ("/v1/completions", |model, text, n| json!({"model": model, "prompt": text, "max_tokens": n})),
    (
        "/v1/responses",
        |model, text, n| json!({"model": model, "input": text, "max_output_tokens": n}),
    ),
    ("/v1/messages", chat),
    ("/api/chat", |model, text, n| {
        let messages = json!([{"role": "user", "content": text}]);
        json!({"model": model, "messages": messages, "options": {"num_predict": n}})
    }),
    (
        "/api/generate",
        |model, text, n| json!({"model": model, "prompt": text, "options": {"num_predict": n}}),
    ),
    ("/completion", |model, text, n| json!({"model": model, "prompt": text, "n_predict": n})),
    ("/v1/chat/completions", |model, text, n| {
        let mut several = chat(model, text, n);
        several["n"] = json!(2);
        several
    }),
];

/// Requests for answers in every way, whole and as streams.
fn every_way(model: &str, text: &str, n_tokens: u32) -> Vec<(&'static str, Value)> {
    let both = |(path, way): Way| {
        [false, true].map(|is_stream| {
            let mut body = way(model, text, n_tokens);
            body["stream"] = json!(is_stream);
            (path, body)
        })
    };
    WAYS.into_iter().flat_map(both).collect()
}

fn without_chunks(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let Ok(length @ 1..) = usize::from_str_radix(length.trim(), 16) else { break };
        let Some(chunk) = rest.get(..length) else { break };
        whole.push_str(chunk);
        body = rest[length..].trim_start_matches("\r\n");
    }
    whole
}
