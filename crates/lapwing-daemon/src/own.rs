//! The daemon's own interface, `/v1/lapwing`: what it holds, and answers in the words of
//! [`lapwing_serving::message`]. The program itself asks here ([`crate::Client`]); its paths and
//! fields may change with a version, which it tells.

mod answer;
mod events;
mod records;
mod state;
mod used;

use lapwing_serving::message::Said;

use crate::models::ModelEvent;
use crate::routes::{Routes, told};

pub use state::{About, LoadedModel, ModelState};

pub(crate) use answer::AnswerRequest;
pub(crate) use state::{Models, OfModel, Unloaded};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .get(ABOUT, state::about, told("Which daemon this is"))
        .get(MODELS, state::models, told("What there is and what is loaded"))
        .get("/v1/lapwing/power", state::power, told("What holds of power"))
        .get("/v1/lapwing/devices", state::devices, told("What the libraries offer here"))
        .get("/v1/lapwing/profiles", records::records, told("What was measured here"))
        .get(
            "/v1/lapwing/report",
            records::report,
            told("What was measured here, as a page").gives_any("text/html"),
        )
        .get(USED, used::used, told("What answers took in use"))
        .get(
            "/v1/lapwing/events",
            events::events,
            told("What is loaded, then what happens to models").events::<ModelEvent>(),
        )
        .get(
            "/models/sse",
            events::status_changes,
            told("What happens to models").events::<events::StatusChange>(),
        )
        .post(
            "/v1/lapwing/models/device",
            state::choose_device,
            told("Choose the device of a model"),
        )
        .post(UNLOAD, state::unload, told("Unload a model"))
        .post(ANSWER, answer::answer, told("An answer in the program's own words").lines::<Said>())
}

/// Which daemon this is.
pub(crate) const ABOUT: &str = "/v1/lapwing";
/// What there is and what is loaded.
pub(crate) const MODELS: &str = "/v1/lapwing/models";
/// What answers took.
pub(crate) const USED: &str = "/v1/lapwing/use";
/// Unload a model.
pub(crate) const UNLOAD: &str = "/v1/lapwing/models/unload";
/// An answer, a [`lapwing_serving::message::Said`] a line.
pub(crate) const ANSWER: &str = "/v1/lapwing/answer";
