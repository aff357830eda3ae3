//! What devices there are, and on which of them which model is to run.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lapwing_host::backend::DeviceRequest;
use lapwing_serving::message::{Ask, Library, Said};

use super::listings::ask_once;
use crate::options::Options;
use crate::refusal::Refusal;

/// How long what the libraries offer is taken as known.
const FRESH: Duration = Duration::from_secs(60);

/// Devices.
#[derive(Default)]
pub(super) struct Devices {
    offered: tokio::sync::Mutex<Option<(Instant, Vec<Library>)>>,
    /// Devices of models for which somebody chose one, until the daemon ends.
    chosen: Mutex<HashMap<String, DeviceRequest>>,
}

impl Devices {
    /// What the libraries offer on this machine: what they said last, if that was lately.
    pub(super) async fn offered(&self, options: &Options) -> Result<Vec<Library>, Refusal> {
        let mut told = self.offered.lock().await;
        if let Some((at, libraries)) = told.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            tracing::debug!(age = ?at.elapsed(), "devices are known");
            return Ok(libraries.clone());
        }
        match ask_once(options, &Ask::Devices).await? {
            Said::Offered(libraries) => {
                *told = Some((Instant::now(), libraries.clone()));
                Ok(libraries)
            }
            _ => Err(Refusal::internal("the process that looks is of another version")),
        }
    }

    /// Which device was chosen for the model `name`; `None` where the settings say it.
    pub(super) fn chosen(&self, name: &str) -> Option<DeviceRequest> {
        self.table().get(name).copied()
    }

    /// Choose a device for the model `name`, or leave it to the settings again.
    pub(super) fn choose(&self, name: &str, device: Option<DeviceRequest>) {
        let mut table = self.table();
        match device {
            Some(device) => table.insert(name.to_owned(), device),
            None => table.remove(name),
        };
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<String, DeviceRequest>> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
