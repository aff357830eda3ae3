//! What this process takes of the machine's memory.

use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

/// Resident bytes of this process now; `None` when the system does not tell.
pub fn resident_bytes() -> Option<u64> {
    let pid = sysinfo::get_current_pid().ok()?;
    let mut system = System::new().ok()?;
    let kind = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, kind);
    system.process(pid).map(sysinfo::Process::memory)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_knows_its_size() {
        let n_bytes = super::resident_bytes().unwrap();
        assert!((100_000..100_000_000_000).contains(&n_bytes), "{n_bytes}");
    }
}
