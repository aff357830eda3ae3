//! `/api/pull`: a model of the catalogue, for clients that may ask for one.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use lapwing_serving::pulling::PullWork;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use utoipa::ToSchema;

use crate::app::App;
use crate::body::{self, Framing, Gone};
use crate::pulls::Stage;
use crate::refusal::Refusal;

/// Which model, by its name in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ollama::PullRequest)]
pub(super) struct Request {
    model: Option<String>,
    /// As older clients call it.
    name: Option<String>,
    stream: Option<bool>,
}

/// A line of the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ollama::PullLine)]
pub(super) struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Line {
    fn status(status: impl Into<String>) -> Line {
        Line { status: Some(status.into()), ..Line::default() }
    }

    fn of(work: PullWork) -> Line {
        let PullWork { what, n_done, n_bytes } = work;
        let Some(total) = n_bytes else { return Line::status(what) };
        let (digest, completed) = (Some(name_of(&what)), Some(n_done));
        Line { digest, total: Some(total), completed, ..Line::status(what) }
    }
}

/// What a piece of work is told apart by: clients show a bar for each digest, and cut it up. It is that
/// of the words, since what comes is not known yet.
fn name_of(what: &str) -> String {
    let digest = sha2::Sha256::digest(what);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

pub(super) async fn pull(
    State(app): State<App>,
    body::Json(request): body::Json<Request>,
) -> Result<Response, Refusal> {
    let name = request.model.or(request.name).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Refusal::field("model", "no model is named"))?;
    let pull = app.pulls.pull(name.strip_suffix(":latest").unwrap_or(&name))?;
    let mut stage = pull.stage();
    let lost = || Refusal::internal("the process that pulls was lost");
    let is_whole = request.stream == Some(false);
    // What is wrong with the name is told before the first byte.
    let is_due = |stage: &Stage| stage.has_ended() || !is_whole && *stage != Stage::Begun;
    let first = stage.wait_for(is_due).await.map_err(|_| lost())?.clone();
    if let Stage::Ended(outcome) = first {
        outcome?;
        if is_whole {
            return Ok(Json(Line::status("success")).into_response());
        }
    }
    stage.mark_changed();
    Ok(body::stream(Framing::Lines, move |writer| async move {
        // Who leaves lets go of it.
        let _pull = pull;
        writer.line(&Line::status("pulling manifest")).await?;
        while stage.changed().await.is_ok() {
            let now = stage.borrow_and_update().clone();
            match now {
                Stage::Begun => {}
                Stage::Working(work) => writer.line(&Line::of(work)).await?,
                Stage::Ended(Ok(())) => return writer.line(&Line::status("success")).await,
                Stage::Ended(Err(refusal)) => {
                    let error = Some(refusal.message);
                    return writer.line(&Line { error, ..Line::default() }).await;
                }
            }
        }
        Err(Gone)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_work_has_a_digest_that_clients_can_cut_up() {
        let line = |n_bytes| {
            let work = PullWork { what: "pulling a.bin".into(), n_done: 3, n_bytes };
            serde_json::to_value(Line::of(work)).unwrap()
        };
        assert_eq!(line(None), serde_json::json!({"status": "pulling a.bin"}));
        let known = line(Some(7));
        assert_eq!((&known["total"], &known["completed"]), (&7.into(), &3.into()));
        let digest = known["digest"].as_str().unwrap();
        assert!(digest.starts_with("sha256:") && digest.len() == 7 + 64, "{digest}");
    }
}
