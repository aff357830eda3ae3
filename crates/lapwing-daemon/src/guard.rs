//! Who may ask at all: before any work is done, and before a body is read.
//!
//! A browser lets any web page send requests to this machine, so that listening on it alone protects
//! nothing. Requests must name this machine ([`host`]), must not come from a foreign page
//! ([`origin`]), and must show the key where there is one.

mod host;
mod origin;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::{App, Client};
use crate::listen::Peer;
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
    let client =
        Client { id: peer.client(request.headers()), is_background: in_background(&request) };
    request.extensions_mut().insert(client);
    if client.is_background
        && request.method() == Method::POST
        && let Err(refusal) = app.may_run().await
    {
        return refusal.into_response();
    }
    let mut response = next.run(request).await;
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

fn in_background(request: &Request) -> bool {
    let priority = request.headers().get("x-lapwing-priority");
    priority.is_some_and(|priority| priority.as_bytes().eq_ignore_ascii_case(b"background"))
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
