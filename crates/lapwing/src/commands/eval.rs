//! `lapwing eval`: measurements of a model, each resumable.
//!
//! One file a measurement; what they share is the [`Measured`](measured::Measured), the model with
//! what a report tells of it and what is kept of a run that was broken off.

mod kl;
pub(super) mod measured;
mod ppl;
mod task;

use std::ops::ControlFlow;

use lapwing_eval::{Convention, Progress, Stopped, TextFile};
use lapwing_report::number;
use lapwing_report::statistics::{BootstrapOptions, Interval};

use crate::cli::{ConventionName, EvalArgs, EvalCommand, WindowArgs};
use crate::exit::UsageError;
use crate::interrupt::{self, Interrupted};
use crate::printer::{Printer, Steps};
use crate::settings::Settings;

/// Tokens in a window when nobody says and the model has room: llama.cpp's default.
const N_WINDOW: usize = 512;

/// How the intervals of all measurements are made.
const BOOTSTRAP: BootstrapOptions =
    BootstrapOptions { n_resamples: 2000, confidence: 0.95, seed: 0 };

/// Measure.
///
/// # Errors
///
/// When the model, the data or the options cannot be used, or after Ctrl-C: the same command then
/// goes on where it stopped.
pub fn run(settings: &Settings, printer: &Printer, args: &EvalArgs) -> anyhow::Result<()> {
    interrupt::install();
    match &args.measure {
        EvalCommand::Ppl(args) => ppl::run(settings, printer, args),
        EvalCommand::Kl(args) => kl::run(settings, printer, args),
        EvalCommand::Task(args) => task::run(settings, printer, args),
        #[cfg(feature = "lab")]
        EvalCommand::Falsify(_) => unreachable!("another name of `lab falsify`, taken as that"),
    }
}

/// The convention that was asked for, for models that hold `n_positions_max` tokens.
fn convention(args: &WindowArgs, n_positions_max: usize) -> Result<Convention, UsageError> {
    let n_window = args.window.map_or(N_WINDOW.min(n_positions_max), usize::from);
    match (args.convention, args.stride) {
        (ConventionName::LlamaCpp, None) => Ok(Convention::LlamaCpp { n_window }),
        (ConventionName::LlamaCpp, Some(_)) => Err(UsageError {
            problem: "windows of llama.cpp have no stride".to_owned(),
            advice: Some("leave out --stride, or choose --convention hugging-face".to_owned()),
        }),
        (ConventionName::HuggingFace, stride) => {
            let stride = stride.map_or((n_window / 2).max(1), usize::from);
            Ok(Convention::HuggingFace { n_window, stride })
        }
    }
}

/// `wiki.raw, 1290590 bytes, 283287 tokens`.
fn describe_text(text: &TextFile, n_tokens: usize) -> String {
    format!("{}, {} bytes, {n_tokens} tokens", text.name(), text.n_bytes())
}

/// `llama.cpp, 4 windows of 512, 1020 tokens count`.
fn describe_windows(convention: Convention, n_windows: usize, n_tokens: usize) -> String {
    let (name, n_window) = (convention.name(), convention.n_window());
    let stride = match convention {
        Convention::LlamaCpp { .. } => String::new(),
        Convention::HuggingFace { stride, .. } => format!(", stride {stride}"),
    };
    format!("{name}, {n_windows} windows of {n_window}{stride}, {n_tokens} tokens count")
}

/// Shows the progress and hears of Ctrl-C. `name` is that of the value so far.
fn watch<'a>(steps: &'a Steps, name: &'a str) -> impl FnMut(Progress) -> ControlFlow<()> + 'a {
    move |progress| {
        let so_far = progress.so_far.map_or(String::new(), |value| format!("{name} {value:.4}"));
        steps.set(progress.n_done, progress.n_total, &so_far);
        interrupt::flow(false)
    }
}

/// The result; the end of the command when the measurement was broken off, or what it cannot do.
fn finished<T, E>(result: Result<T, E>, failed: &str, printer: &Printer) -> anyhow::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    result.map_err(|error| match Stopped::cause_of(&error) {
        None => anyhow::Error::new(error).context(failed.to_owned()),
        Some(Stopped { n_done, n_total }) => {
            printer.note(format!(
                "{n_done} of {n_total} are done; the same command goes on from there"
            ));
            Interrupted.into()
        }
    })
}

/// `12.3456 (95 %: 12.3214–12.3701; standard error 0.0123)`, as far as it is known.
fn with_error(value: f64, error: Option<f64>, interval: Option<Interval>) -> String {
    let percent = BOOTSTRAP.confidence * 100.0;
    let interval = interval.map(|Interval { low, high, .. }| {
        format!("{percent:.0} %: {}", number::interval(low, high, |end| format!("{end:.4}")))
    });
    let error = error.map(|error| format!("standard error {error:.4}"));
    let known: Vec<String> = interval.into_iter().chain(error).collect();
    match known.is_empty() {
        true => format!("{value:.4}"),
        false => format!("{value:.4} ({})", known.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    fn windows(convention: ConventionName, window: usize, stride: usize) -> WindowArgs {
        let (window, stride) = (NonZeroUsize::new(window), NonZeroUsize::new(stride));
        WindowArgs { convention, window, stride, limit: None }
    }

    #[test]
    fn windows_are_as_asked_or_as_the_model_has_room() {
        let check = |args: WindowArgs, n_positions_max: usize, expected: Convention| {
            assert_eq!(convention(&args, n_positions_max).unwrap(), expected);
        };
        let (llama, hugging) = (ConventionName::LlamaCpp, ConventionName::HuggingFace);
        check(windows(llama, 0, 0), 2048, Convention::LlamaCpp { n_window: 512 });
        check(windows(llama, 0, 0), 256, Convention::LlamaCpp { n_window: 256 });
        check(windows(llama, 64, 0), 32, Convention::LlamaCpp { n_window: 64 });
        check(windows(hugging, 0, 0), 2048, Convention::HuggingFace { n_window: 512, stride: 256 });
        check(windows(hugging, 64, 9), 2048, Convention::HuggingFace { n_window: 64, stride: 9 });
        assert!(convention(&windows(llama, 64, 9), 2048).is_err());
    }

    #[test]
    fn values_are_told_with_what_is_known_of_them() {
        let interval = Interval { estimate: 1.5, low: 1.25, high: 1.75, standard_error: None };
        assert_eq!(with_error(1.5, None, None), "1.5000");
        let all = with_error(1.5, Some(0.125), Some(interval));
        assert_eq!(all, "1.5000 (95 %: 1.2500–1.7500; standard error 0.1250)");
    }
}
