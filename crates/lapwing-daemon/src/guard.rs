//! Who may ask at all: before any work is done, and before a body is read.
//!
//! A browser lets any web page send requests to this machine, so that listening on it alone protects
//! nothing. Requests must name this machine ([`host`]), must not come from a foreign page
//! ([`origin`]), and must show the key where there is one.

mod host;
mod origin;

use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::{App, Client};
use crate::ending::Ending;
use crate::listen::Peer;
use crate::models::parse_seconds;
use crate::options::Options;
use crate::page;
use crate::refusal::{Code, Refusal};

/// Bytes of a path with its query.
const N_TARGET_BYTES_MAX: usize = 8 << 10;
/// Paths that tell only that the daemon is alive.
const OPEN_PATHS: [&str; 2] = ["/health", "/v1/health"];

/// Let through what may ask.
pub(crate) async fn check(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer::Local);
    let options = app.options.now();
    let origin = match admitted(&options, &request, peer) {
        Ok(origin) => origin,
        Err(refusal) => return refusal.into_response(),
    };
    if request.method() == Method::OPTIONS && origin.is_some() {
        let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        let mut response = StatusCode::NO_CONTENT.into_response();
        origin::allow(response.headers_mut(), origin, asked);
        return response;
    }
    if let Err(refusal) = shows_key(&options, &request, peer) {
        let mut response = refusal.into_response();
        origin::allow(response.headers_mut(), origin, None);
        return response;
    }
    let answer = async {
        let deadline = deadline(request.headers())?;
        let (id, is_background) =
            (peer.client(request.headers()), in_background(request.headers()));
        let client = Client { id, is_background, deadline };
        request.extensions_mut().insert(client);
        let waits = is_background && request.method() == Method::POST;
        let answered = async {
            if waits {
                app.may_run().await?;
            }
            Ok(next.run(request).await)
        };
        client.in_time(answered).await
    };
    // Who has not begun to be answered when the daemon's time is over is told so.
    let mut response = tokio::select! {
        response = answer => response.unwrap_or_else(Refusal::into_response),
        () = app.ending.comes() => Ending::refusal().into_response(),
    };
    origin::allow(response.headers_mut(), origin, None);
    response
}

fn admitted(
    options: &Options,
    request: &Request,
    peer: Peer,
) -> Result<Option<axum::http::HeaderValue>, Refusal> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if N_TARGET_BYTES_MAX < target {
        let message = format!("the path is longer than {N_TARGET_BYTES_MAX} bytes");
        return Err(Refusal::new(StatusCode::URI_TOO_LONG, Code::TooLarge, message));
    }
    if peer != Peer::Socket {
        host::check(request, options)?;
    }
    origin::check(request.headers(), &options.origins, peer != Peer::Socket)
}

/// Whether nobody waits for the answer: by our own field, or by the urgency of RFC 9218, whose last is
/// of what is done in the background.
fn in_background(headers: &HeaderMap) -> bool {
    let own = headers.get("x-lapwing-priority");
    let is_last = |priority: &str| priority.split(',').any(|one| one.trim() == "u=7");
    let urgency = headers.get("priority").and_then(|priority| priority.to_str().ok());
    own.is_some_and(|own| own.as_bytes().eq_ignore_ascii_case(b"background"))
        || own.is_none() && urgency.is_some_and(is_last)
}

/// Until when an answer is of use to whoever asks: `X-Lapwing-Timeout: 30s`.
fn deadline(headers: &HeaderMap) -> Result<Option<Instant>, Refusal> {
    let Some(given) = headers.get("x-lapwing-timeout") else { return Ok(None) };
    let seconds = given.to_str().ok().and_then(|given| parse_seconds(given.trim()));
    let wrong = || {
        let message = "expected X-Lapwing-Timeout of seconds above 0, such as 30, 500ms or 2m";
        Refusal::field("X-Lapwing-Timeout", message)
    };
    let seconds = seconds.filter(|&seconds| 0.0 < seconds).ok_or_else(wrong)?;
    // Longer than any clock goes is no deadline.
    let time = Duration::try_from_secs_f64(seconds).ok();
    Ok(time.and_then(|time| Instant::now().checked_add(time)))
}

/// Demand the key, if there is one and the path is not open. On the socket there is this user alone,
/// who can read the key.
fn shows_key(options: &Options, request: &Request, peer: Peer) -> Result<(), Refusal> {
    let Some(key) = &options.key else { return Ok(()) };
    let path = request.uri().path();
    if peer == Peer::Socket || OPEN_PATHS.contains(&path) || page::is_part(path) {
        return Ok(());
    }
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, shown) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| shown.trim().to_owned())
    });
    let own = request.headers().get("x-api-key").and_then(|value| value.to_str().ok());
    let shown = bearer.or_else(|| own.map(str::to_owned));
    if shown.is_some_and(|shown| key.is(shown.as_bytes())) {
        return Ok(());
    }
    let message = "the key is missing or wrong";
    Err(Refusal::new(StatusCode::UNAUTHORIZED, Code::Key, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let fields = fields.iter().map(|&(name, value)| {
            (name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap())
        });
        fields.collect()
    }

    #[test]
    fn what_nobody_waits_for_says_so_in_its_head() {
        let check = |fields: &[(&'static str, &'static str)], expected| {
            assert_eq!(in_background(&headers(fields)), expected, "{fields:?}");
        };
        check(&[], false);
        check(&[("x-lapwing-priority", "Background")], true);
        check(&[("x-lapwing-priority", "interactive"), ("priority", "u=7")], false);
        check(&[("priority", "u=7, i")], true);
        check(&[("priority", "i, u=7")], true);
        // Browsers send these for what somebody waits for.
        check(&[("priority", "u=4")], false);
        check(&[("priority", "u=1, i")], false);
    }

    #[test]
    fn a_deadline_is_a_time_from_now_on() {
        let read = |given| deadline(&headers(&[("x-lapwing-timeout", given)]));
        assert_eq!(deadline(&headers(&[])), Ok(None));
        let left = read("2m").unwrap().unwrap() - Instant::now();
        assert!((110..=120).contains(&left.as_secs()), "{left:?}");
        assert_eq!(read("1e300"), Ok(None));
        for wrong in ["0", "-1", "soon", "", "nan"] {
            let refusal = read(wrong).unwrap_err();
            assert_eq!(refusal.param.as_deref(), Some("X-Lapwing-Timeout"), "{wrong}");
        }
    }
}
