//! Requests of web pages: only pages that were named may ask.
//!
//! What a page sends without asking first (a form, plain text) is refused too: an answer that the
//! page cannot read has done its work all the same.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::refusal::{Code, Refusal};

/// What a page that may ask may send.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, DELETE, OPTIONS");
/// What such a page may read of an answer.
const EXPOSED: HeaderValue = HeaderValue::from_static("x-request-id, retry-after");

/// The origin of a request, if it has one that may ask. The daemon's own page may where `Host` is
/// known to be one of ours, so that no foreign name can be both.
pub(super) fn check(
    headers: &HeaderMap,
    allowed: &[String],
    is_host_ours: bool,
) -> Result<Option<HeaderValue>, Refusal> {
    let refused = || {
        let message = "requests of this web page are not allowed; its origin can be named";
        Err(Refusal::new(StatusCode::FORBIDDEN, Code::Forbidden, message))
    };
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (first, second) = (origins.next(), origins.next());
    if second.is_some() {
        return refused();
    }
    let is_allowed = |origin: &HeaderValue| {
        // The page asks from the place that it asks.
        let own = headers.get(header::HOST).filter(|_| is_host_ours);
        let own = own.and_then(|host| host.to_str().ok());
        let own = own.map(|host| format!("http://{host}"));
        origin
            .to_str()
            .is_ok_and(|origin| allowed.iter().chain(&own).any(|allowed| matches(allowed, origin)))
    };
    if let Some(origin) = first {
        return if is_allowed(origin) { Ok(Some(origin.clone())) } else { refused() };
    }
    // Browsers that send no origin with a GET say where it comes from all the same. Who types an
    // address comes from nowhere.
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    match site {
        Some(b"cross-site" | b"same-site") => refused(),
        _ => Ok(None),
    }
}

/// Whether an origin is the one that was named; a `*` at its end stands for anything behind.
fn matches(named: &str, origin: &str) -> bool {
    match named.strip_suffix('*') {
        Some(begin) => !begin.is_empty() && origin.starts_with(begin),
        None => origin.eq_ignore_ascii_case(named),
    }
}

/// Tell the browser of a page that may ask that it may.
pub(super) fn allow(
    headers: &mut HeaderMap,
    origin: Option<HeaderValue>,
    asked: Option<HeaderValue>,
) {
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    if let Some(asked) = asked {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked);
    }
}
