//! How options read their values.

use std::num::{IntErrorKind, NonZeroUsize};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use lapwing_backend::Precision;
use lapwing_measure::bench::Merit;

use lapwing_host::BackendChoice;

use lapwing_host::allowance::{check_threads, too_many_for_here};

/// One of `values` by its name, in any case where the option says so, with a word for `--help`.
fn one_of<T, const N: usize>(
    values: [(T, &'static str, &'static str); N],
) -> impl TypedValueParser<Value = T>
where
    T: Clone + Send + Sync + 'static,
{
    let names = values.clone().map(|(_, name, help)| PossibleValue::new(name).help(help));
    PossibleValuesParser::new(names).map(move |text| {
        let found = values.iter().find(|(_, name, _)| name.eq_ignore_ascii_case(&text));
        found.expect("no other name is let through").0.clone()
    })
}

/// A library.
pub fn backend() -> impl TypedValueParser<Value = BackendChoice> {
    one_of([
        (BackendChoice::Auto, "auto", "The one that fits the folder and the device"),
        (BackendChoice::Native, "native", "Lapwing's own CPU kernels (not in this version)"),
        (BackendChoice::Ort, "ort", "ONNX Runtime"),
        (BackendChoice::OpenVino, "openvino", "OpenVINO"),
    ])
}

/// A precision.
pub fn precision() -> impl TypedValueParser<Value = Precision> {
    one_of([
        (Precision::Fast, "fast", "What the library finds fastest"),
        (Precision::Exact, "exact", "f32 arithmetic and an f32 KV cache where the backend can"),
    ])
}

/// What a recommendation is for.
pub fn merit() -> impl TypedValueParser<Value = Merit> {
    one_of([
        (Merit::Latency, "latency", "The time to an answer: the first token and those after it"),
        (Merit::Throughput, "throughput", "Generated tokens a second"),
        (Merit::Energy, "energy", "Joules for each generated token"),
        (Merit::Memory, "memory", "The most that the process ever held"),
    ])
}

/// A whole number of at least 1, for options that count something.
///
/// # Errors
///
/// What was expected, as the command line says it.
pub fn count(text: &str) -> Result<NonZeroUsize, String> {
    text.trim().parse().map_err(|_| "expected a whole number of at least 1".to_owned())
}

/// A number of threads that this machine can run.
///
/// # Errors
///
/// What was expected, as the command line says it.
pub fn threads(text: &str) -> Result<NonZeroUsize, String> {
    match text.trim().parse::<NonZeroUsize>() {
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => Err(too_many_for_here()),
        _ => check_threads(count(text)?),
    }
}

/// A whole number of at least 0.
pub fn count_or_zero(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "expected a whole number of at least 0".to_owned())
}

/// A seed: all 64 bits.
pub fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("expected a whole number from 0 to {}", u64::MAX))
}

/// A share between 0 and 1, without both.
pub fn share(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|&value: &f64| 0.0 < value && value < 1.0);
    value.ok_or_else(|| "expected a number between 0 and 1".to_owned())
}
