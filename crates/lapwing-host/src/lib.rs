//! A name becomes a running model, on the right device, with its text side.
//!
//! ```text
//! OpenRequest ─► Setup        which model, by what and how: as asked for, and settled
//!                  │
//!               ladder        the device that was asked for, or for `auto` one after the other
//!                  │ trial    first in a worker, a process that may die; the ledger remembers
//!                  ▼
//!               Engine ─► conversation (messages to tokens), sampling, correction ─► Session
//!      EmbeddingEngine  ─► vectors of texts, on the CPU
//! ```
//!
//! ```no_run
//! use lapwing_host::{Caller, Engine, Host, OpenRequest};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let host = Host::below("/var/lib/assistant".as_ref());
//! let request = OpenRequest::of("smollm2-135m-instruct-openvino-int4", &host);
//! let engine = Engine::open(&host, &request, Caller::NOBODY)?;
//! println!("{} on {}", engine.name(), engine.model.device_used().id);
//! # Ok(())
//! # }
//! ```
//!
//! What happens on the way comes as [`Notice`]s to a [`Caller`], which may also stop it. Programs in
//! `examples/` open a model and stream an answer, score a text, and watch notices. What a
//! model, a checkpoint or a file is, [`describe`] tells without any library.
//!
//! Must not know: arguments, terminals, the environment, how anything is shown. Nothing here prints,
//! and an error names what was found, never a flag. One more backend: a library in
//! [`lapwing_store::natives`] and an arm in `backends.rs`; one more kind of device: see
//! [`hardware`]; one more use of workers: see [`worker`].

pub mod allowance;
pub mod attempt;
pub mod compile_cache;
pub mod conversation;
pub mod correction;
pub mod describe;
pub mod embedding;
pub mod every_device;
pub mod guard;
pub mod hardware;
pub mod ledger;
pub mod model_files;
pub mod offers;
pub mod ort_plugin;
mod pieces;
pub mod recommendation;
pub mod sampling;
pub mod timings;
pub mod trial;
pub mod worker;

mod backends;
mod choice;
mod engine;
mod fact;
mod host;
mod ladder;
mod notice;
mod open_error;
mod request;
mod setup;
mod text_side;

pub use backends::{LoadBackendError, load};
pub use choice::{BackendChoice, CorrectionChoice, NoNativeBackend, ParseChoiceError};
pub use embedding::{EmbedError, Embedder, EmbeddingEngine};
pub use engine::{Engine, NoTokenizer, OpenStages};
pub use fact::{Fact, Standing};
pub use host::{Host, Trials};
pub use notice::{Caller, Notice, RefusedRung};
pub use open_error::{OpenModelError, with_causes};
pub use request::OpenRequest;
pub use setup::{Setup, keeps_compiled, open_folder, options_for};
pub use text_side::{OpenTextError, TextSide};

// What an open model is made of, so that a program needs one dependency and one version.
pub use lapwing_backend as backend;
pub use lapwing_formats::FileChanged;
pub use lapwing_logits as logits;
pub use lapwing_model as model;
pub use lapwing_runtime as runtime;
pub use lapwing_store as store;
pub use lapwing_text as text;
