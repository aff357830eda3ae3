//! The hash by which a checkpoint is known again.

use std::path::Path;

use lapwing_files::checksum::{HashError, Sha256};

use super::{Checkpoint, WeightFile};

impl Checkpoint {
    /// The SHA-256 of the weight files, one behind the other in the order of their names: 64
    /// lower-case hexadecimal digits. Of one file it is what other tools say.
    ///
    /// `on_bytes` hears of every piece with its file.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or when stopped.
    pub fn sha256(
        &self,
        on_bytes: &mut dyn FnMut(&Path, u64),
        stop: &dyn Fn() -> bool,
    ) -> Result<String, HashError> {
        let mut digest = Sha256::new();
        for path in self.weights.paths() {
            digest.update_from(path, &mut |n_bytes| on_bytes(path, n_bytes), stop)?;
        }
        Ok(digest.finish())
    }
}

impl WeightFile {
    /// In the order of their names.
    fn paths(&self) -> Vec<&Path> {
        match self {
            WeightFile::Gguf(gguf) => vec![gguf.path()],
            WeightFile::SafeTensors(checkpoint) => {
                let mut paths: Vec<&Path> =
                    checkpoint.files().iter().map(|file| file.path()).collect();
                paths.sort();
                paths
            }
        }
    }
}
