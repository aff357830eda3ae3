//! What answers really took, for [`crate::own`]: the newest of each configuration, in memory alone.
//! Nothing of a prompt or an answer is kept.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use lapwing_host::backend::OpenOptions;
use lapwing_measure::bench::{Header, host};
use lapwing_measure::conditions::Snapshot;
use lapwing_measure::in_use::AnswerTook;
use lapwing_measure::record::{Configuration, Program, Record, run_id};
use lapwing_serving::message::{Card, Listing};
use serde::{Deserialize, Serialize};

/// Answers that are known of a configuration: the newest.
const N_ANSWERS_MAX: usize = 512;
/// Configurations of which answers are known: those that answered last.
pub(crate) const N_CONFIGURATIONS_MAX: usize = 32;

/// What answers took since the daemon began.
#[derive(Debug)]
pub(crate) struct Uses {
    /// Which daemon it is, and where.
    pub(crate) header: Header,
    table: Mutex<Vec<Use>>,
    /// SHA-256 and bytes of models' files by name, variant and digest: to read them takes long.
    pub(crate) hashes: tokio::sync::Mutex<HashMap<Files, (String, u64)>>,
}

/// Files as the store tells them apart: the name of a model, which of its graphs, and a digest.
pub(crate) type Files = (String, Option<String>, String);

/// A configuration and its answers, oldest first.
#[derive(Debug, Clone)]
pub(crate) struct Use {
    pub(crate) of: Arc<Answerer>,
    pub(crate) answers: VecDeque<AnswerTook>,
    /// What its process held after the last one.
    pub(crate) resident_bytes: Option<u64>,
}

/// What of a loaded model its answers are recorded of.
#[derive(Debug)]
pub(crate) struct Answerer {
    /// Without what only reading all of its files tells.
    pub(crate) configuration: Configuration,
    pub(crate) files: Files,
    pub(crate) weights_and_device_bytes: (u64, Option<u64>),
    pub(crate) loaded_bytes: Option<u64>,
    /// The machine before it was loaded.
    pub(crate) before: Snapshot,
}

/// What answers took, as records, in the form of `profiles/record.schema.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Used {
    /// One for each configuration.
    #[schema(value_type = Vec<Object>)]
    pub records: Vec<Record>,
    /// Those of which nothing can be told any more.
    pub left_out: Vec<LeftOut>,
}

/// A model whose answers are not told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LeftOut {
    /// Its name.
    pub model: String,
    /// Why.
    pub reason: String,
}

impl Answerer {
    pub(crate) fn new(
        listing: &Listing,
        options: &OpenOptions,
        card: &Card,
        before: Snapshot,
        loaded_bytes: Option<u64>,
    ) -> Answerer {
        let device_name = card.device_name.trim();
        // As `bench` does: what else a model was compiled for is a setting.
        let prompt =
            card.n_prompt_tokens_max.map(|n| ("n_prompt_tokens_max".to_owned(), n.to_string()));
        let configuration = Configuration {
            model: card.name.clone(),
            model_kind: listing.kind.clone(),
            variant: card.variant.clone(),
            backend: card.backend.clone(),
            backend_version: Some(card.backend_version.clone()),
            device_requested: options.device.to_string(),
            device_used: Some(card.device.clone()),
            device_name: (!device_name.is_empty()).then(|| device_name.to_owned()),
            driver_version: card.driver_version.clone(),
            precision: options.precision.to_string(),
            n_threads: options.n_threads,
            n_positions_max: Some(card.n_positions_max),
            correction: card.correction.clone().unwrap_or_else(|| "off".to_owned()),
            correction_sha256: card.correction_sha256.clone(),
            settings: prompt.into_iter().chain(options.properties.clone()).collect(),
            ..Configuration::default()
        };
        Answerer {
            configuration,
            files: (listing.name.clone(), card.variant.clone(), listing.digest.clone()),
            weights_and_device_bytes: (card.memory.weights_mapped_bytes, card.memory.device_bytes),
            loaded_bytes,
            before,
        }
    }

    fn is_same(&self, other: &Answerer) -> bool {
        (&self.configuration, &self.files) == (&other.configuration, &other.files)
    }
}

impl Uses {
    pub(crate) fn new(program: Program) -> Uses {
        let host = host();
        let run_id = run_id(&host, SystemTime::now(), std::process::id());
        let header = Header { run_id, host, program };
        Uses { header, table: Mutex::default(), hashes: tokio::sync::Mutex::default() }
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, Vec<Use>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, of: &Arc<Answerer>, took: AnswerTook, resident_bytes: Option<u64>) {
        let mut table = self.table();
        // Who answered last stands last.
        let place = table.iter().position(|used| used.of.is_same(of));
        let new = || Use { of: Arc::clone(of), answers: VecDeque::new(), resident_bytes };
        let mut used = place.map_or_else(new, |place| table.remove(place));
        used.resident_bytes = resident_bytes.or(used.resident_bytes);
        used.answers.push_back(took);
        let n_old = used.answers.len().saturating_sub(N_ANSWERS_MAX);
        used.answers.drain(..n_old);
        table.push(used);
        let n_old = table.len().saturating_sub(N_CONFIGURATIONS_MAX);
        table.drain(..n_old);
    }
}

#[cfg(test)]
mod tests {
    use lapwing_measure::reading::SystemFiles;

    use super::*;

    fn answerer(device: &str) -> Arc<Answerer> {
        let folder = tempfile::tempdir().unwrap();
        Arc::new(Answerer {
            configuration: Configuration {
                device_used: Some(device.to_owned()),
                ..Configuration::default()
            },
            files: ("m".to_owned(), None, "d".to_owned()),
            weights_and_device_bytes: (0, None),
            loaded_bytes: None,
            before: Snapshot::take(&SystemFiles::at(folder.path())),
        })
    }

    fn took(n_read: usize) -> AnswerTook {
        AnswerTook {
            ended_at: SystemTime::now(),
            n_read,
            n_known: 0,
            n_tokens: 2,
            ttft_ms: 1.0,
            total_ms: 2.0,
            energy_j: Ok(1.0),
        }
    }

    fn uses() -> Uses {
        let program = Program { name: "p".into(), version: None, git_revision: None };
        Uses::new(program)
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_newest() {
        let uses = uses();
        let gpu = answerer("GPU");
        for n_read in 0..N_ANSWERS_MAX + 3 {
            uses.note(&gpu, took(n_read), None);
        }
        assert_eq!(uses.table().len(), 1);
        assert_eq!(uses.table()[0].answers.len(), N_ANSWERS_MAX);
        assert_eq!(uses.table()[0].answers[0].n_read, 3);
        for idx in 0..N_CONFIGURATIONS_MAX - 1 {
            uses.note(&answerer(&idx.to_string()), took(1), None);
        }
        uses.note(&gpu, took(1), Some(7));
        uses.note(&answerer("one more"), took(1), None);
        let table = uses.table();
        assert_eq!(table.len(), N_CONFIGURATIONS_MAX);
        let names: Vec<_> =
            table.iter().map(|of| of.of.configuration.device_used.clone()).collect();
        assert!(!names.contains(&Some("0".into())), "it answered longest ago: {names:?}");
        assert!(names.contains(&Some("GPU".into())), "{names:?}");
    }

    #[test]
    fn a_model_that_is_loaded_again_goes_on() {
        let uses = uses();
        uses.note(&answerer("CPU"), took(1), Some(5));
        uses.note(&answerer("CPU"), took(2), None);
        let table = uses.table();
        assert_eq!((table.len(), table[0].answers.len()), (1, 2));
        assert_eq!(table[0].resident_bytes, Some(5));
    }
}
