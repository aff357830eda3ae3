//! `/v1/models`.

use axum::Json;
use axum::extract::State;
use lapwing_serving::message::Listing;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::body::Path;
use crate::refusal::Refusal;

/// What there is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct List {
    object: String,
    data: Vec<Model>,
}

/// A model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Model {
    id: String,
    object: String,
    created: u64,
    owned_by: String,
    /// Tokens of the context; read by some clients under either name.
    context_length: Option<usize>,
    max_model_len: Option<usize>,
}

impl Model {
    fn of(listing: &Listing, context: Option<usize>) -> Model {
        Model {
            id: listing.name.clone(),
            object: "model".to_owned(),
            created: listing.modified_s,
            owned_by: "lapwing".to_owned(),
            context_length: context,
            max_model_len: context,
        }
    }
}

pub(super) async fn list(State(app): State<App>) -> Result<Json<List>, Refusal> {
    let list = app.models.list().await?;
    let usable = list.iter().filter(|listing| listing.unusable.is_none());
    let data = usable.map(|listing| Model::of(listing, app.models.n_positions_max(listing)));
    let data = data.collect();
    Ok(Json(List { object: "list".to_owned(), data }))
}

pub(super) async fn get(State(app): State<App>, Path(name): Path) -> Result<Json<Model>, Refusal> {
    let listing = app.models.find(Some(&name)).await?;
    Ok(Json(Model { id: name, ..Model::of(&listing, app.models.n_positions_max(&listing)) }))
}
