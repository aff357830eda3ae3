//! A reference: the model that is taken as right, beside the one that is measured.

use lapwing_backend::{DeviceKind, DeviceRequest};

use crate::cli::ReferenceArgs;
use crate::cli::choice::{BackendChoice, Correction, Precision};
use crate::engine::{Engine, HiddenStates};
use crate::interrupt;
use crate::settings::{Settings, Variant};

/// How a reference runs: on the CPU, exactly, on the backend that fits its folder.
pub fn settings(settings: &Settings, args: &ReferenceArgs) -> Settings {
    let variant = args.reference_variant.as_deref().map(Variant::asked);
    Settings {
        backend: BackendChoice::Auto,
        device: DeviceRequest::One(DeviceKind::Cpu, None),
        precision: Precision::Exact,
        correction: Correction::Off,
        // A variant that was asked for is the model's.
        variant: variant.or_else(|| settings.variant.clone().filter(|asked| asked.is_default)),
        ..settings.clone()
    }
}

/// Open a reference with the settings of [`settings`].
///
/// # Errors
///
/// As [`Engine::open_with`], or after Ctrl-C.
pub fn open(
    name: &str,
    settings: &Settings,
    hidden_states: HiddenStates,
) -> anyhow::Result<Engine> {
    let engine = Engine::open_with(name, settings, hidden_states);
    let engine = engine.map_err(|error| error.context("cannot use the reference"))?;
    interrupt::check()?;
    Ok(engine)
}
