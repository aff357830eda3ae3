//! The processors that this process may use, and what a container allows, in words.

use std::num::NonZeroUsize;

use lapwing_files::Allowance;
use lapwing_files::disk::human_bytes;

/// Threads for each processor that this process may use, at most. To ask for more threads than
/// processors is a thing that people measure; beyond that they only wait for one another, each
/// with memory of its own, until the machine does nothing else.
const N_THREADS_OF_PROCESSOR: usize = 4;
/// So many threads are never too many: one settings file serves a large machine and a small
/// container.
const N_THREADS_ALWAYS: usize = 16;

/// The threads when nobody says: as many as get time, where a container may take less than the
/// processors have. More of them would all be stopped together. Otherwise the library knows best.
pub fn n_threads(allowance: &Allowance) -> Option<usize> {
    let n_cpus = limit(allowance, n_cores())?;
    Some(whole(n_cpus))
}

/// `asked`, where so many threads do not stop the machine.
///
/// # Errors
///
/// What was expected and what there is, in words.
pub fn check_threads(asked: NonZeroUsize) -> Result<NonZeroUsize, String> {
    let (allowance, n_cores) = (Allowance::of_this_process(), n_cores());
    match asked.get() <= n_threads_max(&allowance, n_cores) {
        true => Ok(asked),
        false => Err(too_many_threads(&allowance, n_cores)),
    }
}

/// The same for a number that is too long to be one.
pub fn too_many_for_here() -> String {
    too_many_threads(&Allowance::of_this_process(), n_cores())
}

fn too_many_threads(allowance: &Allowance, n_cores: usize) -> String {
    let n_max = n_threads_max(allowance, n_cores);
    let there_is = match limit(allowance, n_cores) {
        Some(n_cpus) => format!("a container allows {}", processors(n_cpus)),
        None => format!("this process may use {}", processors(n_cores as f64)),
    };
    format!("expected at most {n_max} threads, as {there_is}")
}

fn n_threads_max(allowance: &Allowance, n_cores: usize) -> usize {
    let n_processors = limit(allowance, n_cores).map_or(n_cores, whole);
    n_processors.saturating_mul(N_THREADS_OF_PROCESSOR).max(N_THREADS_ALWAYS)
}

/// The processors' time that a container leaves, where that is less than the processors have.
fn limit(allowance: &Allowance, n_cores: usize) -> Option<f64> {
    allowance.n_cpus.filter(|&n_cpus| n_cpus < n_cores as f64)
}

fn whole(n_cpus: f64) -> usize {
    (n_cpus.ceil() as usize).max(1)
}

/// Logical cores that this process may run on.
fn n_cores() -> usize {
    #[cfg(target_os = "linux")]
    {
        use nix::sched::{CpuSet, sched_getaffinity};
        if let Ok(set) = sched_getaffinity(nix::unistd::Pid::from_raw(0)) {
            return (0..CpuSet::count()).filter(|&core| set.is_set(core) == Ok(true)).count();
        }
    }
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// `0.5 processors and 600.0 MB of memory`; `None` where nothing is limited.
pub fn told(allowance: &Allowance) -> Option<String> {
    let Allowance { n_cpus, memory_bytes } = *allowance;
    let processors = n_cpus.map(processors);
    let memory = memory_bytes.map(|n_bytes| format!("{} of memory", human_bytes(n_bytes)));
    processors.into_iter().chain(memory).reduce(|first, second| format!("{first} and {second}"))
}

fn processors(n_cpus: f64) -> String {
    match n_cpus {
        1.0 => "1 processor".to_owned(),
        n_cpus => format!("{} processors", (n_cpus * 100.0).round() / 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_far_above_the_processors_are_told_with_what_there_is() {
        let check = |n_cpus: Option<f64>, n_cores: usize, n_max: usize, says: &str| {
            let allowance = Allowance { n_cpus, memory_bytes: None };
            assert_eq!(n_threads_max(&allowance, n_cores), n_max);
            let expected = format!("expected at most {n_max} threads, as {says}");
            assert_eq!(too_many_threads(&allowance, n_cores), expected);
        };
        check(None, 8, 32, "this process may use 8 processors");
        check(None, 1, 16, "this process may use 1 processor");
        check(Some(4.5), 64, 20, "a container allows 4.5 processors");
        check(Some(64.0), 8, 32, "this process may use 8 processors");
        check(Some(0.25), 8, 16, "a container allows 0.25 processors");
        let all = NonZeroUsize::new(n_cores()).unwrap();
        assert_eq!(check_threads(all), Ok(all), "all that there are");
    }

    #[test]
    fn a_container_gets_as_many_threads_as_it_may_run() {
        let check = |n_cpus: Option<f64>, n_cores: usize, expected: Option<usize>| {
            let found = limit(&Allowance { n_cpus, memory_bytes: None }, n_cores).map(whole);
            assert_eq!(found, expected, "{n_cpus:?} of {n_cores}");
        };
        check(None, 8, None);
        check(Some(8.0), 8, None);
        check(Some(12.0), 8, None);
        check(Some(0.25), 8, Some(1));
        check(Some(1.0), 8, Some(1));
        check(Some(2.5), 8, Some(3));
        check(Some(7.5), 8, Some(8));
    }

    #[test]
    fn only_what_is_limited_is_told() {
        let check = |n_cpus, memory_bytes, expected: Option<&str>| {
            assert_eq!(told(&Allowance { n_cpus, memory_bytes }).as_deref(), expected);
        };
        check(None, None, None);
        check(Some(1.0), None, Some("1 processor"));
        check(None, Some(600_000_000), Some("600.0 MB of memory"));
        check(Some(0.5), Some(600_000_000), Some("0.5 processors and 600.0 MB of memory"));
    }
}
