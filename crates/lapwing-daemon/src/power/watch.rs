//! What holds now.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lapwing_measure::conditions::PowerState;
use lapwing_measure::reading::{SystemFiles, known};
use lapwing_measure::record::PowerSource;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Manner, Policy, Situation};

/// How long what was read holds.
const FRESH: Duration = Duration::from_secs(2);
/// A battery with less is nearly empty, in percent.
const LOW_PERCENT: f64 = 20.0;
/// A processor is hot from here on, and until it is cooler than the second, in degrees Celsius.
const HOT_C: [f64; 2] = [90.0, 80.0];

/// The policy and what holds of it.
#[derive(Debug)]
pub(crate) struct Power {
    policy: Mutex<Policy>,
    files: SystemFiles,
    seen: Mutex<Option<Seen>>,
}

#[derive(Debug, Clone)]
struct Seen {
    at: Instant,
    state: PowerState,
    supply: Situation,
    is_hot: bool,
}

/// What is told of it; a reason for each null is in `nulls`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct PowerReport {
    supply: Situation,
    is_hot: bool,
    #[schema(value_type = Option<String>)]
    source: Option<PowerSource>,
    battery_percent: Option<f64>,
    temperature_c: Option<f64>,
    /// What holds.
    manner: Manner,
    policy: Policy,
    nulls: BTreeMap<String, String>,
}

impl Power {
    pub(crate) fn new(policy: Policy, files: SystemFiles) -> Power {
        Power { policy: Mutex::new(policy), files, seen: Mutex::default() }
    }

    fn policy(&self) -> MutexGuard<'_, Policy> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keep to another policy from now on.
    pub(crate) fn change(&self, policy: Policy) {
        *self.policy() = policy;
    }

    fn seen(&self) -> MutexGuard<'_, Option<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it need not be looked at again.
    pub(crate) fn is_constant(&self) -> bool {
        self.policy().is_constant()
    }

    /// How to work now.
    pub(crate) fn manner(&self) -> Manner {
        if self.is_constant() {
            return self.policy().mains;
        }
        let Seen { supply, is_hot, .. } = self.look();
        self.policy().manner(supply, is_hot)
    }

    fn look(&self) -> Seen {
        let mut seen = self.seen();
        if let Some(seen) = seen.as_ref().filter(|seen| seen.at.elapsed() < FRESH) {
            return seen.clone();
        }
        let was_hot = seen.as_ref().is_some_and(|seen| seen.is_hot);
        let state = PowerState::read(&self.files);
        let now = Seen {
            at: Instant::now(),
            supply: supply(&state),
            is_hot: is_hot(&state, was_hot),
            state,
        };
        let is_new = |before: &Seen| (before.supply, before.is_hot) != (now.supply, now.is_hot);
        if seen.as_ref().is_some_and(is_new) {
            tracing::info!(supply = %now.supply, is_hot = now.is_hot, "power has changed");
        }
        *seen = Some(now.clone());
        now
    }

    pub(crate) fn report(&self) -> PowerReport {
        let Seen { state, supply, is_hot, .. } = self.look();
        let mut nulls = BTreeMap::new();
        let policy = self.policy().clone();
        PowerReport {
            supply,
            is_hot,
            source: known(state.source, "source", &mut nulls),
            battery_percent: known(state.battery_percent, "battery_percent", &mut nulls),
            temperature_c: known(state.temperature_c, "temperature_c", &mut nulls),
            manner: policy.manner(supply, is_hot),
            policy,
            nulls,
        }
    }
}

fn supply(state: &PowerState) -> Situation {
    match (&state.source, &state.battery_percent) {
        (Ok(PowerSource::Battery), Ok(percent)) if *percent < LOW_PERCENT => Situation::LowBattery,
        (Ok(PowerSource::Battery), _) => Situation::Battery,
        _ => Situation::Mains,
    }
}

fn is_hot(state: &PowerState, was_hot: bool) -> bool {
    let limit = HOT_C[usize::from(was_hot)];
    state.temperature_c.as_ref().is_ok_and(|temperature| limit <= *temperature)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn what_holds_follows_the_files_of_the_system() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let rules = ["80%", "battery=50%", "low-battery=20%", "hot=10%"];
        let rules: Vec<_> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        let power = Power::new(Policy::of(&rules), SystemFiles::at(root));
        let looks = |expected: f64, what: &str| {
            // As if some time had passed.
            if let Some(seen) = power.seen().as_mut() {
                seen.at = Instant::now().checked_sub(FRESH).unwrap();
            }
            assert_eq!(power.manner().duty, expected, "{what}");
        };
        looks(0.8, "a machine that tells nothing");
        assert!(power.report().nulls["source"].contains("power_supply"));
        put(root, "sys/class/power_supply/BAT0/type", "Battery");
        put(root, "sys/class/power_supply/BAT0/status", "Discharging");
        put(root, "sys/class/power_supply/BAT0/capacity", "55");
        looks(0.5, "battery");
        put(root, "sys/class/power_supply/BAT0/capacity", "19");
        looks(0.2, "an empty one");
        put(root, "sys/class/hwmon/hwmon0/name", "coretemp");
        put(root, "sys/class/hwmon/hwmon0/temp1_input", "91000");
        looks(0.1, "hot");
        put(root, "sys/class/hwmon/hwmon0/temp1_input", "85000");
        looks(0.1, "not cool yet");
        put(root, "sys/class/hwmon/hwmon0/temp1_input", "79000");
        looks(0.2, "cool again");
        put(root, "sys/class/hwmon/hwmon0/temp1_input", "85000");
        looks(0.2, "not hot yet");
        put(root, "sys/class/power_supply/BAT0/status", "Charging");
        looks(0.8, "plugged in");
        assert_eq!(power.report().battery_percent, Some(19.0));
    }

    #[test]
    fn what_was_read_holds_for_a_moment() {
        let folder = tempfile::tempdir().unwrap();
        let rules = ["battery=50%".parse().unwrap()];
        let power = Power::new(Policy::of(&rules), SystemFiles::at(folder.path()));
        assert_eq!(power.manner().duty, 1.0);
        put(folder.path(), "sys/class/power_supply/BAT0/type", "Battery");
        put(folder.path(), "sys/class/power_supply/BAT0/status", "Discharging");
        assert_eq!(power.manner().duty, 1.0);
    }
}
