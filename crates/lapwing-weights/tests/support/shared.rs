//! Where tests find real models.

use std::path::{Path, PathBuf};

/// A path below the folder of real exports that lies beside the workspace; none when it is absent.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = std::env::var_os("LAPWING_SHARED").map_or(beside, PathBuf::from);
    let found = folder.join(path);
    if found.exists() {
        return Some(found);
    }
    assert!(std::env::var_os("CI").is_none(), "no {}", found.display());
    eprintln!("skipped: no ../shared");
    None
}
