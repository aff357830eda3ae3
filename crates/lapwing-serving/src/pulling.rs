//! A worker that pulls models: what is asked of it, what it says, and how it works. It alone has a way
//! to the network, and gets names of the catalogue alone: no addresses and no paths.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use lapwing_host::with_causes;
use lapwing_host::worker::{self, Asker, ServeError};
use lapwing_store::{Caller, Catalog, Notice, PullError, PullRequest, StoreOptions};
use serde::{Deserialize, Serialize};

use crate::confined::{Network, confine};
use crate::message::{Failure, FailureKind};

/// How often it says how far a piece of work has come.
const TELL: Duration = Duration::from_millis(100);

/// What it is asked for: once in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullAsk {
    /// The model's name in the catalogue.
    pub name: String,
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullSaid {
    /// How far it has come.
    Working(PullWork),
    /// The model is in the store; nothing comes after it.
    Pulled,
    /// It is not; nothing comes after it. What came of it is kept for the next pull.
    Failed(Failure),
}

/// A piece of work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullWork {
    /// What is done, in words: `pulling openvino_model.bin`.
    pub what: String,
    /// Bytes that are done.
    pub n_done: u64,
    /// Bytes that there are, where that is known.
    pub n_bytes: Option<u64>,
}

/// Pull what is asked for on `input`. It stops when nobody asks any more, or when `is_stopped` says so;
/// `advise` tells what to do about an error.
///
/// # Errors
///
/// When a request is not understood, or nobody reads what is said.
pub fn serve_pulls(
    input: impl Read + Send + 'static,
    output: &mut dyn Write,
    options: &StoreOptions,
    is_stopped: &dyn Fn() -> bool,
    advise: &dyn Fn(&PullError) -> Option<String>,
) -> Result<(), ServeError> {
    for problem in confine(Network::Kept) {
        tracing::warn!(problem, "a process that pulls keeps a right");
    }
    worker::serve(input, output, |ask: PullAsk, asker: &mut Asker<'_, PullSaid>| {
        Ok(match pull(&ask.name, asker, options, is_stopped) {
            Ok(()) => PullSaid::Pulled,
            Err(Problem::NotInCatalogue) => {
                let message = format!("'{}' is not in the catalogue", ask.name);
                PullSaid::Failed(Failure { kind: FailureKind::NoModel, message, hint: None })
            }
            Err(Problem::Pull(error)) => {
                let (message, hint) = (with_causes(&*error), advise(&error));
                PullSaid::Failed(Failure { kind: FailureKind::Model, message, hint })
            }
        })
    })
}

enum Problem {
    NotInCatalogue,
    Pull(Box<PullError>),
}

impl From<PullError> for Problem {
    fn from(error: PullError) -> Problem {
        Problem::Pull(Box::new(error))
    }
}

fn pull(
    name: &str,
    asker: &mut Asker<'_, PullSaid>,
    options: &StoreOptions,
    is_stopped: &dyn Fn() -> bool,
) -> Result<(), Problem> {
    if Catalog::load(&options.catalog_file).map_err(PullError::from)?.get(name).is_none() {
        return Err(Problem::NotInCatalogue);
    }
    let teller = RefCell::new(Teller { asker, works: Vec::new(), told: None });
    teller.borrow_mut().begin(format!("pulling {name}"), None);
    let caller = Caller {
        tell: &|notice| teller.borrow_mut().hear(notice),
        is_stopped: &|| is_stopped() || teller.borrow().asker.is_gone(),
    };
    let request = PullRequest {
        name: name.to_owned(),
        store_name: None,
        variant: None,
        link: false,
        force: false,
    };
    lapwing_store::pull(&request, options, caller)?;
    Ok(())
}

/// Makes words of notices.
struct Teller<'a, 'b> {
    asker: &'a mut Asker<'b, PullSaid>,
    /// The last one moves.
    works: Vec<PullWork>,
    told: Option<Instant>,
}

impl Teller<'_, '_> {
    fn hear(&mut self, notice: Notice) {
        match notice {
            Notice::Waiting { holder, .. } => self.say(format!("waiting for {holder}")),
            Notice::Silent { host } => self.say(format!("waiting for {host}")),
            Notice::Begun { work, n_bytes } => self.begin(work.to_string(), n_bytes),
            Notice::Advanced { n_done } | Notice::Resumed { n_done } => self.advance(n_done),
            Notice::Ended => self.end(),
            Notice::NoHash { path, .. } => self.say(format!("the hub gives no hash of {path}")),
            Notice::Repository { .. } | Notice::Cached { .. } | Notice::NotTaken { .. } => {}
        }
    }

    fn say(&mut self, what: String) {
        self.tell(PullWork { what, n_done: 0, n_bytes: None });
    }

    fn begin(&mut self, what: String, n_bytes: Option<u64>) {
        let work = PullWork { what, n_done: 0, n_bytes };
        self.tell(work.clone());
        self.works.push(work);
    }

    fn advance(&mut self, n_done: u64) {
        let Some(work) = self.works.last_mut() else { return };
        work.n_done = n_done;
        if self.told.is_none_or(|at| TELL <= at.elapsed()) {
            let work = work.clone();
            self.tell(work);
        }
    }

    /// The whole of it is told, however lately a part was.
    fn end(&mut self) {
        if let Some(work) = self.works.pop() {
            self.tell(work);
        }
    }

    fn tell(&mut self, work: PullWork) {
        self.told = Some(Instant::now());
        // Who does not hear it is gone, which is asked for often.
        let _ = self.asker.say(&PullSaid::Working(work));
    }
}
