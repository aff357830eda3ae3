//! A reference: the model that is taken as right, beside the one that is measured.

use anyhow::Context as _;
use lapwing_backend::{DeviceKind, DeviceRequest, OpenOptions, Precision};
use lapwing_host::describe::describe;
use lapwing_host::{BackendChoice, CorrectionChoice, Engine};
use lapwing_store::Variant;

use crate::cli::ReferenceArgs;
use crate::opening;
use crate::settings::Settings;

/// Nothing can be learned from a reference that is the model itself.
#[derive(Debug, thiserror::Error)]
#[error("the reference is the model itself: both have sha256 {sha256}")]
pub struct SameModelError {
    pub sha256: String,
}

/// How a reference runs: on the CPU, exactly, on the backend that fits its folder.
pub fn settings(settings: &Settings, args: &ReferenceArgs) -> Settings {
    let variant = args.reference_variant.as_deref().map(Variant::asked);
    Settings {
        backend: BackendChoice::Auto,
        options: OpenOptions {
            device: DeviceRequest::One(DeviceKind::Cpu, None),
            precision: Precision::Exact,
            ..settings.options.clone()
        },
        correction: CorrectionChoice::Off,
        // A variant that was asked for is the model's.
        variant: variant.or_else(|| settings.variant.clone().filter(|asked| asked.is_default)),
        ..settings.clone()
    }
}

/// Open a reference with the settings of [`settings`].
///
/// # Errors
///
/// As [`opening::open`].
pub fn open(name: &str, settings: &Settings) -> anyhow::Result<Engine> {
    opening::open(name, settings).context("cannot use the reference")
}

/// Refuse a reference whose files are the model's.
///
/// # Errors
///
/// When the hashes are the same.
pub fn require_other(model_sha256: &str, reference_sha256: &str) -> Result<(), SameModelError> {
    match model_sha256 == reference_sha256 {
        true => Err(SameModelError { sha256: model_sha256.to_owned() }),
        false => Ok(()),
    }
}

/// Bytes of the weights of `model` and of `reference`, when the latter's are not more.
///
/// Two exports of one checkpoint have as many weights, so that the larger one has more bits for
/// each.
///
/// # Errors
///
/// When a graph cannot be read.
pub fn coarser(model: &Engine, reference: &Engine) -> anyhow::Result<Option<[u64; 2]>> {
    let [of_model, of_reference] = [weight_bytes(model)?, weight_bytes(reference)?];
    Ok((of_reference <= of_model).then_some([of_model, of_reference]))
}

/// What several tensors share counts once.
fn weight_bytes(engine: &Engine) -> anyhow::Result<u64> {
    let storage = describe(&engine.folder.graph, None)?.quantisation;
    Ok(storage.iter().map(|part| part.n_bytes).fold(0, u64::saturating_add))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_no_reference_of_itself() {
        let error = require_other("ab", "ab").unwrap_err().to_string();
        assert_eq!(error, "the reference is the model itself: both have sha256 ab");
        assert!(require_other("ab", "ac").is_ok());
    }
}
