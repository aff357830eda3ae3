//! The clock of the cores and who sets it.

use std::collections::{BTreeMap, BTreeSet};

use super::{core_folder, each_core};
use crate::reading::{Reading, Reason, SystemFiles};

/// What each of the cores runs at, in megahertz: by the clock's driver, else by the processor.
pub(super) fn now_mhz(
    files: &SystemFiles,
    cores: &Reading<Vec<usize>>,
) -> Reading<BTreeMap<usize, f64>> {
    let cores = each_core(cores)?;
    by_driver(files, cores, "scaling_cur_freq").or_else(|reason| {
        let told = told_by_processor(files);
        let of_core = |core_idx: &usize| Some((*core_idx, *told.get(core_idx)?));
        cores.iter().map(of_core).collect::<Option<_>>().ok_or_else(|| {
            Reason::new(format!("{reason}, and /proc/cpuinfo does not tell the clock either"))
        })
    })
}

/// The highest clock that the system allows any of the cores, in megahertz.
pub(super) fn max_mhz(files: &SystemFiles, cores: &Reading<Vec<usize>>) -> Reading<f64> {
    let allowed = by_driver(files, each_core(cores)?, "scaling_max_freq")?;
    Ok(allowed.into_values().fold(0.0, f64::max))
}

/// How the clock is chosen, with the preference of processors that choose themselves:
/// `performance`, `powersave/balance_power`; several when cores differ.
pub(super) fn governor(files: &SystemFiles, cores: &Reading<Vec<usize>>) -> Reading<String> {
    let mut names = BTreeSet::new();
    for core_idx in each_core(cores)? {
        let folder = format!("{}/cpufreq", core_folder(*core_idx));
        let governor = files.text(&format!("{folder}/scaling_governor"))?;
        let preference = files.text(&format!("{folder}/energy_performance_preference"));
        names.insert(match preference {
            Ok(preference) => format!("{governor}/{preference}"),
            Err(_) => governor,
        });
    }
    Ok(names.into_iter().collect::<Vec<_>>().join(", "))
}

fn by_driver(files: &SystemFiles, cores: &[usize], file: &str) -> Reading<BTreeMap<usize, f64>> {
    let of_core = |core_idx: &usize| {
        let khz = files.number::<u32>(&format!("{}/cpufreq/{file}", core_folder(*core_idx)))?;
        Ok((*core_idx, f64::from(khz) / 1e3))
    };
    cores.iter().map(of_core).collect()
}

/// The lines `cpu MHz` of `/proc/cpuinfo`, by the number of the core.
fn told_by_processor(files: &SystemFiles) -> BTreeMap<usize, f64> {
    let mut told = BTreeMap::new();
    let mut core_idx = None;
    for line in files.text("proc/cpuinfo").unwrap_or_default().lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        match key.trim() {
            "processor" => core_idx = value.trim().parse().ok(),
            "cpu MHz" => {
                let mhz = value.trim().parse::<f64>().ok().filter(|mhz| mhz.is_finite());
                told.extend(core_idx.zip(mhz));
            }
            _ => {}
        }
    }
    told
}
