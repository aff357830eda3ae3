//! Why a request is not answered, before it is told in the words of a protocol.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use lapwing_serving::message::{Failure, FailureKind};

/// Why a request is not answered, as far as a client may know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// What programs look at.
    pub(crate) code: Code,
    /// Which field of the request.
    pub(crate) param: Option<String>,
    pub(crate) message: String,
    /// Seconds after which to come again.
    pub(crate) retry_after: Option<u64>,
}

/// What programs look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// The request makes no sense.
    Request,
    /// It is made for more than there is of the context.
    TooLong,
    NoModel,
    /// Nobody here does that.
    NoRoute,
    Key,
    Forbidden,
    TooLarge,
    /// Others are served: come again.
    Busy,
    /// Nothing that the client could mend.
    Internal,
    /// It is not built.
    NotImplemented,
    /// The time that the client gave is over.
    Late,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Refusal {
        Refusal { status, code, param: None, message: message.into(), retry_after: None }
    }

    /// The request makes no sense.
    pub(crate) fn request(message: impl Into<String>) -> Refusal {
        Self::new(StatusCode::BAD_REQUEST, Code::Request, message)
    }

    /// A field of it makes no sense.
    pub(crate) fn field(param: impl Into<String>, message: impl Into<String>) -> Refusal {
        Refusal { param: Some(param.into()), ..Self::request(message) }
    }

    pub(crate) fn internal(message: impl Into<String>) -> Refusal {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, message)
    }

    pub(crate) fn busy(message: impl Into<String>, retry_after: u64) -> Refusal {
        let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::Busy, message);
        Refusal { retry_after: Some(retry_after.max(1)), ..refusal }
    }

    /// The time that the client gave is over.
    pub(crate) fn late() -> Refusal {
        let message = "the time that the request gave for its answer is over";
        Self::new(StatusCode::GATEWAY_TIMEOUT, Code::Late, message)
    }

    /// Whether to send the same again is of no use, though the status lets clients do so.
    pub(crate) fn is_final(&self) -> bool {
        match self.code {
            Code::Late | Code::NotImplemented => true,
            Code::Busy => self.retry_after.is_none(),
            _ => false,
        }
    }

    /// There is no model that is called so; a name that is longer than any is not repeated.
    pub(crate) fn no_model(name: &str) -> Refusal {
        let shown: String = name.chars().take(64).filter(|symbol| !symbol.is_control()).collect();
        let message = format!("model '{shown}' not found");
        Refusal {
            param: Some("model".to_owned()),
            ..Self::new(StatusCode::NOT_FOUND, Code::NoModel, message)
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        let message = match failure.hint {
            Some(hint) => format!("{}; {hint}", failure.message),
            None => failure.message,
        };
        match failure.kind {
            FailureKind::Request => Refusal::request(message),
            FailureKind::TooLong => Refusal::new(StatusCode::BAD_REQUEST, Code::TooLong, message),
            FailureKind::NoModel => Refusal::new(StatusCode::NOT_FOUND, Code::NoModel, message),
            FailureKind::Model => Refusal::internal(message),
        }
    }
}

/// The refusal travels in the response: how it is told depends on the protocol, which
/// [`crate::protocol`] knows.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
