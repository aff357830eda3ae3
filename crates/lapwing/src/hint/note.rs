//! What commands say beside their results where that names a flag.

use lapwing_backend::DeviceKind;

/// `--correction auto` that comes to none.
pub fn correction_off(reason: &str) -> String {
    format!("no logit correction: {reason}")
}

/// What `bench` needs at least.
pub const NO_TESTS: &str = "give a length above 0 with --prompt-tokens or --generated-tokens, or \
    leave out --skip-start";
/// A measurement that does not fit the context.
pub const FEWER_TOKENS: &str = "ask for less with --prompt-tokens, --depth or --generated-tokens, \
    or for more room with --context";

/// A run of `bench` that was broken off before.
pub fn goes_on(run_id: &str, n_done: usize, n_measurements: usize) -> String {
    format!(
        "going on with run {run_id}: {n_done} of {n_measurements} measurements are there (--fresh \
         starts anew)"
    )
}

/// A run of `bench` that is broken off now.
pub fn broken_off(n_done: usize, n_measurements: usize) -> String {
    format!(
        "{n_done} of {n_measurements} measurements are kept; the same command goes on with the rest"
    )
}

/// `--device auto` that was measured.
pub fn auto_device(why: &str) -> String {
    format!("device {why}; --device chooses another")
}

/// `--precision exact` where f32 is not to be had throughout.
pub fn exact_elsewhere(device: DeviceKind) -> String {
    let what = match device {
        DeviceKind::Gpu => "a GPU keeps its KV cache in f16",
        DeviceKind::Npu | DeviceKind::NpuOnCpu => "an NPU computes in f16",
        DeviceKind::Cpu => "a CPU computes in f32",
    };
    format!("{what}: --precision exact is exact on the CPU only")
}

/// A device is tried for the first time.
pub fn trying(device: &impl std::fmt::Display) -> String {
    format!("{device} is tried in a process of its own first; this may take minutes, once")
}

/// `--device auto` that was measured for something else.
pub fn auto_device_skipped(why: &str) -> String {
    format!("{why}; `lapwing bench --all-devices --recommend …` measures again")
}
