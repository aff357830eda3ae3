//! What this process holds of the machine's memory.

use serde::{Deserialize, Serialize};

use crate::reading::{Reading, Reason, SystemFiles};

const STATUS: &str = "proc/self/status";

/// What the process holds at one moment, and the most it held.
///
/// Linux tells everything in `/proc/self`; elsewhere only the resident set is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    /// Pages that are in memory, shared ones included. The kernel keeps part of this count in each
    /// core: it can be wrong by some hundred KiB.
    pub rss_bytes: Reading<u64>,
    /// As `rss_bytes`, but a page that `n` processes share counts as one `n`th.
    pub pss_bytes: Reading<u64>,
    /// The largest resident set since the process began, or since [`reset_peak`].
    pub peak_rss_bytes: Reading<u64>,
}

/// Read the footprint now.
///
/// The kernel visits every page for the proportional set: milliseconds for a gigabyte, so not
/// while something is timed.
pub fn footprint(files: &SystemFiles) -> Footprint {
    Footprint {
        rss_bytes: resident_bytes(files),
        pss_bytes: files.kib_field("proc/self/smaps_rollup", "Pss"),
        peak_rss_bytes: files.kib_field(STATUS, "VmHWM"),
    }
}

/// Read the resident set now: microseconds.
///
/// # Errors
///
/// Where the system does not tell it.
pub fn resident_bytes(files: &SystemFiles) -> Reading<u64> {
    files.kib_field(STATUS, "VmRSS").or_else(|reason| asked_system(files, reason))
}

/// Let the peak begin anew at what is resident now.
///
/// # Errors
///
/// Where the system does not allow that; the peak then is that of the process's whole life.
pub fn reset_peak(files: &SystemFiles) -> Reading<()> {
    files.write("proc/self/clear_refs", "5")
}

/// The resident set by another way than files, where the system has none that tell it.
fn asked_system(files: &SystemFiles, reason: Reason) -> Reading<u64> {
    use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};
    if !files.is_this_system() {
        return Err(reason);
    }
    let asked = || {
        let pid = sysinfo::get_current_pid().ok()?;
        let mut system = System::new().ok()?;
        let kind = ProcessRefreshKind::nothing().with_memory();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, kind);
        system.process(pid).map(sysinfo::Process::memory)
    };
    asked().ok_or(reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::fake::FakeSystem;

    #[test]
    fn a_process_knows_its_size() {
        let n_bytes = resident_bytes(&SystemFiles::of_this_system()).unwrap();
        assert!((100_000..100_000_000_000).contains(&n_bytes), "{n_bytes}");
    }

    #[test]
    fn figures_come_from_the_files() {
        let fake = FakeSystem::new(&[
            ("proc/self/status", "Name:\tlapwing\nVmHWM:\t    2000 kB\nVmRSS:\t    1500 kB\n"),
            ("proc/self/smaps_rollup", "00-ff ---p 0 [rollup]\nRss: 1500 kB\nPss:  700 kB\n"),
            ("proc/self/clear_refs", ""),
        ]);
        let found = footprint(&fake.files());
        assert_eq!(found.rss_bytes, Ok(1500 * 1024));
        assert_eq!(found.pss_bytes, Ok(700 * 1024));
        assert_eq!(found.peak_rss_bytes, Ok(2000 * 1024));
        assert_eq!(reset_peak(&fake.files()), Ok(()));
        assert_eq!(fake.files().text("proc/self/clear_refs").unwrap(), "5");
    }

    #[test]
    fn what_is_not_told_has_a_reason() {
        let fake = FakeSystem::new(&[("proc/self/status", "Name:\tlapwing\n")]);
        let found = footprint(&fake.files());
        let check = |reading: Reading<u64>, expected: &str| {
            assert_eq!(reading.unwrap_err().to_string(), expected);
        };
        check(found.rss_bytes, "/proc/self/status has no line VmRSS");
        check(found.pss_bytes, "there is no /proc/self/smaps_rollup");
        check(found.peak_rss_bytes, "/proc/self/status has no line VmHWM");
        let refused = reset_peak(&fake.files()).unwrap_err().to_string();
        assert_eq!(refused, "there is no /proc/self/clear_refs");
    }

    /// The real process: 64 MiB more are 64 MiB more.
    #[cfg(target_os = "linux")]
    #[test]
    fn an_allocation_shows_in_every_figure() {
        const N_BYTES: u64 = 64 << 20;
        const MIB: u64 = 1 << 20;
        let near = |found: u64, expected: u64, what: &str| {
            assert!(found.abs_diff(expected) < 3 * MIB, "{what}: {found}, expected {expected}");
        };
        let files = SystemFiles::of_this_system();
        let before = footprint(&files);
        let by_hand = std::fs::read_to_string("/proc/self/status").unwrap();
        let by_hand = by_hand.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        let by_hand: u64 = by_hand.split_whitespace().nth(1).unwrap().parse().unwrap();
        near(before.rss_bytes.clone().unwrap(), by_hand * 1024, "by hand");
        let by_system = asked_system(&files, Reason::new("not told")).unwrap();
        near(before.rss_bytes.clone().unwrap(), by_system, "by the library");

        let block = std::hint::black_box(vec![1u8; N_BYTES as usize]);
        let during = footprint(&files);
        let grown = |now: &Reading<u64>, then: &Reading<u64>| {
            now.clone().unwrap().saturating_sub(then.clone().unwrap())
        };
        near(grown(&during.rss_bytes, &before.rss_bytes), N_BYTES, "resident");
        near(grown(&during.pss_bytes, &before.pss_bytes), N_BYTES, "proportional");
        near(grown(&during.peak_rss_bytes, &before.rss_bytes), N_BYTES, "peak");
        drop(block);

        let after = footprint(&files);
        near(after.rss_bytes.clone().unwrap(), before.rss_bytes.clone().unwrap(), "after");
        near(after.peak_rss_bytes.unwrap(), during.peak_rss_bytes.unwrap(), "peak stays");
        if reset_peak(&files).is_ok() {
            let reset = footprint(&files);
            near(reset.peak_rss_bytes.unwrap(), after.rss_bytes.unwrap(), "peak begins anew");
        }
    }
}
