//! What answers took in use, as records.

use axum::Json;
use axum::extract::State;
use lapwing_measure::in_use::{InUse, record};
use lapwing_measure::record::Configuration;

use crate::app::App;
use crate::in_use::{Files, LeftOut, N_CONFIGURATIONS_MAX, Use, Used};
use crate::refusal::Refusal;

/// The first to ask waits until the files of the models are read that answered.
pub(super) async fn used(State(app): State<App>) -> Result<Json<Used>, Refusal> {
    Ok(Json(app.used().await?))
}

impl App {
    /// What answers took until now.
    async fn used(&self) -> Result<Used, Refusal> {
        let uses = self.counts.uses.table().clone();
        let (mut told, mut left_out) = (Vec::new(), Vec::new());
        for used in uses {
            match self.hash(&used.of.files).await {
                Ok(hash) => told.push((used, hash)),
                Err(reason) => {
                    left_out.push(LeftOut { model: used.of.files.0.clone(), reason });
                }
            }
        }
        let (header, sensors) = (self.counts.uses.header.clone(), self.ledger.sensors());
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
        let mut hashes = self.counts.uses.hashes.lock().await;
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
