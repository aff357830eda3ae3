//! Which processors a team runs on.

use std::path::Path;

/// The processors that a team's threads keep to.
///
/// They are kept to the set, not each to one of them: a laptop has other work as well, and the
/// system moves a thread off a busy core.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Numbers of logical processors, in ascending order; empty where there is no need to choose.
    pub cpus: Vec<usize>,
    /// How many members are worth having: one for each core of the set.
    pub n_cores: usize,
}

impl Placement {
    /// The calling thread stays there from now on. Where the system refuses, it goes where it is
    /// put, and the log says so.
    pub(crate) fn keep(&self) {
        if self.cpus.is_empty() {
            return;
        }
        #[cfg(target_os = "linux")]
        {
            use nix::sched::{CpuSet, sched_setaffinity};
            let mut set = CpuSet::new();
            let outcome = self.cpus.iter().try_for_each(|&cpu| set.set(cpu));
            if let Err(error) = outcome.and_then(|()| sched_setaffinity(THIS_THREAD, &set)) {
                tracing::warn!(%error, cpus = ?self.cpus, "cannot keep a thread to processors");
            }
        }
    }
}

#[cfg(target_os = "linux")]
const THIS_THREAD: nix::unistd::Pid = nix::unistd::Pid::from_raw(0);

/// The performance cores that this process may use, one thread for each.
///
/// On a processor with two kinds of cores that are the faster ones: with some slower ones beside
/// them, members wait for each other at every meeting. Where all are alike, or the system does not
/// tell, it is every core. A control group's share of the processors bounds the number.
pub fn performance_cores() -> Placement {
    let n_max = std::thread::available_parallelism().map_or(1, usize::from);
    placement(Path::new("/sys/devices"), &allowed(), n_max)
}

/// The processors that this process may run on.
fn allowed() -> Vec<usize> {
    #[cfg(target_os = "linux")]
    {
        use nix::sched::{CpuSet, sched_getaffinity};
        if let Ok(set) = sched_getaffinity(THIS_THREAD) {
            return (0..CpuSet::count()).filter(|&cpu| set.is_set(cpu) == Ok(true)).collect();
        }
    }
    (0..std::thread::available_parallelism().map_or(1, usize::from)).collect()
}

/// `devices` is `/sys/devices`, or looks like it.
fn placement(devices: &Path, allowed: &[usize], n_max: usize) -> Placement {
    let fast = faster_half(devices, allowed);
    let chosen = fast.as_deref().unwrap_or(allowed);
    let is_first = |&&cpu: &&usize| {
        let siblings = devices.join(format!("system/cpu/cpu{cpu}/topology/thread_siblings_list"));
        let siblings = read_list(&siblings).unwrap_or_default();
        !siblings.iter().any(|sibling| *sibling < cpu && chosen.contains(sibling))
    };
    let n_cores = chosen.iter().filter(is_first).count().clamp(1, n_max.max(1));
    Placement { cpus: fast.unwrap_or_default(), n_cores }
}

/// The allowed processors of the faster kind, where there are two kinds.
fn faster_half(devices: &Path, allowed: &[usize]) -> Option<Vec<usize>> {
    let among = |cpus: Vec<usize>| -> Option<Vec<usize>> {
        let cpus: Vec<_> = allowed.iter().copied().filter(|cpu| cpus.contains(cpu)).collect();
        (!cpus.is_empty() && cpus.len() < allowed.len()).then_some(cpus)
    };
    // Intel tells by the kind of its counters, ARM by the capacity of each.
    if let Some(cpus) = read_list(&devices.join("cpu_core/cpus")) {
        return among(cpus);
    }
    let capacity = |cpu: &usize| -> Option<u32> {
        let path = devices.join(format!("system/cpu/cpu{cpu}/cpu_capacity"));
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    let capacities: Option<Vec<_>> = allowed.iter().map(capacity).collect();
    let capacities = capacities?;
    let largest = *capacities.iter().max()?;
    // The fastest core of a processor is often a little faster than its like.
    let is_fast = |capacity: u32| u64::from(capacity) * 4 >= u64::from(largest) * 3;
    let fast = allowed.iter().zip(capacities).filter(|&(_, capacity)| is_fast(capacity));
    among(fast.map(|(&cpu, _)| cpu).collect())
}

/// Processors as the system lists them: `0-3,8`. `None` where there is no such list.
fn read_list(path: &Path) -> Option<Vec<usize>> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        // More than any system has: no list of processors.
        if last >= 1 << 16 {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of files as the system has them below `/sys/devices`.
    fn devices(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    fn check(files: &[(&str, &str)], allowed: &[usize], n_max: usize, expected: (&[usize], usize)) {
        let root = devices(files);
        let found = placement(root.path(), allowed, n_max);
        assert_eq!((&found.cpus[..], found.n_cores), expected, "{files:?}");
    }

    #[test]
    fn where_cores_are_alike_each_has_a_member() {
        check(&[], &[0, 1, 2, 3], 4, (&[], 4));
        let siblings =
            |cpu, list| (format!("system/cpu/cpu{cpu}/topology/thread_siblings_list"), list);
        let files =
            [siblings(0, "0,2"), siblings(1, "1,3"), siblings(2, "0,2"), siblings(3, "1,3")];
        let files: Vec<_> = files.iter().map(|(path, list)| (&path[..], *list)).collect();
        check(&files, &[0, 1, 2, 3], 4, (&[], 2));
        // The second thread of a core whose first one is not ours.
        check(&files, &[2, 3], 2, (&[], 2));
    }

    #[test]
    fn of_two_kinds_the_faster_is_taken() {
        // Lunar Lake: four of each.
        let intel = [("cpu_core/cpus", "0-3\n"), ("cpu_atom/cpus", "4-7\n")];
        check(&intel, &[0, 1, 2, 3, 4, 5, 6, 7], 8, (&[0, 1, 2, 3], 4));
        // Kept to the slower ones by somebody: those are all there is.
        check(&intel, &[4, 5], 2, (&[], 2));
        check(&intel, &[0, 1], 2, (&[], 2));
        let capacity = |cpu, n| (format!("system/cpu/cpu{cpu}/cpu_capacity"), n);
        let files = [capacity(0, "400\n"), capacity(1, "1024"), capacity(2, "980")];
        let files: Vec<_> = files.iter().map(|(path, list)| (&path[..], *list)).collect();
        check(&files, &[0, 1, 2], 3, (&[1, 2], 2));
    }

    #[test]
    fn a_control_group_bounds_the_number() {
        check(&[], &[0, 1, 2, 3], 2, (&[], 2));
        check(&[], &[], 1, (&[], 1));
    }

    #[test]
    fn what_is_no_list_is_none() {
        for text in ["a", "1-", "0-99999999999", "3-x"] {
            check(&[("cpu_core/cpus", text)], &[0, 1], 2, (&[], 2));
        }
    }
}
