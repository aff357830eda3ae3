//! The device with the fewest joules a token, as records of measurements tell.

use std::path::Path;

use lapwing_host::backend::{DeviceKind, DeviceRequest};
use lapwing_measure::bench::host;
use lapwing_measure::record::{Record, TestKind};
use lapwing_measure::record_file;

/// The device on which decoding with `model` took least energy, of the records of this machine below
/// `profiles`.
/// `None` where none of them tells: the sensors were not there, or the model was not measured.
pub(crate) fn most_efficient(profiles: &Path, model: &str) -> Option<DeviceRequest> {
    let folder = profiles.join(host());
    if !folder.is_dir() {
        return None;
    }
    let records = record_file::read_folder(&folder);
    let records =
        records.inspect_err(|error| tracing::warn!(%error, "records cannot be read")).ok()?;
    let costs = records.into_iter().filter_map(|record| cost(&record.ok()?, model));
    let (_, device) = costs.min_by(|left, right| left.0.total_cmp(&right.0))?;
    Some(device)
}

/// Joules a token, and where.
fn cost(record: &Record, model: &str) -> Option<(f64, DeviceRequest)> {
    let is_meant = record.configuration.model == model && record.test.kind == TestKind::Decode;
    let joules = record.energy.as_ref()?.joules_per_token.filter(|_| is_meant)?;
    let device = record.configuration.device_requested.parse().ok()?;
    // The NPU path on the CPU is for tests.
    let is_test = matches!(device, DeviceRequest::One(DeviceKind::NpuOnCpu, _));
    (!is_test).then_some((joules, device))
}
