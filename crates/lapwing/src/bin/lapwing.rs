//! The `lapwing` command.
#![allow(unsafe_code, reason = "one environment variable, set before any thread is started")]

fn main() -> std::process::ExitCode {
    keep_onnxruntime_quiet();
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
