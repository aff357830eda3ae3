//! What is measured on what: configurations and tests, before anything is timed.

use std::collections::BTreeSet;

use crate::measuring::{Timed, n_positions};
use crate::record::{Configuration, Protocol, Test, TestKind};
use lapwing_files::checksum;
use serde::Serialize;

/// Length of the prompt that follows a start.
const N_START_PROMPT_TOKENS: usize = 32;

/// What is measured on what.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Those that take turns.
    pub configurations: Vec<Planned>,
    /// What is done with each of them, in this order.
    pub tests: Vec<Test>,
}

/// One configuration, before anything was opened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Planned {
    /// What is known of it: the device and the correction are what was asked for, and the positions
    /// are those that there is room for.
    pub configuration: Configuration,
    /// Whether the library keeps what it compiled, so that there are cold and warm starts.
    pub keeps_compiled: bool,
    /// SHA-256 of every file that may be the profile of its correction.
    pub profiles_sha256: Vec<String>,
}

/// A test that a configuration has no room for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{test} needs {n_needed} positions, and {model} has room for {n_positions_max}")]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub struct NoRoomError {
    pub test: String,
    pub n_needed: usize,
    pub model: String,
    pub n_positions_max: usize,
}

impl Plan {
    /// Refuse tests that do not fit.
    ///
    /// # Errors
    ///
    /// For the first one.
    pub fn check_room(&self) -> Result<(), NoRoomError> {
        let check = |planned: &Planned| {
            self.tests.iter().try_for_each(|test| check_room(&planned.configuration, test))
        };
        self.configurations.iter().try_for_each(check)
    }

    /// What every record of the same measurements shares: `more` is what else decides them.
    pub fn sha256(&self, more: &impl Serialize) -> String {
        let text = serde_json::to_string(&(self, more)).expect("plans have only string keys");
        checksum::sha256_bytes(text.as_bytes())
    }

    /// The number of records that it makes.
    pub fn n_measurements(&self) -> usize {
        self.configurations.len() * self.tests.len()
    }

    /// The place of a measurement among all of them: configurations take turns.
    pub fn order_idx(&self, configuration_idx: usize, test_idx: usize) -> usize {
        test_idx * self.configurations.len() + configuration_idx
    }

    /// The measurement of a record: indices of its configuration and of its test.
    pub fn place(&self, protocol: &Protocol) -> (usize, usize) {
        let n_configurations = self.configurations.len();
        (protocol.order_idx % n_configurations, protocol.order_idx / n_configurations)
    }

    /// Its models, each once, in one of their configurations.
    pub fn models(&self) -> Vec<&Configuration> {
        let mut models: Vec<&Configuration> = Vec::new();
        for Planned { configuration, .. } in &self.configurations {
            if !models.iter().any(|other| is_same_model(other, configuration)) {
                models.push(configuration);
            }
        }
        models
    }
}

impl Planned {
    /// A name for people: the model, and what of the rest is not by default.
    pub fn label(&self) -> String {
        format!("{} {}", self.configuration.model, self.label_of_rest())
    }

    /// The label without the model.
    pub fn label_of_rest(&self) -> String {
        let Configuration { backend, device_requested, .. } = &self.configuration;
        let mut words = vec![backend.clone(), device_requested.clone()];
        words.extend(self.choices());
        words.join(" ")
    }

    /// What of the label is neither the model nor the library nor the device.
    pub(super) fn choices(&self) -> Vec<String> {
        let Configuration { precision, n_threads, correction, .. } = &self.configuration;
        let mut words = Vec::new();
        if precision != "fast" {
            words.push(precision.clone());
        }
        if let Some(n_threads) = n_threads {
            words.push(format!("{n_threads} thr"));
        }
        if correction != "off" {
            words.push(format!("correction {correction}"));
        }
        words
    }
}

/// Whether both are the same files of the same name.
pub(super) fn is_same_model(one: &Configuration, other: &Configuration) -> bool {
    (&one.model, &one.model_sha256) == (&other.model, &other.model_sha256)
}

/// Tests of prompts and answers of these lengths, the latter behind each of `depths` positions; of
/// nothing where a length is 0. The cheapest first, none twice.
pub fn tests(
    with_start: bool,
    prompt_lengths: &[usize],
    answer_lengths: &[usize],
    depths: &[usize],
) -> Vec<Test> {
    let mut tests = Vec::new();
    if with_start {
        tests.push(Test::start(N_START_PROMPT_TOKENS));
    }
    let lengths = |lengths: &[usize]| -> BTreeSet<usize> {
        lengths.iter().copied().filter(|&n| n > 0).collect()
    };
    tests.extend(lengths(prompt_lengths).into_iter().map(|n| Test::prefill(n, 0)));
    let depths: BTreeSet<usize> = depths.iter().copied().collect();
    for n_generated in lengths(answer_lengths) {
        tests.extend(depths.iter().map(|&depth| Test::decode(n_generated, depth)));
    }
    tests
}

/// What of a test is timed.
pub(super) fn timed(test: &Test) -> Timed {
    match test.kind {
        TestKind::Start | TestKind::Prefill => Timed::Prefill,
        TestKind::Decode => Timed::Decode,
        TestKind::Use => unreachable!("no plan has use in it"),
    }
}

/// Tokens of the prompt of `test`: there is no decoding without one.
pub(super) fn n_prompt_tokens(test: &Test) -> usize {
    match timed(test) {
        Timed::Prefill => test.n_prompt_tokens,
        Timed::Decode => test.n_depth_tokens.max(1),
    }
}

/// Positions that `test` fills.
pub(super) fn n_positions_of(test: &Test) -> usize {
    n_positions(timed(test), n_prompt_tokens(test), test.n_generated_tokens)
}

fn check_room(configuration: &Configuration, test: &Test) -> Result<(), NoRoomError> {
    let n_needed = n_positions_of(test);
    match configuration.n_positions_max {
        Some(n_positions_max) if n_positions_max < n_needed => {
            let (test, model) = (test.name.clone(), configuration.model.clone());
            Err(NoRoomError { test, n_needed, model, n_positions_max })
        }
        _ => Ok(()),
    }
}
