//! Which device was measured to be best for a model: kept in a file, and taken
//! for the device `auto`.
//!
//! ```text
//! {
//!   "smollm2-135m": {"device": "gpu", "backend": "openvino", "metric": "throughput", ...}
//! }
//! ```

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use lapwing_backend::{Device, DeviceKind, DeviceRequest};
use lapwing_files::{FileError, Lock, LockError, new_file, regular};
use serde::{Deserialize, Serialize};

use crate::open_error::with_causes;

/// A longer file is not ours.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Recommendations by the name of the model's folder: what the file holds.
type Recommendations = BTreeMap<String, Recommendation>;

/// What was measured to be best.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// What requests call it.
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
    /// SHA-256 of the files of the model. `auto` does not compare it: to read a model of
    /// gigabytes at every start takes seconds, and a device is never wrong, only slower.
    pub model_sha256: String,
    /// Length of those files: files of another length are another model.
    pub model_bytes: u64,
}

/// What `auto` comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Auto {
    /// Nothing was measured.
    Unmeasured,
    /// This device, because it was measured.
    Measured(DeviceRequest, String),
    /// There is a recommendation that does not hold here; why.
    Skipped(String),
    /// What was measured cannot be read; why.
    Unreadable(String),
}

/// What becomes of an earlier recommendation for the same files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// The new one takes its place.
    Replace,
    /// It stays: the new one was compared with nothing.
    Keep,
}

/// Why the file cannot be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ReadRecommendationsError {
    /// The system refuses.
    #[error(transparent)]
    File(#[from] FileError),
    /// It holds something else.
    #[error("the file of recommendations {} is broken", path.display())]
    Parse { path: PathBuf, source: serde_json::Error },
}

/// Why a recommendation was not written; the file is as it was.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum WriteRecommendationError {
    /// What is there cannot be read, and is not thrown away.
    #[error(transparent)]
    Read(#[from] ReadRecommendationsError),
    /// Another process is changing it, or it cannot be locked.
    #[error("cannot lock the file of recommendations {}", path.display())]
    Lock { path: PathBuf, source: LockError },
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] FileError),
}

/// What `auto` means for the model `name` on a backend that offers `devices`, where `file` keeps
/// what was measured. The length of the model's files is asked for where it matters.
pub fn of_auto(
    file: Option<&Path>,
    name: &str,
    n_bytes: impl FnOnce() -> Option<u64>,
    backend: &str,
    devices: &[Device],
) -> Auto {
    let read = file.map_or(Ok(Recommendations::new()), read);
    let all = match read {
        Ok(all) => all,
        Err(error) => return Auto::Unreadable(with_causes(&error)),
    };
    let Some(recommended) = all.get(name) else { return Auto::Unmeasured };
    let because = |why: &str| Auto::Skipped(format!("{why}: {}", recommended.describe(name)));
    if recommended.backend != backend {
        return because("the recommended device is of another backend");
    }
    if n_bytes() != Some(recommended.model_bytes) {
        return because("the recommendation is for other files of that name");
    }
    match recommended.device.parse() {
        Ok(device) if is_there(device, devices) => {
            Auto::Measured(device, recommended.describe(name))
        }
        _ => because("the recommended device is not here"),
    }
}

/// Whether the file can be read, before hours are spent on what goes into it.
///
/// # Errors
///
/// When it is there and cannot.
pub fn check(file: &Path) -> Result<(), ReadRecommendationsError> {
    read(file).map(drop)
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
    /// Whether both are for the same files.
    fn is_of_files_of(&self, other: &Recommendation) -> bool {
        self.model_sha256 == other.model_sha256 && self.model_bytes == other.model_bytes
    }

    /// `gpu for NAME, measured for throughput: 812 tokens/s, …`.
    pub fn describe(&self, name: &str) -> String {
        let Self { device, metric, figure, unit, verdict, record_id, .. } = self;
        format!(
            "{device} for {name}, measured for {metric}: {figure} {unit}, {verdict} (record \
             {record_id})"
        )
    }
}

/// Put a recommendation into the file at `path`, and leave those for other models as they are. Gives
/// the earlier one when that stays. Waits for other processes until `stop` says so.
///
/// # Errors
///
/// When the file cannot be read or written; it is as it was then.
pub fn write(
    path: &Path,
    name: &str,
    recommendation: &Recommendation,
    existing: Existing,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Recommendation>, WriteRecommendationError> {
    // What is read here is what is replaced below.
    let _lock = Lock::acquire(&path.with_extension("lock"), &mut |_| {}, stop)
        .map_err(|source| WriteRecommendationError::Lock { path: path.to_owned(), source })?;
    let mut all = read(path)?;
    let earlier = all.insert(name.to_owned(), recommendation.clone());
    let earlier = earlier.filter(|earlier| earlier.is_of_files_of(recommendation));
    if let (Existing::Keep, Some(earlier)) = (existing, earlier) {
        return Ok(Some(earlier));
    }
    let text = serde_json::to_vec_pretty(&all).expect("a map of strings and numbers is JSON");
    let real = new_file::behind_links(path).map_err(FileError::cannot("write", path))?;
    new_file::write(&real, &text)?;
    Ok(None)
}

/// What the file holds; nothing when it is not there.
fn read(path: &Path) -> Result<Recommendations, ReadRecommendationsError> {
    match regular::read(path, FILE_BYTES_MAX) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|source| ReadRecommendationsError::Parse { path: path.to_owned(), source }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Recommendations::new()),
        Err(error) => Err(FileError::cannot("read", path)(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use lapwing_backend::DeviceKind;

    use super::*;

    fn recommendation(device: &str) -> Recommendation {
        Recommendation {
            device: device.into(),
            backend: "openvino".into(),
            metric: "throughput".into(),
            figure: 81.5,
            unit: "tokens/s".into(),
            verdict: "the only device".into(),
            record_id: "0123456789abcdef".into(),
            model_sha256: "ab".into(),
            model_bytes: 7,
        }
    }

    fn put(
        path: &Path,
        name: &str,
        recommendation: &Recommendation,
        existing: Existing,
    ) -> Result<Option<Recommendation>, WriteRecommendationError> {
        write(path, name, recommendation, existing, &|| false)
    }

    #[test]
    fn those_for_other_models_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/recommendations.json");
        assert_eq!(
            put(&path, "other model", &recommendation("gpu"), Existing::Keep).unwrap(),
            None
        );
        let put =
            |device: &str, existing| put(&path, "a.b", &recommendation(device), existing).unwrap();
        assert_eq!(put("cpu", Existing::Keep), None, "there is none to keep");
        assert_eq!(put("gpu.1", Existing::Replace), None);
        assert_eq!(put("npu", Existing::Keep), Some(recommendation("gpu.1")));
        let expected = [("a.b", "gpu.1"), ("other model", "gpu")]
            .map(|(name, device)| (name.to_owned(), recommendation(device)));
        assert_eq!(read(&path).unwrap(), BTreeMap::from(expected));
        let of_others = Recommendation { model_sha256: "cd".into(), ..recommendation("npu") };
        assert_eq!(write(&path, "a.b", &of_others, Existing::Keep, &|| false).unwrap(), None);
        assert_eq!(read(&path).unwrap()["a.b"], of_others);
    }

    #[test]
    fn a_file_that_is_wrong_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recommendations.json");
        for text in ["{\"m\": ", "[]", "{\"m\": {\"device\": \"cpu\"}}"] {
            std::fs::write(&path, text).unwrap();
            put(&path, "m", &recommendation("cpu"), Existing::Replace).unwrap_err();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            let auto = of_auto(Some(&path), "m", || Some(7), "openvino", &[]);
            let Auto::Unreadable(why) = auto else { panic!("{auto:?}") };
            assert!(why.contains("recommendations.json is broken: "), "{why}");
        }
        std::fs::remove_file(&path).unwrap();
        put(&path, "m", &recommendation("cpu"), Existing::Keep).unwrap();
        assert_eq!(read(&path).unwrap()["m"], recommendation("cpu"));
    }

    #[test]
    fn what_was_measured_is_taken_where_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recommendations.json");
        put(&path, "m", &recommendation("cpu"), Existing::Replace).unwrap();
        put(&path, "n", &recommendation("gpu"), Existing::Replace).unwrap();
        let cpu = Device { kind: DeviceKind::Cpu, id: "CPU".into(), name: String::new() };
        let check = |file: Option<&Path>, name: &str, n_bytes, backend: &str, expected: &str| {
            let found = match of_auto(file, name, || n_bytes, backend, std::slice::from_ref(&cpu)) {
                Auto::Unmeasured => "unmeasured".to_owned(),
                Auto::Measured(device, _) => device.to_string(),
                Auto::Skipped(why) | Auto::Unreadable(why) => why,
            };
            assert!(found.starts_with(expected), "{found} is not {expected}");
        };
        check(Some(&path), "m", Some(7), "openvino", "cpu");
        check(Some(&path), "another", Some(7), "openvino", "unmeasured");
        check(None, "m", Some(7), "openvino", "unmeasured");
        check(Some(&path), "m", Some(7), "onnxruntime", "the recommended device is of another");
        check(Some(&path), "m", Some(8), "openvino", "the recommendation is for other files");
        check(Some(&path), "m", None, "openvino", "the recommendation is for other files");
        check(Some(&path), "n", Some(7), "openvino", "the recommended device is not here: gpu for");
    }

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
