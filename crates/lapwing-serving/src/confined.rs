//! What a worker gives up before it opens anything: a library or a template that somebody made to do
//! harm finds little to do it with.
//!
//! It cannot open network sockets (but for one that pulls), gain rights, be traced or leave a core file
//! behind, and it ends when whoever started it does, or before where memory runs out. What the system
//! does not know is told, never passed over.

/// Whether a worker needs the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// It pulls models.
    Kept,
    /// It holds one.
    GivenUp,
}

/// Give up what a worker does not need; what could not be given up, in words.
#[cfg(target_os = "linux")]
pub(crate) fn confine(network: Network) -> Vec<String> {
    use nix::sys::prctl;
    use nix::sys::resource::{Resource, setrlimit};
    use nix::sys::signal::Signal;

    let mut problems = Vec::new();
    let mut tried = |what: &str, outcome: Result<(), String>| {
        if let Err(error) = outcome {
            problems.push(format!("a model's process cannot {what}: {error}"));
        }
    };
    let text = |error: nix::Error| error.to_string();
    // Before it becomes one whose files belong to root.
    tried("be the first to go when memory runs out", offer_to_end());
    tried("end with its parent", prctl::set_pdeathsig(Signal::SIGTERM).map_err(text));
    tried("give up new rights", prctl::set_no_new_privs().map_err(text));
    tried("forbid to be traced", prctl::set_dumpable(false).map_err(text));
    tried("forbid core files", setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(text));
    if network == Network::GivenUp {
        tried("give up the network", network::give_up());
    }
    problems
}

/// What the kernel adds to the memory of this process when it looks for one to end, in thousandths of
/// what the machine has: more than a browser gives to what nobody looks at.
#[cfg(target_os = "linux")]
const OOM_SCORE_ADJ: i32 = 400;

/// Let the kernel end this process before its parent, and before what the user works with.
#[cfg(target_os = "linux")]
fn offer_to_end() -> Result<(), String> {
    use lapwing_files::regular::{N_TEXT_BYTES_MAX, read_text};
    const FILE: &str = "/proc/self/oom_score_adj";
    let inherited =
        read_text(FILE.as_ref(), N_TEXT_BYTES_MAX).map_err(|error| error.to_string())?;
    let inherited = inherited.trim().parse::<i32>().map_err(|error| error.to_string())?;
    let wanted = inherited.saturating_add(OOM_SCORE_ADJ).min(1000);
    std::fs::write(FILE, wanted.to_string()).map_err(|error| error.to_string())
}

/// Give up what a worker does not need; what could not be given up, in words.
#[cfg(not(target_os = "linux"))]
pub(crate) fn confine(_: Network) -> Vec<String> {
    Vec::new()
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod network {
    use std::collections::BTreeMap;

    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch,
    };

    /// Kinds of sockets that lead out of this machine.
    const DOMAINS: [i32; 3] = [libc::AF_INET, libc::AF_INET6, libc::AF_PACKET];

    /// Let every attempt to open a network socket fail as forbidden, in all threads from now on.
    pub(super) fn give_up() -> Result<(), String> {
        let program = program().map_err(|error| error.to_string())?;
        seccompiler::apply_filter_all_threads(&program).map_err(|error| error.to_string())
    }

    fn program() -> Result<BpfProgram, seccompiler::BackendError> {
        let rules = DOMAINS.map(|domain| {
            let length = SeccompCmpArgLen::Dword;
            let is = SeccompCondition::new(0, length, SeccompCmpOp::Eq, domain as u64)?;
            SeccompRule::new(vec![is])
        });
        let rules = rules.into_iter().collect::<Result<Vec<_>, _>>()?;
        // A ring would open sockets without a call of its own.
        let calls = BTreeMap::from([(libc::SYS_socket, rules), (libc::SYS_io_uring_setup, vec![])]);
        let forbidden = SeccompAction::Errno(libc::EACCES as u32);
        let architecture = match cfg!(target_arch = "x86_64") {
            true => TargetArch::x86_64,
            false => TargetArch::aarch64,
        };
        SeccompFilter::new(calls, SeccompAction::Allow, forbidden, architecture)?.try_into()
    }
}

#[cfg(all(target_os = "linux", not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod network {
    /// There is no filter for this processor.
    pub(super) fn give_up() -> Result<(), String> {
        Err("it is not built for this processor".to_owned())
    }
}
