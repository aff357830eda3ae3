//! What commands say beside their results where that names a flag.

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
