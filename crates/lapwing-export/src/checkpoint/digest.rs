//! The hash by which a checkpoint is known again.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::ControlFlow;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{Checkpoint, OpenCheckpointError, WeightFile};

const BUFFER_BYTES: usize = 1 << 20;

impl Checkpoint {
    /// The SHA-256 of the weight files, one behind the other in the order of their names: 64
    /// lower-case hexadecimal digits. Of one file it is what other tools say.
    ///
    /// `on_bytes` hears of every piece with its file, and stops the reading by breaking.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, with [`io::ErrorKind::Interrupted`] after a break.
    pub fn sha256(
        &self,
        on_bytes: &mut dyn FnMut(&Path, u64) -> ControlFlow<()>,
    ) -> Result<String, OpenCheckpointError> {
        let mut digest = Sha256::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        for path in self.weights.paths() {
            hash(path, &mut digest, &mut buffer, on_bytes)
                .map_err(|source| OpenCheckpointError::Read { path: path.to_owned(), source })?;
        }
        Ok(hexadecimal(digest))
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

fn hash(
    path: &Path,
    digest: &mut Sha256,
    buffer: &mut [u8],
    on_bytes: &mut dyn FnMut(&Path, u64) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut file = File::open(path)?;
    loop {
        let n_bytes = match file.read(buffer) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        digest.update(&buffer[..n_bytes]);
        if on_bytes(path, n_bytes as u64).is_break() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
}

/// A finished hash in lower-case hexadecimal.
pub(crate) fn hexadecimal(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
