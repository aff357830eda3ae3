//! The index of a sharded checkpoint: which tensor is in which file.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use lapwing_files::text::without_mark;
use serde::Deserializer;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};

use super::{OpenSafeTensorsError, SafeTensorsFile, malformed};
use crate::Map;

const EXTENSION: &str = ".safetensors";
const N_SHARDS_MAX: usize = 10_000;

/// The distinct file names of the index, sorted. Each is a plain name: an index cannot point
/// outside of its folder.
pub(super) fn shard_names(map: &Map) -> Result<BTreeSet<String>, OpenSafeTensorsError> {
    let mut names = BTreeSet::new();
    for_each(map, &mut |_, file_name| {
        if names.contains(file_name) {
            return Ok(());
        }
        let is_plain = file_name.ends_with(EXTENSION)
            && !file_name.contains(['/', '\\', ':', '\0'])
            && !file_name.starts_with('.');
        if !is_plain || names.len() == N_SHARDS_MAX {
            let expected = format!("up to {N_SHARDS_MAX} plain file names in {EXTENSION}");
            return Err(malformed(map, "weight_map", expected, format!("{file_name:?}")));
        }
        names.insert(file_name.to_owned());
        Ok(())
    })?;
    if names.is_empty() {
        return Err(malformed(map, "weight_map", "at least one tensor", "none"));
    }
    Ok(names)
}

/// Check that every tensor is in the shard that the index says, and that no shard repeats one of
/// another.
pub(super) fn check(map: &Map, shards: &[SafeTensorsFile]) -> Result<(), OpenSafeTensorsError> {
    for_each(map, &mut |name, file_name| {
        let is_named = |shard: &&SafeTensorsFile| {
            shard.path().file_name().is_some_and(|found| Path::new(found) == Path::new(file_name))
        };
        match shards.iter().find(is_named).and_then(|shard| shard.tensor(name)) {
            Some(_) => Ok(()),
            None => Err(malformed(map, "weight_map", format!("{name} in {file_name}"), "none")),
        }
    })?;
    let mut names: Vec<&str> = shards.iter().flat_map(|s| s.tensors()).map(|t| t.name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            let found = format!("{} twice", pair[0]);
            Err(malformed(map, "shards", "each tensor once", found))
        }
        None => Ok(()),
    }
}

/// Hears of one tensor name and its file name.
type OnEntry<'a> = &'a mut dyn FnMut(&str, &str) -> Result<(), OpenSafeTensorsError>;

fn for_each(map: &Map, on_entry: OnEntry<'_>) -> Result<(), OpenSafeTensorsError> {
    let mut refused = None;
    let text = without_mark(map).map_err(|source| OpenSafeTensorsError::Json {
        path: map.path().to_owned(),
        what: "index",
        source: serde_json::Error::custom(source),
    })?;
    let mut json = serde_json::Deserializer::from_slice(text);
    let index = Index { on_entry, refused: &mut refused };
    let read = json.deserialize_map(index).and_then(|()| json.end());
    match (refused, read) {
        (Some(refused), _) => Err(refused),
        (None, Ok(())) => Ok(()),
        (None, Err(source)) => {
            let path = map.path().to_owned();
            Err(OpenSafeTensorsError::Json { path, what: "index", source })
        }
    }
}

/// The outer object: everything but `weight_map` is skipped.
struct Index<'a> {
    on_entry: OnEntry<'a>,
    refused: &'a mut Option<OpenSafeTensorsError>,
}

impl<'de> Visitor<'de> for Index<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with weight_map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Index { on_entry, refused } = self;
        while let Some(key) = map.next_key::<Text>()? {
            if key.0 == "weight_map" {
                map.next_value_seed(WeightMap {
                    on_entry: &mut *on_entry,
                    refused: &mut *refused,
                })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// The object of tensor names and file names.
struct WeightMap<'a> {
    on_entry: OnEntry<'a>,
    refused: &'a mut Option<OpenSafeTensorsError>,
}

impl<'de> serde::de::DeserializeSeed<'de> for WeightMap<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WeightMap<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of tensor names and file names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, file_name)) = map.next_entry::<Text, Text>()? {
            if let Err(error) = (self.on_entry)(&name.0, &file_name.0) {
                *self.refused = Some(error);
                return Err(serde::de::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

/// A string that is borrowed from the file where it has no escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);
