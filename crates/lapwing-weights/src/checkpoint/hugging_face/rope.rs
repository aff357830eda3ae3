//! Rotary embedding in `config.json`: `rope_theta` and `rope_scaling` in old files,
//! `rope_parameters` in new ones.

use lapwing_model::RopeScaling;
use serde_json::Value;

use super::super::{OpenCheckpointError, keys, unsupported};
use super::json_keys::{JsonKeys, excerpt};

const THETA_DEFAULT: f32 = 10_000.0;

/// What a configuration says of rotary embedding.
#[derive(Debug, PartialEq)]
pub(super) struct Rope {
    pub(super) theta: f32,
    pub(super) scaling: Option<RopeScaling>,
}

impl Rope {
    /// Read all keys that speak of it. Where both forms are there, they must say the same: the
    /// versions of transformers differ in which goes first.
    pub(super) fn read(
        config: &JsonKeys<'_>,
        has_window: bool,
        has_full_layers: bool,
    ) -> Result<Rope, OpenCheckpointError> {
        let kinds = Kinds { any_full: !has_window || has_full_layers, any_sliding: has_window };
        let old = parameters(config, "rope_scaling", kinds)?;
        let new = parameters(config, "rope_parameters", kinds)?;
        let read = |parameters: &Option<JsonKeys<'_>>| parameters.as_ref().map(scaling).transpose();
        let (old_scaling, new_scaling) = (read(&old)?, read(&new)?);
        if let (Some(old), Some(new)) = (&old_scaling, &new_scaling)
            && old != new
        {
            let found = format!("another one in rope_scaling: {old:?} and {new:?}");
            return Err(unsupported(config.path, "rope_parameters", "one scaling", found));
        }
        let mut thetas = Vec::new();
        for parameters in [&new, &old].into_iter().flatten() {
            thetas.extend(parameters.number("rope_theta")?);
        }
        thetas.extend(config.number("rope_theta")?);
        if thetas.iter().any(|theta| *theta != thetas[0]) {
            let found = format!("{thetas:?} in rope_parameters and beside them");
            return Err(unsupported(config.path, "rope_theta", "one number", found));
        }
        Ok(Rope {
            theta: thetas.first().copied().unwrap_or(THETA_DEFAULT),
            scaling: new_scaling.or(old_scaling).flatten(),
        })
    }
}

/// Which kinds of layers a model has.
#[derive(Clone, Copy)]
struct Kinds {
    any_full: bool,
    any_sliding: bool,
}

/// The parameters under `name`; of parameters by kind of layer those of the model's one kind.
fn parameters<'a>(
    config: &JsonKeys<'a>,
    name: &str,
    kinds: Kinds,
) -> Result<Option<JsonKeys<'a>>, OpenCheckpointError> {
    const BY_KIND: [&str; 2] = ["full_attention", "sliding_attention"];
    let path = config.path;
    let Some(map) = config.optional(name, Value::as_object, "an object")? else { return Ok(None) };
    let prefix = format!("{name}.");
    if !map.values().any(Value::is_object) {
        return Ok(Some(JsonKeys { path, prefix, map }));
    }
    let of_kind = match kinds {
        Kinds { any_full: true, any_sliding: false } => BY_KIND[0],
        Kinds { any_full: false, any_sliding: true } => BY_KIND[1],
        _ if map.get(BY_KIND[0]) == map.get(BY_KIND[1]) => BY_KIND[0],
        _ => {
            let expected = "the same for layers with and without a window";
            return Err(config.wrong(name, expected, excerpt(&config.map[name])));
        }
    };
    match map.get(of_kind).and_then(Value::as_object) {
        Some(found) if map.keys().all(|key| BY_KIND.contains(&key.as_str())) => {
            let prefix = format!("{prefix}{of_kind}.");
            Ok(Some(JsonKeys { path, prefix, map: found }))
        }
        _ => {
            let expected = format!("parameters of {of_kind} layers");
            Err(config.wrong(name, expected, excerpt(&config.map[name])))
        }
    }
}

fn scaling(rope: &JsonKeys<'_>) -> Result<Option<RopeScaling>, OpenCheckpointError> {
    const TYPES: &str = "default, linear or llama3";
    let text = |key: &str| rope.optional(key, Value::as_str, "a text");
    // The older name of the same; some files have both.
    let (rope_type, old_type) = (text("rope_type")?, text("type")?);
    let rope_type = rope_type.or(old_type);
    let of_type = match (rope_type, rope.get("factor")) {
        (None, Some(factor)) => {
            let found = format!("none, and a factor of {}", excerpt(factor));
            return Err(rope.wrong("rope_type", TYPES, found));
        }
        (None | Some("default"), _) => keys::ROPE_DEFAULT,
        (Some("linear"), _) => keys::ROPE_LINEAR,
        (Some("llama3"), _) => keys::ROPE_LLAMA3,
        (Some(other), _) => return Err(unsupported(rope.path, "rope_type", TYPES, other)),
    };
    rope.require_known(&[keys::ROPE, of_type], |_| false)?;
    match rope_type {
        Some("linear") => Ok(Some(RopeScaling::Linear { factor: rope.needed_number("factor")? })),
        Some("llama3") => Ok(Some(RopeScaling::Llama3 {
            factor: rope.needed_number("factor")?,
            low_frequency_factor: rope.needed_number("low_freq_factor")?,
            high_frequency_factor: rope.needed_number("high_freq_factor")?,
            n_positions_original: rope.needed_size("original_max_position_embeddings")?,
        })),
        _ => Ok(None),
    }
}
