//! What happens while a model is opened, and who hears it.

use std::fmt;

use lapwing_backend::{CacheOutcome, CacheUse, DeviceKind, DeviceRequest};
use lapwing_files::Allowance;
use lapwing_files::disk::human_bytes;
use serde::Serialize;

use crate::trial::Stage;

/// What a library takes beside a model, roughly: less than any of them was seen to take.
const LIBRARY_BYTES: u64 = 60_000_000;

/// Something that whoever opens a model may want to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// `auto` takes this device, because it was measured.
    Recommended {
        /// The device, and what was measured.
        why: String,
    },
    /// `auto` does not take the device that was measured.
    RecommendationSkipped {
        /// Why, and what was measured.
        why: String,
    },
    /// What was measured cannot be read.
    RecommendationsUnreadable {
        /// Why.
        why: String,
    },
    /// A device is tried in a process of its own, which may take minutes.
    Trying {
        /// The device.
        device: DeviceRequest,
    },
    /// What came of a trial cannot be kept.
    TrialForgotten {
        /// Why.
        why: String,
    },
    /// `auto` passed over devices.
    PassedOver {
        /// Those, in order.
        refused: Vec<RefusedRung>,
        /// The one that it came to.
        device: DeviceRequest,
    },
    /// f32 was asked for throughout, and this device does not compute so.
    NotExact {
        /// The device.
        kind: DeviceKind,
    },
    /// More positions were asked for than the model has.
    ShorterContext {
        /// Positions that were asked for.
        n_asked: usize,
        /// Those of the model.
        n_positions_max: usize,
    },
    /// Prompts go in at once, and what is new behind them token by token.
    WholePrompts {
        /// Why.
        why: String,
    },
    /// The model may not fit in the memory that this process may take.
    LittleMemory {
        /// What the model and its library take, roughly.
        n_bytes: u64,
        /// What the process may take.
        allowed_bytes: u64,
    },
    /// What was compiled before could not be used.
    CompiledAnew {
        /// Why.
        why: String,
    },
    /// What was compiled now is not kept: the next start takes as long.
    NotKept {
        /// Why.
        why: String,
    },
    /// The model runs, and nobody will notice when its files change meanwhile.
    Unwatched {
        /// Why.
        why: String,
    },
    /// `auto` comes to no correction.
    NoCorrection {
        /// Why.
        why: String,
    },
}

/// A device that `auto` passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedRung {
    /// What requests call it.
    pub device: String,
    /// Why.
    pub reason: String,
}

/// Whoever wants a model opened: it hears what happens, and may stop it.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// Hears every notice, in order.
    pub tell: &'a dyn Fn(Notice),
    /// Asked often while a worker works and files are read, and before and after the library opens a
    /// model, which cannot be stopped; once it says yes the work ends with an error.
    pub is_stopped: &'a dyn Fn() -> bool,
    /// Hears which stage begins, with what: the path of the model whose files are read, or the
    /// library and the device. Of use to who wants to tell it after a crash.
    pub begins: &'a dyn Fn(Stage, &str),
}

impl Caller<'static> {
    /// Nobody listens, and nobody stops it.
    pub const NOBODY: Caller<'static> =
        Caller { tell: &|_| {}, is_stopped: &|| false, begins: &|_, _| {} };
}

impl Caller<'_> {
    pub(crate) fn tell(&self, notice: Notice) {
        (self.tell)(notice);
    }
}

impl Notice {
    /// What there is to say of the cache of compiled models: only what costs time.
    pub(crate) fn of_cache(cache_use: &CacheUse) -> Option<Notice> {
        match &cache_use.outcome {
            CacheOutcome::Hit | CacheOutcome::Stored => None,
            CacheOutcome::Rebuilt { why } => Some(Notice::CompiledAnew { why: why.clone() }),
            CacheOutcome::NotStored { why } => Some(Notice::NotKept { why: why.clone() }),
        }
    }

    /// What there is to say of a model whose files have `n_file_bytes`.
    pub(crate) fn of_memory(n_file_bytes: u64, allowance: &Allowance) -> Option<Notice> {
        let n_bytes = n_file_bytes.saturating_add(LIBRARY_BYTES);
        let allowed_bytes = allowance.memory_bytes.filter(|&allowed| allowed < n_bytes)?;
        Some(Notice::LittleMemory { n_bytes, allowed_bytes })
    }

    /// Whether it is something that should not be so.
    pub fn is_warning(&self) -> bool {
        use Notice::{
            LittleMemory, NotExact, RecommendationsUnreadable, ShorterContext, TrialForgotten,
            Unwatched, WholePrompts,
        };
        matches!(
            self,
            TrialForgotten { .. }
                | LittleMemory { .. }
                | NotExact { .. }
                | ShorterContext { .. }
                | Unwatched { .. }
                | RecommendationsUnreadable { .. }
                | WholePrompts { .. }
        )
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Recommended { why } => write!(f, "device {why}"),
            Notice::RecommendationSkipped { why } | Notice::RecommendationsUnreadable { why } => {
                f.write_str(why)
            }
            Notice::Trying { device } => write!(
                f,
                "{device} is tried in a process of its own first; this may take minutes, once"
            ),
            Notice::TrialForgotten { why } => write!(f, "the trial will be repeated: {why}"),
            Notice::PassedOver { refused, device } => {
                f.write_str("device auto: ")?;
                for RefusedRung { device, reason } in refused {
                    write!(f, "{device}: {reason} → ")?;
                }
                write!(f, "{device}")
            }
            Notice::NotExact { kind } => f.write_str(match kind {
                DeviceKind::Gpu => "a GPU keeps its KV cache in f16",
                DeviceKind::Npu | DeviceKind::NpuOnCpu => "an NPU computes in f16",
                DeviceKind::Cpu => "a CPU computes in f32",
            }),
            Notice::ShorterContext { n_asked, n_positions_max } => write!(
                f,
                "a context of {n_asked} positions was asked for, and the model has \
                 {n_positions_max}: that many are taken"
            ),
            Notice::WholePrompts { why } => {
                write!(f, "{why}; from now on prompts of this model go in at once")
            }
            Notice::LittleMemory { n_bytes, allowed_bytes } => write!(
                f,
                "the model and its library take about {} of memory, and this process may take {}: \
                 the system may end it",
                human_bytes(*n_bytes),
                human_bytes(*allowed_bytes)
            ),
            Notice::CompiledAnew { why } => write!(f, "compiled the model anew: {why}"),
            Notice::NotKept { why } => {
                write!(f, "the compiled model is not kept, the next start takes as long: {why}")
            }
            Notice::Unwatched { why } => {
                write!(f, "a change of the model's files will not be noticed: {why}")
            }
            Notice::NoCorrection { why } => write!(f, "no logit correction: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_model_that_does_not_fit_is_told_with_both_numbers() {
        let of = |n_bytes, memory_bytes| {
            let notice = Notice::of_memory(n_bytes, &Allowance { n_cpus: None, memory_bytes });
            notice.map(|notice| (notice.is_warning(), notice.to_string()))
        };
        assert_eq!(of(u64::MAX, None), None);
        assert_eq!(of(540_000_000, Some(600_000_000)), None);
        let told = "the model and its library take about 660.0 MB of memory, and this process may \
                    take 600.0 MB: the system may end it";
        assert_eq!(of(600_000_000, Some(600_000_000)), Some((true, told.to_owned())));
    }

    #[test]
    fn of_the_cache_only_what_costs_time_is_told() {
        let check = |outcome: CacheOutcome, expected: Option<&str>| {
            let cache_use = CacheUse { outcome, folder: PathBuf::new(), n_bytes: 7 };
            let notice = Notice::of_cache(&cache_use).map(|notice| notice.to_string());
            assert_eq!(notice.as_deref(), expected);
        };
        let why = || "because".to_owned();
        check(CacheOutcome::Hit, None);
        check(CacheOutcome::Stored, None);
        let anew = Some("compiled the model anew: because");
        check(CacheOutcome::Rebuilt { why: why() }, anew);
        let not_kept =
            Some("the compiled model is not kept, the next start takes as long: because");
        check(CacheOutcome::NotStored { why: why() }, not_kept);
    }
}
