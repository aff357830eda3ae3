//! Hugging Face folders: `config.json` of either age, safetensors in one file or many.

mod json_keys;

mod quantization;
mod rope;

mod config_json;

use std::path::Path;

use lapwing_files::regular::is_there;
use lapwing_formats::safetensors::SafeTensors;
use lapwing_model::{Architecture, Family, Transformer, named_token};
use serde_json::Value;

use super::layout::{Stored, fused};
use super::small_file::read_json;
use super::{
    Checkpoint, OpenCheckpointError, experts, hugging_face_text, place_tensors, unsupported,
};
use crate::source::{Files, ReadTensorError, Source};
use crate::tensor::Order;
use config_json::ConfigJson;

pub(super) const CONFIG_FILE: &str = "config.json";
const GENERATION_FILE: &str = "generation_config.json";
/// Names the weights of an adapter and the model that they change.
const ADAPTER_FILE: &str = "adapter_config.json";

/// Open the folder at `path`.
pub(super) fn open(path: &Path) -> Result<Checkpoint, OpenCheckpointError> {
    let config_path = path.join(CONFIG_FILE);
    let json: Value = read_json(&config_path)?;
    let config_json = ConfigJson::new(&config_path, &json)?;
    if is_there(&path.join(ADAPTER_FILE)) {
        let expected = "none beside the weights that it changes";
        return Err(unsupported(path, "adapter", expected, ADAPTER_FILE));
    }
    let generation_path = path.join(GENERATION_FILE);
    let generation_config: Option<Value> =
        is_there(&generation_path).then(|| read_json(&generation_path)).transpose()?;
    if let Some(other) = generation_config.as_ref().filter(|json| !json.is_object()) {
        return Err(unsupported(
            &generation_path,
            "contents",
            "an object",
            json_keys::excerpt(other),
        ));
    }
    let weights = SafeTensors::open(path)?;
    let names = Names::of(&config_json, &weights);
    if config_json.is_text_part() {
        tracing::warn!(
            "{}: the vision part is left out, the text part alone is read",
            path.display()
        );
    }
    let has = |name: &str| weights.tensor(&names.in_file(name)).is_some();
    let mut config = config_json.resolve(generation_config.as_ref(), &has)?;
    if config.tokens.eos.is_empty() {
        let named = named_token(path, "eos_token").map_err(OpenCheckpointError::read(path))?;
        config.tokens.eos.extend(named);
    }
    config.drop_needless_ids(&config_path);
    config.check(&config_path)?;
    let text = hugging_face_text::read(path, config.architecture.n_vocab)?;
    let source = Source(Files::SafeTensors(weights));
    let shape = [config.architecture.n_vocab, config.architecture.hidden_size];
    let family = &mut config.architecture.family;
    if family.tied_head && has_own_head(&source, names, shape) {
        tracing::warn!(
            "{} differs from {}, which it shares by tie_word_embeddings: the stored one is used",
            Transformer::HEAD,
            Transformer::EMBEDDING
        );
        family.tied_head = false;
    }
    let is_tied = family.tied_head;
    // Old checkpoints store the frequencies; a tied head may be stored twice.
    let is_needless = |name: &str| {
        name.ends_with(".rotary_emb.inv_freq")
            || is_tied && name == names.in_file(Transformer::HEAD)
            || names.is_of_vision(name)
            || is_of_codes(&source, name)
    };
    let family = config_json.family;
    let has = |name: &str| !matches!(source.tensor(name), Err(ReadTensorError::Missing { .. }));
    let stored_as = |name: &str| stored_as(family, names, &config.architecture, name, &has);
    let places = place_tensors(path, &config.architecture, &source, stored_as, is_needless)?;
    Ok(Checkpoint::new(path, config, text, generation_config, source, places))
}

/// How a folder names the tensors of a model, or of its text part.
#[derive(Clone, Copy, Debug)]
struct Names {
    /// What names of the body begin with.
    body: &'static str,
    /// What the name of the head begins with.
    head: &'static str,
    has_vision: bool,
}

impl Names {
    fn of(config: &ConfigJson<'_>, weights: &SafeTensors) -> Names {
        const OLD: Names =
            Names { body: "language_model.model.", head: "language_model.", has_vision: true };
        if !config.is_text_part() {
            return Names { body: "model.", head: "", has_vision: false };
        }
        match weights.tensor(&OLD.in_file(Transformer::EMBEDDING)) {
            Some(_) => OLD,
            None => Names { body: "model.language_model.", head: "", has_vision: true },
        }
    }

    fn in_file(self, name: &str) -> String {
        match name.strip_prefix("model.") {
            Some(rest) => format!("{}{rest}", self.body),
            None => format!("{}{name}", self.head),
        }
    }

    /// Whether a tensor sees images.
    fn is_of_vision(self, name: &str) -> bool {
        let name = name.strip_prefix("model.").unwrap_or(name);
        self.has_vision
            && ["vision_tower.", "multi_modal_projector."].iter().any(|part| name.starts_with(part))
    }
}

/// Where a tensor of the family is.
fn stored_as(
    family: &Family,
    names: Names,
    architecture: &Architecture<Transformer>,
    name: &str,
    has: &dyn Fn(&str) -> bool,
) -> Stored {
    let of_experts = family.experts.as_ref();
    let place = of_experts.and_then(|of| experts::in_safetensors(of, architecture, name, has));
    let (whole, part, order) = place.unwrap_or_else(|| match fused(family, architecture, name) {
        Some((whole, part)) => (whole, Some(part), Order::Same),
        None => (name.to_owned(), None, Order::Same),
    });
    let is_less_one = family.stores_norms_less_one && name.ends_with("norm.weight");
    let added = if is_less_one { 1.0 } else { 0.0 };
    let name = names.in_file(&whole);
    Stored { name, part, order, added }
}

/// Whether a tensor has the exponents of codes, which are read with them.
fn is_of_codes(source: &Source, name: &str) -> bool {
    let codes = name.strip_suffix("_scales").map(|stem| format!("{stem}_blocks"));
    codes.is_some_and(|codes| source.tensor(&codes).is_ok_and(|tensor| !tensor.is_of_floats()))
}

/// Whether a head is stored that is not the embedding, as far as both are matrices of this shape;
/// what they are else is refused where tensors are placed.
fn has_own_head(source: &Source, names: Names, shape: [usize; 2]) -> bool {
    let tensor = |name: &str| source.tensor(&names.in_file(name));
    let (head, embedding) = match (tensor(Transformer::HEAD), tensor(Transformer::EMBEDDING)) {
        (Err(ReadTensorError::Missing { .. }), _) => return false,
        (Ok(head), Ok(embedding)) if head.shape == shape && embedding.shape == shape => {
            (head, embedding)
        }
        _ => return true,
    };
    // A row at a time: the whole of both may not fit into memory as floats.
    (0..shape[0]).any(|row| head.rows_to_f32(row..row + 1) != embedding.rows_to_f32(row..row + 1))
}

#[cfg(test)]
pub(super) mod tests;
