//! The energy counters of the processor.
//!
//! Source: the kernel's Documentation/power/powercap/powercap.rst.

use std::time::Duration;

use crate::reading::{Reading, Reason, SystemFiles};

const FOLDER: &str = "sys/class/powercap";

/// Shortest time of which counters that move once in a millisecond tell something.
pub(super) const MEASURED_MIN: Duration = Duration::from_millis(100);

/// Counters whose sum is what the processors (and their memory, where it has a counter) take,
/// each part once.
#[derive(Debug)]
pub(super) struct Rapl {
    domains: Vec<Domain>,
}

#[derive(Debug)]
struct Domain {
    /// As the kernel names it: `package-0`, `dram`, `psys`.
    name: String,
    /// The path of its counter, in microjoules.
    counter: String,
    /// What the counter reaches before it starts again from zero, in joules.
    range_j: Reading<f64>,
}

impl Rapl {
    /// All packages with their memory, else the platform; every one of them must be readable, for
    /// a sum without one of them would be too small.
    pub(super) fn find(files: &SystemFiles) -> Reading<Rapl> {
        let names = files.names(FOLDER).map_err(|reason| no_sensor(&reason.to_string()))?;
        let all = domains(files, &names)?;
        let is_package = |domain: &Domain| domain.name.starts_with("package");
        let has_packages = all.iter().any(is_package);
        let counts = |domain: &Domain| match has_packages {
            // The cores and the graphics are inside of the package, which is inside of psys.
            true => is_package(domain) || domain.name.starts_with("dram"),
            false => domain.name == "psys",
        };
        let rapl = Rapl { domains: all.into_iter().filter(counts).collect() };
        if rapl.domains.is_empty() {
            return Err(no_sensor(&format!("/{FOLDER} lists no package")));
        }
        rapl.counters_j(files)?;
        Ok(rapl)
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.domains.iter().map(|domain| domain.name.clone()).collect()
    }

    /// What each counter shows, in joules.
    pub(super) fn counters_j(&self, files: &SystemFiles) -> Reading<Vec<f64>> {
        let read = |domain: &Domain| {
            files.number::<u64>(&domain.counter).map(joules).map_err(|reason| {
                // Kernels since 5.10 keep them from users: they can betray secrets.
                match reason.to_string().starts_with("no permission") {
                    true => Reason::new(format!("{reason}, which root can allow with chmod a+r")),
                    false => reason,
                }
            })
        };
        self.domains.iter().map(read).collect()
    }

    /// What was counted from `begun` to `ended`, both of [`counters_j`](Self::counters_j).
    pub(super) fn spent_j(&self, begun: &[f64], ended: &[f64]) -> Reading<f64> {
        let mut total = 0.0;
        for (domain, (&begun, &ended)) in self.domains.iter().zip(begun.iter().zip(ended)) {
            total += match &domain.range_j {
                _ if begun <= ended => ended - begun,
                Ok(range) if begun <= *range => range - begun + ended,
                Ok(_) => return Err(Reason::new(format!("/{} went back", domain.counter))),
                Err(reason) => {
                    let wrapped = format!("/{} started again from zero", domain.counter);
                    return Err(Reason::new(format!("{wrapped}, and {reason}")));
                }
            };
        }
        Ok(total)
    }
}

/// All domains of one interface (AMD's have Intel's name): what the registers and the memory-mapped interface show of a
/// package is the same energy twice.
fn domains(files: &SystemFiles, names: &[String]) -> Reading<Vec<Domain>> {
    for interface in ["intel-rapl:", "intel-rapl-tpmi:", "intel-rapl-mmio:"] {
        let of_interface = names.iter().filter(|name| name.starts_with(interface));
        let found: Reading<Vec<Domain>> = of_interface.map(|name| domain(files, name)).collect();
        let found = found?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

fn domain(files: &SystemFiles, folder: &str) -> Reading<Domain> {
    let folder = format!("{FOLDER}/{folder}");
    Ok(Domain {
        name: files.text(&format!("{folder}/name"))?,
        counter: format!("{folder}/energy_uj"),
        range_j: files.number::<u64>(&format!("{folder}/max_energy_range_uj")).map(joules),
    })
}

fn joules(microjoules: u64) -> f64 {
    microjoules as f64 / 1e6
}

fn no_sensor(detail: &str) -> Reason {
    Reason::new(format!("no energy counter of the processor ({detail})"))
}
