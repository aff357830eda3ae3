//! What was measured on this machine, the records of `lapwing bench`.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use lapwing_measure::bench::host;
use lapwing_measure::record::Record;
use lapwing_measure::record_file;
use lapwing_measure::report::{self, ReportOptions};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::body::Query;
use crate::refusal::Refusal;

/// Records that are told when nobody says how many: the newest.
const N_RECORDS: usize = 1000;
/// The page has its own styles, and nothing else may be loaded or run.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// How many are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
pub(super) struct Wanted {
    limit: Option<usize>,
}

/// What was measured, oldest first, in the form of `profiles/record.schema.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct Records {
    #[schema(value_type = Vec<Object>)]
    records: Vec<Record>,
}

pub(super) async fn records(
    State(app): State<App>,
    Query(Wanted { limit }): Query<Wanted>,
) -> Result<Json<Records>, Refusal> {
    let mut records = read(&app).await?;
    let n_older = records.len().saturating_sub(limit.unwrap_or(N_RECORDS));
    records.drain(..n_older);
    Ok(Json(Records { records }))
}

pub(super) async fn report(State(app): State<App>) -> Result<Response, Refusal> {
    let records = read(&app).await?;
    let options = ReportOptions { title: "Lapwing profiles".to_owned(), notes: Vec::new() };
    let page = tokio::task::spawn_blocking(move || report::html(&records, &options)).await;
    let page = page.map_err(|_| Refusal::internal("the report cannot be made"))?;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    Ok((headers, page).into_response())
}

/// The records of this machine; there are none before the first was made.
async fn read(app: &App) -> Result<Vec<Record>, Refusal> {
    let folder = app.options.now().profiles.join(host());
    let read = tokio::task::spawn_blocking(move || match folder.is_dir() {
        true => record_file::read_folder(&folder).map_err(|error| error.to_string()),
        false => Ok(Vec::new()),
    });
    let lines = read.await.map_err(|error| error.to_string()).and_then(|lines| lines);
    let lines = lines.map_err(|problem| {
        tracing::warn!(problem, "records cannot be read");
        Refusal::internal("the records of this machine cannot be read")
    })?;
    let mut records: Vec<Record> = lines.into_iter().filter_map(Result::ok).collect();
    records.sort_by(|left, right| left.measured_at.cmp(&right.measured_at));
    Ok(records)
}
