//! `/api/embed` and the older `/api/embeddings`.

use axum::Json;
use axum::extract::State;
use lapwing_serving::message::EmbedInput;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::time::nanos;
use crate::app::App;
use crate::body;
use crate::embedded::{Wanted, shorten};
use crate::models::KeepAlive;
use crate::refusal::Refusal;

/// A request for embeddings of several texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct EmbedRequest {
    model: Option<String>,
    input: Option<Input>,
    /// Whether a text is cut off that is too long; so it is where nothing is said.
    truncate: Option<bool>,
    /// Of each vector.
    dimensions: Option<usize>,
    keep_alive: Option<KeepAlive>,
}

/// A text or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
enum Input {
    One(String),
    Several(Vec<String>),
}

/// Embeddings of length 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ollama::embed::Embeddings)]
pub(super) struct Embeddings {
    model: String,
    embeddings: Vec<Vec<f32>>,
    total_duration: u64,
    load_duration: u64,
    prompt_eval_count: usize,
}

/// A request for the embedding of one text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct OldRequest {
    model: Option<String>,
    prompt: Option<String>,
    keep_alive: Option<KeepAlive>,
}

/// An embedding of any length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ollama::embed::Embedding)]
pub(super) struct Embedding {
    embedding: Vec<f32>,
}

pub(super) async fn embed(
    State(app): State<App>,
    body::Json(request): body::Json<EmbedRequest>,
) -> Result<Json<Embeddings>, Refusal> {
    let texts = match request.input {
        None => Vec::new(),
        // A text that is none loads the model, as elsewhere in this interface.
        Some(Input::One(text)) => Some(text).filter(|text| !text.is_empty()).into_iter().collect(),
        Some(Input::Several(texts)) => texts,
    };
    let mut made = app
        .embed(Wanted {
            model: request.model.as_deref(),
            inputs: texts.into_iter().map(EmbedInput::Text).collect(),
            truncates: request.truncate != Some(false),
            keep_alive: request.keep_alive,
            ..Wanted::default()
        })
        .await?;
    if let Some(n) = request.dimensions.filter(|&n| n != 0) {
        made.vectors.iter_mut().for_each(|vector| shorten(vector, n));
    }
    Ok(Json(Embeddings {
        model: request.model.unwrap_or(made.name),
        embeddings: made.vectors,
        total_duration: nanos(made.total),
        load_duration: nanos(made.load),
        prompt_eval_count: made.n_tokens,
    }))
}

pub(super) async fn embeddings(
    State(app): State<App>,
    body::Json(request): body::Json<OldRequest>,
) -> Result<Json<Embedding>, Refusal> {
    let text = request.prompt.filter(|prompt| !prompt.is_empty());
    let wanted = Wanted {
        model: request.model.as_deref(),
        inputs: text.into_iter().map(EmbedInput::Text).collect(),
        is_raw: true,
        truncates: true,
        keep_alive: request.keep_alive,
    };
    let vectors = app.embed(wanted).await?.vectors;
    Ok(Json(Embedding { embedding: vectors.into_iter().next().unwrap_or_default() }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn inputs_are_a_text_or_several() {
        let check = |input: Value, expected: Option<Input>| {
            let request: EmbedRequest = serde_json::from_value(json!({"input": input})).unwrap();
            let again = serde_json::to_value(&request).unwrap();
            assert_eq!(serde_json::from_value::<EmbedRequest>(again).unwrap(), request);
            assert_eq!(request.input, expected);
        };
        check(json!("a"), Some(Input::One("a".to_owned())));
        check(json!(["a", "b"]), Some(Input::Several(vec!["a".to_owned(), "b".to_owned()])));
        check(json!(null), None);
        assert!(serde_json::from_value::<EmbedRequest>(json!({"input": 5})).is_err());
        let old: OldRequest = serde_json::from_value(json!({"prompt": "a"})).unwrap();
        let again = serde_json::to_value(&old).unwrap();
        assert_eq!(serde_json::from_value::<OldRequest>(again).unwrap(), old);
    }

    #[test]
    fn answers_are_read_as_they_are_written() {
        let embeddings = Embeddings {
            model: "m".to_owned(),
            embeddings: vec![vec![1.0]],
            total_duration: 3,
            load_duration: 2,
            prompt_eval_count: 1,
        };
        let json = serde_json::to_value(&embeddings).unwrap();
        let expected = json!({"model": "m", "embeddings": [[1.0]], "total_duration": 3,
            "load_duration": 2, "prompt_eval_count": 1});
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<Embeddings>(json).unwrap(), embeddings);
    }
}
