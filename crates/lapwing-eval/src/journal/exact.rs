//! Floating-point numbers as strings in JSON, so that every one comes back with the same bits.
//!
//! JSON has no infinity, and `serde_json` reads decimal numbers only to within the last bit.

use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serializer};

/// For `#[serde(with = "exact")]` on an `f64`.
pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    parse(&String::deserialize(deserializer)?)
}

/// For `#[serde(with = "exact::list")]` on a `Vec` of `f32` or `f64`: one string, with spaces.
pub(crate) mod list {
    use super::*;

    pub(crate) fn serialize<T: Display, S: Serializer>(
        values: &[T],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let values: Vec<String> = values.iter().map(T::to_string).collect();
        serializer.serialize_str(&values.join(" "))
    }

    pub(crate) fn deserialize<'de, T: FromStr, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        String::deserialize(deserializer)?.split_ascii_whitespace().map(parse).collect()
    }
}

fn parse<T: FromStr, E: serde::de::Error>(text: &str) -> Result<T, E> {
    text.parse().map_err(|_| E::custom(format!("expected a number, found {text:?}")))
}
