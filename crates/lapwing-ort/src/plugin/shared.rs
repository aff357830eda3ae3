//! What all decoders of a model share.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use lapwing_backend::Source;
use ort::environment::Environment;
use ort::session::Session;

use super::{PluginDevice, find};
use crate::contract::Contract;

/// What decoders share: all that makes a session, as each has its own.
pub(super) struct Shared {
    pub(super) environment: Environment,
    pub(super) graph: PathBuf,
    pub(super) device: PluginDevice,
    pub(super) options: Vec<(String, String)>,
    /// Sizes that the graph gives a name instead of a number.
    pub(super) named_sizes: Vec<(String, i64)>,
    /// The session that showed that the model can be opened, until a decoder takes it.
    pub(super) first_session: Mutex<Option<Session>>,
    pub(super) contract: Contract,
    pub(super) n_positions_max: usize,
    pub(super) n_first_tokens_max: usize,
}

impl Shared {
    /// A session whose state is empty.
    ///
    /// # Errors
    ///
    /// When the library refuses the graph, or a part of it: nothing is left to another device.
    pub(super) fn session(&self) -> Result<Session, Source> {
        let first = self.first_session.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(session) = first {
            return Ok(session);
        }
        let device = find(&self.environment, &self.device).ok_or("the device is gone")?;
        let built = || -> ort::Result<Session> {
            let mut builder = Session::builder(&self.environment)?
                .with_disable_cpu_fallback()?
                .with_devices([device], Some(&self.options))?;
            for (name, size) in &self.named_sizes {
                builder = builder.with_dimension_override(name, *size)?;
            }
            builder.commit_from_file(&self.graph)
        };
        Ok(built()?)
    }
}
