//! What a request says in its body, query and path, and the streams of an answer.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::app::App;
use crate::refusal::{Code, Refusal};

/// How often a client hears that its prompt is still read.
const PING: Duration = Duration::from_secs(5);
/// Pieces of an answer that wait for a reader before it is waited for.
const N_PIECES_WAITING: usize = 64;
/// A reader that takes nothing for so long has gone.
pub(crate) const STALL: Duration = Duration::from_secs(60);
/// A client that sends nothing of its body for so long has gone.
const BODY_TIME: Duration = Duration::from_secs(30);

/// A request's body as JSON, whatever content type is claimed: `curl -d` claims a form.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        let bytes = read(request, app.options.now().n_body_bytes_max).await?;
        parse(&bytes).map(Json)
    }
}

/// The fields behind the `?` of a target.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Refusal> {
        let query = axum::extract::Query::try_from_uri(&parts.uri);
        let query = query.map_err(|error| Refusal::request(error.body_text()))?;
        Ok(Query(query.0))
    }
}

/// The name that stands in a path.
pub(crate) struct Path(pub(crate) String);

impl FromRequestParts<App> for Path {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, app).await;
        path.map(|path| Path(path.0)).map_err(|error| Refusal::request(error.body_text()))
    }
}

/// The bytes of a request, no more than `n_bytes_max`.
pub(crate) async fn read(request: Request, n_bytes_max: usize) -> Result<Bytes, Refusal> {
    let (parts, body) = request.into_parts();
    if parts.headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        let message = "compressed requests are not understood";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Request, message));
    }
    let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|n| n.to_str().ok());
    let length = length.and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| (n_bytes_max as u64) < length) {
        return Err(too_large(n_bytes_max));
    }
    all_of(body, n_bytes_max, BODY_TIME).await
}

fn too_large(n_bytes_max: usize) -> Refusal {
    let message = format!("the request is larger than {n_bytes_max} bytes");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge, message)
}

/// All of a body that never stops for longer than `patience`.
async fn all_of(body: Body, n_bytes_max: usize, patience: Duration) -> Result<Bytes, Refusal> {
    let mut body = Limited::new(body, n_bytes_max);
    let mut bytes = BytesMut::new();
    loop {
        let Ok(frame) = tokio::time::timeout(patience, body.frame()).await else {
            let message = format!("nothing of the request came for {} s", patience.as_secs());
            return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, Code::Request, message));
        };
        match frame {
            None => return Ok(bytes.freeze()),
            // What is no data is a trailer, which says nothing here.
            Some(Ok(frame)) => bytes.extend(frame.into_data()),
            Some(Err(error)) if error.is::<LengthLimitError>() => {
                return Err(too_large(n_bytes_max));
            }
            Some(Err(_)) => return Err(Refusal::request("the request was broken off")),
        }
    }
}

/// JSON, with the place of what is wrong in it. An explicit null is as good as nothing.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        // Fields that several requests share are read from a copy, which does not know their names.
        let path = error.path().to_string();
        let path = path.trim_end_matches(['?', '.']);
        unreadable(path, error.inner())
    })?;
    deserializer.end().map_err(|_| Refusal::request("something stands behind the JSON"))?;
    Ok(value)
}

/// What is wrong with JSON, without its values and without the words of who reads it.
fn unreadable(path: &str, error: &serde_json::Error) -> Refusal {
    let at = format!("line {}, column {}", error.line(), error.column());
    if !error.is_data() {
        let what = if error.is_eof() { "it breaks off" } else { "it is no JSON" };
        return Refusal::request(format!("the request cannot be read: {what} at {at}"));
    }
    let said = error.to_string();
    let said = said.split(" at line ").next().unwrap_or_default();
    if let Some(name) = said.strip_prefix("missing field `").and_then(|rest| rest.split('`').next())
    {
        let within = if path.is_empty() { String::new() } else { format!("{path}.") };
        let param = format!("{within}{name}");
        return Refusal::field(param.clone(), format!("the request has no {param}"));
    }
    let expected = said.split_once("expected ").map_or("something else", |(_, what)| what);
    let expected = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "a list",
        "a map" => "an object",
        expected if expected.starts_with("struct ") => "an object",
        expected => expected,
    };
    // Of what was found its kind; a value can be of any length.
    let found = said.split_once("invalid type: ").or_else(|| said.split_once("invalid value: "));
    let kind = found.and_then(|(_, kind)| kind.split(['"', '`', ',']).next()).map(str::trim);
    let found = kind.map_or_else(String::new, |kind| {
        let kind = match kind {
            "sequence" => "a list",
            "map" => "an object",
            "integer" | "floating point" => "another number",
            "string" => "a string",
            "boolean" => "true or false",
            kind => kind,
        };
        format!(", found {kind}")
    });
    let message = match path {
        "" => format!("the request cannot be read: expected {expected}{found} at {at}"),
        _ => format!("{path} cannot be read: expected {expected}{found} at {at}"),
    };
    Refusal {
        param: Some(path.to_owned()).filter(|path| !path.is_empty()),
        ..Refusal::request(message)
    }
}

/// How pieces of an answer are put into a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Server-sent events.
    Events,
    /// Server-sent events with names, and so are those that say that the stream is alive.
    NamedEvents,
    /// A JSON object a line.
    Lines,
}

/// The writing end of a stream.
pub(crate) struct Writer {
    sender: mpsc::Sender<Bytes>,
}

/// Nobody reads any more.
#[derive(Debug)]
pub(crate) struct Gone;

impl Writer {
    /// Write a piece as it is.
    pub(crate) async fn write(&self, piece: impl Into<Bytes>) -> Result<(), Gone> {
        let sent = tokio::time::timeout(STALL, self.sender.send(piece.into())).await;
        sent.map_err(|_| Gone)?.map_err(|_| Gone)
    }

    /// Write `data: …`.
    pub(crate) async fn data(&self, data: &impl serde::Serialize) -> Result<(), Gone> {
        self.write(format!("data: {}\n\n", json(data))).await
    }

    /// Write `event: …` and `data: …`.
    pub(crate) async fn event(&self, name: &str, data: &impl serde::Serialize) -> Result<(), Gone> {
        self.write(format!("event: {name}\ndata: {}\n\n", json(data))).await
    }

    /// Write a line.
    pub(crate) async fn line(&self, data: &impl serde::Serialize) -> Result<(), Gone> {
        self.write(format!("{}\n", json(data))).await
    }
}

fn json(data: &impl serde::Serialize) -> String {
    serde_json::to_string(data).expect("wire types have only string keys")
}

/// A response that `write` writes while it is read. Where nothing comes for some time, a stream of
/// events says that it is alive. When nobody reads any more `write` is dropped, and what it holds.
pub(crate) fn stream<F, W>(framing: Framing, write: F) -> Response
where
    F: FnOnce(Writer) -> W,
    W: Future<Output = Result<(), Gone>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(N_PIECES_WAITING);
    let watcher = sender.clone();
    let work = write(Writer { sender });
    tokio::spawn(async move {
        tokio::select! {
            _ = work => {}
            () = watcher.closed() => {}
        }
    });
    let mut headers = HeaderMap::new();
    let content_type = match framing {
        Framing::Events | Framing::NamedEvents => "text/event-stream",
        Framing::Lines => "application/x-ndjson",
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    (headers, Body::new(Pieces { receiver, framing, ping: None })).into_response()
}

/// The reading end of a stream.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    framing: Framing,
    ping: Option<std::pin::Pin<Box<tokio::time::Sleep>>>,
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        use std::task::Poll;
        if let Poll::Ready(piece) = self.receiver.poll_recv(context) {
            self.ping = None;
            return Poll::Ready(piece.map(|piece| Ok(hyper::body::Frame::data(piece))));
        }
        let alive: &'static [u8] = match self.framing {
            Framing::Events => b": ping\n\n",
            Framing::NamedEvents => b"event: ping\ndata: {\"type\":\"ping\"}\n\n",
            Framing::Lines => return Poll::Pending,
        };
        let ping = self.ping.get_or_insert_with(|| Box::pin(tokio::time::sleep(PING)));
        if ping.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.ping = None;
        // Somebody must be woken for the next.
        context.waker().wake_by_ref();
        Poll::Ready(Some(Ok(hyper::body::Frame::data(Bytes::from_static(alive)))))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "what is read is of no interest")]
    struct Asked {
        n: u32,
        list: Option<Vec<Inner>>,
        heat: Option<f32>,
        #[serde(flatten)]
        shared: Shared,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "what is read is of no interest")]
    struct Inner {
        kind: Kind,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Text,
        Tool,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "what is read is of no interest")]
    struct Shared {
        top: Option<i64>,
    }

    #[test]
    fn what_cannot_be_read_is_told_in_own_words_and_without_its_value() {
        let check = |json: &str, param: Option<&str>, expected: &str| {
            let refusal = parse::<Asked>(json.as_bytes()).unwrap_err();
            assert_eq!(refusal.param.as_deref(), param, "{json}: {refusal}");
            assert!(refusal.message.contains(expected), "{json}: {refusal}");
            for word in ["struct", "sequence", "f32", "i64", "EOF", "ident", "secret"] {
                assert!(!refusal.message.contains(word), "{json}: {refusal}");
            }
            assert!(refusal.message.len() < 200, "{refusal}");
        };
        check("{", None, "it breaks off at line 1");
        check("{\"n\": nonsense}", None, "it is no JSON at line 1");
        check("[]", None, "expected an object, found a list");
        check("{\"list\": []}", Some("n"), "has no n");
        check(
            "{\"n\": 1, \"heat\": \"secret\"}",
            Some("heat"),
            "heat cannot be read: expected a number, found a string",
        );
        check("{\"n\": 1, \"list\": {}}", Some("list"), "expected a list, found an object");
        let unknown = "{\"n\": 1, \"list\": [{\"kind\": \"secret\"}]}";
        check(unknown, Some("list[0].kind"), "expected `text` or `tool`");
        check("{\"n\": 1, \"top\": \"secret\"}", None, "expected a whole number, found a string");
        let long = format!("{{\"n\": \"{}\"}}", "x".repeat(100_000));
        check(&long, Some("n"), "expected a whole number of 0 or more, found a string");
        assert!(parse::<Asked>(b"{\"n\": 1}").is_ok());
    }

    #[tokio::test]
    async fn a_request_that_stops_coming_is_given_up() {
        let (sender, receiver) = mpsc::channel(2);
        let body = Body::new(Pieces { receiver, framing: Framing::Lines, ping: None });
        sender.send(Bytes::from_static(b"{")).await.unwrap();
        let refusal = all_of(body, 10, Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(refusal.status, StatusCode::REQUEST_TIMEOUT);
        drop(sender);
        let (sender, receiver) = mpsc::channel(2);
        let body = Body::new(Pieces { receiver, framing: Framing::Lines, ping: None });
        sender.send(Bytes::from_static(b"{")).await.unwrap();
        sender.send(Bytes::from_static(b"}")).await.unwrap();
        drop(sender);
        assert_eq!(all_of(body, 10, Duration::from_secs(9)).await.unwrap(), "{}");
    }
}
