//! An answer, as the worker makes it.

use axum::extract::{Extension, State};
use axum::response::Response;
use lapwing_serving::message::{Failure, FailureKind, Generate, Said};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::{App, Client};
use crate::body::{Framing, Json, stream};
use crate::models::KeepAlive;
use crate::refusal::{Code, Refusal};

/// What is to be answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct AnswerRequest {
    /// Which model answers.
    pub(crate) model: String,
    /// What, and how.
    pub(crate) generate: Generate,
}

pub(super) async fn answer(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Json(AnswerRequest { model, generate }): Json<AnswerRequest>,
) -> Result<Response, Refusal> {
    let mut begun = app.generate(Some(&model), generate, client, KeepAlive::Usual).await?;
    Ok(stream(Framing::Lines, async move |writer| {
        while let Some(said) = begun.next().await {
            let said = said.unwrap_or_else(|refusal| Said::Failed(failure(refusal)));
            writer.line(&said).await?;
        }
        Ok(())
    }))
}

/// What went wrong once the answer had begun.
fn failure(refusal: Refusal) -> Failure {
    let kind = match refusal.code {
        Code::TooLong => FailureKind::TooLong,
        Code::Internal => FailureKind::Model,
        _ => FailureKind::Request,
    };
    Failure { kind, message: refusal.message, hint: None }
}
