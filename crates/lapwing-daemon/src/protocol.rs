//! Which protocol a path belongs to, and how each tells that something is refused.

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::refusal::{Code, Refusal};
use crate::request_id::RequestId;
use crate::schemas::{SchemaOf, named};

/// A refusal, as OpenAI's clients read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
struct OpenAiError {
    error: OpenAiProblem,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
struct OpenAiProblem {
    message: String,
    r#type: String,
    /// Which field of the request.
    param: Option<String>,
    code: Option<String>,
}

/// A refusal, as Ollama's clients read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
struct OllamaError {
    error: String,
}

/// A refusal, as Anthropic's clients read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
struct AnthropicError {
    r#type: String,
    error: AnthropicProblem,
    request_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
struct AnthropicProblem {
    r#type: String,
    message: String,
}

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

    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::OpenAi => "openai",
            Protocol::Ollama => "ollama",
            Protocol::Anthropic => "anthropic",
        }
    }

    /// The status where there is no place for a request.
    pub(crate) fn busy(self) -> StatusCode {
        match self {
            // It has a number of its own for it, which no register knows.
            Protocol::Anthropic => {
                StatusCode::from_u16(529).expect("a status has three digits, the first not 0")
            }
            Protocol::OpenAi | Protocol::Ollama => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The schema of its refusals.
    pub(crate) fn error(self) -> SchemaOf {
        match self {
            Protocol::OpenAi => named::<OpenAiError>,
            Protocol::Ollama => named::<OllamaError>,
            Protocol::Anthropic => named::<AnthropicError>,
        }
    }

    /// The status that goes with it.
    fn status(self, refusal: &Refusal) -> StatusCode {
        match refusal.code {
            Code::Busy => self.busy(),
            _ => refusal.status,
        }
    }

    /// What a client of it expects in place of an answer.
    pub(crate) fn body(self, refusal: &Refusal, request_id: &RequestId) -> Value {
        let Refusal { message, param, code, .. } = refusal;
        let message = message.clone();
        let body = match self {
            Protocol::Ollama => serde_json::to_value(OllamaError { error: message }),
            Protocol::OpenAi => serde_json::to_value(OpenAiError {
                error: OpenAiProblem {
                    message,
                    r#type: openai_type(*code).to_owned(),
                    param: param.clone(),
                    code: openai_code(*code).map(str::to_owned),
                },
            }),
            Protocol::Anthropic => serde_json::to_value(AnthropicError {
                r#type: "error".to_owned(),
                error: AnthropicProblem {
                    r#type: anthropic_type(*code).to_owned(),
                    message: anthropic_message(refusal),
                },
                request_id: request_id.to_string(),
            }),
        };
        body.expect("they have only strings")
    }
}

fn openai_type(code: Code) -> &'static str {
    match code {
        Code::Key => "authentication_error",
        Code::Forbidden => "permission_error",
        Code::NoRoute => "not_found_error",
        Code::Busy => "overloaded_error",
        Code::Internal | Code::NotImplemented => "server_error",
        Code::Late => "timeout_error",
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
        Code::Late => "deadline_exceeded",
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
        Code::Late => "timeout_error",
        Code::Request | Code::TooLong => "invalid_request_error",
    }
}

/// Programs know by these words that they have to shorten a conversation; there is no code for it.
fn anthropic_message(refusal: &Refusal) -> String {
    match refusal.code {
        Code::TooLong => format!("prompt is too long: {}", refusal.message),
        _ => refusal.message.clone(),
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
        response =
            (protocol.status(&refusal), Json(protocol.body(&refusal, &request_id))).into_response();
        // The body is another one now.
        let kept = headers
            .into_iter()
            .filter_map(|(name, value)| name.map(|name| (name, value)))
            .filter(|(name, _)| *name != header::CONTENT_LENGTH && *name != header::CONTENT_TYPE);
        response.headers_mut().extend(kept);
        if let Some(seconds) = refusal.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if refusal.is_final() {
            // The official clients come again after every status from 500 on but for this.
            response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_protocol_refuses_in_its_own_words() {
        let check = |path: &str, refusal: &Refusal, status: u16, expected: Value| {
            let protocol = Protocol::of(path);
            let id = RequestId::new();
            let mut body = protocol.body(refusal, &id);
            if let Some(told) = body.get_mut("request_id") {
                assert_eq!(*told, id.to_string());
                *told = "id".into();
            }
            assert_eq!((protocol.status(refusal).as_u16(), body), (status, expected), "{path}");
        };
        let unknown = Refusal::no_model("x");
        let message = "model 'x' not found";
        check("/api/chat", &unknown, 404, json!({"error": message}));
        let error = json!({"type": "not_found_error", "message": message});
        let expected = json!({"type": "error", "error": error, "request_id": "id"});
        check("/v1/messages", &unknown, 404, expected);
        let error = json!({"message": message, "type": "invalid_request_error", "param": "model",
            "code": "model_not_found"});
        check("/v1/chat/completions", &unknown, 404, json!({"error": error}));
        let busy = Refusal::busy("later", 1);
        check("/api/generate", &busy, 503, json!({"error": "later"}));
        let error = json!({"type": "overloaded_error", "message": "later"});
        let expected = json!({"type": "error", "error": error, "request_id": "id"});
        check("/v1/messages/count_tokens", &busy, 529, expected);
        let long = Refusal::new(StatusCode::BAD_REQUEST, Code::TooLong, "9 of 8");
        let error =
            json!({"type": "invalid_request_error", "message": "prompt is too long: 9 of 8"});
        let expected = json!({"type": "error", "error": error, "request_id": "id"});
        check("/v1/messages", &long, 400, expected);
        let error = json!({"message": "9 of 8", "type": "invalid_request_error", "param": null,
            "code": "context_length_exceeded"});
        check("/v1/completions", &long, 400, json!({"error": error}));
    }
}
