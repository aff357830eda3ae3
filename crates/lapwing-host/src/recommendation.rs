//! Which device was measured to be best for a model: what `auto` takes.

use std::collections::BTreeMap;

use lapwing_backend::{Device, DeviceKind, DeviceRequest};
use lapwing_model::ModelFolder;
use serde::{Deserialize, Serialize};

use crate::model_files::ModelFiles;

/// Recommendations by the name of the model's folder.
pub type Recommendations = BTreeMap<String, Recommendation>;

/// What was measured to be best.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// What `--device` calls it.
    pub device: String,
    /// The library that was measured.
    pub backend: String,
    /// What it is best at: latency, throughput, energy or memory.
    pub metric: String,
    /// The figure of that device.
    pub figure: f64,
    /// The unit of the figure.
    pub unit: String,
    /// What the comparison with the next device showed.
    pub verdict: String,
    /// The record that the figure is from.
    pub record_id: String,
    /// SHA-256 of the files of the model. `--device auto` does not compare it: to read a model of
    /// gigabytes at every start takes seconds, and a device is never wrong, only slower.
    pub model_sha256: String,
    /// Length of those files: files of another length are another model.
    pub model_bytes: u64,
}

/// What `--device auto` comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Auto {
    /// Nothing was measured.
    Unmeasured,
    /// This device, because it was measured.
    Measured(DeviceRequest, String),
    /// There is a recommendation that does not hold here; why.
    Skipped(String),
}

/// What `auto` means for the model `name` on a backend that offers `devices`.
pub fn of_auto(
    recommendations: &Recommendations,
    name: &str,
    folder: &ModelFolder,
    backend: &str,
    devices: &[Device],
) -> Auto {
    let Some(recommended) = recommendations.get(name) else { return Auto::Unmeasured };
    let n_bytes = ModelFiles::of(folder).ok().map(|files| files.n_bytes());
    let because = |why: &str| Auto::Skipped(format!("{why}: {}", recommended.describe(name)));
    if recommended.backend != backend {
        return because("the recommended device is of another backend");
    }
    if n_bytes != Some(recommended.model_bytes) {
        return because("the recommendation is for other files of that name");
    }
    match recommended.device.parse() {
        Ok(device) if is_there(device, devices) => {
            Auto::Measured(device, recommended.describe(name))
        }
        _ => because("the recommended device is not here"),
    }
}

/// Whether a backend that offers `devices` has the requested one.
pub fn is_there(requested: DeviceRequest, devices: &[Device]) -> bool {
    let DeviceRequest::One(kind, number) = requested else { return true };
    if kind == DeviceKind::NpuOnCpu {
        // No library lists the test device; it is where OpenVINO is.
        return true;
    }
    devices.iter().any(|device| {
        let found = device.id.split_once('.').map_or(0, |(_, n)| n.parse().unwrap_or(0));
        device.kind == kind && number.is_none_or(|number| number == found)
    })
}

impl Recommendation {
    /// `gpu for NAME, measured for throughput: 812 tokens/s, …`.
    pub fn describe(&self, name: &str) -> String {
        let Self { device, metric, figure, unit, verdict, record_id, .. } = self;
        format!(
            "{device} for {name}, measured for {metric}: {figure} {unit}, {verdict} (record \
             {record_id})"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_found_by_kind_and_number() {
        let devices = ["CPU", "GPU.0", "GPU.1"].map(|id| Device {
            kind: if id == "CPU" { DeviceKind::Cpu } else { DeviceKind::Gpu },
            id: id.into(),
            name: String::new(),
        });
        let check = |requested: &str, expected: bool| {
            assert_eq!(is_there(requested.parse().unwrap(), &devices), expected, "{requested}");
        };
        check("auto", true);
        check("cpu", true);
        check("gpu", true);
        check("gpu.1", true);
        check("gpu.2", false);
        check("npu", false);
    }
}
