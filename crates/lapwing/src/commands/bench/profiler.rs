//! `bench --check-profiler`: what it costs to read the clock at every token.
//!
//! Two kinds of repetitions of one decode take turns: one reads the clock at every token, the other
//! at the first and the last. The clocks of the generation loop itself, which tell inference from
//! choosing a token, run in both: they are part of every answer, measured or not.

use std::time::Instant;

use anyhow::Context as _;
use lapwing_measure::measuring::{Detail, N_REPETITIONS_MIN};
use lapwing_measure::record::TestKind;
use lapwing_report::statistics::{Samples, median_interval};
use serde_json::json;

use super::message::LooksAt;
use super::plan::Plan;
use super::series::{Repeating, Series, Station};
use super::table::figure;
use crate::exit::UsageError;
use crate::hint::note;
use crate::interrupt;
use crate::printer::Printer;
use crate::settings::Settings;

/// Of the resamples.
const SEED: u64 = 0;

/// Measure the first configuration's first decode in both ways and print the difference.
///
/// # Errors
///
/// When there is no decode in the plan, it cannot be measured, or after Ctrl-C.
pub(super) fn check(
    plan: &Plan,
    repeating: &Repeating,
    settings: &Settings,
    printer: &Printer,
    json: bool,
) -> anyhow::Result<()> {
    let test = plan.tests.iter().find(|test| test.kind == TestKind::Decode);
    let (Some(test), Some(planned)) = (test, plan.configurations.first()) else {
        let problem = "there is no decode to check the profiler with".to_owned();
        return Err(UsageError { problem, advice: Some(note::NO_TESTS.to_owned()) }.into());
    };
    let mut station = Station::open(settings, &planned.opening)?;
    let series = Series::new(planned, test, 0);
    let Pairs { timed_ms, bare_ms, is_same_answer } = measure(&mut station, &series, repeating)?;
    let (timed, bare) = (Samples::new(&timed_ms)?, Samples::new(&bare_ms)?);
    // What slows the machine down for a while slows both of a pair.
    let ratios: Vec<f64> =
        timed_ms.iter().zip(&bare_ms).map(|(timed, bare)| timed / bare).collect();
    let ratio = median_interval(&Samples::new(&ratios)?, SEED).context("cannot compare the two")?;
    let rate = |ms: &Samples| series.n_tokens() as f64 / ms.median() * 1e3;
    let percent = |ratio: f64| (ratio - 1.0) * 100.0;
    if json {
        return Ok(printer.json(&json!({
            "profiler_cost_percent": percent(ratio.estimate),
            "low_percent": percent(ratio.low),
            "high_percent": percent(ratio.high),
            "test": test.name,
            "configuration": planned.label(),
            "n_repetitions_each": bare.n(),
            "timed_ms_median": timed.median(),
            "bare_ms_median": bare.median(),
            "timed_tokens_per_s": rate(&timed),
            "bare_tokens_per_s": rate(&bare),
            "is_same_answer": is_same_answer,
        }))?);
    }
    let [low, cost, high] = [ratio.low, ratio.estimate, ratio.high].map(|r| figure(percent(r)));
    printer.line(format!(
        "reading the clock at every token costs {cost} % of {} of {} (95 %: {low} to {high} %, \
         n = {} each)",
        test.name,
        planned.label(),
        bare.n()
    ))?;
    Ok(())
}

/// The same work with the clock read at every token and without, one after the other.
struct Pairs {
    timed_ms: Vec<f64>,
    bare_ms: Vec<f64>,
    is_same_answer: bool,
}

fn measure(
    station: &mut Station,
    series: &Series<'_>,
    repeating: &Repeating,
) -> anyhow::Result<Pairs> {
    let started = Instant::now();
    let (mut timed_ms, mut bare_ms) = (Vec::new(), Vec::new());
    let mut is_same_answer = true;
    for run_idx in 0.. {
        interrupt::check()?;
        // Which of the two comes first changes, too.
        let turns = match run_idx % 2 == 0 {
            true => [Detail::Steps, Detail::Bare],
            false => [Detail::Bare, Detail::Steps],
        };
        let mut answers = Vec::new();
        for detail in turns {
            let work = series.work(run_idx, repeating.seed, detail);
            let ran = station.runner.run(work, LooksAt::Nothing)?;
            answers.push(ran.run.token_ids);
            if run_idx < repeating.n_warmups {
                continue;
            }
            match detail {
                Detail::Steps => timed_ms.push(ran.run.total_ms),
                Detail::Bare => bare_ms.push(ran.run.total_ms),
            }
        }
        is_same_answer &= answers[0] == answers[1];
        let is_enough = match repeating.rule.n_repetitions {
            Some(n_repetitions) => n_repetitions.max(2) <= bare_ms.len(),
            None => {
                N_REPETITIONS_MIN <= bare_ms.len()
                    && repeating.rule.time_budget <= started.elapsed()
            }
        };
        if is_enough {
            break;
        }
    }
    Ok(Pairs { timed_ms, bare_ms, is_same_answer })
}
