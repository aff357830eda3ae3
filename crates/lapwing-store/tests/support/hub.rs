//! A server that speaks as much of the hub's protocol as a pull needs, and can misbehave.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapwing_files::checksum::sha256_bytes;
use serde_json::json;

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A file of the repository; large ones are kept by hash, as on the hub.
#[derive(Clone)]
pub(crate) struct HubFile {
    pub(crate) path: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_large: bool,
}

/// A graph of nothing, as OpenVINO writes graphs.
const IR: &[u8] =
    br#"<?xml version="1.0"?><net name="m" version="11"><layers></layers><edges></edges></net>"#;
/// A graph with one weight.
const ONNX: &[u8] = include_bytes!("../../../lapwing-formats/tests/data/inline.onnx");
const CONFIG: &[u8] = br#"{"vocab_size": 8, "hidden_size": 8, "num_hidden_layers": 1}"#;

impl HubFile {
    /// What a model has at `path`: a graph, a configuration, or else just some text.
    pub(crate) fn of_model(path: &'static str) -> Self {
        let bytes = match path.rsplit('/').next() {
            Some("config.json") => CONFIG,
            Some(name) if name.ends_with(".xml") => IR,
            Some(name) if name.ends_with(".onnx") => ONNX,
            _ => path.as_bytes(),
        };
        Self { path, bytes: bytes.into(), is_large: false }
    }
}

/// How the server behaves; the default is well.
#[derive(Clone, Default)]
pub(crate) struct Manners {
    /// Every request is answered with this status and error code.
    pub(crate) refuse: Option<(u16, &'static str)>,
    /// Requests without this token get 401.
    pub(crate) token: Option<&'static str>,
    /// Connections break off at this offset of a file.
    pub(crate) cut_at: Option<usize>,
    /// Ranges come with a flipped byte.
    pub(crate) flip_in_ranges: bool,
    /// The hash that the hub claims, instead of the file's.
    pub(crate) claimed_hash: Option<String>,
    /// The git hash that the hub lists for every small file.
    pub(crate) git_hash: Option<&'static str>,
    /// Large files are elsewhere.
    pub(crate) redirect_to: Option<String>,
    /// What is said of a file comes without its hash, and with the headers of the hub's newer store
    /// (Xet), for which there is no token: as some mirrors answer.
    pub(crate) as_mirror: bool,
    /// Pause before each answer about a file.
    pub(crate) pause: Duration,
    /// So many requests are answered with 503 first.
    pub(crate) n_busy: usize,
    /// Ranges are not known: files come whole.
    pub(crate) without_ranges: bool,
    /// Answers whose path contains this never come,
    pub(crate) silent: Option<&'static str>,
    /// come byte by byte,
    pub(crate) trickling: Option<&'static str>,
    /// or never end.
    pub(crate) endless: Option<&'static str>,
    /// The length that is claimed for bodies of files.
    pub(crate) claimed_length: Option<u64>,
    /// The size that is listed for every file.
    pub(crate) listed_size: Option<u64>,
    /// Files are listed without hashes.
    pub(crate) without_hashes: bool,
    /// Where the list of files goes on, after every part of it.
    pub(crate) next_part: Option<String>,
    /// The list comes in two parts.
    pub(crate) in_two_parts: bool,
}

/// One request as the server saw it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) range: Option<(usize, usize)>,
    pub(crate) authorization: Option<String>,
}

/// The running server; it ends with the test process.
pub(crate) struct Hub {
    pub(crate) endpoint: String,
    manners: Arc<Mutex<Manners>>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Hub {
    pub(crate) fn start(files: Vec<HubFile>, manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let manners = Arc::new(Mutex::new(manners));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (shared_manners, shared_requests) = (manners.clone(), requests.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (files, manners) = (files.clone(), shared_manners.lock().unwrap().clone());
                let requests = shared_requests.clone();
                std::thread::spawn(move || {
                    // A client that hangs up early is what some tests are about.
                    let _ = answer(&stream.unwrap(), &files, &manners, &requests);
                });
            }
        });
        Self { endpoint, manners, requests }
    }

    pub(crate) fn behave(&self, manners: Manners) {
        *self.manners.lock().unwrap() = manners;
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The requests for bytes of the file at `path`.
    pub(crate) fn downloads(&self, path: &str) -> Vec<Request> {
        let is_download =
            |request: &Request| request.method == "GET" && request.path.ends_with(path);
        self.requests().into_iter().filter(is_download).collect()
    }
}

fn read_request(stream: &TcpStream) -> std::io::Result<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut words = first.split(' ').map(str::to_owned);
    let mut request = Request {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        range: None,
        authorization: None,
    };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => request.authorization = Some(value.to_owned()),
            "range" => {
                let (start, last) = value.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
                request.range = Some((start.parse().unwrap(), last.parse::<usize>().unwrap() + 1));
            }
            _ => {}
        }
    }
    Ok(request)
}

fn answer(
    stream: &TcpStream,
    files: &[HubFile],
    manners: &Manners,
    requests: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let request = read_request(stream)?;
    requests.lock().unwrap().push(request.clone());
    if request.method == "CONNECT" {
        // As a proxy that has everything itself.
        let mut tunnel = stream;
        tunnel.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
        return answer(stream, files, manners, requests);
    }
    let is_about = |part: Option<&str>| part.is_some_and(|part| request.path.contains(part));
    if is_about(manners.silent) || is_about(manners.trickling) || is_about(manners.endless) {
        return never_finish(stream, manners);
    }
    let wanted_token = manners.token.map(|token| format!("Bearer {token}"));
    if requests.lock().unwrap().len() <= manners.n_busy {
        return send(stream, 503, &[], b"", &request);
    }
    if let Some((status, code)) = manners.refuse {
        let headers = [("X-Error-Code", code.to_owned())];
        return send(stream, status, &headers, b"{\"error\":\"refused\"}", &request);
    }
    if wanted_token.is_some() && request.authorization != wanted_token {
        return send(stream, 401, &[], b"{\"error\":\"Invalid credentials\"}", &request);
    }
    let path = request.path.split('?').next().unwrap_or_default().to_owned();
    if path == "/api/models/org/repo" || path == "/api/models/org/repo/revision/v1" {
        let body = json!({"id": "org/repo", "sha": COMMIT}).to_string();
        return send(stream, 200, &[], body.as_bytes(), &request);
    }
    if path == format!("/api/models/org/repo/tree/{COMMIT}") {
        return send_list(stream, files, manners, &request);
    }
    let resolve = format!("/org/repo/resolve/{COMMIT}/");
    let file = path.strip_prefix(&resolve).or_else(|| path.strip_prefix("/store/"));
    match file.and_then(|path| files.iter().find(|file| file.path == path)) {
        Some(file) => send_file(stream, file, manners, &request),
        None => {
            let headers = [("X-Error-Code", "RepoNotFound".to_owned())];
            send(stream, 404, &headers, b"{\"error\":\"not found\"}", &request)
        }
    }
}

/// Say nothing, next to nothing, or too much, until the client has enough of it.
fn never_finish(mut stream: &TcpStream, manners: &Manners) -> std::io::Result<()> {
    if manners.silent.is_some() {
        std::thread::sleep(Duration::from_secs(60));
        return Ok(());
    }
    stream.write_all(b"HTTP/1.1 206 Status\r\nConnection: close\r\n\r\n")?;
    loop {
        match manners.trickling {
            Some(_) => {
                stream.write_all(b" ")?;
                std::thread::sleep(Duration::from_millis(20));
            }
            None => stream.write_all(&[b' '; 1 << 16])?,
        }
    }
}

fn send_list(
    stream: &TcpStream,
    files: &[HubFile],
    manners: &Manners,
    request: &Request,
) -> std::io::Result<()> {
    let is_second = request.path.contains("cursor=2");
    let (first, second) = files.split_at(files.len() / 2);
    let (part, next) = match (manners.in_two_parts, is_second) {
        (false, _) => (files, manners.next_part.clone()),
        (true, false) => (first, Some(format!("{}&cursor=2", request.path))),
        (true, true) => (second, None),
    };
    let headers: Vec<_> =
        next.into_iter().map(|next| ("Link", format!("<{next}>; rel=\"next\""))).collect();
    let entries: Vec<_> = part.iter().map(|file| list_entry(file, manners)).collect();
    send(stream, 200, &headers, &serde_json::to_vec(&entries)?, request)
}

fn list_entry(file: &HubFile, manners: &Manners) -> serde_json::Value {
    let size = manners.listed_size.unwrap_or(file.bytes.len() as u64);
    let mut entry = json!({"type": "file", "size": size, "path": file.path});
    if !manners.without_hashes {
        entry["oid"] = json!(manners.git_hash.unwrap_or("ab"));
        if file.is_large {
            let oid = manners.claimed_hash.clone().unwrap_or_else(|| sha256_bytes(&file.bytes));
            entry["lfs"] = json!({"oid": oid, "size": file.bytes.len(), "pointerSize": 134});
        }
    }
    entry
}

fn send_file(
    stream: &TcpStream,
    file: &HubFile,
    manners: &Manners,
    request: &Request,
) -> std::io::Result<()> {
    std::thread::sleep(manners.pause);
    let hash = match (&manners.claimed_hash, file.is_large) {
        (Some(claimed), true) => claimed.clone(),
        (None, true) => sha256_bytes(&file.bytes),
        (_, false) => "00112233445566778899aabbccddeeff00112233".to_owned(),
    };
    let mut headers = vec![("X-Repo-Commit", COMMIT.to_owned())];
    if manners.as_mirror {
        headers.push(("X-Xet-Hash", "c".repeat(64)));
        let token = format!("<{}/api/models/org/repo/xet-read-token/x>", "http://hub.invalid");
        headers.push(("Link", format!("{token}; rel=\"xet-auth\"")));
    } else {
        headers.push(("ETag", format!("\"{hash}\"")));
    }
    if file.is_large && !manners.as_mirror {
        headers.push(("X-Linked-Etag", format!("\"{hash}\"")));
        headers.push(("X-Linked-Size", file.bytes.len().to_string()));
    }
    if let (Some(other), true) = (&manners.redirect_to, file.is_large) {
        headers.push(("Location", format!("{other}/store/{}", file.path)));
        return send(stream, 302, &headers, b"", request);
    }
    if let Some(length) = manners.claimed_length {
        headers.push(("Content-Length", length.to_string()));
    }
    let range = request.range.filter(|_| !manners.without_ranges);
    let (start, end) = range.unwrap_or((0, file.bytes.len()));
    let mut bytes = file.bytes[start..end].to_vec();
    if manners.flip_in_ranges && range.is_some() && file.is_large {
        bytes[0] ^= 1;
    }
    if let Some(cut_at) = manners.cut_at.filter(|cut_at| end > *cut_at) {
        let promised = bytes.len();
        bytes.truncate(cut_at.saturating_sub(start));
        headers.push(("Content-Length", promised.to_string()));
        let status = if range.is_some() { 206 } else { 200 };
        return send(stream, status, &headers, &bytes, request);
    }
    let status = if range.is_some() { 206 } else { 200 };
    send(stream, status, &headers, &bytes, request)
}

fn send(
    mut stream: &TcpStream,
    status: u16,
    headers: &[(&str, String)],
    body: &[u8],
    request: &Request,
) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} Status\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !headers.iter().any(|(name, _)| *name == "Content-Length") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    let mut answer = format!("{head}\r\n").into_bytes();
    if request.method != "HEAD" {
        answer.extend_from_slice(body);
    }
    // At once: the second of two writes waits for a word of the client.
    stream.write_all(&answer)
}
