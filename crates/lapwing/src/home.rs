//! The folders that Lapwing keeps its things in.
//!
//! XDG folders by default; [`crate::env::LAPWING_HOME`] moves all of them below one folder.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

/// Where settings, models, runtimes and caches are. The folders need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    config: PathBuf,
    data: PathBuf,
    cache: PathBuf,
}

impl Home {
    /// The folders below `lapwing_home` when given, else the user's XDG folders.
    ///
    /// # Errors
    ///
    /// When neither is known: no `LAPWING_HOME` and no home folder.
    pub fn find(lapwing_home: Option<&Path>) -> Result<Self, FindHomeError> {
        if let Some(root) = lapwing_home {
            return Self::below(root);
        }
        let base = etcetera::choose_base_strategy().map_err(|_| FindHomeError::NoHome)?;
        Ok(Self {
            config: base.config_dir().join("lapwing"),
            data: base.data_dir().join("lapwing"),
            cache: base.cache_dir().join("lapwing"),
        })
    }

    fn below(root: &Path) -> Result<Self, FindHomeError> {
        // Absolute, so that a change of the working folder changes nothing.
        let root = std::path::absolute(root)
            .map_err(|source| FindHomeError::Absolute { path: root.to_path_buf(), source })?;
        Ok(Self { cache: root.join("cache"), config: root.clone(), data: root })
    }

    /// The settings file that is read when none is named.
    pub fn settings_file(&self) -> PathBuf {
        self.config.join("lapwing.toml")
    }

    /// The user's own additions to the model catalogue.
    pub fn catalog_file(&self) -> PathBuf {
        self.config.join("catalog.toml")
    }

    /// The store: one folder per model.
    pub fn models(&self) -> PathBuf {
        self.data.join("models")
    }

    /// One folder per native runtime and version.
    pub fn natives(&self) -> PathBuf {
        self.data.join("natives")
    }

    /// Correction profiles, as `calibrate` writes them, and records, as `bench` does.
    pub fn profiles(&self) -> PathBuf {
        self.data.join("profiles")
    }

    /// Devices that were measured to be best.
    pub fn recommendations_file(&self) -> PathBuf {
        self.data.join("recommendations.json")
    }

    /// Where a daemon hears the programs of this user. Its folder is nobody else's.
    pub fn socket(&self) -> PathBuf {
        self.data.join("daemon").join("socket")
    }

    /// Everything that is kept, but for the settings and what can be made again.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What can be made again: compiled models, chat history of the line editor.
    pub fn cache(&self) -> &Path {
        &self.cache
    }
}

/// Where the systemd of this user finds units.
///
/// # Errors
///
/// When there is no home folder.
pub fn user_units() -> Result<PathBuf, FindHomeError> {
    let base = etcetera::choose_base_strategy().map_err(|_| FindHomeError::NoHome)?;
    Ok(base.config_dir().join("systemd").join("user"))
}

/// Why no folder for Lapwing's data could be chosen.
#[derive(Debug, thiserror::Error)]
pub enum FindHomeError {
    /// Neither `LAPWING_HOME` nor a home folder.
    #[error("no home folder: neither LAPWING_HOME nor HOME is set")]
    NoHome,
    /// The working folder is needed to complete a relative `LAPWING_HOME`, and is gone.
    #[error("cannot make {} absolute", path.display())]
    Absolute { path: PathBuf, source: std::io::Error },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_variable_moves_everything() {
        let home = Home::find(Some(Path::new("/moved"))).unwrap();
        for path in [
            home.settings_file(),
            home.catalog_file(),
            home.models(),
            home.natives(),
            home.profiles(),
            home.recommendations_file(),
            home.socket(),
            home.cache().to_path_buf(),
        ] {
            assert!(path.starts_with("/moved"), "{}", path.display());
        }
    }

    #[test]
    fn a_relative_home_becomes_absolute() {
        assert!(Home::find(Some(Path::new("here"))).unwrap().models().is_absolute());
    }
}
