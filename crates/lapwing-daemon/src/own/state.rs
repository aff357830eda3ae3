//! What a daemon is and holds. None of it loads a model or counts as its use.

use std::collections::BTreeMap;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use lapwing_host::backend::DeviceRequest;
use lapwing_measure::conditions::memory_available_bytes;
use lapwing_measure::reading::{Reason, known};
use lapwing_serving::message::{Library, Listing, Opening, Spent, State as WorkerState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::body;
use crate::models::{Leave, Loaded};
use crate::power::{PowerReport, spent};
use crate::refusal::Refusal;

/// A daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct About {
    /// The version of the program.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// How it opens models; the name is empty.
    #[schema(value_type = Object)]
    pub opening: Opening,
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Models {
    pub(crate) models: Vec<ModelState>,
    #[serde(default)]
    pub(crate) memory: MemoryState,
}

/// What models may take; a reason for each null is in `nulls`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct MemoryState {
    /// What all may take together.
    budget_bytes: u64,
    /// What this machine has left.
    available_bytes: Option<u64>,
    /// How often the kernel said that memory is short.
    n_pressures: Option<u64>,
    /// Models that were unloaded for it.
    n_unloaded_for_pressure: u64,
    nulls: BTreeMap<String, String>,
}

impl MemoryState {
    fn of(app: &App) -> MemoryState {
        let options = app.options.now();
        let mut nulls = BTreeMap::new();
        let available = memory_available_bytes(&options.system);
        let n_pressures = app.pressure.n_told().map_err(Reason::new);
        MemoryState {
            budget_bytes: options.n_memory_bytes_max,
            available_bytes: known(available, "available_bytes", &mut nulls),
            n_pressures: known(n_pressures, "n_pressures", &mut nulls),
            n_unloaded_for_pressure: app.models.left.n(Leave::Pressure),
            nulls,
        }
    }
}

/// A model, and how it is held if it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelState {
    /// What it is.
    #[serde(flatten)]
    pub listing: Listing,
    /// The device that was chosen for it; `None` where [`About::opening`] says which.
    #[schema(value_type = Option<String>)]
    pub device: Option<DeviceRequest>,
    /// `None` where it is not loaded.
    pub loaded: Option<LoadedModel>,
}

/// How a model is held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LoadedModel {
    /// The library that runs it, `ort` or `openvino`, and its version.
    pub backend: String,
    /// That library's version.
    pub backend_version: String,
    /// The device that runs it.
    pub device: String,
    /// The most positions of a sequence.
    pub n_positions_max: usize,
    /// Bytes of memory that its process holds.
    pub resident_bytes: u64,
    /// Whether it was opened otherwise than [`About::opening`] says, which was changed since.
    pub is_outdated: bool,
    /// How long loading it took, in seconds.
    pub load_s: f64,
    /// Whether somebody uses it.
    pub is_busy: bool,
    /// Seconds until it is unloaded, if nobody uses it; `None` while it is busy, or kept for ever.
    pub expires_in_s: Option<f64>,
    /// Answers and tokens; `None` while its process says nothing.
    pub state: Option<WorkerState>,
}

/// Which model is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = own::state::OfModel)]
pub(crate) struct OfModel {
    pub(crate) model: String,
}

/// What unloading a model came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Unloaded {
    /// Whether it was loaded.
    pub(crate) was_loaded: bool,
}

pub(super) async fn about(State(app): State<App>) -> Json<About> {
    Json(About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        opening: app.options.now().opening.clone(),
    })
}

pub(super) async fn models(State(app): State<App>) -> Result<Json<Models>, Refusal> {
    let list = app.models.list().await?;
    let all_loaded = app.models.loaded();
    let mut models = Vec::new();
    for listing in list.iter() {
        let loaded = all_loaded.iter().find(|loaded| loaded.name == listing.name);
        let loaded = match loaded {
            Some(loaded) => Some(LoadedModel::of(loaded, app.models.is_outdated(loaded)).await),
            None => None,
        };
        let device = app.models.device_of(&listing.name);
        models.push(ModelState { listing: listing.clone(), device, loaded });
    }
    // What has left the store is held all the same.
    for loaded in &all_loaded {
        if list.iter().all(|listing| listing.name != loaded.name) {
            let listing = loaded.listing.clone();
            let loaded = Some(LoadedModel::of(loaded, true).await);
            models.push(ModelState { listing, device: None, loaded });
        }
    }
    Ok(Json(Models { models, memory: MemoryState::of(&app) }))
}

/// What the libraries offer on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct Devices {
    libraries: Vec<Library>,
}

pub(super) async fn devices(State(app): State<App>) -> Result<Json<Devices>, Refusal> {
    Ok(Json(Devices { libraries: app.models.libraries().await? }))
}

/// Power, with what was spent on answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct PowerState {
    #[serde(flatten)]
    report: PowerReport,
    /// Of all requests since the daemon began, while one was open.
    answers: Spent,
}

pub(super) async fn power(State(app): State<App>) -> Json<PowerState> {
    Json(PowerState { report: app.power.report(), answers: spent(&app.ledger.total_j()) })
}

pub(super) async fn unload(
    State(app): State<App>,
    body::Json(OfModel { model }): body::Json<OfModel>,
) -> Result<Json<Unloaded>, Refusal> {
    if app.models.unload(&model, Leave::Asked).is_some() {
        return Ok(Json(Unloaded { was_loaded: true }));
    }
    let name = named(&app, &model).await?;
    Ok(Json(Unloaded { was_loaded: app.models.unload(&name, Leave::Asked).is_some() }))
}

/// Where a model is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct DeviceOfModel {
    model: String,
    /// `None` leaves it to the settings again.
    #[schema(value_type = Option<String>)]
    device: Option<DeviceRequest>,
}

pub(super) async fn choose_device(
    State(app): State<App>,
    body::Json(DeviceOfModel { model, device }): body::Json<DeviceOfModel>,
) -> Result<Json<DeviceOfModel>, Refusal> {
    let name = named(&app, &model).await?;
    app.models.choose_device(&name, device);
    Ok(Json(DeviceOfModel { model: name, device }))
}

/// The name in the store of what a client calls `model`; one that means the default is none here.
async fn named(app: &App, model: &str) -> Result<String, Refusal> {
    let names = app.options.now().names.clone();
    let name = names.aliases.get(model).map_or(model, String::as_str);
    match app.models.list().await?.iter().any(|listing| listing.name == name) {
        true => Ok(name.to_owned()),
        false => Err(Refusal::no_model(model)),
    }
}

impl LoadedModel {
    async fn of(loaded: &Loaded, is_outdated: bool) -> LoadedModel {
        let is_busy = loaded.is_busy();
        let expires = loaded.expires().filter(|_| !is_busy);
        let expires = expires.map(|at| at.saturating_duration_since(Instant::now()));
        LoadedModel {
            backend: loaded.card.backend.clone(),
            backend_version: loaded.card.backend_version.clone(),
            device: loaded.card.device.clone(),
            n_positions_max: loaded.card.n_positions_max,
            resident_bytes: loaded.n_bytes(),
            is_outdated,
            load_s: loaded.load.as_secs_f64(),
            is_busy,
            expires_in_s: expires.map(|left| left.as_secs_f64()),
            state: loaded.look().await,
        }
    }
}
