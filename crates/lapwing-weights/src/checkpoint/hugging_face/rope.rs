//! Rotary embedding in `config.json`: `rope_theta` and `rope_scaling` in old files,
//! `rope_parameters` in new ones.

use lapwing_model::{Family, Rope, RopeScaling};
use serde_json::Value;

use super::super::{OpenCheckpointError, keys, unsupported};
use super::json_keys::{JsonKeys, excerpt};

/// The base of the frequencies of layers with a window, where these have their own and the
/// configuration does not say.
const WINDOW_THETA_DEFAULT: f32 = 10_000.0;
/// YaRN's ramp where the configuration does not say.
const BETA_FAST_DEFAULT: f32 = 32.0;
const BETA_SLOW_DEFAULT: f32 = 1.0;

/// What a configuration says of rotary embedding.
#[derive(Debug, PartialEq)]
pub(super) struct Ropes {
    pub(super) general: Rope,
    /// Of layers with a window, where it is another.
    pub(super) window: Option<Rope>,
}

/// What the rest of the configuration says.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    pub(super) family: &'static Family,
    pub(super) head_size: usize,
    pub(super) n_positions_max: usize,
    pub(super) has_window: bool,
    pub(super) has_full_layers: bool,
}

impl Ropes {
    /// Read all keys that speak of it.
    pub(super) fn read(config: &JsonKeys<'_>, facts: Facts) -> Result<Ropes, OpenCheckpointError> {
        if !facts.family.has_window_rope {
            let kinds = Kinds {
                any_full: !facts.has_window || facts.has_full_layers,
                any_sliding: facts.has_window,
            };
            let old = parameters(config, "rope_scaling", kinds)?;
            let new = parameters(config, "rope_parameters", kinds)?;
            if facts.family.is_rope_scaled && old.is_none() && new.is_none() {
                // Versions of transformers differ in what they take for it.
                let expected = "how the frequencies are stretched, or `default` as rope_type";
                return Err(config.wrong("rope_scaling", expected, "none"));
            }
            let theta = (config.number("rope_theta")?, facts.family.theta_default);
            let general = one(config, [new, old], theta, facts)?;
            return Ok(Ropes { general, window: None });
        }
        let new = config.optional("rope_parameters", Value::as_object, "an object")?;
        if let Some(map) = new
            && !map.values().any(Value::is_object)
        {
            let found = excerpt(&config.map["rope_parameters"]);
            return Err(config.wrong("rope_parameters", "parameters by kind of layer", found));
        }
        let full = Kinds { any_full: true, any_sliding: false };
        let old = parameters(config, "rope_scaling", full)?;
        let new = parameters(config, "rope_parameters", full)?;
        let theta = (config.number("rope_theta")?, facts.family.theta_default);
        let general = one(config, [new, old], theta, facts)?;
        let sliding = Kinds { any_full: false, any_sliding: true };
        let new = parameters(config, "rope_parameters", sliding)?;
        let theta = (config.number("rope_local_base_freq")?, WINDOW_THETA_DEFAULT);
        let window = one(config, [new, None], theta, facts)?;
        Ok(Ropes { general, window: Some(window) })
    }
}

/// One rotary embedding. Where it is told in both forms, they must say the same: the versions of
/// transformers differ in which goes first.
fn one(
    config: &JsonKeys<'_>,
    [new, old]: [Option<JsonKeys<'_>>; 2],
    (theta_beside, theta_default): (Option<f32>, f32),
    facts: Facts,
) -> Result<Rope, OpenCheckpointError> {
    let share_of = |parameters: &Option<JsonKeys<'_>>| match parameters {
        Some(parameters) => parameters.number("partial_rotary_factor"),
        None => Ok(None),
    };
    let shares = [share_of(&new)?, share_of(&old)?, config.number("partial_rotary_factor")?];
    let share = only(config, "partial_rotary_factor", shares)?.unwrap_or(1.0);
    let n_rotated = (f64::from(share) * facts.head_size as f64) as usize;
    let read = |parameters: &Option<JsonKeys<'_>>| {
        parameters.as_ref().map(|parameters| scaling(parameters, config, facts)).transpose()
    };
    let (old_scaling, new_scaling) = (read(&old)?, read(&new)?);
    if let (Some(old), Some(new)) = (&old_scaling, &new_scaling)
        && old != new
    {
        let found = format!("another one in rope_scaling: {old:?} and {new:?}");
        return Err(unsupported(config.path, "rope_parameters", "one scaling", found));
    }
    let theta_of = |parameters: &Option<JsonKeys<'_>>| match parameters {
        Some(parameters) => parameters.number("rope_theta"),
        None => Ok(None),
    };
    let theta = only(config, "rope_theta", [theta_of(&new)?, theta_of(&old)?, theta_beside])?;
    Ok(Rope {
        theta: theta.unwrap_or(theta_default),
        n_rotated,
        scaling: new_scaling.or(old_scaling).flatten(),
    })
}

/// The one number that is told in up to three places.
fn only(
    config: &JsonKeys<'_>,
    key: &str,
    told: [Option<f32>; 3],
) -> Result<Option<f32>, OpenCheckpointError> {
    let told: Vec<f32> = told.into_iter().flatten().collect();
    if told.iter().any(|number| *number != told[0]) {
        let found = format!("{told:?} in rope_parameters and beside them");
        return Err(unsupported(config.path, key, "one number", found));
    }
    Ok(told.first().copied())
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

fn scaling(
    rope: &JsonKeys<'_>,
    config: &JsonKeys<'_>,
    facts: Facts,
) -> Result<Option<RopeScaling>, OpenCheckpointError> {
    const TYPES: &str = "default, linear, llama3, yarn, longrope or dynamic";
    let text = |key: &str| rope.optional(key, Value::as_str, "a text");
    // The older name of the same; some files have both.
    let (rope_type, old_type) = (text("rope_type")?, text("type")?);
    let rope_type = match rope_type.or(old_type) {
        // What early files of this family call it.
        Some("su" | "yarn") if facts.family.model_type == "phi3" => Some("longrope"),
        rope_type => rope_type,
    };
    let of_type = match (rope_type, rope.get("factor")) {
        (None, Some(factor)) => {
            let found = format!("none, and a factor of {}", excerpt(factor));
            return Err(rope.wrong("rope_type", TYPES, found));
        }
        (None | Some("default"), _) => keys::ROPE_DEFAULT,
        (Some("linear"), _) => keys::ROPE_LINEAR,
        (Some("llama3"), _) => keys::ROPE_LLAMA3,
        (Some("yarn"), _) => keys::ROPE_YARN,
        (Some("longrope"), _) => keys::ROPE_LONG,
        (Some("dynamic"), _) => keys::ROPE_DYNAMIC,
        (Some(other), _) => return Err(unsupported(rope.path, "rope_type", TYPES, other)),
    };
    let of_family = match facts.family.is_partly_rotated {
        true => keys::ROPE_PARTIAL,
        false => keys::ROPE_WHOLE,
    };
    rope.require_known(&[keys::ROPE, of_type, of_family], |_| false)?;
    match rope_type {
        Some("linear") => Ok(Some(RopeScaling::Linear { factor: rope.needed_number("factor")? })),
        Some("llama3") => Ok(Some(RopeScaling::Llama3 {
            factor: rope.needed_number("factor")?,
            low_frequency_factor: rope.needed_number("low_freq_factor")?,
            high_frequency_factor: rope.needed_number("high_freq_factor")?,
            n_positions_original: rope.needed_size("original_max_position_embeddings")?,
        })),
        Some("yarn") => yarn(rope, config, facts).map(Some),
        Some("longrope") => long_rope(rope, config, facts).map(Some),
        // It stretches what lies beyond the context that the configuration names: within it, the
        // frequencies are the plain ones.
        Some("dynamic") => match rope.size("original_max_position_embeddings")? {
            Some(n) if n < facts.n_positions_max => {
                let expected = format!("{}, as max_position_embeddings", facts.n_positions_max);
                Err(rope.wrong("original_max_position_embeddings", expected, n.to_string()))
            }
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

/// Of the first training; what stands beside the parameters goes first, as in transformers.
fn n_positions_original(
    rope: &JsonKeys<'_>,
    config: &JsonKeys<'_>,
    facts: Facts,
) -> Result<usize, OpenCheckpointError> {
    const KEY: &str = "original_max_position_embeddings";
    let beside = config.size(KEY)?;
    Ok(beside.or(rope.size(KEY)?).unwrap_or(facts.n_positions_max))
}

fn yarn(
    rope: &JsonKeys<'_>,
    config: &JsonKeys<'_>,
    facts: Facts,
) -> Result<RopeScaling, OpenCheckpointError> {
    let factor = rope.needed_number("factor")?;
    let stated = |key: &str| -> Result<Option<f32>, OpenCheckpointError> {
        Ok(rope.number(key)?.filter(|number| *number != 0.0))
    };
    let weights = (stated("mscale")?, stated("mscale_all_dim")?);
    let magnitude = match (rope.number("attention_factor")?, weights) {
        (Some(magnitude), _) => magnitude,
        (None, (Some(weight), Some(all))) => {
            RopeScaling::yarn_magnitude(factor, weight) / RopeScaling::yarn_magnitude(factor, all)
        }
        _ => RopeScaling::yarn_magnitude(factor, 1.0),
    };
    Ok(RopeScaling::Yarn {
        factor,
        beta_fast: stated("beta_fast")?.unwrap_or(BETA_FAST_DEFAULT),
        beta_slow: stated("beta_slow")?.unwrap_or(BETA_SLOW_DEFAULT),
        truncate: rope.truth("truncate")?.unwrap_or(true),
        n_positions_original: n_positions_original(rope, config, facts)?,
        magnitude,
    })
}

fn long_rope(
    rope: &JsonKeys<'_>,
    config: &JsonKeys<'_>,
    facts: Facts,
) -> Result<RopeScaling, OpenCheckpointError> {
    let n_original = n_positions_original(rope, config, facts)?;
    let stretch = facts.n_positions_max as f32 / n_original.max(1) as f32;
    let magnitude = match (rope.number("attention_factor")?, rope.number("factor")?) {
        (Some(magnitude), _) => magnitude,
        (None, factor) => RopeScaling::long_rope_magnitude(factor.unwrap_or(stretch), n_original),
    };
    Ok(RopeScaling::LongRope {
        short: rope.needed_numbers("short_factor")?,
        long: rope.needed_numbers("long_factor")?,
        n_positions_original: n_original,
        magnitude,
    })
}
