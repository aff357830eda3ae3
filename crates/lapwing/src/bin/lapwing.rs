//! The `lapwing` command.
#![allow(unsafe_code, reason = "what a process inherits, set right before any thread is started")]

fn main() -> std::process::ExitCode {
    keep_onnxruntime_quiet();
    #[cfg(unix)]
    hear_of_children();
    lapwing::main()
}

/// ONNX Runtime reads this variable when it is loaded, records events about the machine in the
/// user's cache folder, and sends them, unless it is set. What the user set stays.
fn keep_onnxruntime_quiet() {
    if std::env::var_os(lapwing::ORT_DISABLE_TELEMETRY).is_none() {
        // SAFETY: this is the first thing the program does; no other thread reads the environment.
        unsafe { std::env::set_var(lapwing::ORT_DISABLE_TELEMETRY, "1") };
    }
}

/// Whoever started this program may have left it a SIGCHLD that is ignored: then the system forgets
/// how a child ended before anybody asks, and who waits for one waits in vain.
#[cfg(unix)]
fn hear_of_children() {
    use nix::sys::signal::{SigHandler, Signal, signal};

    // Refused for no signal that can be ignored.
    // SAFETY: no handler is installed, and none was before.
    let _ = unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) };
}
