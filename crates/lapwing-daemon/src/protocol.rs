//! Which protocol a path belongs to, and how each tells that something is refused.

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::refusal::{Code, Refusal};
use crate::request_id::RequestId;

/// Whose clients ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    OpenAi,
    Ollama,
    Anthropic,
}

impl Protocol {
    /// By the path of the request.
    pub(crate) fn of(path: &str) -> Protocol {
        match path {
            path if path.starts_with("/v1/messages") => Protocol::Anthropic,
            path if path.starts_with("/api/") => Protocol::Ollama,
            _ => Protocol::OpenAi,
        }
    }

    /// What a client of it expects in place of an answer.
    pub(crate) fn body(self, refusal: &Refusal, request_id: &RequestId) -> Value {
        let Refusal { message, param, code, .. } = refusal;
        match self {
            Protocol::Ollama => json!({"error": message}),
            Protocol::OpenAi => json!({"error": {
                "message": message,
                "type": openai_type(*code),
                "param": param,
                "code": openai_code(*code),
            }}),
            Protocol::Anthropic => json!({
                "type": "error",
                "error": {"type": anthropic_type(*code), "message": message},
                "request_id": request_id.to_string(),
            }),
        }
    }
}

fn openai_type(code: Code) -> &'static str {
    match code {
        Code::Key => "authentication_error",
        Code::Forbidden => "permission_error",
        Code::NoRoute => "not_found_error",
        Code::Busy => "overloaded_error",
        Code::Internal | Code::NotImplemented => "server_error",
        Code::Request | Code::TooLong | Code::TooLarge | Code::NoModel => "invalid_request_error",
    }
}

fn openai_code(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::TooLong => "context_length_exceeded",
        Code::NoModel => "model_not_found",
        Code::Key => "invalid_api_key",
        Code::TooLarge => "request_too_large",
        Code::NotImplemented => "not_implemented",
        Code::Busy => "overloaded",
        Code::Request | Code::NoRoute | Code::Forbidden | Code::Internal => return None,
    })
}

fn anthropic_type(code: Code) -> &'static str {
    match code {
        Code::Key => "authentication_error",
        Code::Forbidden => "permission_error",
        Code::NoModel | Code::NoRoute => "not_found_error",
        Code::TooLarge => "request_too_large",
        Code::Busy => "overloaded_error",
        Code::Internal | Code::NotImplemented => "api_error",
        Code::Request | Code::TooLong => "invalid_request_error",
    }
}

/// Tell refusals as the protocol of the path does, and number every answer.
pub(crate) async fn tell_refusals(request: Request, next: Next) -> Response {
    let protocol = Protocol::of(request.uri().path());
    let request_id = RequestId::new();
    let mut request = request;
    request.extensions_mut().insert(request_id);
    let mut response = next.run(request).await;
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        let headers = std::mem::take(response.headers_mut());
        response = (refusal.status, Json(protocol.body(&refusal, &request_id))).into_response();
        // The body is another one now.
        let kept = headers
            .into_iter()
            .filter_map(|(name, value)| name.map(|name| (name, value)))
            .filter(|(name, _)| *name != header::CONTENT_LENGTH && *name != header::CONTENT_TYPE);
        response.headers_mut().extend(kept);
        if let Some(seconds) = refusal.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if refusal.code == Code::Key {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
    }
    if let Ok(value) = HeaderValue::from_str(&request_id.to_string()) {
        response.headers_mut().insert("x-request-id", value.clone());
        response.headers_mut().insert("request-id", value);
    }
    response
}
