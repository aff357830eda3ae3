//! `/props` and `/slots`.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::body::Query;
use crate::refusal::Refusal;

/// Whose properties are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
pub(crate) struct OfModel {
    model: Option<String>,
}

/// How a model is served. Nothing is loaded to tell it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Properties {
    default_generation_settings: Settings,
    total_slots: usize,
    model_alias: String,
    chat_template: String,
    modalities: Modalities,
    build_info: String,
    is_sleeping: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = llama_server::properties::Settings)]
struct Settings {
    n_ctx: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
struct Modalities {
    vision: bool,
    audio: bool,
}

pub(super) async fn properties(
    State(app): State<App>,
    Query(of): Query<OfModel>,
) -> Result<axum::Json<Properties>, Refusal> {
    let listing = app.models.find(of.model.as_deref()).await?;
    let loaded = app.models.loaded().into_iter().find(|loaded| loaded.name == listing.name);
    let own = listing.n_positions_max.into_iter();
    let listed = || own.chain(app.options.now().opening.options.n_positions_max).min().unwrap_or(0);
    let n_ctx = loaded.as_ref().map_or_else(listed, |loaded| loaded.card.n_positions_max);
    Ok(axum::Json(Properties {
        default_generation_settings: Settings { n_ctx },
        total_slots: app.options.now().opening.n_sequences_max,
        model_alias: listing.name,
        chat_template: listing.template.unwrap_or_default(),
        modalities: Modalities::default(),
        build_info: concat!("lapwing ", env!("CARGO_PKG_VERSION")).to_owned(),
        is_sleeping: loaded.is_none(),
    }))
}

/// A place for an answer of a loaded model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Slot {
    id: usize,
    model: String,
    n_ctx: usize,
    is_processing: bool,
}

/// The places of all loaded models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Slots(Vec<Slot>);

pub(super) async fn slots(State(app): State<App>) -> axum::Json<Slots> {
    let mut slots = Vec::new();
    for loaded in app.models.loaded() {
        let state = loaded.look().await.unwrap_or_default();
        for idx in 0..app.options.now().opening.n_sequences_max {
            slots.push(Slot {
                id: slots.len(),
                model: loaded.name.clone(),
                n_ctx: loaded.card.n_positions_max,
                is_processing: idx < state.n_running,
            });
        }
    }
    axum::Json(Slots(slots))
}
