//! The kernel's drivers of graphics and neural processors.

use std::collections::BTreeMap;

use crate::reading::{Reading, Reason, SystemFiles};

/// The kernel's modules that drive devices which a model may run on.
const MODULES: [&str; 7] = ["amdgpu", "amdxdna", "i915", "intel_vpu", "nvidia", "nouveau", "xe"];

/// The version of each driver that is loaded.
///
/// Most belong to the kernel and have no version but the kernel's; one from elsewhere tells its
/// own, or a hash of its source.
pub(super) fn versions(files: &SystemFiles) -> Reading<BTreeMap<String, String>> {
    let mut versions = BTreeMap::new();
    for module in MODULES {
        if files.exists(&format!("sys/module/{module}")) {
            versions.insert(module.to_owned(), version(files, module)?);
        }
    }
    if versions.is_empty() {
        return Err(Reason::new(format!("none of {} is loaded", MODULES.join(", "))));
    }
    Ok(versions)
}

fn version(files: &SystemFiles, module: &str) -> Reading<String> {
    let text = |file: &str| files.text(&format!("sys/module/{module}/{file}"));
    if let Ok(version) = text("version") {
        return Ok(version);
    }
    // Marked by the kernel: O is out of its tree.
    if text("taint").is_ok_and(|marks| marks.contains('O')) {
        return text("srcversion").map(|hash| format!("source {hash}"));
    }
    super::machine::kernel(files).map(|kernel| format!("kernel {kernel}"))
}
