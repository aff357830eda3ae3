//! The state of the machine around a measurement.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The machine and its state; *before* is read just before the repetitions, *after* just after.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// The processor's name.
    pub cpu_model: Option<String>,
    /// The instruction set: `x86_64`, `aarch64`.
    pub architecture: Option<String>,
    /// The best vector extension that the program found and uses: `avx2`, `avx512`, `neon`.
    pub isa_level: Option<String>,
    /// Cores, where two threads of one count once.
    pub n_cores_physical: Option<usize>,
    /// Cores as the system schedules on them.
    pub n_cores_logical: Option<usize>,
    /// The logical cores that the process may run on, ascending.
    pub cores_used: Option<Vec<usize>>,
    /// The mean clock of the cores used, in megahertz, before.
    pub frequency_before_mhz: Option<f64>,
    /// The mean clock of the cores used, in megahertz, after.
    pub frequency_after_mhz: Option<f64>,
    /// The highest clock that the system allows, in megahertz.
    pub frequency_max_mhz: Option<f64>,
    /// The hottest sensor of the processor, in degrees Celsius, before.
    pub temperature_before_c: Option<f64>,
    /// The hottest sensor of the processor, in degrees Celsius, after.
    pub temperature_after_c: Option<f64>,
    /// How often the processor slowed itself down for heat between before and after.
    pub n_throttle_events: Option<u64>,
    /// How the system chooses the clock: `performance`, `powersave`, `schedutil`.
    pub governor: Option<String>,
    /// Whether the machine hangs on the mains.
    pub power_source: Option<PowerSource>,
    /// The charge of the battery in percent.
    pub battery_percent: Option<f64>,
    /// Runnable tasks, averaged by the kernel over one minute, before.
    pub load_average_before: Option<f64>,
    /// Runnable tasks, averaged by the kernel over one minute, after.
    pub load_average_after: Option<f64>,
    /// The machine's memory in bytes.
    pub memory_total_bytes: Option<u64>,
    /// What a program can still get of it, in bytes, before.
    pub memory_available_bytes: Option<u64>,
    /// The operating system with its version.
    pub os: Option<String>,
    /// The kernel's version.
    pub kernel: Option<String>,
    /// The hypervisor, where the machine is a virtual one.
    pub hypervisor: Option<String>,
    /// Names and versions of the libraries that computed.
    pub library_versions: Option<BTreeMap<String, String>>,
    /// Names and versions of the drivers of the devices used.
    pub driver_versions: Option<BTreeMap<String, String>>,
}

/// Where the electricity comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerSource {
    /// The mains.
    Mains,
    /// The battery.
    Battery,
}
