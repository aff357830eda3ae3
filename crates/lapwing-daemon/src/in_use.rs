//! What answers really took, for [`crate::own`]: the newest of each configuration, in memory alone.
//! Nothing of a prompt or an answer is kept.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use lapwing_host::backend::OpenOptions;
use lapwing_measure::bench::{Header, host};
use lapwing_measure::conditions::Snapshot;
use lapwing_measure::in_use::{AnswerTook, InUse, record};
use lapwing_measure::reading::Reason;
use lapwing_measure::record::{Configuration, Program, Record, run_id};
use lapwing_serving::message::{Card, Ended, Listing, Spent};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::models::Loaded;
use crate::refusal::Refusal;

/// Answers that are known of a configuration: the newest.
const N_ANSWERS_MAX: usize = 512;
/// Configurations of which answers are known: those that answered last.
const N_CONFIGURATIONS_MAX: usize = 32;

/// What answers took since the daemon began.
#[derive(Debug)]
pub(crate) struct Uses {
    header: Header,
    table: Mutex<Vec<Use>>,
    /// SHA-256 and bytes of models' files by name, variant and digest: to read them takes long.
    hashes: tokio::sync::Mutex<HashMap<Files, (String, u64)>>,
}

/// Files as the store tells them apart: the name of a model, which of its graphs, and a digest.
type Files = (String, Option<String>, String);

/// A configuration and its answers, oldest first.
#[derive(Debug, Clone)]
struct Use {
    of: Arc<Answerer>,
    answers: VecDeque<AnswerTook>,
    /// What its process held after the last one.
    resident_bytes: Option<u64>,
}

/// What of a loaded model its answers are recorded of.
#[derive(Debug)]
pub(crate) struct Answerer {
    /// Without what only reading all of its files tells.
    configuration: Configuration,
    files: Files,
    weights_and_device_bytes: (u64, Option<u64>),
    loaded_bytes: Option<u64>,
    /// The machine before it was loaded.
    before: Snapshot,
}

/// Times one answer.
pub(crate) struct Recorder {
    uses: Arc<Uses>,
    #[cfg(feature = "otlp")]
    exports: Arc<crate::otlp::Exports>,
    loaded: Arc<Loaded>,
    /// `chat` or `text_completion`.
    #[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "only metrics tell"))]
    operation: &'static str,
    /// When its request came.
    #[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "only metrics tell"))]
    arrived: Instant,
    /// When its request came, as if the model had been loaded.
    due: Instant,
    tokens: Option<[Instant; 2]>,
}

/// What answers took, as records, in the form of `profiles/record.schema.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Used {
    /// One for each configuration.
    pub records: Vec<Record>,
    /// Those of which nothing can be told any more.
    pub left_out: Vec<LeftOut>,
}

/// A model whose answers are not told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

impl Recorder {
    /// For an answer of `loaded` to a request that `arrived`, and is as if it had been `due` with the
    /// model loaded.
    pub(crate) fn new(
        app: &App,
        loaded: Arc<Loaded>,
        (arrived, due): (Instant, Instant),
        operation: &'static str,
    ) -> Recorder {
        Recorder {
            uses: Arc::clone(&app.uses),
            #[cfg(feature = "otlp")]
            exports: Arc::clone(&app.exports),
            loaded,
            operation,
            arrived,
            due,
            tokens: None,
        }
    }

    /// A token came.
    pub(crate) fn token(&mut self, at: Instant) {
        let [first, _] = self.tokens.unwrap_or([at; 2]);
        self.tokens = Some([first, at]);
    }

    /// That was all.
    pub(crate) fn ended(&self, ended: &Ended, spent: &Spent) {
        #[cfg(feature = "otlp")]
        self.exports.note(&self.answered(ended, spent));
        let Some([first, last]) = self.tokens else { return };
        let ms = |at: Instant| at.saturating_duration_since(self.due).as_secs_f64() * 1e3;
        let unknown = || Reason::new(spent.energy_null.clone().unwrap_or_default());
        let took = AnswerTook {
            ended_at: SystemTime::now(),
            n_read: ended.n_prompt - ended.n_reused,
            n_known: ended.n_reused,
            n_tokens: ended.n_tokens,
            ttft_ms: ms(first),
            total_ms: ms(last),
            energy_j: spent.energy_j.ok_or_else(unknown),
        };
        if took.tells_speed() {
            self.uses.note(&self.loaded.answerer, took, self.loaded.crowd.resident_bytes());
        }
    }
}

/// One answer, as far as metrics tell of it.
#[cfg(feature = "otlp")]
pub(crate) struct Answered<'a> {
    pub(crate) of: &'a Configuration,
    pub(crate) operation: &'static str,
    pub(crate) n_prompt: usize,
    pub(crate) n_known: usize,
    pub(crate) n_tokens: usize,
    /// Since its request came.
    pub(crate) duration_s: f64,
    /// `None` where it has no token.
    pub(crate) first_token_s: Option<f64>,
    /// `None` where it has no two.
    pub(crate) per_token_s: Option<f64>,
    pub(crate) energy_j: Option<f64>,
    pub(crate) was_given_up: bool,
}

#[cfg(feature = "otlp")]
impl Recorder {
    fn answered(&self, ended: &Ended, spent: &Spent) -> Answered<'_> {
        let first = self.tokens.map(|[first, _]| first.saturating_duration_since(self.due));
        let between = self.tokens.map(|[first, last]| last - first);
        let per_token = between.filter(|_| 2 <= ended.n_tokens);
        Answered {
            of: &self.loaded.answerer.configuration,
            operation: self.operation,
            n_prompt: ended.n_prompt,
            n_known: ended.n_reused,
            n_tokens: ended.n_tokens,
            duration_s: self.arrived.elapsed().as_secs_f64(),
            first_token_s: first.map(|first| first.as_secs_f64()),
            per_token_s: per_token.map(|all| all.as_secs_f64() / (ended.n_tokens - 1) as f64),
            energy_j: spent.energy_j,
            was_given_up: ended.why == lapwing_serving::message::Why::Cancelled,
        }
    }
}

impl Uses {
    /// Which daemon it is, and where.
    #[cfg(feature = "otlp")]
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn new(program: Program) -> Uses {
        let host = host();
        let run_id = run_id(&host, SystemTime::now(), std::process::id());
        let header = Header { run_id, host, program };
        Uses { header, table: Mutex::default(), hashes: tokio::sync::Mutex::default() }
    }

    fn table(&self) -> MutexGuard<'_, Vec<Use>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, of: &Arc<Answerer>, took: AnswerTook, resident_bytes: Option<u64>) {
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

impl App {
    /// What answers took until now.
    pub(crate) async fn used(&self) -> Result<Used, Refusal> {
        let uses = self.uses.table().clone();
        let (mut told, mut left_out) = (Vec::new(), Vec::new());
        for used in uses {
            match self.hash(&used.of.files).await {
                Ok(hash) => told.push((used, hash)),
                Err(reason) => {
                    left_out.push(LeftOut { model: used.of.files.0.clone(), reason });
                }
            }
        }
        let (header, sensors) = (self.uses.header.clone(), self.ledger.sensors());
        let system = self.options.now().system.clone();
        let made = tokio::task::spawn_blocking(move || {
            let record = |(order_idx, (used, hash)): (usize, (Use, (String, u64)))| {
                let Use { of, answers, resident_bytes } = used;
                let (model_sha256, n_bytes) = hash;
                let model_bytes = Some(n_bytes);
                let configuration =
                    Configuration { model_sha256, model_bytes, ..of.configuration.clone() };
                let used = InUse {
                    configuration: &configuration,
                    order_idx,
                    answers: &Vec::from(answers),
                    sensors: &sensors,
                    resident_bytes: [of.loaded_bytes, resident_bytes],
                    weights_and_device_bytes: of.weights_and_device_bytes,
                    before: &of.before,
                };
                record(&header, &used, &system)
            };
            told.into_iter().enumerate().map(record).collect::<Result<Vec<_>, _>>()
        });
        let records = made.await.map_err(|error| error.to_string());
        let records = records.and_then(|made| made.map_err(|error| error.to_string()));
        let records = records.map_err(|problem| {
            tracing::error!(problem, "no records of use");
            Refusal::internal("the records of use cannot be made")
        })?;
        Ok(Used { records, left_out })
    }

    /// What tells these files from others of the same name, or why nobody can tell any more.
    async fn hash(&self, files: &Files) -> Result<(String, u64), String> {
        // Whoever comes meanwhile waits for the same.
        let mut hashes = self.uses.hashes.lock().await;
        if let Some(hash) = hashes.get(files) {
            return Ok(hash.clone());
        }
        let (name, variant, _) = files;
        self.require_unchanged(files).await?;
        let hash = self.models.hash(name, variant.clone()).await.map_err(|r| r.message)?;
        self.require_unchanged(files).await?;
        if N_CONFIGURATIONS_MAX <= hashes.len() {
            hashes.clear();
        }
        hashes.insert(files.clone(), hash.clone());
        Ok(hash)
    }

    async fn require_unchanged(&self, (name, _, digest): &Files) -> Result<(), String> {
        let list = self.models.list().await.map_err(|refusal| refusal.message)?;
        match list.iter().find(|listing| listing.name == *name) {
            Some(listing) if listing.digest == *digest => Ok(()),
            Some(_) => Err("its files have changed since it answered".to_owned()),
            None => Err("it was removed since it answered".to_owned()),
        }
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
