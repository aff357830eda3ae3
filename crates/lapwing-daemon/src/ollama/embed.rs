//! `/api/embed` and the older `/api/embeddings`.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use lapwing_serving::message::{Ask, EmbedInput, Said};
use serde::{Deserialize, Serialize};

use super::time::nanos;
use crate::app::App;
use crate::body;
use crate::models::KeepAlive;
use crate::refusal::Refusal;

/// A request for embeddings of several texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct EmbedRequest {
    model: Option<String>,
    input: Option<Input>,
    /// Of each vector.
    dimensions: Option<usize>,
    keep_alive: Option<KeepAlive>,
}

/// A text or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
enum Input {
    One(String),
    Several(Vec<String>),
}

/// Embeddings of length 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Embeddings {
    model: String,
    embeddings: Vec<Vec<f32>>,
    total_duration: u64,
    load_duration: u64,
    prompt_eval_count: usize,
}

/// A request for the embedding of one text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct OldRequest {
    model: Option<String>,
    prompt: Option<String>,
    keep_alive: Option<KeepAlive>,
}

/// An embedding of any length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Embedding {
    embedding: Vec<f32>,
}

pub(super) async fn embed(
    State(app): State<App>,
    body::Json(request): body::Json<EmbedRequest>,
) -> Result<Json<Embeddings>, Refusal> {
    let texts = match request.input {
        None => Vec::new(),
        Some(Input::One(text)) => vec![text],
        Some(Input::Several(texts)) => texts,
    };
    let made = make(&app, request.model.as_deref(), texts, true, request.keep_alive).await?;
    let mut embeddings = made.vectors;
    if let Some(n) = request.dimensions.filter(|&n| n != 0) {
        embeddings.iter_mut().for_each(|vector| cut(vector, n));
    }
    Ok(Json(Embeddings {
        model: request.model.unwrap_or(made.name),
        embeddings,
        total_duration: nanos(made.total),
        load_duration: nanos(made.load),
        prompt_eval_count: made.n_tokens,
    }))
}

pub(super) async fn embeddings(
    State(app): State<App>,
    body::Json(request): body::Json<OldRequest>,
) -> Result<Json<Embedding>, Refusal> {
    let texts = request.prompt.filter(|prompt| !prompt.is_empty()).into_iter().collect();
    let made = make(&app, request.model.as_deref(), texts, false, request.keep_alive).await?;
    Ok(Json(Embedding { embedding: made.vectors.into_iter().next().unwrap_or_default() }))
}

struct Made {
    name: String,
    vectors: Vec<Vec<f32>>,
    n_tokens: usize,
    total: Duration,
    load: Duration,
}

/// Vectors of texts. Without any the model is loaded and nothing else.
async fn make(
    app: &App,
    asked: Option<&str>,
    texts: Vec<String>,
    normalise: bool,
    keep_alive: Option<KeepAlive>,
) -> Result<Made, Refusal> {
    let arrived = Instant::now();
    let _place = app.place()?;
    let listing = app.models.find(asked).await?;
    let loading = Instant::now();
    app.models.load(&listing.name).await?;
    let load = loading.elapsed();
    let inputs: Vec<EmbedInput> = texts.into_iter().map(EmbedInput::Text).collect();
    let keep_alive = keep_alive.unwrap_or(KeepAlive::Usual);
    let (vectors, n_tokens) = if inputs.is_empty() {
        app.models.keep(&listing.name, keep_alive);
        (Vec::new(), 0)
    } else {
        let ask = Ask::Embed { inputs, normalise };
        match app.models.ask(&listing.name, &ask, keep_alive).await?.last().await? {
            Said::Embedded { vectors, n_tokens } => (vectors, n_tokens),
            _ => return Err(Refusal::internal("the model's process is of another version")),
        }
    };
    Ok(Made { name: listing.name, vectors, n_tokens, total: arrived.elapsed(), load })
}

/// The first `n` numbers, of length 1 again.
fn cut(vector: &mut Vec<f32>, n: usize) {
    if vector.len() <= n {
        return;
    }
    vector.truncate(n);
    let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    if length != 0.0 {
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
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
    fn vectors_that_are_cut_have_length_1_again() {
        let check = |mut vector: Vec<f32>, n, expected: &[f32]| {
            cut(&mut vector, n);
            assert_eq!(vector, expected);
        };
        check(vec![3.0, 4.0, 12.0], 2, &[0.6, 0.8]);
        check(vec![0.0, 0.0, 1.0], 2, &[0.0, 0.0]);
        check(vec![0.6, 0.8], 2, &[0.6, 0.8]);
        check(vec![0.6, 0.8], 9, &[0.6, 0.8]);
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
