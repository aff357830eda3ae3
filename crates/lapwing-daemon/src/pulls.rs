//! Models that are being pulled, each by a process of its own, which alone has a way to the network.
//!
//! Whoever wants one that is being pulled waits for the same; when the last of them leaves it stops, and
//! the next goes on where it was.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use axum::http::StatusCode;
use lapwing_host::worker::crowd::{Crowd, Heard};
use lapwing_serving::pulling::{PullAsk, PullSaid, PullWork};
use tokio::sync::watch;

use crate::options::InForce;
use crate::refusal::{Code, Refusal};

/// Models that are pulled at a time.
const N_PULLS_MAX: usize = 4;
/// Characters of a name; the catalogue has none that long.
const N_NAME_CHARS_MAX: usize = 200;
/// When to come again for a place, in seconds.
const RETRY_S: u64 = 30;

/// Models that are being pulled, by their names.
pub(crate) struct Pulls {
    options: Arc<InForce>,
    running: Mutex<HashMap<String, Weak<Pull>>>,
}

/// A model that is being pulled, as long as somebody holds this.
pub(crate) struct Pull {
    crowd: Crowd<PullAsk, PullSaid>,
    stage: watch::Receiver<Stage>,
}

/// How far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    Begun,
    Working(PullWork),
    Ended(Result<(), Refusal>),
}

impl Stage {
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self, Stage::Ended(_))
    }

    fn of(heard: Heard<PullSaid>) -> Stage {
        match heard {
            Heard::More(said) | Heard::Last(said) => match said {
                PullSaid::Working(work) => Stage::Working(work),
                PullSaid::Pulled => Stage::Ended(Ok(())),
                PullSaid::Failed(failure) => Stage::Ended(Err(failure.into())),
            },
            Heard::Lost(lost) => {
                tracing::warn!(loss = %lost.loss, "a process that pulls was lost");
                let message = format!("the process that pulls was lost: {}", lost.loss);
                Stage::Ended(Err(Refusal::internal(message)))
            }
            Heard::Garbled(error) => {
                tracing::error!(error, "a process that pulls is of another version");
                let message = "the process that pulls is of another version";
                Stage::Ended(Err(Refusal::internal(message)))
            }
        }
    }
}

impl Pull {
    pub(crate) fn stage(&self) -> watch::Receiver<Stage> {
        self.stage.clone()
    }
}

impl Drop for Pull {
    fn drop(&mut self) {
        self.crowd.dismiss();
    }
}

impl Pulls {
    pub(crate) fn new(options: Arc<InForce>) -> Pulls {
        Pulls { options, running: Mutex::default() }
    }

    /// Pull the model that the catalogue calls `name`, or join those who wait for it.
    ///
    /// # Errors
    ///
    /// When clients may not, or too many are being pulled. What the catalogue lacks is heard of later.
    pub(crate) fn pull(&self, name: &str) -> Result<Arc<Pull>, Refusal> {
        let options = self.options.now();
        let Some(puller) = &options.puller else {
            let message = "this server does not do that: models are pulled by whoever runs it, \
                           unless it is started so that clients may";
            let status = StatusCode::NOT_IMPLEMENTED;
            return Err(Refusal::new(status, Code::NotImplemented, message));
        };
        if N_NAME_CHARS_MAX < name.len() {
            return Err(Refusal::no_model(name));
        }
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, pull| pull.strong_count() != 0);
        let same = running.get(name).and_then(Weak::upgrade);
        if let Some(pull) = same.filter(|pull| !pull.stage.borrow().has_ended()) {
            return Ok(pull);
        }
        if N_PULLS_MAX <= running.len() {
            let message = format!("{N_PULLS_MAX} models are being pulled already");
            return Err(Refusal::busy(message, RETRY_S));
        }
        let internal = |error: String| Refusal::internal(format!("cannot pull: {error}"));
        let command = puller.command().map_err(|error| internal(error.to_string()))?;
        let crowd = Crowd::start(command, |_| ()).map_err(|error| internal(error.to_string()))?;
        let (sender, stage) = watch::channel(Stage::Begun);
        let model = name.to_owned();
        let hear = move |heard| {
            let stage = Stage::of(heard);
            if let Stage::Ended(outcome) = &stage {
                let error = outcome.as_ref().err().map(ToString::to_string);
                tracing::info!(model, error, "a pull has ended");
            }
            sender.send_replace(stage);
        };
        tracing::info!(model = name, "pulling");
        crowd.ask(&PullAsk { name: name.to_owned() }, Box::new(hear));
        let pull = Arc::new(Pull { crowd, stage });
        running.insert(name.to_owned(), Arc::downgrade(&pull));
        Ok(pull)
    }
}
