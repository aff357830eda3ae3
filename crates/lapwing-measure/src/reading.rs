//! Values that the system tells, or why it does not.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use lapwing_files::Allowance;
use lapwing_files::regular::{self, N_TEXT_BYTES_MAX};
use serde::{Deserialize, Serialize};

/// A value, or why there is none.
pub type Reading<T> = Result<T, Reason>;

/// Why there is no value: a fragment of a sentence, as in `no permission to read /sys/…`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reason(String);

impl Reason {
    /// A reason in these words: lower case, without full stop.
    pub fn new(words: impl Into<String>) -> Reason {
        Reason(words.into())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The value of a field of a record; a reason instead goes to `nulls` under the field's `path`.
pub fn known<T>(
    reading: Reading<T>,
    path: &str,
    nulls: &mut BTreeMap<String, String>,
) -> Option<T> {
    match reading {
        Ok(value) => Some(value),
        Err(reason) => {
            nulls.insert(path.to_owned(), reason.0);
            None
        }
    }
}

/// The files in which a Linux kernel tells about itself: `proc`, `sys` and a little of `etc`.
///
/// Tests put a folder of theirs in the place of `/`. On other systems nothing is there, and every
/// reading says so.
#[derive(Clone, Debug)]
pub struct SystemFiles {
    root: PathBuf,
}

impl SystemFiles {
    /// Those of the running system.
    #[must_use]
    pub fn of_this_system() -> SystemFiles {
        SystemFiles::at("/")
    }

    /// Those in a folder that stands for `/`.
    pub fn at(root: impl Into<PathBuf>) -> SystemFiles {
        SystemFiles { root: root.into() }
    }

    /// Where `path` (without leading slash) really is.
    #[must_use]
    pub fn place(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// What a container lets this process have.
    pub(crate) fn allowance(&self) -> Allowance {
        Allowance::below(&self.root)
    }

    /// Whether they are those of the running system, which can then be asked in other ways too.
    pub(crate) fn is_this_system(&self) -> bool {
        self.root == Path::new("/")
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// The text of `path` (without leading slash), trimmed.
    pub(crate) fn text(&self, path: &str) -> Reading<String> {
        let bytes = regular::read(&self.root.join(path), N_TEXT_BYTES_MAX)
            .map_err(|error| refusal("read", path, &error))?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// The number that `path` holds.
    pub(crate) fn number<T: FromStr>(&self, path: &str) -> Reading<T> {
        let text = self.text(path)?;
        text.parse().map_err(|_| {
            let shown: String = text.chars().take(40).collect();
            Reason(format!("/{path} holds \"{shown}\", expected a number"))
        })
    }

    /// The value after `key` in `path`, whose lines have the form `key: value` or `key=value`.
    pub(crate) fn field(&self, path: &str, key: &str) -> Reading<String> {
        field_of(&self.text(path)?, key).ok_or_else(|| Reason(format!("/{path} has no line {key}")))
    }

    /// The bytes in the line `key: … kB` of `path`.
    pub(crate) fn kib_field(&self, path: &str, key: &str) -> Reading<u64> {
        let value = self.field(path, key)?;
        let kib = value.trim_end_matches("kB").trim().parse::<u64>().ok();
        kib.and_then(|kib| kib.checked_mul(1024))
            .ok_or_else(|| Reason(format!("/{path} tells {key} as \"{value}\", expected kB")))
    }

    /// The names in the folder `path`, ascending.
    pub(crate) fn names(&self, path: &str) -> Reading<Vec<String>> {
        let entries = std::fs::read_dir(self.root.join(path))
            .map_err(|error| refusal("list", path, &error))?;
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    pub(crate) fn write(&self, path: &str, text: &str) -> Reading<()> {
        let open = std::fs::OpenOptions::new().write(true).open(self.root.join(path));
        open.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
            .map_err(|error| refusal("write", path, &error))
    }
}

/// The value after the first `key` among lines of the form `key: value` or `key=value`.
pub(crate) fn field_of(text: &str, key: &str) -> Option<String> {
    let value = text.lines().find_map(|line| {
        let (found, value) = line.split_once([':', '='])?;
        (found.trim() == key).then(|| value.trim().trim_matches('"').to_owned())
    })?;
    (!value.is_empty()).then_some(value)
}

fn refusal(verb: &str, path: &str, error: &std::io::Error) -> Reason {
    Reason(match error.kind() {
        ErrorKind::NotFound => format!("there is no /{path}"),
        ErrorKind::PermissionDenied => format!("no permission to {verb} /{path}"),
        _ => format!("cannot {verb} /{path}: {error}"),
    })
}

#[cfg(test)]
pub(crate) mod fake {
    //! A folder in the place of `/`.

    use super::SystemFiles;

    pub(crate) struct FakeSystem {
        folder: tempfile::TempDir,
    }

    impl FakeSystem {
        /// With these files and what they hold.
        pub(crate) fn new(files: &[(&str, &str)]) -> FakeSystem {
            let fake = FakeSystem { folder: tempfile::tempdir().unwrap() };
            for (path, text) in files {
                fake.put(path, text);
            }
            fake
        }

        pub(crate) fn put(&self, path: &str, text: &str) {
            let path = self.folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        pub(crate) fn remove(&self, path: &str) {
            std::fs::remove_file(self.folder.path().join(path)).unwrap();
        }

        /// Where `path` really is.
        pub(crate) fn place_of(&self, path: &str) -> std::path::PathBuf {
            self.folder.path().join(path)
        }

        /// Put a folder where a file should be: even root cannot read it, as nobody can a sensor
        /// that fails.
        pub(crate) fn break_file(&self, path: &str) {
            self.remove(path);
            std::fs::create_dir(self.folder.path().join(path)).unwrap();
        }

        pub(crate) fn files(&self) -> SystemFiles {
            SystemFiles::at(self.folder.path())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fake::FakeSystem;
    use super::*;

    #[test]
    fn what_cannot_be_read_is_named() {
        let fake = FakeSystem::new(&[
            ("sys/number", " 42\n"),
            ("sys/words", "a few\n"),
            ("sys/broken", ""),
            ("proc/fields", "Name: x\nRss:   12 kB\nEmpty:\nMuch: 99999999999999999999 kB\n"),
            ("proc/large", "Rss: 18446744073709551615 kB"),
        ]);
        fake.break_file("sys/broken");
        let files = fake.files();
        let check = |found: Reading<u64>, expected: Result<u64, &str>| {
            assert_eq!(found.map_err(|reason| reason.to_string()), expected.map_err(str::to_owned));
        };
        check(files.number("sys/number"), Ok(42));
        check(files.number("sys/none"), Err("there is no /sys/none"));
        check(files.number("sys/words"), Err("/sys/words holds \"a few\", expected a number"));
        check(files.kib_field("proc/fields", "Rss"), Ok(12 * 1024));
        check(files.kib_field("proc/fields", "Pss"), Err("/proc/fields has no line Pss"));
        check(files.kib_field("proc/fields", "Empty"), Err("/proc/fields has no line Empty"));
        let name = "/proc/fields tells Name as \"x\", expected kB";
        check(files.kib_field("proc/fields", "Name"), Err(name));
        assert!(files.kib_field("proc/fields", "Much").is_err());
        assert!(files.kib_field("proc/large", "Rss").is_err());
        let broken = files.number::<u64>("sys/broken").unwrap_err().to_string();
        assert!(broken.starts_with("cannot read /sys/broken: "), "{broken}");
        let names = files.names("nowhere").unwrap_err().to_string();
        assert_eq!(names, "there is no /nowhere");
        assert_eq!(files.names("sys").unwrap(), ["broken", "number", "words"]);
        assert_eq!(files.write("sys/none", "1").unwrap_err().to_string(), "there is no /sys/none");
    }

    #[test]
    fn a_refusal_names_what_was_refused() {
        let error = std::io::Error::from(ErrorKind::PermissionDenied);
        let found = refusal("read", "sys/energy_uj", &error).to_string();
        assert_eq!(found, "no permission to read /sys/energy_uj");
    }

    #[test]
    fn a_reason_becomes_a_null() {
        let mut nulls = BTreeMap::new();
        assert_eq!(known(Ok(1), "a.b", &mut nulls), Some(1));
        assert_eq!(known::<u8>(Err(Reason::new("no sensor")), "a.c", &mut nulls), None);
        assert_eq!(nulls, BTreeMap::from([("a.c".to_owned(), "no sensor".to_owned())]));
    }
}
