//! What there is and what is loaded: `/api/tags`, `/api/show`, `/api/ps`. None of it loads a model or
//! counts as its use, and none of its fields is ever null: clients read all of them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use lapwing_serving::message::{Abilities, Listing};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::time::rfc3339;
use crate::app::App;
use crate::body;
use crate::models::Loaded;
use crate::refusal::Refusal;

/// Until when a model is kept that is kept for ever: clients want a date.
const FOR_EVER: Duration = Duration::from_nanos(i64::MAX as u64);

/// What there is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct Tags {
    models: Vec<Tag>,
}

/// A model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
struct Tag {
    name: String,
    model: String,
    modified_at: String,
    size: u64,
    digest: String,
    details: Details,
}

/// What a model is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
struct Details {
    parent_model: String,
    format: String,
    family: String,
    families: Vec<String>,
    parameter_size: String,
    quantization_level: String,
}

/// What is loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct Running {
    models: Vec<Process>,
}

/// A model that is loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
struct Process {
    name: String,
    model: String,
    size: u64,
    digest: String,
    details: Details,
    expires_at: String,
    size_vram: u64,
    context_length: usize,
}

/// Which model is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct ShowRequest {
    model: Option<String>,
    /// The same, as it was called once.
    name: Option<String>,
}

/// A model in detail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct Shown {
    license: String,
    modelfile: String,
    parameters: String,
    template: String,
    details: Details,
    model_info: Map<String, Value>,
    capabilities: Vec<String>,
    modified_at: String,
}

pub(super) async fn tags(State(app): State<App>) -> Result<Json<Tags>, Refusal> {
    let list = app.models.list().await?;
    let usable = list.iter().filter(|listing| listing.unusable.is_none());
    Ok(Json(Tags { models: usable.map(Tag::of).collect() }))
}

pub(super) async fn ps(State(app): State<App>) -> Json<Running> {
    let loaded = app.models.loaded();
    Json(Running { models: loaded.iter().map(|loaded| Process::of(loaded)).collect() })
}

pub(super) async fn show(
    State(app): State<App>,
    body::Json(request): body::Json<ShowRequest>,
) -> Result<Json<Shown>, Refusal> {
    let asked = [request.model, request.name].into_iter().flatten().find(|name| !name.is_empty());
    let listing = app.models.find(asked.as_deref()).await?;
    let context = app.models.n_positions_max(&listing);
    Ok(Json(Shown::of(&listing, context)))
}

impl Tag {
    fn of(listing: &Listing) -> Tag {
        Tag {
            name: listing.name.clone(),
            model: listing.name.clone(),
            modified_at: modified_at(listing),
            size: listing.n_bytes,
            digest: listing.digest.clone(),
            details: Details::of(listing),
        }
    }
}

impl Details {
    fn of(listing: &Listing) -> Details {
        Details {
            parent_model: String::new(),
            format: listing.kind.clone(),
            family: listing.family.clone(),
            families: vec![listing.family.clone()],
            parameter_size: listing.n_parameters.map_or_else(String::new, parameter_size),
            quantization_level: listing.quantisation.to_uppercase(),
        }
    }
}

impl Process {
    fn of(loaded: &Loaded) -> Process {
        let size = loaded.n_bytes();
        // Clients take the share of it for what runs elsewhere than on the CPU.
        let is_on_cpu = loaded.card.device.to_uppercase().starts_with("CPU");
        let expires_at = loaded.expires_at().unwrap_or_else(|| SystemTime::now() + FOR_EVER);
        Process {
            name: loaded.name.clone(),
            model: loaded.name.clone(),
            size,
            digest: loaded.listing.digest.clone(),
            details: Details::of(&loaded.listing),
            expires_at: rfc3339(expires_at),
            size_vram: if is_on_cpu { 0 } else { size },
            context_length: loaded.card.n_positions_max,
        }
    }
}

impl Shown {
    /// `context` is what the model runs with.
    fn of(listing: &Listing, context: Option<usize>) -> Shown {
        let family = match &*listing.family {
            "" => "unknown",
            family => family,
        };
        let mut info = Map::new();
        info.insert("general.architecture".to_owned(), family.into());
        info.insert("general.basename".to_owned(), listing.name.clone().into());
        if let Some(n) = listing.n_parameters {
            info.insert("general.parameter_count".to_owned(), n.into());
        }
        if let Some(context) = context {
            info.insert(format!("{family}.context_length"), context.into());
        }
        Shown {
            license: listing.licence.clone().unwrap_or_default(),
            modelfile: format!("FROM {}\n", listing.name),
            parameters: String::new(),
            template: listing.template.clone().unwrap_or_default(),
            details: Details::of(listing),
            model_info: info,
            capabilities: capabilities(listing.can),
            modified_at: modified_at(listing),
        }
    }
}

/// What a model can do, in Ollama's words.
fn capabilities(can: Abilities) -> Vec<String> {
    let known = [
        (can.completes, "completion"),
        (can.calls, "tools"),
        (can.thinks, "thinking"),
        (can.embeds, "embedding"),
    ];
    known.into_iter().filter(|(can, _)| *can).map(|(_, name)| name.to_owned()).collect()
}

fn modified_at(listing: &Listing) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(listing.modified_s));
    rfc3339(time.unwrap_or(UNIX_EPOCH))
}

/// A number of weights as people say it: `134.52M`, `7.6B`.
fn parameter_size(n: u64) -> String {
    let n = n as f64;
    match n {
        1e9.. => format!("{:.1}B", n / 1e9),
        1e6.. => format!("{:.2}M", n / 1e6),
        1e3.. => format!("{:.2}K", n / 1e3),
        _ => format!("{n}"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A model that can do this and that.
    pub(crate) fn listing(can: Abilities) -> Listing {
        Listing {
            name: "m".to_owned(),
            n_bytes: 7,
            modified_s: 86_400,
            digest: "ab".to_owned(),
            kind: "openvino-ir".to_owned(),
            family: "llama".to_owned(),
            n_parameters: Some(134_515_008),
            quantisation: "u4".to_owned(),
            n_positions_max: Some(8192),
            can,
            template: None,
            licence: None,
            unusable: None,
        }
    }

    fn details() -> Value {
        json!({"parent_model": "", "format": "openvino-ir", "family": "llama",
            "families": ["llama"], "parameter_size": "134.52M", "quantization_level": "U4"})
    }

    #[test]
    fn a_tag_has_all_that_clients_read() {
        let tags = Tags { models: vec![Tag::of(&listing(Abilities::default()))] };
        let json = serde_json::to_value(&tags).unwrap();
        let expected = json!({"models": [{"name": "m", "model": "m", "size": 7, "digest": "ab",
            "modified_at": "1970-01-02T00:00:00.000000000Z", "details": details()}]});
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<Tags>(json).unwrap(), tags);
    }

    #[test]
    fn what_is_shown_is_never_null() {
        let can = Abilities { completes: true, calls: true, thinks: true, ..Abilities::default() };
        let shown = Shown::of(&listing(can), Some(4096));
        let json = serde_json::to_value(&shown).unwrap();
        let expected = json!({
            "license": "", "modelfile": "FROM m\n", "parameters": "", "template": "",
            "details": details(), "capabilities": ["completion", "tools", "thinking"],
            "modified_at": "1970-01-02T00:00:00.000000000Z",
            "model_info": {"general.architecture": "llama", "general.basename": "m",
                "general.parameter_count": 134_515_008, "llama.context_length": 4096},
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<Shown>(json).unwrap(), shown);
        let bare = Listing { family: String::new(), n_parameters: None, ..listing(can) };
        let info = serde_json::to_value(Shown::of(&bare, None)).unwrap()["model_info"].take();
        let expected = json!({"general.architecture": "unknown", "general.basename": "m"});
        assert_eq!(info, expected);
    }

    #[test]
    fn numbers_of_weights_are_short() {
        let check = |n, expected: &str| assert_eq!(parameter_size(n), expected);
        check(7, "7");
        check(260_032, "260.03K");
        check(134_515_008, "134.52M");
        check(7_615_616_512, "7.6B");
    }

    #[test]
    fn both_names_of_the_name_are_read() {
        for key in ["model", "name"] {
            let request: ShowRequest = serde_json::from_value(json!({key: "m"})).unwrap();
            let again = serde_json::to_value(&request).unwrap();
            assert_eq!(serde_json::from_value::<ShowRequest>(again).unwrap(), request);
            assert_eq!(request.model.or(request.name).as_deref(), Some("m"));
        }
    }
}
