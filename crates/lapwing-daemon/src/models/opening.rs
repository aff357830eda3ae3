//! How models are opened.

use lapwing_host::BackendChoice;
use lapwing_host::backend::DeviceRequest;
use lapwing_serving::message::{Listing, Opening};

use crate::options::Options;
use crate::power::{Manner, most_efficient};

/// How a model is opened, whatever supplies the power; on `device`, where one was chosen for it.
pub(super) fn opening_of(
    listing: &Listing,
    options: &Options,
    device: Option<DeviceRequest>,
) -> Opening {
    let (model, embeds) = (listing.name.clone(), listing.can.embeds);
    let mut opening = Opening { model, embeds, ..options.opening.clone() };
    opening.options.device = device.unwrap_or(opening.options.device);
    opening
}

/// The same with what the supply of power allows.
pub(super) async fn thrifty(
    opening: &Opening,
    listing: &Listing,
    options: &Options,
    manner: Manner,
) -> Opening {
    let mut opening = opening.clone();
    let asked = &mut opening.options;
    asked.n_threads = manner.n_threads.or(asked.n_threads);
    let is_openvino = listing.kind == "openvino-ir" && opening.backend != BackendChoice::Ort;
    if manner.efficiency_cores && is_openvino {
        let property = asked.properties.entry("SCHEDULING_CORE_TYPE".to_owned());
        property.or_insert_with(|| "ECORE_ONLY".to_owned());
    }
    if manner.efficient_device && asked.device == DeviceRequest::Auto {
        let (profiles, model) = (options.profiles.clone(), listing.name.clone());
        let found = tokio::task::spawn_blocking(move || most_efficient(&profiles, &model)).await;
        match found {
            Ok(Some(device)) => asked.device = device,
            _ => tracing::info!("no record tells which device is efficient"),
        }
    }
    opening
}
