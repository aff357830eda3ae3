//! What a configuration says of weights that are codes.

use lapwing_model::Family;
use serde_json::Value;

use super::super::{OpenCheckpointError, keys};
use super::json_keys::{JsonKeys, excerpt};

/// Refuse weights that are said to be quantised, but for MXFP4 in a family that has it.
pub(super) fn require_floats(keys: &JsonKeys<'_>) -> Result<(), OpenCheckpointError> {
    const KEY: &str = "quantization_config";
    let expected = "f32, f16 or bf16 weights";
    if keys.get("quantization").is_some() {
        return Err(keys.wrong("quantization", expected, "quantised weights"));
    }
    let Some(config) = keys.get(KEY) else { return Ok(()) };
    let model_type = keys.get("model_type").and_then(Value::as_str);
    let family = model_type.and_then(Family::of_model_type);
    let may_be_mx = family.and_then(|family| family.experts).is_some_and(|of| of.are_in_turn);
    if !may_be_mx {
        let found = match config.get("quant_method") {
            Some(method) => format!("weights in {}", excerpt(method)),
            None => "quantised weights".to_owned(),
        };
        return Err(keys.wrong(KEY, expected, found));
    }
    let map = config.as_object().filter(|config| config.get("quant_method").is_some());
    let Some(map) = map else {
        return Err(keys.wrong(KEY, "mxfp4 as quant_method", excerpt(config)));
    };
    let config = JsonKeys { path: keys.path, prefix: format!("{KEY}."), map };
    // Which tensors have codes is seen by what is stored.
    config.require_known(&[keys::MXFP4], |_| false)
}
