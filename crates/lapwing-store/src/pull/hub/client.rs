//! Requests to a hub that may be slow, silent, endless or wrong.
//!
//! Each request runs on a thread of its own that hands over what arrives, so that the caller can
//! stop at any time, and so that one rule covers silence and trickles alike: a connection that
//! brings less than [`N_BYTES_MIN`] within the patience of the options is given up. What breaks
//! off is tried again a few times. The token goes to the hub's own origin and nowhere else.

use std::io::{self, Read as _};
use std::ops::Range;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::Agent;
use ureq::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};

use crate::notice::{Caller, Notice};

use super::address::{Endpoint, join, other_scheme};
use super::proxy::Routes;

/// What a connection has to bring within the patience of the options.
const N_BYTES_MIN: u64 = 8 << 10;
/// Attempts in a row that may break off.
const N_ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Steps from the hub to where a file really is.
const N_REDIRECTS_MAX: usize = 5;
/// Silence that is told.
const SILENCE: Duration = Duration::from_secs(4);
const POLL: Duration = Duration::from_millis(50);
const BUFFER_BYTES: usize = 256 << 10;
const NO_ADDRESS: &str = "it sends on to no address";
/// A refusal says why in a line or two.
const N_REFUSAL_BYTES_MAX: usize = 64 << 10;
/// As much of the words of a server as is repeated.
const N_REASON_CHARS_MAX: usize = 300;

/// Asks one hub.
pub(super) struct Client<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) routes: Routes<'a>,
    pub(super) patience: Duration,
    pub(super) caller: Caller<'a>,
}

/// Why there is no answer that can be used.
pub(super) enum Failure {
    /// The caller stopped it.
    Stopped,
    /// No connection, or it broke or was too slow: another attempt may succeed.
    Broken(String),
    /// The server says no.
    Refused(Refusal),
    /// The server says something that makes no sense.
    Nonsense(String),
}

/// How a server says no.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// The hub's own word for what is wrong, which tells more than the status.
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
}

/// An answer that is no refusal; its body is still to come.
pub(super) struct Answer<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The headers of the hub itself, where it sent on to another address.
    pub(super) first_headers: Option<HeaderMap>,
    arrivals: Arrivals<'a>,
}

/// One thing that a request brings.
enum Arrival {
    Head(Result<Response<()>, ureq::Error>),
    Piece(io::Result<Vec<u8>>),
    End,
}

/// What a request brings, as it comes, no slower than is allowed.
struct Arrivals<'a> {
    receiver: Receiver<Arrival>,
    caller: Caller<'a>,
    /// Whom it waits for, as long as that was not told.
    host: Option<String>,
    patience: Duration,
    since: Instant,
    n_bytes: u64,
}

impl<'a> Client<'a> {
    /// Ask for JSON of at most `n_bytes_max`; also where the next part of it is, and the length.
    pub(super) fn json<T: DeserializeOwned>(
        &self,
        url: &str,
        n_bytes_max: usize,
    ) -> Result<(T, Option<String>, usize), Failure> {
        self.try_often(|| {
            let answer = self.ask(&Method::GET, url, None)?;
            let next = next_part(url, &answer.headers)?;
            let body = answer.body(n_bytes_max)?;
            let value = serde_json::from_slice(&body).map_err(|error| {
                Failure::Nonsense(format!("its answer is not what was expected: {error}"))
            })?;
            Ok((value, next, body.len()))
        })
    }

    /// Do `work` until it does not break off, or has too often.
    pub(super) fn try_often<T>(
        &self,
        mut work: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..N_ATTEMPTS {
            match work() {
                Err(Failure::Broken(reason)) => tracing::debug!(reason, "trying again"),
                Err(Failure::Refused(refusal)) if refusal.may_pass() => {
                    tracing::debug!(status = refusal.status.as_u16(), "trying again");
                }
                outcome => return outcome,
            }
            let end = Instant::now() + pause;
            while Instant::now() < end {
                if self.caller.is_stopped() {
                    return Err(Failure::Stopped);
                }
                std::thread::sleep(POLL);
            }
            pause *= 2;
        }
        work()
    }

    /// Ask once, and follow to where the hub sends on.
    pub(super) fn ask(
        &self,
        method: &Method,
        url: &str,
        range: Option<&Range<u64>>,
    ) -> Result<Answer<'a>, Failure> {
        let mut url = url.to_owned();
        let mut first_headers = None;
        for _ in 0..=N_REDIRECTS_MAX {
            let mut answer = self.ask_here(method, &url, range)?;
            let status = answer.status;
            let location = answer.headers.get(header::LOCATION).filter(|_| status.is_redirection());
            let Some(location) = location else {
                if !status.is_success() {
                    return Err(Failure::Refused(answer.refusal()?));
                }
                answer.first_headers = first_headers;
                return Ok(answer);
            };
            let location = location.to_str().ok();
            if let Some(scheme) = location.and_then(other_scheme) {
                let scheme = printable(scheme);
                let reason = format!("it sends on to an address of {scheme}:, which is refused");
                return Err(Failure::Nonsense(reason));
            }
            let next = location.and_then(|location| join(&url, location));
            let next = next.ok_or_else(|| Failure::Nonsense(NO_ADDRESS.into()))?;
            if url.starts_with("https:") && !next.starts_with("https:") {
                return Err(Failure::Nonsense("it sends on to an address without TLS".into()));
            }
            url = next;
            first_headers.get_or_insert(answer.headers);
        }
        Err(Failure::Nonsense(format!("it sends on more than {N_REDIRECTS_MAX} times")))
    }

    fn ask_here(
        &self,
        method: &Method,
        url: &str,
        range: Option<&Range<u64>>,
    ) -> Result<Answer<'a>, Failure> {
        let nonsense = || Failure::Nonsense(NO_ADDRESS.into());
        let is_own = self.endpoint.is_origin_of(url);
        let is_by_name = is_own && self.authorization.is_none();
        let asked = if is_by_name { self.endpoint.with_user(url) } else { url.to_owned() };
        let uri: Uri = asked.parse().map_err(|_| nonsense())?;
        let agent = self.routes.to(&uri).clone();
        let host = uri.host().unwrap_or_default().to_owned();
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(authorization) = self.authorization.as_ref().filter(|_| is_own) {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some(Range { start, end }) = range {
            request = request.header(header::RANGE, format!("bytes={start}-{}", end - 1));
        }
        let request = request.body(()).map_err(|_| nonsense())?;
        let (sender, receiver) = mpsc::sync_channel(2);
        // It ends by itself once nobody receives: each of its waits is limited.
        std::thread::spawn(move || run(&agent, request, &sender));
        let mut arrivals = Arrivals {
            receiver,
            caller: self.caller,
            host: Some(host),
            patience: self.patience,
            since: Instant::now(),
            n_bytes: 0,
        };
        match arrivals.next()? {
            Arrival::Head(Ok(response)) => {
                let (parts, ()) = response.into_parts();
                let (status, headers) = (parts.status, parts.headers);
                Ok(Answer { status, headers, first_headers: None, arrivals })
            }
            Arrival::Head(Err(error)) => Err(failure(&error)),
            Arrival::Piece(_) | Arrival::End => Err(Failure::Broken("nothing arrived".into())),
        }
    }
}

impl Answer<'_> {
    /// The next bytes of the body; none at its end.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        match self.arrivals.next()? {
            Arrival::Piece(Ok(bytes)) => Ok(Some(bytes)),
            Arrival::Piece(Err(error)) => Err(Failure::Broken(error.to_string())),
            Arrival::Head(_) | Arrival::End => Ok(None),
        }
    }

    /// How long the body is, as far as the server says so.
    pub(super) fn n_bytes(&self) -> Option<u64> {
        self.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// The whole body.
    fn body(mut self, n_bytes_max: usize) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(bytes) = self.next()? {
            body.extend_from_slice(&bytes);
            if n_bytes_max < body.len() {
                let reason = format!("it sends more than {n_bytes_max} bytes without an end");
                return Err(Failure::Nonsense(reason));
            }
        }
        Ok(body)
    }

    fn refusal(self) -> Result<Refusal, Failure> {
        #[derive(Deserialize)]
        struct Words {
            error: String,
        }
        let status = self.status;
        let text = |name: &str| {
            let value = self.headers.get(name)?.to_str().ok()?;
            (!value.is_empty()).then(|| printable(value))
        };
        let (code, message) = (text("x-error-code"), text("x-error-message"));
        let message = match (message, self.body(N_REFUSAL_BYTES_MAX)) {
            (Some(message), _) => Some(message),
            (None, Err(Failure::Stopped)) => return Err(Failure::Stopped),
            // The status is worth telling without words as well.
            (None, Err(_)) => None,
            (None, Ok(body)) => {
                let words = serde_json::from_slice(&body).ok();
                words.map(|Words { error }| printable(&error))
            }
        };
        Ok(Refusal { status, code, message })
    }
}

impl Refusal {
    /// Whether the same request may be answered a little later.
    fn may_pass(&self) -> bool {
        matches!(self.status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
    }
}

impl Arrivals<'_> {
    fn next(&mut self) -> Result<Arrival, Failure> {
        loop {
            if self.caller.is_stopped() {
                return Err(Failure::Stopped);
            }
            if self.patience <= self.since.elapsed() {
                if self.n_bytes < N_BYTES_MIN {
                    let (n_bytes, seconds) = (self.n_bytes, self.patience.as_secs_f32());
                    let reason = format!("no more than {n_bytes} bytes in {seconds} s");
                    return Err(Failure::Broken(reason));
                }
                (self.since, self.n_bytes) = (Instant::now(), 0);
            }
            if SILENCE <= self.since.elapsed() && self.n_bytes == 0 {
                let silent = |host| self.caller.tell(Notice::Silent { host });
                self.host.take().into_iter().for_each(silent);
            }
            match self.receiver.recv_timeout(POLL) {
                Ok(arrival) => {
                    if let Arrival::Piece(Ok(bytes)) = &arrival {
                        self.n_bytes += bytes.len() as u64;
                    }
                    return Ok(arrival);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::Broken("the request ended without an answer".into()));
                }
            }
        }
    }
}

/// Send one request and hand over what arrives, until nobody wants more.
fn run(agent: &Agent, request: Request<()>, sender: &SyncSender<Arrival>) {
    let (head, body) = match agent.run(request) {
        Ok(response) => {
            let (parts, body) = response.into_parts();
            (Ok(Response::from_parts(parts, ())), Some(body))
        }
        Err(error) => (Err(error), None),
    };
    let mut is_wanted = sender.send(Arrival::Head(head)).is_ok();
    let Some(mut body) = body.map(ureq::Body::into_reader) else { return };
    let mut buffer = vec![0; BUFFER_BYTES];
    while is_wanted {
        let arrival = match body.read(&mut buffer) {
            Ok(0) => Arrival::End,
            Ok(n_bytes) => Arrival::Piece(Ok(buffer[..n_bytes].to_vec())),
            Err(error) => Arrival::Piece(Err(error)),
        };
        let is_last = !matches!(arrival, Arrival::Piece(Ok(_)));
        is_wanted = sender.send(arrival).is_ok() && !is_last;
    }
}

/// What an error of the transport means: all but requests and answers that make no sense may pass.
fn failure(error: &ureq::Error) -> Failure {
    use ureq::Error;
    let reason = error.to_string();
    match error {
        Error::Io(error) => Failure::Broken(innermost(error)),
        Error::Timeout(_)
        | Error::HostNotFound
        | Error::ConnectionFailed
        | Error::ConnectProxyFailed(_) => Failure::Broken(reason),
        _ => Failure::Nonsense(reason),
    }
}

/// The first cause: what says "connection refused" below all wrappings.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// The address in `Link: <…>; rel="next"`, of which more is to be read.
fn next_part(url: &str, headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let links = headers.get_all(header::LINK).into_iter().filter_map(|value| value.to_str().ok());
    let is_next = |link: &&str| link.contains("rel=\"next\"") || link.contains("rel=next");
    let Some(link) = links.flat_map(|links| links.split(',')).find(is_next) else {
        return Ok(None);
    };
    let inside = link.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    match inside.and_then(|(address, _)| join(url, address)) {
        Some(next) => Ok(Some(next)),
        None => Err(Failure::Nonsense("its list goes on at no address".into())),
    }
}

/// Words of a server as they can be shown on a terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(N_REASON_CHARS_MAX).collect()
}
