//! `/embedding` and `/embeddings`.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::body::Json;
use crate::embedded::Wanted;
use crate::openai::prompts::{Input, Prompts};
use crate::refusal::Refusal;

/// A request; `content` is the older name of `input`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct EmbeddingRequest {
    model: Option<String>,
    input: Option<Prompts>,
    content: Option<Prompts>,
    /// 2 for vectors of length 1, which is so where nothing is said, -1 for none.
    embd_normalize: Option<i64>,
}

/// The vector of an input; it stands in a list, as vectors of tokens would.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = llama_server::embedding::Embedding)]
pub(crate) struct Embedding {
    index: usize,
    embedding: [Vec<f32>; 1],
}

/// The vectors of all inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct EmbeddingList(Vec<Embedding>);

pub(super) async fn embedding(
    State(app): State<App>,
    Json(request): Json<EmbeddingRequest>,
) -> Result<axum::Json<EmbeddingList>, Refusal> {
    let is_raw = match request.embd_normalize {
        None | Some(2) => false,
        Some(-1) => true,
        Some(other) => {
            let message = format!("expected 2 or -1, found {other}");
            return Err(Refusal::field("embd_normalize", message));
        }
    };
    let none = || Refusal::field("input", "expected `input` or `content`, found neither");
    let prompts = request.input.or(request.content).ok_or_else(none)?;
    let inputs = prompts.inputs("input")?.into_iter().map(Input::embed).collect();
    let wanted = Wanted { model: request.model.as_deref(), inputs, is_raw, ..Wanted::default() };
    let vectors = app.embed(wanted).await?.vectors.into_iter().enumerate();
    let embeddings = vectors.map(|(index, vector)| Embedding { index, embedding: [vector] });
    Ok(axum::Json(EmbeddingList(embeddings.collect())))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn both_names_of_the_input_are_read() {
        let check = |json: Value| {
            let request: EmbeddingRequest = serde_json::from_value(json).unwrap();
            let again = serde_json::to_value(&request).unwrap();
            assert_eq!(serde_json::from_value::<EmbeddingRequest>(again).unwrap(), request);
            let text = Some(Prompts::Text("a".to_owned()));
            assert_eq!(request.input.or(request.content), text);
        };
        check(json!({"content": "a", "embd_normalize": -1}));
        check(json!({"input": "a", "model": "m"}));
        let answer = Embedding { index: 0, embedding: [vec![0.5, 1.0]] };
        let json = serde_json::to_value(&answer).unwrap();
        assert_eq!(json, json!({"index": 0, "embedding": [[0.5, 1.0]]}));
        assert_eq!(serde_json::from_value::<Embedding>(json).unwrap(), answer);
    }
}
