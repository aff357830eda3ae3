//! A reference: the model that is taken as right, beside the one that is measured.

use anyhow::Context as _;
use lapwing_backend::{DeviceKind, DeviceRequest, OpenOptions, Precision};
use lapwing_host::describe::{DescribeError, describe};
use lapwing_host::{BackendChoice, CorrectionChoice, Engine};
use lapwing_store::Variant;

use crate::cli::ReferenceArgs;
use crate::opening;
use crate::settings::Settings;

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
pub fn open(name: &str, settings: &Settings) -> anyhow::Result<Engine> {
    opening::open(name, settings).context("cannot use the reference")
}

/// Bytes of the weights of `model` and of `reference`, when the latter's are not more.
///
/// Two exports of one checkpoint have as many weights, so that the larger one has more bits for
/// each.
pub fn coarser(model: &Engine, reference: &Engine) -> Result<Option<[u64; 2]>, DescribeError> {
    let n_bytes = |engine: &Engine| Ok(describe(&engine.folder.graph, None)?.n_weight_bytes());
    let [of_model, of_reference] = [n_bytes(model)?, n_bytes(reference)?];
    Ok((of_reference <= of_model).then_some([of_model, of_reference]))
}
