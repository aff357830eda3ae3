//! What `bench` and the processes that it measures in say to each other.
//!
//! A request is a line with a number and a JSON object; its answer is a line with a marker, the
//! same number and a JSON object. Libraries print to the same pipe, with or without an end of line
//! and in any encoding: an answer begins on a line of its own, and whatever has no marker or
//! another number is noise.

use std::path::PathBuf;

use lapwing_measure::measuring::{Nulls, Run, Work};
use lapwing_measure::memory::Footprint;
use lapwing_measure::reading::Reading;
use lapwing_measure::record::Energy;
use serde::{Deserialize, Serialize};

use crate::compile_cache::CacheReport;

/// What a process is told; each is answered by one [`Answer`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// Open a model.
    Open(Box<Setup>),
    /// Say what the process holds.
    Memory,
    /// Look for a sensor of energy, and forget what it counted before.
    WatchEnergy,
    /// Say what the sensor counted since.
    Energy {
        /// Tokens that were read or produced since.
        n_tokens: u64,
    },
    /// Make one run.
    Run {
        /// What it does.
        work: Work,
        /// What is looked at.
        looks_at: LooksAt,
    },
}

/// No library prints a line that begins like this.
const MARKER: &str = "lapwing-bench-answer";

/// A request as the process reads it; the end of the line is not part of it.
pub(super) fn request_line(number: u64, request: &Request) -> String {
    let json = serde_json::to_string(request).expect("requests have only string keys");
    format!("{number} {json}")
}

/// The number of a request and what it asks for, if that can be understood.
pub(super) fn parse_request(line: &str) -> (u64, Result<Request, serde_json::Error>) {
    let (number, json) = line.split_once(' ').unwrap_or(("", line));
    (number.parse().unwrap_or(0), serde_json::from_str(json))
}

/// An answer as it is printed. Its first character ends the line that somebody else began.
pub(super) fn answer_line(number: u64, answer: &Answer) -> String {
    let json = serde_json::to_string(answer).expect("answers have only string keys");
    format!("\n{MARKER} {number} {json}")
}

/// The number and the JSON object of an answer; `None` for what libraries print.
pub(super) fn parse_answer(line: &[u8]) -> Option<(u64, &str)> {
    let line = std::str::from_utf8(line).ok()?.trim_end();
    let (number, json) = line.strip_prefix(MARKER)?.strip_prefix(' ')?.split_once(' ')?;
    Some((number.parse().ok()?, json))
}

/// What is looked at around the timed part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LooksAt {
    Nothing,
    /// Takes milliseconds between the phases: for runs that do not count.
    Memory,
    /// Counts for [`Request::Energy`].
    Energy,
}

/// How to open a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Setup {
    /// A path or a name in the store.
    pub(super) model: String,
    /// The one that was found, whoever asked for it; `None` where there is nothing to choose from.
    pub(super) variant: Option<String>,
    pub(super) backend: String,
    pub(super) device: String,
    pub(super) precision: String,
    pub(super) n_threads: Option<usize>,
    pub(super) n_positions_max: Option<usize>,
    pub(super) correction: String,
    /// Where compiled models are kept, if elsewhere than usual.
    pub(super) cache_folder: Option<PathBuf>,
}

/// What a process answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// To [`Request::Open`].
    Opened(Box<Opened>),
    /// To [`Request::Memory`].
    Memory(Footprint),
    /// To [`Request::WatchEnergy`].
    Watching {},
    /// To [`Request::Energy`].
    Energy {
        /// What it counted.
        reading: Reading<Energy>,
        /// Reasons for what is null in it.
        nulls: Nulls,
    },
    /// To [`Request::Run`].
    Ran(Box<Ran>),
    /// To any.
    Failed {
        /// Why.
        message: String,
        /// What to do about it.
        hint: Option<String>,
        /// Ctrl-C broke it off.
        is_interrupted: bool,
    },
}

/// A model that was opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Opened {
    pub(super) backend: String,
    pub(super) backend_version: String,
    pub(super) device_used: String,
    pub(super) device_name: String,
    /// What `auto` passed over, as it is told to people.
    pub(super) ladder: Option<String>,
    /// The version of the device's driver, where the library tells.
    pub(super) driver_version: Option<String>,
    pub(super) n_positions_max: usize,
    /// The longest first prompt, where the device was compiled for one.
    pub(super) n_prompt_tokens_max: Option<usize>,
    pub(super) weights_mapped_bytes: u64,
    pub(super) state_bytes_per_decoder: Option<u64>,
    pub(super) state_bytes_per_position: Option<u64>,
    pub(super) device_bytes: Option<u64>,
    pub(super) has_tokenizer: bool,
    /// `off`, or the file name of the profile.
    pub(super) correction: String,
    pub(super) correction_sha256: Option<String>,
    /// `None` where the library reads and compiles in one call.
    pub(super) read_ms: Option<f64>,
    pub(super) compile_ms: f64,
    /// `None` where the backend keeps nothing.
    pub(super) compile_cache: Option<CacheReport>,
}

/// A run that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Ran {
    pub(super) run: Run,
    pub(super) prefilled: Option<Footprint>,
    pub(super) decoded: Option<Footprint>,
}
