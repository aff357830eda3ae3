//! `/v1/embeddings`.

use axum::extract::State;
use lapwing_serving::message::{Ask, Said};
use serde::{Deserialize, Serialize};

use super::prompts::{Input, Prompts};
use crate::app::App;
use crate::body::Json;
use crate::models::KeepAlive;
use crate::refusal::Refusal;

/// A request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct EmbeddingsRequest {
    pub(crate) model: Option<String>,
    pub(crate) input: Prompts,
    #[serde(default)]
    pub(crate) encoding_format: Option<EncodingFormat>,
    pub(crate) dimensions: Option<usize>,
    pub(crate) keep_alive: Option<KeepAlive>,
}

/// How vectors are written. The official clients ask for base64, and decode it themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EncodingFormat {
    /// Numbers.
    #[default]
    Float,
    /// Floats of 32 bits, least byte first, in base64.
    Base64,
}

/// Vectors, in the order of the inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Embeddings {
    object: String,
    data: Vec<Embedding>,
    model: String,
    usage: EmbeddingsUsage,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Embedding {
    object: String,
    index: usize,
    embedding: Numbers,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Numbers {
    Base64(String),
    Floats(Vec<f32>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct EmbeddingsUsage {
    prompt_tokens: usize,
    total_tokens: usize,
}

pub(super) async fn embed(
    State(app): State<App>,
    Json(request): Json<EmbeddingsRequest>,
) -> Result<axum::Json<Embeddings>, Refusal> {
    let keep_alive = request.keep_alive.unwrap_or(KeepAlive::Usual);
    let inputs: Vec<_> = request.input.inputs("input")?.into_iter().map(Input::embed).collect();
    if request.dimensions == Some(0) {
        return Err(Refusal::field("dimensions", "expected 1 or more dimensions, found 0"));
    }
    let _place = app.place()?;
    let listing = app.models.find(request.model.as_deref()).await?;
    let ask = Ask::Embed { inputs, normalise: true };
    let said = app.models.ask(&listing.name, &ask, keep_alive).await?.last().await?;
    let Said::Embedded { vectors, n_tokens } = said else {
        return Err(Refusal::internal("the model's process told no embeddings"));
    };
    let format = request.encoding_format.unwrap_or_default();
    let data = vectors.into_iter().enumerate().map(|(index, vector)| {
        let vector = shortened(vector, request.dimensions)?;
        let embedding = match format {
            EncodingFormat::Float => Numbers::Floats(vector),
            EncodingFormat::Base64 => Numbers::Base64(base64(&vector)),
        };
        Ok(Embedding { object: "embedding".to_owned(), index, embedding })
    });
    Ok(axum::Json(Embeddings {
        object: "list".to_owned(),
        data: data.collect::<Result<_, Refusal>>()?,
        model: request.model.unwrap_or(listing.name),
        usage: EmbeddingsUsage { prompt_tokens: n_tokens, total_tokens: n_tokens },
    }))
}

/// The first numbers of a vector, at length 1 again.
fn shortened(mut vector: Vec<f32>, dimensions: Option<usize>) -> Result<Vec<f32>, Refusal> {
    let Some(dimensions) = dimensions else { return Ok(vector) };
    if vector.len() < dimensions {
        let message = format!("expected at most {} dimensions, found {dimensions}", vector.len());
        return Err(Refusal::field("dimensions", message));
    }
    if dimensions < vector.len() {
        vector.truncate(dimensions);
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        if 0.0 < length {
            vector.iter_mut().for_each(|x| *x /= length);
        }
    }
    Ok(vector)
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
    fn shorter_vectors_have_length_1() {
        assert_eq!(shortened(vec![3.0, 4.0, 12.0], Some(2)), Ok(vec![0.6, 0.8]));
        assert_eq!(shortened(vec![1.0], None), Ok(vec![1.0]));
        assert!(shortened(vec![1.0], Some(2)).is_err());
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
