//! The compile cache: what a device's compiler made of a model, kept for the next start.
//!
//! OpenVINO keeps compiled models itself, in the folder that `CACHE_DIR` names. It notices another
//! version and a cut-off file, compiles anew then and says nothing; a flipped byte it does not
//! notice, it deletes nothing, and processes that compile the same model write to the same file.
//! So each model gets a folder of its own here, named after everything that it depends on. It is
//! filled under another name, with checksums of its files, and renamed when it is whole; a lock
//! lets one process at a time do so.
//!
//! Nor does the library give back all that it kept: a graph of its own writing may read as another
//! one (OpenVINO 2026.4.1 gives NaN for gpt-oss with int8 weights on the NPU path). So an entry
//! holds the first logits of the model that was compiled, and what comes out the first time is asked
//! for its own. Where they differ the model is compiled at every start, until something changes the
//! entry's name.
//!
//! Must not know: models, graphs, the library's interface. A compilation is a closure.

mod entries;
mod entry;
mod first_logits;
mod key;
mod paths;
mod place;
mod weights;

use std::fmt::Display;
use std::path::Path;

use lapwing_backend::{CacheUse, DeviceKind};
use lapwing_files::{Lease, Lock, LockError};
use tracing::warn;

pub use entries::{Entry, EntryState, RemoveEntryError, entries, remove, sweep, trim};
pub use entry::{Blob, EntryRecord};
pub use first_logits::FirstLogits;
pub use key::CompiledBy;

pub(crate) use key::KeyFacts;

use paths::{entry_folder, lock_path, memo_folder, partial_folder};
use place::{Place, not_stored};

/// No file that is read here is nearly as long.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a compilation gives.
pub(crate) trait Compiled {
    /// What the library says when it refuses something.
    type Error: Display;

    /// The logits of the model for tokens that are always the same.
    fn first_row(&self) -> Result<Vec<f32>, Self::Error>;

    /// Whether the library took it out of the folder that it was told; `None` when it does not say.
    fn is_from_cache(&self) -> Option<bool>;
}

/// A compiled model, and what the cache had to do with it.
#[derive(Debug)]
pub(crate) struct Cached<T> {
    pub(crate) compiled: T,
    pub(crate) cache_use: CacheUse,
    /// Keeps the entry from being removed: to be held as long as the model.
    pub(crate) lease: Option<Lease>,
}

/// Compiles into and out of a folder, or without one.
pub(crate) type Compile<'a, T> = dyn FnMut(Option<&Path>) -> Result<T, <T as Compiled>::Error> + 'a;

/// Take the model that `facts` describe out of `cache`, or compile it and keep it there.
///
/// Whatever is wrong with the cache, the model is compiled; what came of it is told.
///
/// # Errors
///
/// When the model cannot be compiled.
pub(crate) fn compile_through<T: Compiled>(
    cache: &Path,
    facts: &KeyFacts<'_>,
    compile: &mut Compile<'_, T>,
) -> Result<Cached<T>, T::Error> {
    if let Err(error) = std::fs::create_dir_all(cache) {
        let why = format!("cannot make {}: {error}", cache.display());
        return not_stored(compile(None)?, cache, why);
    }
    let key = facts.key(&memo_folder(cache));
    let on_wait = &mut |holder: &str| warn!("waiting for {holder}, which opens the same model");
    let lock = Lock::acquire(&lock_path(cache, &key), on_wait, &|| false);
    let why = match &lock {
        Ok(_) => String::new(),
        Err(LockError::Io(error)) => {
            format!("cannot write in {}: {}", cache.display(), error.source)
        }
        Err(error) => error.to_string(),
    };
    let place = Place {
        folder: entry_folder(cache, &key),
        partial: partial_folder(cache, &key),
        is_gpu: facts.device.kind == DeviceKind::Gpu,
        key,
        facts,
    };
    // The lock is held until here is nothing left to do.
    match lock.is_ok() {
        true => place.read_or_write(cache, compile),
        false => place.read_only(compile, why),
    }
}

#[cfg(test)]
mod tests;
