//! From what a user types after `--model` to a path.

use std::error::Error;
use std::path::PathBuf;

use crate::catalog::{Catalog, ReadCatalogError};
use crate::nearest::nearest;
use crate::options::StoreOptions;
use crate::pull::hub_cache::{self, UnusableSnapshot};
use crate::store::{Store, StoreError};

/// Why a name is no model.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ResolveModelError {
    /// The catalogue has it, the store not yet.
    #[error("the model {name} is in the catalogue but was not pulled yet")]
    NotPulled { name: String },
    /// Neither a path nor a name.
    #[error("no model \"{name}\": neither a path nor a name in {}", store.display())]
    Unknown {
        name: String,
        store: PathBuf,
        /// A name that is spelt almost like it.
        nearest: Option<String>,
    },
    /// Nowhere but in the cache of Hugging Face's tools, and not whole there.
    #[error(
        "no model \"{name}\" in the store, and what the Hugging Face cache has of it cannot be used: \
         {}", folder.display()
    )]
    Unusable {
        name: String,
        /// The snapshot in the cache.
        folder: PathBuf,
        source: Box<dyn Error + Send + Sync>,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The catalogue cannot be read.
    #[error(transparent)]
    Catalog(#[from] ReadCatalogError),
}

/// The path of a model: a name in the store, else an existing path, else a repository of which the
/// cache of Hugging Face's tools has all files. What is written as a path, with a separator or a dot
/// at its beginning, is one; where a plain word is both, or a model is in that cache, that is logged.
///
/// # Errors
///
/// When it is neither, with what could have been meant.
pub fn resolve_model(
    name_or_path: &str,
    options: &StoreOptions,
) -> Result<PathBuf, ResolveModelError> {
    let path = PathBuf::from(name_or_path);
    let is_there = path.exists();
    if is_there && is_written_as_path(name_or_path) {
        return Ok(path);
    }
    let store = Store::new(options.models.clone());
    // What cannot be a name is a path.
    if let Ok(Some(model)) = store.get(name_or_path) {
        if is_there {
            tracing::warn!(
                "{name_or_path} is a model of the store, and is taken; what the working folder has \
                 under that name is ./{name_or_path}"
            );
        }
        return Ok(model.path);
    }
    if is_there {
        return Ok(path);
    }
    match hub_cache::find_model(name_or_path, &options.hub) {
        Ok(Some(cached)) => {
            tracing::warn!(
                "{name_or_path} is not in the store, and is taken from the Hugging Face cache: {}",
                cached.display()
            );
            return Ok(cached);
        }
        Ok(None) => {}
        Err(UnusableSnapshot { folder, source }) => {
            let name = name_or_path.to_owned();
            return Err(ResolveModelError::Unusable { name, folder, source });
        }
    }
    let catalog = Catalog::load(&options.catalog_file)?;
    if catalog.get(name_or_path).is_some() {
        return Err(ResolveModelError::NotPulled { name: name_or_path.to_owned() });
    }
    let stored = store.list()?;
    let names = stored.iter().map(|model| model.name.as_str()).chain(catalog.names());
    Err(ResolveModelError::Unknown {
        name: name_or_path.to_owned(),
        store: store.root().to_path_buf(),
        nearest: nearest(name_or_path, names).map(str::to_owned),
    })
}

fn is_written_as_path(text: &str) -> bool {
    text.starts_with('.') || text.contains(std::path::is_separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_written_as_a_path_wins_over_a_name() {
        let check = |text: &str, expected: bool| {
            assert_eq!(is_written_as_path(text), expected, "{text}");
        };
        check("./model", true);
        check("../model", true);
        check("models/model", true);
        check("/models/model", true);
        check(".", true);
        check("model", false);
        check("model.gguf", false);
        check("smollm2-135m-instruct", false);
    }
}
