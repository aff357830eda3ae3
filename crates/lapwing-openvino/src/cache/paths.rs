//! Names of what is directly in the cache's folder.

use std::path::{Path, PathBuf};

use super::key::is_key;

/// The folder of the entry `key`.
pub(super) fn entry_folder(cache: &Path, key: &str) -> PathBuf {
    cache.join(key)
}

/// The lock of the entry `key`.
pub(super) fn lock_path(cache: &Path, key: &str) -> PathBuf {
    cache.join(format!("{key}.lock"))
}

/// Where this process writes the entry `key`.
pub(super) fn partial_folder(cache: &Path, key: &str) -> PathBuf {
    cache.join(format!(".{key}.{}.partial", std::process::id()))
}

/// Where hashes of weights are remembered.
pub(super) fn memo_folder(cache: &Path) -> PathBuf {
    cache.join("weights")
}

/// The key of an entry that is or was being written under `name`.
pub(super) fn key_of_partial(name: &str) -> Option<&str> {
    let (key, pid) = name.strip_prefix('.')?.strip_suffix(".partial")?.split_once('.')?;
    let is_pid = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
    (is_key(key) && is_pid).then_some(key)
}

/// The key whose lock is called `name`.
pub(super) fn key_of_lock(name: &str) -> Option<&str> {
    name.strip_suffix(".lock").filter(|key| is_key(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_key() {
        let key = "0123456789abcdef0123456789abcdef";
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let cache = Path::new("/cache");
        assert_eq!(key_of_partial(&name(partial_folder(cache, key))), Some(key));
        assert_eq!(key_of_lock(&name(lock_path(cache, key))), Some(key));
        assert!(is_key(&name(entry_folder(cache, key))));
        let partial = |name: &str| assert_eq!(key_of_partial(name), None, "{name}");
        partial(key);
        partial("weights");
        partial(&format!("{key}.1.partial"));
        partial(&format!(".{key}.partial"));
        partial(&format!(".{key}..partial"));
        partial(&format!(".{key}.x.partial"));
        partial(&format!(".{}.1.partial", &key[1..]));
        assert_eq!(key_of_lock("model.lock"), None);
        assert_eq!(key_of_lock(key), None);
    }
}
