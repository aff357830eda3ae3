//! What a compiled model depends on, and the name of its entry.

use std::collections::BTreeMap;
use std::path::Path;

use lapwing_backend::Device;
use lapwing_files::checksum::Sha256;
use lapwing_formats::Map;
use serde::{Deserialize, Serialize};

use super::weights::sha256_of_weights;

/// Hexadecimal digits of an entry's name.
pub(super) const N_KEY_DIGITS: usize = 32;

/// What is compiled, by what and for what. Whatever differs makes another entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyFacts<'a> {
    /// The library's version.
    pub(crate) library_version: &'a str,
    /// The device, with its product's name.
    pub(crate) device: &'a Device,
    /// The version of its driver, where it has one.
    pub(crate) driver_version: Option<&'a str>,
    /// The graph's file. Tells people where an entry came from: a model that moved is the same.
    pub(crate) graph_file: &'a Path,
    /// The graph as it is compiled.
    pub(crate) graph_xml: &'a str,
    /// The weights.
    pub(crate) weights: &'a Map,
    /// The texts and weights of the graphs that feed it: what it computes depends on them.
    pub(crate) feeding: &'a [(&'a str, &'a Map)],
    /// The properties of the compilation, without the folder of the cache.
    pub(crate) properties: &'a [(&'a str, String)],
}

/// What an entry says of the machine that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompiledBy {
    /// The library's version.
    pub library_version: String,
    /// The library's name for the device, such as `GPU.1`.
    pub device: String,
    /// The product's name.
    pub device_name: String,
    /// The version of the device's driver, where it has one.
    pub driver_version: Option<String>,
    /// The properties of the compilation.
    pub properties: BTreeMap<String, String>,
}

impl KeyFacts<'_> {
    /// The name of the entry. The weights are hashed, or their hash is in a memo in `memos`.
    pub(super) fn key(&self, memos: &Path) -> String {
        let mut digest = Sha256::new();
        let mut field = |name: &str, value: &str| {
            // With the length in front no two lists of fields look alike.
            for text in [name, value] {
                digest.update((text.len() as u64).to_le_bytes());
                digest.update(text.as_bytes());
            }
        };
        let by = self.compiled_by();
        field("library_version", &by.library_version);
        field("device", &by.device);
        field("device_name", &by.device_name);
        field("driver_version", by.driver_version.as_deref().unwrap_or_default());
        for (name, value) in &by.properties {
            field(name, value);
        }
        field("graph", self.graph_xml);
        field("weights", &sha256_of_weights(memos, self.weights));
        for (graph, weights) in self.feeding {
            field("feeding_graph", graph);
            field("feeding_weights", &sha256_of_weights(memos, weights));
        }
        digest.finish()[..N_KEY_DIGITS].to_owned()
    }

    /// The part of it that an entry repeats.
    pub(super) fn compiled_by(&self) -> CompiledBy {
        let properties =
            self.properties.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        CompiledBy {
            library_version: self.library_version.to_owned(),
            device: self.device.id.clone(),
            device_name: self.device.name.trim().to_owned(),
            driver_version: self.driver_version.map(str::to_owned),
            properties: properties.collect(),
        }
    }
}

/// Whether `name` could be the name of an entry.
pub(super) fn is_key(name: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.len() == N_KEY_DIGITS && name.bytes().all(is_digit)
}

#[cfg(test)]
mod tests {
    use lapwing_backend::DeviceKind;

    use super::*;

    fn device(id: &str, name: &str) -> Device {
        Device { kind: DeviceKind::Cpu, id: id.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn everything_that_matters_changes_the_key_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let map = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            Map::open(&path).unwrap()
        };
        let (weights, others) = (map("a.bin", b"weights"), map("b.bin", b"weightz"));
        let moved = map("moved.bin", b"weights");
        let (cpu, renamed) = (device("CPU", "Xeon"), device("CPU", "Atom"));
        let gpu = device("GPU", "Xeon");
        let one = vec![("A", "1".to_owned()), ("B", "2".to_owned())];
        let swapped = vec![("B", "2".to_owned()), ("A", "1".to_owned())];
        let other = vec![("A", "1".to_owned()), ("B", "3".to_owned())];
        let facts = KeyFacts {
            library_version: "2026.4.1",
            device: &cpu,
            driver_version: None,
            graph_file: Path::new("/models/a.xml"),
            graph_xml: "<net/>",
            weights: &weights,
            feeding: &[],
            properties: &one,
        };
        let memos = folder.path().join("memos");
        let key = facts.key(&memos);
        assert!(is_key(&key), "{key}");
        let same = |facts: KeyFacts<'_>| assert_eq!(facts.key(&memos), key, "{facts:?}");
        same(KeyFacts { graph_file: Path::new("/elsewhere/b.xml"), ..facts });
        same(KeyFacts { weights: &moved, ..facts });
        same(KeyFacts { properties: &swapped, ..facts });
        let differs = |facts: KeyFacts<'_>| assert_ne!(facts.key(&memos), key, "{facts:?}");
        differs(KeyFacts { library_version: "2026.4.2", ..facts });
        differs(KeyFacts { device: &renamed, ..facts });
        differs(KeyFacts { device: &gpu, ..facts });
        differs(KeyFacts { driver_version: Some("32.0"), ..facts });
        differs(KeyFacts { graph_xml: "<net />", ..facts });
        differs(KeyFacts { weights: &others, ..facts });
        let feeding = [("<net/>", &weights), ("<net />", &weights), ("<net/>", &others)];
        differs(KeyFacts { feeding: &feeding[..1], ..facts });
        let keys = feeding.map(|one| KeyFacts { feeding: &[one], ..facts }.key(&memos));
        assert!(keys[0] != keys[1] && keys[0] != keys[2], "{keys:?}");
        differs(KeyFacts { properties: &other, ..facts });
        differs(KeyFacts { properties: &one[..1], ..facts });
        // The same characters with other borders.
        let (before, behind) = ([("AB", "1".to_owned())], [("A", "B1".to_owned())]);
        let key = |properties| KeyFacts { properties, ..facts }.key(&memos);
        assert_ne!(key(&before), key(&behind));
    }

    #[test]
    fn keys_are_told_from_other_names() {
        let check = |name: &str, expected: bool| assert_eq!(is_key(name), expected, "{name}");
        check("0123456789abcdef0123456789abcdef", true);
        check("0123456789abcdef0123456789abcdeF", false);
        check("0123456789abcdef0123456789abcde", false);
        check(".123456789abcdef0123456789abcdef", false);
    }
}
