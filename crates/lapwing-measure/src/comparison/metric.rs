//! The figures that are compared, and how to read them from a record.

use lapwing_report::statistics::VALUE_MAX;
use serde::Serialize;

use crate::record::{Record, Start, TestKind};

/// A figure of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Tokens of the prompt a second.
    PrefillTokensPerS,
    /// Tokens produced a second.
    DecodeTokensPerS,
    /// From handing over the prompt to the first token.
    TimeToFirstTokenMs,
    /// From one token to the next, the median.
    InterTokenP50Ms,
    /// Compiling with an emptied cache.
    CompileColdMs,
    /// Compiling with a filled cache.
    CompileWarmMs,
    /// The first step after compiling.
    FirstInferenceMs,
    /// From the start of the process to the first token.
    ProcessStartToFirstTokenMs,
    /// The most that was ever resident.
    PeakRssBytes,
    /// Electricity for a token.
    JoulesPerToken,
}

/// What a record says about a metric.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reading {
    /// The figure itself; positive and finite.
    pub(super) value: f64,
    /// One for each repetition, where the record keeps them.
    pub(super) samples: Vec<f64>,
    /// The 95 % interval of the figure, where the record keeps that instead.
    pub(super) ends: Option<[f64; 2]>,
}

impl Metric {
    /// All of them, in the order in which they are told.
    pub const ALL: [Metric; 10] = [
        Metric::PrefillTokensPerS,
        Metric::DecodeTokensPerS,
        Metric::TimeToFirstTokenMs,
        Metric::InterTokenP50Ms,
        Metric::CompileColdMs,
        Metric::CompileWarmMs,
        Metric::FirstInferenceMs,
        Metric::ProcessStartToFirstTokenMs,
        Metric::PeakRssBytes,
        Metric::JoulesPerToken,
    ];

    /// The name for people, with the unit.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Metric::PrefillTokensPerS => "prefill, tokens/s",
            Metric::DecodeTokensPerS => "decode, tokens/s",
            Metric::TimeToFirstTokenMs => "time to first token, ms",
            Metric::InterTokenP50Ms => "between tokens, p50, ms",
            Metric::CompileColdMs => "cold compile, ms",
            Metric::CompileWarmMs => "warm compile, ms",
            Metric::FirstInferenceMs => "first inference, ms",
            Metric::ProcessStartToFirstTokenMs => "process start to first token, ms",
            Metric::PeakRssBytes => "peak resident, bytes",
            Metric::JoulesPerToken => "energy, J/token",
        }
    }

    /// Whether more of it is better.
    #[must_use]
    pub fn higher_is_better(self) -> bool {
        matches!(self, Metric::PrefillTokensPerS | Metric::DecodeTokensPerS)
    }

    /// Whether it tells of speed; else of an amount.
    #[must_use]
    pub fn is_speed(self) -> bool {
        !matches!(self, Metric::PeakRssBytes | Metric::JoulesPerToken)
    }

    /// By how much two single runs of the same thing may differ on an idle machine, as a share.
    ///
    /// Stages of a start are measured once a run, and files and caches of the system have a part in
    /// them; what is repeated within a run is steadier.
    #[must_use]
    pub fn repeats_within(self) -> f64 {
        match self {
            Metric::PeakRssBytes => 0.03,
            Metric::JoulesPerToken => 0.10,
            Metric::CompileColdMs
            | Metric::CompileWarmMs
            | Metric::FirstInferenceMs
            | Metric::ProcessStartToFirstTokenMs => 0.20,
            _ => 0.05,
        }
    }

    /// What `record` says about it; `None` where it says nothing that could be compared.
    pub(super) fn read(self, record: &Record) -> Option<Reading> {
        let latency = record.latency.as_ref();
        let start = |read: fn(&Start) -> Option<f64>| single(record.start.as_ref().and_then(read));
        match self {
            Metric::PrefillTokensPerS if record.test.kind == TestKind::Prefill => {
                tokens_per_s(record, record.test.n_prompt_tokens)
            }
            Metric::DecodeTokensPerS if record.test.kind == TestKind::Decode => {
                tokens_per_s(record, record.test.n_generated_tokens)
            }
            Metric::PrefillTokensPerS | Metric::DecodeTokensPerS => None,
            Metric::TimeToFirstTokenMs => {
                let interval = latency?.ttft_ms.as_ref()?;
                let value = usable(interval.median)?;
                let ends = [interval.low, interval.high];
                let ends = match ends.map(|end| end.and_then(usable)) {
                    [Some(low), Some(high)] if low <= high => Some([low, high]),
                    _ => None,
                };
                Some(Reading { value, samples: Vec::new(), ends })
            }
            Metric::InterTokenP50Ms => single(Some(latency?.inter_token_ms.as_ref()?.p50)),
            Metric::CompileColdMs => start(|start| start.compile_cold_ms),
            Metric::CompileWarmMs => start(|start| start.compile_warm_ms),
            Metric::FirstInferenceMs => start(|start| start.first_inference_ms),
            Metric::ProcessStartToFirstTokenMs => {
                start(|start| start.process_start_to_first_token_ms)
            }
            Metric::PeakRssBytes => single(record.memory.peak_rss_bytes.map(|n| n as f64)),
            Metric::JoulesPerToken => single(record.energy.as_ref()?.joules_per_token),
        }
    }
}

fn single(value: Option<f64>) -> Option<Reading> {
    Some(Reading { value: usable(value?)?, samples: Vec::new(), ends: None })
}

/// A rate is the tokens over the time of each repetition; a record that keeps no times has medians.
fn tokens_per_s(record: &Record, n_tokens: usize) -> Option<Reading> {
    let latency = record.latency.as_ref()?;
    let value = usable(latency.tokens_per_s.median)?;
    let rate = |&ms: &f64| usable(n_tokens as f64 * 1000.0 / ms);
    let samples: Option<Vec<f64>> = latency.samples_ms.iter().map(rate).collect();
    Some(Reading { value, samples: samples.unwrap_or_default(), ends: None })
}

/// A ratio is only told of numbers above zero.
fn usable(value: f64) -> Option<f64> {
    (0.0 < value && value <= VALUE_MAX).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn figures_are_read_where_they_belong() {
        let check = |record: &Record, expected: &[Metric]| {
            let found = Metric::ALL.into_iter().filter(|metric| metric.read(record).is_some());
            assert_eq!(found.collect::<Vec<_>>(), expected);
        };
        use Metric::*;
        check(&sample::prefill(512), &[PrefillTokensPerS, TimeToFirstTokenMs, PeakRssBytes]);
        check(&sample::decode(0), &[DecodeTokensPerS, InterTokenP50Ms, PeakRssBytes]);
        check(
            &sample::start(),
            &[
                CompileColdMs,
                CompileWarmMs,
                FirstInferenceMs,
                ProcessStartToFirstTokenMs,
                PeakRssBytes,
            ],
        );
    }

    #[test]
    fn what_is_no_positive_number_is_not_read() {
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e101] {
            let mut record = sample::prefill(512);
            let latency = record.latency.as_mut().unwrap();
            latency.tokens_per_s.median = value;
            assert_eq!(Metric::PrefillTokensPerS.read(&record), None, "{value}");
        }
        // One bad time spoils the samples, not the figure.
        let mut record = sample::prefill(512);
        record.latency.as_mut().unwrap().samples_ms[0] = 0.0;
        let reading = Metric::PrefillTokensPerS.read(&record).unwrap();
        assert!(reading.samples.is_empty());
    }
}
