//! What a calibration found, for people and as JSON.

use std::path::Path;
use std::time::Duration;

use lapwing_backend::Precision;
use lapwing_eval::{CalibrateOptions, Gate, TreatmentScore};
use lapwing_host::BackendChoice;
use lapwing_logits::profile::{
    ChangeInterval, CorrectionProfile, HeadMapRecipe, TextFinding, TextRole, Verdict,
};
use lapwing_report::number;
use serde_json::{Value, json};

use super::Done;
use crate::cli::DEVICE;
use crate::printer::Printer;
use crate::settings::Settings;
use crate::shell::quoted;

/// Tell what was found, where it is, and what to do with it.
pub(super) fn tell(
    done: &Done<'_>,
    options: &CalibrateOptions,
    elapsed: Duration,
    printer: &Printer,
) -> anyhow::Result<()> {
    if done.args.json {
        printer.json(&as_json(done, options, elapsed))?;
    } else {
        print(done, options, printer)?;
    }
    printer.note(format!("wrote {}", done.out.display()));
    let profile = done.profile;
    if profile.gate.open {
        let is_default = done.args.out.is_none();
        if done.calibration.run_time.is_some() {
            let profile = match is_default {
                true => "auto".to_owned(),
                false => quoted(done.out.display()),
            };
            let model = &done.args.model;
            printer.note(format!("use it: `lapwing run --model {model} --correction {profile}`"));
        }
        // Without a recipe no export can tell whether the map fits its body.
        let has_recipe = |map: &HeadMapRecipe| map.body_recipe.is_some();
        if profile.head_map.as_ref().is_some_and(has_recipe) {
            printer.note(format!(
                "fold its head map into a new export: `lapwing export … --correct-head {}`",
                quoted(done.out.display())
            ));
        }
    }
    Ok(())
}

/// A model with the options that a profile made under these settings is used with.
pub(super) fn with_options(model: &str, settings: &Settings) -> String {
    let mut line = quoted(model);
    let mut add = |option: &str, value: &str| line.push_str(&format!(" {option} {value}"));
    if settings.backend != BackendChoice::Auto {
        add("--backend", &settings.backend.to_string());
    }
    if settings.options.device != DEVICE {
        add("--device", &settings.options.device.to_string());
    }
    if settings.options.precision == Precision::Exact {
        add("--precision", "exact");
    }
    if let Some(variant) = settings.variant.as_ref().filter(|variant| !variant.is_default) {
        add("--variant", &quoted(&variant.name));
    }
    line
}

fn print(done: &Done<'_>, options: &CalibrateOptions, printer: &Printer) -> anyhow::Result<()> {
    let profile = done.profile;
    printer.table(&HEADER, &profile.candidates.iter().map(row).collect::<Vec<_>>())?;
    printer.line(legend(done.calibration.candidates.len(), options))?;
    printer.line("")?;
    for verdict in &profile.candidates {
        printer.line(format!("{}: {}", verdict.name, verdict.reason))?;
    }
    for (name, reason) in &done.calibration.unfitted {
        printer.line(format!("{name}: not fitted: {reason}"))?;
    }
    printer.line("")?;
    printer.facts(&facts(done))?;
    Ok(())
}

const HEADER: [&str; 7] =
    ["CANDIDATE", "NLL HOME", "KL HOME", "NLL OTHER", "KL OTHER", "REPEATS", "VERDICT"];

/// Changes in nats a token, with their intervals; below 0 is better.
fn row(verdict: &Verdict) -> Vec<String> {
    let text = |role: TextRole| verdict.texts.iter().find(|text| text.role == role);
    let (home, other) = (text(TextRole::HeldOut), text(TextRole::OtherDomain));
    let nll = |text: Option<&TextFinding>| change(text.map(|text| text.nll_change));
    let kl = |text: Option<&TextFinding>| change(text.and_then(|text| text.kl_change));
    let repeats = verdict.repetition.map_or("-".to_owned(), |found| {
        format!("{:.1} % -> {:.1} %", found.share_off * 100.0, found.share_on * 100.0)
    });
    let helps = if verdict.helps { "helps" } else { "no" };
    let name = verdict.name.clone();
    vec![name, nll(home), kl(home), nll(other), kl(other), repeats, helps.to_owned()]
}

fn change(interval: Option<ChangeInterval>) -> String {
    let Some(ChangeInterval { mean, low, high }) = interval else { return "-".to_owned() };
    format!("{mean:+.4} ({})", number::interval(low, high, |end| format!("{end:+.4}")))
}

/// What the numbers of the table and those of the reasons are.
fn legend(n_candidates: usize, options: &CalibrateOptions) -> String {
    let confidence = options.gate.confidence;
    let corrected = Gate::new(options.gate, n_candidates).simultaneous_confidence();
    format!(
        "changes in nats a token with their intervals, below 0 is better; the intervals are at \
         {:.2} %, which is {:.0} % for the luckiest of {n_candidates}; improvements below are at \
         this confidence, and so is more repetition; any other harm is at {:.0} %",
        corrected * 100.0,
        confidence * 100.0,
        confidence * 100.0,
    )
}

fn facts(done: &Done<'_>) -> Vec<(&'static str, String)> {
    let (calibration, profile) = (done.calibration, done.profile);
    let pooled = &calibration.diagnostics.pooled;
    let [lag_one, lag_two] = pooled.increment_autocorrelations;
    let mut facts = vec![("without, at home", mean(calibration.home.first()))];
    if let Some(other) = &calibration.other {
        facts.push(("without, elsewhere", mean(other.first())));
    }
    facts.extend([
        (
            "increments",
            format!(
                "autocorrelation {lag_one:+.3} at lag 1 and {lag_two:+.3} at lag 2; a random walk \
                 in noise has less than 0, and 0"
            ),
        ),
        (
            "coefficient a",
            format!(
                "{:.3} pooled, {:.3} for the token in the middle; a random walk has 1",
                pooled.coefficient, calibration.diagnostics.coefficient_median
            ),
        ),
        (
            "frozen",
            format!("{:.1} % of tokens under the published estimator", pooled.share_frozen * 100.0),
        ),
        (
            "likeliest gain",
            format!("{:.3}; 1 is no smoothing", calibration.diagnostics.scalar.gain),
        ),
        ("gate", gate_sentence(profile)),
    ]);
    facts
}

/// The reason names what was chosen.
fn gate_sentence(profile: &CorrectionProfile) -> String {
    let state = if profile.gate.open { "open" } else { "closed" };
    format!("{state}: {}", profile.gate.reason)
}

/// What the raw model scored.
fn mean(score: Option<&TreatmentScore>) -> String {
    let Some(score) = score else { return "-".to_owned() };
    let nll = score.mean_negative_log_likelihood();
    let kl = score.mean_divergence().map_or(String::new(), |kl| format!(", KL {kl:.4}"));
    format!("NLL {nll:.4}{kl} nats a token over {} tokens", score.n())
}

fn as_json(done: &Done<'_>, options: &CalibrateOptions, elapsed: Duration) -> Value {
    let calibration = done.calibration;
    let raw = |scores: Option<&TreatmentScore>| {
        scores.map(|score| {
            json!({
                "n_tokens": score.n(),
                "mean_nll": score.mean_negative_log_likelihood(),
                "mean_kl": score.mean_divergence(),
                "top1_agreement": score.agreement(),
            })
        })
    };
    json!({
        "command": "calibrate",
        "lapwing_version": env!("CARGO_PKG_VERSION"),
        "file": absolute(done.out),
        "window": options.n_window_tokens,
        "n_fit_windows": calibration.n_fit_windows,
        "n_selection_windows": calibration.n_selection_windows,
        "raw": {
            "home": raw(calibration.home.first()),
            "other": raw(calibration.other.as_ref().and_then(|other| other.first())),
        },
        "verdicts": calibration.verdicts,
        "unfitted": calibration.unfitted,
        "profile": done.profile,
        "wall_s": (elapsed.as_secs_f64() * 1e3).round() / 1e3,
    })
}

fn absolute(path: &Path) -> std::path::PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn a_row_has_a_cell_for_every_column_and_none_is_made_up() {
        let interval = ChangeInterval { mean: -0.0125, low: -0.02, high: 0.005 };
        let verdict = Verdict {
            name: "bias".into(),
            texts: vec![TextFinding {
                text: "a.txt".into(),
                role: TextRole::HeldOut,
                n_positions: 9,
                nll_change: interval,
                kl_change: None,
                rare_nll_change: None,
                rare_probability_change: None,
            }],
            repetition: None,
            helps: true,
            reason: String::new(),
        };
        let cells = row(&verdict);
        assert_eq!(cells.len(), HEADER.len());
        assert_eq!(cells, ["bias", "-0.0125 (-0.0200–+0.0050)", "-", "-", "-", "-", "helps"]);
    }

    #[test]
    fn a_profile_is_used_with_the_options_that_it_was_made_with() {
        let check = |options: &str, expected: &str| {
            let line = format!("lapwing calibrate --model m --text t {options}");
            let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
            let settings = Settings::resolve(&cli).unwrap();
            assert_eq!(with_options("m", &settings), expected);
            let quoted = with_options("my model's", &settings);
            assert_eq!(quoted, expected.replacen('m', r"'my model'\''s'", 1));
        };
        check("--backend auto --device auto --precision fast", "m");
        check(
            "--backend openvino --device cpu --precision exact --variant q4",
            "m --backend openvino --device cpu --precision exact --variant q4",
        );
    }
}
