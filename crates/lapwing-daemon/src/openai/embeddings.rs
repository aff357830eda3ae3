//! `/v1/embeddings`.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::prompts::{Input, Prompts};
use crate::app::App;
use crate::body::Json;
use crate::embedded::{Embedded, Wanted, shorten};
use crate::models::KeepAlive;
use crate::refusal::Refusal;

/// A request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct EmbeddingsRequest {
    pub(crate) model: Option<String>,
    pub(crate) input: Prompts,
    #[serde(default)]
    pub(crate) encoding_format: Option<EncodingFormat>,
    pub(crate) dimensions: Option<usize>,
    pub(crate) keep_alive: Option<KeepAlive>,
}

/// How vectors are written. The official clients ask for base64, and decode it themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EncodingFormat {
    /// Numbers.
    #[default]
    Float,
    /// Floats of 32 bits, least byte first, in base64.
    Base64,
}

/// Vectors, in the order of the inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = openai::embeddings::Embeddings)]
pub(crate) struct Embeddings {
    object: String,
    data: Vec<Embedding>,
    model: String,
    usage: EmbeddingsUsage,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = openai::embeddings::Embedding)]
struct Embedding {
    object: String,
    index: usize,
    embedding: Numbers,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
enum Numbers {
    Base64(String),
    Floats(Vec<f32>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
struct EmbeddingsUsage {
    prompt_tokens: usize,
    total_tokens: usize,
}

pub(super) async fn embed(
    State(app): State<App>,
    Json(request): Json<EmbeddingsRequest>,
) -> Result<axum::Json<Embeddings>, Refusal> {
    let inputs = request.input.inputs("input")?.into_iter().map(Input::embed).collect();
    if request.dimensions == Some(0) {
        return Err(Refusal::field("dimensions", "expected 1 or more dimensions, found 0"));
    }
    let (model, keep_alive) = (request.model.as_deref(), request.keep_alive);
    let wanted = Wanted { model, inputs, keep_alive, ..Wanted::default() };
    let Embedded { name, vectors, n_tokens, .. } = app.embed(wanted).await?;
    let format = request.encoding_format.unwrap_or_default();
    let data = vectors.into_iter().enumerate().map(|(index, mut vector)| {
        let n_own = vector.len();
        if let Some(n) = request.dimensions.filter(|&n| n_own < n) {
            let message = format!("expected at most {n_own} dimensions, found {n}");
            return Err(Refusal::field("dimensions", message));
        }
        shorten(&mut vector, request.dimensions.unwrap_or(n_own));
        let embedding = match format {
            EncodingFormat::Float => Numbers::Floats(vector),
            EncodingFormat::Base64 => Numbers::Base64(base64(&vector)),
        };
        Ok(Embedding { object: "embedding".to_owned(), index, embedding })
    });
    Ok(axum::Json(Embeddings {
        object: "list".to_owned(),
        data: data.collect::<Result<_, Refusal>>()?,
        model: request.model.unwrap_or(name),
        usage: EmbeddingsUsage { prompt_tokens: n_tokens, total_tokens: n_tokens },
    }))
}

/// Numbers as bytes, least first, in base64 (RFC 4648, section 4).
fn base64(vector: &[f32]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().zip([16, 8, 0]).map(|(&byte, shift)| u32::from(byte) << shift);
        let word = word.fold(0, |word, byte| word | byte);
        for (idx, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let symbol = ALPHABET[(word >> shift & 63) as usize];
            text.push(if idx <= group.len() { char::from(symbol) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn vectors_are_floats_of_32_bits_in_base64() {
        // Python: base64.b64encode(struct.pack("<3f", 1, -0.5, 3.25))
        assert_eq!(base64(&[1.0, -0.5, 3.25]), "AACAPwAAAL8AAFBA");
        assert_eq!(base64(&[1.0]), "AACAPw==");
        assert_eq!(base64(&[1.0, 2.0]), "AACAPwAAAEA=");
        assert_eq!(base64(&[]), "");
    }

    #[test]
    fn requests_and_answers_are_read_and_written() {
        let json = json!({"model": "m", "input": ["a"], "encoding_format": "base64",
            "dimensions": 3, "keep_alive": null});
        let request: EmbeddingsRequest = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&request).unwrap(), json);
        let json = json!({"object": "list", "model": "m",
            "data": [{"object": "embedding", "index": 0, "embedding": "AAAA"},
                {"object": "embedding", "index": 1, "embedding": [0.5]}],
            "usage": {"prompt_tokens": 2, "total_tokens": 2}});
        let answer: Embeddings = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&answer).unwrap(), json);
    }
}
