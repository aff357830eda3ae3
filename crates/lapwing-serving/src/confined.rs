//! What a worker gives up before it opens anything: a library or a template that somebody made to do
//! harm finds little to do it with.
//!
//! It can open no sockets but those in the file system (but for one that pulls), gain no rights, neither be traced nor leave a
//! core file behind, and it ends when whoever started it does, or before where memory runs out. What the system
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
    // It reaches one that hangs in a library, too.
    tried("end with its parent", prctl::set_pdeathsig(Signal::SIGKILL).map_err(text));
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

    /// Let every attempt to open a socket of another kind than those in the file system fail as forbidden, in all threads from now on.
    pub(super) fn give_up() -> Result<(), String> {
        let program = program().map_err(|error| error.to_string())?;
        seccompiler::apply_filter_all_threads(&program).map_err(|error| error.to_string())
    }

    fn program() -> Result<BpfProgram, seccompiler::BackendError> {
        let (length, is_not) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Ne);
        let is_other = SeccompCondition::new(0, length, is_not, libc::AF_UNIX as u64)?;
        let rules = vec![SeccompRule::new(vec![is_other])?];
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

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::process::Command;

    use nix::sys::prctl;
    use nix::sys::resource::{Resource, getrlimit};
    use nix::sys::signal::Signal;

    use super::*;

    const VARIABLE: &str = "LAPWING_TEST_CONFINED";

    /// In a process of its own: nothing gives back what was given up.
    #[test]
    fn what_was_given_up_is_gone() {
        if std::env::var_os(VARIABLE).is_none() {
            let mut same = Command::new(std::env::current_exe().unwrap());
            same.args(["--exact", "confined::tests::what_was_given_up_is_gone", "--nocapture"]);
            let output = same.env(VARIABLE, "1").output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        assert_eq!(confine(Network::GivenUp), Vec::<String>::new());
        assert_eq!(prctl::get_pdeathsig().unwrap(), Some(Signal::SIGKILL));
        assert!(prctl::get_no_new_privs().unwrap());
        assert!(!prctl::get_dumpable().unwrap());
        assert_eq!(getrlimit(Resource::RLIMIT_CORE).unwrap(), (0, 0));
        let is_forbidden = |error: std::io::Error| error.raw_os_error() == Some(libc::EACCES);
        let bound = std::net::UdpSocket::bind("127.0.0.1:0").unwrap_err();
        assert!(is_forbidden(bound), "a socket of the network");
        assert!(is_forbidden(std::net::TcpStream::connect("[::1]:9").unwrap_err()));
        std::os::unix::net::UnixStream::pair().expect("sockets of this machine remain");
        // Nor do threads and programs that it starts get it back.
        let threads = std::thread::spawn(|| std::net::TcpListener::bind("127.0.0.1:0").is_err());
        assert!(threads.join().unwrap());
        let shell = "exec 3<>/dev/tcp/127.0.0.1/9";
        let output = Command::new("bash").args(["-c", shell]).output();
        if let Ok(output) = output {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("Permission denied"), "{said}");
        }
    }
}
