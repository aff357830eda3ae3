//! What computing costs in electricity.

use serde::{Deserialize, Serialize};

/// A reading of a sensor over the repetitions that count; never an estimate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// Which kind of sensor.
    pub source: EnergySource,
    /// The names of what was read, such as `package-0` or `BAT0`.
    pub sensors: Vec<String>,
    /// For how long it was read, in seconds.
    pub measured_s: f64,
    /// What the sensors counted in that time, in joules.
    pub total_energy_j: f64,
    /// What they showed while nothing was done, in watts; null where that was not measured.
    pub idle_power_w: Option<f64>,
    /// `total_energy_j` without `idle_power_w` over `measured_s`, in joules.
    pub energy_j: Option<f64>,
    /// The tokens read or produced in that time.
    pub n_tokens: u64,
    /// `energy_j` for each of them, in joules.
    pub joules_per_token: Option<f64>,
}

/// Kinds of sensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnergySource {
    /// The counters of the processor (`powercap`).
    Rapl,
    /// The discharge of the battery.
    Battery,
}
